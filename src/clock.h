/*
 * clock.h
 *		The two clocks: the time of day that decides whether a session has
 *		expired, and a steady one for how long something takes or should wait.
 */
#ifndef NARVIK_CLOCK_H
#define NARVIK_CLOCK_H

#include <time.h>

#include "access/xact.h"
#include "utils/timestamp.h"

/*
 * The moment of a call: the start of the client's statement, or of the
 * transaction if that is later.  In a procedure that commits, the statement's
 * start stands still while transactions come and go.
 */
static inline TimestampTz
narvik_now(void)
{
	return Max(GetCurrentStatementStartTimestamp(),
			   GetCurrentTransactionStartTimestamp());
}

/*
 * Milliseconds since some moment in the past, the same one for all processes.
 * Nobody can set this clock, so it neither jumps nor stands still when somebody
 * sets the server's.  Not INSTR_TIME_SET_CURRENT(): since 19 a setting chooses
 * what that reads, and with it the moment.
 */
static inline int64
narvik_steady_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif							/* NARVIK_CLOCK_H */
