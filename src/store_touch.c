/*
 * store_touch.c
 *		The sessions in the table: what validation writes on the way, to a row
 *		that it has just read.
 *
 * It never waits, neither for the row nor for the locks that a write to it
 * needs, which are those on the user and RowExclusiveLock on the table, and on
 * that of the events: validation is the one function that every request calls.
 * A row that somebody else has is left alone.  What others have added to the
 * tables may have to wait all the same, as a row that refers to a session is
 * locked, or an index: so long, and no longer, that a moment's lock is no reason
 * to give up.  All locks last until the transaction ends.
 *
 * Nor does it fail: validation has its answer without the write.  Each write is
 * a subtransaction of its own, as an EXCEPTION block of PL/pgSQL is.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "events.h"
#include "relation.h"
#include "store.h"
#include "store_lock.h"
#include "store_run.h"

#define MAX_WAIT_MS	100

/* How often a backend writes to the log that it could not write. */
#define COMPLAINT_INTERVAL_MS	60000

static NarvikStatement touch = {
	.text = "UPDATE ONLY %s SET expires_at = $2, purge_hour = $3, active_at = $4 WHERE ctid = $1",
	.nparams = 4,
	.params = {TIDOID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete = {
	.text = "DELETE FROM ONLY %s WHERE ctid = $1",
	.nparams = 1,
	.params = {TIDOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/*
 * Lock the version of a row that was read, if that is possible at once.
 *
 * SELECT ... FOR UPDATE SKIP LOCKED would not do: above READ COMMITTED it
 * raises serialization_failure for a row changed since the snapshot, where
 * this answers NARVIK_CHANGED.
 */
static NarvikTouch
lock_if_free(const NarvikSession *session, LockTupleMode mode)
{
	Relation	rel = narvik_relation_open(AccessShareLock);
	ItemPointerData tid = session->tid;
	NarvikTouch answer = NARVIK_BUSY;

	if (narvik_lock_user_if_free(session->user_id) &&
		ConditionalLockRelation(rel, RowExclusiveLock))
	{
		TupleTableSlot *slot = table_slot_create(rel, NULL);
		TM_FailureData failure;

		switch (table_tuple_lock(rel, &tid, GetActiveSnapshot(), slot,
								 GetCurrentCommandId(false), mode,
								 LockWaitSkip, 0, &failure))
		{
			case TM_Ok:
				answer = NARVIK_DONE;
				break;
			case TM_Updated:
			case TM_Deleted:
				answer = NARVIK_CHANGED;
				break;
			default:			/* locked, or changed by this very command */
				break;
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(rel, NoLock);
	return answer;
}

/* The write has to see the version that the look-up found. */
static int
state_of_look(void)
{
	return narvik_store_snapshot_is_outdated() ? NARVIK_NEWEST_STATE : 0;
}

/* A write, and what became of it. */
typedef struct Write
{
	const NarvikSession *session;
	TimestampTz expires_at;
	TimestampTz active_at;
	const char *reason;
	NarvikTouch touch;
} Write;

static void
write_times(void *arg)
{
	Write	   *w = arg;
	Datum		values[4];

	w->touch = lock_if_free(w->session, LockTupleNoKeyExclusive);
	if (w->touch != NARVIK_DONE)
		return;
	values[0] = PointerGetDatum(&w->session->tid);
	values[1] = TimestampTzGetDatum(w->expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(w->expires_at));
	values[3] = TimestampTzGetDatum(w->active_at);
	/* A trigger can keep the row from being updated. */
	if (narvik_run_count(&touch, values, TIMESTAMP_IS_NOBEGIN(w->active_at) ? "   n" : NULL, state_of_look()) == 0)
		w->touch = NARVIK_BUSY;
}

static void
delete_row(void *arg)
{
	Write	   *w = arg;
	Datum		value = PointerGetDatum(&w->session->tid);

	w->touch = narvik_events_lock_to_write_if_free() ?
		lock_if_free(w->session, LockTupleExclusive) : NARVIK_BUSY;
	/* A trigger can keep the row. */
	if (w->touch == NARVIK_DONE &&
		narvik_run_ending(&delete, &value, NULL, state_of_look() | NARVIK_ANNOUNCED, w->reason) == 0)
		w->touch = NARVIK_BUSY;
}

/* ---- writes that may fail ------------------------------------------------ */

/*
 * What has to end the statement: cancel, termination and shutdown, no memory,
 * and a conflict that only doing the whole transaction again resolves.
 */
static bool
must_be_raised(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_OPERATOR_INTERVENTION ||
		sqlstate == ERRCODE_OUT_OF_MEMORY ||
		sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

static void
complain(const ErrorData *error)
{
	static int64 last_ms = 0;
	int64		now_ms = narvik_steady_ms();

	if (last_ms != 0 && now_ms - last_ms < COMPLAINT_INTERVAL_MS)
		return;
	last_ms = now_ms;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("validation could not write to the table of sessions"),
			 errdetail_internal("%s", error->message),
			 errhint("Sessions are valid, but not extended or removed, until this is mended.")));
}

/* NARVIK_BUSY if it fails. */
static NarvikTouch
try_to_write(void (*write) (void *arg), Write *w)
{
	int			guc_level = NewGUCNestLevel();
	ErrorData  *error;

	if (LockTimeout == 0 || LockTimeout > MAX_WAIT_MS)
		narvik_set_for_owner("lock_timeout", CppAsString2(MAX_WAIT_MS));
	error = narvik_attempt(write, w);
	AtEOXact_GUC(false, guc_level);
	if (error == NULL)
		return w->touch;
	if (must_be_raised(error->sqlerrcode))
		ReThrowError(error);
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		complain(error);
	FreeErrorData(error);
	return NARVIK_BUSY;
}

/*
 * Write when a session expires and when it was used, unless its row is not free
 * or has changed.
 */
NarvikTouch
narvik_store_touch_if_free(const NarvikSession *session, TimestampTz expires_at,
						   TimestampTz active_at)
{
	Write		w = {.session = session,.expires_at = expires_at,.active_at = active_at};

	return try_to_write(write_times, &w);
}

/* Delete a session that is over, unless its row is not free or has changed. */
NarvikTouch
narvik_store_delete_if_free(const NarvikSession *session, const char *reason)
{
	Write		w = {.session = session,.reason = reason};

	return try_to_write(delete_row, &w);
}
