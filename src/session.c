/*
 * session.c
 *		The life of a session in SQL functions: create, validate,
 *		authenticate, rotate, invalidate, list, change its data.
 *
 * Arguments in, policy, answer out.  The rules are policy.c's, the rows are
 * the store's.  Time is narvik_now().
 *
 * Only validation must never wait: it is the one function that every request
 * calls.  The others wait for row locks as any SQL statement does.
 */
#include "postgres.h"
#include "compat.h"

#include "access/detoast.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "call.h"
#include "clock.h"
#include "identity.h"
#include "link.h"
#include "stats.h"
#include "store.h"
#include "token.h"

/* What validation takes at most; 20 random bytes need 32. */
#define MAX_TOKEN_BYTES	1024

PG_FUNCTION_INFO_V1(narvik_create_session);
PG_FUNCTION_INFO_V1(narvik_validate_session);
PG_FUNCTION_INFO_V1(narvik_validate_user);
PG_FUNCTION_INFO_V1(narvik_authenticate);
PG_FUNCTION_INFO_V1(narvik_invalidate_session);
PG_FUNCTION_INFO_V1(narvik_rotate_session);
PG_FUNCTION_INFO_V1(narvik_fetch_sessions_for_user);
PG_FUNCTION_INFO_V1(narvik_delete_sessions_for_user);
PG_FUNCTION_INFO_V1(narvik_update_session_data);

/*
 * The id of a token that a client sent.  False if it cannot be one of ours;
 * never an error, whatever the text.
 */
static bool
token_arg_id(FunctionCallInfo fcinfo, int argno, unsigned char *id)
{
	Size		len;

	if (PG_ARGISNULL(argno))
		return false;

	/* Measure before detoasting: nobody should be able to make us copy 1 GB. */
	len = toast_raw_datum_size(PG_GETARG_DATUM(argno)) - VARHDRSZ;
	if (len == 0 || len > MAX_TOKEN_BYTES)
		return false;
	return narvik_token_id(PG_GETARG_TEXT_PP(argno), id);
}

/* A request without a session cookie: most of them are, on most sites. */
static bool
token_arg_is_empty(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ||
		toast_raw_datum_size(PG_GETARG_DATUM(argno)) == VARHDRSZ;
}

/*
 * narvik_create_session(user_id text, data jsonb, expires_in interval,
 *						 sliding boolean) returns narvik_created_session
 *
 * A NULL expires_in means narvik.session_expires_in, now and at each
 * extension; any other is the session's own lifetime.
 *
 * Raises null_value_not_allowed for another NULL; invalid_parameter_value for
 * a user id that is empty or over 1024 bytes, data that is no object, or an
 * expires_in that is not positive or ends beyond the timestamp range.
 */
Datum
narvik_create_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;
	text	   *token;

	PreventCommandIfReadOnly("narvik_create_session()");

	session.user_id = narvik_user_id_arg(fcinfo, 0);
	session.data = narvik_data_arg(fcinfo, 1);
	narvik_require_arg(fcinfo, 3, gettext_noop("sliding must not be null"));
	session.terms.sliding = PG_GETARG_BOOL(3);
	session.terms.created_at = narvik_now();
	session.terms.has_lifetime = !PG_ARGISNULL(2);
	if (session.terms.has_lifetime)
		session.terms.lifetime = *PG_GETARG_INTERVAL_P(2);
	narvik_set_first_expiry(&session.terms);

	narvik_check_user_exists(session.user_id);
	token = narvik_new_token();
	(void) narvik_token_id(token, session.id);
	narvik_store_insert(&session);
	narvik_count(NARVIK_CREATED, 1);

	return narvik_created_session(fcinfo, token, &session);
}

/* Whether validation may write: not on a standby, nor in READ ONLY. */
static bool
may_write(void)
{
	return !XactReadOnly && !IsInParallelMode();
}

typedef enum
{
	NO_TOKEN,					/* NULL or empty */
	UNKNOWN,
	EXPIRED,
	VALID,
	DUE,						/* valid; an extension is due and was not made */
	EXTENDED,
	LOOK_AGAIN					/* the row changed under our hands */
} Verdict;

/*
 * Under READ COMMITTED a row that changed since the look-up deserves another
 * look, which sees the change.  The other isolation levels would see the same
 * as before.
 */
static Verdict
verdict_on_change(Verdict verdict)
{
	return IsolationUsesXactSnapshot() ? verdict : LOOK_AGAIN;
}

/* An expired session is deleted if that needs no waiting. */
static Verdict
judge_expired(const NarvikSession *session)
{
	if (may_write() && narvik_store_delete_if_free(session) == NARVIK_CHANGED)
		return verdict_on_change(EXPIRED);
	return EXPIRED;
}

/*
 * A live session is extended if it is due and that needs no waiting.  Of many
 * validations at once the one that gets hold of the row extends it.
 */
static Verdict
judge_live(NarvikSession *session, TimestampTz now)
{
	TimestampTz new_expires_at;

	if (!narvik_extension_due(&session->terms, now, &new_expires_at))
		return VALID;
	if (!may_write())
		return DUE;
	switch (narvik_store_extend_if_free(session, new_expires_at))
	{
		case NARVIK_DONE:
			session->terms.expires_at = new_expires_at;
			return EXTENDED;
		case NARVIK_CHANGED:
			return verdict_on_change(DUE);
		case NARVIK_BUSY:
			break;
	}
	return DUE;
}

/*
 * Look a session up and decide, as the contract of validation says.  If it is
 * not valid, it is not this transaction's identity any longer either.
 */
static Verdict
validate(const unsigned char *id, bool with_data, NarvikSession *session)
{
	TimestampTz now = narvik_now();
	Verdict		verdict;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!narvik_store_find(id, NARVIK_NEWEST, with_data, session))
			verdict = UNKNOWN;
		else if (narvik_has_expired(&session->terms, now))
			verdict = judge_expired(session);
		else
			verdict = judge_live(session, now);
	} while (verdict == LOOK_AGAIN);

	if (verdict == UNKNOWN || verdict == EXPIRED)
		narvik_identity_session_ended(id);
	return verdict;
}

static void
count_validation(Verdict verdict)
{
	switch (verdict)
	{
		case NO_TOKEN:
			/* Nobody tries to guess with it. */
			break;
		case UNKNOWN:
			narvik_count(NARVIK_REJECTED, 1);
			break;
		case EXPIRED:
			narvik_count(NARVIK_EXPIRED, 1);
			break;
		case EXTENDED:
			narvik_count(NARVIK_EXTENDED, 1);
			narvik_count(NARVIK_VALIDATED, 1);
			break;
		case VALID:
		case DUE:
			narvik_count(NARVIK_VALIDATED, 1);
			break;
		case LOOK_AGAIN:
			pg_unreachable();
	}
}

/*
 * Validate the token in an argument, and count it.  Without with_data the
 * session's data is left out, for callers that would not look at it.
 */
static Verdict
validate_token_arg(FunctionCallInfo fcinfo, int argno, bool with_data,
				   NarvikSession *session)
{
	unsigned char id[NARVIK_ID_BYTES];
	Verdict		verdict = UNKNOWN;

	if (token_arg_id(fcinfo, argno, id))
		verdict = validate(id, with_data, session);
	else if (token_arg_is_empty(fcinfo, argno))
		verdict = NO_TOKEN;

	count_validation(verdict);
	return verdict;
}

static bool
is_valid(Verdict verdict)
{
	return verdict == VALID || verdict == DUE || verdict == EXTENDED;
}

/*
 * narvik_validate_session(token text) returns setof narvik_session
 *
 * The session, or no row; never an error because of the token, a lock or a
 * concurrent change.  (Under SERIALIZABLE, PostgreSQL may end any transaction
 * with serialization_failure.)
 */
Datum
narvik_validate_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;
	Verdict		verdict = validate_token_arg(fcinfo, 0, true, &session);

	if (!is_valid(verdict))
		return narvik_no_row(fcinfo);
	return narvik_session_row(fcinfo, &session, verdict == EXTENDED,
							  verdict == DUE);
}

/*
 * narvik_validate_user(token text, user_type anyelement) returns setof
 * anyelement
 *
 * Validates the token as narvik_validate_session() does, and returns the row of
 * the session's user, or no row.  Of user_type only the type counts: it must be
 * the row type of the linked table, as it is now, else datatype_mismatch.
 * Raises object_not_in_prerequisite_state if there is no link.
 */
Datum
narvik_validate_user(PG_FUNCTION_ARGS)
{
	Oid			wanted = get_fn_expr_argtype(fcinfo->flinfo, 1);
	NarvikLink	link;
	Relation	users = narvik_open_link(AccessShareLock, &link);
	NarvikSession session;
	bool		found;
	Datum		row;

	if (users == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sessions are not linked to a table of users"),
				 errhint("Call narvik_link_users().")));
	if (wanted != users->rd_rel->reltype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("user type must be the row type of table \"%s\"",
						RelationGetRelationName(users)),
				 errhint("Pass NULL::%s.", format_type_be(users->rd_rel->reltype))));
	narvik_check_rows_expected(fcinfo, users);

	found = is_valid(validate_token_arg(fcinfo, 0, false, &session)) &&
		narvik_fetch_user(&link, users, session.user_id, &row);
	table_close(users, NoLock);
	return found ? narvik_one_row(fcinfo, row) : narvik_no_row(fcinfo);
}

/*
 * narvik_authenticate(token text) returns text
 *
 * Validates the token as narvik_validate_session() does and makes its session
 * this transaction's identity; the user id.  NULL, and nobody, if it is not
 * valid.
 */
Datum
narvik_authenticate(PG_FUNCTION_ARGS)
{
	NarvikSession session;

	if (!is_valid(validate_token_arg(fcinfo, 0, false, &session)))
	{
		narvik_identity_clear();
		PG_RETURN_NULL();
	}
	narvik_identity_set(session.user_id, session.id);
	PG_RETURN_TEXT_P(session.user_id);
}

/*
 * narvik_rotate_session(token text) returns setof narvik_created_session
 *
 * The session under a new token and id, all else as it was, or no row.  The
 * old token is dead as soon as, and only if, the transaction commits.  Of two
 * rotations at once the second waits and then finds no session.
 */
Datum
narvik_rotate_session(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	unsigned char new_id[NARVIK_ID_BYTES];
	NarvikSession session;
	text	   *token;

	PreventCommandIfReadOnly("narvik_rotate_session()");

	if (!token_arg_id(fcinfo, 0, id))
		return narvik_no_row(fcinfo);

	token = narvik_new_token();
	(void) narvik_token_id(token, new_id);
	if (!narvik_store_update_id(id, new_id, narvik_now(),
								&session))
		return narvik_no_row(fcinfo);
	narvik_count(NARVIK_ROTATED, 1);
	return narvik_created_session_row(fcinfo, token, &session);
}

/*
 * narvik_invalidate_session(session_id text) returns boolean
 * narvik_delete_session(id text) returns boolean
 *
 * False if there was no such session, for NULL and for what is no session id.
 */
Datum
narvik_invalidate_session(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	bool		deleted;

	PreventCommandIfReadOnly(psprintf("%s()", get_func_name(fcinfo->flinfo->fn_oid)));
	if (!narvik_id_arg(fcinfo, 0, id))
		PG_RETURN_BOOL(false);
	deleted = narvik_store_delete(id);
	narvik_count(NARVIK_INVALIDATED, deleted);
	PG_RETURN_BOOL(deleted);
}

/*
 * narvik_fetch_sessions_for_user(user_id text, max_rows integer,
 *								  created_before timestamptz)
 * returns setof narvik_session
 *
 * A NULL max_rows or created_before is no limit.
 *
 * Raises null_value_not_allowed for a NULL user id, invalid_parameter_value
 * for one that no session can have and for a negative max_rows.
 */
Datum
narvik_fetch_sessions_for_user(PG_FUNCTION_ARGS)
{
	text	   *user_id = narvik_user_id_arg(fcinfo, 0);
	int32		max_rows = PG_ARGISNULL(1) ? PG_INT32_MAX : PG_GETARG_INT32(1);
	TimestampTz created_before = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of rows must not be negative")));
	narvik_store_list_for_user(user_id, narvik_now(), max_rows, created_before,
							   narvik_session_rows(fcinfo));
	return (Datum) 0;
}

/*
 * narvik_delete_sessions_for_user(user_id text, except_session_id text)
 * returns bigint
 *
 * Counts expired sessions too.  An except_session_id that is no session id
 * excepts nothing: when in doubt, sessions end.
 *
 * Raises null_value_not_allowed for a NULL user id (an application that lost
 * the user must not believe that somebody was logged out), and
 * invalid_parameter_value for one that no session can have.
 */
Datum
narvik_delete_sessions_for_user(PG_FUNCTION_ARGS)
{
	unsigned char except_id[NARVIK_ID_BYTES];
	text	   *user_id;
	bool		has_exception;
	int64		deleted;

	PreventCommandIfReadOnly("narvik_delete_sessions_for_user()");

	user_id = narvik_user_id_arg(fcinfo, 0);
	has_exception = narvik_id_arg(fcinfo, 1, except_id);
	deleted = narvik_store_delete_for_user(user_id,
										   has_exception ? except_id : NULL);
	narvik_count(NARVIK_INVALIDATED, deleted);
	PG_RETURN_INT64(deleted);
}

/*
 * narvik_update_session_data(session_id text, patch jsonb) returns jsonb
 *
 * NULL if there is no live session, for a NULL id and for what is no id.
 * Raises null_value_not_allowed for a NULL patch, invalid_parameter_value for
 * one that is no object.
 */
Datum
narvik_update_session_data(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	Jsonb	   *patch;
	Jsonb	   *data;

	PreventCommandIfReadOnly("narvik_update_session_data()");

	patch = narvik_data_arg(fcinfo, 1);
	if (!narvik_id_arg(fcinfo, 0, id))
		PG_RETURN_NULL();
	data = narvik_store_update_data(id, patch, narvik_now());
	if (data == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(data);
}
