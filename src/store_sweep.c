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
 * an hour found.  Many batches live on one walk: one each would have to pass
 * all that the ones before it deleted, for as long as some old snapshot still
 * needs them.
 *
 * Rows are deleted by the table access method itself.  If the table has
 * triggers, they are deleted by a statement instead.
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
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "relation.h"
#include "sql.h"
#include "store.h"
#include "store_run.h"

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

/*
 * Find sessions that may have expired in an hour wholly past, oldest first, as
 * many as the sweep can hold.  Repeated, it goes on behind the last ones.
 */
void
narvik_store_find_expired(NarvikSweep *sweep, TimestampTz now)
{
	Relation	rel = narvik_relation_open(AccessShareLock);
	NarvikCaller caller;
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData key;
	ItemPointer tid;
	int64		passed = 0;

	narvik_become_owner(rel, &caller);
	index = narvik_relation_open_hour_index(rel);
	scan = narvik_index_beginscan(rel, index, GetActiveSnapshot(), 1);
	sweep->now = now;
	sweep->next = sweep->found = 0;
	ScanKeyInit(&key, 1, BTLessStrategyNumber, F_INT4LT,
				Int32GetDatum(narvik_purge_hour(now)));
	index_rescan(scan, &key, 1, NULL, 0);
	while (sweep->found < NARVIK_SWEEP_ROWS &&
		   (tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		if (++passed % ENTRIES_AT_A_STRETCH == 0)
			give_way();
		if (passed > sweep->passed)
			sweep->tids[sweep->found++] = *tid;
	}
	sweep->passed = passed;
	sweep->complete = sweep->found < NARVIK_SWEEP_ROWS;
	sort_tids(sweep->tids, sweep->found);

	index_endscan(scan);
	index_close(index, NoLock);
	narvik_become_caller(&caller);
	table_close(rel, NoLock);
}

/* ---- deleting ----------------------------------------------------------- */

/*
 * Look at what is at a place now: it may have been found in an earlier
 * transaction, and given to another row since.
 */
static bool
is_expired(IndexFetchTableData *fetch, ItemPointer tid, TimestampTz now,
		   TupleTableSlot *slot)
{
	bool		call_again = false;
	bool		isnull;
	Datum		expires_at;

	/* It is the beginning of a HOT chain, which this follows. */
	if (!table_index_fetch_tuple(fetch, tid, GetActiveSnapshot(), slot,
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
	return narvik_run_count(&delete_found, values, NULL, 0);
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
 * Delete the next few of those that were found; how many there were.
 */
int64
narvik_store_delete_found(NarvikSweep *sweep, int limit)
{
	Relation	rel = narvik_relation_open(RowExclusiveLock);
	NarvikCaller caller;
	bool		has_triggers = rel->trigdesc != NULL;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexFetchTableData *fetch = narvik_index_fetch_begin(rel);
	ItemPointer expired = palloc(limit * sizeof(ItemPointerData));
	int			end = Min(sweep->next + limit, sweep->found);
	int			n = 0;
	int64		deleted = 0;

	narvik_become_owner(rel, &caller);
	if (!has_triggers)
		check_delete_allowed(rel);
	for (; sweep->next < end; sweep->next++)
	{
		if (sweep->next % ROWS_AT_A_STRETCH == 0)
			give_way();
		if (!is_expired(fetch, &sweep->tids[sweep->next], sweep->now, slot))
			continue;
		expired[n++] = slot->tts_tid;
		if (!has_triggers)
			deleted += delete_directly(rel, &slot->tts_tid);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_index_fetch_end(fetch);

	if (has_triggers && n > 0)
		deleted = delete_by_statement(expired, n, sweep->now);
	narvik_become_caller(&caller);
	table_close(rel, NoLock);
	sweep->skipped += n - deleted;
	return deleted;
}
