/*
 * clock.h
 *		A clock for how long something takes or should wait.
 *
 * Nobody can set it, so it neither jumps nor stands still when somebody sets
 * the server's clock.  It says nothing about the time of day: whether a
 * session has expired is for the other clock to tell.
 */
#ifndef NARVIK_CLOCK_H
#define NARVIK_CLOCK_H

#include "portability/instr_time.h"

/* Milliseconds since some moment in the past. */
static inline int64
narvik_steady_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

#endif							/* NARVIK_CLOCK_H */
