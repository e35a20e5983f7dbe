/*
 * events.c
 *		What happened to sessions: the table narvik_events, and NOTIFY.
 *
 * An event is a row that the transaction writes which does what it tells: both
 * are there or neither is.  A statement that deletes sessions writes their
 * events itself, so that there is one for each row that went and for no other.
 * Everything runs as the owner of the tables (store_run.c), which is one and the
 * same: code of a second one would run with the rights of the first.
 *
 * Notifications are PostgreSQL's own: they are sent at commit.  What just ran
 * out of time is not announced.  Nothing here ever sees a token.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "commands/async.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "clock.h"
#include "encoding.h"
#include "events.h"
#include "policy.h"
#include "relation.h"
#include "token.h"

#define CHANNEL	"narvik"

/* How many events a batch reads, and how many a walk comes by in vain. */
#define EVENTS_IN_A_LOOK	1000
#define MOST_THAT_STAY		10000

static bool events = false;
static bool notify = false;
static char *event_claims = NULL;
static int	events_retention = 90 * SECS_PER_DAY;	/* seconds; 0: for ever */

/* ---- settings ----------------------------------------------------------- */

/* The names in a setting; false if it is no list of names. */
static bool
split_claims(const char *setting, List **names)
{
	return SplitGUCList(pstrdup(setting), ',', names);
}

static bool
check_event_claims(char **newval, void **extra, GucSource source)
{
	List	   *names;

	if (split_claims(*newval, &names))
		return true;
	GUC_check_errdetail("List syntax is invalid.");
	return false;
}

void
narvik_events_init(void)
{
	DefineCustomBoolVariable("narvik.events",
							 "Sets whether what happens to sessions is written to \"narvik_events\".",
							 NULL,
							 &events,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("narvik.event_claims",
							   "Lists the keys of a session's data that its events show.",
							   NULL,
							   &event_claims,
							   "",
							   PGC_SUSET, GUC_LIST_INPUT,
							   check_event_claims, NULL, NULL);
	DefineCustomIntVariable("narvik.events_retention",
							"Sets how long events are kept.",
							"Zero keeps them for ever.",
							&events_retention,
							90 * SECS_PER_DAY, 0, PG_INT32_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("narvik.notify",
							 "Sets whether the end of a session is announced by NOTIFY.",
							 "Commits of all transactions that do so wait for each other.",
							 &notify,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

bool
narvik_events_are_on(void)
{
	return events;
}

/* narvik.event_claims as text[]. */
static Datum
claims_array(void)
{
	ArrayBuildState *array = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	List	   *names;
	ListCell   *cell;

	if (!split_claims(event_claims, &names))
		names = NIL;
	foreach(cell, names)
		array = accumArrayResult(array, CStringGetTextDatum(lfirst(cell)), false,
								 TEXTOID, CurrentMemoryContext);
	return makeArrayResult(array, CurrentMemoryContext);
}

/* ---- statements on the table of events ---------------------------------- */

/*
 * The table's name, for the text of a statement in which %s still stands for
 * the table of sessions.  Both must be one owner's.
 */
static char *
events_table(void)
{
	Relation	rel = narvik_events_open(RowExclusiveLock);
	Relation	sessions = narvik_relation_open(AccessShareLock);
	const char *name = narvik_qualified_name(rel);
	StringInfoData escaped;

	if (rel->rd_rel->relowner != sessions->rd_rel->relowner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tables \"%s\" and \"%s\" must have the same owner",
						RelationGetRelationName(sessions), RelationGetRelationName(rel))));
	table_close(sessions, NoLock);
	table_close(rel, NoLock);
	initStringInfo(&escaped);
	for (; *name; name++)
	{
		if (*name == '%')
			appendStringInfoChar(&escaped, '%');
		appendStringInfoChar(&escaped, *name);
	}
	return escaped.data;
}

/* A statement that may name the table of events. */
static char *
sql_of_events(const char *sql)
{
	Relation	rel = narvik_events_open(RowExclusiveLock);
	char	   *marked = narvik_sql_of(rel, sql);

	table_close(rel, NoLock);
	return marked;
}

/* Whether events can be written, if they are to be, without waiting for the table. */
bool
narvik_events_lock_to_write_if_free(void)
{
	return !events || narvik_events_lock_if_free(RowExclusiveLock);
}

/* What would fail with any event fails here. */
void
narvik_events_open_to_write(void)
{
	if (events)
		(void) events_table();
}

/* The keys that event_claims, a parameter, names of a value. */
static char *
claims_of(const char *data, int claims)
{
	return psprintf("CASE WHEN $%d = '{}' THEN '{}' ELSE COALESCE("
					"(SELECT pg_catalog.jsonb_object_agg(e.key, e.value)"
					" FROM pg_catalog.jsonb_each(%s) AS e WHERE e.key = ANY ($%d)),"
					" '{}') END", claims, data, claims);
}

/* Give a statement this text, and a new plan if it had another one. */
static void
set_text(NarvikStatement *statement, const char *text)
{
	const char *known_text = statement->text;

	if (known_text != NULL && strcmp(known_text, text) == 0)
		return;
	statement->text = MemoryContextStrdup(TopMemoryContext, text);
	statement->plan = NULL;
}

static void
insert_event(const char *kind, const char *reason, const unsigned char *session_id,
			 const text *user_id, Jsonb *data)
{
	static NarvikStatement insert = {
		.nparams = 7,
		.params = {TIMESTAMPTZOID, TEXTOID, TEXTOID, BYTEAOID, TEXTOID, JSONBOID, TEXTARRAYOID},
		.cursor_options = CURSOR_OPT_GENERIC_PLAN
	};
	Datum		values[7];
	char		nulls[] = "       ";

	if (!events)
		return;
	set_text(&insert,
			 sql_of_events(psprintf("INSERT INTO %s (at, kind, reason, session_id, user_id, detail)"
									" VALUES ($1, $2, $3, $4, $5, %s)",
									events_table(), claims_of("$6", 7))));
	values[0] = TimestampTzGetDatum(narvik_now());
	values[1] = CStringGetTextDatum(kind);
	values[2] = (Datum) 0;
	if (reason != NULL)
		values[2] = CStringGetTextDatum(reason);
	else
		nulls[2] = 'n';
	values[3] = narvik_id_datum(session_id);
	values[4] = PointerGetDatum(user_id);
	if (user_id == NULL)
		nulls[4] = 'n';
	values[5] = JsonbPGetDatum(data);
	values[6] = claims_array();
	(void) narvik_run_count(&insert, values, nulls, 0);
}

/* Something happened to a session, other than its end. */
void
narvik_note_event(const char *kind, const unsigned char *session_id,
				  const text *user_id, Jsonb *data)
{
	insert_event(kind, NULL, session_id, user_id, data);
}

/* ---- the end of sessions ------------------------------------------------ */

/*
 * What a statement that deletes sessions becomes: it answers (id, user_id) of
 * those that went.  With events it has four parameters more: when, why,
 * event_claims, and narvik.session_max_age, null without.
 */
static NarvikStatement *
make_ending(NarvikStatement *deletion)
{
	NarvikStatement **made = events ? &deletion->with_events : &deletion->with_answer;
	NarvikStatement *ending = *made;

	if (ending == NULL)
	{
		ending = MemoryContextAllocZero(TopMemoryContext, sizeof(NarvikStatement));
		memcpy(ending->params, deletion->params, sizeof(ending->params));
		ending->nparams = deletion->nparams;
		if (events)
		{
			ending->params[ending->nparams++] = TIMESTAMPTZOID;
			ending->params[ending->nparams++] = TEXTOID;
			ending->params[ending->nparams++] = TEXTARRAYOID;
			ending->params[ending->nparams++] = INTERVALOID;
		}
		ending->ncolumns = 2;
		ending->columns[0] = BYTEAOID;
		ending->columns[1] = TEXTOID;
		ending->cursor_options = deletion->cursor_options;
		*made = ending;
	}
	if (events)
	{
		int			n = deletion->nparams;

		/*
		 * A session whose age ended it has not just expired.  Its expiry was
		 * cut to its age, or is even later if the setting came afterwards.
		 * LEAST() keeps the sum a timestamp, whatever the owner wrote into
		 * the row.
		 */
		set_text(ending,
				 sql_of_events(psprintf("WITH gone AS (%s RETURNING id, user_id, data, ends_at <= expires_at"
										" OR LEAST(created_at, expires_at) + $%d <= expires_at AS at_end),"
										" noted AS (INSERT INTO %s (at, kind, reason, session_id, user_id, detail)"
										" SELECT $%d, 'ended', CASE WHEN at_end AND $%d = '" NARVIK_TIMED_OUT "'"
										" THEN 'max_age' ELSE $%d END, id, user_id, %s FROM gone)"
										" SELECT id, user_id FROM gone",
										deletion->text, n + 4, events_table(), n + 1, n + 2, n + 2,
										claims_of("data", n + 3))));
	}
	else
		set_text(ending, psprintf("%s RETURNING id, user_id", deletion->text));
	return ending;
}

/*
 * A notification is a JSON object of texts, which are at most so long that it
 * fits.
 */
static void
begin_announcement(StringInfo json, const char *reason)
{
	initStringInfo(json);
	appendStringInfoString(json, "{\"kind\": \"ended\", \"reason\": ");
	escape_json(json, reason);
}

static void
add_text(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, ", \"%s\": ", key);
	escape_json(json, value);
}

static void
add_id(StringInfo json, const char *key, const unsigned char *id)
{
	char		hex[NARVIK_ID_CHARS + 1];

	narvik_print_id(id, hex);
	hex[NARVIK_ID_CHARS] = '\0';
	add_text(json, key, hex);
}

static void
end_announcement(StringInfo json)
{
	appendStringInfoChar(json, '}');
	Async_Notify(CHANNEL, json->data);
}

static void
announce_end(const unsigned char *session_id, const char *user_id, const char *reason)
{
	StringInfoData json;

	begin_announcement(&json, reason);
	add_id(&json, "session_id", session_id);
	if (user_id != NULL)
		add_text(&json, "user_id", user_id);
	end_announcement(&json);
}

/* One for each row of the result. */
static void
announce_result(const char *reason)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bytea	   *id = DatumGetByteaPP(narvik_run_column(row, 1));

		if (VARSIZE_ANY_EXHDR(id) == NARVIK_ID_BYTES)
			announce_end((unsigned char *) VARDATA_ANY(id),
						 SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2),
						 reason);
	}
}

static bool
is_worth_announcing(const char *reason)
{
	return notify && strcmp(reason, NARVIK_TIMED_OUT) != 0;
}

/* A user's session ended, and its row is another one's now. */
void
narvik_note_end(const unsigned char *session_id, const text *user_id, Jsonb *data,
				const char *reason)
{
	insert_event("ended", reason, session_id, user_id, data);
	if (is_worth_announcing(reason))
		announce_end(session_id, text_to_cstring(user_id), reason);
}

/*
 * Run a statement that deletes sessions, for this reason, and how many went.
 * The statement must not have a RETURNING of its own.
 */
int64
narvik_run_ending(NarvikStatement *deletion, Datum *values, const char *nulls,
				  int how, const char *reason)
{
	Datum		all_values[NARVIK_MAX_PARAMS];
	char		all_nulls[NARVIK_MAX_PARAMS];
	NarvikRun	run;
	Interval	max_age;
	int64		ended;
	bool		announce = (how & NARVIK_ANNOUNCED) != 0 && is_worth_announcing(reason);

	if (!events && !announce)
		return narvik_run_count(deletion, values, nulls, how);

	memset(all_nulls, ' ', sizeof(all_nulls));
	memset(all_values, 0, sizeof(all_values));
	memcpy(all_values, values, deletion->nparams * sizeof(Datum));
	if (nulls != NULL)
		memcpy(all_nulls, nulls, deletion->nparams);
	if (events)
	{
		all_values[deletion->nparams] = TimestampTzGetDatum(narvik_now());
		all_values[deletion->nparams + 1] = CStringGetTextDatum(reason);
		all_values[deletion->nparams + 2] = claims_array();
		if (narvik_get_max_age(&max_age))
			all_values[deletion->nparams + 3] = IntervalPGetDatum(&max_age);
		else
			all_nulls[deletion->nparams + 3] = 'n';
	}
	narvik_run_begin(&run, make_ending(deletion), all_values, all_nulls, how);
	ended = (int64) SPI_processed;
	if (announce)
		announce_result(reason);
	narvik_run_end(&run);
	return ended;
}

/*
 * All sessions of a user ended, but for one if except_id is not NULL; or those
 * of all users, if user_id is NULL.
 */
void
narvik_announce_end_for_user(const text *user_id, const unsigned char *except_id,
							 const char *reason)
{
	StringInfoData json;

	if (!is_worth_announcing(reason))
		return;
	begin_announcement(&json, reason);
	if (user_id != NULL)
		add_text(&json, "user_id", text_to_cstring(user_id));
	if (except_id != NULL)
		add_id(&json, "except_session_id", except_id);
	end_announcement(&json);
}

/* ---- reading and forgetting --------------------------------------------- */

/*
 * The events of a user, newest first, as rows of narvik_fetch_events_for_user().
 */
void
narvik_list_events_for_user(const text *user_id, int64 before_seq, int32 max_rows,
							Tuplestorestate *rows)
{
	static NarvikStatement list = {
		.text = "SELECT seq, at, kind, reason, pg_catalog.encode(session_id, 'hex'), user_id, detail"
		" FROM ONLY %s WHERE user_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
		.of_events = true,
		.nparams = 3,
		.params = {TEXTOID, INT8OID, INT8OID},
		.ncolumns = 7,
		.columns = {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID},
		.cursor_options = CURSOR_OPT_GENERIC_PLAN
	};
	Datum		values[3] = {
		PointerGetDatum(user_id), Int64GetDatum(before_seq), Int64GetDatum(max_rows)
	};

	(void) narvik_run_into(&list, values, NULL, NARVIK_READ_ONLY, rows);
}

/*
 * Delete the next events that are past narvik.events_retention, at most so many;
 * how many went.  Events are written in the order of seq, so there is no need
 * for an index on their time: the walk goes from the oldest to where the young
 * ones begin.  What others have locked is left.
 *
 * But at the head of the log may be events that stay: locked, kept by a trigger,
 * dated ahead by a clock that was wrong.  So a walk ends when it came by some
 * thousands that stayed, and not when it meets the first.  If all of them were
 * just young, the next walk begins at the oldest again, or else behind them.
 */
int64
narvik_forget_old_events(NarvikEventWalk *walk, TimestampTz now, int32 limit)
{
	static NarvikStatement forget = {
		.text = "WITH seen AS MATERIALIZED (SELECT seq, at FROM ("
		"SELECT seq, at, pg_catalog.count(*) FILTER (WHERE at < $1) OVER (ORDER BY seq) AS nth"
		" FROM (SELECT seq, at FROM ONLY %1$s WHERE seq > $3 ORDER BY seq LIMIT $5) AS next"
		") AS counted WHERE nth <= $4),"
		" gone AS (DELETE FROM ONLY %1$s WHERE ctid = ANY (ARRAY("
		"SELECT ctid FROM ONLY %1$s WHERE seq = ANY (ARRAY(SELECT seq FROM seen WHERE at < $1))"
		" FOR UPDATE SKIP LOCKED)) RETURNING seq)"
		" SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE at < $1),"
		" pg_catalog.count(*) FILTER (WHERE at > $2), COALESCE(pg_catalog.max(seq), 0),"
		" (SELECT pg_catalog.count(*) FROM gone) FROM seen",
		.of_events = true,
		.nparams = 5,
		.params = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID},
		.ncolumns = 5,
		.columns = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID},
		.cursor_options = CURSOR_OPT_GENERIC_PLAN
	};
	Datum		values[5] = {
		TimestampTzGetDatum(now - events_retention * USECS_PER_SEC), TimestampTzGetDatum(now),
		Int64GetDatum(walk->after != 0 ? walk->after : PG_INT64_MIN),
		Int64GetDatum(limit), Int64GetDatum(EVENTS_IN_A_LOOK)
	};
	NarvikRun	run;
	int64		results[5] = {0};	/* seen, old, ahead, the last seq, gone */
	bool		at_end;

	if (events_retention > 0)
	{
		narvik_run_begin(&run, &forget, values, NULL, 0);
		for (int i = 0; i < (int) lengthof(results); i++)
			results[i] = DatumGetInt64(narvik_run_column(0, i + 1));
		narvik_run_end(&run);
	}
	at_end = results[0] < EVENTS_IN_A_LOOK && results[1] < limit;
	walk->after = results[3];
	walk->stayed += results[0] - results[4];
	walk->misplaced = walk->misplaced || results[1] + results[2] > results[4];
	walk->ended = at_end || walk->stayed >= MOST_THAT_STAY;
	if (at_end || (walk->ended && !walk->misplaced))
		walk->after = 0;
	return results[4];
}
