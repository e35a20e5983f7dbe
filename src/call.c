/*
 * call.c
 *		Arguments and answers of the SQL functions about sessions: what
 *		session.c and callbacks.c share of PostgreSQL's calling conventions.
 *
 * Knows nothing of the table and takes no lock.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "call.h"

/* narvik_session; narvik_created_session has the token in front. */
#define SESSION_COLUMNS	7

/* ---- arguments ---------------------------------------------------------- */

void
narvik_require_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

text *
narvik_user_id_arg(FunctionCallInfo fcinfo, int argno)
{
	text	   *user_id;

	narvik_require_arg(fcinfo, argno, "user ID");
	user_id = PG_GETARG_TEXT_PP(argno);
	narvik_check_user_id(user_id);
	return user_id;
}

Jsonb *
narvik_data_arg(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *data;

	narvik_require_arg(fcinfo, argno, "session data");
	data = PG_GETARG_JSONB_P(argno);
	narvik_check_data(data);
	return data;
}

TimestampTz
narvik_expires_at_arg(FunctionCallInfo fcinfo, int argno)
{
	TimestampTz expires_at;

	narvik_require_arg(fcinfo, argno, "expiry of a session");
	expires_at = PG_GETARG_TIMESTAMPTZ(argno);
	narvik_check_expires_at(expires_at);
	return expires_at;
}

/* False if the argument is null or no session id. */
bool
narvik_id_arg(FunctionCallInfo fcinfo, int argno, unsigned char *id)
{
	text	   *hex;

	if (PG_ARGISNULL(argno))
		return false;
	hex = PG_GETARG_TEXT_PP(argno);
	return narvik_parse_id(VARDATA_ANY(hex), VARSIZE_ANY_EXHDR(hex), id);
}

/* ---- answers ------------------------------------------------------------ */

/*
 * The row type that the function returns, kept as long as its FmgrInfo.
 */
static TupleDesc
answer_desc(FunctionCallInfo fcinfo, int natts)
{
	TupleDesc	desc = fcinfo->flinfo->fn_extra;

	if (desc == NULL)
	{
		MemoryContext old;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
			desc->natts != natts)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("result type of function is not as extension \"narvik\" made it")));
		old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		desc = BlessTupleDesc(CreateTupleDescCopy(desc));
		MemoryContextSwitchTo(old);
		fcinfo->flinfo->fn_extra = desc;
	}
	return desc;
}

static void
session_values(const NarvikSession *session, bool is_new, bool extended,
			   Datum *values)
{
	text	   *hex = (text *) palloc(VARHDRSZ + NARVIK_ID_CHARS);

	SET_VARSIZE(hex, VARHDRSZ + NARVIK_ID_CHARS);
	narvik_print_id(session->id, VARDATA(hex));

	values[0] = PointerGetDatum(hex);
	values[1] = PointerGetDatum(session->user_id);
	values[2] = TimestampTzGetDatum(session->terms.created_at);
	values[3] = TimestampTzGetDatum(session->terms.expires_at);
	values[4] = JsonbPGetDatum(session->data);
	values[5] = BoolGetDatum(is_new);
	values[6] = BoolGetDatum(extended);
}

/* A narvik_session. */
Datum
narvik_session_datum(FunctionCallInfo fcinfo, const NarvikSession *session,
					 bool extended)
{
	Datum		values[SESSION_COLUMNS];
	bool		nulls[SESSION_COLUMNS] = {false};

	session_values(session, false, extended, values);
	return HeapTupleGetDatum(heap_form_tuple(answer_desc(fcinfo, SESSION_COLUMNS),
											 values, nulls));
}

/* A narvik_created_session: new, whatever it was before, is its token. */
Datum
narvik_created_session_datum(FunctionCallInfo fcinfo, const text *token,
							 const NarvikSession *session)
{
	Datum		values[1 + SESSION_COLUMNS];
	bool		nulls[1 + SESSION_COLUMNS] = {false};

	values[0] = PointerGetDatum(token);
	session_values(session, true, false, &values[1]);
	return HeapTupleGetDatum(heap_form_tuple(answer_desc(fcinfo, 1 + SESSION_COLUMNS),
											 values, nulls));
}

static ReturnSetInfo *
set_info(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;

	if (info == NULL || !IsA(info, ReturnSetInfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	return info;
}

/*
 * Answer a set-returning call with one row or none.
 *
 * In FROM, without the context and the second call that the SRF macros cost:
 * the executor takes a row that comes with ExprSingleResult for the only one.
 * In a select list that would be repeated beside a function that returns more
 * rows, so there it is a set of one.  Only FROM prefers a tuplestore.
 */
Datum
narvik_one_row(FunctionCallInfo fcinfo, Datum row)
{
	ReturnSetInfo *info = set_info(fcinfo);
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	HeapTupleData tuple = {0};

	if (info->allowedModes & SFRM_Materialize_Preferred)
	{
		info->isDone = ExprSingleResult;
		return row;
	}

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	InitMaterializedSRF(fcinfo, 0);
	tuplestore_puttuple(info->setResult, &tuple);
	PG_RETURN_NULL();
}

Datum
narvik_no_row(FunctionCallInfo fcinfo)
{
	set_info(fcinfo)->isDone = ExprEndResult;
	PG_RETURN_NULL();
}

/* Answer a set-returning call with these NarvikSessions. */
void
narvik_many_rows(FunctionCallInfo fcinfo, List *sessions)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[SESSION_COLUMNS];
	bool		nulls[SESSION_COLUMNS] = {false};
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (info->setDesc->natts != SESSION_COLUMNS)
		(void) answer_desc(fcinfo, SESSION_COLUMNS);	/* reports it */

	foreach(cell, sessions)
	{
		session_values((NarvikSession *) lfirst(cell), false, false, values);
		tuplestore_putvalues(info->setResult, info->setDesc, values, nulls);
	}
}

/* ---- SQL ---------------------------------------------------------------- */

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
