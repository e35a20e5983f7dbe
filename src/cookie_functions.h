/*
 * cookie_functions.h
 *		Settings and SQL functions of the session cookie.
 */
#ifndef NARVIK_COOKIE_FUNCTIONS_H
#define NARVIK_COOKIE_FUNCTIONS_H

#include "utils/timestamp.h"

extern void narvik_cookie_functions_init(void);
extern text *narvik_session_cookie(const char *token, size_t len,
								   TimestampTz expires_at);
extern const char *narvik_session_cookie_name(void);

#endif							/* NARVIK_COOKIE_FUNCTIONS_H */
