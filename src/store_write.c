/*
 * store_write.c
 *		The sessions in the table: the SQL that writes them.
 *
 * Writes are SQL statements with kept plans, so constraints, triggers, indexes
 * and concurrent updates are PostgreSQL's business.  They say ONLY: a table
 * that inherits from this one is somebody else's.
 *
 * Rows are locked first (store_lock.c), and waited for.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "identity.h"
#include "store.h"
#include "store_lock.h"
#include "store_run.h"

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

static NarvikStatement update_expiry = {
	.text = "UPDATE ONLY %s SET expires_at = $2, purge_hour = $3 WHERE ctid = $1",
	.nparams = 3,
	.params = {TIDOID, TIMESTAMPTZOID, INT4OID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_id = {
	.text = "UPDATE ONLY %s SET id = $2 WHERE ctid = $1",
	.nparams = 2,
	.params = {TIDOID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_data = {
	.text = "UPDATE ONLY %s SET data = (data || $2) - $3 WHERE ctid = $1 RETURNING data",
	.nparams = 3,
	.params = {TIDOID, JSONBOID, TEXTARRAYOID},
	.ncolumns = 1,
	.columns = {JSONBOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete_session = {
	.text = "DELETE FROM ONLY %s WHERE ctid = $1",
	.nparams = 1,
	.params = {TIDOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/*
 * Pairs for narvik_change_rows(): what finds the rows in the order of seq, and
 * what changes them once they are locked.  OFFSET 0 keeps the planner from
 * reading the whole index on seq for the order's sake.
 */
#define FIND(conditions) \
	"SELECT seq, ctid FROM (SELECT seq, ctid FROM ONLY %s" \
	" WHERE " conditions " OFFSET 0) AS found ORDER BY seq"
#define CHANGE(action, conditions) action " WHERE ctid = ANY ($1) AND " conditions
#define FOUND .ncolumns = 2, .columns = {INT8OID, TIDOID}

#define OF_USER "user_id = $2 AND id IS DISTINCT FROM $3"

static NarvikStatement find_for_user = {
	.text = FIND(OF_USER),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, BYTEAOID},
	FOUND,
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete_for_user = {
	.text = CHANGE("DELETE FROM ONLY %s", OF_USER),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_to_rename = {
	.text = FIND("user_id = $2"),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, TEXTOID},
	FOUND,
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement rename_user = {
	.text = CHANGE("UPDATE ONLY %s SET user_id = $3", "user_id = $2"),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, TEXTOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_of_users = {
	.text = FIND("user_id IS NOT NULL"),
	.nparams = 1,
	.params = {TIDARRAYOID},
	FOUND
};

static NarvikStatement delete_of_users = {
	.text = CHANGE("DELETE FROM ONLY %s", "user_id IS NOT NULL"),
	.nparams = 1,
	.params = {TIDARRAYOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_oldest_of_user = {
	.text = "SELECT seq, ctid FROM (SELECT seq, ctid FROM ONLY %s"
	" WHERE user_id = $2 AND expires_at > $3 AND created_at > $4 AND id <> $6"
	" ORDER BY created_at DESC, seq DESC OFFSET $5) AS oldest ORDER BY seq",
	.nparams = 6,
	.params = {TIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, BYTEAOID},
	FOUND
};

static NarvikStatement delete_oldest_of_user = {
	.text = CHANGE("DELETE FROM ONLY %s", "user_id = $2"),
	.nparams = 6,
	.params = {TIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

#define EXPIRED "purge_hour <= $2 AND expires_at <= $3"

/* How much is expired differs from call to call, so a plan for each. */
static NarvikStatement find_expired = {
	.text = FIND(EXPIRED),
	.nparams = 3,
	.params = {TIDARRAYOID, INT4OID, TIMESTAMPTZOID},
	FOUND,
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

static NarvikStatement delete_expired = {
	.text = CHANGE("DELETE FROM ONLY %s", EXPIRED),
	.nparams = 3,
	.params = {TIDARRAYOID, INT4OID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_over_age = {
	.text = FIND("created_at <= $2"),
	.nparams = 2,
	.params = {TIDARRAYOID, TIMESTAMPTZOID},
	FOUND,
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

static NarvikStatement delete_over_age = {
	.text = CHANGE("DELETE FROM ONLY %s", "created_at <= $2"),
	.nparams = 2,
	.params = {TIDARRAYOID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/* ---- values ------------------------------------------------------------- */

static Datum
id_datum(const unsigned char *id)
{
	bytea	   *result = (bytea *) palloc(VARHDRSZ + NARVIK_ID_BYTES);

	SET_VARSIZE(result, VARHDRSZ + NARVIK_ID_BYTES);
	memcpy(VARDATA(result), id, NARVIK_ID_BYTES);
	return PointerGetDatum(result);
}

/* For a statement whose parameters are SESSION_TYPES. */
static void
session_values(const NarvikSession *session, Datum *values, char *nulls)
{
	const NarvikTerms *terms = &session->terms;

	memset(nulls, ' ', NARVIK_MAX_PARAMS);
	values[0] = id_datum(session->id);
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

/* ---- new sessions ------------------------------------------------------- */

/*
 * The session that is this transaction's identity may be among those that were
 * ended by other means than their id or user.
 */
static void
end_expired_identity(TimestampTz now)
{
	unsigned char id[NARVIK_ID_BYTES];
	NarvikSession session;

	if (narvik_identity_session(id) &&
		(!narvik_store_find(id, NARVIK_LATEST, false, &session) ||
		 narvik_has_expired(&session.terms, now)))
		narvik_identity_session_ended(id);
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

	if (narvik_max_sessions_per_user == 0 || newcomer->user_id == NULL ||
		narvik_has_expired(&newcomer->terms, now))
		return;

	values[1] = PointerGetDatum(newcomer->user_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	values[4] = Int64GetDatum(narvik_max_sessions_per_user - 1);
	values[5] = id_datum(newcomer->id);
	if (narvik_change_rows(&find_oldest_of_user, &delete_oldest_of_user,
						   values, NULL, 0) > 0)
		end_expired_identity(now);
}

static void
report_not_stored(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger kept the session from being stored")));
}

/* A session with an id of its own. */
void
narvik_store_insert(const NarvikSession *session)
{
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	narvik_lock_user(session->user_id);
	session_values(session, values, nulls);
	if (narvik_run_count(&insert_session, values, nulls, 0) != 1)
		report_not_stored();
	make_room(session, session->terms.created_at);
}

static bool
insert_unless_taken(const NarvikSession *session)
{
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	session_values(session, values, nulls);
	return narvik_run_count(&insert_session_if_new, values, nulls,
							NARVIK_NEWEST_STATE) > 0;
}

/*
 * The same above READ COMMITTED, where ON CONFLICT raises serialization_failure
 * for a session that was committed since the statement began.
 */
static bool
insert_unless_taken_meanwhile(const NarvikSession *session)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool inserted = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		inserted = insert_unless_taken(session);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		NarvikSession other;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE ||
			!narvik_store_find(session->id, NARVIK_LATEST, false, &other))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return inserted;
}

/*
 * Delete the session with this id if it has expired.  False if it is there to
 * stay.
 */
static bool
clear_id(const unsigned char *id, TimestampTz now)
{
	NarvikSession session;
	Datum		value = PointerGetDatum(&session.tid);

	if (!narvik_lock_session(id, LockTupleExclusive, false, &session))
		return true;
	if (!narvik_has_expired(&session.terms, now) ||
		narvik_run_count(&delete_session, &value, NULL, NARVIK_NEWEST_STATE) == 0)
		return false;
	narvik_identity_session_ended(id);
	return true;
}

/*
 * A session under an id that somebody chose.  False if there is a live one with
 * this id; an expired one gives way.
 */
bool
narvik_store_insert_if_new(const NarvikSession *session)
{
	TimestampTz now = session->terms.created_at;

	narvik_lock_user(session->user_id);
	for (int attempt = 0; attempt < INSERT_ATTEMPTS; attempt++)
	{
		if (IsolationUsesXactSnapshot() ? insert_unless_taken_meanwhile(session) :
			insert_unless_taken(session))
		{
			make_room(session, now);
			return true;
		}
		if (!clear_id(session->id, now))
			return false;
	}
	report_not_stored();
	return false;
}

/* ---- one session by its id ---------------------------------------------- */

/*
 * Lock a live session.  If there is none, it is not this transaction's identity
 * any longer either.
 */
static bool
lock_live(const unsigned char *id, LockTupleMode mode, bool with_data,
		  TimestampTz now, NarvikSession *session)
{
	if (narvik_lock_session(id, mode, with_data, session) &&
		!narvik_has_expired(&session->terms, now))
		return true;
	narvik_identity_session_ended(id);
	return false;
}

/*
 * Set what the caller asks for, earlier or later, if the session's age permits.
 * False if there is no live session.
 */
bool
narvik_store_update_expiry(const unsigned char *id, TimestampTz expires_at,
						   TimestampTz now)
{
	NarvikSession session;
	Datum		values[3];

	if (!lock_live(id, LockTupleNoKeyExclusive, false, now, &session))
		return false;
	session.terms.expires_at = expires_at;
	expires_at = narvik_expires_at(&session.terms);
	values[0] = PointerGetDatum(&session.tid);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(expires_at));
	if (narvik_run_count(&update_expiry, values, NULL, NARVIK_NEWEST_STATE) == 0)
		return false;
	if (expires_at <= now)
		narvik_identity_session_ended(id);
	return true;
}

/*
 * Give a live session a new id.  False if there is no live session.
 */
bool
narvik_store_update_id(const unsigned char *old_id, const unsigned char *new_id,
					   TimestampTz now, NarvikSession *session)
{
	Datum		values[2];

	if (!lock_live(old_id, LockTupleNoKeyExclusive, true, now, session))
		return false;
	values[0] = PointerGetDatum(&session->tid);
	values[1] = id_datum(new_id);
	if (narvik_run_count(&update_id, values, NULL, NARVIK_NEWEST_STATE) == 0)
		return false;
	memcpy(session->id, new_id, NARVIK_ID_BYTES);
	narvik_identity_session_rotated(old_id, new_id);
	return true;
}

/* The top-level keys of a JSON object whose value is null, as text[]. */
static Datum
null_keys(Jsonb *object)
{
	ArrayBuildState *keys = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbValue	item;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		Datum		key;

		if (token != WJB_KEY)
			continue;
		key = PointerGetDatum(cstring_to_text_with_len(item.val.string.val,
													   item.val.string.len));
		token = JsonbIteratorNext(&iterator, &item, true);
		Assert(token == WJB_VALUE);
		if (item.type == jbvNull)
			keys = accumArrayResult(keys, key, false, TEXTOID, CurrentMemoryContext);
	}
	return makeArrayResult(keys, CurrentMemoryContext);
}

/*
 * Merge the patch into the data of a live session; NULL if there is none.
 */
Jsonb *
narvik_store_update_data(const unsigned char *id, Jsonb *patch, TimestampTz now)
{
	NarvikSession session;
	Datum		values[3];
	NarvikRun	run;
	Jsonb	   *data = NULL;

	if (!lock_live(id, LockTupleNoKeyExclusive, false, now, &session))
		return NULL;
	values[0] = PointerGetDatum(&session.tid);
	values[1] = JsonbPGetDatum(patch);
	values[2] = null_keys(patch);
	narvik_run_begin(&run, &update_data, values, NULL, NARVIK_NEWEST_STATE);
	if (SPI_processed > 0)
		data = DatumGetJsonbP(narvik_run_column_copy(&run, 0, 1));
	narvik_run_end(&run);
	return data;
}

bool
narvik_store_delete(const unsigned char *id)
{
	NarvikSession session;
	Datum		value = PointerGetDatum(&session.tid);
	bool		deleted = narvik_lock_session(id, LockTupleExclusive, false, &session) &&
		narvik_run_count(&delete_session, &value, NULL, NARVIK_NEWEST_STATE) > 0;

	narvik_identity_session_ended(id);
	return deleted;
}

/* ---- many sessions ------------------------------------------------------ */

/* All sessions of a user, but for one if except_id is not NULL. */
int64
narvik_store_delete_for_user(const text *user_id, const unsigned char *except_id)
{
	Datum		values[3] = {(Datum) 0, PointerGetDatum(user_id), (Datum) 0};
	int64		deleted;

	if (except_id != NULL)
		values[2] = id_datum(except_id);
	narvik_lock_user(user_id);
	deleted = narvik_change_rows(&find_for_user, &delete_for_user, values,
								 except_id != NULL ? NULL : "  n", 0);
	narvik_identity_user_ended(user_id, except_id);
	return deleted;
}

void
narvik_store_rename_user(const text *old_id, const text *new_id)
{
	Datum		values[3] = {(Datum) 0, PointerGetDatum(old_id), PointerGetDatum(new_id)};

	narvik_lock_user(old_id);
	(void) narvik_change_rows(&find_to_rename, &rename_user, values, NULL, 0);
	narvik_identity_user_renamed(old_id, new_id);
}

/* All sessions but those of guests. */
int64
narvik_store_delete_of_users(void)
{
	Datum		value = (Datum) 0;
	int64		deleted = narvik_change_rows(&find_of_users, &delete_of_users, &value, NULL,
											 NARVIK_WITHOUT_INDEX);

	narvik_identity_users_ended();
	return deleted;
}

int64
narvik_store_delete_expired(TimestampTz now)
{
	TimestampTz oldest_allowed = narvik_oldest_allowed(now);
	Datum		values[3] = {(Datum) 0};
	int64		deleted;

	values[1] = Int32GetDatum(narvik_purge_hour(now));
	values[2] = TimestampTzGetDatum(now);
	deleted = narvik_change_rows(&find_expired, &delete_expired, values, NULL, 0);

	if (!TIMESTAMP_IS_NOBEGIN(oldest_allowed))
	{
		values[1] = TimestampTzGetDatum(oldest_allowed);
		deleted += narvik_change_rows(&find_over_age, &delete_over_age, values,
									  NULL, NARVIK_WITHOUT_INDEX);
	}
	end_expired_identity(now);
	return deleted;
}
