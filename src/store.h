/*
 * store.h
 *		The sessions in the table.
 *
 * The files named store_*.c are the only ones that know what a row looks like.
 * They tell identity.c what they end, rename or rotate, so that no caller can
 * forget it.
 */
#ifndef NARVIK_STORE_H
#define NARVIK_STORE_H

#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "encoding.h"
#include "identity.h"
#include "policy.h"

/* A row of the table. */
typedef struct NarvikSession
{
	ItemPointerData tid;		/* where this version of the row is */
	unsigned char id[NARVIK_ID_BYTES];
	text	   *user_id;		/* NULL: a guest */
	NarvikTerms terms;
	TimestampTz authenticated_at;	/* DT_NOBEGIN: never */
	TimestampTz active_at;		/* likewise */
	Jsonb	   *data;			/* whole; NULL if it was not asked for */
	struct varlena *stored_data;	/* as it is in the table; likewise */
} NarvikSession;

/* What to read of a session's data. */
typedef enum
{
	NARVIK_NO_DATA,
	NARVIK_WHOLE_DATA,
	NARVIK_STORED_DATA			/* costs nothing, however large */
} NarvikDataPart;

static inline NarvikIdentity
narvik_identity_of(const NarvikSession *session)
{
	NarvikIdentity identity = {
		.session_id = session->id,
		.user_id = session->user_id,
		.authenticated_at = session->authenticated_at,
		.data = session->data != NULL ? (const struct varlena *) session->data :
		session->stored_data
	};

	return identity;
}

/* store_read.c */

extern bool narvik_store_snapshot_is_outdated(void);

/* Which state of the table a look-up reads. */
typedef enum
{
	NARVIK_STATEMENT,			/* as the statement sees it */
	NARVIK_ACTIVE,				/* by the active snapshot, whatever it is */
	NARVIK_NEWEST,				/* as committed now, if isolation permits */
	NARVIK_LATEST				/* as committed now */
} NarvikView;

extern void narvik_store_push_newest(void);
extern bool narvik_store_find(const unsigned char *id, NarvikView view,
							  NarvikDataPart data, NarvikSession *session);
extern bool narvik_store_has_live(const unsigned char *id, TimestampTz now);
extern bool narvik_store_find_replaced(const unsigned char *id, NarvikView view,
									   unsigned char *present_id,
									   TimestampTz *replaced_at);
extern bool narvik_slot_has_id(TupleTableSlot *slot, const unsigned char *id);
extern void narvik_session_from_slot(TupleTableSlot *slot, const unsigned char *id,
									 NarvikDataPart data, NarvikSession *session);

/* store_touch.c */

typedef enum
{
	NARVIK_DONE,
	NARVIK_BUSY,				/* somebody else has the row, or it cannot be
								 * written */
	NARVIK_CHANGED				/* the row is not what was read any more */
} NarvikTouch;

extern NarvikTouch narvik_store_touch_if_free(const NarvikSession *session,
											  TimestampTz expires_at,
											  TimestampTz active_at);
extern NarvikTouch narvik_store_delete_if_free(const NarvikSession *session,
											   const char *reason);

/* store_insert.c */
extern void narvik_store_insert(const NarvikSession *session);
extern bool narvik_store_promote(const unsigned char *guest_id,
								 NarvikSession *session);

typedef enum
{
	NARVIK_PUT_ANY,
	NARVIK_PUT_EXISTING,		/* only over a live session */
	NARVIK_PUT_NEW				/* only if there is no live session */
} NarvikPutMode;

typedef enum
{
	NARVIK_PUT_NOTHING,
	NARVIK_PUT_REPLACED,
	NARVIK_PUT_PROMOTED,		/* likewise, and the session was a guest's */
	NARVIK_PUT_INSERTED
} NarvikPut;

extern NarvikPut narvik_store_put(NarvikSession *session, NarvikPutMode mode);

/* store_write.c */
extern bool narvik_store_update_expiry(const unsigned char *id,
									   TimestampTz expires_at, TimestampTz now);
extern bool narvik_store_rotate(const unsigned char *old_id,
								const unsigned char *new_id,
								TimestampTz now, NarvikSession *session);
extern bool narvik_store_reauthenticate(const unsigned char *old_id,
										const unsigned char *new_id, Jsonb *patch,
										TimestampTz now, NarvikSession *session);

typedef enum
{
	NARVIK_ID_CHANGED,
	NARVIK_ID_NO_SESSION,		/* no live one */
	NARVIK_ID_TAKEN				/* by another live one */
} NarvikIdChange;

extern NarvikIdChange narvik_store_change_id(const unsigned char *old_id,
											 const unsigned char *new_id,
											 TimestampTz now);
extern Jsonb *narvik_store_update_data(const unsigned char *id, Jsonb *patch,
									   TimestampTz now);
extern bool narvik_store_delete(const unsigned char *id, const char *reason);
extern bool narvik_store_end_replaced(const unsigned char *id, TimestampTz now);
extern int64 narvik_store_delete_for_user(const text *user_id,
										  const unsigned char *except_id,
										  const char *reason);
extern int64 narvik_store_rename_user(const text *old_id, const text *new_id);
extern int64 narvik_store_delete_of_users(void);
extern int64 narvik_store_delete_expired(TimestampTz now);

/* store_list.c */
extern void narvik_store_list_for_user(const text *user_id, TimestampTz now,
									   int32 max_rows,
									   TimestampTz created_before,
									   Tuplestorestate *rows);
extern Tuplestorestate *narvik_store_count_by_user(TupleDesc *desc);

/* store_lock.c */
extern bool narvik_store_become_purger(void);

/* store_sweep.c */

#define NARVIK_SWEEP_ROWS	1000000

/* An entry of the index on purge_hour; entries are ordered by hour and TID. */
typedef struct NarvikHourEntry
{
	int32		hour;
	ItemPointerData tid;
} NarvikHourEntry;

/*
 * How far a sweep has come, for the next process to go on there.  All zero is
 * the beginning.  It holds for one table in one file.
 */
typedef struct NarvikPlace
{
	Oid			table;
	Oid			file;			/* its number */
	NarvikHourEntry from;		/* index entries up to this one are done */
	NarvikHourEntry to;			/* the last entry of the walk under way */
	ItemPointerData done;		/* rows of that walk up to this one are done */
} NarvikPlace;

typedef struct NarvikSweep NarvikSweep;

extern NarvikSweep *narvik_store_begin_sweep(const NarvikPlace *place);
extern void narvik_store_end_sweep(NarvikSweep *sweep);
extern const NarvikPlace *narvik_store_sweep_place(const NarvikSweep *sweep);
extern int	narvik_store_sweep_unseen(const NarvikSweep *sweep);
extern int64 narvik_store_sweep_passed(const NarvikSweep *sweep);
extern bool narvik_store_sweep_is_new(const NarvikSweep *sweep);
extern bool narvik_store_sweep_at_end(const NarvikSweep *sweep);
extern int64 narvik_store_sweep_skipped(const NarvikSweep *sweep);
extern void narvik_store_find_expired(NarvikSweep *sweep, TimestampTz now);
extern void narvik_store_begin_batch(NarvikSweep *sweep);
extern int64 narvik_store_delete_found(NarvikSweep *sweep, int limit);
extern int	narvik_store_undo_batch(NarvikSweep *sweep);
extern int64 narvik_store_leave_row(NarvikSweep *sweep);

#endif							/* NARVIK_STORE_H */
