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
#include "postmaster/bgworker.h"

/* 16 moved the varlena macros out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
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
