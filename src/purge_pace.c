/*
 * purge_pace.c
 *		How fast to purge: rows in a batch, batches in a second, and when to
 *		begin at the beginning again.
 *
 * Settings and arithmetic on what one visit leaves to the next; no table, no
 * lock, no waiting.
 *
 * How many rows a batch has depends on how long the last one took.  After a
 * batch the next one has to wait until narvik.purge_rate is kept.  stats.h
 * tells what a round is.
 */
#include "postgres.h"
#include "compat.h"

#include <limits.h>

#include "utils/guc.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "purge_pace.h"

/* How long a batch should take. */
#define BATCH_MS		250

/*
 * At narvik.purge_rate, how many batches a second at least; but a batch is no
 * less than a row, which costs a second at most.
 */
#define BATCHES_A_SECOND	4
#define MAX_BATCH_COST_US	USECS_PER_SEC

/* How far a purge that was too slow may make up for it later. */
#define CATCH_UP_US		INT64CONST(500000)

/*
 * A round may have to pass millions of dead index entries, a microsecond or so
 * for each.  If these are more than a hundred thousand, the next round waits
 * for fifty times as long.  Entries count and not the time that they took, or a
 * busy machine would not be purged.
 */
#define FEW_ENTRIES		100000
#define PAUSE_PER_ENTRY_US	50
#define MAX_ROUND_PAUSE_MS	INT64CONST(3600000)

static int	purge_batch_size = 1000;
static int	purge_rate = 20000;

void
narvik_pace_init(void)
{
	DefineCustomIntVariable("narvik.purge_batch_size",
							"Sets how many expired sessions the purge worker deletes in one transaction at most.",
							NULL,
							&purge_batch_size,
							1000, 1, NARVIK_SWEEP_ROWS,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("narvik.purge_rate",
							"Sets how many expired sessions and old events the purge worker deletes in one second at most.",
							"Zero sets no limit.",
							&purge_rate,
							20000, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
}

/* ---- batches ------------------------------------------------------------ */

/* A batch of at most this size, as small as narvik.purge_rate wants it. */
int
narvik_pace_limit(int size)
{
	return purge_rate > 0 ? Min(size, Max(purge_rate / BATCHES_A_SECOND, 1)) : size;
}

/* The first one ever is a single row: nothing is known of its triggers. */
int
narvik_pace_batch_size(const NarvikProgress *progress)
{
	return narvik_pace_limit(Min(Max(progress->batch_size, 1), purge_batch_size));
}

/* A batch that took too long makes the next one smaller. */
void
narvik_pace_adapt_batch_size(int *batch_size, int last, int64 ms)
{
	if (ms > BATCH_MS)
		*batch_size = Max(1, (int) (last * (BATCH_MS / 2) / ms));
	else if (ms < BATCH_MS / 2)
		*batch_size = (int) Min(2 * (int64) last, NARVIK_SWEEP_ROWS);
	else
		*batch_size = last;
}

/* A batch that began then has deleted so many rows. */
void
narvik_pace_deleted(NarvikProgress *progress, int64 deleted, int64 began_at_ms)
{
	if (purge_rate > 0)
		progress->next_batch_us = deleted * USECS_PER_SEC / purge_rate +
			Max(progress->next_batch_us, began_at_ms * 1000 - CATCH_UP_US);
}

/* How long to wait for the next batch; zero or less: not at all. */
int64
narvik_pace_wait_ms(const NarvikProgress *progress, int64 now_ms)
{
	return purge_rate == 0 ? 0 : progress->next_batch_us / 1000 - now_ms;
}

/* ---- rounds ------------------------------------------------------------- */

/*
 * Before a sweep: it begins at the beginning if it is time for a round, unless
 * the last one left no time for events, and this one might leave none either.
 */
void
narvik_pace_begin_visit(NarvikProgress *progress)
{
	int64		now_ms = narvik_steady_ms();

	/* No batch costs more.  Should it seem so, a visit must not sleep it off. */
	progress->next_batch_us = Min(progress->next_batch_us, now_ms * 1000 + MAX_BATCH_COST_US);
	if (progress->round_ended && !progress->events_due && now_ms >= progress->next_round_ms)
		memset(&progress->place, 0, sizeof(NarvikPlace));
}

/* A sweep has begun at the beginning. */
void
narvik_pace_begin_round(NarvikProgress *progress)
{
	progress->round_ended = false;
	progress->round_passed = 0;
	progress->failed = 0;
}

/* Returns whether the round came to its end without a row that failed. */
bool
narvik_pace_end_round(NarvikProgress *progress)
{
	int64		pause = 0;

	if (progress->round_ended)
		return false;
	if (progress->round_passed > FEW_ENTRIES)
		pause = Min(progress->round_passed * PAUSE_PER_ENTRY_US / 1000, MAX_ROUND_PAUSE_MS);
	progress->round_ended = true;
	progress->next_round_ms = narvik_steady_ms() + pause;
	return progress->failed == 0;
}
