/*
 * link.h
 *		The link to the application's users.
 */
#ifndef NARVIK_LINK_H
#define NARVIK_LINK_H

#include "access/attnum.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* The trigger function whose trigger is the link. */
#define NARVIK_LINK_FUNCTION	"narvik_users_changed"

typedef struct NarvikLink
{
	Oid			users;			/* the table; InvalidOid: no link */
	AttrNumber	key;			/* its column that user_id refers to */
	Oid			key_type;
} NarvikLink;

/* link.c */
extern void narvik_link_init(void);
extern NarvikLink narvik_find_link(void);
extern Relation narvik_open_link(LOCKMODE lockmode, NarvikLink *link);
extern void narvik_check_key_is_unique(Relation users, AttrNumber key);
extern text *narvik_print_key(const NarvikLink *link, Datum key);
extern char *narvik_users_source(Relation users);

/* link_user.c */
extern bool narvik_user_exists(const text *user_id);
extern void narvik_check_user_exists(const text *user_id);
extern bool narvik_fetch_user(const NarvikLink *link, Relation users,
							  const text *user_id, Datum *row);

#endif							/* NARVIK_LINK_H */
