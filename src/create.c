/*
 * create.c
 *		New sessions in SQL functions: of a user, of a guest, and of a guest
 *		who becomes a user.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"

#include "call.h"
#include "clock.h"
#include "events.h"
#include "link.h"
#include "stats.h"
#include "token.h"

PG_FUNCTION_INFO_V1(narvik_create_session);
PG_FUNCTION_INFO_V1(narvik_create_guest_session);
PG_FUNCTION_INFO_V1(narvik_promote_session);

/*
 * The terms of a new session that are in arguments: data, which must be there,
 * and expires_in.
 */
static void
begin_session(FunctionCallInfo fcinfo, int data_argno, text *user_id,
			  NarvikSession *session)
{
	NarvikTerms *terms = &session->terms;

	narvik_begin_session(fcinfo, data_argno, user_id, session);
	terms->sliding = true;
	terms->has_lifetime = narvik_lifetime_arg(fcinfo, data_argno + 1, terms->created_at,
											  &terms->lifetime);
}

/*
 * A new session of the user in an argument, with the arguments that follow:
 * data jsonb, expires_in interval, sliding boolean, max_age interval.
 */
static void
begin_user_session(FunctionCallInfo fcinfo, int argno, NarvikSession *session)
{
	NarvikTerms *terms = &session->terms;
	Interval	max_age;

	begin_session(fcinfo, argno + 1, narvik_user_id_arg(fcinfo, argno), session);
	narvik_require_arg(fcinfo, argno + 3, gettext_noop("sliding must not be null"));
	terms->sliding = PG_GETARG_BOOL(argno + 3);
	if (narvik_lifetime_arg(fcinfo, argno + 4, terms->created_at, &max_age))
		terms->ends_at = narvik_expiry_after(terms->created_at, &max_age);
	narvik_set_first_expiry(terms);
}

/* Store it, and answer with its token. */
static Datum
store_session(FunctionCallInfo fcinfo, NarvikSession *session)
{
	text	   *token = narvik_new_token();

	(void) narvik_token_id(token, session->id);
	narvik_store_insert(session);
	narvik_count(NARVIK_CREATED, 1);
	return narvik_created_session(fcinfo, token, session);
}

/*
 * narvik_create_session(user_id text, data jsonb, expires_in interval,
 *						 sliding boolean, max_age interval)
 * returns narvik_created_session
 *
 * A NULL expires_in means narvik.session_expires_in, now and at each
 * extension; any other is the session's own lifetime.  A NULL max_age is no
 * limit; narvik.session_max_age is one anyway.
 *
 * Raises null_value_not_allowed for another NULL; invalid_parameter_value for
 * a user id that is empty or over 1024 bytes, data that is no object, or an
 * expires_in or max_age that is not positive or ends beyond the timestamp range.
 */
Datum
narvik_create_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;

	PreventCommandIfReadOnly("narvik_create_session()");

	begin_user_session(fcinfo, 0, &session);
	narvik_check_user_exists(session.user_id);
	return store_session(fcinfo, &session);
}

/*
 * narvik_create_guest_session(data jsonb, expires_in interval)
 * returns narvik_created_session
 *
 * A session of nobody yet.  A NULL expires_in means narvik.guest_expires_in, now
 * and at each extension.
 *
 * Raises null_value_not_allowed for NULL data; invalid_parameter_value for data
 * that is no object, or an expires_in that is not positive or ends beyond the
 * timestamp range.
 */
Datum
narvik_create_guest_session(PG_FUNCTION_ARGS)
{
	NarvikSession session;

	PreventCommandIfReadOnly("narvik_create_guest_session()");

	begin_session(fcinfo, 0, NULL, &session);
	narvik_set_first_expiry(&session.terms);
	return store_session(fcinfo, &session);
}

/*
 * narvik_promote_session(token text, user_id text, data jsonb,
 *						  expires_in interval, sliding boolean,
 *						  max_age interval)
 * returns narvik_created_session
 *
 * The log-in of somebody who may have been a guest.  The token of a live guest:
 * that session becomes the user's, under a new token and id, with its data under
 * what is given.  The token of a user's session: that one ends, or whoever planted
 * it would see what the user does.  Any other token, whatever the text, is none.
 *
 * Errors as for narvik_create_session().
 */
Datum
narvik_promote_session(PG_FUNCTION_ARGS)
{
	unsigned char old_id[NARVIK_ID_BYTES];
	NarvikSession session;
	text	   *token;

	PreventCommandIfReadOnly("narvik_promote_session()");

	begin_user_session(fcinfo, 1, &session);
	narvik_check_user_exists(session.user_id);
	if (!narvik_token_arg(fcinfo, 0, old_id))
		return store_session(fcinfo, &session);

	token = narvik_new_token();
	(void) narvik_token_id(token, session.id);
	if (narvik_store_promote(old_id, &session))
	{
		narvik_count(NARVIK_PROMOTED, 1);
		return narvik_created_session(fcinfo, token, &session);
	}
	narvik_count(NARVIK_INVALIDATED,
				 narvik_store_end_replaced(old_id, session.terms.created_at));
	return store_session(fcinfo, &session);
}
