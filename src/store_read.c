/*
 * store_read.c
 *		The sessions in the table: reading one by its id, or by one it had.
 *
 * A session is read by a direct scan of the hash index on its id, without
 * parser, planner and executor: validation happens on every request.  Neither
 * privileges nor row-level security are checked on this way; the right to
 * execute the function is the gate.  No code of the table's owner runs.
 *
 * Locks: AccessShareLock on table and index, until the transaction ends.
 *
 * What is returned is allocated in the caller's memory context and, but for
 * stored_data, is free of TOAST pointers, so that it outlives the row.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "relation.h"
#include "store.h"
#include "store_run.h"
#include "token.h"

/*
 * Whether the snapshot that the transaction keeps above READ COMMITTED need not
 * show what the transaction itself has done to sessions: that was done to the
 * newest version of a row.  If the snapshot shows an older one, as the session was
 * extended since, it goes on showing a session that this transaction ended.
 * Within a parallel query there is no other snapshot to be had.
 */
bool
narvik_store_snapshot_is_outdated(void)
{
	return IsolationUsesXactSnapshot() && !IsInParallelMode() &&
		narvik_run_changed_newest_state();
}

/*
 * The snapshot to look a session up with.  In READ COMMITTED the newest
 * state counts, even late in a long statement: a session that was revoked
 * meanwhile is dead, and one that this statement created is there, which the
 * statement's own snapshot would not show.  The other isolation levels keep
 * to their transaction's snapshot, except for what is going to be changed, and
 * unless it is outdated.
 */
static Snapshot
choose_snapshot(NarvikView view)
{
	if (view == NARVIK_ACTIVE)
		return GetActiveSnapshot();
	if (narvik_store_snapshot_is_outdated())
		return GetLatestSnapshot();
	if (view == NARVIK_STATEMENT || IsInParallelMode())
		return GetActiveSnapshot();
	if (view == NARVIK_NEWEST && IsolationUsesXactSnapshot())
		return GetTransactionSnapshot();
	return GetLatestSnapshot();
}

/* For looking a session up NARVIK_ACTIVE, and more in the same snapshot; to be popped. */
void
narvik_store_push_newest(void)
{
	PushActiveSnapshot(choose_snapshot(NARVIK_NEWEST));
}

/*
 * The index knows only hash codes, so the id itself must be compared.
 */
bool
narvik_slot_has_id(TupleTableSlot *slot, const unsigned char *id)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, Anum_narvik_id, &isnull);
	bytea	   *found;

	if (isnull)
		return false;
	found = DatumGetByteaPP(datum);
	return VARSIZE_ANY_EXHDR(found) == NARVIK_ID_BYTES &&
		memcmp(VARDATA_ANY(found), id, NARVIK_ID_BYTES) == 0;
}

static bool
may_be_null(int attnum)
{
	return attnum == Anum_narvik_user_id || attnum == Anum_narvik_lifetime ||
		(attnum >= Anum_narvik_ends_at && attnum <= Anum_narvik_active_at);
}

static TimestampTz
timestamp_from_slot(TupleTableSlot *slot, AttrNumber attnum, TimestampTz if_null)
{
	return slot->tts_isnull[attnum - 1] ? if_null :
		DatumGetTimestampTz(slot->tts_values[attnum - 1]);
}

/*
 * The session in a slot, whose id is known.
 */
void
narvik_session_from_slot(TupleTableSlot *slot, const unsigned char *id,
						 NarvikDataPart data, NarvikSession *session)
{
	Datum	   *values = slot->tts_values;

	/* What stands behind these, only SQL reads. */
	slot_getsomeattrs(slot, Anum_narvik_purge_hour);
	for (int attnum = 1; attnum <= Anum_narvik_purge_hour; attnum++)
	{
		if (slot->tts_isnull[attnum - 1] && !may_be_null(attnum))
			narvik_report_bad_column(NameStr(TupleDescAttr(slot->tts_tupleDescriptor,
														   attnum - 1)->attname));
	}

	session->tid = slot->tts_tid;
	memcpy(session->id, id, NARVIK_ID_BYTES);
	session->user_id = slot->tts_isnull[Anum_narvik_user_id - 1] ? NULL :
		DatumGetTextPCopy(values[Anum_narvik_user_id - 1]);
	session->authenticated_at = timestamp_from_slot(slot, Anum_narvik_authenticated_at, DT_NOBEGIN);
	session->active_at = timestamp_from_slot(slot, Anum_narvik_active_at, DT_NOBEGIN);
	session->terms.guest = session->user_id == NULL;
	session->terms.created_at = DatumGetTimestampTz(values[Anum_narvik_created_at - 1]);
	session->terms.expires_at = DatumGetTimestampTz(values[Anum_narvik_expires_at - 1]);
	session->terms.ends_at = timestamp_from_slot(slot, Anum_narvik_ends_at, DT_NOEND);
	session->terms.sliding = DatumGetBool(values[Anum_narvik_sliding - 1]);
	session->terms.has_lifetime = !slot->tts_isnull[Anum_narvik_lifetime - 1];
	if (session->terms.has_lifetime)
		session->terms.lifetime = *DatumGetIntervalP(values[Anum_narvik_lifetime - 1]);
	session->data = data == NARVIK_WHOLE_DATA ?
		DatumGetJsonbPCopy(values[Anum_narvik_data - 1]) : NULL;
	session->stored_data = data == NARVIK_STORED_DATA ?
		(struct varlena *) DatumGetPointer(datumCopy(values[Anum_narvik_data - 1], false, -1)) : NULL;
}

/*
 * Look a session up by its id.  False if there is none.
 */
bool
narvik_store_find(const unsigned char *id, NarvikView view,
				  NarvikDataPart data, NarvikSession *session)
{
	Relation	rel = narvik_relation_open(AccessShareLock);
	Relation	index = narvik_relation_open_id_index();
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(choose_snapshot(view));
	IndexScanDesc scan = narvik_index_beginscan(rel, index, snapshot, 1);
	union
	{
		bytea		varlena;
		char		bytes[VARHDRSZ + NARVIK_ID_BYTES];
	}			wanted;
	ScanKeyData key;
	bool		found = false;

	SET_VARSIZE(&wanted.varlena, sizeof(wanted.bytes));
	memcpy(VARDATA(&wanted.varlena), id, NARVIK_ID_BYTES);
	ScanKeyInit(&key, 1, HTEqualStrategyNumber, F_BYTEAEQ,
				PointerGetDatum(&wanted.varlena));
	index_rescan(scan, &key, 1, NULL, 0);
	while (!found && index_getnext_slot(scan, ForwardScanDirection, slot))
		found = narvik_slot_has_id(slot, id);
	if (found)
		narvik_session_from_slot(slot, id, data, session);

	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

/* Whether there is a live session with this id, as committed now. */
bool
narvik_store_has_live(const unsigned char *id, TimestampTz now)
{
	NarvikSession session;

	return narvik_store_find(id, NARVIK_LATEST, NARVIK_NO_DATA, &session) &&
		!narvik_has_expired(&session.terms, now);
}

/* ---- by an id that rotation replaced ------------------------------------- */

static NarvikStatement find_replaced = {
	.text = "SELECT id, replaced_at[pg_catalog.array_position(replaced_ids, $1)]"
	" FROM ONLY %s WHERE replaced_ids @> ARRAY[$1] LIMIT 1",
	.nparams = 1,
	.params = {BYTEAOID},
	.ncolumns = 2,
	.columns = {BYTEAOID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/*
 * The session that had this id, and until when.  False if there is none.  For
 * ids that no session has: not on the way of a valid token.
 */
bool
narvik_store_find_replaced(const unsigned char *id, NarvikView view,
						   unsigned char *present_id, TimestampTz *replaced_at)
{
	Datum		value = narvik_id_datum(id);
	NarvikRun	run;
	bool		found;

	PushActiveSnapshot(choose_snapshot(view));
	narvik_run_begin(&run, &find_replaced, &value, NULL, NARVIK_READ_ONLY);
	found = SPI_processed > 0;
	if (found)
	{
		bytea	   *present = DatumGetByteaPP(narvik_run_column(0, 1));

		found = VARSIZE_ANY_EXHDR(present) == NARVIK_ID_BYTES;
		if (found)
			memcpy(present_id, VARDATA_ANY(present), NARVIK_ID_BYTES);
		*replaced_at = DatumGetTimestampTz(narvik_run_column(0, 2));
	}
	narvik_run_end(&run);
	PopActiveSnapshot();
	return found;
}
