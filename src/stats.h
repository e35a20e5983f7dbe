/*
 * stats.h
 *		Counters in shared memory.
 */
#ifndef NARVIK_STATS_H
#define NARVIK_STATS_H

#include "nodes/pg_list.h"

/* The counters, in the order of the view narvik_stats. */
typedef enum
{
	NARVIK_CREATED,
	NARVIK_VALIDATED,
	NARVIK_REJECTED,
	NARVIK_EXPIRED,
	NARVIK_EXTENDED,
	NARVIK_INVALIDATED,
	NARVIK_ROTATED,
	NARVIK_PURGED,
	NARVIK_PURGE_RUNS,
	NARVIK_COUNTERS
} NarvikCounter;

extern void narvik_stats_init(void);
extern void narvik_count(NarvikCounter counter, int64 n);
extern void narvik_report_purge(int64 rows, int64 ms, bool more_to_do);
extern void narvik_report_purge_error(const char *message);
extern bool narvik_take_more_to_purge(Oid database);
extern List *narvik_counted_databases(void);
extern void narvik_forget_databases(const List *dropped);

#endif							/* NARVIK_STATS_H */
