/*
 * worker.c
 *		The processes that purge: a launcher, and a worker for each visit to a
 *		database.
 *
 * A process can connect to one database in its life, so the launcher connects
 * to none: it reads the list of databases and sends workers, one after the
 * other.  A worker stays for two seconds or so; in between nobody of us is in
 * any database, and DROP DATABASE and CREATE DATABASE ... TEMPLATE go through.
 *
 * The launcher must never exit with 0: the postmaster would take it for done
 * and not start it again.  It starts when recovery is over, so a standby has
 * none until it is promoted.
 */
#include "postgres.h"
#include "compat.h"

#include <limits.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "clock.h"
#include "purge.h"
#include "stats.h"
#include "worker.h"

#define LAUNCHER_RESTART_S	5

/*
 * A worker that is not done by now waits for a lock on its database, which
 * somebody copies or drops.  It is sent home and comes back later.
 */
#define WORKER_PATIENCE_MS	10000

PGDLLEXPORT void narvik_launcher_main(Datum main_arg);
PGDLLEXPORT void narvik_purge_worker_main(Datum main_arg);

static bool purge = true;
static int	purge_interval = SECS_PER_MINUTE;	/* seconds */

/* Both processes; the rest of the two is filled in by the caller. */
static void
describe_process(BackgroundWorker *process, const char *type, const char *function)
{
	memset(process, 0, sizeof(*process));
	process->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(process->bgw_name, type, BGW_MAXLEN);
	strlcpy(process->bgw_type, type, BGW_MAXLEN);
	strlcpy(process->bgw_library_name, "narvik", BGW_MAXLEN);
	strlcpy(process->bgw_function_name, function, BGW_MAXLEN);
}

void
narvik_worker_init(void)
{
	BackgroundWorker launcher;

	DefineCustomBoolVariable("narvik.purge",
							 "Sets whether expired sessions are removed in the background.",
							 NULL,
							 &purge,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("narvik.purge_interval",
							"Sets how often expired sessions are removed in the background.",
							NULL,
							&purge_interval,
							SECS_PER_MINUTE, 1, SECS_PER_DAY,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	/* pg_upgrade wants nothing to happen in the clusters it works on. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	describe_process(&launcher, "narvik launcher", "narvik_launcher_main");
	launcher.bgw_restart_time = LAUNCHER_RESTART_S;
	RegisterBackgroundWorker(&launcher);
}

static void
handle_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* ---- the worker --------------------------------------------------------- */

/*
 * The database or the server may have defaults that suit its clients and not
 * a purge.
 */
static void
apply_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "off"},	/* a purge that is lost is repeated */
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"lock_timeout", "1s"}, /* other databases wait, too */
		{"idle_in_transaction_session_timeout", "0"},
		{"plan_cache_mode", "auto"},
		{"enable_tidscan", "on"}
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Purge a database, whose OID is the argument, once.  An error is logged,
 * shown in narvik_stats, and ends the worker.
 */
void
narvik_purge_worker_main(Datum main_arg)
{
	handle_signals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg),
											  InvalidOid, 0);
	apply_settings();
	if (!purge)
		proc_exit(0);

	PG_TRY();
	{
		narvik_purge_this_database();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		narvik_report_purge_error(error->message);
		proc_exit(1);
	}
	PG_END_TRY();
	proc_exit(0);
}

/* ---- the launcher ------------------------------------------------------- */

/*
 * OIDs of all databases; those that can be connected to are visited.  Both
 * lists are allocated in the caller's memory context.
 */
static void
list_databases(List **all, List **visited)
{
	MemoryContext caller_context = CurrentMemoryContext;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	*all = *visited = NIL;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();

	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(caller_context);

		*all = lappend_oid(*all, database->oid);
		/* A limit of -2 marks a database whose DROP was interrupted. */
		if (database->datallowconn && database->datconnlimit != -2)
			*visited = lappend_oid(*visited, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller_context);
}

static void
wait_on_latch(long timeout_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
wait_for_worker(BackgroundWorkerHandle *worker)
{
	int64		patient_until = narvik_steady_ms() + WORKER_PATIENCE_MS;
	pid_t		pid;

	while (GetBackgroundWorkerPid(worker, &pid) != BGWH_STOPPED)
	{
		if (narvik_steady_ms() >= patient_until)
			TerminateBackgroundWorker(worker);
		/* The postmaster sets our latch when the worker ends. */
		wait_on_latch(1000);
	}
}

/*
 * Send a worker to a database and wait until it is back.  False if no
 * background worker slot is free.
 */
static bool
visit(Oid database)
{
	BackgroundWorker process;
	BackgroundWorkerHandle *worker;

	describe_process(&process, "narvik purge worker", "narvik_purge_worker_main");
	process.bgw_flags |= NARVIK_BGWORKER_INTERRUPTIBLE;
	process.bgw_restart_time = BGW_NEVER_RESTART;
	process.bgw_main_arg = ObjectIdGetDatum(database);
	process.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&process, &worker))
		return false;

	wait_for_worker(worker);
	pfree(worker);
	return true;
}

/*
 * Visit all databases, and those that have more to purge again until they have
 * not, or until it is time to visit all of them again.
 */
static void
make_round(int64 until_ms)
{
	static bool complained = false;
	List	   *counted;
	List	   *all;
	List	   *visited;
	bool		time_is_over = false;

	/* In this order: a database can be new, and counted, after the list. */
	counted = narvik_counted_databases();
	list_databases(&all, &visited);
	narvik_forget_databases(list_difference_oid(counted, all));

	pgstat_report_activity(STATE_RUNNING, "visiting databases");
	while (visited != NIL && !ConfigReloadPending && !time_is_over)
	{
		List	   *unfinished = NIL;
		ListCell   *cell;

		foreach(cell, visited)
		{
			if (!visit(lfirst_oid(cell)))
			{
				if (!complained)
					ereport(LOG,
							(errmsg("no background worker slot is free to purge expired sessions"),
							 errhint("You might need to increase \"max_worker_processes\".")));
				complained = true;
				unfinished = NIL;
				break;
			}
			complained = false;
			if (narvik_take_more_to_purge(lfirst_oid(cell)))
				unfinished = lappend_oid(unfinished, lfirst_oid(cell));
		}
		visited = unfinished;
		time_is_over = narvik_steady_ms() >= until_ms;
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
narvik_launcher_main(Datum main_arg)
{
	MemoryContext round_context;

	(void) main_arg;
	handle_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	ereport(LOG, (errmsg("narvik launcher started")));

	round_context = AllocSetContextCreate(TopMemoryContext, "narvik launcher",
										  ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		int64		round_began_at = narvik_steady_ms();

		if (purge)
		{
			MemoryContextSwitchTo(round_context);
			make_round(round_began_at + purge_interval * INT64CONST(1000));
			MemoryContextReset(round_context);
		}

		/* Until the interval is over, or a reload tells us to look again. */
		for (;;)
		{
			int64		ms = round_began_at + purge_interval * INT64CONST(1000) -
				narvik_steady_ms();

			if (ConfigReloadPending)
			{
				ConfigReloadPending = false;
				ProcessConfigFile(PGC_SIGHUP);
				break;
			}
			if (ms <= 0)
				break;
			wait_on_latch((long) ms);
		}
	}
}
