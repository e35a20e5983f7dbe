/*
 * cookie_functions.h
 *		Settings and SQL functions of the session cookie.
 */
#ifndef NARVIK_COOKIE_FUNCTIONS_H
#define NARVIK_COOKIE_FUNCTIONS_H

#include "fmgr.h"
#include "utils/timestamp.h"

extern void narvik_cookie_functions_init(void);
extern text *narvik_session_cookie(const char *token, size_t len,
								   TimestampTz expires_at);
extern const char *narvik_session_cookie_name(void);
extern bool narvik_cookie_header_arg(FunctionCallInfo fcinfo, int argno,
									 const char **header, size_t *len);

#endif							/* NARVIK_COOKIE_FUNCTIONS_H */
