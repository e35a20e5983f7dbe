/*
 * session.c
 *		The life of a session in SQL functions: validate, authenticate,
 *		rotate, invalidate, list, change its data.
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
#include "utils/snapmgr.h"

#include "call.h"
#include "clock.h"
#include "events.h"
#include "identity.h"
#include "link.h"
#include "stats.h"
#include "token.h"
#include "validate.h"

PG_FUNCTION_INFO_V1(narvik_validate_session);
PG_FUNCTION_INFO_V1(narvik_validate_user);
PG_FUNCTION_INFO_V1(narvik_authenticate);
PG_FUNCTION_INFO_V1(narvik_invalidate_session);
PG_FUNCTION_INFO_V1(narvik_rotate_session);
PG_FUNCTION_INFO_V1(narvik_reauthenticate_session);
PG_FUNCTION_INFO_V1(narvik_fetch_events_for_user);
PG_FUNCTION_INFO_V1(narvik_fetch_sessions_for_user);
PG_FUNCTION_INFO_V1(narvik_delete_sessions_for_user);
PG_FUNCTION_INFO_V1(narvik_update_session_data);

/* A request without a session cookie: most of them are, on most sites. */
static bool
token_arg_is_empty(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ||
		toast_raw_datum_size(PG_GETARG_DATUM(argno)) == VARHDRSZ;
}

static NarvikVerdict
judge_token_arg(FunctionCallInfo fcinfo, int argno, NarvikDataPart data,
				NarvikSession *session)
{
	unsigned char id[NARVIK_ID_BYTES];

	if (narvik_token_arg(fcinfo, argno, id))
		return narvik_validate(id, NARVIK_ALL_TOKENS, data, session);
	return token_arg_is_empty(fcinfo, argno) ? NARVIK_IS_NO_TOKEN : NARVIK_IS_UNKNOWN;
}

/*
 * Validate the token in an argument, and count it.
 */
static NarvikVerdict
validate_token_arg(FunctionCallInfo fcinfo, int argno, NarvikDataPart data,
				   NarvikSession *session)
{
	NarvikVerdict verdict = judge_token_arg(fcinfo, argno, data, session);

	narvik_count_validation(verdict);
	return verdict;
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
	NarvikVerdict verdict = validate_token_arg(fcinfo, 0, NARVIK_WHOLE_DATA, &session);

	if (!narvik_is_valid(verdict))
		return narvik_no_row(fcinfo);
	return narvik_session_row(fcinfo, &session, verdict == NARVIK_IS_EXTENDED,
							  verdict == NARVIK_IS_DUE);
}

/*
 * Whether a session that was just found is still there, and the row of its user,
 * if there is one.  Both are read in one snapshot: the key of a user can change,
 * and become another user's.
 */
static bool
fetch_user_of(const NarvikLink *link, Relation users, const NarvikSession *session,
			  bool *found, Datum *row)
{
	NarvikSession present;
	bool		is_there;

	narvik_store_push_newest();
	is_there = narvik_store_find(session->id, NARVIK_ACTIVE, NARVIK_NO_DATA, &present);
	*found = is_there && present.user_id != NULL &&
		narvik_fetch_user(link, users, present.user_id, row);
	PopActiveSnapshot();
	return is_there;
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
	NarvikVerdict verdict;
	bool		found = false;
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

	/* One that was ended or rotated meanwhile is judged again. */
	do
	{
		verdict = judge_token_arg(fcinfo, 0, NARVIK_NO_DATA, &session);
	} while (narvik_is_valid(verdict) && !fetch_user_of(&link, users, &session, &found, &row));
	narvik_count_validation(verdict);
	table_close(users, NoLock);
	return found ? narvik_one_row(fcinfo, row) : narvik_no_row(fcinfo);
}

/*
 * narvik_authenticate(token text) returns text
 *
 * Validates the token as narvik_validate_session() does and makes its session
 * this transaction's identity; the user id.  NULL for a guest; NULL, and nobody,
 * if it is not valid.
 */
Datum
narvik_authenticate(PG_FUNCTION_ARGS)
{
	NarvikSession session;
	NarvikIdentity identity;

	if (!narvik_is_valid(validate_token_arg(fcinfo, 0, NARVIK_STORED_DATA, &session)))
	{
		narvik_identity_clear();
		PG_RETURN_NULL();
	}
	identity = narvik_identity_of(&session);
	narvik_identity_set(&identity);
	if (session.user_id == NULL)
		PG_RETURN_NULL();
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

	if (!narvik_token_arg(fcinfo, 0, id))
		return narvik_no_row(fcinfo);

	token = narvik_new_token();
	(void) narvik_token_id(token, new_id);
	if (!narvik_store_rotate(id, new_id, narvik_now(), &session))
		return narvik_no_row(fcinfo);
	narvik_count(NARVIK_ROTATED, 1);
	return narvik_created_session_row(fcinfo, token, &session);
}

/*
 * narvik_reauthenticate_session(token text, patch jsonb)
 * returns setof narvik_created_session
 *
 * The user was asked for the password, or for a second factor, again: the
 * session under a new token and id, with authenticated_at now and the patch
 * merged into its data as narvik_update_session_data() does; or no row.  A
 * guest has nothing to prove: no row.
 *
 * Raises null_value_not_allowed for a NULL patch, invalid_parameter_value for
 * one that is no object.
 */
Datum
narvik_reauthenticate_session(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	unsigned char new_id[NARVIK_ID_BYTES];
	NarvikSession session;
	Jsonb	   *patch;
	text	   *token;

	PreventCommandIfReadOnly("narvik_reauthenticate_session()");

	patch = narvik_data_arg(fcinfo, 1);
	if (!narvik_token_arg(fcinfo, 0, id))
		return narvik_no_row(fcinfo);
	token = narvik_new_token();
	(void) narvik_token_id(token, new_id);
	if (!narvik_store_reauthenticate(id, new_id, patch, narvik_now(), &session))
		return narvik_no_row(fcinfo);
	narvik_count(NARVIK_REAUTHENTICATED, 1);
	return narvik_created_session_row(fcinfo, token, &session);
}

/*
 * narvik_invalidate_session(session_id text, reason text) returns boolean
 * narvik_delete_session(id text) returns boolean
 *
 * False if there was no such session, for NULL and for what is no session id.
 * A NULL reason is "logout".
 *
 * Raises invalid_parameter_value for a reason that is empty or over 64 bytes.
 */
Datum
narvik_invalidate_session(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	const char *reason;
	bool		deleted;

	PreventCommandIfReadOnly(psprintf("%s()", get_func_name(fcinfo->flinfo->fn_oid)));
	reason = narvik_reason_arg(fcinfo, 1, NARVIK_LOGOUT);
	if (!narvik_id_arg(fcinfo, 0, id))
		PG_RETURN_BOOL(false);
	deleted = narvik_store_delete(id, reason);
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
	int32		max_rows = narvik_max_rows_arg(fcinfo, 1);
	TimestampTz created_before = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);

	narvik_store_list_for_user(user_id, narvik_now(), max_rows, created_before,
							   narvik_session_rows(fcinfo));
	return (Datum) 0;
}

/*
 * narvik_fetch_events_for_user(user_id text, before_seq bigint,
 *								max_rows integer)
 * returns setof narvik_event
 *
 * A NULL before_seq or max_rows is no limit.  Errors as for
 * narvik_fetch_sessions_for_user().
 */
Datum
narvik_fetch_events_for_user(PG_FUNCTION_ARGS)
{
	text	   *user_id = narvik_user_id_arg(fcinfo, 0);
	int64		before_seq = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);

	narvik_list_events_for_user(user_id, before_seq, narvik_max_rows_arg(fcinfo, 2),
								narvik_event_rows(fcinfo));
	return (Datum) 0;
}

/*
 * narvik_delete_sessions_for_user(user_id text, except_session_id text,
 *								   reason text)
 * returns bigint
 *
 * Counts expired sessions too.  An except_session_id that is no session id
 * excepts nothing: when in doubt, sessions end.  A NULL reason is "revoked".
 *
 * Raises null_value_not_allowed for a NULL user id (an application that lost
 * the user must not believe that somebody was logged out), and
 * invalid_parameter_value for one that no session can have, and for a reason
 * that is empty or over 64 bytes.
 */
Datum
narvik_delete_sessions_for_user(PG_FUNCTION_ARGS)
{
	unsigned char except_id[NARVIK_ID_BYTES];
	text	   *user_id;
	const char *reason;
	bool		has_exception;
	int64		deleted;

	PreventCommandIfReadOnly("narvik_delete_sessions_for_user()");

	user_id = narvik_user_id_arg(fcinfo, 0);
	reason = narvik_reason_arg(fcinfo, 2, NARVIK_REVOKED);
	has_exception = narvik_id_arg(fcinfo, 1, except_id);
	deleted = narvik_store_delete_for_user(user_id,
										   has_exception ? except_id : NULL, reason);
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
