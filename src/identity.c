/*
 * identity.c
 *		Who this transaction is: what row-level security trusts.
 *
 * The identity is the session that narvik_authenticate() validated.  It is
 * kept in this process's memory, where no SET, no other function and no SQL
 * can reach it, and it ends with the transaction, so that a pooled connection
 * never hands it to the next client.  PREPARE TRANSACTION ends it too.
 *
 * What the transaction itself does to that session, or its user, happens to
 * the identity: the store tells.  What others do meanwhile does not, unless
 * the transaction asks for the session again and finds none.
 *
 * It follows savepoints as data does: each subtransaction that sets an
 * identity has a frame of its own, which its rollback removes and its release
 * leaves to the parent.
 *
 * Parallel workers have no identity.  The functions that read it are PARALLEL
 * RESTRICTED, so they run in the leader.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "encoding.h"
#include "identity.h"
#include "token.h"

PG_FUNCTION_INFO_V1(narvik_current_user_id);
PG_FUNCTION_INFO_V1(narvik_current_session_id);

typedef struct Frame
{
	struct Frame *below;
	int			nest_level;		/* of the (sub)transaction that set it */
	text	   *user_id;		/* NULL: nobody */
	unsigned char session_id[NARVIK_ID_BYTES];
} Frame;

/* Frames are in TopTransactionContext. */
static Frame *top = NULL;

/* A user_id of NULL makes it nobody. */
static void
set_identity(const text *user_id, const unsigned char *session_id)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	text	   *copy = NULL;

	if (user_id != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		copy = DatumGetTextPCopy(PointerGetDatum(user_id));
		MemoryContextSwitchTo(old);
	}

	if (top == NULL || top->nest_level < nest_level)
	{
		Frame	   *frame = MemoryContextAllocZero(TopTransactionContext,
												   sizeof(Frame));

		frame->nest_level = nest_level;
		frame->below = top;
		top = frame;
	}
	if (session_id != NULL)
		memmove(top->session_id, session_id, NARVIK_ID_BYTES);
	if (top->user_id != NULL)
		pfree(top->user_id);
	top->user_id = copy;
}

static void
drop_frame(Frame **frame)
{
	Frame	   *dropped = *frame;

	*frame = dropped->below;
	if (dropped->user_id != NULL)
		pfree(dropped->user_id);
	pfree(dropped);
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent_subid, void *arg)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (top == NULL || top->nest_level < nest_level)
		return;

	if (event == SUBXACT_EVENT_ABORT_SUB)
		drop_frame(&top);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		top->nest_level = nest_level - 1;
		if (top->below != NULL && top->below->nest_level == nest_level - 1)
			drop_frame(&top->below);
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	/* Deferred triggers may still ask who it was; they come before these. */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		top = NULL;
}

void
narvik_identity_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* ---- what happens to it -------------------------------------------------- */

static bool
is_somebody(void)
{
	return top != NULL && top->user_id != NULL;
}

static bool
is_user(const text *user_id)
{
	return is_somebody() &&
		VARSIZE_ANY_EXHDR(user_id) == VARSIZE_ANY_EXHDR(top->user_id) &&
		memcmp(VARDATA_ANY(user_id), VARDATA_ANY(top->user_id),
			   VARSIZE_ANY_EXHDR(user_id)) == 0;
}

static bool
is_session(const unsigned char *id)
{
	return is_somebody() && memcmp(id, top->session_id, NARVIK_ID_BYTES) == 0;
}

void
narvik_identity_set(const text *user_id, const unsigned char *session_id)
{
	set_identity(user_id, session_id);
}

void
narvik_identity_clear(void)
{
	set_identity(NULL, NULL);
}

/* The session that is the identity; false if nobody is. */
bool
narvik_identity_session(unsigned char *id)
{
	if (is_somebody())
		memcpy(id, top->session_id, NARVIK_ID_BYTES);
	return is_somebody();
}

void
narvik_identity_session_ended(const unsigned char *id)
{
	if (is_session(id))
		narvik_identity_clear();
}

void
narvik_identity_session_rotated(const unsigned char *old_id,
								const unsigned char *new_id)
{
	if (is_session(old_id))
		set_identity(top->user_id, new_id);
}

/* All sessions of a user, but for one if except_id is not NULL. */
void
narvik_identity_user_ended(const text *user_id, const unsigned char *except_id)
{
	if (is_user(user_id) && (except_id == NULL || !is_session(except_id)))
		narvik_identity_clear();
}

void
narvik_identity_user_renamed(const text *old_id, const text *new_id)
{
	if (is_user(old_id))
		set_identity(new_id, top->session_id);
}

/* ---- what row-level security asks ---------------------------------------- */

/*
 * narvik_current_user_id() returns text
 *
 * NULL if nobody is authenticated.  A copy: the identity may change while the
 * caller still holds the answer.
 */
Datum
narvik_current_user_id(PG_FUNCTION_ARGS)
{
	if (!is_somebody())
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(DatumGetTextPCopy(PointerGetDatum(top->user_id)));
}

/*
 * narvik_current_session_id() returns text
 *
 * 64 hex digits, or NULL if nobody is authenticated.
 */
Datum
narvik_current_session_id(PG_FUNCTION_ARGS)
{
	if (!is_somebody())
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(narvik_id_text(top->session_id));
}
