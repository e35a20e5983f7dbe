/*
 * cookie.h
 *		Text of the session cookie.  Needs no server.
 */
#ifndef NARVIK_COOKIE_H
#define NARVIK_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NARVIK_COOKIE_MAX_AGE	(400 * 24 * 60 * 60)	/* seconds */
#define NARVIK_COOKIE_NO_MAX_AGE	(-1)	/* it ends with the browser */
#define NARVIK_COOKIE_MAX_BYTES	4096	/* name and value together */

typedef enum NarvikSameSite
{
	NARVIK_SAME_SITE_LAX,
	NARVIK_SAME_SITE_STRICT,
	NARVIK_SAME_SITE_NONE
} NarvikSameSite;

/* A cookie but for its value; HttpOnly is always sent. */
typedef struct NarvikCookie
{
	const char *name;
	const char *domain;			/* empty: no Domain attribute */
	const char *path;
	int64_t		max_age;		/* seconds, or NARVIK_COOKIE_NO_MAX_AGE */
	NarvikSameSite same_site;
	bool		secure;
	bool		partitioned;
} NarvikCookie;

/* Attributes that are fine one by one but not together. */
typedef enum NarvikCookieConflict
{
	NARVIK_COOKIE_NO_CONFLICT,
	NARVIK_SAME_SITE_NONE_NEEDS_SECURE,
	NARVIK_PARTITIONED_NEEDS_SECURE,
	NARVIK_PREFIX_NEEDS_SECURE,
	NARVIK_HOST_PREFIX_NEEDS_NO_DOMAIN,
	NARVIK_HOST_PREFIX_NEEDS_ROOT_PATH
} NarvikCookieConflict;

extern const char *narvik_cookie_name_flaw(const char *name);
extern const char *narvik_cookie_domain_flaw(const char *domain);
extern const char *narvik_cookie_path_flaw(const char *path);
extern bool narvik_is_cookie_value(const char *value, size_t len);
extern bool narvik_cookie_has_room(const char *name, size_t value_len);
extern NarvikCookieConflict narvik_cookie_conflict(const NarvikCookie *cookie);

extern size_t narvik_print_cookie(const NarvikCookie *cookie,
								  const char *value, size_t value_len,
								  char *buffer, size_t size);
extern bool narvik_next_cookie(const char **header, size_t *len,
							   const char *name,
							   const char **value, size_t *value_len);
extern bool narvik_find_cookie(const char *header, size_t len,
							   const char *name,
							   const char **value, size_t *value_len);

#endif							/* NARVIK_COOKIE_H */
