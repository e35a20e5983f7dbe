/*
 * identity.c
 *		Who this transaction is: what row-level security trusts.
 *
 * The identity is the session that narvik_authenticate() validated.  It is
 * kept in this process's memory, where no SET, no other function and no SQL
 * can reach it, and it ends with the transaction, so that a pooled connection
 * never hands it to the next client.  PREPARE TRANSACTION ends it too.
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
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "identity.h"
#include "session.h"

PG_FUNCTION_INFO_V1(narvik_authenticate);
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

static void
set_identity(const NarvikSession *session)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	text	   *user_id = NULL;

	if (session != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		user_id = DatumGetTextPCopy(PointerGetDatum(session->user_id));
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
	if (top->user_id != NULL)
		pfree(top->user_id);
	top->user_id = user_id;
	if (session != NULL)
		memcpy(top->session_id, session->id, NARVIK_ID_BYTES);
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

	(void) subid;
	(void) parent_subid;
	(void) arg;
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
	(void) arg;
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
	bool		extended;

	if (!narvik_validate_token_arg(fcinfo, 0, false, &session, &extended))
	{
		set_identity(NULL);
		PG_RETURN_NULL();
	}
	set_identity(&session);
	PG_RETURN_TEXT_P(session.user_id);
}

/*
 * narvik_current_user_id() returns text
 *
 * NULL if nobody is authenticated.  A copy: the identity may change while the
 * caller still holds the answer.
 */
Datum
narvik_current_user_id(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	if (top == NULL || top->user_id == NULL)
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
	text	   *hex;

	(void) fcinfo;
	if (top == NULL || top->user_id == NULL)
		PG_RETURN_NULL();
	hex = (text *) palloc(VARHDRSZ + NARVIK_ID_CHARS);
	SET_VARSIZE(hex, VARHDRSZ + NARVIK_ID_CHARS);
	narvik_print_id(top->session_id, VARDATA(hex));
	PG_RETURN_TEXT_P(hex);
}
