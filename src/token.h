/*
 * token.h
 *		Random tokens, and the session id of a token.
 */
#ifndef NARVIK_TOKEN_H
#define NARVIK_TOKEN_H

#include "encoding.h"

extern void narvik_token_init(void);
extern text *narvik_new_token(void);
extern text *narvik_id_text(const unsigned char *id);
extern Datum narvik_id_datum(const unsigned char *id);
extern bool narvik_token_id(const text *token, unsigned char *id);

#endif							/* NARVIK_TOKEN_H */
