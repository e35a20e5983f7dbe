/*
 * store_run.c
 *		Running SQL statements on the tables of sessions and of events: as whom,
 *		and in which snapshot.
 *
 * Every statement runs as the table's owner (sql.c), so that callers need no
 * privilege on the table and cannot slip in operators of their own.
 *
 * Knows where the table is, not what is in it.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/tstoreReceiver.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "relation.h"
#include "store_run.h"

/* The last transaction that changed the newest state, whatever its snapshot. */
static TransactionId changed_newest_state = InvalidTransactionId;

/* Whether this transaction did; a savepoint's rollback does not undo that. */
bool
narvik_run_changed_newest_state(void)
{
	TransactionId xid = GetTopTransactionIdIfAny();

	return TransactionIdIsValid(xid) && xid == changed_newest_state;
}

/*
 * (Re)make the statement's plan if it has none for the table's present name.
 * A plan for an earlier name is left to itself: a statement further up the
 * stack may be running it, and tables are not renamed often.
 */
static void
make_plan(NarvikStatement *statement, Relation rel)
{
	char	   *table_name = narvik_qualified_name(rel);
	SPIPlanPtr	plan;

	if (statement->plan != NULL && statement->relid == RelationGetRelid(rel) &&
		strcmp(statement->table_name, table_name) == 0)
		return;

	statement->plan = NULL;
	plan = SPI_prepare_cursor(narvik_sql_of(rel, psprintf(statement->text, table_name)),
							  statement->nparams, statement->params,
							  statement->cursor_options);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->text,
			 SPI_result_code_string(SPI_result));
	/* Only now, or a connection would grow while this fails. */
	statement->table_name = MemoryContextStrdup(TopMemoryContext, table_name);
	statement->relid = RelationGetRelid(rel);
	statement->plan = plan;
}

/*
 * Become the table's owner and have the statement's plan at hand.
 *
 * Sequential scans are off because a plan made while the table was small is
 * kept until statistics change, and the table may grow fast.  What reads the
 * whole table needs them.  Nothing needs the JIT compiler, which high costs
 * invite.
 */
static void
prepare(NarvikRun *run, NarvikStatement *statement, int how)
{
	LOCKMODE	lockmode = how & NARVIK_READ_ONLY ? AccessShareLock : RowExclusiveLock;
	Relation	rel = statement->of_events ? narvik_events_open(lockmode) : narvik_relation_open(lockmode);

	run->caller_context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	narvik_become_owner(rel, &run->caller);
	narvik_set_for_owner("jit", "off");
	if (!(how & NARVIK_WITHOUT_INDEX))
		narvik_set_for_owner("enable_seqscan", "off");
	make_plan(statement, rel);
	table_close(rel, NoLock);
}

/* Results are read by number: each column must be what is read. */
static void
check_result(const NarvikStatement *statement, TupleDesc desc)
{
	bool		as_expected = desc->natts == statement->ncolumns;

	for (int i = 0; as_expected && i < desc->natts; i++)
		as_expected = TupleDescAttr(desc, i)->atttypid == statement->columns[i];
	if (!as_expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg_internal("result of \"%s\" has other columns", statement->text)));
}

/*
 * Run a statement.  Its result is in SPI_processed and SPI_tuptable until
 * narvik_run_end().
 */
void
narvik_run_begin(NarvikRun *run, NarvikStatement *statement, Datum *values,
				 const char *nulls, int how)
{
	int			result;

	prepare(run, statement, how);
	result = SPI_execute_snapshot(statement->plan, values, nulls,
								  how & NARVIK_NEWEST_STATE ? GetLatestSnapshot() : InvalidSnapshot,
								  InvalidSnapshot,
								  (how & NARVIK_READ_ONLY) != 0, true, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->text,
			 SPI_result_code_string(result));
	if (statement->ncolumns > 0)
		check_result(statement, SPI_tuptable->tupdesc);
	if ((how & NARVIK_NEWEST_STATE) && SPI_processed > 0)
		changed_newest_state = GetTopTransactionIdIfAny();
}

void
narvik_run_end(NarvikRun *run)
{
	narvik_become_caller(&run->caller);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* A statement of which only the number of rows is of interest. */
int64
narvik_run_count(NarvikStatement *statement, Datum *values, const char *nulls, int how)
{
	NarvikRun	run;
	int64		processed;

	narvik_run_begin(&run, statement, values, nulls, how);
	processed = (int64) SPI_processed;
	narvik_run_end(&run);
	return processed;
}

/*
 * A query whose rows are fetched from a cursor, until narvik_run_end().
 */
Portal
narvik_run_cursor(NarvikRun *run, NarvikStatement *statement, Datum *values,
				  const char *nulls, int how)
{
	Portal		portal;

	prepare(run, statement, how);
	PushActiveSnapshot(how & NARVIK_NEWEST_STATE ? GetLatestSnapshot() : GetActiveSnapshot());
	portal = SPI_cursor_open(NULL, statement->plan, values, nulls, true);
	PopActiveSnapshot();
	check_result(statement, portal->tupDesc);
	return portal;
}

static ParamListInfo
make_params(const NarvikStatement *statement, const Datum *values, const char *nulls)
{
	ParamListInfo params = makeParamList(statement->nparams);

	for (int i = 0; i < statement->nparams; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = nulls != NULL && nulls[i] == 'n';
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = statement->params[i];
	}
	return params;
}

/*
 * A query whose rows go to a tuple store, so that memory does not grow with
 * their number.  Returns their description, in the caller's memory context.
 */
TupleDesc
narvik_run_into(NarvikStatement *statement, Datum *values, const char *nulls,
				int how, Tuplestorestate *rows)
{
	NarvikRun	run;
	SPIExecuteOptions options = {0};
	CachedPlanSource *source;
	TupleDesc	desc;
	MemoryContext spi_context;

	prepare(&run, statement, how);
	options.params = make_params(statement, values, nulls);
	options.read_only = true;
	options.dest = CreateDestReceiver(DestTuplestore);
	/* Detoasted: the rows may be gone before the answer is read. */
	SetTuplestoreDestReceiverParams(options.dest, rows, run.caller_context,
									true, NULL, NULL);
	PushActiveSnapshot(how & NARVIK_NEWEST_STATE ? GetLatestSnapshot() : GetActiveSnapshot());
	if (SPI_execute_plan_extended(statement->plan, &options) < 0)
		elog(ERROR, "could not execute \"%s\"", statement->text);
	PopActiveSnapshot();

	source = linitial(SPI_plan_get_plan_sources(statement->plan));
	check_result(statement, source->resultDesc);
	spi_context = MemoryContextSwitchTo(run.caller_context);
	desc = CreateTupleDescCopy(source->resultDesc);
	MemoryContextSwitchTo(spi_context);
	narvik_run_end(&run);
	return desc;
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
