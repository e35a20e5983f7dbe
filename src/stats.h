/*
 * stats.h
 *		Counters in shared memory.
 */
#ifndef NARVIK_STATS_H
#define NARVIK_STATS_H

#include "nodes/pg_list.h"

#include "store.h"

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
	NARVIK_PROMOTED,
	NARVIK_REAUTHENTICATED,
	NARVIK_LIMITED,
	NARVIK_REUSED,
	NARVIK_PURGED,
	NARVIK_PURGE_RUNS,
	NARVIK_COUNTERS
} NarvikCounter;

extern void narvik_stats_init(void);
extern void narvik_count(NarvikCounter counter, int64 n);

/* ---- the purge ---- */

/*
 * What a visit of the purge worker leaves to the next one.  Times are by the
 * steady clock.
 *
 * Rounds: once a sweep has come to the end, the next visits look at what is
 * new behind it.  What was left in front of it, or came there since, is looked
 * at in the next round, which begins at the beginning.
 */
typedef struct NarvikProgress
{
	NarvikPlace place;
	int			batch_size;		/* 0: not known yet */
	int64		next_batch_us;	/* not earlier, or it would be too fast */
	bool		round_ended;
	int64		round_passed;	/* index entries of this round whose rows did
								 * not go */
	int64		next_round_ms;	/* not earlier */
	int64		failed;			/* rows of this round that cannot be deleted */
	int			event_batch_size;	/* 0: not known yet */
	int64		events_after;	/* seq behind which to go on; 0: at the oldest */
	bool		events_due;		/* the last visit had no time for them */
} NarvikProgress;

extern void narvik_get_progress(NarvikProgress *progress);
extern void narvik_set_progress(const NarvikProgress *progress);
extern void narvik_report_purge(int64 rows, int64 ms, bool more_to_do, bool none_failed,
								const char *error);
extern void narvik_report_failed_rows(const char *message);
extern void narvik_report_purge_error(const char *message);
extern void narvik_report_purge_error_everywhere(const char *message);
extern void narvik_begin_visit(Oid database);
extern void narvik_leave_visit(const char *message);
extern bool narvik_end_visit(Oid database, const char *message);
extern void narvik_set_launcher(pid_t pid);
extern List *narvik_counted_databases(void);
extern void narvik_forget_databases(const List *dropped);

#endif							/* NARVIK_STATS_H */
