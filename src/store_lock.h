/*
 * store_lock.h
 *		Locking rows of the table of sessions and changing them; for the store's own files.
 */
#ifndef NARVIK_STORE_LOCK_H
#define NARVIK_STORE_LOCK_H

#include "access/tableam.h"
#include "catalog/pg_type_d.h"
#include "storage/lock.h"

#include "store.h"
#include "store_run.h"

/*
 * Pairs for narvik_change_rows(): what finds the rows in the order of seq, and
 * what changes them once they are locked.  OFFSET 0 keeps the planner from
 * reading the whole index on seq for the order's sake.
 */
#define NARVIK_FIND(conditions) \
	"SELECT seq, ctid FROM (SELECT seq, ctid FROM ONLY %s" \
	" WHERE " conditions " OFFSET 0) AS found ORDER BY seq"
#define NARVIK_CHANGE(action, conditions) action " WHERE ctid = ANY ($1) AND " conditions
#define NARVIK_FOUND .ncolumns = 2, .columns = {INT8OID, TIDOID}

/* store_lock.c */

extern void narvik_lock_user(const text *user_id);
extern void narvik_lock_users_of_change(const unsigned char *id, const text *user_id);
extern bool narvik_lock_user_if_free(const text *user_id);
extern void narvik_lock_new_id(const unsigned char *id);
extern bool narvik_lock_session(const unsigned char *id, LockTupleMode mode,
								NarvikDataPart data, NarvikSession *session);
extern bool narvik_lock_live_session(const unsigned char *id, LockTupleMode mode,
									 NarvikDataPart data, TimestampTz now,
									 NarvikSession *session);
extern int64 narvik_change_rows(NarvikStatement *find, NarvikStatement *change,
								Datum *values, const char *nulls, int how,
								const char *reason);

/* store_write.c */
extern bool narvik_clear_id(const unsigned char *id, TimestampTz now);
extern void narvik_end_expired_identity(TimestampTz now);

#endif							/* NARVIK_STORE_LOCK_H */
