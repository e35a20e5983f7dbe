/*
 * fault.c
 *		Memory that runs out and a disk that is full, for the tests of both.
 *
 * Preloaded into a server (LD_PRELOAD) it stands before malloc() and the calls
 * that write files.  The same library is a module: fault_malloc(n) makes the
 * n-th allocation from now on fail, in the backend that calls it; 0 switches
 * that off; it returns how many were left.
 *
 * While the file that FAULT_DISK names exists, no file whose path contains
 * that file's text can grow, as on a full disk: writing what is there already
 * goes on.
 *
 * Must not need a symbol of the server's, for it is preloaded into the shell and
 * pg_ctl too.
 */
#define _GNU_SOURCE
#include "postgres.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fmgr.h"

/* The server's own, which its headers put in the place of the C library's. */
#undef snprintf
#undef pwrite
#undef pwritev

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(fault_malloc);

/* ---- memory ------------------------------------------------------------- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static volatile int countdown = 0;

static bool
memory_fails(void)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *
malloc(size_t size)
{
	return memory_fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return memory_fails() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	return memory_fails() ? NULL : __libc_realloc(p, size);
}

Datum
fault_malloc(PG_FUNCTION_ARGS)
{
	int			left = countdown;

	countdown = PG_GETARG_INT32(0);
	PG_RETURN_INT32(left);
}

/* ---- disk --------------------------------------------------------------- */

static bool
on_full_disk(int fd)
{
	const char *control = getenv("FAULT_DISK");
	char		link[64];
	char		path[1024];
	char		part[64];
	ssize_t		len;
	int			file;

	if (control == NULL || (file = open(control, O_RDONLY)) < 0)
		return false;
	len = read(file, part, sizeof(part) - 1);
	close(file);
	if (len <= 0)
		return false;
	part[len] = '\0';
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len <= 0)
		return false;
	path[len] = '\0';
	return strstr(path, part) != NULL;
}

/* Would the file grow, and may it not? */
static bool
disk_fails(int fd, off_t end)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end <= st.st_size ||
		!on_full_disk(fd))
		return false;
	errno = ENOSPC;
	return true;
}

static size_t
iov_size(const struct iovec *iov, int n)
{
	size_t		size = 0;

	for (int i = 0; i < n; i++)
		size += iov[i].iov_len;
	return size;
}

#define GUARDED(type, name, parameters, arguments, end, failure) \
type \
name parameters \
{ \
	static type (*real) parameters; \
	if (!real) \
		real = dlsym(RTLD_NEXT, #name); \
	return disk_fails(fd, end) ? failure : real arguments; \
}

/* Each under both its names; which one a program calls depends on its build. */
#define PWRITE(name) \
GUARDED(ssize_t, name, (int fd, const void *data, size_t size, off_t offset), \
		(fd, data, size, offset), offset + (off_t) size, -1)
#define PWRITEV(name) \
GUARDED(ssize_t, name, (int fd, const struct iovec *iov, int n, off_t offset), \
		(fd, iov, n, offset), offset + (off_t) iov_size(iov, n), -1)
#define FALLOCATE(name) \
GUARDED(int, name, (int fd, off_t offset, off_t len), (fd, offset, len), offset + len, ENOSPC)

PWRITE(pwrite)
PWRITE(pwrite64)
PWRITEV(pwritev)
PWRITEV(pwritev64)
FALLOCATE(posix_fallocate)
FALLOCATE(posix_fallocate64)
