/*
 * delay.c
 *		A launcher that stands still, for tests of what happens meanwhile, and a
 *		purge worker that is late.
 *
 * Preloaded, it makes the narvik launcher wait at the end of each transaction,
 * which is when it has read the list of databases, as long as the file "delay"
 * is in the data directory.  While it waits there is the file "delayed".
 *
 * If there is the file "late" in the directory of a database, its purge worker
 * removes it, and waits in a commit, which cannot be cancelled any more, until
 * the batch's time runs out.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/timeout.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static bool
is_process(const char *name)
{
	return MyBgworkerEntry != NULL && strcmp(MyBgworkerEntry->bgw_name, name) == 0;
}

static void
wait_for_file(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_PRE_COMMIT || !is_process("narvik launcher"))
		return;
	while (access("delay", F_OK) == 0)
	{
		close(open("delayed", O_CREAT | O_WRONLY, 0600));
		pg_usleep(1000);
	}
	unlink("delayed");
}

static void
wait_for_timeout(XactEvent event, void *arg)
{
	char		late[MAXPGPATH];

	(void) arg;
	if (event != XACT_EVENT_COMMIT || !is_process("narvik purge worker") ||
		!get_timeout_active(STATEMENT_TIMEOUT))
		return;
	snprintf(late, sizeof(late), "%s/late", DatabasePath);
	if (unlink(late) != 0)
		return;
	while (get_timeout_active(STATEMENT_TIMEOUT))
		pg_usleep(1000);
}

void
_PG_init(void)
{
	RegisterXactCallback(wait_for_timeout, NULL);
	RegisterXactCallback(wait_for_file, NULL);
}
