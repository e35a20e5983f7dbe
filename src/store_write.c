/*
 * store_write.c
 *		The sessions in the table: the SQL that writes and lists them.
 *
 * Writes are SQL statements with kept plans, so constraints, triggers, indexes
 * and concurrent updates are PostgreSQL's business.  They say ONLY: a table
 * that inherits from this one is somebody else's.
 *
 * Row locks are waited for.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "identity.h"
#include "relation.h"
#include "store.h"
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
	.text = "UPDATE ONLY %s SET expires_at = $2, purge_hour = $3 WHERE id = $1",
	.nparams = 3,
	.params = {BYTEAOID, TIMESTAMPTZOID, INT4OID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_id = {
	.text = "UPDATE ONLY %s SET id = $2 WHERE id = $1 AND expires_at > $3 AND created_at > $4"
	" RETURNING " COLUMNS,
	.nparams = 4,
	.params = {BYTEAOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	.ncolumns = 6,
	.columns = {COLUMN_TYPES},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement update_data = {
	.text = "UPDATE ONLY %s SET data = (data || $2) - $3"
	" WHERE id = $1 AND expires_at > $4 AND created_at > $5 RETURNING data",
	.nparams = 5,
	.params = {BYTEAOID, JSONBOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	.ncolumns = 1,
	.columns = {JSONBOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete_session = {
	.text = "DELETE FROM ONLY %s WHERE id = $1",
	.nparams = 1,
	.params = {BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete_for_user = {
	.text = "DELETE FROM ONLY %s WHERE user_id = $1 AND id IS DISTINCT FROM $2",
	.nparams = 2,
	.params = {TEXTOID, BYTEAOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement rename_user = {
	.text = "UPDATE ONLY %s SET user_id = $2 WHERE user_id = $1",
	.nparams = 2,
	.params = {TEXTOID, TEXTOID},
	.cursor_options = CURSOR_OPT_GENERIC_PLAN
};

static NarvikStatement delete_all = {
	.text = "DELETE FROM ONLY %s"
};

static NarvikStatement delete_oldest_of_user = {
	.text = "DELETE FROM ONLY %1$s WHERE seq IN"
	" (SELECT seq FROM ONLY %1$s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3"
	" ORDER BY created_at DESC, seq DESC OFFSET $4) RETURNING id",
	.nparams = 4,
	.params = {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID},
	.ncolumns = 1,
	.columns = {BYTEAOID}
};

/* How much is expired differs from call to call, so a plan for each. */
static NarvikStatement delete_expired = {
	.text = "DELETE FROM ONLY %s WHERE purge_hour <= $1 AND expires_at <= $2",
	.nparams = 2,
	.params = {INT4OID, TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

static NarvikStatement delete_over_age = {
	.text = "DELETE FROM ONLY %s WHERE created_at <= $1",
	.nparams = 1,
	.params = {TIMESTAMPTZOID},
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

static NarvikStatement list_for_user = {
	.text = "SELECT " COLUMNS ", id FROM ONLY %s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3"
	" ORDER BY created_at DESC, seq DESC",
	.nparams = 3,
	.params = {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	.ncolumns = 7,
	.columns = {COLUMN_TYPES, BYTEAOID}
};

static NarvikStatement count_by_user = {
	.text = "SELECT user_id, pg_catalog.count(*) FROM ONLY %s GROUP BY user_id"
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
id_from_result(uint64 row, int column, unsigned char *id)
{
	bytea	   *result = DatumGetByteaPP(narvik_run_column(row, column));

	if (VARSIZE_ANY_EXHDR(result) != NARVIK_ID_BYTES)
		narvik_report_bad_column("id");
	memcpy(id, VARDATA_ANY(result), NARVIK_ID_BYTES);
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
 * Keep a user to narvik.max_sessions_per_user: delete the oldest live
 * sessions so that one more fits in.
 *
 * Creations for one user are serialised by a lock on the pair of table and
 * user, or two at once would both find room.  Object locks have a key space
 * of their own, so an application's advisory locks cannot get in the way.
 * The newest state counts under every isolation level: a transaction that
 * began before others committed would otherwise exceed the limit.
 */
static void
make_room(const NarvikSession *newcomer)
{
	TimestampTz now = newcomer->terms.created_at;
	const text *user_id = newcomer->user_id;
	Relation	rel;
	Datum		values[4];
	NarvikRun	run;

	if (narvik_max_sessions_per_user == 0 ||
		narvik_has_expired(&newcomer->terms, now))
		return;

	rel = narvik_relation_open(RowExclusiveLock);
	LockDatabaseObject(RelationGetRelid(rel),
					   hash_bytes((const unsigned char *) VARDATA_ANY(user_id),
								  VARSIZE_ANY_EXHDR(user_id)),
					   0, ExclusiveLock);
	table_close(rel, NoLock);

	values[0] = PointerGetDatum(user_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	values[3] = Int64GetDatum(narvik_max_sessions_per_user - 1);
	narvik_run_begin(&run, &delete_oldest_of_user, values, NULL, NARVIK_NEWEST_STATE);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		unsigned char id[NARVIK_ID_BYTES];

		id_from_result(row, 1, id);
		narvik_identity_session_ended(id);
	}
	narvik_run_end(&run);
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
	return narvik_run_count(&insert_session_if_new, values, nulls, 0) > 0;
}

/* ---- one session by its id ---------------------------------------------- */

/* Set what the caller asks for, earlier or later.  False if there is none. */
bool
narvik_store_update_expiry(const unsigned char *id, TimestampTz expires_at,
						   TimestampTz now)
{
	Datum		values[3];

	values[0] = id_datum(id);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(expires_at));
	if (narvik_run_count(&update_expiry, values, NULL, 0) == 0)
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
	Datum		values[4];
	NarvikRun	run;
	bool		found;

	values[0] = id_datum(old_id);
	values[1] = id_datum(new_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	narvik_run_begin(&run, &update_id, values, NULL, 0);
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
	Datum		values[5];
	NarvikRun	run;
	Jsonb	   *data = NULL;

	values[0] = id_datum(id);
	values[1] = JsonbPGetDatum(patch);
	values[2] = null_keys(patch);
	values[3] = TimestampTzGetDatum(now);
	values[4] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	narvik_run_begin(&run, &update_data, values, NULL, 0);
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
	Datum		value = id_datum(id);
	bool		deleted = narvik_run_count(&delete_session, &value, NULL, 0) > 0;

	narvik_identity_session_ended(id);
	return deleted;
}

/* ---- many sessions ------------------------------------------------------ */

/*
 * What the triggers on the users table do happens to the newest state, so that
 * a session that others committed since this transaction began is changed as
 * well.
 */
int64
narvik_store_delete_user(const text *user_id)
{
	Datum		values[2] = {PointerGetDatum(user_id), (Datum) 0};
	int64		deleted = narvik_run_count(&delete_for_user, values, " n",
										   NARVIK_NEWEST_STATE);

	narvik_identity_user_ended(user_id, NULL);
	return deleted;
}

void
narvik_store_rename_user(const text *old_id, const text *new_id)
{
	Datum		values[2] = {PointerGetDatum(old_id), PointerGetDatum(new_id)};

	(void) narvik_run_count(&rename_user, values, NULL, NARVIK_NEWEST_STATE);
	narvik_identity_user_renamed(old_id, new_id);
}

int64
narvik_store_delete_all(void)
{
	int64		deleted = narvik_run_count(&delete_all, NULL, NULL,
										   NARVIK_NEWEST_STATE | NARVIK_WITHOUT_INDEX);

	narvik_identity_clear();
	return deleted;
}

/* All sessions of a user, but for one if except_id is not NULL. */
int64
narvik_store_delete_for_user(const text *user_id, const unsigned char *except_id)
{
	Datum		values[2] = {PointerGetDatum(user_id), (Datum) 0};
	int64		deleted;

	if (except_id != NULL)
		values[1] = id_datum(except_id);
	deleted = narvik_run_count(&delete_for_user, values, except_id != NULL ? NULL : " n", 0);
	narvik_identity_user_ended(user_id, except_id);
	return deleted;
}

/* Whose session this transaction's identity is may be among the expired. */
static void
end_expired_identity(TimestampTz now)
{
	unsigned char id[NARVIK_ID_BYTES];
	NarvikSession session;

	if (narvik_identity_session(id) &&
		(!narvik_store_find(id, NARVIK_NEWEST, false, &session) ||
		 narvik_has_expired(&session.terms, now)))
		narvik_identity_session_ended(id);
}

int64
narvik_store_delete_expired(TimestampTz now)
{
	TimestampTz oldest_allowed = narvik_oldest_allowed(now);
	Datum		values[2];
	int64		deleted;

	values[0] = Int32GetDatum(narvik_purge_hour(now));
	values[1] = TimestampTzGetDatum(now);
	deleted = narvik_run_count(&delete_expired, values, NULL, 0);

	if (!TIMESTAMP_IS_NOBEGIN(oldest_allowed))
	{
		values[0] = TimestampTzGetDatum(oldest_allowed);
		deleted += narvik_run_count(&delete_over_age, values, NULL,
									NARVIK_WITHOUT_INDEX);
	}
	end_expired_identity(now);
	return deleted;
}

/* ---- lists -------------------------------------------------------------- */

/* The live sessions of a user, newest first: NarvikSession pointers. */
List *
narvik_store_list_for_user(const text *user_id, TimestampTz now)
{
	Datum		values[3];
	NarvikRun	run;
	List	   *sessions = NIL;

	values[0] = PointerGetDatum(user_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	narvik_run_begin(&run, &list_for_user, values, NULL, NARVIK_READ_ONLY);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi_context = MemoryContextSwitchTo(run.caller_context);
		NarvikSession *session = palloc(sizeof(NarvikSession));

		sessions = lappend(sessions, session);
		MemoryContextSwitchTo(spi_context);
		session_from_result(&run, row, session);
		id_from_result(row, 7, session->id);
	}
	narvik_run_end(&run);
	return sessions;
}

/*
 * How many sessions each user has, as rows (user_id text, n bigint), in the
 * newest state.
 */
Tuplestorestate *
narvik_store_count_by_user(TupleDesc *desc)
{
	Tuplestorestate *counts = tuplestore_begin_heap(true, false, work_mem);

	*desc = narvik_run_into(&count_by_user, counts);
	return counts;
}
