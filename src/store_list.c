/*
 * store_list.c
 *		The sessions in the table: lists.
 *
 * Rows go to a tuple store as they are found, so memory does not grow with
 * their number.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"

#include "store.h"
#include "store_run.h"

/*
 * The columns of narvik_session.  What has no id of ours, which only somebody
 * who dropped constraints can have made, is no session.  $6 is
 * narvik.session_max_age, or NULL; what is added to it is no sum beyond the range
 * of timestamps.
 */
static NarvikStatement list_for_user = {
	.text = "SELECT pg_catalog.encode(id, 'hex'), user_id, created_at,"
	" CASE WHEN created_at < expires_at - $6 THEN created_at + $6 ELSE expires_at END,"
	" authenticated_at, GREATEST(active_at, created_at), data, false, false, false FROM ONLY %s"
	" WHERE user_id = $1 AND expires_at > $2 AND created_at > $3 AND created_at < $4"
	" AND pg_catalog.octet_length(id) = 32"
	" ORDER BY created_at DESC, seq DESC LIMIT $5",
	.nparams = 6,
	.params = {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INTERVALOID},
	.ncolumns = 10,
	.columns = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, JSONBOID, BOOLOID, BOOLOID, BOOLOID}
};

static NarvikStatement count_by_user = {
	.text = "SELECT user_id, pg_catalog.count(*) FROM ONLY %s"
	" WHERE user_id IS NOT NULL GROUP BY user_id",
	.ncolumns = 2,
	.columns = {TEXTOID, INT8OID}
};

/*
 * The live sessions of a user, newest first, as rows of type narvik_session.
 */
void
narvik_store_list_for_user(const text *user_id, TimestampTz now, int32 max_rows,
						   TimestampTz created_before, Tuplestorestate *rows)
{
	Datum		values[6];
	Interval	max_age;
	bool		has_max_age = narvik_get_max_age(&max_age);
	int			how = NARVIK_READ_ONLY;

	/* As narvik_store_find() does; a session would be listed twice. */
	if (narvik_store_snapshot_is_outdated())
		how |= NARVIK_NEWEST_STATE;
	values[0] = PointerGetDatum(user_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = TimestampTzGetDatum(narvik_oldest_allowed(now));
	values[3] = TimestampTzGetDatum(created_before);
	values[4] = Int64GetDatum(max_rows);
	values[5] = IntervalPGetDatum(&max_age);
	(void) narvik_run_into(&list_for_user, values, has_max_age ? NULL : "     n", how, rows);
}

/*
 * How many sessions each user has, as rows (user_id text, n bigint), in the
 * newest state.  Guests are no user.
 */
Tuplestorestate *
narvik_store_count_by_user(TupleDesc *desc)
{
	Tuplestorestate *counts = tuplestore_begin_heap(true, false, work_mem);

	*desc = narvik_run_into(&count_by_user, NULL, NULL,
							NARVIK_READ_ONLY | NARVIK_NEWEST_STATE | NARVIK_WITHOUT_INDEX,
							counts);
	return counts;
}
