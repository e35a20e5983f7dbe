/*
 * statements.c
 *		The sessions in the table: the SQL that writes and lists them.
 *
 * The second part of store.c's room (its interface is store.h too).  Writes
 * are SQL statements with kept plans, so constraints, triggers, indexes and
 * concurrent updates are PostgreSQL's business.
 *
 * Row locks are waited for, except for a row that store.c holds already.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "relation.h"
#include "run.h"
#include "store.h"

#define COLUMNS "user_id, created_at, expires_at, lifetime, sliding, data"

#define INSERT_SESSION \
	"INSERT INTO %s (id, " COLUMNS ", purge_hour)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"

static NarvikStatement insert_session = {
	INSERT_SESSION, 8,
	{BYTEAOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, BOOLOID,
	JSONBOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement insert_session_if_new = {
	INSERT_SESSION " ON CONFLICT ON CONSTRAINT narvik_sessions_id_excl DO NOTHING", 8,
	{BYTEAOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, BOOLOID,
	JSONBOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement update_held = {
	"UPDATE %s SET expires_at = $2, purge_hour = $3 WHERE ctid = $1", 3,
	{TIDOID, TIMESTAMPTZOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement delete_held = {
	"DELETE FROM %s WHERE ctid = $1", 1,
	{TIDOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement update_expiry = {
	"UPDATE %s SET expires_at = $2, purge_hour = $3 WHERE id = $1", 3,
	{BYTEAOID, TIMESTAMPTZOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement update_id = {
	"UPDATE %s SET id = $2 WHERE id = $1 AND expires_at > $3 AND created_at > $4"
	" RETURNING " COLUMNS, 4,
	{BYTEAOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement update_data = {
	"UPDATE %s SET data = (data || $2) - $3"
	" WHERE id = $1 AND expires_at > $4 AND created_at > $5 RETURNING data", 5,
	{BYTEAOID, JSONBOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement delete_session = {
	"DELETE FROM %s WHERE id = $1", 1,
	{BYTEAOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement delete_for_user = {
	"DELETE FROM %s WHERE user_id = $1 AND id IS DISTINCT FROM $2", 2,
	{TEXTOID, BYTEAOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement rename_user = {
	"UPDATE %s SET user_id = $2 WHERE user_id = $1", 2,
	{TEXTOID, TEXTOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static NarvikStatement delete_all = {
	"DELETE FROM %s", 0, {0}, 0, NULL, NULL
};

static NarvikStatement delete_oldest_of_user = {
	"DELETE FROM %1$s WHERE seq IN"
	" (SELECT seq FROM %1$s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3"
	" ORDER BY created_at DESC, seq DESC OFFSET $4)", 4,
	{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}, 0, NULL, NULL
};

/* How much is expired differs from call to call, so a plan for each. */
static NarvikStatement delete_expired = {
	"DELETE FROM %s WHERE purge_hour <= $1 AND expires_at <= $2", 2,
	{INT4OID, TIMESTAMPTZOID}, CURSOR_OPT_CUSTOM_PLAN, NULL, NULL
};

static NarvikStatement delete_over_age = {
	"DELETE FROM %s WHERE created_at <= $1", 1,
	{TIMESTAMPTZOID}, CURSOR_OPT_CUSTOM_PLAN, NULL, NULL
};

static NarvikStatement list_for_user = {
	"SELECT " COLUMNS ", id FROM %s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3"
	" ORDER BY created_at DESC, seq DESC", 3,
	{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, 0, NULL, NULL
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

/* ---- a row that store.c holds ------------------------------------------- */

/* False if a trigger kept the row from being updated. */
bool
narvik_store_update_held(const NarvikSession *session, TimestampTz expires_at)
{
	Datum		values[3];

	values[0] = PointerGetDatum(&session->tid);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(expires_at));
	return narvik_run_count(&update_held, values, NULL, 0) > 0;
}

void
narvik_store_delete_held(const NarvikSession *session)
{
	Datum		value = PointerGetDatum(&session->tid);

	(void) narvik_run_count(&delete_held, &value, NULL, 0);
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
	Oid			id_index;
	Relation	rel;
	Datum		values[4];
	NarvikRun	run;

	if (narvik_max_sessions_per_user == 0 ||
		narvik_has_expired(&newcomer->terms, now))
		return;

	rel = narvik_relation_open(RowExclusiveLock, &id_index);
	LockDatabaseObject(RelationGetRelid(rel),
					   hash_bytes((const unsigned char *) VARDATA_ANY(user_id),
								  VARSIZE_ANY_EXHDR(user_id)),
					   0, ExclusiveLock);
	table_close(rel, NoLock);

	values[0] = PointerGetDatum(user_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	values[3] = Int64GetDatum(narvik_max_sessions_per_user - 1);
	narvik_run_begin(&run, &delete_oldest_of_user, values, NULL,
					 GetLatestSnapshot(), 0);
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

bool
narvik_store_update_expiry(const unsigned char *id, TimestampTz expires_at)
{
	Datum		values[3];

	values[0] = id_datum(id);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(narvik_purge_hour(expires_at));
	return narvik_run_count(&update_expiry, values, NULL, 0) > 0;
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
	narvik_run_begin(&run, &update_id, values, NULL, InvalidSnapshot, 0);
	found = SPI_processed > 0;
	if (found)
	{
		session_from_result(&run, 0, session);
		memcpy(session->id, new_id, NARVIK_ID_BYTES);
	}
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
	narvik_run_begin(&run, &update_data, values, NULL, InvalidSnapshot, 0);
	if (SPI_processed > 0)
		data = DatumGetJsonbP(narvik_run_column_copy(&run, 0, 1));
	narvik_run_end(&run);
	return data;
}

bool
narvik_store_delete(const unsigned char *id)
{
	Datum		value = id_datum(id);

	return narvik_run_count(&delete_session, &value, NULL, 0) > 0;
}

/* ---- many sessions ------------------------------------------------------ */

/*
 * For the triggers on the users table: in the newest state, so that a session
 * that others committed since this transaction began is changed as well.
 */
static int64
run_in_newest_state(NarvikStatement *statement, Datum *values, const char *nulls,
					int how)
{
	NarvikRun	run;
	int64		processed;

	narvik_run_begin(&run, statement, values, nulls, GetLatestSnapshot(), how);
	processed = (int64) SPI_processed;
	narvik_run_end(&run);
	return processed;
}

int64
narvik_store_delete_user(const text *user_id)
{
	Datum		values[2] = {PointerGetDatum(user_id), (Datum) 0};

	return run_in_newest_state(&delete_for_user, values, " n", 0);
}

void
narvik_store_rename_user(const text *old_id, const text *new_id)
{
	Datum		values[2] = {PointerGetDatum(old_id), PointerGetDatum(new_id)};

	(void) run_in_newest_state(&rename_user, values, NULL, 0);
}

int64
narvik_store_delete_all(void)
{
	return run_in_newest_state(&delete_all, NULL, NULL, NARVIK_WITHOUT_INDEX);
}

/*
 * How many sessions have a user id that is not among the keys, a query for one
 * column of text.  Runs as the caller, who must be allowed to read both; in the
 * newest state, and byte by byte whatever the keys' collation.
 */
int64
narvik_store_count_orphans(const char *keys)
{
	Oid			id_index;
	Relation	rel = narvik_relation_open(AccessShareLock, &id_index);
	SPIPlanPtr	plan;
	bool		isnull;
	int64		orphans;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(psprintf("SELECT pg_catalog.count(*) FROM %s AS s"
								" WHERE NOT EXISTS (SELECT FROM (%s) AS k (key)"
								" WHERE k.key COLLATE pg_catalog.\"C\""
								" OPERATOR(pg_catalog.=) s.user_id)",
								quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
														   RelationGetRelationName(rel)),
								keys), 0, NULL);
	if (plan == NULL ||
		SPI_execute_snapshot(plan, NULL, NULL, GetLatestSnapshot(),
							 InvalidSnapshot, false, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count sessions of unknown users");
	orphans = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(rel, NoLock);
	return orphans;
}

/* All sessions of a user, but for one if except_id is not NULL. */
int64
narvik_store_delete_for_user(const text *user_id, const unsigned char *except_id)
{
	Datum		values[2] = {PointerGetDatum(user_id), (Datum) 0};

	if (except_id != NULL)
		values[1] = id_datum(except_id);
	return narvik_run_count(&delete_for_user, values, except_id != NULL ? NULL : " n", 0);
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
	narvik_run_begin(&run, &list_for_user, values, NULL, InvalidSnapshot, NARVIK_READ_ONLY);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi_context = MemoryContextSwitchTo(run.caller_context);
		NarvikSession *session = palloc(sizeof(NarvikSession));
		bytea	   *id;

		sessions = lappend(sessions, session);
		MemoryContextSwitchTo(spi_context);
		session_from_result(&run, row, session);
		id = DatumGetByteaPP(narvik_run_column(row, 7));
		if (VARSIZE_ANY_EXHDR(id) != NARVIK_ID_BYTES)
			narvik_report_bad_column("id");
		memcpy(session->id, VARDATA_ANY(id), NARVIK_ID_BYTES);
	}
	narvik_run_end(&run);
	return sessions;
}
