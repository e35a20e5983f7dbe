/*
 * plain_select.c
 *		select() without libfaketime in between, for t/062_clocks.pl.
 *
 * While libfaketime's select() waits, the process that called it has the true
 * time.  Up to PostgreSQL 15 the postmaster forks in signal handlers that
 * interrupt just this wait, so background workers would keep the true time all
 * their lives.  Loaded before libfaketime.
 */
#define _GNU_SOURCE
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
select(int n, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout)
{
	struct timespec wait;

	if (timeout)
	{
		wait.tv_sec = timeout->tv_sec;
		wait.tv_nsec = timeout->tv_usec * 1000;
	}
	return (int) syscall(SYS_pselect6, n, in, out, except, timeout ? &wait : NULL, NULL);
}
