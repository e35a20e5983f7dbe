/*
 * stats.c
 *		Counters in shared memory: what was done, and how the purge goes.
 *
 * There is an entry for each database, made by the first process that has
 * something to count.  Counters are atomic and take no lock: validation counts
 * itself on every request.  The rest of an entry, and the table of entries,
 * is protected by one LWLock.
 *
 * An entry stays where it is until its database is dropped, and then no process
 * can be connected to it; so a process may keep a pointer to its own.
 *
 * What was counted stays counted if the transaction is rolled back, as in
 * PostgreSQL's own statistics of scans.  A crash or restart begins at zero.
 * Without shared_preload_libraries there is no shared memory, and nothing is
 * counted.
 */
#include "postgres.h"
#include "compat.h"

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

/* Columns of the view beside the counters. */
#define PURGE_COLUMNS	5

PG_FUNCTION_INFO_V1(narvik_stats);
PG_FUNCTION_INFO_V1(narvik_reset_stats);

typedef struct Entry
{
	Oid			database;		/* hash key */
	pg_atomic_uint64 counters[NARVIK_COUNTERS];
	TimestampTz last_purge_at;	/* 0: never */
	int64		last_purge_rows;
	int64		last_purge_ms;
	bool		more_to_purge;
	char		last_purge_error[ERROR_BYTES];	/* empty: none */
	TimestampTz stats_reset;
} Entry;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static HTAB *entries = NULL;	/* NULL without preloading */
static LWLock *lock = NULL;
static Entry *my_entry = NULL;	/* this database's */

/* ---- shared memory ------------------------------------------------------ */

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(hash_estimate_size(MAX_DATABASES, sizeof(Entry)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

static void
make_table(void)
{
	HASHCTL		info = {0};

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(Entry);

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	entries = narvik_shmem_hash("narvik statistics", MAX_DATABASES, &info,
								HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
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

static void
clear_entry(Entry *entry)
{
	for (int i = 0; i < NARVIK_COUNTERS; i++)
		pg_atomic_write_u64(&entry->counters[i], 0);
	entry->last_purge_at = 0;
	entry->last_purge_rows = 0;
	entry->last_purge_ms = 0;
	entry->last_purge_error[0] = '\0';
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
		for (int i = 0; i < NARVIK_COUNTERS; i++)
			pg_atomic_init_u64(&my_entry->counters[i], 0);
		my_entry->more_to_purge = false;
		clear_entry(my_entry);
	}
	LWLockRelease(lock);
	return my_entry != NULL;
}

/* ---- counting ----------------------------------------------------------- */

void
narvik_count(NarvikCounter counter, int64 n)
{
	if (n > 0 && attach())
		pg_atomic_fetch_add_u64(&my_entry->counters[counter], n);
}

/*
 * A visit of the purge worker ended well; more_to_do makes the launcher send
 * another one at once.  Its rows have been counted, batch by batch.
 */
void
narvik_report_purge(int64 rows, int64 ms, bool more_to_do)
{
	if (!attach())
		return;
	narvik_count(NARVIK_PURGE_RUNS, 1);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	my_entry->last_purge_at = GetCurrentTimestamp();
	my_entry->last_purge_rows = rows;
	my_entry->last_purge_ms = ms;
	my_entry->last_purge_error[0] = '\0';
	my_entry->more_to_purge = more_to_do;
	LWLockRelease(lock);
}

void
narvik_report_purge_error(const char *message)
{
	int			len;

	if (!attach())
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	/* A character that was cut could not be shown to other client encodings. */
	len = pg_mbcliplen(message, (int) strlen(message), ERROR_BYTES - 1);
	memcpy(my_entry->last_purge_error, message, len);
	my_entry->last_purge_error[len] = '\0';
	my_entry->more_to_purge = false;
	LWLockRelease(lock);
}

/*
 * Whether the last visit to a database left something to do.  Says so once: a
 * worker that cannot even report must not be sent again and again.
 */
bool
narvik_take_more_to_purge(Oid database)
{
	Entry	   *entry;
	bool		more = false;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	entry = hash_search(entries, &database, HASH_FIND, NULL);
	if (entry != NULL)
	{
		more = entry->more_to_purge;
		entry->more_to_purge = false;
	}
	LWLockRelease(lock);
	return more;
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
		*value++ = Int64GetDatum((int64) pg_atomic_read_u64(&my_entry->counters[i]));

	LWLockAcquire(lock, LW_SHARED);
	never_purged = my_entry->last_purge_at == 0;
	*null++ = never_purged;
	*value++ = TimestampTzGetDatum(my_entry->last_purge_at);
	*null++ = never_purged;
	*value++ = Int64GetDatum(my_entry->last_purge_rows);
	*null++ = never_purged;
	*value++ = Int64GetDatum(my_entry->last_purge_ms);
	*null++ = my_entry->last_purge_error[0] == '\0';
	*value++ = CStringGetTextDatum(my_entry->last_purge_error);
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
	(void) fcinfo;
	if (attach())
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		clear_entry(my_entry);
		LWLockRelease(lock);
	}
	PG_RETURN_VOID();
}
