/*
 * compat.h
 *		What differs between PostgreSQL versions; no other file tests
 *		PG_VERSION_NUM.
 *
 * Include it after postgres.h.
 */
#ifndef NARVIK_COMPAT_H
#define NARVIK_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "postmaster/bgworker.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

/* 16 moved the varlena macros out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * Before 15 a prefix could not be reserved, only complained about; shared
 * memory was asked for while the library was loaded; and every function that
 * returns a set made its tuplestore itself.
 */
#if PG_VERSION_NUM < 150000
#include "funcapi.h"
#include "miscadmin.h"

#define MarkGUCPrefixReserved(prefix)	EmitWarningsOnPlaceholders(prefix)

typedef void (*shmem_request_hook_type) (void);
#define NARVIK_REQUEST_MEMORY(hook, previous)	((previous) = NULL, (hook) ())

static inline void
InitMaterializedSRF(FunctionCallInfo fcinfo, bits32 flags)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller;

	(void) flags;
	if (info == NULL || !IsA(info, ReturnSetInfo) ||
		!(info->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	caller = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &info->setDesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	info->setDesc = CreateTupleDescCopy(info->setDesc);
	info->setResult = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0,
											false, work_mem);
	info->returnMode = SFRM_Materialize;
	MemoryContextSwitchTo(caller);
}
#else
#define NARVIK_REQUEST_MEMORY(hook, previous) \
	((previous) = shmem_request_hook, shmem_request_hook = (hook))
#endif

/*
 * 18 added an argument for EXPLAIN's instrumentation, 19 one for scan
 * options; narvik's scans want neither.
 */
static inline IndexScanDesc
narvik_index_beginscan(Relation heap, Relation index, Snapshot snapshot,
					   int nkeys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0);
#elif PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* 19 added scan options here, too, and options for deleting. */
static inline IndexFetchTableData *
narvik_index_fetch_begin(Relation rel)
{
#if PG_VERSION_NUM >= 190000
	return table_index_fetch_begin(rel, 0);
#else
	return table_index_fetch_begin(rel);
#endif
}

/* Without waiting for whoever changes the row. */
static inline TM_Result
narvik_tuple_delete(Relation rel, ItemPointer tid, CommandId command,
					Snapshot snapshot, TM_FailureData *failure)
{
#if PG_VERSION_NUM >= 190000
	return table_tuple_delete(rel, tid, command, 0, snapshot, InvalidSnapshot,
							  false, failure);
#else
	return table_tuple_delete(rel, tid, command, snapshot, InvalidSnapshot,
							  false, failure, false);
#endif
}

/* A hash table in shared memory; up to 18 it could grow, and told two sizes. */
static inline HTAB *
narvik_shmem_hash(const char *name, int64 size, HASHCTL *info, int flags)
{
#if PG_VERSION_NUM >= 190000
	return ShmemInitHash(name, size, info, flags);
#else
	return ShmemInitHash(name, size, size, info, flags);
#endif
}

/*
 * 19 lets DROP DATABASE and its like terminate a background worker that says
 * it may be.
 */
#ifdef BGWORKER_INTERRUPTIBLE
#define NARVIK_BGWORKER_INTERRUPTIBLE	BGWORKER_INTERRUPTIBLE
#else
#define NARVIK_BGWORKER_INTERRUPTIBLE	0
#endif

#endif							/* NARVIK_COMPAT_H */
