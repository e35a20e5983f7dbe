/*
 * narvik.c
 *		Module entry.
 *
 * docs/architecture.md tells which file is about what.
 */
#include "postgres.h"
#include "compat.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "cookie_functions.h"
#include "events.h"
#include "identity.h"
#include "link.h"
#include "policy.h"
#include "purge_pace.h"
#include "relation.h"
#include "sql.h"
#include "stats.h"
#include "token.h"
#include "worker.h"

NARVIK_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	narvik_policy_init();
	narvik_events_init();
	narvik_token_init();
	narvik_cookie_functions_init();
	narvik_sql_init();
	narvik_relation_init();
	narvik_link_init();
	narvik_identity_init();
	narvik_pace_init();
	narvik_stats_init();
	narvik_worker_init();
	MarkGUCPrefixReserved("narvik");
}
