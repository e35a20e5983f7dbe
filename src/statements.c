/*
 * statements.c
 *		The sessions in the table: the SQL that writes and lists them.
 *
 * The second half of store.c's room (its interface is store.h too).  Writes
 * are SQL statements with kept plans, so constraints, triggers, indexes and
 * concurrent updates are PostgreSQL's business.
 *
 * Every statement runs as the table's owner, with search_path pinned, so that
 * callers need no privilege on the table and cannot slip in operators of
 * their own.  If it fails, the abort of the (sub)transaction puts role,
 * settings and SPI back, as it does for SECURITY DEFINER functions.
 *
 * Row locks are waited for, except for a row that store.c holds already.
 */
#include "postgres.h"
#include "compat.h"

#include <limits.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "relation.h"
#include "store.h"

#define MAX_PARAMS	8

/* A statement; %s stands for the table.  Its plan is made when first used. */
typedef struct Statement
{
	const char *text;
	int			nparams;
	Oid			types[MAX_PARAMS];
	int			cursor_options;
	SPIPlanPtr	plan;
	char	   *table_name;		/* the table the plan was made for */
} Statement;

#define COLUMNS "user_id, created_at, expires_at, lifetime, sliding, data"

#define INSERT_SESSION \
	"INSERT INTO %s (id, " COLUMNS ", purge_hour)" \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"

static Statement insert_session = {
	INSERT_SESSION, 8,
	{BYTEAOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, BOOLOID,
	JSONBOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement insert_session_if_new = {
	INSERT_SESSION " ON CONFLICT ON CONSTRAINT narvik_sessions_id_excl DO NOTHING", 8,
	{BYTEAOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, BOOLOID,
	JSONBOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement update_held = {
	"UPDATE %s SET expires_at = $2, purge_hour = $3 WHERE ctid = $1", 3,
	{TIDOID, TIMESTAMPTZOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement delete_held = {
	"DELETE FROM %s WHERE ctid = $1", 1,
	{TIDOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement update_expiry = {
	"UPDATE %s SET expires_at = $2, purge_hour = $3 WHERE id = $1", 3,
	{BYTEAOID, TIMESTAMPTZOID, INT4OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement update_id = {
	"UPDATE %s SET id = $2 WHERE id = $1 AND expires_at > $3 AND created_at > $4"
	" RETURNING " COLUMNS, 4,
	{BYTEAOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement update_data = {
	"UPDATE %s SET data = (data || $2) - $3"
	" WHERE id = $1 AND expires_at > $4 AND created_at > $5 RETURNING data", 5,
	{BYTEAOID, JSONBOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement delete_session = {
	"DELETE FROM %s WHERE id = $1", 1,
	{BYTEAOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement delete_for_user = {
	"DELETE FROM %s WHERE user_id = $1 AND id IS DISTINCT FROM $2", 2,
	{TEXTOID, BYTEAOID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement delete_oldest_of_user = {
	"DELETE FROM %1$s WHERE seq IN"
	" (SELECT seq FROM %1$s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3"
	" ORDER BY created_at DESC, seq DESC OFFSET $4)", 4,
	{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}, 0, NULL, NULL
};

/* How much is expired differs from call to call, so a plan for each. */
static Statement delete_expired = {
	"DELETE FROM %s WHERE purge_hour <= $1 AND expires_at <= $2", 2,
	{INT4OID, TIMESTAMPTZOID}, CURSOR_OPT_CUSTOM_PLAN, NULL, NULL
};

static Statement delete_over_age = {
	"DELETE FROM %s WHERE created_at <= $1", 1,
	{TIMESTAMPTZOID}, CURSOR_OPT_CUSTOM_PLAN, NULL, NULL
};

/* Oldest first; what others have locked waits for the next visit. */
static Statement purge_batch = {
	"DELETE FROM %1$s WHERE ctid = ANY (ARRAY("
	"SELECT ctid FROM %1$s WHERE purge_hour < $1 AND expires_at <= $2"
	" ORDER BY purge_hour LIMIT $3 FOR UPDATE SKIP LOCKED))", 3,
	{INT4OID, TIMESTAMPTZOID, INT8OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement count_purgeable = {
	"SELECT count(*) FROM (SELECT FROM %s"
	" WHERE purge_hour < $1 AND expires_at <= $2 LIMIT $3) AS purgeable", 3,
	{INT4OID, TIMESTAMPTZOID, INT8OID}, CURSOR_OPT_GENERIC_PLAN, NULL, NULL
};

static Statement list_for_user = {
	"SELECT " COLUMNS ", id FROM %s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3"
	" ORDER BY created_at DESC, seq DESC", 3,
	{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, 0, NULL, NULL
};

/* ---- running a statement ------------------------------------------------ */

/* How to run a statement, to be combined. */
#define RUN_READ_ONLY	1
/*
 * Not on behalf of a client but in a process with all rights: triggers on the
 * table must not get hold of them.
 */
#define RUN_RESTRICTED	2
#define RUN_WITHOUT_INDEX	4

typedef struct Run
{
	MemoryContext caller_context;
	Oid			caller;
	int			caller_sec_context;
	int			guc_level;
} Run;

/*
 * (Re)make the statement's plan if it has none for the table's present name.
 * A plan for an earlier name is left to itself: a statement further up the
 * stack may be running it, and tables are not renamed often.
 */
static void
prepare(Statement *statement, Relation rel)
{
	char	   *table_name;

	table_name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											RelationGetRelationName(rel));
	if (statement->plan != NULL && strcmp(statement->table_name, table_name) == 0)
		return;

	statement->plan = NULL;
	statement->table_name = MemoryContextStrdup(TopMemoryContext, table_name);
	statement->plan = SPI_prepare_cursor(psprintf(statement->text, table_name),
										 statement->nparams, statement->types,
										 statement->cursor_options);
	if (statement->plan == NULL || SPI_keepplan(statement->plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->text,
			 SPI_result_code_string(SPI_result));
}

static void
set_for_run(const char *setting, const char *value)
{
	(void) set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Run a statement.  Its result is in SPI_processed and SPI_tuptable until
 * end_run().
 *
 * With a snapshot given the statement sees that one instead of the
 * transaction's.
 *
 * Sequential scans are off because a plan made while the table was small is
 * kept until statistics change, and the table may grow fast.  Each condition
 * has its index, but for the age limit's: there the cost of what is off would
 * only invite the JIT compiler.
 */
static void
begin_run(Run *run, Statement *statement, Datum *values, const char *nulls,
		  Snapshot snapshot, int how)
{
	bool		read_only = (how & RUN_READ_ONLY) != 0;
	Oid			id_index;
	Relation	rel = narvik_relation_open(read_only ? AccessShareLock : RowExclusiveLock,
										   &id_index);
	int			result;

	run->caller_context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	GetUserIdAndSecContext(&run->caller, &run->caller_sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   run->caller_sec_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
						   (how & RUN_RESTRICTED ? SECURITY_RESTRICTED_OPERATION : 0));
	run->guc_level = NewGUCNestLevel();
	set_for_run("search_path", "pg_catalog, pg_temp");
	if (!(how & RUN_WITHOUT_INDEX))
		set_for_run("enable_seqscan", "off");

	prepare(statement, rel);
	table_close(rel, NoLock);

	result = SPI_execute_snapshot(statement->plan, values, nulls,
								  snapshot, InvalidSnapshot,
								  read_only, true, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->text,
			 SPI_result_code_string(result));
}

static void
end_run(Run *run)
{
	AtEOXact_GUC(true, run->guc_level);
	SetUserIdAndSecContext(run->caller, run->caller_sec_context);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* A statement of which only the number of rows is of interest. */
static int64
count_run(Statement *statement, Datum *values, const char *nulls, int how)
{
	Run			run;
	int64		processed;

	begin_run(&run, statement, values, nulls, InvalidSnapshot, how);
	processed = (int64) SPI_processed;
	end_run(&run);
	return processed;
}

/* ---- values ------------------------------------------------------------- */

static Datum
id_datum(const unsigned char *id)
{
	bytea	   *result = (bytea *) palloc(VARHDRSZ + NARVIK_ID_BYTES);

	SET_VARSIZE(result, VARHDRSZ + NARVIK_ID_BYTES);
	memcpy(VARDATA(result), id, NARVIK_ID_BYTES);
	return PointerGetDatum(result);
}

/*
 * The hour since 1970 in which a session expires: of two moments in one hour
 * the index on purge_hour sees no difference, so most extensions need no new
 * index entry.  What an integer cannot hold is far enough away either way.
 */
static int32
purge_hour(TimestampTz expires_at)
{
	const int64 epoch_shift = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
		HOURS_PER_DAY;
	int64		hour = expires_at / USECS_PER_HOUR;

	if (expires_at % USECS_PER_HOUR < 0)
		hour--;
	return (int32) Max(Min(hour + epoch_shift, INT_MAX), INT_MIN);
}

static void
insert_values(const NarvikSession *session, Datum *values, char *nulls)
{
	const NarvikTerms *terms = &session->terms;

	memset(nulls, ' ', MAX_PARAMS);
	values[0] = id_datum(session->id);
	values[1] = PointerGetDatum(session->user_id);
	values[2] = TimestampTzGetDatum(terms->created_at);
	values[3] = TimestampTzGetDatum(terms->expires_at);
	values[4] = IntervalPGetDatum(&terms->lifetime);
	if (!terms->has_lifetime)
		nulls[4] = 'n';
	values[5] = BoolGetDatum(terms->sliding);
	values[6] = JsonbPGetDatum(session->data);
	values[7] = Int32GetDatum(purge_hour(terms->expires_at));
}

/* A column of a result row that must not be null. */
static Datum
result_column(uint64 row, int column)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		narvik_report_bad_column(SPI_fname(SPI_tuptable->tupdesc, column));
	return datum;
}

/*
 * The same, of variable length: a copy in the caller's memory context, whole
 * and uncompressed.
 */
static Datum
result_column_copy(const Run *run, uint64 row, int column)
{
	Datum		datum = result_column(row, column);
	MemoryContext old = MemoryContextSwitchTo(run->caller_context);

	datum = PointerGetDatum(PG_DETOAST_DATUM_COPY(datum));
	MemoryContextSwitchTo(old);
	return datum;
}

/* Columns of a result row that begins with COLUMNS. */
static void
session_from_result(const Run *run, uint64 row, NarvikSession *session)
{
	NarvikTerms *terms = &session->terms;
	bool		no_lifetime;
	Datum		lifetime;

	ItemPointerSetInvalid(&session->tid);
	session->user_id = DatumGetTextP(result_column_copy(run, row, 1));
	terms->created_at = DatumGetTimestampTz(result_column(row, 2));
	terms->expires_at = DatumGetTimestampTz(result_column(row, 3));
	lifetime = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
							 4, &no_lifetime);
	terms->has_lifetime = !no_lifetime;
	if (terms->has_lifetime)
		terms->lifetime = *DatumGetIntervalP(lifetime);
	terms->sliding = DatumGetBool(result_column(row, 5));
	session->data = DatumGetJsonbP(result_column_copy(run, row, 6));
}

/* ---- a row that store.c holds ------------------------------------------- */

/* False if a trigger kept the row from being updated. */
bool
narvik_store_update_held(const NarvikSession *session, TimestampTz expires_at)
{
	Datum		values[3];

	values[0] = PointerGetDatum(&session->tid);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(purge_hour(expires_at));
	return count_run(&update_held, values, NULL, 0) > 0;
}

void
narvik_store_delete_held(const NarvikSession *session)
{
	Datum		value = PointerGetDatum(&session->tid);

	(void) count_run(&delete_held, &value, NULL, 0);
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
	Run			run;

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
	begin_run(&run, &delete_oldest_of_user, values, NULL,
			  GetLatestSnapshot(), 0);
	end_run(&run);
}

void
narvik_store_insert(const NarvikSession *session)
{
	Datum		values[MAX_PARAMS];
	char		nulls[MAX_PARAMS];

	make_room(session);
	insert_values(session, values, nulls);
	if (count_run(&insert_session, values, nulls, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a trigger kept the session from being stored")));
}

/* False if there is a session with this id. */
bool
narvik_store_insert_if_new(const NarvikSession *session)
{
	Datum		values[MAX_PARAMS];
	char		nulls[MAX_PARAMS];

	make_room(session);
	insert_values(session, values, nulls);
	return count_run(&insert_session_if_new, values, nulls, 0) > 0;
}

/* ---- one session by its id ---------------------------------------------- */

bool
narvik_store_update_expiry(const unsigned char *id, TimestampTz expires_at)
{
	Datum		values[3];

	values[0] = id_datum(id);
	values[1] = TimestampTzGetDatum(expires_at);
	values[2] = Int32GetDatum(purge_hour(expires_at));
	return count_run(&update_expiry, values, NULL, 0) > 0;
}

/*
 * Give a live session a new id.  False if there is no live session.
 */
bool
narvik_store_update_id(const unsigned char *old_id, const unsigned char *new_id,
					   TimestampTz now, NarvikSession *session)
{
	Datum		values[4];
	Run			run;
	bool		found;

	values[0] = id_datum(old_id);
	values[1] = id_datum(new_id);
	values[2] = TimestampTzGetDatum(now);
	values[3] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	begin_run(&run, &update_id, values, NULL, InvalidSnapshot, 0);
	found = SPI_processed > 0;
	if (found)
	{
		session_from_result(&run, 0, session);
		memcpy(session->id, new_id, NARVIK_ID_BYTES);
	}
	end_run(&run);
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
	Run			run;
	Jsonb	   *data = NULL;

	values[0] = id_datum(id);
	values[1] = JsonbPGetDatum(patch);
	values[2] = null_keys(patch);
	values[3] = TimestampTzGetDatum(now);
	values[4] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	begin_run(&run, &update_data, values, NULL, InvalidSnapshot, 0);
	if (SPI_processed > 0)
		data = DatumGetJsonbP(result_column_copy(&run, 0, 1));
	end_run(&run);
	return data;
}

bool
narvik_store_delete(const unsigned char *id)
{
	Datum		value = id_datum(id);

	return count_run(&delete_session, &value, NULL, 0) > 0;
}

/* ---- many sessions ------------------------------------------------------ */

/* All sessions of a user, but for one if except_id is not NULL. */
int64
narvik_store_delete_for_user(const text *user_id, const unsigned char *except_id)
{
	Datum		values[2] = {PointerGetDatum(user_id), (Datum) 0};

	if (except_id != NULL)
		values[1] = id_datum(except_id);
	return count_run(&delete_for_user, values, except_id != NULL ? NULL : " n", 0);
}

int64
narvik_store_delete_expired(TimestampTz now)
{
	TimestampTz oldest_allowed = narvik_oldest_allowed(now);
	Datum		values[2];
	int64		deleted;

	values[0] = Int32GetDatum(purge_hour(now));
	values[1] = TimestampTzGetDatum(now);
	deleted = count_run(&delete_expired, values, NULL, 0);

	if (!TIMESTAMP_IS_NOBEGIN(oldest_allowed))
	{
		values[0] = TimestampTzGetDatum(oldest_allowed);
		deleted += count_run(&delete_over_age, values, NULL,
							 RUN_WITHOUT_INDEX);
	}
	return deleted;
}

/* ---- purge -------------------------------------------------------------- */

/*
 * Whether this transaction may purge: at most one does at a time.
 */
bool
narvik_store_become_purger(void)
{
	Oid			id_index;
	Relation	rel = narvik_relation_open(AccessShareLock, &id_index);
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationGetRelid(rel), 0, 1);
	table_close(rel, NoLock);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
purge_values(TimestampTz now, int64 limit, Datum *values)
{
	values[0] = Int32GetDatum(purge_hour(now));
	values[1] = TimestampTzGetDatum(now);
	values[2] = Int64GetDatum(limit);
}

/* Delete sessions that expired in an hour wholly past; how many there were. */
int64
narvik_store_purge_batch(TimestampTz now, int64 limit)
{
	Datum		values[3];

	purge_values(now, limit, values);
	return count_run(&purge_batch, values, NULL, RUN_RESTRICTED);
}

/* How many of those are left, counted up to a limit. */
int64
narvik_store_count_purgeable(TimestampTz now, int64 limit)
{
	Datum		values[3];
	Run			run;
	bool		isnull;
	int64		count;

	purge_values(now, limit, values);
	begin_run(&run, &count_purgeable, values, NULL, InvalidSnapshot,
			  RUN_READ_ONLY | RUN_RESTRICTED);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	end_run(&run);
	return count;
}

/* ---- lists -------------------------------------------------------------- */

/* The live sessions of a user, newest first: NarvikSession pointers. */
List *
narvik_store_list_for_user(const text *user_id, TimestampTz now)
{
	Datum		values[3];
	Run			run;
	List	   *sessions = NIL;

	values[0] = PointerGetDatum(user_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	begin_run(&run, &list_for_user, values, NULL, InvalidSnapshot, RUN_READ_ONLY);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi_context = MemoryContextSwitchTo(run.caller_context);
		NarvikSession *session = palloc(sizeof(NarvikSession));
		bytea	   *id;

		sessions = lappend(sessions, session);
		MemoryContextSwitchTo(spi_context);
		session_from_result(&run, row, session);
		id = DatumGetByteaPP(result_column(row, 7));
		if (VARSIZE_ANY_EXHDR(id) != NARVIK_ID_BYTES)
			narvik_report_bad_column("id");
		memcpy(session->id, VARDATA_ANY(id), NARVIK_ID_BYTES);
	}
	end_run(&run);
	return sessions;
}
