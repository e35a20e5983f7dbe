/*
 * callbacks.c
 *		SQL functions that mirror the storage callbacks of the JavaScript
 *		library Narvik: saveSession, fetchSession, updateSessionExpiry.
 *		deleteSession is narvik_invalidate_session() under another name.
 *		And what the session stores of web frameworks do: put, change the id.
 *
 * For clients that make tokens and hash them themselves.  They store and read
 * what they are told; deciding whether a session is valid is the client's
 * part, or that of narvik_validate_session(), which takes these sessions too.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "call.h"
#include "clock.h"
#include "link.h"
#include "stats.h"
#include "store.h"

PG_FUNCTION_INFO_V1(narvik_save_session);
PG_FUNCTION_INFO_V1(narvik_fetch_session);
PG_FUNCTION_INFO_V1(narvik_update_session_expiry);
PG_FUNCTION_INFO_V1(narvik_put_session);
PG_FUNCTION_INFO_V1(narvik_change_session_id);

/* The id under which a session is to be stored. */
static void
new_id_arg(FunctionCallInfo fcinfo, int argno, unsigned char *id)
{
	narvik_require_arg(fcinfo, argno, gettext_noop("session ID must not be null"));
	if (!narvik_id_arg(fcinfo, argno, id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session ID must be %d hex digits", NARVIK_ID_CHARS)));
}

/*
 * What save and put have in common: expires_at and data in arguments 2 and 3.
 * The session does not slide.
 */
static void
begin_session(FunctionCallInfo fcinfo, text *user_id, NarvikSession *session)
{
	NarvikTerms *terms = &session->terms;

	narvik_begin_session(fcinfo, 3, user_id, session);
	terms->expires_at = narvik_expires_at_arg(fcinfo, 2);
	terms->expires_at = narvik_expires_at(terms);
}

static void
report_taken_id(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("session already exists")));
}

/*
 * narvik_save_session(id text, user_id text, expires_at timestamptz,
 *					   data jsonb, lifetime interval, sliding boolean)
 * returns void
 *
 * A NULL lifetime means narvik.session_expires_in at each extension.
 *
 * Raises null_value_not_allowed for any other NULL; invalid_parameter_value for
 * an id that is not 64 hex digits, a user id that is empty or over 1024 bytes,
 * an infinite expires_at, data that is no object, or a lifetime that is not
 * positive or too long; unique_violation if there is a live session with this
 * id, after waiting for a transaction that is about to make one.
 */
Datum
narvik_save_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;

	PreventCommandIfReadOnly("narvik_save_session()");

	new_id_arg(fcinfo, 0, session.id);
	begin_session(fcinfo, narvik_user_id_arg(fcinfo, 1), &session);
	narvik_require_arg(fcinfo, 5, gettext_noop("sliding must not be null"));
	session.terms.sliding = PG_GETARG_BOOL(5);
	session.terms.has_lifetime = narvik_lifetime_arg(fcinfo, 4, session.terms.created_at,
													 &session.terms.lifetime);

	narvik_check_user_exists(session.user_id);
	if (narvik_store_put(&session, NARVIK_PUT_NEW) == NARVIK_PUT_NOTHING)
		report_taken_id();
	narvik_count(NARVIK_CREATED, 1);
	PG_RETURN_VOID();
}

/*
 * narvik_fetch_session(id text) returns setof narvik_session
 *
 * The session as the statement sees it, expired or not; no row for NULL and
 * for what is no session id.
 */
Datum
narvik_fetch_session(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	NarvikSession session;

	if (!narvik_id_arg(fcinfo, 0, id) ||
		!narvik_store_find(id, NARVIK_STATEMENT, NARVIK_WHOLE_DATA, &session))
		return narvik_no_row(fcinfo);
	return narvik_session_row(fcinfo, &session, false, false);
}

/*
 * narvik_update_session_expiry(id text, expires_at timestamptz)
 * returns boolean
 *
 * Sets what it is told, earlier or later; unless it is earlier, that notes the use
 * of the session.  False if there is no live session, for a NULL id and for what
 * is no id.  Raises null_value_not_allowed for a NULL expires_at,
 * invalid_parameter_value for an infinite one.
 */
Datum
narvik_update_session_expiry(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	TimestampTz expires_at;

	PreventCommandIfReadOnly("narvik_update_session_expiry()");

	expires_at = narvik_expires_at_arg(fcinfo, 1);
	PG_RETURN_BOOL(narvik_id_arg(fcinfo, 0, id) &&
				   narvik_store_update_expiry(id, expires_at, narvik_now()));
}

/* ---- what the stores of web frameworks do -------------------------------- */

/*
 * A user who is gone is an error only where a session of theirs would be stored:
 * where they were deleted meanwhile, their session was as well.
 */
static bool
may_put(const NarvikSession *session, NarvikPutMode mode)
{
	if (session->user_id == NULL || narvik_user_exists(session->user_id))
		return true;
	if (mode != NARVIK_PUT_ANY &&
		narvik_store_has_live(session->id, session->terms.created_at) != (mode == NARVIK_PUT_EXISTING))
		return false;
	narvik_check_user_exists(session->user_id);
	return true;
}

/*
 * narvik_put_session(id text, user_id text, expires_at timestamptz, data jsonb,
 *					  existing boolean) returns boolean
 *
 * Replaces user, expiry and data of a live session, and notes its use, or stores a
 * new one.  With existing true it only replaces, with false it only stores.  A NULL
 * user_id is nobody.  False where it did nothing.
 *
 * Raises null_value_not_allowed for a NULL expires_at or data, and for a NULL id
 * unless existing is true; invalid_parameter_value for an id that is not 64 hex
 * digits, likewise, a user id that is empty or over 1024 bytes, an infinite
 * expires_at, or data that is no object; foreign_key_violation for a user who is
 * not in the linked table.
 */
Datum
narvik_put_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;
	NarvikPutMode mode = PG_ARGISNULL(4) ? NARVIK_PUT_ANY :
		PG_GETARG_BOOL(4) ? NARVIK_PUT_EXISTING : NARVIK_PUT_NEW;
	NarvikPut	put = NARVIK_PUT_NOTHING;
	bool		has_id = true;

	PreventCommandIfReadOnly("narvik_put_session()");

	if (mode == NARVIK_PUT_EXISTING)
		has_id = narvik_id_arg(fcinfo, 0, session.id);
	else
		new_id_arg(fcinfo, 0, session.id);
	begin_session(fcinfo, PG_ARGISNULL(1) ? NULL : narvik_user_id_arg(fcinfo, 1), &session);

	if (has_id && may_put(&session, mode))
		put = narvik_store_put(&session, mode);
	narvik_count(NARVIK_CREATED, put == NARVIK_PUT_INSERTED);
	narvik_count(NARVIK_PROMOTED, put == NARVIK_PUT_PROMOTED);
	PG_RETURN_BOOL(put != NARVIK_PUT_NOTHING);
}

/*
 * narvik_change_session_id(session_id text, new_session_id text)
 * returns boolean
 *
 * The same session under an id that the client chose.  False if there is no live
 * one, for a NULL session_id and for what is no id.  Raises
 * null_value_not_allowed for a NULL new id, invalid_parameter_value for one that
 * is not 64 hex digits, unique_violation if another live session has it.
 */
Datum
narvik_change_session_id(PG_FUNCTION_ARGS)
{
	unsigned char id[NARVIK_ID_BYTES];
	unsigned char new_id[NARVIK_ID_BYTES];

	PreventCommandIfReadOnly("narvik_change_session_id()");

	new_id_arg(fcinfo, 1, new_id);
	if (!narvik_id_arg(fcinfo, 0, id))
		PG_RETURN_BOOL(false);
	switch (narvik_store_change_id(id, new_id, narvik_now()))
	{
		case NARVIK_ID_CHANGED:
			narvik_count(NARVIK_ROTATED, 1);
			PG_RETURN_BOOL(true);
		case NARVIK_ID_NO_SESSION:
			break;
		case NARVIK_ID_TAKEN:
			report_taken_id();
	}
	PG_RETURN_BOOL(false);
}
