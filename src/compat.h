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
#include "catalog/dependency.h"
#include "catalog/pg_namespace_d.h"
#include "fmgr.h"
#include "parser/analyze.h"
#include "postmaster/bgworker.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "utils/wait_event.h"

/* 16 moved the varlena macros out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Whether a role may use a schema; 16 made one function for all objects. */
static inline AclResult
narvik_schema_usage(Oid schema, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE);
#else
	return pg_namespace_aclcheck(schema, role, ACL_USAGE);
#endif
}

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

/* 19 lets the hook of the parser only read it. */
#if PG_VERSION_NUM >= 190000
typedef const JumbleState NarvikJumbleState;
#else
typedef JumbleState NarvikJumbleState;
#endif

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

/* The sequence of an identity column, or InvalidOid; 17 wants the relation. */
static inline Oid
narvik_identity_sequence(Relation rel, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 170000
	return getIdentitySequence(rel, attnum, true);
#else
	return getIdentitySequence(RelationGetRelid(rel), attnum, true);
#endif
}

/* The number of a table's main file; 16 renamed what holds it. */
static inline Oid
narvik_relation_file(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->rd_locator.relNumber;
#else
	return rel->rd_node.relNode;
#endif
}

/* Since 18 a module says its name and version to pg_get_loaded_modules(). */
#if PG_VERSION_NUM >= 180000
#define NARVIK_MODULE_MAGIC	PG_MODULE_MAGIC_EXT(.name = "narvik", .version = NARVIK_VERSION)
#else
#define NARVIK_MODULE_MAGIC	PG_MODULE_MAGIC
#endif

/*
 * What pg_stat_activity calls a wait; since 17 an extension can give it a
 * name.  The event is zero before the first call.
 */
static inline uint32
narvik_wait_event(uint32 *event, const char *name)
{
	if (*event == 0)
#if PG_VERSION_NUM >= 170000
		*event = WaitEventExtensionNew(name);
#else
		*event = PG_WAIT_EXTENSION;
#endif
	return *event;
}

/* Up to 16 every interval is finite. */
#if PG_VERSION_NUM < 170000
#define INTERVAL_NOT_FINITE(interval)	((void) (interval), false)
#endif

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
