/*
 * store_lock.c
 *		The sessions in the table: locking users, rows before they are changed,
 *		and other purges out.
 *
 * What ends or changes sessions works on the newest state, whatever the
 * isolation level: a log-out that misses what was committed since the
 * transaction's snapshot would be none.  An SQL statement cannot do that.
 * Above READ COMMITTED it raises serialization_failure for a row that was
 * merely extended meanwhile.  At READ COMMITTED it waits for whoever is about
 * to replace a row by another one, and then does not see the other one.  So a
 * row's newest version is locked first, by the table access method, and
 * "there is none" is believed only of a look that found nothing to wait for.
 *
 * Everything that locks takes its locks in one order: the id that a session is
 * given, or whose session is given to a user, users (both only while sessions
 * are limited, but for a change of the id), then rows by seq.  All locks last
 * until the transaction ends.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "events.h"
#include "identity.h"
#include "relation.h"
#include "store_lock.h"

/* Users share this many locks, so that a transaction can meet any number. */
#define USER_LOCKS	1024

/* And ids that sessions are given, this many. */
#define ID_LOCKS	1024

/* How many rows are locked before they are changed by one statement. */
#define ROWS_AT_A_TIME	1000

/* ---- users -------------------------------------------------------------- */

/*
 * Creations for one user are serialised while sessions are limited, or two at
 * once would both find room.  Object locks have a key space of their own, so an
 * application's advisory locks cannot get in the way.
 */
static void
set_user_locktag(LOCKTAG *tag, const text *user_id)
{
	Relation	rel = narvik_relation_open(AccessShareLock);
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(user_id),
								  VARSIZE_ANY_EXHDR(user_id));

	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, RelationGetRelid(rel),
					   hash % USER_LOCKS, 0);
	table_close(rel, NoLock);
}

/* Guests, whose user_id is NULL, are not limited. */
void
narvik_lock_user(const text *user_id)
{
	LOCKTAG		tag;

	if (narvik_max_sessions_per_user == 0 || user_id == NULL)
		return;
	set_user_locktag(&tag, user_id);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* As committed now; NULL if it is a guest's, or not there. */
static const text *
owner_of(const unsigned char *id)
{
	NarvikSession session;

	return narvik_store_find(id, NARVIK_LATEST, NARVIK_NO_DATA, &session) ? session.user_id : NULL;
}

static int
compare_tags(const void *a, const void *b)
{
	uint32		field_a = ((const LOCKTAG *) a)->locktag_field3;
	uint32		field_b = ((const LOCKTAG *) b)->locktag_field3;

	return field_a < field_b ? -1 : field_a > field_b;
}

/*
 * The user whose session this is, and another one who is about to get it, or
 * NULL: in an order that is the same for all, or two that exchange sessions would
 * wait for each other.  If the session gets another user meanwhile, all over
 * again.  A lock that the transaction had before stays.
 *
 * The id comes first if the session gets a user.  Else somebody else could give it
 * to a third one after this, who would be locked out of turn.
 */
void
narvik_lock_users_of_change(const unsigned char *id, const text *user_id)
{
	if (narvik_max_sessions_per_user > 0 && user_id != NULL)
		narvik_lock_new_id(id);
	while (narvik_max_sessions_per_user > 0)
	{
		const text *owner = owner_of(id);
		LOCKTAG		tags[2];
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		if (owner != NULL)
			set_user_locktag(&tags[n++], owner);
		if (user_id != NULL)
			set_user_locktag(&tags[n++], user_id);
		qsort(tags, n, sizeof(LOCKTAG), compare_tags);
		for (int i = 0; i < n; i++)
			(void) LockAcquire(&tags[i], ExclusiveLock, false, false);
		if (narvik_is_same_user_id(owner_of(id), owner))
			break;
		for (int i = 0; i < n; i++)
			(void) LockRelease(&tags[i], ExclusiveLock, false);
	}
}

/* False if somebody else has it. */
bool
narvik_lock_user_if_free(const text *user_id)
{
	LOCKTAG		tag;

	if (narvik_max_sessions_per_user == 0 || user_id == NULL)
		return true;
	set_user_locktag(&tag, user_id);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- ids ---------------------------------------------------------------- */

/*
 * An id that a session is about to be given.  Two updates to one id would each
 * find the other's in the index, and wait for each other.
 */
void
narvik_lock_new_id(const unsigned char *id)
{
	LOCKTAG		tag;
	Relation	rel = narvik_relation_open(AccessShareLock);

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationGetRelid(rel),
					   hash_bytes(id, NARVIK_ID_BYTES) % ID_LOCKS, 2);
	table_close(rel, NoLock);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* ---- the purge ---------------------------------------------------------- */

/*
 * Whether this transaction may purge: at most one does at a time.
 */
bool
narvik_store_become_purger(void)
{
	Relation	rel = narvik_relation_open(AccessShareLock);
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationGetRelid(rel), 0, 1);
	table_close(rel, NoLock);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* ---- rows --------------------------------------------------------------- */

/*
 * Wait for a row, and lock it.  With TUPLE_LOCK_FLAG_FIND_LAST_VERSION its newest
 * version, whose TID replaces the given one, or TM_Deleted if there is none any
 * more; without, TM_Updated if there is a newer one.
 */
static TM_Result
lock_row(Relation rel, ItemPointer tid, LockTupleMode mode, uint8 flags,
		 TupleTableSlot *slot)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(rel, tid, GetActiveSnapshot(), slot,
										  GetCurrentCommandId(false), mode,
										  LockWaitBlock, flags, &failure);

	if (result == TM_Ok)
		*tid = slot->tts_tid;
	return result;
}

/*
 * Lock a session by its id, live or expired; its newest version.  False if there
 * is none, and then it is not this transaction's identity any longer either.
 *
 * Somebody who was waited for may have deleted it and saved another one under
 * its id, or given it another id: then it is looked for again.  A newer version is
 * not followed, or the lock on a row that has another id by now would stay, and
 * two that change ids could wait for each other.
 */
bool
narvik_lock_session(const unsigned char *id, LockTupleMode mode, NarvikDataPart data,
					NarvikSession *session)
{
	Relation	rel = narvik_relation_open(RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		locked = false;

	while (!locked)
	{
		TM_Result	result;

		CHECK_FOR_INTERRUPTS();
		narvik_lock_users_of_change(id, NULL);
		if (!narvik_store_find(id, NARVIK_LATEST, NARVIK_NO_DATA, session))
			break;
		result = lock_row(rel, &session->tid, mode, 0, slot);
		/* Changed by the very command that called: not ours to change again. */
		if (result == TM_SelfModified || result == TM_Invisible)
			break;
		locked = result == TM_Ok && narvik_slot_has_id(slot, id);
	}
	if (locked)
		narvik_session_from_slot(slot, id, data, session);
	else
		narvik_identity_session_ended(id);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return locked;
}

/*
 * Lock a live session.  If there is none, it is not this transaction's identity
 * any longer either.
 */
bool
narvik_lock_live_session(const unsigned char *id, LockTupleMode mode,
						 NarvikDataPart data, TimestampTz now, NarvikSession *session)
{
	if (narvik_lock_session(id, mode, data, session) &&
		!narvik_has_expired(&session->terms, now))
		return true;
	narvik_identity_session_ended(id);
	return false;
}

/* ---- many rows ---------------------------------------------------------- */

/* Of one look: how many rows were found, and the last of them. */
typedef struct Look
{
	uint64		found;
	int64		last_seq;
	int64		changed;
} Look;

/* Lock the rows of a result (seq, ctid); their TIDs as an array. */
static Datum
lock_result(Relation rel, TupleTableSlot *slot, Look *look)
{
	ItemPointerData *tids = palloc(SPI_processed * sizeof(ItemPointerData));
	Datum	   *datums = palloc(SPI_processed * sizeof(Datum));
	int			n = 0;

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		look->last_seq = DatumGetInt64(narvik_run_column(row, 1));
		tids[n] = *(ItemPointer) DatumGetPointer(narvik_run_column(row, 2));
		if (lock_row(rel, &tids[n], LockTupleExclusive,
					 TUPLE_LOCK_FLAG_FIND_LAST_VERSION, slot) == TM_Ok)
		{
			datums[n] = PointerGetDatum(&tids[n]);
			n++;
		}
	}
	look->found += SPI_processed;
	return PointerGetDatum(construct_array(datums, n, TIDOID,
										   sizeof(ItemPointerData), false,
										   TYPALIGN_SHORT));
}

/* The next rows of the cursor; false if there are none. */
static bool
change_batch(Relation rel, TupleTableSlot *slot, Portal found, NarvikStatement *change,
			 Datum *values, const char *nulls, int how, const char *reason, Look *look)
{
	MemoryContext batch;
	MemoryContext old;

	SPI_cursor_fetch(found, true, ROWS_AT_A_TIME);
	if (SPI_processed == 0)
		return false;
	batch = AllocSetContextCreate(CurrentMemoryContext, "narvik rows to change",
								  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(batch);
	values[0] = lock_result(rel, slot, look);
	SPI_freetuptable(SPI_tuptable);
	look->changed += reason == NULL ?
		narvik_run_count(change, values, nulls, how) :
		narvik_run_ending(change, values, nulls, how, reason);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
	return true;
}

static Look
change_rows_once(NarvikStatement *find, NarvikStatement *change, Datum *values,
				 const char *nulls, int how, const char *reason)
{
	Relation	rel = narvik_relation_open(RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Look		look = {0};
	NarvikRun	run;
	Portal		found;

	values[0] = PointerGetDatum(construct_empty_array(TIDOID));
	found = narvik_run_cursor(&run, find, values, nulls, how | NARVIK_NEWEST_STATE);
	while (change_batch(rel, slot, found, change, values, nulls,
						(how & NARVIK_ANNOUNCED) | NARVIK_NEWEST_STATE, reason, &look))
		CHECK_FOR_INTERRUPTS();
	SPI_cursor_close(found);
	narvik_run_end(&run);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return look;
}

/*
 * Change all rows that a query finds, and how many those were.  The query
 * answers (seq, ctid) in the order of seq; the statement that changes them gets
 * their TIDs as $1, and has to say again what it wants of a row: it may have
 * been changed before it was locked.  Both have the same parameters.  If it
 * deletes them, the reason is why; else NULL.
 *
 * While the rows were waited for, others may have come: so it looks again until
 * there are none, or none but those that a trigger keeps.
 */
int64
narvik_change_rows(NarvikStatement *find, NarvikStatement *change,
				   Datum *values, const char *nulls, int how,
				   const char *reason)
{
	Look		before = {0};
	int64		changed = 0;

	for (;;)
	{
		Look		look = change_rows_once(find, change, values, nulls, how, reason);

		changed += look.changed;
		if (look.found == 0 ||
			(look.changed == 0 && look.found == before.found &&
			 look.last_seq == before.last_seq))
			return changed;
		before = look;
	}
}
