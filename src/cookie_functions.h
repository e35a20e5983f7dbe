/*
 * cookie_functions.h
 *		Settings and SQL functions of the session cookie.
 */
#ifndef NARVIK_COOKIE_FUNCTIONS_H
#define NARVIK_COOKIE_FUNCTIONS_H

extern void narvik_cookie_functions_init(void);

#endif							/* NARVIK_COOKIE_FUNCTIONS_H */
