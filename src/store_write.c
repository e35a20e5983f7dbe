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

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "identity.h"
#include "store.h"
#include "store_lock.h"
#include "store_run.h"

#define COLUMNS "user_id, created_at, expires_at, lifetime, sliding, data"
#define COLUMN_TYPES TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, BOOLOID, JSONBOID

#define INSERT_SESSION \
	"INSERT INTO %s (id, " COLUMNS ", purge_hour)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"

static NarvikStatement insert_session = {
	.text = INSERT_SESSION,
	.nparams = 8,
	.params = {BYTEAOID, COLUMN_TYPES, INT4OID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement insert_session_if_new = {
	.text = INSERT_SESSION " ON CONFLICT ON CONSTRAINT narvik_sessions_id_excl DO NOTHING",
	.nparams = 8,
	.params = {BYTEAOID, COLUMN_TYPES, INT4OID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_expiry = {
	.text = "UPDATE ONLY %s SET expires_at = $2, purge_hour = $3 WHERE ctid = $1",
	.nparams = 3,
	.params = {TIDOID, TIMESTAMPTZOID, INT4OID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_id = {
	.text = "UPDATE ONLY %s SET id = $2 WHERE ctid = $1 AND expires_at > $3 AND created_at > $4"
	" RETURNING " COLUMNS,
	.nparams = 4,
	.params = {TIDOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	.ncolumns = 6,
	.columns = {COLUMN_TYPES},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_data = {
	.text = "UPDATE ONLY %s SET data = (data || $2) - $3"
	" WHERE ctid = $1 AND expires_at > $4 AND created_at > $5 RETURNING data",
	.nparams = 5,
	.params = {TIDOID, JSONBOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
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

static NarvikStatement find_all = {
	.text = FIND("true"),
	.nparams = 1,
	.params = {TIDARRAYOID},
	FOUND
};

static NarvikStatement delete_all = {
	.text = CHANGE("DELETE FROM ONLY %s", "true"),
	.nparams = 1,
	.params = {TIDARRAYOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_oldest_of_user = {
	.text = "SELECT seq, ctid FROM (SELECT seq, ctid FROM ONLY %s"
	" WHERE user_id = $2 AND expires_at > $3 AND created_at > $4"
	" ORDER BY created_at DESC, seq DESC OFFSET $5) AS oldest ORDER BY seq",
	.nparams = 5,
	.params = {TIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID},
	FOUND
};

static NarvikStatement delete_oldest_of_user = {
	.text = CHANGE("DELETE FROM ONLY %s", "user_id = $2 AND expires_at > $3"),
	.nparams = 5,
	.params = {TIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID},
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

static void
insert_values(const NarvikSession *session, Datum *values, char *nulls)
{
	const NarvikTerms *terms = &session->terms;

	memset(nulls, ' ', NARVIK_MAX_PARAMS);
	values[0] = id_datum(session->id);
	values[1] = PointerGetDatum(session->user_id);
	values[2] = TimestampTzGetDatum(terms->created_at);
	values[3] = TimestampTzGetDatum(terms->expires_at);
	values[4] = IntervalPGetDatum(&terms->lifetime);
	if (!terms->has_lifetime)
		nulls[4] = 'n';
	values[5] = BoolGetDatum(terms->sliding);
	values[6] = JsonbPGetDatum(session->data);
	values[7] = Int32GetDatum(narvik_purge_hour(terms->expires_at));
}

/* Columns of a result row that begins with COLUMNS. */
static void
session_from_result(const NarvikRun *run, uint64 row, NarvikSession *session)
{
	NarvikTerms *terms = &session->terms;
	bool		no_lifetime;
	Datum		lifetime;

	ItemPointerSetInvalid(&session->tid);
	session->user_id = DatumGetTextP(narvik_run_column_copy(run, row, 1));
	terms->created_at = DatumGetTimestampTz(narvik_run_column(row, 2));
	terms->expires_at = DatumGetTimestampTz(narvik_run_column(row, 3));
	lifetime = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
							 4, &no_lifetime);
	terms->has_lifetime = !no_lifetime;
	if (terms->has_lifetime)
		terms->lifetime = *DatumGetIntervalP(lifetime);
	terms->sliding = DatumGetBool(narvik_run_column(row, 5));
	session->data = DatumGetJsonbP(narvik_run_column_copy(run, row, 6));
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
 * Keep a user to narvik.max_sessions_per_user: delete the oldest live
 * sessions so that one more fits in.
 */
static void
make_room(const NarvikSession *newcomer)
{
	TimestampTz now = newcomer->terms.created_at;
	Datum		values[5] = {(Datum) 0};

	if (narvik_max_sessions_per_user == 0 ||
		narvik_has_expired(&newcomer->terms, now))
		return;

	narvik_lock_user(newcomer->user_id);
	values[1] = PointerGetDatum(newcomer->user_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	values[4] = Int64GetDatum(narvik_max_sessions_per_user - 1);
	if (narvik_change_rows(&find_oldest_of_user, &delete_oldest_of_user,
						   values, NULL, 0) > 0)
		end_expired_identity(now);
}

void
narvik_store_insert(const NarvikSession *session)
{
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	make_room(session);
	insert_values(session, values, nulls);
	if (narvik_run_count(&insert_session, values, nulls, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger kept the session from being stored")));
}

/* False if there is a session with this id. */
bool
narvik_store_insert_if_new(const NarvikSession *session)
{
	Datum		values[NARVIK_MAX_PARAMS];
	char		nulls[NARVIK_MAX_PARAMS];

	make_room(session);
	insert_values(session, values, nulls);
	return narvik_run_count(&insert_session_if_new, values, nulls, NARVIK_NEWEST_STATE) > 0;
}

/* ---- one session by its id ---------------------------------------------- */

/* Set what the caller asks for, earlier or later.  False if there is none. */
bool
narvik_store_update_expiry(const unsigned char *id, TimestampTz expires_at,
						   TimestampTz now)
{
	ItemPointerData tid;
	Datum		values[3];

	if (!narvik_lock_session(id, LockTupleNoKeyExclusive, &tid))
		return false;
	values[0] = PointerGetDatum(&tid);
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
	ItemPointerData tid;
	Datum		values[4];
	NarvikRun	run;
	bool		found;

	if (!narvik_lock_session(old_id, LockTupleNoKeyExclusive, &tid))
		return false;
	values[0] = PointerGetDatum(&tid);
	values[1] = id_datum(new_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	narvik_run_begin(&run, &update_id, values, NULL, NARVIK_NEWEST_STATE);
	found = SPI_processed > 0;
	if (found)
	{
		session_from_result(&run, 0, session);
		memcpy(session->id, new_id, NARVIK_ID_BYTES);
		narvik_identity_session_rotated(old_id, new_id);
	}
	else
		narvik_identity_session_ended(old_id);
	narvik_run_end(&run);
	return found;
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
	ItemPointerData tid;
	Datum		values[5];
	NarvikRun	run;
	Jsonb	   *data = NULL;

	if (!narvik_lock_session(id, LockTupleNoKeyExclusive, &tid))
		return NULL;
	values[0] = PointerGetDatum(&tid);
	values[1] = JsonbPGetDatum(patch);
	values[2] = null_keys(patch);
	values[3] = TimestampTzGetDatum(now);
	values[4] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	narvik_run_begin(&run, &update_data, values, NULL, NARVIK_NEWEST_STATE);
	if (SPI_processed > 0)
		data = DatumGetJsonbP(narvik_run_column_copy(&run, 0, 1));
	else
		narvik_identity_session_ended(id);
	narvik_run_end(&run);
	return data;
}

bool
narvik_store_delete(const unsigned char *id)
{
	ItemPointerData tid;
	bool		deleted = false;

	if (narvik_lock_session(id, LockTupleExclusive, &tid))
	{
		Datum		value = PointerGetDatum(&tid);

		deleted = narvik_run_count(&delete_session, &value, NULL, NARVIK_NEWEST_STATE) > 0;
	}
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

int64
narvik_store_delete_all(void)
{
	Datum		value = (Datum) 0;
	int64		deleted = narvik_change_rows(&find_all, &delete_all, &value, NULL,
											 NARVIK_WITHOUT_INDEX);

	narvik_identity_clear();
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
