/*
 * encoding.h
 *		Text forms of tokens and session ids.  Needs no server.
 */
#ifndef NARVIK_ENCODING_H
#define NARVIK_ENCODING_H

#include <stdbool.h>
#include <stddef.h>

#define NARVIK_TOKEN_BYTES	20	/* randomness in a token */
#define NARVIK_TOKEN_CHARS	32	/* the same in base32 */
#define NARVIK_ID_BYTES		32	/* a SHA-256 digest */
#define NARVIK_ID_CHARS		64	/* the same in hex */

extern void narvik_print_token(const unsigned char *bytes, char *token);
extern bool narvik_parse_id(const char *hex, size_t len, unsigned char *id);
extern void narvik_print_id(const unsigned char *id, char *hex);

#endif							/* NARVIK_ENCODING_H */
