/*
 * store_sweep.c
 *		The sessions in the table: deleting the expired ones, a batch at a time.
 *
 * For the purge worker, a process with all rights.  So everything here is done
 * as the table's owner, before any index is opened, as autovacuum does it.
 *
 * Finding and deleting are two steps.  One walk along the index on purge_hour
 * finds many rows, oldest first, without reading any; then they are deleted in
 * the order of their places in the table, so that a page is not visited once
 * an hour found.
 *
 * A walk does not begin where the last one began: the entries of rows that were
 * deleted stay for as long as some old snapshot needs them, and there may be
 * millions.  A sweep's place says which index entries are done with, and which
 * of the rows that the last walk found; another process can go on from there.
 * It is of no use, and ignored, once the table has another file (TRUNCATE,
 * VACUUM FULL), and so is what was found in the old one.
 *
 * Rows are deleted by the table access method itself.  If the table has
 * triggers, or events are written, they are deleted by a statement instead.
 *
 * The worker offers its processor to others every tenth of a millisecond or
 * so: on a busy machine it would otherwise keep validations waiting for a whole
 * time slice.
 *
 * What others have locked is left for the next time.
 */
#include "postgres.h"
#include "compat.h"

#include <sched.h>

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "events.h"
#include "relation.h"
#include "sql.h"
#include "store.h"
#include "store_run.h"

struct NarvikSweep
{
	NarvikPlace place;
	TimestampTz now;			/* the moment that decides */
	int64		skipped;		/* expired, but locked */
	int64		passed;			/* entries that the last walk did not take */
	bool		is_new;			/* the last walk began at the beginning */
	bool		complete;		/* the last walk came to the end of the index */
	int			found;
	int			next;			/* the first that is still to be deleted */
	int			batch_began;	/* the first of the last batch */
	NarvikPlace batch_place;	/* before it */
	int			batch_rows;		/* expired ones in it, or unreadable */
	int			suspect;		/* the last of these */
	int64		suspect_seq;	/* 0: unreadable */
	ItemPointerData tids[NARVIK_SWEEP_ROWS];
};

/* How long to go on before giving way: about a tenth of a millisecond. */
#define ROWS_AT_A_STRETCH			100
#define ENTRIES_AT_A_STRETCH		500
#define COMPARISONS_AT_A_STRETCH	10000

static NarvikStatement delete_found = {
	.text = "DELETE FROM ONLY %1$s WHERE ctid = ANY (ARRAY("
	"SELECT ctid FROM ONLY %1$s WHERE ctid = ANY ($1) AND expires_at <= $2"
	" FOR UPDATE SKIP LOCKED))",
	.nparams = 2,
	.params = {TIDARRAYOID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/* ---- the sweep ---------------------------------------------------------- */

/* The walk is done with: the next one goes on behind it, without end. */
static void
finish_walk(NarvikPlace *place)
{
	place->from = place->to;
	place->to.hour = PG_INT32_MAX;
	ItemPointerSet(&place->to.tid, InvalidBlockNumber, InvalidOffsetNumber);
	ItemPointerSet(&place->done, 0, InvalidOffsetNumber);
}

static void
start_over(NarvikSweep *sweep, Relation rel)
{
	NarvikPlace *place = &sweep->place;

	place->table = RelationGetRelid(rel);
	place->file = narvik_relation_file(rel);
	place->to.hour = PG_INT32_MIN;
	ItemPointerSet(&place->to.tid, 0, InvalidOffsetNumber);
	finish_walk(place);
	sweep->next = sweep->found = 0;
	sweep->complete = false;
}

static bool
is_same_table(const NarvikSweep *sweep, Relation rel)
{
	return sweep->place.table == RelationGetRelid(rel) &&
		sweep->place.file == narvik_relation_file(rel);
}

/* In the top memory context, for many transactions. */
NarvikSweep *
narvik_store_begin_sweep(const NarvikPlace *place)
{
	NarvikSweep *sweep = MemoryContextAlloc(TopMemoryContext, sizeof(NarvikSweep));

	/* Not the TIDs, which are many megabytes. */
	memset(sweep, 0, offsetof(NarvikSweep, tids));
	sweep->place = *place;
	return sweep;
}

void
narvik_store_end_sweep(NarvikSweep *sweep)
{
	pfree(sweep);
}

const NarvikPlace *
narvik_store_sweep_place(const NarvikSweep *sweep)
{
	return &sweep->place;
}

/* How many were found and not looked at yet. */
int
narvik_store_sweep_unseen(const NarvikSweep *sweep)
{
	return sweep->found - sweep->next;
}

/* How many index entries the last walk came by without use. */
int64
narvik_store_sweep_passed(const NarvikSweep *sweep)
{
	return sweep->passed;
}

/* Whether the last walk was the first one through this table. */
bool
narvik_store_sweep_is_new(const NarvikSweep *sweep)
{
	return sweep->is_new;
}

/* Whether there was nothing to be found but what was found. */
bool
narvik_store_sweep_at_end(const NarvikSweep *sweep)
{
	return sweep->complete;
}

/* How many were left because others have locked them. */
int64
narvik_store_sweep_skipped(const NarvikSweep *sweep)
{
	return sweep->skipped;
}

/* ---- finding ------------------------------------------------------------ */

/* Costs nothing if nobody wants the processor. */
static void
give_way(void)
{
	CHECK_FOR_INTERRUPTS();
	sched_yield();
}

static inline int
compare_tids(ItemPointer a, ItemPointer b)
{
	static int	comparisons = 0;

	if (++comparisons >= COMPARISONS_AT_A_STRETCH)
	{
		comparisons = 0;
		give_way();
	}
	return ItemPointerCompare(a, b);
}

#define ST_SORT sort_tids
#define ST_ELEMENT_TYPE ItemPointerData
#define ST_COMPARE(a, b) compare_tids(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static inline int
compare_entries(const NarvikHourEntry *a, const NarvikHourEntry *b)
{
	if (a->hour != b->hour)
		return a->hour < b->hour ? -1 : 1;
	return ItemPointerCompare(unconstify(ItemPointerData *, &a->tid),
							  unconstify(ItemPointerData *, &b->tid));
}

/* The column cannot be null: the scan's keys are not true of a null. */
static bool
next_entry(IndexScanDesc scan, NarvikHourEntry *entry)
{
	ItemPointer tid = index_getnext_tid(scan, ForwardScanDirection);
	bool		isnull;

	if (tid == NULL)
		return false;
	entry->tid = *tid;
	entry->hour = DatumGetInt32(index_getattr(scan->xs_itup, 1,
											  scan->xs_itupdesc, &isnull));
	return true;
}

/*
 * Go on behind the entries that are done, to the end of the walk that was under
 * way if there was one.
 */
static void
walk(NarvikSweep *sweep, IndexScanDesc scan, int32 end_hour)
{
	NarvikPlace *place = &sweep->place;
	NarvikHourEntry entry;
	NarvikHourEntry last = place->from;
	int64		passed = 0;
	bool		beyond = false;

	sweep->next = sweep->found = 0;
	while (sweep->found < NARVIK_SWEEP_ROWS && next_entry(scan, &entry))
	{
		if (++passed % ENTRIES_AT_A_STRETCH == 0)
			give_way();
		if (compare_entries(&entry, &place->from) <= 0)
			continue;
		beyond = compare_entries(&entry, &place->to) > 0;
		if (beyond)
			break;
		last = entry;
		if (ItemPointerCompare(&entry.tid, &place->done) > 0)
			sweep->tids[sweep->found++] = entry.tid;
	}
	sweep->passed = passed - sweep->found;
	sweep->complete = !beyond && sweep->found < NARVIK_SWEEP_ROWS;
	if (sweep->complete)
	{
		last.hour = end_hour;
		ItemPointerSet(&last.tid, 0, InvalidOffsetNumber);
	}
	place->to = last;
	sort_tids(sweep->tids, sweep->found);
}

/*
 * Find sessions that may have expired in an hour wholly past, oldest first, as
 * many as the sweep can hold.  All that was found before has been looked at.
 */
void
narvik_store_find_expired(NarvikSweep *sweep, TimestampTz now)
{
	Relation	rel = narvik_relation_open(AccessShareLock);
	int32		end_hour = narvik_purge_hour(now);
	NarvikCaller caller;
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	bool		ordered;

	if (!is_same_table(sweep, rel))
		start_over(sweep, rel);
	narvik_become_owner(rel, &caller);
	index = narvik_relation_open_hour_index(rel);

	/*
	 * In an index that somebody made in another order nothing is behind a
	 * place.
	 */
	ordered = IndexRelationGetNumberOfKeyAttributes(index) == 1 &&
		(index->rd_indoption[0] & INDOPTION_DESC) == 0;
	if (!ordered)
		start_over(sweep, rel);

	sweep->now = now;
	sweep->is_new = sweep->place.from.hour == PG_INT32_MIN &&
		!ItemPointerIsValid(&sweep->place.done);
	scan = narvik_index_beginscan(rel, index, GetActiveSnapshot(), lengthof(keys));
	scan->xs_want_itup = true;
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT4GE,
				Int32GetDatum(sweep->place.from.hour));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_INT4LT,
				Int32GetDatum(end_hour));
	index_rescan(scan, keys, lengthof(keys), NULL, 0);
	walk(sweep, scan, end_hour);
	if (!ordered)
		sweep->complete = true;
	if (sweep->found == 0)
		finish_walk(&sweep->place);

	index_endscan(scan);
	index_close(index, NoLock);
	narvik_become_caller(&caller);
	table_close(rel, NoLock);
}

/* ---- deleting ----------------------------------------------------------- */

/* All that was found is done, up to the one before this. */
static void
pass(NarvikSweep *sweep, int next)
{
	sweep->next = next;
	sweep->place.done = sweep->tids[next - 1];
	if (sweep->next == sweep->found)
		finish_walk(&sweep->place);
}

/*
 * Look at what is at a place now: it may have been found in an earlier
 * transaction, and given to another row since.
 */
static bool
is_expired(IndexFetchTableData *fetch, const ItemPointerData *place, TimestampTz now,
		   TupleTableSlot *slot)
{
	ItemPointerData tid = *place;
	bool		call_again = false;
	bool		isnull;
	Datum		expires_at;

	/*
	 * It is the beginning of a HOT chain, which this follows.  The place
	 * itself is needed again if the batch fails.
	 */
	if (!table_index_fetch_tuple(fetch, &tid, GetActiveSnapshot(), slot,
								 &call_again, NULL))
		return false;
	expires_at = slot_getattr(slot, Anum_narvik_expires_at, &isnull);
	return !isnull && DatumGetTimestampTz(expires_at) <= now;
}

static bool
delete_directly(Relation rel, ItemPointer tid)
{
	TM_FailureData failure;

	return narvik_tuple_delete(rel, tid, GetCurrentCommandId(true),
							   GetActiveSnapshot(), &failure) == TM_Ok;
}

/* Looks at the expiry again, should a row have changed before it is locked. */
static int64
delete_by_statement(ItemPointer tids, int n, TimestampTz now)
{
	Datum	   *elements = palloc(n * sizeof(Datum));
	Datum		values[2];

	for (int i = 0; i < n; i++)
		elements[i] = PointerGetDatum(&tids[i]);
	values[0] = PointerGetDatum(construct_array(elements, n, TIDOID,
												sizeof(ItemPointerData), false,
												TYPALIGN_SHORT));
	values[1] = TimestampTzGetDatum(now);
	return narvik_run_ending(&delete_found, values, NULL, 0, NARVIK_TIMED_OUT);
}

/* What the executor would see to. */
static void
check_delete_allowed(Relation rel)
{
	AclResult	allowed = pg_class_aclcheck(RelationGetRelid(rel),
											rel->rd_rel->relowner, ACL_DELETE);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_TABLE, RelationGetRelationName(rel));
	CheckCmdReplicaIdentity(rel, CMD_DELETE);
}

/*
 * Look at the next of those that were found; the expired go to the list, and
 * those that can be are deleted.  How many were.
 */
static int64
look_at_batch(NarvikSweep *sweep, Relation rel, int end, bool directly,
			  ItemPointer expired)
{
	/* The lock on the table rules out that it gets shorter. */
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexFetchTableData *fetch = narvik_index_fetch_begin(rel);
	int64		deleted = 0;

	for (int i = sweep->next; i < end; i++)
	{
		int			suspect = sweep->suspect;
		bool		isnull;

		if (i % ROWS_AT_A_STRETCH == 0)
			give_way();
		if (ItemPointerGetBlockNumber(&sweep->tids[i]) >= nblocks)
			continue;
		sweep->suspect = i;
		sweep->batch_rows++;
		if (!is_expired(fetch, &sweep->tids[i], sweep->now, slot))
		{
			sweep->suspect = suspect;
			sweep->batch_rows--;
			continue;
		}
		sweep->suspect_seq = DatumGetInt64(slot_getattr(slot, Anum_narvik_seq, &isnull));
		expired[sweep->batch_rows - 1] = slot->tts_tid;
		if (directly)
			deleted += delete_directly(rel, &slot->tts_tid);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_index_fetch_end(fetch);
	return deleted;
}

/*
 * Called before the transaction that deletes the next few, which may fail
 * before it comes to them.
 */
void
narvik_store_begin_batch(NarvikSweep *sweep)
{
	sweep->batch_began = sweep->next;
	sweep->batch_place = sweep->place;
	sweep->batch_rows = 0;
	sweep->suspect_seq = 0;
}

/*
 * Delete the next few of those that were found; how many there were.
 */
int64
narvik_store_delete_found(NarvikSweep *sweep, int limit)
{
	Relation	rel = narvik_relation_open(RowExclusiveLock);
	NarvikCaller caller;
	bool		directly = rel->trigdesc == NULL && ExecutorCheckPerms_hook == NULL &&
		!narvik_events_are_on();
	ItemPointer expired = palloc(limit * sizeof(ItemPointerData));
	int			end = Min(sweep->next + limit, sweep->found);
	int64		deleted;

	if (!is_same_table(sweep, rel))
	{
		start_over(sweep, rel);
		table_close(rel, NoLock);
		return 0;
	}

	/* Before any row is looked at, which would be thought to be the reason. */
	narvik_events_open_to_write();
	narvik_become_owner(rel, &caller);
	check_delete_allowed(rel);
	deleted = look_at_batch(sweep, rel, end, directly, expired);
	if (!directly && sweep->batch_rows > 0)
		deleted = delete_by_statement(expired, sweep->batch_rows, sweep->now);
	narvik_become_caller(&caller);
	table_close(rel, NoLock);
	pass(sweep, end);
	sweep->skipped += sweep->batch_rows - deleted;
	return deleted;
}

/* ---- a batch that failed ------------------------------------------------ */

/*
 * The last batch failed and was rolled back: it is to be deleted again.  How
 * many rows it tried to delete; 0 if it did not come to any.
 */
int
narvik_store_undo_batch(NarvikSweep *sweep)
{
	sweep->next = sweep->batch_began;
	sweep->place = sweep->batch_place;
	return sweep->batch_rows;
}

/*
 * Leave the only row of the last batch alone.  Its seq; 0 if it was not even
 * possible to read it.
 */
int64
narvik_store_leave_row(NarvikSweep *sweep)
{
	pass(sweep, sweep->suspect + 1);
	return sweep->suspect_seq;
}
