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
#include "access/relation.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "call.h"
#include "identity.h"
#include "link.h"
#include "relation.h"
#include "session.h"
#include "stats.h"
#include "store.h"

/*
 * The first is the link.  It does not fire for a key that a BEFORE trigger of
 * the application changed, so there is the second.
 */
#define CHANGED_TRIGGER		"narvik_users_changed"
#define REKEYED_TRIGGER		"narvik_users_rekeyed"
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

/*
 * Whether a type prints the same whatever the connection's settings; else a
 * user would not be found under another DateStyle.  PostgreSQL calls some
 * output functions immutable that are not, and those of enums stable because
 * labels can be renamed.
 */
static bool
prints_the_same(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(base, &function, &is_varlena);
	return base != BYTEAOID && base != FLOAT4OID && base != FLOAT8OID &&
		(func_volatile(function) == PROVOLATILE_IMMUTABLE || type_is_enum(base));
}

static void
check_key_column(Relation users, const char *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(users), column);
	Oid			type;

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
	type = get_atttype(RelationGetRelid(users), attnum);
	if (!prints_the_same(type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sessions cannot be linked to a column of type %s",
						format_type_be(type)),
				 errdetail("How its values print depends on settings of the connection.")));
}

/*
 * Sessions of nobody.  Keys are compared as they print: a cast to text can say
 * something else.
 */
static int64
count_orphans(Relation users, const char *column)
{
	return narvik_store_count_orphans(psprintf("SELECT pg_catalog.format('%%s', u.%s) FROM %s AS u",
											   quote_identifier(column),
											   narvik_users_source(users)));
}

static void
create_triggers(Relation users, const char *column)
{
	Oid			function = narvik_find_function(NARVIK_LINK_FUNCTION);
	char	   *function_name = quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
														   NARVIK_LINK_FUNCTION);
	const char *table_name = qualified_name(users);

	column = quote_identifier(column);
	narvik_run_ddl(psprintf("CREATE OR REPLACE TRIGGER " CHANGED_TRIGGER
							" AFTER DELETE OR UPDATE OF %s ON %s"
							" FOR EACH ROW EXECUTE FUNCTION %s()",
							column, table_name, function_name));
	narvik_run_ddl(psprintf("CREATE OR REPLACE TRIGGER " REKEYED_TRIGGER
							" AFTER UPDATE ON %s FOR EACH ROW"
							" WHEN (pg_catalog.format('%%s', OLD.%s) COLLATE pg_catalog.\"C\""
							" OPERATOR(pg_catalog.<>) pg_catalog.format('%%s', NEW.%s))"
							" EXECUTE FUNCTION %s()",
							table_name, column, column, function_name));
	narvik_run_ddl(psprintf("CREATE OR REPLACE TRIGGER " TRUNCATED_TRIGGER
							" AFTER TRUNCATE ON %s"
							" FOR EACH STATEMENT EXECUTE FUNCTION %s()",
							table_name, function_name));
}

/*
 * The table to link, locked with its partitions: users can be deleted from a
 * partition directly.
 */
static Relation
open_users(Oid relid)
{
	/* Not try_table_open(): its words for an index depend on the version. */
	Relation	users = try_relation_open(relid, ShareRowExclusiveLock);

	if (users == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("users table does not exist")));
	if (users->rd_rel->relkind != RELKIND_RELATION &&
		users->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(users))));

	/*
	 * As for foreign keys: others cannot read a temporary table, and a crash
	 * empties an unlogged one without a trigger.
	 */
	if (users->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" is not permanent", RelationGetRelationName(users))));
	(void) find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
	return users;
}

/*
 * narvik_link_users(users regclass, id_column name) returns void
 *
 * Locks both tables against writing until the transaction ends.  Needs the
 * right to read both and to create triggers on the users table.
 *
 * Raises null_value_not_allowed for a NULL; undefined_table; wrong_object_type
 * for what is no table; invalid_table_definition for a temporary or unlogged
 * one; undefined_column; invalid_foreign_key if the column is not unique;
 * feature_not_supported if what it prints depends on settings; object_in_use
 * if there is a link; foreign_key_violation, with their number, if there are
 * sessions of unknown users.
 */
Datum
narvik_link_users(PG_FUNCTION_ARGS)
{
	Relation	users;
	Relation	sessions;
	Oid			id_index;
	char	   *column;
	NarvikLink	link;
	int64		orphans;

	PreventCommandIfReadOnly("narvik_link_users()");

	narvik_require_arg(fcinfo, 0, "users table");
	narvik_require_arg(fcinfo, 1, "id column");
	column = NameStr(*PG_GETARG_NAME(1));

	users = open_users(PG_GETARG_OID(0));
	sessions = narvik_relation_open(ShareRowExclusiveLock, &id_index);
	link = narvik_find_link();
	if (OidIsValid(link.users))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sessions are linked to table \"%s\" already",
						get_rel_name(link.users)),
				 errhint("Call narvik_unlink_users() first.")));
	check_key_column(users, column);

	orphans = count_orphans(users, column);
	if (orphans > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg_plural("%lld session belongs to no user in table \"%s\"",
							   "%lld sessions belong to no user in table \"%s\"",
							   (unsigned long) orphans,
							   (long long) orphans, RelationGetRelationName(users)),
				 errhint("Delete them with narvik_delete_sessions_for_user().")));
	create_triggers(users, column);

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
	NarvikLink	link;
	Relation	users;
	Relation	sessions;
	Oid			id_index;
	const char *triggers[] = {CHANGED_TRIGGER, REKEYED_TRIGGER, TRUNCATED_TRIGGER};

	(void) fcinfo;
	PreventCommandIfReadOnly("narvik_unlink_users()");

	users = narvik_open_link(AccessExclusiveLock, &link);
	if (users == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sessions are not linked to a table of users")));
	sessions = narvik_relation_open(ShareRowExclusiveLock, &id_index);
	for (int i = 0; i < (int) lengthof(triggers); i++)
		narvik_run_ddl(psprintf("DROP TRIGGER IF EXISTS %s ON %s", triggers[i],
								qualified_name(users)));

	table_close(sessions, NoLock);
	table_close(users, NoLock);
	PG_RETURN_VOID();
}

/* ---- the link at work --------------------------------------------------- */

/* Somebody may have put the trigger on another table. */
static void
check_is_linked(const NarvikLink *link, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	if (relid == link->users ||
		(rel->rd_rel->relispartition &&
		 list_member_oid(get_partition_ancestors(relid), link->users)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sessions are not linked to table \"%s\"",
					RelationGetRelationName(rel)),
			 errhint("Drop the triggers that call \"%s\".", NARVIK_LINK_FUNCTION)));
}

/*
 * A row that an UPDATE moves to another partition is deleted here and inserted
 * there, and nobody tells the one trigger of the other.
 */
static void
check_stays_in_partition(HeapTuple tuple)
{
	if (HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change the key of a user to one of another partition"),
				 errdetail("The user's sessions could not follow."),
				 errhint("Insert the user anew, and delete the old row.")));
}

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

static void
user_deleted(const text *user_id)
{
	narvik_count(NARVIK_INVALIDATED, narvik_store_delete_user(user_id));
	narvik_identity_user_ended(user_id, NULL);
}

static void
user_renamed(const text *old_id, const text *new_id)
{
	if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
											 PointerGetDatum(old_id),
											 PointerGetDatum(new_id))))
		return;
	narvik_check_user_id(new_id);
	narvik_store_rename_user(old_id, new_id);
	narvik_identity_user_renamed(old_id, new_id);
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
	Relation	rel;
	NarvikLink	link;
	text	   *old_id;
	text	   *new_id = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) != TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called by the triggers that narvik_link_users() makes",
						NARVIK_LINK_FUNCTION)));

	rel = trigger->tg_relation;
	link = narvik_find_link();
	if (!OidIsValid(link.users))
		return PointerGetDatum(NULL);
	check_is_linked(&link, rel);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		narvik_count(NARVIK_INVALIDATED, narvik_store_delete_all());
		narvik_identity_clear();
		return PointerGetDatum(NULL);
	}

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		new_id = key_of_row(&link, rel, trigger->tg_newtuple);
	else
		check_stays_in_partition(trigger->tg_trigtuple);
	old_id = key_of_row(&link, rel, trigger->tg_trigtuple);
	if (old_id != NULL && new_id == NULL)
		user_deleted(old_id);
	else if (old_id != NULL)
		user_renamed(old_id, new_id);
	return PointerGetDatum(NULL);
}

/* ---- a session's user --------------------------------------------------- */

/*
 * The row of a user as the caller may see it: privileges and row-level
 * security are the caller's.  False if there is none.
 */
static bool
fetch_user(const NarvikLink *link, Relation users, const text *user_id, Datum *row)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			key_type = link->key_type;
	Datum		key;
	bool		isnull;
	bool		found;

	if (!narvik_parse_key(link, user_id, &key))
		return false;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(psprintf("SELECT narvik_linked_user FROM %s AS narvik_linked_user WHERE %s",
									   narvik_users_source(users),
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
	NarvikLink	link;
	Relation	users = narvik_open_link(AccessShareLock, &link);
	NarvikSession session;
	bool		extended;
	bool		found;
	Datum		row;

	if (users == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sessions are not linked to a table of users"),
				 errhint("Call narvik_link_users().")));
	if (wanted != users->rd_rel->reltype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("user type must be the row type of table \"%s\"",
						RelationGetRelationName(users)),
				 errhint("Pass NULL::%s.", format_type_be(users->rd_rel->reltype))));

	found = narvik_validate_token_arg(fcinfo, 0, false, &session, &extended) &&
		fetch_user(&link, users, session.user_id, &row);
	table_close(users, NoLock);
	return found ? narvik_one_row(fcinfo, row) : narvik_no_row(fcinfo);
}
