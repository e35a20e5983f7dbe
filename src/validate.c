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
 * Under READ COMMITTED a row that changed since the look-up deserves another
 * look, which sees the change.  The other isolation levels would see the same
 * as before.
 */
static NarvikVerdict
verdict_on_change(NarvikVerdict verdict)
{
	return IsolationUsesXactSnapshot() ? verdict : NARVIK_LOOK_AGAIN;
}

/* An expired session is deleted if that needs no waiting. */
static NarvikVerdict
judge_expired(const NarvikSession *session)
{
	if (may_write() && narvik_store_delete_if_free(session) == NARVIK_CHANGED)
		return verdict_on_change(NARVIK_IS_EXPIRED);
	return NARVIK_IS_EXPIRED;
}

/*
 * A live session is extended if it is due and that needs no waiting.  Of many
 * validations at once the one that gets hold of the row extends it.
 */
static NarvikVerdict
judge_live(NarvikSession *session, TimestampTz now)
{
	TimestampTz new_expires_at;

	if (!narvik_extension_due(&session->terms, now, &new_expires_at))
		return NARVIK_IS_VALID;
	if (!may_write())
		return NARVIK_IS_DUE;
	switch (narvik_store_extend_if_free(session, new_expires_at))
	{
		case NARVIK_DONE:
			session->terms.expires_at = new_expires_at;
			return NARVIK_IS_EXTENDED;
		case NARVIK_CHANGED:
			return verdict_on_change(NARVIK_IS_DUE);
		case NARVIK_BUSY:
			break;
	}
	return NARVIK_IS_DUE;
}

/*
 * Look a session up and decide, as the contract of validation says.  If it is
 * not valid, it is not this transaction's identity any longer either.
 */
NarvikVerdict
narvik_validate(const unsigned char *id, bool with_data, NarvikSession *session)
{
	TimestampTz now = narvik_now();
	NarvikVerdict verdict;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!narvik_store_find(id, NARVIK_NEWEST, with_data, session))
			verdict = NARVIK_IS_UNKNOWN;
		else if (narvik_has_expired(&session->terms, now))
			verdict = judge_expired(session);
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
