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
 * What they tell each other is in shared memory; stats.c has it, and its lock.
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
#include "storage/procarray.h"
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
 * A worker that is not connected by now waits for a lock on its database,
 * which somebody copies or drops.  It is terminated, and another one tries
 * again later.
 */
#define CONNECT_MS	10000

/* A visit has bounds of its own; a worker that is still there now is stuck. */
#define STUCK_MS	60000

PGDLLEXPORT void narvik_launcher_main(Datum main_arg);
PGDLLEXPORT void narvik_purge_worker_main(Datum main_arg);

static const char *const purge_is_off = gettext_noop("\"narvik.purge\" is off");

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
		{"exit_on_error", "off"},	/* one row that fails is no reason to */
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"statement_timeout", "0"},
		{"transaction_timeout", "0"},	/* since 17 */
		{"plan_cache_mode", "auto"},
		{"enable_tidscan", "on"},
		{"jit", "off"}			/* foreign keys and triggers are small queries */
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* ---- the worker --------------------------------------------------------- */

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
	/* Other databases wait, too. */
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	if (!purge)
	{
		narvik_leave_visit(_(purge_is_off));
		proc_exit(0);
	}

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
		narvik_leave_visit(NULL);
		proc_exit(1);
	}
	PG_END_TRY();
	narvik_leave_visit(NULL);
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
wait_on_latch(long timeout_ms, uint32 wait_event)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* A process has its database once it has the lock on it. */
static bool
is_connected(pid_t pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);

	return proc != NULL && OidIsValid(proc->databaseId);
}

/*
 * Wait until the worker is gone, and see to it that it goes.  False if it never
 * got into its database.
 */
static bool
wait_for_worker(BackgroundWorkerHandle *worker)
{
	static uint32 wait_event = 0;
	int64		began_at = narvik_steady_ms();
	bool		connected = false;
	bool		gave_up = false;
	pid_t		pid;
	BgwHandleStatus status;

	while ((status = GetBackgroundWorkerPid(worker, &pid)) != BGWH_STOPPED)
	{
		int64		ms = narvik_steady_ms() - began_at;

		connected = connected || (status == BGWH_STARTED && is_connected(pid));
		if (ms >= (connected ? STUCK_MS : CONNECT_MS))
		{
			gave_up = !connected;
			TerminateBackgroundWorker(worker);
		}
		/* The postmaster sets our latch when the worker ends. */
		wait_on_latch(1000, narvik_wait_event(&wait_event, "NarvikPurgeWorker"));
	}
	return !gave_up;
}

/*
 * Send a worker to a database and wait until it is back.  False if no
 * background worker slot is free.
 */
static bool
visit(Oid database, bool *more)
{
	BackgroundWorker process;
	BackgroundWorkerHandle *worker;
	bool		connected;

	describe_process(&process, "narvik purge worker", "narvik_purge_worker_main");
	process.bgw_flags |= NARVIK_BGWORKER_INTERRUPTIBLE;
	process.bgw_restart_time = BGW_NEVER_RESTART;
	process.bgw_main_arg = ObjectIdGetDatum(database);
	process.bgw_notify_pid = MyProcPid;
	narvik_begin_visit(database);
	if (!RegisterDynamicBackgroundWorker(&process, &worker))
		return false;

	connected = wait_for_worker(worker);
	pfree(worker);
	*more = narvik_end_visit(database, connected ?
							 _("the purge worker ended without a report") :
							 _("the purge worker could not connect to the database"));
	return true;
}

/* In the log only once, until one was free again. */
static void
report_no_slot(bool log)
{
	const char *message = gettext_noop("no background worker slot is free to purge expired sessions");

	if (log)
		ereport(LOG,
				(errmsg_internal("%s", _(message)),
				 errhint("You might need to increase \"max_worker_processes\".")));
	narvik_report_purge_error_everywhere(_(message));
}

/*
 * Visit databases one after the other.  Returns those that have more to purge,
 * none if there is no slot for a worker.
 */
static List *
visit_each(List *databases)
{
	static bool had_slot = true;
	List	   *unfinished = NIL;
	ListCell   *cell;

	foreach(cell, databases)
	{
		bool		more;

		if (!visit(lfirst_oid(cell), &more))
		{
			report_no_slot(had_slot);
			had_slot = false;
			return NIL;
		}
		had_slot = true;
		if (more)
			unfinished = lappend_oid(unfinished, lfirst_oid(cell));
	}
	return unfinished;
}

/*
 * Forget databases that were dropped.  Returns those to be visited.
 */
static List *
look_at_databases(void)
{
	List	   *counted;
	List	   *all;
	List	   *visited;

	/* In this order: a database can be new, and counted, after the list. */
	counted = narvik_counted_databases();
	list_databases(&all, &visited);
	narvik_forget_databases(list_difference_oid(counted, all));
	return visited;
}

/*
 * Visit databases, and those that have more to purge again until they have
 * not, or until it is time to visit all of them again.
 */
static void
make_round(List *visited, int64 until_ms)
{
	pgstat_report_activity(STATE_RUNNING, "visiting databases");
	do
		visited = visit_each(visited);
	while (visited != NIL && !ConfigReloadPending && narvik_steady_ms() < until_ms);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
say_launcher_is_gone(int code, Datum arg)
{
	narvik_set_launcher(0);
}

void
narvik_launcher_main(Datum main_arg)
{
	MemoryContext round_context;
	uint32		wait_event = 0;

	handle_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	apply_settings();
	before_shmem_exit(say_launcher_is_gone, (Datum) 0);
	narvik_set_launcher(MyProcPid);
	ereport(LOG, (errmsg("narvik launcher started")));

	round_context = AllocSetContextCreate(TopMemoryContext, "narvik launcher",
										  ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		int64		round_began_at = narvik_steady_ms();
		List	   *visited;

		MemoryContextSwitchTo(round_context);
		visited = look_at_databases();
		if (purge)
			make_round(visited, round_began_at + purge_interval * INT64CONST(1000));
		else
			narvik_report_purge_error_everywhere(_(purge_is_off));
		MemoryContextReset(round_context);

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
			wait_on_latch((long) ms,
						  narvik_wait_event(&wait_event, "NarvikLauncherMain"));
		}
	}
}
