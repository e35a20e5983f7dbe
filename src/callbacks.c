/*
 * callbacks.c
 *		SQL functions that mirror the storage callbacks of the JavaScript
 *		library Narvik: saveSession, fetchSession, updateSessionExpiry.
 *		deleteSession is narvik_invalidate_session() under another name.
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

/*
 * narvik_save_session(id text, user_id text, expires_at timestamptz,
 *					   data jsonb) returns void
 *
 * The session slides, by narvik.session_expires_in.
 *
 * Raises null_value_not_allowed for any NULL; invalid_parameter_value for an
 * id that is not 64 hex digits, a user id that is empty or over 1024 bytes,
 * an infinite expires_at, or data that is no object; unique_violation if
 * there is a session with this id, after waiting for a transaction that is
 * about to make one (above READ COMMITTED, serialization_failure if it did).
 */
Datum
narvik_save_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;

	PreventCommandIfReadOnly("narvik_save_session()");

	narvik_require_arg(fcinfo, 0, gettext_noop("session ID must not be null"));
	if (!narvik_id_arg(fcinfo, 0, session.id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session ID must be %d hex digits", NARVIK_ID_CHARS)));
	session.user_id = narvik_user_id_arg(fcinfo, 1);
	session.data = narvik_data_arg(fcinfo, 3);
	session.terms.created_at = narvik_now();
	session.terms.expires_at = narvik_expires_at_arg(fcinfo, 2);
	session.terms.sliding = true;
	session.terms.has_lifetime = false;

	narvik_check_user_exists(session.user_id);
	if (!narvik_store_insert_if_new(&session))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("session already exists")));
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
		!narvik_store_find(id, NARVIK_STATEMENT, true, &session))
		return narvik_no_row(fcinfo);
	return narvik_session_row(fcinfo, &session, false, false);
}

/*
 * narvik_update_session_expiry(id text, expires_at timestamptz)
 * returns boolean
 *
 * Sets what it is told, earlier or later.  False if there is no such session,
 * for a NULL id and for what is no id.  Raises null_value_not_allowed for a
 * NULL expires_at, invalid_parameter_value for an infinite one.
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
