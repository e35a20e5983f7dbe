/*
 * purge.c
 *		Removing expired sessions.
 *
 * Nothing depends on it: validation never takes an expired session for a live
 * one, whether its row is still there or not.
 *
 * The worker's purge deletes in batches, each a transaction of its own, so
 * that no lock and no snapshot lasts long.  It takes whole hours that are past
 * and thereby never reads a live row, and skips rows that others have locked.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_extension_d.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "purge.h"
#include "stats.h"
#include "store.h"

/*
 * How long a visit deletes.  DROP DATABASE and CREATE DATABASE ... TEMPLATE
 * wait 5 s for others to leave the database, and then give up.
 */
#define VISIT_MS	2000

PG_FUNCTION_INFO_V1(narvik_delete_all_expired_sessions);

/* A visit of the worker. */
typedef struct Visit
{
	char	   *database;
	int64		began_at;		/* by the steady clock, in milliseconds */
	int64		rows;			/* deleted */
	int64		ms;
	NarvikSweep sweep;
} Visit;

static int	purge_batch_size = 1000;

void
narvik_purge_init(void)
{
	DefineCustomIntVariable("narvik.purge_batch_size",
							"Sets how many expired sessions the purge worker deletes in one transaction.",
							NULL,
							&purge_batch_size,
							1000, 1, NARVIK_SWEEP_ROWS,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
}

/*
 * narvik_delete_all_expired_sessions() returns bigint
 *
 * How many there were; those past narvik.session_max_age count.  Deletes in
 * the caller's transaction and waits for rows that others have locked.
 */
Datum
narvik_delete_all_expired_sessions(PG_FUNCTION_ARGS)
{
	int64		deleted;

	(void) fcinfo;
	PreventCommandIfReadOnly("narvik_delete_all_expired_sessions()");
	deleted = narvik_store_delete_expired(narvik_now());
	narvik_count(NARVIK_PURGED, deleted);
	PG_RETURN_INT64(deleted);
}

/* ---- the worker's purge ------------------------------------------------- */

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/*
 * It may never have been, and it may be dropped between two batches.  With the
 * lock it stays until the transaction ends.
 */
static bool
extension_is_there(void)
{
	Oid			extension = get_extension_oid("narvik", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	return get_extension_oid("narvik", true) == extension;
}

/*
 * Delete a batch in a transaction of its own.  False if there is nothing to
 * do here, or somebody else is doing it.
 */
static bool
purge_batch(Visit *visit)
{
	NarvikSweep *sweep = &visit->sweep;
	int64		deleted = 0;
	bool		may;

	CHECK_FOR_INTERRUPTS();
	begin_transaction();
	may = extension_is_there() && narvik_store_become_purger();
	if (may)
	{
		if (sweep->next == sweep->found)
			narvik_store_find_expired(sweep, narvik_now());
		deleted = narvik_store_delete_found(sweep, purge_batch_size);
	}
	commit_transaction();
	/* Here and not at the end of the visit, which may not come to it. */
	narvik_count(NARVIK_PURGED, deleted);
	visit->rows += deleted;
	visit->ms = narvik_steady_ms() - visit->began_at;
	return may;
}

static bool
has_more_to_do(const NarvikSweep *sweep)
{
	return sweep->next < sweep->found || !sweep->complete;
}

/* A worker's lines in the log are otherwise the same for all databases. */
static void
add_database_to_message(void *database)
{
	errcontext("purge of expired sessions in database \"%s\"",
			   (const char *) database);
}

static char *
name_of_this_database(void)
{
	char	   *name;

	begin_transaction();
	name = MemoryContextStrdup(TopMemoryContext, get_database_name(MyDatabaseId));
	commit_transaction();
	return name;
}

/* Of what was found and not looked at, some may be gone. */
static void
report_visit(const Visit *visit)
{
	const NarvikSweep *sweep = &visit->sweep;
	int64		unseen = sweep->found - sweep->next;
	const char *about = !sweep->complete ? "at least " : unseen > 0 ? "about " : "";

	ereport(visit->rows > 0 ? LOG : DEBUG1,
			(errmsg("purged %lld expired sessions of database \"%s\" in %lld ms, %s%lld left",
					(long long) visit->rows, visit->database,
					(long long) visit->ms,
					about, (long long) (sweep->skipped + unseen)),
			 errhidecontext(true)));
	narvik_report_purge(visit->rows, visit->ms, has_more_to_do(&visit->sweep));
}

/*
 * A visit: delete until nothing is left or the time is over, and report it.
 * Called outside of a transaction.
 */
void
narvik_purge_this_database(void)
{
	Visit	   *visit = MemoryContextAlloc(TopMemoryContext, sizeof(Visit));
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_database_to_message
	};
	bool		may;

	/* All but the places, which are many megabytes. */
	memset(visit, 0, offsetof(Visit, sweep) + offsetof(NarvikSweep, tids));
	visit->began_at = narvik_steady_ms();
	visit->database = name_of_this_database();
	context.arg = visit->database;
	error_context_stack = &context;
	pgstat_report_activity(STATE_RUNNING, "purging expired sessions");
	do
		may = purge_batch(visit);
	while (may && has_more_to_do(&visit->sweep) && visit->ms < VISIT_MS);

	if (may || visit->rows > 0)
		report_visit(visit);
	error_context_stack = context.previous;
	pfree(visit->database);
	pfree(visit);
}
