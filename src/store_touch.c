/*
 * store_touch.c
 *		The sessions in the table: what validation writes on the way, to a row
 *		that it has just read.
 *
 * It never waits, neither for the row nor for the RowExclusiveLock on the table
 * that a write to it needs: validation is the one function that every request
 * calls.  A row that somebody else has is left alone.  All locks last until
 * the transaction ends.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

#include "relation.h"
#include "store.h"
#include "store_run.h"

static NarvikStatement extend = {
	.text = "UPDATE ONLY %s SET expires_at = $2, purge_hour = $3 WHERE ctid = $1",
	.nparams = 3,
	.params = {TIDOID, TIMESTAMPTZOID, INT4OID},
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

	if (ConditionalLockRelation(rel, RowExclusiveLock))
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

/* Give a session a new expiry, unless its row is not free or has changed. */
NarvikTouch
narvik_store_extend_if_free(const NarvikSession *session, TimestampTz expires_at)
{
	NarvikTouch touch = lock_if_free(session, LockTupleNoKeyExclusive);
	Datum		values[3];

	if (touch != NARVIK_DONE)
		return touch;
	values[0] = PointerGetDatum(&session->tid);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(expires_at));
	/* A trigger can keep the row from being updated. */
	return narvik_run_count(&extend, values, NULL, 0) > 0 ? NARVIK_DONE : NARVIK_BUSY;
}

/* Delete an expired session, unless its row is not free or has changed. */
NarvikTouch
narvik_store_delete_if_free(const NarvikSession *session)
{
	NarvikTouch touch = lock_if_free(session, LockTupleExclusive);
	Datum		value = PointerGetDatum(&session->tid);

	if (touch == NARVIK_DONE)
		(void) narvik_run_count(&delete, &value, NULL, 0);
	return touch;
}
