/*
 * sql.c
 *		What modules need to run SQL of their own: names, whose rights, and a way
 *		back.
 *
 * Whatever reads or writes a table may evaluate code of that table's owner:
 * triggers, constraints, defaults, predicates and expressions of indexes and
 * of statistics, partition keys, the checks of a domain.  None of it may get
 * hold of more rights than the owner has, whoever called.  So work on a table
 * is done as VACUUM and CREATE INDEX do it: as the owner, in a
 * security-restricted operation (no SET ROLE, nothing left behind that fires
 * later as somebody else), with search_path pinned, and whatever settings were
 * changed meanwhile are put back.
 *
 * If the work fails, the abort of the (sub)transaction puts role and settings
 * back, as it does for SECURITY DEFINER functions.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "sql.h"

void
narvik_become_owner(Relation rel, NarvikCaller *caller)
{
	GetUserIdAndSecContext(&caller->role, &caller->security_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   caller->security_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	caller->guc_level = NewGUCNestLevel();
	narvik_set_for_owner("search_path", "pg_catalog, pg_temp");
}

/* Until narvik_become_caller(). */
void
narvik_set_for_owner(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
narvik_become_caller(const NarvikCaller *caller)
{
	/* As on abort: a SET of the owner's code must not outlive it. */
	AtEOXact_GUC(false, caller->guc_level);
	SetUserIdAndSecContext(caller->role, caller->security_context);
}

/*
 * Run an action in a subtransaction of its own.  Returns the error if it fails,
 * and then nothing of it is left; else NULL.
 *
 * The subtransaction is rolled back whatever the error is: one that is raised
 * again from inside would leave the transaction in it.
 */
ErrorData *
narvik_attempt(void (*action) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		action(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

char *
narvik_qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* Run a utility command as the caller; all names in it are qualified. */
void
narvik_run_ddl(const char *sql)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", sql);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}
