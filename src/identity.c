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
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "encoding.h"
#include "identity.h"
#include "policy.h"
#include "token.h"

PG_FUNCTION_INFO_V1(narvik_current_user_id);
PG_FUNCTION_INFO_V1(narvik_current_session_id);
PG_FUNCTION_INFO_V1(narvik_current_data);
PG_FUNCTION_INFO_V1(narvik_is_fresh);

/*
 * In TopTransactionContext, in one piece with what user_id and data point to: it
 * is made anew for each request.
 */
typedef struct Frame
{
	struct Frame *below;
	int			nest_level;		/* of the (sub)transaction that set it */
	bool		has_session;	/* else nobody */
	unsigned char session_id[NARVIK_ID_BYTES];
	text	   *user_id;		/* NULL: nobody, or a guest */
	TimestampTz authenticated_at;
	struct varlena *data;		/* as it came; NULL: nobody */
	Snapshot	data_snapshot;	/* keeps what data points to; or NULL */
	struct varlena *whole_data; /* once somebody has asked for it; or NULL */
} Frame;

static Frame *top = NULL;

static Size
value_size(const struct varlena *value)
{
	return value == NULL ? 0 : VARSIZE_ANY(value);
}

/* NULL makes it nobody. */
static Frame *
make_frame(const NarvikIdentity *identity)
{
	Size		user_offset = MAXALIGN(sizeof(Frame));
	Size		data_offset = user_offset;
	Frame	   *frame;

	if (identity == NULL)
		return MemoryContextAllocZero(TopTransactionContext, sizeof(Frame));

	data_offset += MAXALIGN(value_size(identity->user_id));
	frame = MemoryContextAlloc(TopTransactionContext,
							   data_offset + value_size(identity->data));
	memset(frame, 0, sizeof(Frame));
	frame->has_session = true;
	memcpy(frame->session_id, identity->session_id, NARVIK_ID_BYTES);
	frame->authenticated_at = identity->authenticated_at;
	if (identity->user_id != NULL)
	{
		frame->user_id = (text *) ((char *) frame + user_offset);
		memcpy(frame->user_id, identity->user_id, value_size(identity->user_id));
	}
	if (identity->data != NULL)
	{
		frame->data = (struct varlena *) ((char *) frame + data_offset);
		memcpy(frame->data, identity->data, value_size(identity->data));
	}
	return frame;
}

/*
 * Large data stays in its table until somebody asks for it.  It may be changed
 * meanwhile, so the old version has to stay there, for as long as a snapshot
 * that is as old can be in use: that of the frame which the data comes from, if
 * only the rest of the identity is new.
 */
static void
keep_data(Frame *frame, const struct varlena *from)
{
	Snapshot	snapshot;

	if (frame->data == NULL || !VARATT_IS_EXTERNAL_ONDISK(frame->data))
		return;
	snapshot = top != NULL && from == top->data ? top->data_snapshot : GetActiveSnapshot();
	frame->data_snapshot = RegisterSnapshotOnOwner(snapshot, TopTransactionResourceOwner);
}

static void
release_snapshot(Frame *frame)
{
	if (frame->data_snapshot != NULL)
		UnregisterSnapshotFromOwner(frame->data_snapshot, TopTransactionResourceOwner);
	frame->data_snapshot = NULL;
}

static void
drop_frame(Frame **frame)
{
	Frame	   *dropped = *frame;

	*frame = dropped->below;
	release_snapshot(dropped);
	if (dropped->whole_data != NULL)
		pfree(dropped->whole_data);
	pfree(dropped);
}

/* NULL makes it nobody. */
static void
set_identity(const NarvikIdentity *identity)
{
	/* First, as it may point into the frame that it replaces. */
	Frame	   *frame = make_frame(identity);

	frame->nest_level = GetCurrentTransactionNestLevel();
	keep_data(frame, identity != NULL ? identity->data : NULL);
	if (top != NULL && top->nest_level >= frame->nest_level)
		drop_frame(&top);
	frame->below = top;
	top = frame;
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
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			for (Frame *frame = top; frame != NULL; frame = frame->below)
				release_snapshot(frame);
			top = NULL;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* An abort has released the snapshots. */
			top = NULL;
			break;
		default:
			break;
	}
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
	return top != NULL && top->has_session;
}

static bool
is_user(const text *user_id)
{
	return is_somebody() && narvik_is_same_user_id(user_id, top->user_id);
}

static bool
is_session(const unsigned char *id)
{
	return is_somebody() && memcmp(id, top->session_id, NARVIK_ID_BYTES) == 0;
}

/* What the identity is, to be changed in part. */
static NarvikIdentity
present_identity(void)
{
	NarvikIdentity identity = {
		.session_id = top->session_id,
		.user_id = top->user_id,
		.authenticated_at = top->authenticated_at,
		.data = top->whole_data != NULL ? top->whole_data : top->data
	};

	return identity;
}

void
narvik_identity_set(const NarvikIdentity *identity)
{
	set_identity(identity);
}

void
narvik_identity_clear(void)
{
	set_identity(NULL);
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

/* The session is another one now: its id, its user, its data. */
void
narvik_identity_session_became(const unsigned char *old_id,
							   const NarvikIdentity *identity)
{
	if (is_session(old_id))
		set_identity(identity);
}

/* It has another id, and all else as it was. */
void
narvik_identity_session_renamed(const unsigned char *old_id,
								const unsigned char *new_id)
{
	if (is_session(old_id))
	{
		NarvikIdentity identity = present_identity();

		identity.session_id = new_id;
		set_identity(&identity);
	}
}

void
narvik_identity_data_changed(const unsigned char *id, const Jsonb *data)
{
	if (is_session(id))
	{
		NarvikIdentity identity = present_identity();

		identity.data = (const struct varlena *) data;
		set_identity(&identity);
	}
}

/* All sessions of a user, but for one if except_id is not NULL. */
void
narvik_identity_user_ended(const text *user_id, const unsigned char *except_id)
{
	if (is_user(user_id) && (except_id == NULL || !is_session(except_id)))
		narvik_identity_clear();
}

/* All sessions of all users, but not those of guests. */
void
narvik_identity_users_ended(void)
{
	if (is_somebody() && top->user_id != NULL)
		narvik_identity_clear();
}

void
narvik_identity_user_renamed(const text *old_id, const text *new_id)
{
	if (is_user(old_id))
	{
		NarvikIdentity identity = present_identity();

		identity.user_id = new_id;
		set_identity(&identity);
	}
}

/* ---- what row-level security asks ---------------------------------------- */

/*
 * narvik_current_user_id() returns text
 *
 * NULL if nobody is authenticated, or a guest.  A copy: the identity may change while the
 * caller still holds the answer.
 */
Datum
narvik_current_user_id(PG_FUNCTION_ARGS)
{
	if (!is_somebody() || top->user_id == NULL)
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

/*
 * narvik_current_data() returns jsonb
 *
 * NULL if nobody is authenticated.  A copy, for the same reason.
 */
Datum
narvik_current_data(PG_FUNCTION_ARGS)
{
	if (!is_somebody() || top->data == NULL)
		PG_RETURN_NULL();
	if (top->whole_data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		top->whole_data = pg_detoast_datum_copy(top->data);
		MemoryContextSwitchTo(old);
		release_snapshot(top);
	}
	PG_RETURN_POINTER(pg_detoast_datum_copy(top->whole_data));
}

/*
 * narvik_is_fresh(within interval) returns boolean
 *
 * Whether the user of this transaction's identity has logged in, or was asked
 * for the password again, less than so long ago.  False for nobody, a guest and
 * a NULL interval.
 *
 * Raises invalid_parameter_value for a negative or infinite interval, so it is not
 * leakproof: the interval may be a column of rows that a policy hides.
 */
Datum
narvik_is_fresh(PG_FUNCTION_ARGS)
{
	TimestampTz since = is_somebody() ? top->authenticated_at : DT_NOBEGIN;

	PG_RETURN_BOOL(!PG_ARGISNULL(0) &&
				   narvik_is_within(since, PG_GETARG_INTERVAL_P(0), narvik_now()));
}
