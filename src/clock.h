/*
 * clock.h
 *		The two clocks: the time of day that decides whether a session has
 *		expired, and a steady one for how long something takes or should wait.
 */
#ifndef NARVIK_CLOCK_H
#define NARVIK_CLOCK_H

#include "access/xact.h"
#include "portability/instr_time.h"
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
 * Milliseconds since some moment in the past.  Nobody can set this clock, so it
 * neither jumps nor stands still when somebody sets the server's.
 */
static inline int64
narvik_steady_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

#endif							/* NARVIK_CLOCK_H */
