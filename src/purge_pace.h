/*
 * purge_pace.h
 *		How fast to purge.
 */
#ifndef NARVIK_PURGE_PACE_H
#define NARVIK_PURGE_PACE_H

#include "stats.h"

extern void narvik_pace_init(void);
extern int	narvik_pace_limit(int size);
extern int	narvik_pace_batch_size(const NarvikProgress *progress);
extern void narvik_pace_adapt_batch_size(int *batch_size, int last, int64 ms);
extern void narvik_pace_deleted(NarvikProgress *progress, int64 deleted,
								int64 began_at_ms);
extern int64 narvik_pace_wait_ms(const NarvikProgress *progress, int64 now_ms);
extern void narvik_pace_begin_visit(NarvikProgress *progress);
extern void narvik_pace_begin_round(NarvikProgress *progress);
extern bool narvik_pace_end_round(NarvikProgress *progress);

#endif							/* NARVIK_PURGE_PACE_H */
