/*
 * validate.c
 *		Whether a session is valid, which every request asks.
 *
 * The rules are policy.c's, the rows are the store's.  It never waits for a
 * row, and does not fail because it cannot write.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "clock.h"
#include "events.h"
#include "identity.h"
#include "stats.h"
#include "validate.h"

/* Whether validation may write: not on a standby, nor in READ ONLY. */
static bool
may_write(void)
{
	return !XactReadOnly && !IsInParallelMode();
}

/*
 * A row that changed since the look-up deserves another look, which sees the
 * change, unless it would be by the same snapshot as before.
 */
static NarvikVerdict
verdict_on_change(NarvikVerdict verdict)
{
	return IsolationUsesXactSnapshot() && !narvik_store_snapshot_is_outdated() ? verdict : NARVIK_LOOK_AGAIN;
}

/* An expired session is deleted if that needs no waiting. */
static NarvikVerdict
judge_expired(const NarvikSession *session, TimestampTz now)
{
	if (may_write() && narvik_store_delete_if_free(session, NARVIK_TIMED_OUT) == NARVIK_CHANGED)
		return verdict_on_change(NARVIK_IS_EXPIRED);
	return NARVIK_IS_EXPIRED;
}

/*
 * A live session is extended if it is due, and its use is noted if that is, in
 * one write, if that needs no waiting.  Of many validations at once the one that
 * gets hold of the row writes.
 */
static NarvikVerdict
judge_live(NarvikSession *session, TimestampTz now)
{
	TimestampTz expires_at = session->terms.expires_at;
	TimestampTz active_at;
	bool		extend = narvik_extension_due(&session->terms, now, &expires_at);
	NarvikVerdict without = extend ? NARVIK_IS_DUE : NARVIK_IS_VALID;

	if (!extend && !narvik_activity_due(&session->terms, session->active_at, now))
		return NARVIK_IS_VALID;
	if (!may_write())
		return without;
	active_at = narvik_activity_at(session->active_at, now);
	switch (narvik_store_touch_if_free(session, expires_at, active_at))
	{
		case NARVIK_DONE:
			session->terms.expires_at = expires_at;
			session->active_at = active_at;
			return extend ? NARVIK_IS_EXTENDED : NARVIK_IS_VALID;
		case NARVIK_CHANGED:
			return verdict_on_change(without);
		case NARVIK_BUSY:
			break;
	}
	return without;
}

/*
 * A token that no session has.  One that rotation replaced is valid for the
 * grace: the request was under way.  It does not extend the session, for the
 * answer to an extension is a cookie, and this token must not become one again.
 * Seen later, somebody has a copy, and nobody knows who: the session ends.
 */
static NarvikVerdict
judge_unknown(const unsigned char *id, NarvikTokens tokens, NarvikDataPart data,
			  NarvikSession *session, TimestampTz now)
{
	unsigned char present_id[NARVIK_ID_BYTES];
	TimestampTz replaced_at;
	bool		in_grace;

	if (tokens == NARVIK_CURRENT_TOKENS || !narvik_remembers_replaced() ||
		!narvik_store_find_replaced(id, NARVIK_NEWEST, present_id, &replaced_at))
		return NARVIK_IS_UNKNOWN;
	in_grace = narvik_in_grace(replaced_at, now);
	/* A call that began before the rotation is no reuse. */
	if (!in_grace && (tokens != NARVIK_REUSED_TOKENS || !narvik_detect_reuse ||
					  now < replaced_at || !may_write()))
		return NARVIK_IS_UNKNOWN;
	if (!narvik_store_find(present_id, NARVIK_NEWEST, data, session))
		return verdict_on_change(NARVIK_IS_UNKNOWN);
	/* There is nothing left to steal. */
	if (narvik_has_expired(&session->terms, now))
		return judge_expired(session, now);
	if (in_grace)
		return NARVIK_IS_VALID;

	switch (narvik_store_delete_if_free(session, NARVIK_REUSED_TOKEN))
	{
		case NARVIK_DONE:
			narvik_identity_session_ended(present_id);
			narvik_count(NARVIK_REUSED, 1);
			break;
		case NARVIK_CHANGED:
			return verdict_on_change(NARVIK_IS_UNKNOWN);
		case NARVIK_BUSY:
			break;
	}
	return NARVIK_IS_UNKNOWN;
}

/*
 * Look a session up and decide, as the contract of validation says.  If it is
 * not valid, it is not this transaction's identity any longer either.
 */
NarvikVerdict
narvik_validate(const unsigned char *id, NarvikTokens tokens, NarvikDataPart data,
				NarvikSession *session)
{
	TimestampTz now = narvik_now();
	NarvikVerdict verdict;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!narvik_store_find(id, NARVIK_NEWEST, data, session))
			verdict = judge_unknown(id, tokens, data, session, now);
		else if (narvik_has_expired(&session->terms, now))
			verdict = judge_expired(session, now);
		else
			verdict = judge_live(session, now);
	} while (verdict == NARVIK_LOOK_AGAIN);

	if (verdict == NARVIK_IS_UNKNOWN || verdict == NARVIK_IS_EXPIRED)
		narvik_identity_session_ended(id);
	return verdict;
}

void
narvik_count_validation(NarvikVerdict verdict)
{
	switch (verdict)
	{
		case NARVIK_IS_NO_TOKEN:
			/* Nobody tries to guess with it. */
			break;
		case NARVIK_IS_UNKNOWN:
			narvik_count(NARVIK_REJECTED, 1);
			break;
		case NARVIK_IS_EXPIRED:
			narvik_count(NARVIK_EXPIRED, 1);
			break;
		case NARVIK_IS_EXTENDED:
			narvik_count(NARVIK_EXTENDED, 1);
			narvik_count(NARVIK_VALIDATED, 1);
			break;
		case NARVIK_IS_VALID:
		case NARVIK_IS_DUE:
			narvik_count(NARVIK_VALIDATED, 1);
			break;
		case NARVIK_LOOK_AGAIN:
			pg_unreachable();
	}
}
