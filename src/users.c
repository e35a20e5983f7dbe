/*
 * users.c
 *		The link to the application's users, made and undone: user_id becomes
 *		a reference to their table.
 *
 * A foreign key that somebody adds to an extension's table is not dumped, and
 * it would need user_id to have the users' type.  So triggers do what it would
 * do; link.c tells how they are found again.
 *
 * They see the newest state, whatever the isolation level of the transaction
 * that changes a user, as the triggers of foreign keys do: a session that was
 * created meanwhile must go too.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_proc_d.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "link.h"
#include "relation.h"
#include "session.h"
#include "store.h"

#define CHANGED_TRIGGER		"narvik_users_changed"
#define TRUNCATED_TRIGGER	"narvik_users_truncated"

PG_FUNCTION_INFO_V1(narvik_link_users);
PG_FUNCTION_INFO_V1(narvik_unlink_users);
PG_FUNCTION_INFO_V1(narvik_users_changed);
PG_FUNCTION_INFO_V1(narvik_validate_user);

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* ---- making the link ---------------------------------------------------- */

/* Whether the column alone is unique, and at every moment. */
static bool
is_unique(Relation rel, AttrNumber column)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		found |= form->indisunique && form->indimmediate && form->indisvalid &&
			form->indnkeyatts == 1 && form->indkey.values[0] == column &&
			RelationGetIndexPredicate(index) == NIL;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

static AttrNumber
check_key_column(Relation users, const char *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(users), column);

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						column, RelationGetRelationName(users))));
	if (!is_unique(users, attnum))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FOREIGN_KEY),
				 errmsg("column \"%s\" of table \"%s\" is not unique",
						column, RelationGetRelationName(users)),
				 errhint("Make it the primary key, or give it a unique constraint.")));
	return attnum;
}

/* Sessions of nobody. */
static int64
count_orphans(Relation users, const char *column, Relation sessions)
{
	SPIPlanPtr	plan;
	bool		isnull;
	int64		orphans;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(psprintf("SELECT pg_catalog.count(*) FROM %s AS s"
								" WHERE NOT EXISTS (SELECT FROM %s AS u"
								" WHERE u.%s::pg_catalog.text OPERATOR(pg_catalog.=) s.user_id)",
								qualified_name(sessions), qualified_name(users),
								quote_identifier(column)), 0, NULL);
	if (plan == NULL ||
		SPI_execute_snapshot(plan, NULL, NULL, GetLatestSnapshot(),
							 InvalidSnapshot, false, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count sessions of unknown users");
	orphans = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return orphans;
}

static void
create_triggers(Relation users, const char *column)
{
	Oid			function = narvik_find_member(ProcedureRelationId, NARVIK_LINK_FUNCTION);
	char	   *function_name;

	function_name = quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
											   NARVIK_LINK_FUNCTION);
	narvik_run_ddl(psprintf("CREATE TRIGGER " CHANGED_TRIGGER
					 " AFTER DELETE OR UPDATE OF %s ON %s"
					 " FOR EACH ROW EXECUTE FUNCTION %s()",
					 quote_identifier(column), qualified_name(users), function_name));
	narvik_run_ddl(psprintf("CREATE TRIGGER " TRUNCATED_TRIGGER " AFTER TRUNCATE ON %s"
					 " FOR EACH STATEMENT EXECUTE FUNCTION %s()",
					 qualified_name(users), function_name));
}

/*
 * narvik_link_users(users regclass, id_column name) returns void
 *
 * Locks both tables against writing until the transaction ends.  Needs the
 * right to read both and to create triggers on the users table.
 *
 * Raises null_value_not_allowed for a NULL; wrong_object_type for what is no
 * table; undefined_column; invalid_foreign_key if the column is not unique;
 * object_in_use if there is a link; foreign_key_violation, with their number,
 * if there are sessions of unknown users.
 */
Datum
narvik_link_users(PG_FUNCTION_ARGS)
{
	Relation	users;
	Relation	sessions;
	Oid			id_index;
	char	   *column;
	int64		orphans;

	narvik_require_arg(fcinfo, 0, "users table");
	narvik_require_arg(fcinfo, 1, "id column");
	column = NameStr(*PG_GETARG_NAME(1));

	users = table_open(PG_GETARG_OID(0), ShareRowExclusiveLock);
	if (users->rd_rel->relkind != RELKIND_RELATION &&
		users->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(users))));
	sessions = narvik_relation_open(ShareRowExclusiveLock, &id_index);
	if (OidIsValid(narvik_find_link().users))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sessions are linked to table \"%s\" already",
						get_rel_name(narvik_find_link().users)),
				 errhint("Call narvik_unlink_users() first.")));
	(void) check_key_column(users, column);

	orphans = count_orphans(users, column, sessions);
	if (orphans > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg_plural("%lld session belongs to no user in table \"%s\"",
							   "%lld sessions belong to no user in table \"%s\"",
							   (unsigned long) orphans,
							   (long long) orphans, RelationGetRelationName(users)),
				 errhint("Delete them with narvik_delete_sessions_for_user().")));
	create_triggers(users, column);

	CacheInvalidateRelcache(sessions);
	table_close(sessions, NoLock);
	table_close(users, NoLock);
	PG_RETURN_VOID();
}

/*
 * narvik_unlink_users() returns void
 *
 * Undoes narvik_link_users().  Raises object_not_in_prerequisite_state if
 * there is no link.
 */
Datum
narvik_unlink_users(PG_FUNCTION_ARGS)
{
	Oid			id_index;
	Relation	sessions = narvik_relation_open(ShareRowExclusiveLock, &id_index);
	NarvikLink	link = narvik_find_link();
	Relation	users;

	(void) fcinfo;
	if (!OidIsValid(link.users))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sessions are not linked to a table of users")));

	users = table_open(link.users, AccessShareLock);
	narvik_run_ddl(psprintf("DROP TRIGGER " CHANGED_TRIGGER " ON %s", qualified_name(users)));
	narvik_run_ddl(psprintf("DROP TRIGGER IF EXISTS " TRUNCATED_TRIGGER " ON %s", qualified_name(users)));

	CacheInvalidateRelcache(sessions);
	table_close(users, NoLock);
	table_close(sessions, NoLock);
	PG_RETURN_VOID();
}

/* ---- the link at work --------------------------------------------------- */

static text *
key_of_row(const NarvikLink *link, Relation rel, HeapTuple tuple)
{
	bool		isnull;
	/* A partition may have its columns in another order. */
	AttrNumber	column = get_attnum(RelationGetRelid(rel),
									get_attname(link->users, link->key, false));
	Datum		key = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);

	return isnull ? NULL : narvik_print_key(link, key);
}

/*
 * narvik_users_changed() returns trigger
 *
 * Deletes the sessions of a user who is deleted, lets those of a user whose
 * key changes follow, and deletes all when the table is truncated.
 */
Datum
narvik_users_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	NarvikLink	link;
	text	   *old_id;
	text	   *new_id;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by an AFTER trigger",
						NARVIK_LINK_FUNCTION)));

	link = narvik_find_link();
	if (!OidIsValid(link.users))
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		narvik_store_delete_all();
		return PointerGetDatum(NULL);
	}

	old_id = key_of_row(&link, trigger->tg_relation, trigger->tg_trigtuple);
	new_id = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
		key_of_row(&link, trigger->tg_relation, trigger->tg_newtuple) : NULL;
	if (old_id == NULL)
		return PointerGetDatum(NULL);
	if (new_id == NULL)
		narvik_store_delete_user(old_id);
	else if (!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
												   PointerGetDatum(old_id),
												   PointerGetDatum(new_id))))
		narvik_store_rename_user(old_id, new_id);
	return PointerGetDatum(NULL);
}

/* ---- a session's user --------------------------------------------------- */

/*
 * The row of a user as the caller may see it: privileges and row-level
 * security are the caller's.  False if there is none.
 */
static bool
fetch_user(const NarvikLink *link, const text *user_id, Datum *row)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	users = table_open(link->users, AccessShareLock);
	Oid			key_type = link->key_type;
	Datum		key;
	bool		isnull;
	bool		found;

	if (!narvik_parse_key(link, user_id, &key))
		return false;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(psprintf("SELECT narvik_linked_user FROM %s AS narvik_linked_user WHERE %s",
									   qualified_name(users),
									   narvik_key_condition(link, "narvik_linked_user", "$1")),
							  1, &key_type, &key, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not fetch a user");
	found = SPI_processed > 0;
	if (found)
	{
		*row = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContextSwitchTo(context);
		*row = PointerGetDatum(PG_DETOAST_DATUM_COPY(*row));
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(users, NoLock);
	return found;
}

/*
 * narvik_validate_user(token text, user_type anyelement) returns setof
 * anyelement
 *
 * Validates the token as narvik_validate_session() does, and returns the row of
 * the session's user, or no row.  Of user_type only the type counts: it must be
 * the row type of the linked table, else datatype_mismatch.  Raises
 * object_not_in_prerequisite_state if there is no link.
 */
Datum
narvik_validate_user(PG_FUNCTION_ARGS)
{
	Oid			wanted = get_fn_expr_argtype(fcinfo->flinfo, 1);
	NarvikLink	link = narvik_find_link();
	NarvikSession session;
	bool		extended;
	Datum		row;

	if (!OidIsValid(link.users))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sessions are not linked to a table of users"),
				 errhint("Call narvik_link_users().")));
	if (wanted != get_rel_type_id(link.users))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("user type must be the row type of table \"%s\"",
						get_rel_name(link.users)),
				 errhint("Pass NULL::%s.", format_type_be(get_rel_type_id(link.users)))));

	if (!narvik_validate_token_arg(fcinfo, 0, false, &session, &extended) ||
		!fetch_user(&link, session.user_id, &row))
		return narvik_no_row(fcinfo);
	return narvik_one_row(fcinfo, row);
}
