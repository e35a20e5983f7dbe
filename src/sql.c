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
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
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

/* ---- names of tables ----------------------------------------------------- */

/*
 * A statement names its tables, and a name can come to mean another table before
 * the statement is parsed, or parsed again, although ours is open and locked: the
 * owner of a schema can rename it, which waits for nobody, and give its name to
 * another.  Triggers and functions of what has our table's name then would run as
 * the owner of ours.
 *
 * So a statement begins with the OIDs of the tables it may name, each in a comment,
 * and check_tables() compares whenever it is parsed: before anything in it is
 * planned, which may evaluate functions, or run.
 */
#define TABLE_MARK	"/" "* narvik "
#define MARK_END	" *" "/ "

static post_parse_analyze_hook_type previous_hook = NULL;

static List *
tables_of(const char *sql)
{
	List	   *tables = NIL;

	while (strncmp(sql, TABLE_MARK, strlen(TABLE_MARK)) == 0)
	{
		char	   *end;

		tables = lappend_oid(tables, (Oid) strtoul(sql + strlen(TABLE_MARK), &end, 10));
		/* Anybody can write such a comment, with anything in it. */
		if (strncmp(end, MARK_END, strlen(MARK_END)) != 0)
			break;
		sql = end + strlen(MARK_END);
	}
	return tables;
}

static bool
names_another_table(Node *node, void *tables)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION &&
			!list_member_oid(tables, ((RangeTblEntry *) node)->relid);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, names_another_table, tables, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, names_another_table, tables);
}

static void
check_tables(ParseState *pstate, Query *query, NarvikJumbleState *jstate)
{
	if (previous_hook)
		previous_hook(pstate, query, jstate);
	if (strncmp(pstate->p_sourcetext, TABLE_MARK, strlen(TABLE_MARK)) == 0 &&
		names_another_table((Node *) query, tables_of(pstate->p_sourcetext)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("a table was renamed while extension \"narvik\" used it"),
				 errhint("Try again.")));
}

void
narvik_sql_init(void)
{
	previous_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = check_tables;
}

/* A statement that may name this table; of one that may name more, what comes after. */
char *
narvik_sql_of(Relation rel, const char *sql)
{
	return psprintf(TABLE_MARK "%u" MARK_END "%s", RelationGetRelid(rel), sql);
}

/* As it is called now: a schema may have been renamed since the table was opened. */
char *
narvik_qualified_name(Relation rel)
{
	AcceptInvalidationMessages();
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
