/*
 * stats.c
 *		Counters in shared memory: what was done, and how the purge goes.
 *
 * There is an entry for each database, made by the first process that has
 * something to count.
 *
 * Locking: one LWLock, named "narvik".  Exclusively, it is needed to add and
 * remove entries, to write any field of Common, and to write any field of an
 * Entry but its counters; shared, to search the table and to read these fields.
 * It is held for a few assignments, never while waiting for anything else.  The
 * counters are atomic and take no lock: validation counts itself on every
 * request.  So that processors do not take a cache line from each other for that,
 * processes count in different places, and readers add these up.
 * Entry->database is the key and never changes.  An entry stays where
 * it is until its database is dropped, and then no process can be connected to
 * it; so a process may keep a pointer to its own, and count without the lock.
 *
 * What was counted stays counted if the transaction is rolled back, as in
 * PostgreSQL's own statistics of scans.  A crash or restart begins at zero.
 * Without shared_preload_libraries there is no shared memory, and nothing is
 * counted.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "stats.h"

/* More databases than this are not counted. */
#define MAX_DATABASES	1024

#define TRANCHE			"narvik"
#define ERROR_BYTES		256

/* Processes with the same remainder of their pids share a place to count in. */
#define COUNTING_PLACES	16

/* Columns of the view beside the counters. */
#define PURGE_COLUMNS	5

PG_FUNCTION_INFO_V1(narvik_stats);
PG_FUNCTION_INFO_V1(narvik_reset_stats);

/* On cache lines of its own: the last counters are never used. */
typedef struct CountingPlace
{
	pg_atomic_uint64 counters[TYPEALIGN(PG_CACHE_LINE_SIZE, NARVIK_COUNTERS * sizeof(pg_atomic_uint64)) /
							  sizeof(pg_atomic_uint64)];
} CountingPlace;

/*
 * One for each database.  Every process counts; the purge worker writes what is
 * about its visits, and so does the launcher, for a worker that could not.
 */
typedef struct Entry
{
	Oid			database;		/* hash key */
	/* Has room to be aligned, which the hash table's memory is not. */
	char		places[COUNTING_PLACES * sizeof(CountingPlace) + PG_CACHE_LINE_SIZE];
	TimestampTz last_purge_at;	/* 0: never */
	int64		last_purge_rows;
	int64		last_purge_ms;
	char		last_purge_error[ERROR_BYTES];	/* empty: none */
	char		failed_rows[ERROR_BYTES];	/* shown if there is none; stays
											 * until a round in which no row
											 * fails */
	bool		more_to_purge;
	NarvikProgress progress;
	TimestampTz stats_reset;
} Entry;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* One for all databases. */
typedef struct Common
{
	pid_t		launcher;		/* 0: there is none */
	Oid			visited;		/* database of a worker that has not left yet */
} Common;

static Common *common = NULL;
static HTAB *entries = NULL;	/* NULL without preloading */
static LWLock *lock = NULL;
static Entry *my_entry = NULL;	/* this database's */
static CountingPlace *my_place = NULL;	/* in my_entry */

/* ---- shared memory ------------------------------------------------------ */

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(hash_estimate_size(MAX_DATABASES, sizeof(Entry)));
	RequestAddinShmemSpace(MAXALIGN(sizeof(Common)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

static void
make_table(void)
{
	HASHCTL		info = {0};
	bool		found;

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Entry);

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	entries = narvik_shmem_hash("narvik statistics", MAX_DATABASES, &info,
								HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	common = ShmemInitStruct("narvik launcher", sizeof(Common), &found);
	if (!found)
		memset(common, 0, sizeof(Common));
	lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	LWLockRelease(AddinShmemInitLock);
}

void
narvik_stats_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = make_table;
}

static CountingPlace *
counting_places(Entry *entry)
{
	uintptr_t	address = (uintptr_t) entry->places;

	return (CountingPlace *) (entry->places + (TYPEALIGN(PG_CACHE_LINE_SIZE, address) - address));
}

static void
init_counters(Entry *entry)
{
	CountingPlace *places = counting_places(entry);

	for (int i = 0; i < COUNTING_PLACES; i++)
	{
		for (int j = 0; j < NARVIK_COUNTERS; j++)
			pg_atomic_init_u64(&places[i].counters[j], 0);
	}
}

static void
clear_entry(Entry *entry)
{
	CountingPlace *places = counting_places(entry);

	for (int i = 0; i < COUNTING_PLACES; i++)
	{
		for (int j = 0; j < NARVIK_COUNTERS; j++)
			pg_atomic_write_u64(&places[i].counters[j], 0);
	}
	entry->last_purge_at = 0;
	entry->last_purge_rows = 0;
	entry->last_purge_ms = 0;
	entry->last_purge_error[0] = '\0';
	entry->failed_rows[0] = '\0';
	entry->stats_reset = GetCurrentTimestamp();
}

/*
 * Find or make this database's entry.  False if nothing can be counted.
 */
static bool
attach(void)
{
	bool		found;

	if (my_entry != NULL)
		return true;
	if (entries == NULL || !OidIsValid(MyDatabaseId))
		return false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	my_entry = hash_search(entries, &MyDatabaseId, HASH_ENTER_NULL, &found);
	if (my_entry != NULL && !found)
	{
		init_counters(my_entry);
		my_entry->more_to_purge = false;
		memset(&my_entry->progress, 0, sizeof(NarvikProgress));
		clear_entry(my_entry);
	}
	if (my_entry != NULL)
		my_place = &counting_places(my_entry)[MyProcPid % COUNTING_PLACES];
	LWLockRelease(lock);
	return my_entry != NULL;
}

/* ---- counting ----------------------------------------------------------- */

void
narvik_count(NarvikCounter counter, int64 n)
{
	if (n > 0 && attach())
		pg_atomic_fetch_add_u64(&my_place->counters[counter], n);
}

/* What all processes have counted. */
static int64
counted(Entry *entry, NarvikCounter counter)
{
	CountingPlace *places = counting_places(entry);
	uint64		sum = 0;

	for (int i = 0; i < COUNTING_PLACES; i++)
		sum += pg_atomic_read_u64(&places[i].counters[counter]);
	return (int64) sum;
}

/* ---- the purge ---------------------------------------------------------- */

static Entry *
find_entry(Oid database)
{
	return hash_search(entries, &database, HASH_FIND, NULL);
}

/* Into a field of ERROR_BYTES. */
static void
set_error(char *field, const char *message)
{
	/* A character that was cut could not be shown to other client encodings. */
	int			len = pg_mbcliplen(message, (int) strlen(message), ERROR_BYTES - 1);

	memcpy(field, message, len);
	field[len] = '\0';
}

/*
 * What the last visit to this database left.  Makes no entry: most databases
 * may be without narvik.
 */
void
narvik_get_progress(NarvikProgress *progress)
{
	Entry	   *entry;

	LWLockAcquire(lock, LW_SHARED);
	entry = find_entry(MyDatabaseId);
	if (entry != NULL)
		*progress = entry->progress;
	else
		memset(progress, 0, sizeof(*progress));
	LWLockRelease(lock);
}

void
narvik_set_progress(const NarvikProgress *progress)
{
	if (!attach())
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	my_entry->progress = *progress;
	LWLockRelease(lock);
}

/*
 * A visit of the purge worker ended well, but for the error if it is not NULL;
 * more_to_do makes the launcher send another one at once.  Its rows have been
 * counted, batch by batch.
 */
void
narvik_report_purge(int64 rows, int64 ms, bool more_to_do, bool none_failed,
					const char *error)
{
	if (!attach())
		return;
	narvik_count(NARVIK_PURGE_RUNS, 1);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	my_entry->last_purge_at = GetCurrentTimestamp();
	my_entry->last_purge_rows = rows;
	my_entry->last_purge_ms = ms;
	if (none_failed)
		my_entry->failed_rows[0] = '\0';
	set_error(my_entry->last_purge_error, error != NULL ? error : "");
	my_entry->more_to_purge = more_to_do;
	LWLockRelease(lock);
}

/* Rows cannot be deleted; the visit goes on. */
void
narvik_report_failed_rows(const char *message)
{
	if (!attach())
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	set_error(my_entry->failed_rows, message);
	LWLockRelease(lock);
}

/* The visit failed. */
void
narvik_report_purge_error(const char *message)
{
	if (!attach())
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	set_error(my_entry->last_purge_error, message);
	my_entry->more_to_purge = false;
	LWLockRelease(lock);
}

/* Nothing is purged anywhere. */
void
narvik_report_purge_error_everywhere(const char *message)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
		set_error(entry->last_purge_error, message);
	LWLockRelease(lock);
}

/* For the launcher: a worker is about to be sent to a database. */
void
narvik_begin_visit(Oid database)
{
	Entry	   *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	common->visited = database;
	entry = find_entry(database);
	if (entry != NULL)
		entry->more_to_purge = false;
	LWLockRelease(lock);
}

/*
 * For the worker: it leaves in good order, whatever it has reported.  If it
 * has not, the message, which may be NULL, says why it did nothing; it is not
 * worth an entry of its own.
 */
void
narvik_leave_visit(const char *message)
{
	Entry	   *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (common->visited == MyDatabaseId)
		common->visited = InvalidOid;
	entry = find_entry(MyDatabaseId);
	if (entry != NULL && message != NULL)
		set_error(entry->last_purge_error, message);
	LWLockRelease(lock);
}

/*
 * For the launcher: the worker is gone.  If it did not leave in good order,
 * the message says so.  Returns whether it left something to do.
 */
bool
narvik_end_visit(Oid database, const char *message)
{
	Entry	   *entry;
	bool		more = false;
	bool		has_left;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	has_left = common->visited != database;
	common->visited = InvalidOid;
	entry = find_entry(database);
	if (entry != NULL)
	{
		if (!has_left)
			set_error(entry->last_purge_error, message);
		more = has_left && entry->more_to_purge;
		entry->more_to_purge = false;
	}
	LWLockRelease(lock);
	return more;
}

/* The launcher is there, or with 0 there is none any more. */
void
narvik_set_launcher(pid_t pid)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	common->launcher = pid;
	LWLockRelease(lock);
}

/*
 * OIDs of the databases that have an entry.
 */
List *
narvik_counted_databases(void)
{
	List	   *databases = NIL;
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	LWLockAcquire(lock, LW_SHARED);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
		databases = lappend_oid(databases, entry->database);
	LWLockRelease(lock);
	return databases;
}

/*
 * Make room: remove the entries of databases that have been dropped.  Which are
 * they?  Those that narvik_counted_databases() returned and that a snapshot
 * taken after it does not show.  One that a snapshot from before does not show
 * may be new, and its processes have pointers to their entry.
 */
void
narvik_forget_databases(const List *dropped)
{
	ListCell   *cell;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	foreach(cell, dropped)
		(void) hash_search(entries, &lfirst_oid(cell), HASH_REMOVE, NULL);
	LWLockRelease(lock);
}

/* ---- SQL ---------------------------------------------------------------- */

/* A launcher that is not there cannot say so.  A standby has none. */
static const char *
purge_error(const Entry *entry)
{
	if (common->launcher == 0 && !RecoveryInProgress())
		return _("narvik launcher is not running");
	return entry->last_purge_error[0] != '\0' ? entry->last_purge_error : entry->failed_rows;
}

/*
 * narvik_stats() returns setof record
 *
 * The row of the view narvik_stats: this database's counters.  No row, and a
 * notice, without shared_preload_libraries.
 */
Datum
narvik_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[NARVIK_COUNTERS + PURGE_COLUMNS];
	bool		nulls[NARVIK_COUNTERS + PURGE_COLUMNS] = {false};
	Datum	   *value = values;
	bool	   *null = &nulls[NARVIK_COUNTERS];
	bool		never_purged;
	const char *error;

	InitMaterializedSRF(fcinfo, 0);
	if (!attach())
	{
		if (entries == NULL)
			ereport(NOTICE,
					(errmsg("nothing is counted because narvik is not in \"shared_preload_libraries\"")));
		else
			ereport(NOTICE,
					(errmsg("nothing is counted in this database because more than %d are counted already",
							MAX_DATABASES)));
		return (Datum) 0;
	}

	for (int i = 0; i < NARVIK_COUNTERS; i++)
		*value++ = Int64GetDatum(counted(my_entry, i));

	LWLockAcquire(lock, LW_SHARED);
	never_purged = my_entry->last_purge_at == 0;
	*null++ = never_purged;
	*value++ = TimestampTzGetDatum(my_entry->last_purge_at);
	*null++ = never_purged;
	*value++ = Int64GetDatum(my_entry->last_purge_rows);
	*null++ = never_purged;
	*value++ = Int64GetDatum(my_entry->last_purge_ms);
	error = purge_error(my_entry);
	*null++ = error[0] == '\0';
	*value++ = CStringGetTextDatum(error);
	*value++ = TimestampTzGetDatum(my_entry->stats_reset);
	LWLockRelease(lock);

	tuplestore_putvalues(info->setResult, info->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * narvik_reset_stats() returns void
 *
 * Sets this database's counters to zero.
 */
Datum
narvik_reset_stats(PG_FUNCTION_ARGS)
{
	if (attach())
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		clear_entry(my_entry);
		LWLockRelease(lock);
	}
	PG_RETURN_VOID();
}
