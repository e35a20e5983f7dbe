/*
 * call.c
 *		Arguments and answers of the SQL functions about sessions: what
 *		session.c and callbacks.c share of PostgreSQL's calling conventions.
 *
 * Knows nothing of the table and takes no lock.
 */
#include "postgres.h"
#include "compat.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "call.h"
#include "clock.h"
#include "events.h"
#include "token.h"

/* narvik_created_session has the token in front, and is never due. */
#define SESSION_COLUMNS	10
#define CREATED_SESSION_COLUMNS	10
/* narvik_request has the cookie and the token in front. */
#define REQUEST_COLUMNS	12
#define EVENT_COLUMNS	7

/* ---- arguments ---------------------------------------------------------- */

/* If the argument is null, raise an error with this message. */
void
narvik_require_arg(FunctionCallInfo fcinfo, int argno, const char *message)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg_internal("%s", _(message))));
}

text *
narvik_user_id_arg(FunctionCallInfo fcinfo, int argno)
{
	text	   *user_id;

	narvik_require_arg(fcinfo, argno, gettext_noop("user ID must not be null"));
	user_id = PG_GETARG_TEXT_PP(argno);
	narvik_check_user_id(user_id);
	return user_id;
}

Jsonb *
narvik_data_arg(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *data;

	narvik_require_arg(fcinfo, argno, gettext_noop("session data must not be null"));
	data = PG_GETARG_JSONB_P(argno);
	narvik_check_data(data);
	return data;
}

/*
 * What all new sessions have in common: of this user, or a guest's, with the data
 * of an argument, and made now.  It expires at once as yet, and does not slide.
 */
void
narvik_begin_session(FunctionCallInfo fcinfo, int data_argno, text *user_id,
					 NarvikSession *session)
{
	NarvikTerms *terms = &session->terms;

	session->user_id = user_id;
	session->data = narvik_data_arg(fcinfo, data_argno);
	session->stored_data = NULL;
	session->active_at = DT_NOBEGIN;
	memset(terms, 0, sizeof(*terms));
	terms->guest = user_id == NULL;
	terms->created_at = terms->expires_at = narvik_now();
	terms->ends_at = DT_NOEND;
	session->authenticated_at = terms->guest ? DT_NOBEGIN : terms->created_at;
}

TimestampTz
narvik_expires_at_arg(FunctionCallInfo fcinfo, int argno)
{
	TimestampTz expires_at;

	narvik_require_arg(fcinfo, argno, gettext_noop("expiry of a session must not be null"));
	expires_at = PG_GETARG_TIMESTAMPTZ(argno);
	narvik_check_expires_at(expires_at);
	return expires_at;
}

/* False if the argument is null; an error if it is too short or too long. */
bool
narvik_lifetime_arg(FunctionCallInfo fcinfo, int argno, TimestampTz from,
					Interval *lifetime)
{
	if (PG_ARGISNULL(argno))
		return false;
	*lifetime = *PG_GETARG_INTERVAL_P(argno);
	(void) narvik_expiry_after(from, lifetime);
	return true;
}

/* NULL is no limit. */
int32
narvik_max_rows_arg(FunctionCallInfo fcinfo, int argno)
{
	int32		max_rows = PG_ARGISNULL(argno) ? PG_INT32_MAX : PG_GETARG_INT32(argno);

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of rows must not be negative")));
	return max_rows;
}

/* Why a session ends.  The function may have no such argument. */
const char *
narvik_reason_arg(FunctionCallInfo fcinfo, int argno, const char *if_null)
{
	text	   *reason;
	Size		len;

	if (argno >= PG_NARGS() || PG_ARGISNULL(argno))
		return if_null;
	reason = PG_GETARG_TEXT_PP(argno);
	len = VARSIZE_ANY_EXHDR(reason);
	if (len == 0 || len > NARVIK_MAX_REASON_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reason must be 1 to %d bytes long", NARVIK_MAX_REASON_BYTES)));
	return text_to_cstring(reason);
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

/*
 * The id of a token that a client sent.  False if it cannot be one of ours;
 * never an error, whatever the text.
 */
bool
narvik_token_arg(FunctionCallInfo fcinfo, int argno, unsigned char *id)
{
	Size		len;

	if (PG_ARGISNULL(argno))
		return false;

	/* Measure before detoasting: nobody should be able to make us copy 1 GB. */
	len = toast_raw_datum_size(PG_GETARG_DATUM(argno)) - VARHDRSZ;
	if (len == 0 || len > NARVIK_MAX_TOKEN_BYTES)
		return false;
	return narvik_token_id(PG_GETARG_TEXT_PP(argno), id);
}

/* ---- answers ------------------------------------------------------------ */

static const Oid session_types[SESSION_COLUMNS] =
{
	TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, JSONBOID, BOOLOID, BOOLOID, BOOLOID
};

static const Oid created_session_types[CREATED_SESSION_COLUMNS] =
{
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, JSONBOID, BOOLOID, BOOLOID
};

static const Oid request_types[REQUEST_COLUMNS] =
{
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID, BOOLOID, BOOLOID, BOOLOID
};

static const Oid event_types[EVENT_COLUMNS] =
{
	INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID
};

/*
 * A superuser can alter a row type.  Values must not be taken for what they
 * are not.
 */
static void
check_answer_desc(TupleDesc desc, const Oid *types, int natts)
{
	bool		as_made = desc != NULL && desc->natts == natts;

	for (int i = 0; as_made && i < natts; i++)
		as_made = TupleDescAttr(desc, i)->atttypid == types[i];
	if (!as_made)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("result type of function is not as extension \"narvik\" made it")));
}

/* What both types have. */
static void
session_values(const NarvikSession *session, bool is_new, bool extended,
			   Datum *values, bool *nulls)
{
	values[0] = PointerGetDatum(narvik_id_text(session->id));
	values[1] = PointerGetDatum(session->user_id);
	nulls[1] = session->user_id == NULL;
	values[2] = TimestampTzGetDatum(session->terms.created_at);
	values[3] = TimestampTzGetDatum(narvik_expires_at(&session->terms));
	values[4] = TimestampTzGetDatum(session->authenticated_at);
	nulls[4] = TIMESTAMP_IS_NOBEGIN(session->authenticated_at);
	/* Being created is the first use. */
	values[5] = TimestampTzGetDatum(Max(session->active_at, session->terms.created_at));
	values[6] = JsonbPGetDatum(session->data);
	values[7] = BoolGetDatum(is_new);
	values[8] = BoolGetDatum(extended);
}

/* Answer a call that returns one narvik_created_session. */
Datum
narvik_created_session(FunctionCallInfo fcinfo, const text *token,
					   const NarvikSession *session)
{
	Datum		values[CREATED_SESSION_COLUMNS];
	bool		nulls[CREATED_SESSION_COLUMNS] = {false};
	TupleDesc	desc;

	(void) get_call_result_type(fcinfo, NULL, &desc);
	check_answer_desc(desc, created_session_types, CREATED_SESSION_COLUMNS);
	values[0] = PointerGetDatum(token);
	session_values(session, true, false, &values[1], &nulls[1]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* ---- sets --------------------------------------------------------------- */

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
 * Answer a set-returning call with a set, empty as yet.
 *
 * InitMaterializedSRF() copies the row type for each call, for the executor to
 * compare and free it.  Rows made with the executor's own expectedDesc need
 * neither, and no look into the catalogs.
 */
static ReturnSetInfo *
begin_set(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = set_info(fcinfo);
	MemoryContext old = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);

	info->returnMode = SFRM_Materialize;
	info->setResult = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0,
											false, work_mem);
	MemoryContextSwitchTo(old);
	return info;
}

/*
 * Raise datatype_mismatch unless the caller expects rows like those of a table,
 * which is locked.  Whoever waited for that lock may have been planned when it
 * had other columns.
 */
void
narvik_check_rows_expected(FunctionCallInfo fcinfo, Relation rel)
{
	TupleDesc	expected = set_info(fcinfo)->expectedDesc;
	TupleDesc	desc = RelationGetDescr(rel);
	bool		same = expected != NULL && expected->natts == desc->natts;

	for (int i = 0; same && i < desc->natts; i++)
		same = TupleDescAttr(expected, i)->atttypid == TupleDescAttr(desc, i)->atttypid;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table \"%s\" was altered after the statement was planned",
						RelationGetRelationName(rel)),
				 errhint("Repeat the statement.")));
}

/* With a row of another table's type, which was found to be expected. */
Datum
narvik_one_row(FunctionCallInfo fcinfo, Datum row)
{
	ReturnSetInfo *info = begin_set(fcinfo);
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	HeapTupleData tuple = {0};

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	tuplestore_puttuple(info->setResult, &tuple);
	return (Datum) 0;
}

Datum
narvik_no_row(FunctionCallInfo fcinfo)
{
	set_info(fcinfo)->isDone = ExprEndResult;
	PG_RETURN_NULL();
}

/* With a narvik_session. */
Datum
narvik_session_row(FunctionCallInfo fcinfo, const NarvikSession *session,
				   bool extended, bool due)
{
	ReturnSetInfo *info = begin_set(fcinfo);
	Datum		values[SESSION_COLUMNS];
	bool		nulls[SESSION_COLUMNS] = {false};

	check_answer_desc(info->expectedDesc, session_types, SESSION_COLUMNS);
	session_values(session, false, extended, values, nulls);
	values[9] = BoolGetDatum(due);
	tuplestore_putvalues(info->setResult, info->expectedDesc, values, nulls);
	return (Datum) 0;
}

/* With a narvik_request; set_cookie may be NULL. */
Datum
narvik_request_row(FunctionCallInfo fcinfo, const text *set_cookie, const text *token,
				   const NarvikSession *session, bool extended, bool due)
{
	ReturnSetInfo *info = begin_set(fcinfo);
	Datum		values[REQUEST_COLUMNS];
	bool		nulls[REQUEST_COLUMNS] = {false};

	check_answer_desc(info->expectedDesc, request_types, REQUEST_COLUMNS);
	values[0] = PointerGetDatum(set_cookie);
	nulls[0] = set_cookie == NULL;
	values[1] = PointerGetDatum(token);
	session_values(session, false, extended, &values[2], &nulls[2]);
	values[11] = BoolGetDatum(due);
	tuplestore_putvalues(info->setResult, info->expectedDesc, values, nulls);
	return (Datum) 0;
}

/* With narvik_sessions, which the caller puts there. */
Tuplestorestate *
narvik_session_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = begin_set(fcinfo);

	check_answer_desc(info->expectedDesc, session_types, SESSION_COLUMNS);
	return info->setResult;
}

/* With narvik_events, likewise. */
Tuplestorestate *
narvik_event_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = begin_set(fcinfo);

	check_answer_desc(info->expectedDesc, event_types, EVENT_COLUMNS);
	return info->setResult;
}

/* With a narvik_created_session: new, whatever it was before, is its token. */
Datum
narvik_created_session_row(FunctionCallInfo fcinfo, const text *token,
						   const NarvikSession *session)
{
	ReturnSetInfo *info = begin_set(fcinfo);
	Datum		values[CREATED_SESSION_COLUMNS];
	bool		nulls[CREATED_SESSION_COLUMNS] = {false};

	check_answer_desc(info->expectedDesc, created_session_types, CREATED_SESSION_COLUMNS);
	values[0] = PointerGetDatum(token);
	session_values(session, true, false, &values[1], &nulls[1]);
	tuplestore_putvalues(info->setResult, info->expectedDesc, values, nulls);
	return (Datum) 0;
}
