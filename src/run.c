/*
 * run.c
 *		Running SQL statements on the table of sessions.
 *
 * Every statement runs as the table's owner, with search_path pinned, so that
 * callers need no privilege on the table and cannot slip in operators of
 * their own.  If it fails, the abort of the (sub)transaction puts role,
 * settings and SPI back, as it does for SECURITY DEFINER functions.
 *
 * Knows where the table is, not what is in it.  Part of store.c's room, for
 * the files of that room alone.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "relation.h"
#include "run.h"

/*
 * (Re)make the statement's plan if it has none for the table's present name.
 * A plan for an earlier name is left to itself: a statement further up the
 * stack may be running it, and tables are not renamed often.
 */
static void
make_plan(NarvikStatement *statement, Relation rel)
{
	char	   *table_name;

	table_name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											RelationGetRelationName(rel));
	if (statement->plan != NULL && strcmp(statement->table_name, table_name) == 0)
		return;

	statement->plan = NULL;
	statement->table_name = MemoryContextStrdup(TopMemoryContext, table_name);
	statement->plan = SPI_prepare_cursor(psprintf(statement->text, table_name),
										 statement->nparams, statement->types,
										 statement->cursor_options);
	if (statement->plan == NULL || SPI_keepplan(statement->plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->text,
			 SPI_result_code_string(SPI_result));
}

static void
set_for_run(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Become the table's owner and have the statement's plan at hand.
 *
 * Sequential scans are off because a plan made while the table was small is
 * kept until statistics change, and the table may grow fast.  Each condition
 * has its index, but for the age limit's, and deleting all has none: there the
 * cost of what is off would only invite the JIT compiler.
 */
void
narvik_run_prepare(NarvikRun *run, NarvikStatement *statement, int how)
{
	Oid			id_index;
	Relation	rel = narvik_relation_open(how & NARVIK_READ_ONLY ? AccessShareLock : RowExclusiveLock,
										   &id_index);

	run->caller_context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	GetUserIdAndSecContext(&run->caller, &run->caller_sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   run->caller_sec_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
						   (how & NARVIK_RESTRICTED ? SECURITY_RESTRICTED_OPERATION : 0));
	run->guc_level = NewGUCNestLevel();
	set_for_run("search_path", "pg_catalog, pg_temp");
	if (!(how & NARVIK_WITHOUT_INDEX))
		set_for_run("enable_seqscan", "off");

	make_plan(statement, rel);
	table_close(rel, NoLock);
}

/*
 * Run a statement.  Its result is in SPI_processed and SPI_tuptable until
 * narvik_run_end().
 *
 * With a snapshot given the statement sees that one instead of the
 * transaction's.
 */
void
narvik_run_begin(NarvikRun *run, NarvikStatement *statement, Datum *values,
				 const char *nulls, Snapshot snapshot, int how)
{
	int			result;

	narvik_run_prepare(run, statement, how);
	result = SPI_execute_snapshot(statement->plan, values, nulls,
								  snapshot, InvalidSnapshot,
								  (how & NARVIK_READ_ONLY) != 0, true, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->text,
			 SPI_result_code_string(result));
}

void
narvik_run_end(NarvikRun *run)
{
	AtEOXact_GUC(true, run->guc_level);
	SetUserIdAndSecContext(run->caller, run->caller_sec_context);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* A statement of which only the number of rows is of interest. */
int64
narvik_run_count(NarvikStatement *statement, Datum *values, const char *nulls, int how)
{
	NarvikRun	run;
	int64		processed;

	narvik_run_begin(&run, statement, values, nulls, InvalidSnapshot, how);
	processed = (int64) SPI_processed;
	narvik_run_end(&run);
	return processed;
}

/* A column of a result row that must not be null. */
Datum
narvik_run_column(uint64 row, int column)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		narvik_report_bad_column(SPI_fname(SPI_tuptable->tupdesc, column));
	return datum;
}

/*
 * The same, of variable length: a copy in the caller's memory context, whole
 * and uncompressed.
 */
Datum
narvik_run_column_copy(const NarvikRun *run, uint64 row, int column)
{
	Datum		datum = narvik_run_column(row, column);
	MemoryContext old = MemoryContextSwitchTo(run->caller_context);

	datum = PointerGetDatum(PG_DETOAST_DATUM_COPY(datum));
	MemoryContextSwitchTo(old);
	return datum;
}
