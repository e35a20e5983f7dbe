/*
 * clock.c
 *		A clock that scripts/bench can put forward, for a server that lives
 *		through a day in minutes.  Preloaded into it (LD_PRELOAD), this is where
 *		PostgreSQL asks for the time.
 *
 * BENCH_CLOCK names a file that holds, in digits, by how many seconds the
 * clock is ahead.  It is mapped once, and every process sees each change.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile char *ahead;

__attribute__((constructor)) static void
open_clock(void)
{
	const char *name = getenv("BENCH_CLOCK");
	int			fd = name ? open(name, O_RDONLY) : -1;
	void	   *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	if (fd < 0 || map == MAP_FAILED)
		abort();
	close(fd);
	ahead = map;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec real;

	(void) tz;
	clock_gettime(CLOCK_REALTIME, &real);
	tv->tv_sec = real.tv_sec + atol((const char *) ahead);
	tv->tv_usec = real.tv_nsec / 1000;
	return 0;
}
