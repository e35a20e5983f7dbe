/*
 * store_insert.c
 *		The sessions in the table: storing new ones, also over what is there.
 *
 * Nobody waits for a session that has an id of its own.  An id that the client
 * chose may be taken, or about to be: then whoever is storing it is waited for.
 *
 * A session with an id of its own goes past the planner and the executor where a
 * statement would do no more (can_insert_directly()).
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "events.h"
#include "identity.h"
#include "relation.h"
#include "sql.h"
#include "stats.h"
#include "store.h"
#include "store_lock.h"
#include "store_run.h"
#include "token.h"

/*
 * How often to insert a session under an id that nobody has: others may come and
 * go, but a trigger keeps it from being stored each time.
 */
#define INSERT_ATTEMPTS	100

#define SESSION_TYPES \
	BYTEAOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, \
	INTERVALOID, BOOLOID, JSONBOID, INT4OID

#define INSERT_SESSION \
	"INSERT INTO %s (id, user_id, created_at, expires_at, ends_at, authenticated_at," \
	" lifetime, sliding, data, purge_hour)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

static NarvikStatement insert_session = {
	.text = INSERT_SESSION,
	.nparams = 10,
	.params = {SESSION_TYPES},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement insert_session_if_new = {
	.text = INSERT_SESSION " ON CONFLICT ON CONSTRAINT narvik_sessions_id_excl DO NOTHING",
	.nparams = 10,
	.params = {SESSION_TYPES},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_session = {
	.text = "UPDATE ONLY %s SET id = $1, user_id = $2, created_at = $3, expires_at = $4,"
	" ends_at = $5, authenticated_at = $6, lifetime = $7, sliding = $8, data = $9,"
	" purge_hour = $10, active_at = $11, replaced_ids = NULL, replaced_at = NULL WHERE ctid = $12",
	.nparams = 12,
	.params = {SESSION_TYPES, TIMESTAMPTZOID, TIDOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_oldest_of_user = {
	.text = "SELECT seq, ctid FROM (SELECT seq, ctid FROM ONLY %s"
	" WHERE user_id = $2 AND expires_at > $3 AND created_at > $4 AND id <> $6"
	" ORDER BY created_at DESC, seq DESC OFFSET $5) AS oldest ORDER BY seq",
	.nparams = 6,
	.params = {TIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, BYTEAOID},
	NARVIK_FOUND
};

static NarvikStatement delete_oldest_of_user = {
	.text = NARVIK_CHANGE("DELETE FROM ONLY %s", "user_id = $2 AND expires_at > $3"),
	.nparams = 6,
	.params = {TIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/* For a statement whose parameters begin with SESSION_TYPES. */
static void
session_values(const NarvikSession *session, Datum *values, char *nulls)
{
	const NarvikTerms *terms = &session->terms;

	memset(nulls, ' ', NARVIK_MAX_PARAMS);
	values[0] = narvik_id_datum(session->id);
	values[1] = PointerGetDatum(session->user_id);
	if (session->user_id == NULL)
		nulls[1] = 'n';
	values[2] = TimestampTzGetDatum(terms->created_at);
	values[3] = TimestampTzGetDatum(terms->expires_at);
	values[4] = TimestampTzGetDatum(terms->ends_at);
	if (TIMESTAMP_IS_NOEND(terms->ends_at))
		nulls[4] = 'n';
	values[5] = TimestampTzGetDatum(session->authenticated_at);
	if (TIMESTAMP_IS_NOBEGIN(session->authenticated_at))
		nulls[5] = 'n';
	values[6] = IntervalPGetDatum(&terms->lifetime);
	if (!terms->has_lifetime)
		nulls[6] = 'n';
	values[7] = BoolGetDatum(terms->sliding);
	values[8] = JsonbPGetDatum(session->data);
	values[9] = Int32GetDatum(narvik_purge_hour(terms->expires_at));
}

/* If there are sessions that would have to go for the newcomer. */
static void
refuse_if_any(Datum *values)
{
	/* The first one is for what deletes them. */
	values[0] = PointerGetDatum(construct_empty_array(TIDOID));
	if (narvik_run_count(&find_oldest_of_user, values, NULL, NARVIK_NEWEST_STATE) == 0)
		return;
	narvik_count(NARVIK_LIMITED, 1);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("user has as many sessions as \"narvik.max_sessions_per_user\" permits"),
			 errhint("End one of the sessions first.")));
}

/*
 * Keep a user to narvik.max_sessions_per_user: delete the oldest live sessions
 * but for the newcomer, which is stored already.  Whoever stored it has the lock
 * on the user.
 */
static void
make_room(const NarvikSession *newcomer, TimestampTz now)
{
	Datum		values[6] = {(Datum) 0};
	int64		evicted;

	if (narvik_max_sessions_per_user == 0 || newcomer->user_id == NULL ||
		narvik_has_expired(&newcomer->terms, now))
		return;

	values[1] = PointerGetDatum(newcomer->user_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	values[4] = Int64GetDatum(narvik_max_sessions_per_user - 1);
	values[5] = narvik_id_datum(newcomer->id);
	if (narvik_max_sessions_action == NARVIK_REFUSE)
	{
		refuse_if_any(values);
		return;
	}
	evicted = narvik_change_rows(&find_oldest_of_user, &delete_oldest_of_user,
								 values, NULL, NARVIK_ANNOUNCED, NARVIK_OVER_LIMIT);
	narvik_count(NARVIK_LIMITED, evicted);
	if (evicted > 0)
		narvik_end_expired_identity(now);
}

static void
report_not_stored(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger kept the session from being stored")));
}

static void
note_created(const NarvikSession *session)
{
	narvik_note_event("created", session->id, session->user_id, session->data);
}

/*
 * Whether a statement would do nothing but what ExecSimpleRelationInsert() does:
 * constraints and indexes.  The right to insert is the owner's, and others may
 * want to be asked for it, too.
 */
static bool
can_insert_directly(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->trigdesc != NULL || ExecutorCheckPerms_hook != NULL ||
		!OidIsValid(narvik_relation_sequence(rel)))
		return false;
	/* Defaults; those of domains are not in the table. */
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->atthasdef || (i >= Natts_narvik && !att->attisdropped))
			return false;
	}
	return pg_class_aclcheck(RelationGetRelid(rel), rel->rd_rel->relowner, ACL_INSERT) == ACLCHECK_OK;
}

/* The row of a new session, by what session_values() says. */
static void
fill_slot(TupleTableSlot *slot, Relation rel, const Datum *values, const char *nulls)
{
	static const AttrNumber attnums[] = {
		Anum_narvik_id, Anum_narvik_user_id, Anum_narvik_created_at, Anum_narvik_expires_at,
		Anum_narvik_ends_at, Anum_narvik_authenticated_at, Anum_narvik_lifetime,
		Anum_narvik_sliding, Anum_narvik_data, Anum_narvik_purge_hour
	};

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, RelationGetDescr(rel)->natts * sizeof(bool));
	slot->tts_values[Anum_narvik_seq - 1] =
		Int64GetDatum(nextval_internal(narvik_relation_sequence(rel), false));
	slot->tts_isnull[Anum_narvik_seq - 1] = false;
	for (int i = 0; i < (int) lengthof(attnums); i++)
	{
		slot->tts_values[attnums[i] - 1] = values[i];
		slot->tts_isnull[attnums[i] - 1] = nulls[i] == 'n';
	}
	ExecStoreVirtualTuple(slot);
}

/*
 * Insert as the statement would, without planner and executor: every log-in does
 * it.  False if it takes the statement.
 */
static bool
insert_directly(const Datum *values, const char *nulls)
{
	Relation	rel = narvik_relation_open(RowExclusiveLock);
	NarvikCaller caller;
	ResultRelInfo result;
	EState	   *estate;
	TupleTableSlot *slot;

	if (!can_insert_directly(rel))
	{
		table_close(rel, NoLock);
		return false;
	}
	narvik_become_owner(rel, &caller);
	estate = CreateExecutorState();
	InitResultRelInfo(&result, rel, 0, NULL, 0);
	ExecOpenIndices(&result, false);
	slot = table_slot_create(rel, &estate->es_tupleTable);
	fill_slot(slot, rel, values, nulls);
	ExecSimpleRelationInsert(&result, estate, slot);
	ExecCloseIndices(&result);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	narvik_become_caller(&caller);
	table_close(rel, NoLock);
	/* What follows in this statement sees it. */
	CommandCounterIncrement();
	return true;
}

/* A session with an id of its own. */
void
narvik_store_insert(const NarvikSession *session)
{
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	narvik_lock_user(session->user_id);
	session_values(session, values, nulls);
	if (!insert_directly(values, nulls) &&
		narvik_run_count(&insert_session, values, nulls, 0) != 1)
		report_not_stored();
	note_created(session);
	make_room(session, session->terms.created_at);
}

typedef struct Insertion
{
	const NarvikSession *session;
	bool		done;			/* false: the id is taken */
} Insertion;

static void
insert_unless_taken(void *arg)
{
	Insertion  *insertion = arg;
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	session_values(insertion->session, values, nulls);
	insertion->done = narvik_run_count(&insert_session_if_new, values, nulls,
									   NARVIK_NEWEST_STATE) > 0;
}

/*
 * The same above READ COMMITTED, where ON CONFLICT raises serialization_failure
 * for a session that was waited for.  If that has ended since, the id is free.
 */
static void
insert_unless_taken_meanwhile(Insertion *insertion)
{
	NarvikSession other;

	for (int attempt = 1;; attempt++)
	{
		ErrorData  *error = narvik_attempt(insert_unless_taken, insertion);

		if (error == NULL)
			return;
		if (error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE ||
			attempt == INSERT_ATTEMPTS)
			ReThrowError(error);
		FreeErrorData(error);
		if (narvik_store_find(insertion->session->id, NARVIK_LATEST, NARVIK_NO_DATA, &other))
			break;
	}
	insertion->done = false;
}

/* False if the id is taken, even by one that has expired. */
static bool
insert_with_id(const NarvikSession *session)
{
	Insertion	insertion = {session, false};

	if (IsolationUsesXactSnapshot())
		insert_unless_taken_meanwhile(&insertion);
	else
		insert_unless_taken(&insertion);
	if (insertion.done)
	{
		note_created(session);
		make_room(session, session->terms.created_at);
	}
	return insertion.done;
}

/* ---- what becomes of one that is there ----------------------------------- */

/*
 * Write all of a session over the row that was locked, note that it is in use,
 * and tell the identity.  False if a trigger keeps the row as it is.
 */
static bool
write_over(const NarvikSession *old, const NarvikSession *session, TimestampTz now)
{
	TimestampTz active_at = narvik_activity_at(old->active_at, now);
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	session_values(session, values, nulls);
	values[10] = TimestampTzGetDatum(active_at);
	if (TIMESTAMP_IS_NOBEGIN(active_at))
		nulls[10] = 'n';
	values[11] = PointerGetDatum(&old->tid);
	if (narvik_run_count(&update_session, values, nulls, NARVIK_NEWEST_STATE) == 0)
		return false;
	if (narvik_has_expired(&session->terms, now))
		narvik_identity_session_ended(old->id);
	else
	{
		NarvikIdentity identity = narvik_identity_of(session);

		narvik_identity_session_became(old->id, &identity);
	}
	return true;
}

/*
 * Make the session of a guest the one that is given, with the guest's data under
 * its own.  False if there is no such guest.
 */
bool
narvik_store_promote(const unsigned char *guest_id, NarvikSession *session)
{
	TimestampTz now = session->terms.created_at;
	NarvikSession guest;

	narvik_lock_users_of_change(guest_id, session->user_id);
	if (!narvik_lock_live_session(guest_id, LockTupleNoKeyExclusive, NARVIK_WHOLE_DATA, now, &guest) ||
		guest.user_id != NULL)
		return false;
	session->data = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
													   JsonbPGetDatum(guest.data),
													   JsonbPGetDatum(session->data)));
	if (!write_over(&guest, session, now))
		return false;
	narvik_note_event("promoted", session->id, session->user_id, session->data);
	make_room(session, now);
	return true;
}

/* A guest who becomes a user is promoted; a user's session ends. */
static void
note_change_of_user(const NarvikSession *old, const NarvikSession *session)
{
	if (old->user_id == NULL)
		narvik_note_event("promoted", session->id, session->user_id, session->data);
	else
	{
		narvik_note_end(old->id, old->user_id, old->data, NARVIK_REPLACED);
		note_created(session);
	}
}

/* All but what the session was born with, its id, its age and its end, is new. */
static NarvikPut
replace(const NarvikSession *old, NarvikSession *session, TimestampTz now)
{
	bool		same_user = narvik_is_same_user_id(old->user_id, session->user_id);

	session->terms.created_at = old->terms.created_at;
	session->terms.ends_at = old->terms.ends_at;
	session->terms.expires_at = narvik_expires_at(&session->terms);
	if (same_user)
		session->authenticated_at = old->authenticated_at;
	if (!write_over(old, session, now))
		return NARVIK_PUT_NOTHING;
	if (same_user)
		return NARVIK_PUT_REPLACED;
	note_change_of_user(old, session);
	make_room(session, now);
	return old->user_id == NULL ? NARVIK_PUT_PROMOTED : NARVIK_PUT_REPLACED;
}

/*
 * Store a session under an id that the client chose, over a live one or not, as
 * the mode says; an expired one gives way.
 */
NarvikPut
narvik_store_put(NarvikSession *session, NarvikPutMode mode)
{
	TimestampTz now = session->terms.created_at;
	NarvikSession old;

	narvik_lock_users_of_change(session->id, session->user_id);
	for (int attempt = 0; attempt < INSERT_ATTEMPTS; attempt++)
	{
		if (mode != NARVIK_PUT_NEW &&
			narvik_lock_live_session(session->id, LockTupleNoKeyExclusive, NARVIK_WHOLE_DATA, now, &old))
			return replace(&old, session, now);
		if (mode == NARVIK_PUT_EXISTING)
			return NARVIK_PUT_NOTHING;
		if (mode != NARVIK_PUT_NEW && !narvik_clear_id(session->id, now))
			continue;
		if (insert_with_id(session))
			return NARVIK_PUT_INSERTED;
		if (mode == NARVIK_PUT_NEW && !narvik_clear_id(session->id, now))
			return NARVIK_PUT_NOTHING;
	}
	report_not_stored();
	return NARVIK_PUT_NOTHING;
}
