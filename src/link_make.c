/*
 * link_make.c
 *		The link to the application's users, made and undone: user_id becomes
 *		a reference to their table.
 *
 * A foreign key that somebody adds to an extension's table is not dumped, and
 * it would need user_id to have the users' type.  So triggers do what it would
 * do; link.c tells how they are found again.
 *
 * The triggers are made as the caller, who must be allowed to.
 */
#include "postgres.h"
#include "compat.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "call.h"
#include "link.h"
#include "relation.h"
#include "sql.h"
#include "store.h"

/*
 * The first is the link.  It does not fire for a key that a BEFORE trigger of
 * the application changed, so there is the second.
 */
#define CHANGED_TRIGGER		"narvik_users_changed"
#define REKEYED_TRIGGER		"narvik_users_rekeyed"
#define TRUNCATED_TRIGGER	"narvik_users_truncated"

/* Their tgtype, by which they are known under other names. */
#define CHANGED_TYPE	(TRIGGER_TYPE_ROW | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_UPDATE)
#define REKEYED_TYPE	(TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE)
#define TRUNCATED_TYPE	TRIGGER_TYPE_TRUNCATE

PG_FUNCTION_INFO_V1(narvik_link_users);
PG_FUNCTION_INFO_V1(narvik_unlink_users);

/* ---- what can be linked -------------------------------------------------- */

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
	narvik_check_key_is_unique(users, attnum);
	type = get_atttype(RelationGetRelid(users), attnum);
	if (!prints_the_same(type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sessions cannot be linked to a column of type %s",
						format_type_be(type)),
				 errdetail("How its values print depends on settings of the connection.")));
}

static void
check_not_linked_elsewhere(Relation users, const char *column)
{
	NarvikLink	link = narvik_find_link();

	if (OidIsValid(link.users) &&
		(link.users != RelationGetRelid(users) ||
		 link.key != get_attnum(RelationGetRelid(users), column)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sessions are linked to column \"%s\" of table \"%s\" already",
						get_attname(link.users, link.key, false),
						get_rel_name(link.users)),
				 errhint("Call narvik_unlink_users() first.")));
}

/* ---- sessions of nobody ------------------------------------------------- */

/* The caller is told how many there are, so it must be allowed to read both. */
static void
check_caller_may_read(Relation rel, const char *column)
{
	Oid			relid = RelationGetRelid(rel);

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck(relid, get_attnum(relid, column), GetUserId(),
							  ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(rel));
}

/* Make rows known to queries of the present SPI connection by a name. */
static void
name_rows(char *name, TupleDesc desc, Tuplestorestate *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = name;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = (double) tuplestore_tuple_count(rows);
	enr->reldata = rows;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not name rows \"%s\"", name);
}

/*
 * How many sessions have a user id that is not among the keys, in the newest
 * state.  Each table is read as its own owner.  Keys are compared as they
 * print, since a cast to text can say something else, and byte by byte,
 * whatever their collation.
 */
static int64
count_orphans(Relation users, const char *column)
{
	TupleDesc	desc;
	Tuplestorestate *counts = narvik_store_count_by_user(&desc);
	NarvikCaller caller;
	bool		isnull;
	int64		orphans;

	narvik_become_owner(users, &caller);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	name_rows("narvik_counts", desc, counts);
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute(narvik_sql_of(users,
								  psprintf("SELECT pg_catalog.sum(c.n)::pg_catalog.int8"
										   " FROM narvik_counts AS c (user_id, n)"
										   " WHERE NOT EXISTS (SELECT FROM %s AS u"
										   " WHERE pg_catalog.format('%%s', u.%s) COLLATE pg_catalog.\"C\""
										   " OPERATOR(pg_catalog.=) c.user_id)",
										   narvik_users_source(users), quote_identifier(column))),
					true, 0) != SPI_OK_SELECT ||
		SPI_gettypeid(SPI_tuptable->tupdesc, 1) != INT8OID)
		elog(ERROR, "could not count sessions of unknown users");
	PopActiveSnapshot();
	orphans = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	narvik_become_caller(&caller);
	tuplestore_end(counts);
	return isnull ? 0 : orphans;
}

/* ---- making and undoing ------------------------------------------------- */

/* Of a table's triggers the next that calls our function, whatever its name; NULL at the end. */
static const Trigger *
next_trigger(Relation rel, Oid function, int *i)
{
	const TriggerDesc *triggers = rel->trigdesc;

	while (triggers != NULL && *i < triggers->numtriggers)
	{
		const Trigger *trigger = &triggers->triggers[(*i)++];

		if (trigger->tgfoid == function)
			return trigger;
	}
	return NULL;
}

/* The present name of the trigger that does this, or a name for it. */
static const char *
trigger_name(Relation users, Oid function, int16 type, const char *if_none)
{
	const Trigger *trigger;
	int			i = 0;

	while ((trigger = next_trigger(users, function, &i)) != NULL)
	{
		if (trigger->tgtype == type && !trigger->tgisclone)
			return quote_identifier(pstrdup(trigger->tgname));
	}
	return if_none;
}

static bool
fires_always(Relation rel, Oid function, int16 type)
{
	const Trigger *trigger;
	int			i = 0;

	while ((trigger = next_trigger(rel, function, &i)) != NULL)
	{
		if (trigger->tgtype == type && trigger->tgenabled == TRIGGER_FIRES_ALWAYS)
			return true;
	}
	return false;
}

/*
 * What makes triggers fire always that do so now: to create them anew ends that.
 * ONLY, since to go to the partitions evaluates the partition key.
 */
static List *
always_statements(Relation users, List *partitions)
{
	Oid			function = narvik_find_function(NARVIK_LINK_FUNCTION);
	List	   *statements = NIL;
	ListCell   *cell;

	foreach(cell, partitions)
	{
		Relation	rel = lfirst(cell);
		const Trigger *trigger;
		int			i = 0;

		while ((trigger = next_trigger(rel, function, &i)) != NULL)
		{
			if (fires_always(users, function, trigger->tgtype) ||
				fires_always(rel, function, trigger->tgtype))
				statements = lappend(statements,
									 psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s",
											  narvik_qualified_name(rel),
											  quote_identifier(trigger->tgname)));
		}
	}
	return statements;
}

static void
run_all(List *statements)
{
	ListCell   *cell;

	foreach(cell, statements)
		narvik_run_ddl(lfirst(cell));
}

static void
create_triggers(Relation users, const char *column)
{
	Oid			function = narvik_find_function(NARVIK_LINK_FUNCTION);
	char	   *function_name = quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
														   NARVIK_LINK_FUNCTION);
	const char *table_name = narvik_qualified_name(users);
	List	   *statements;

	column = quote_identifier(column);
	/* All before the first is run: that changes what is known of the table. */
	statements = list_make3(psprintf("CREATE OR REPLACE TRIGGER %s"
									 " AFTER DELETE OR UPDATE OF %s ON %s"
									 " FOR EACH ROW EXECUTE FUNCTION %s()",
									 trigger_name(users, function, CHANGED_TYPE, CHANGED_TRIGGER),
									 column, table_name, function_name),
							psprintf("CREATE OR REPLACE TRIGGER %s"
									 " AFTER UPDATE ON %s FOR EACH ROW"
									 " WHEN (pg_catalog.format('%%s', OLD.%s) COLLATE pg_catalog.\"C\""
									 " OPERATOR(pg_catalog.<>) pg_catalog.format('%%s', NEW.%s))"
									 " EXECUTE FUNCTION %s()",
									 trigger_name(users, function, REKEYED_TYPE, REKEYED_TRIGGER),
									 table_name, column, column, function_name),
							psprintf("CREATE OR REPLACE TRIGGER %s"
									 " AFTER TRUNCATE ON %s"
									 " FOR EACH STATEMENT EXECUTE FUNCTION %s()",
									 trigger_name(users, function, TRUNCATED_TYPE, TRUNCATED_TRIGGER),
									 table_name, function_name));
	run_all(statements);
}

static void
drop_triggers(Relation users)
{
	Oid			function = narvik_find_function(NARVIK_LINK_FUNCTION);
	List	   *statements = NIL;
	const Trigger *trigger;
	int			i = 0;

	while ((trigger = next_trigger(users, function, &i)) != NULL)
	{
		if (!trigger->tgisclone)
			statements = lappend(statements,
								 psprintf("DROP TRIGGER %s ON %s",
										  quote_identifier(trigger->tgname),
										  narvik_qualified_name(users)));
	}
	run_all(statements);
}

/*
 * As for foreign keys: others cannot read a temporary table, and a crash empties
 * an unlogged one without a trigger.
 */
static void
check_is_permanent(Relation rel)
{
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" is not permanent", RelationGetRelationName(rel))));
}

/*
 * The table to link, locked.
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
	check_is_permanent(users);
	return users;
}

/*
 * Open and lock the users table's partitions: users can be deleted from one
 * directly.  CREATE TRIGGER will need the partition keys, whose expressions
 * are evaluated when first needed and kept for as long as a table is open: so
 * they are needed here, as the owner, and the tables stay open until then.
 */
static List *
open_partitions(Relation users)
{
	List	   *relids = find_all_inheritors(RelationGetRelid(users),
											 ShareRowExclusiveLock, NULL);
	List	   *partitions = NIL;
	ListCell   *cell;

	foreach(cell, relids)
	{
		Relation	partition = table_open(lfirst_oid(cell), NoLock);
		NarvikCaller caller;

		partitions = lappend(partitions, partition);
		/* What merely inherits has no users. */
		if (partition->rd_rel->relispartition)
			check_is_permanent(partition);
		narvik_become_owner(partition, &caller);
		(void) RelationGetPartitionKey(partition);
		narvik_become_caller(&caller);
	}
	return partitions;
}

static void
close_partitions(List *partitions)
{
	ListCell   *cell;

	foreach(cell, partitions)
		table_close((Relation) lfirst(cell), NoLock);
}

/*
 * narvik_link_users(users regclass, id_column name) returns void
 *
 * Locks both tables against writing until the transaction ends.  Needs the
 * right to read both and to create triggers on the users table.  If that column
 * is linked already, the triggers that are missing or disabled are made anew, as
 * after a restore by a role that may not create them.
 *
 * Raises null_value_not_allowed for a NULL; undefined_table; wrong_object_type
 * for what is no table; invalid_table_definition for a temporary or unlogged
 * one; undefined_column; invalid_foreign_key if the column is not unique;
 * feature_not_supported if what it prints depends on settings; object_in_use
 * if another column is linked; foreign_key_violation, with their number, if
 * there are sessions of unknown users.
 */
Datum
narvik_link_users(PG_FUNCTION_ARGS)
{
	Relation	users;
	List	   *partitions;
	List	   *always;
	Relation	sessions;
	char	   *column;
	int64		orphans;

	PreventCommandIfReadOnly("narvik_link_users()");

	narvik_require_arg(fcinfo, 0, gettext_noop("users table must not be null"));
	narvik_require_arg(fcinfo, 1, gettext_noop("id column must not be null"));
	column = NameStr(*PG_GETARG_NAME(1));

	users = open_users(PG_GETARG_OID(0));
	partitions = open_partitions(users);
	sessions = narvik_relation_open(ShareRowExclusiveLock);
	check_not_linked_elsewhere(users, column);
	check_key_column(users, column);
	check_caller_may_read(users, column);
	check_caller_may_read(sessions, "user_id");

	orphans = count_orphans(users, column);
	if (orphans > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg_plural("%lld session belongs to no user in table \"%s\"",
							   "%lld sessions belong to no user in table \"%s\"",
							   (unsigned long) orphans,
							   (long long) orphans, RelationGetRelationName(users)),
				 errhint("Delete them with narvik_delete_sessions_for_user().")));
	always = always_statements(users, partitions);
	create_triggers(users, column);

	close_partitions(partitions);
	table_close(sessions, NoLock);
	table_close(users, NoLock);
	/* ALTER TABLE wants the table to be closed. */
	run_all(always);
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

	PreventCommandIfReadOnly("narvik_unlink_users()");

	users = narvik_open_link(AccessExclusiveLock, &link);
	if (users == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sessions are not linked to a table of users")));
	/* The partitions, too: as when a user is deleted, sessions come last. */
	(void) find_all_inheritors(link.users, AccessExclusiveLock, NULL);
	sessions = narvik_relation_open(ShareRowExclusiveLock);
	drop_triggers(users);

	table_close(sessions, NoLock);
	table_close(users, NoLock);
	PG_RETURN_VOID();
}
