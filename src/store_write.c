/*
 * store_write.c
 *		The sessions in the table: the SQL that changes and deletes them.
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
#include "utils/array.h"
#include "utils/builtins.h"

#include "events.h"
#include "identity.h"
#include "sql.h"
#include "store.h"
#include "store_lock.h"
#include "store_run.h"
#include "token.h"

static NarvikStatement update_expiry = {
	.text = "UPDATE ONLY %s SET expires_at = $2, purge_hour = $3, active_at = $4 WHERE ctid = $1",
	.nparams = 4,
	.params = {TIDOID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_id = {
	.text = "UPDATE ONLY %s SET id = $2, replaced_ids = NULL, replaced_at = NULL WHERE ctid = $1",
	.nparams = 2,
	.params = {TIDOID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/*
 * The ids that it replaced are kept if $3, the newest first, and not for ever:
 * the row must not grow without end.
 */
static NarvikStatement rotate = {
	.text = "UPDATE ONLY %s SET id = $2,"
	" replaced_ids = CASE WHEN $3 THEN (pg_catalog.array_prepend(id, replaced_ids))[1:16] END,"
	" replaced_at = CASE WHEN $3 THEN (pg_catalog.array_prepend($4, replaced_at))[1:16] END"
	" WHERE ctid = $1",
	.nparams = 4,
	.params = {TIDOID, BYTEAOID, BOOLOID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

#define PATCH(patch, null_keys) "data = (data || " patch ") - " null_keys

/* No token of before gets the rights that a password gives. */
static NarvikStatement reauthenticate = {
	.text = "UPDATE ONLY %s SET id = $2, authenticated_at = $3, " PATCH("$4", "$5")
	", replaced_ids = NULL, replaced_at = NULL WHERE ctid = $1 RETURNING data",
	.nparams = 5,
	.params = {TIDOID, BYTEAOID, TIMESTAMPTZOID, JSONBOID, TEXTARRAYOID},
	.ncolumns = 1,
	.columns = {JSONBOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_data = {
	.text = "UPDATE ONLY %s SET " PATCH("$2", "$3") " WHERE ctid = $1 RETURNING data",
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

#define OF_USER "user_id = $2 AND id IS DISTINCT FROM $3"

static NarvikStatement find_for_user = {
	.text = NARVIK_FIND(OF_USER),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, BYTEAOID},
	NARVIK_FOUND,
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete_for_user = {
	.text = NARVIK_CHANGE("DELETE FROM ONLY %s", OF_USER),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_to_rename = {
	.text = NARVIK_FIND("user_id = $2"),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, TEXTOID},
	NARVIK_FOUND,
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement rename_user = {
	.text = NARVIK_CHANGE("UPDATE ONLY %s SET user_id = $3", "user_id = $2"),
	.nparams = 3,
	.params = {TIDARRAYOID, TEXTOID, TEXTOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_of_users = {
	.text = NARVIK_FIND("user_id IS NOT NULL"),
	.nparams = 1,
	.params = {TIDARRAYOID},
	NARVIK_FOUND
};

static NarvikStatement delete_of_users = {
	.text = NARVIK_CHANGE("DELETE FROM ONLY %s", "user_id IS NOT NULL"),
	.nparams = 1,
	.params = {TIDARRAYOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

#define EXPIRED "purge_hour <= $2 AND expires_at <= $3"

/* How much is expired differs from call to call, so a plan for each. */
static NarvikStatement find_expired = {
	.text = NARVIK_FIND(EXPIRED),
	.nparams = 3,
	.params = {TIDARRAYOID, INT4OID, TIMESTAMPTZOID},
	NARVIK_FOUND,
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

static NarvikStatement delete_expired = {
	.text = NARVIK_CHANGE("DELETE FROM ONLY %s", EXPIRED),
	.nparams = 3,
	.params = {TIDARRAYOID, INT4OID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement find_over_age = {
	.text = NARVIK_FIND("created_at <= $2"),
	.nparams = 2,
	.params = {TIDARRAYOID, TIMESTAMPTZOID},
	NARVIK_FOUND,
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

static NarvikStatement delete_over_age = {
	.text = NARVIK_CHANGE("DELETE FROM ONLY %s", "created_at <= $2"),
	.nparams = 2,
	.params = {TIDARRAYOID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

/*
 * The session that is this transaction's identity may be among those that were
 * ended by other means than their id or user.
 */
void
narvik_end_expired_identity(TimestampTz now)
{
	unsigned char id[NARVIK_ID_BYTES];
	NarvikSession session;

	if (narvik_identity_session(id) &&
		(!narvik_store_find(id, NARVIK_LATEST, NARVIK_NO_DATA, &session) ||
		 narvik_has_expired(&session.terms, now)))
		narvik_identity_session_ended(id);
}

/* ---- one session by its id ---------------------------------------------- */

/*
 * Set what the caller asks for, earlier or later, if the session's age permits.
 * Stores that do not validate call this for each request, so it notes the use of
 * the session, too, unless that is to end sooner.  False if there is no live
 * session.
 */
bool
narvik_store_update_expiry(const unsigned char *id, TimestampTz expires_at,
						   TimestampTz now)
{
	NarvikSession session;
	TimestampTz old_expires_at;
	TimestampTz active_at;
	Datum		values[4];

	if (!narvik_lock_live_session(id, LockTupleNoKeyExclusive, NARVIK_NO_DATA, now, &session))
		return false;
	old_expires_at = narvik_expires_at(&session.terms);
	session.terms.expires_at = expires_at;
	expires_at = narvik_expires_at(&session.terms);
	active_at = expires_at < old_expires_at ? session.active_at :
		narvik_activity_at(session.active_at, now);
	values[0] = PointerGetDatum(&session.tid);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(expires_at));
	values[3] = TimestampTzGetDatum(active_at);
	if (narvik_run_count(&update_expiry, values, TIMESTAMP_IS_NOBEGIN(active_at) ? "   n" : NULL,
						 NARVIK_NEWEST_STATE) == 0)
		return false;
	if (expires_at <= now)
		narvik_identity_session_ended(id);
	return true;
}

static bool
set_id(NarvikSession *session, const unsigned char *new_id)
{
	Datum		values[2];

	values[0] = PointerGetDatum(&session->tid);
	values[1] = narvik_id_datum(new_id);
	if (narvik_run_count(&update_id, values, NULL, NARVIK_NEWEST_STATE) == 0)
		return false;
	narvik_identity_session_renamed(session->id, new_id);
	memcpy(session->id, new_id, NARVIK_ID_BYTES);
	narvik_note_event("rotated", session->id, session->user_id, session->data);
	return true;
}

/* A session that is to be given an id. */
typedef struct Renaming
{
	NarvikSession session;
	const unsigned char *new_id;
	bool		done;
} Renaming;

static void
rename_session(void *arg)
{
	Renaming   *renaming = arg;

	renaming->done = set_id(&renaming->session, renaming->new_id);
}

/* Whoever had the id may have another one by now.  Triggers can raise the same error. */
static bool
is_taken_id(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_EXCLUSION_VIOLATION &&
		error->constraint_name != NULL &&
		strcmp(error->constraint_name, "narvik_sessions_id_excl") == 0;
}

/*
 * Give a live session an id that the client chose, which may be taken, or about
 * to be: then whoever is doing so is waited for.
 *
 * The row that has the new id comes first.  Unless it has expired, the caller
 * raises an error, so two that exchange their ids do not wait for each other.
 */
NarvikIdChange
narvik_store_change_id(const unsigned char *old_id, const unsigned char *new_id,
					   TimestampTz now)
{
	Renaming	renaming = {.new_id = new_id};
	bool		same = memcmp(old_id, new_id, NARVIK_ID_BYTES) == 0;
	ErrorData  *error;

	narvik_lock_new_id(new_id);
	if (!same && narvik_store_has_live(old_id, now) && !narvik_clear_id(new_id, now))
		return NARVIK_ID_TAKEN;
	if (!narvik_lock_live_session(old_id, LockTupleNoKeyExclusive, NARVIK_WHOLE_DATA, now,
								  &renaming.session))
		return NARVIK_ID_NO_SESSION;
	if (same)
		return NARVIK_ID_CHANGED;

	error = narvik_attempt(rename_session, &renaming);
	if (error == NULL)
		return renaming.done ? NARVIK_ID_CHANGED : NARVIK_ID_NO_SESSION;
	if (!is_taken_id(error))
		ReThrowError(error);
	FreeErrorData(error);
	return NARVIK_ID_TAKEN;
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
 * Give a live session a new id that nobody has.  False if there is no live
 * session.
 */
bool
narvik_store_rotate(const unsigned char *old_id, const unsigned char *new_id,
					TimestampTz now, NarvikSession *session)
{
	Datum		values[4];

	if (!narvik_lock_live_session(old_id, LockTupleNoKeyExclusive, NARVIK_WHOLE_DATA, now, session))
		return false;
	values[0] = PointerGetDatum(&session->tid);
	values[1] = narvik_id_datum(new_id);
	values[2] = BoolGetDatum(narvik_remembers_replaced());
	/* The call may have waited for the row: the grace begins now. */
	values[3] = TimestampTzGetDatum(Max(now, GetCurrentTimestamp()));
	if (narvik_run_count(&rotate, values, NULL, NARVIK_NEWEST_STATE) == 0)
		return false;
	memcpy(session->id, new_id, NARVIK_ID_BYTES);
	narvik_identity_session_renamed(old_id, new_id);
	narvik_note_event("rotated", session->id, session->user_id, session->data);
	return true;
}

/*
 * The same for a user who was asked for the password again, with a patch to the
 * data.  False for a guest, too.
 */
bool
narvik_store_reauthenticate(const unsigned char *old_id, const unsigned char *new_id,
							Jsonb *patch, TimestampTz now, NarvikSession *session)
{
	Datum		values[5];
	NarvikRun	run;
	NarvikIdentity identity;

	if (!narvik_lock_live_session(old_id, LockTupleNoKeyExclusive, NARVIK_NO_DATA, now, session) ||
		session->user_id == NULL)
		return false;
	values[0] = PointerGetDatum(&session->tid);
	values[1] = narvik_id_datum(new_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = JsonbPGetDatum(patch);
	values[4] = null_keys(patch);
	narvik_run_begin(&run, &reauthenticate, values, NULL, NARVIK_NEWEST_STATE);
	if (SPI_processed > 0)
		session->data = DatumGetJsonbP(narvik_run_column_copy(&run, 0, 1));
	narvik_run_end(&run);
	if (session->data == NULL)
		return false;
	memcpy(session->id, new_id, NARVIK_ID_BYTES);
	session->authenticated_at = now;
	identity = narvik_identity_of(session);
	narvik_identity_session_became(old_id, &identity);
	narvik_note_event("reauthenticated", session->id, session->user_id, session->data);
	return true;
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

	if (!narvik_lock_live_session(id, LockTupleNoKeyExclusive, NARVIK_NO_DATA, now, &session))
		return NULL;
	values[0] = PointerGetDatum(&session.tid);
	values[1] = JsonbPGetDatum(patch);
	values[2] = null_keys(patch);
	narvik_run_begin(&run, &update_data, values, NULL, NARVIK_NEWEST_STATE);
	if (SPI_processed > 0)
		data = DatumGetJsonbP(narvik_run_column_copy(&run, 0, 1));
	narvik_run_end(&run);
	if (data != NULL)
		narvik_identity_data_changed(id, data);
	return data;
}

/*
 * Lock the session that has this id, or had it before a rotation that is
 * remembered: a revocation that meets a rotation must not miss the successor.
 */
static bool
lock_session_or_successor(const unsigned char *id, NarvikSession *session)
{
	unsigned char present_id[NARVIK_ID_BYTES];
	unsigned char last_id[NARVIK_ID_BYTES];
	TimestampTz replaced_at;

	memcpy(present_id, id, NARVIK_ID_BYTES);
	while (!narvik_lock_session(present_id, LockTupleExclusive, NARVIK_NO_DATA, session))
	{
		memcpy(last_id, present_id, NARVIK_ID_BYTES);
		if (!narvik_remembers_replaced() ||
			!narvik_store_find_replaced(id, NARVIK_LATEST, present_id, &replaced_at) ||
			memcmp(present_id, last_id, NARVIK_ID_BYTES) == 0)
			return false;
	}
	return true;
}

/* What had expired by then is deleted, too, but does not end now: false. */
static bool
end_session(const unsigned char *id, const char *reason, TimestampTz now)
{
	NarvikSession session;
	bool		ended = false;

	if (lock_session_or_successor(id, &session))
	{
		Datum		value = PointerGetDatum(&session.tid);
		bool		expired = narvik_has_expired(&session.terms, now);

		ended = narvik_run_ending(&delete_session, &value, NULL,
								  NARVIK_NEWEST_STATE | NARVIK_ANNOUNCED,
								  expired ? NARVIK_TIMED_OUT : reason) > 0 && !expired;
		narvik_identity_session_ended(session.id);
	}
	narvik_identity_session_ended(id);
	return ended;
}

/* Expired or not: whoever logs out wants it gone. */
bool
narvik_store_delete(const unsigned char *id, const char *reason)
{
	return end_session(id, reason, DT_NOBEGIN);
}

/* A log-in brought the token of a session of a user, who is not this one any more. */
bool
narvik_store_end_replaced(const unsigned char *id, TimestampTz now)
{
	return end_session(id, NARVIK_REPLACED, now);
}

/*
 * Delete the session with this id if it has expired.  False if there is a live
 * one.
 */
bool
narvik_clear_id(const unsigned char *id, TimestampTz now)
{
	NarvikSession session;
	Datum		value = PointerGetDatum(&session.tid);

	if (!narvik_lock_session(id, LockTupleExclusive, NARVIK_NO_DATA, &session))
		return true;
	if (!narvik_has_expired(&session.terms, now))
		return false;
	if (narvik_run_ending(&delete_session, &value, NULL, NARVIK_NEWEST_STATE, NARVIK_TIMED_OUT) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger kept an expired session with this ID")));
	narvik_identity_session_ended(id);
	return true;
}

/* ---- many sessions ------------------------------------------------------ */

/* All sessions of a user, but for one if except_id is not NULL. */
int64
narvik_store_delete_for_user(const text *user_id, const unsigned char *except_id,
							 const char *reason)
{
	Datum		values[3] = {(Datum) 0, PointerGetDatum(user_id), (Datum) 0};
	int64		deleted;

	if (except_id != NULL)
		values[2] = narvik_id_datum(except_id);
	narvik_lock_user(user_id);
	deleted = narvik_change_rows(&find_for_user, &delete_for_user, values,
								 except_id != NULL ? NULL : "  n", 0, reason);
	if (deleted > 0)
		narvik_announce_end_for_user(user_id, except_id, reason);
	narvik_identity_user_ended(user_id, except_id);
	return deleted;
}

int64
narvik_store_rename_user(const text *old_id, const text *new_id)
{
	Datum		values[3] = {(Datum) 0, PointerGetDatum(old_id), PointerGetDatum(new_id)};
	int64		renamed;

	narvik_lock_user(old_id);
	renamed = narvik_change_rows(&find_to_rename, &rename_user, values, NULL, 0, NULL);
	narvik_identity_user_renamed(old_id, new_id);
	return renamed;
}

/* All sessions but those of guests. */
int64
narvik_store_delete_of_users(void)
{
	Datum		value = (Datum) 0;
	int64		deleted = narvik_change_rows(&find_of_users, &delete_of_users, &value, NULL,
											 NARVIK_WITHOUT_INDEX, NARVIK_USER_DELETED);

	if (deleted > 0)
		narvik_announce_end_for_user(NULL, NULL, NARVIK_USER_DELETED);

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
	deleted = narvik_change_rows(&find_expired, &delete_expired, values, NULL, 0, NARVIK_TIMED_OUT);

	if (!TIMESTAMP_IS_NOBEGIN(oldest_allowed))
	{
		values[1] = TimestampTzGetDatum(oldest_allowed);
		deleted += narvik_change_rows(&find_over_age, &delete_over_age, values,
									  NULL, NARVIK_WITHOUT_INDEX,
									  NARVIK_TIMED_OUT);
	}
	narvik_end_expired_identity(now);
	return deleted;
}
