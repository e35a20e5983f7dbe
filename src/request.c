/*
 * request.c
 *		The one call of every request: a Cookie header in, a session and a
 *		Set-Cookie header out.
 */
#include "postgres.h"
#include "compat.h"

#include "utils/builtins.h"

#include "call.h"
#include "cookie.h"
#include "cookie_functions.h"
#include "identity.h"
#include "policy.h"
#include "token.h"
#include "validate.h"

/*
 * How many cookies of the name are tried.  Browsers send more than one if they
 * were set for different paths or domains; more than a few only somebody who
 * wants to make work.
 */
#define MAX_COOKIES	8

PG_FUNCTION_INFO_V1(narvik_authenticate_cookie);

/*
 * Whether a cookie can hold a token.  What narvik_create_cookie() would refuse is
 * none; without it, the octets of the header need no encoding.
 */
static bool
can_be_token(const char *value, size_t len)
{
	return len > 0 && len <= NARVIK_MAX_TOKEN_BYTES &&
		narvik_is_cookie_value(value, len) &&
		narvik_cookie_has_room(narvik_session_cookie_name(), len);
}

/* One of the cookies; the token, if it is one, also of a session that is dead. */
static NarvikVerdict
try_cookie(const char *value, size_t len, NarvikTokens tokens, NarvikSession *session,
		   text **token)
{
	unsigned char id[NARVIK_ID_BYTES];

	if (len == 0)
		return NARVIK_IS_NO_TOKEN;
	if (!can_be_token(value, len))
		return NARVIK_IS_UNKNOWN;
	*token = cstring_to_text_with_len(value, (int) len);
	(void) narvik_token_id(*token, id);
	return narvik_validate(id, tokens, NARVIK_WHOLE_DATA, session);
}

/*
 * The first cookie that is valid.  A request counts once: without one, as
 * expired if any session had, else as rejected if there was any token.
 */
static NarvikVerdict
try_cookies(const char *header, size_t len, NarvikTokens tokens, NarvikSession *session,
			text **token)
{
	NarvikVerdict verdict = NARVIK_IS_NO_TOKEN;
	const char *value;
	size_t		value_len;

	for (int i = 0; i < MAX_COOKIES &&
		 narvik_next_cookie(&header, &len, narvik_session_cookie_name(), &value, &value_len); i++)
	{
		NarvikVerdict found = try_cookie(value, value_len, tokens, session, token);

		verdict = Max(verdict, found);
		if (narvik_is_valid(found))
			break;
	}
	return verdict;
}

/*
 * Tokens that rotation replaced come after all others.  A browser that keeps one
 * in a cookie of another path or domain sends it beside the current one, perhaps
 * first, and nobody has stolen it.
 */
static NarvikVerdict
judge_cookies(const char *header, size_t len, NarvikSession *session, text **token)
{
	NarvikTokens last = narvik_remembers_replaced() ? NARVIK_ALL_TOKENS : NARVIK_CURRENT_TOKENS;
	NarvikVerdict verdict = NARVIK_IS_NO_TOKEN;
	NarvikTokens tokens = NARVIK_CURRENT_TOKENS;

	do
	{
		NarvikVerdict found = try_cookies(header, len, tokens, session, token);

		verdict = Max(verdict, found);
	} while (verdict != NARVIK_IS_NO_TOKEN && !narvik_is_valid(verdict) && tokens++ < last);
	return verdict;
}

/*
 * narvik_authenticate_cookie(cookie_header text) returns setof narvik_request
 * narvik_authenticate_cookie(cookie_header bytea) returns setof narvik_request
 *
 * Validates the session cookie as narvik_validate_session() does and makes its
 * session this transaction's identity.  No row, and nobody, if none is valid, or
 * for NULL or more than 1 MB; never an error because of the header.
 *
 * If the session was extended, set_cookie is what to send; NULL, and a warning,
 * if browsers would ignore it for its settings.
 */
Datum
narvik_authenticate_cookie(PG_FUNCTION_ARGS)
{
	NarvikSession session;
	NarvikVerdict verdict = NARVIK_IS_NO_TOKEN;
	text	   *token = NULL;
	text	   *set_cookie = NULL;
	NarvikIdentity identity;
	const char *header;
	size_t		len;

	if (narvik_cookie_header_arg(fcinfo, 0, &header, &len))
		verdict = judge_cookies(header, len, &session, &token);
	narvik_count_validation(verdict);
	if (!narvik_is_valid(verdict))
	{
		narvik_identity_clear();
		return narvik_no_row(fcinfo);
	}
	identity = narvik_identity_of(&session);
	narvik_identity_set(&identity);
	if (verdict == NARVIK_IS_EXTENDED)
		set_cookie = narvik_session_cookie(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token),
										   narvik_expires_at(&session.terms));
	return narvik_request_row(fcinfo, set_cookie, token, &session,
							  verdict == NARVIK_IS_EXTENDED, verdict == NARVIK_IS_DUE);
}
