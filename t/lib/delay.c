/*
 * delay.c
 *		A launcher that stands still, for tests of what happens meanwhile.
 *
 * Preloaded, it makes the narvik launcher wait at the end of each transaction,
 * which is when it has read the list of databases, as long as the file "delay"
 * is in the data directory.  While it waits there is the file "delayed".
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static void
wait_for_file(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_PRE_COMMIT || MyBgworkerEntry == NULL ||
		strcmp(MyBgworkerEntry->bgw_name, "narvik launcher") != 0)
		return;
	while (access("delay", F_OK) == 0)
	{
		close(open("delayed", O_CREAT | O_WRONLY, 0600));
		pg_usleep(1000);
	}
	unlink("delayed");
}

void
_PG_init(void)
{
	RegisterXactCallback(wait_for_file, NULL);
}
