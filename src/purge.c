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
 *
 * A batch that fails is rolled back and divided until the row that cannot be
 * deleted is alone; that one is left and reported, and all others go.
 * purge_pace.c decides how many rows a batch has, and when the next one may be.
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
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "clock.h"
#include "events.h"
#include "purge.h"
#include "purge_pace.h"
#include "stats.h"
#include "store.h"

/*
 * How long a visit deletes.  DROP DATABASE and CREATE DATABASE ... TEMPLATE
 * wait 5 s for others to leave the database, and then give up.
 */
#define VISIT_MS	2000

/* When a batch is cancelled. */
#define BATCH_LIMIT_MS	10000

/*
 * If so many rows failed in a visit and none went, nothing may go, and each row
 * that is tried costs a transaction: the next visit is not at once.
 */
#define HOPELESS_ROWS	100

/* How many events are deleted in a transaction. */
#define EVENTS_AT_A_TIME	1000

PG_FUNCTION_INFO_V1(narvik_delete_all_expired_sessions);

/* A visit of the worker. */
typedef struct Visit
{
	char	   *database;
	int64		began_at;		/* by the steady clock, in milliseconds */
	int64		rows;			/* deleted */
	int64		failed;			/* could not be deleted */
	int64		batches;
	int64		ms;
	bool		none_failed;	/* in a round that this visit ended */
	bool		more_events;	/* to be forgotten */
	char	   *events_error;	/* why they stay; NULL: none */
	bool		may;			/* nobody else purges here, narvik is there */
	NarvikSweep *sweep;
	NarvikEventWalk events;
	NarvikProgress progress;
} Visit;

/* What a transaction does, with at most so many rows; how many it deleted. */
typedef int64 (*Work) (Visit *, int);

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

/* ---- a batch ------------------------------------------------------------ */

/* So that whoever comes next knows, should this process not come to it. */
static void
save_progress(Visit *visit)
{
	visit->progress.place = *narvik_store_sweep_place(visit->sweep);
	narvik_set_progress(&visit->progress);
}

static int64
find_sessions(Visit *visit, int limit)
{
	narvik_store_find_expired(visit->sweep, narvik_now());
	return 0;
}

static int64
delete_sessions(Visit *visit, int limit)
{
	return narvik_store_delete_found(visit->sweep, limit);
}

static int64
delete_events(Visit *visit, int limit)
{
	return narvik_forget_old_events(&visit->events, narvik_now(), limit);
}

static int64
run_batch(Visit *visit, Work work, int limit)
{
	int64		deleted = 0;

	begin_transaction();
	visit->may = extension_is_there() && narvik_store_become_purger();
	if (visit->may)
		deleted = work(visit, limit);
	commit_transaction();
	return deleted;
}

/* Called while an error is handled. */
static ErrorData *
abort_batch(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	FlushErrorState();
	AbortCurrentTransaction();
	MemoryContextSwitchTo(TopMemoryContext);
	RESUME_INTERRUPTS();
	return error;
}

/*
 * Run a batch, which is cancelled if it takes too long.  Returns the error if it
 * failed.
 */
static ErrorData *
try_batch(Visit *visit, Work work, int limit, int64 *deleted)
{
	ErrorData  *volatile error = NULL;

	enable_timeout_after(STATEMENT_TIMEOUT, BATCH_LIMIT_MS);
	PG_TRY();
	{
		*deleted = run_batch(visit, work, limit);
	}
	PG_CATCH();
	{
		error = abort_batch();
	}
	PG_END_TRY();
	disable_timeout(STATEMENT_TIMEOUT, true);
	/* It may have run out when the batch was over. */
	if (get_timeout_indicator(STATEMENT_TIMEOUT, true))
		QueryCancelPending = false;
	return error;
}

/*
 * Whether an error may be due to one of the rows: what their triggers and the
 * foreign keys that refer to them raise can be anything.  It is not if somebody
 * cancelled the purge, nor if the server lacks something.
 */
static bool
may_be_due_to_row(const ErrorData *error, int64 ms)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return ms >= BATCH_LIMIT_MS;
	if (error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		return true;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return false;
	}
	return true;
}

/* The only row of a batch cannot be deleted. */
static void
leave_row(Visit *visit, const ErrorData *error)
{
	long long	seq = narvik_store_leave_row(visit->sweep);
	long long	failed = ++visit->progress.failed;
	char	   *message;

	if (seq == 0)
		message = psprintf(_("a session could not be purged: %s"), error->message);
	else if (failed == 1)
		message = psprintf(_("session with seq %lld could not be purged: %s"),
						   seq, error->message);
	else
		message = psprintf(_("%lld sessions could not be purged, the last of them with seq %lld: %s"),
						   failed, seq, error->message);
	/* There may be many for the same reason. */
	ereport(visit->failed++ == 0 ? WARNING : DEBUG1,
			(errcode(error->sqlerrcode),
			 errmsg_internal("%s", message)));
	narvik_report_failed_rows(message);
	pfree(message);
}

/* Divide a batch that failed, or leave its only row. */
static void
handle_failure(Visit *visit, ErrorData *error, int64 ms)
{
	int			rows = narvik_store_undo_batch(visit->sweep);

	if (rows == 0 || !may_be_due_to_row(error, ms))
		ReThrowError(error);
	if (rows == 1)
		leave_row(visit, error);
	visit->progress.batch_size = Max(rows / 2, 1);
	FreeErrorData(error);
}

static void
delete_batch(Visit *visit)
{
	NarvikProgress *progress = &visit->progress;
	int64		began_at = narvik_steady_ms();
	int			size = narvik_pace_batch_size(progress);
	int64		deleted = 0;
	ErrorData  *error;
	int64		ms;

	/* Should this be the end of the process, the next batch is smaller. */
	progress->batch_size = size / 2;
	save_progress(visit);
	narvik_store_begin_batch(visit->sweep);
	error = try_batch(visit, delete_sessions, size, &deleted);
	ms = narvik_steady_ms() - began_at;
	visit->batches++;

	if (error != NULL)
		handle_failure(visit, error, ms);
	else
		narvik_pace_adapt_batch_size(&progress->batch_size, size, ms);
	if (deleted == 0)
		progress->round_passed += size;
	else
		narvik_pace_deleted(progress, deleted, began_at);
	/* Here and not at the end of the visit, which may not come to it. */
	narvik_count(NARVIK_PURGED, deleted);
	visit->rows += deleted;
}

static void
find_more(Visit *visit)
{
	NarvikProgress *progress = &visit->progress;

	(void) run_batch(visit, find_sessions, 0);
	if (narvik_store_sweep_is_new(visit->sweep))
		narvik_pace_begin_round(progress);
	progress->round_passed += narvik_store_sweep_passed(visit->sweep);
}

/* ---- a visit ------------------------------------------------------------ */

/*
 * Wait until narvik.purge_rate permits the next batch.  False if the visit is
 * over before; there is always time for one batch, or a slow search would be
 * repeated for ever.
 */
static bool
wait_for_turn(const Visit *visit)
{
	static uint32 wait_event = 0;
	int64		end = visit->began_at + VISIT_MS;

	for (;;)
	{
		int64		now = narvik_steady_ms();
		int64		ms = narvik_pace_wait_ms(&visit->progress, now);

		CHECK_FOR_INTERRUPTS();
		if (visit->batches > 0 && now + Max(ms, 0) >= end)
			return false;
		if (ms <= 0)
			return true;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
						 narvik_wait_event(&wait_event, "NarvikPurgeRate"));
		ResetLatch(MyLatch);
	}
}

static bool
has_more_to_do(const Visit *visit)
{
	return narvik_store_sweep_unseen(visit->sweep) > 0 ||
		!narvik_store_sweep_at_end(visit->sweep);
}

/* Until nothing is left, which ends the round, or the time is over. */
static void
purge_for_a_while(Visit *visit)
{
	do
	{
		if (narvik_store_sweep_unseen(visit->sweep) == 0)
			find_more(visit);
		else if (wait_for_turn(visit))
			delete_batch(visit);
		else
			break;
		if (visit->may && !has_more_to_do(visit))
			visit->none_failed = narvik_pace_end_round(&visit->progress);
		if (visit->may)
			save_progress(visit);
		visit->ms = narvik_steady_ms() - visit->began_at;
	} while (visit->may && has_more_to_do(visit) &&
			 (visit->ms < VISIT_MS || visit->batches == 0));
}

/*
 * How many went.  A batch that fails ends the walk and makes the next one
 * smaller.
 */
static int64
delete_event_batch(Visit *visit)
{
	NarvikProgress *progress = &visit->progress;
	int64		began_at = narvik_steady_ms();
	int			size = narvik_pace_limit(Min(Max(progress->event_batch_size, 1), EVENTS_AT_A_TIME));
	int64		deleted = 0;
	ErrorData  *error = try_batch(visit, delete_events, size, &deleted);

	visit->batches++;
	if (error == NULL)
	{
		narvik_pace_adapt_batch_size(&progress->event_batch_size, size, narvik_steady_ms() - began_at);
		narvik_pace_deleted(progress, deleted, began_at);
		return deleted;
	}
	progress->event_batch_size = size / 2;
	visit->events.ended = true;
	visit->events.after = 0;
	visit->events_error = psprintf(_("events past their retention could not be deleted: %s"),
								   error->message);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg_internal("%s", visit->events_error)));
	FreeErrorData(error);
	return 0;
}

/*
 * Events that are past their retention go when the sessions have gone, at the
 * same pace.
 */
static void
forget_events(Visit *visit)
{
	NarvikProgress *progress = &visit->progress;
	int64		forgotten = 0;

	progress->events_due = true;
	visit->events.after = progress->events_after;
	while (visit->may && !visit->events.ended && wait_for_turn(visit))
	{
		progress->events_due = false;
		forgotten += delete_event_batch(visit);
	}
	progress->events_after = visit->events.after;
	visit->more_events = progress->events_due || (forgotten > 0 && !visit->events.ended);
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
log_visit(const Visit *visit)
{
	long long	unseen = narvik_store_sweep_unseen(visit->sweep);
	long long	left = narvik_store_sweep_skipped(visit->sweep) + visit->failed + unseen;
	long long	rows = visit->rows;
	long long	ms = visit->ms;

	ereport(visit->rows > 0 ? LOG : DEBUG1,
			(!narvik_store_sweep_at_end(visit->sweep) ?
			 errmsg("purged %lld expired sessions of database \"%s\" in %lld ms, at least %lld left",
					rows, visit->database, ms, left) :
			 unseen > 0 ?
			 errmsg("purged %lld expired sessions of database \"%s\" in %lld ms, about %lld left",
					rows, visit->database, ms, left) :
			 errmsg("purged %lld expired sessions of database \"%s\" in %lld ms, %lld left",
					rows, visit->database, ms, left),
			 errhidecontext(true)));
}

static void
report_visit(Visit *visit)
{
	bool		more = has_more_to_do(visit) || visit->more_events;

	if (visit->rows == 0 && visit->failed >= HOPELESS_ROWS)
		more = false;
	save_progress(visit);
	log_visit(visit);
	narvik_report_purge(visit->rows, visit->ms, more, visit->none_failed, visit->events_error);
}

/*
 * A visit: delete until nothing is left or the time is over, and report it.
 * Called outside of a transaction.
 */
void
narvik_purge_this_database(void)
{
	Visit	   *visit = MemoryContextAllocZero(TopMemoryContext, sizeof(Visit));
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_database_to_message
	};

	visit->began_at = narvik_steady_ms();
	visit->database = name_of_this_database();
	narvik_get_progress(&visit->progress);
	narvik_pace_begin_visit(&visit->progress);
	visit->sweep = narvik_store_begin_sweep(&visit->progress.place);
	context.arg = visit->database;
	error_context_stack = &context;
	pgstat_report_activity(STATE_RUNNING, "purging expired sessions");

	purge_for_a_while(visit);
	if (visit->may && !has_more_to_do(visit))
		forget_events(visit);
	if (visit->may || visit->rows > 0)
		report_visit(visit);
	error_context_stack = context.previous;
	narvik_store_end_sweep(visit->sweep);
	pfree(visit->database);
	pfree(visit);
}
