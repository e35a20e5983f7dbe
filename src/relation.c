/*
 * relation.c
 *		Where the tables of sessions and of events are.
 *
 * They are found as members of the extension, never through search_path or a
 * schema's name: no look-alike can take their place, and they are found wherever
 * ALTER ... SET SCHEMA moves them.
 *
 * What was found is kept per process until a relcache invalidation.  Finding
 * also verifies that a table is still the one narvik--1.0.sql made: the C code
 * reads the columns of sessions by number, so one that was dropped or retyped
 * must end in an error here and not in a crash there.
 *
 * Nothing here evaluates an expression of the table's: that would be code of
 * its owner, run by whoever called.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc_d.h"
#include "catalog/pg_type_d.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "relation.h"

typedef struct
{
	const char *name;
	Oid			type;
	Oid			collation;
} Column;

static const Column session_columns[Natts_narvik] = {
	{"seq", INT8OID, InvalidOid},
	{"id", BYTEAOID, InvalidOid},
	{"user_id", TEXTOID, C_COLLATION_OID},
	{"created_at", TIMESTAMPTZOID, InvalidOid},
	{"expires_at", TIMESTAMPTZOID, InvalidOid},
	{"ends_at", TIMESTAMPTZOID, InvalidOid},
	{"authenticated_at", TIMESTAMPTZOID, InvalidOid},
	{"active_at", TIMESTAMPTZOID, InvalidOid},
	{"lifetime", INTERVALOID, InvalidOid},
	{"sliding", BOOLOID, InvalidOid},
	{"data", JSONBOID, InvalidOid},
	{"purge_hour", INT4OID, InvalidOid},
	{"replaced_ids", BYTEAARRAYOID, InvalidOid},
	{"replaced_at", TIMESTAMPTZARRAYOID, InvalidOid}
};

static const Column event_columns[] = {
	{"seq", INT8OID, InvalidOid},
	{"at", TIMESTAMPTZOID, InvalidOid},
	{"kind", TEXTOID, C_COLLATION_OID},
	{"reason", TEXTOID, C_COLLATION_OID},
	{"session_id", BYTEAOID, InvalidOid},
	{"user_id", TEXTOID, C_COLLATION_OID},
	{"detail", JSONBOID, InvalidOid}
};

/* A table, and what is known of it until the invalidation callback ends that. */
typedef struct
{
	const char *name;
	const Column *columns;
	int			ncolumns;
	bool		is_known;
	Oid			relid;
} Table;

static Table sessions = {
	.name = "narvik_sessions",
	.columns = session_columns,
	.ncolumns = lengthof(session_columns)
};

static Table events = {
	.name = "narvik_events",
	.columns = event_columns,
	.ncolumns = lengthof(event_columns)
};

static Oid	known_id_index = InvalidOid;
static Oid	known_sequence = InvalidOid;

static void
forget_relation(Datum arg, Oid relid)
{
	if (relid == sessions.relid || relid == InvalidOid)
	{
		sessions.is_known = false;
		known_id_index = InvalidOid;
		known_sequence = InvalidOid;
	}
	if (relid == events.relid || relid == InvalidOid)
		events.is_known = false;
}

void
narvik_relation_init(void)
{
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
}

/* ---- members of the extension ------------------------------------------- */

/*
 * The members of the extension with a name, relations or functions as the class
 * says.
 */
static List *
find_members(Oid class, const char *name)
{
	Oid			extension = get_extension_oid("narvik", false);
	Relation	pg_depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *found = NIL;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true,
							  NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend member = (Form_pg_depend) GETSTRUCT(tuple);
		char	   *member_name;

		if (member->deptype != DEPENDENCY_EXTENSION || member->classid != class)
			continue;
		member_name = class == RelationRelationId ?
			get_rel_name(member->objid) : get_func_name(member->objid);
		if (member_name != NULL && strcmp(member_name, name) == 0)
			found = lappend_oid(found, member->objid);
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);
	return found;
}

static int
undo_hint(void)
{
	return errhint("Undo the change, or drop the extension and create it again.");
}

static Oid
find_table(const char *name)
{
	List	   *found = find_members(RelationRelationId, name);

	if (found == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"narvik\" has no table \"%s\"", name),
				 undo_hint()));
	return linitial_oid(found);
}

/* A name can stand for several functions. */
List *
narvik_find_functions(const char *name)
{
	List	   *found = find_members(ProcedureRelationId, name);

	if (found == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"narvik\" has no function \"%s\"", name),
				 undo_hint()));
	return found;
}

Oid
narvik_find_function(const char *name)
{
	return linitial_oid(narvik_find_functions(name));
}

/* ---- the table ---------------------------------------------------------- */

static void
report_altered(const char *table, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not as extension \"narvik\" made it",
					table),
			 errdetail_internal("%s", detail),
			 undo_hint()));
}

/*
 * Columns may be added behind ours, but ours must be as they were.
 */
static void
check_table(Relation rel, const Table *table)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		report_altered(table->name, _("It is not an ordinary table."));
	/* A plan that a rule replaced does not notice when the rule is dropped. */
	if (rel->rd_rules != NULL)
		report_altered(table->name, _("It has rules."));
	for (int i = 0; i < table->ncolumns; i++)
	{
		const Column *column = &table->columns[i];
		Form_pg_attribute att = i < desc->natts ? TupleDescAttr(desc, i) : NULL;

		if (att == NULL || att->attisdropped ||
			strcmp(NameStr(att->attname), column->name) != 0)
			report_altered(table->name, psprintf(_("Column \"%s\" is missing."),
												 column->name));
		if (att->atttypid != column->type || att->atttypmod != -1)
			report_altered(table->name, psprintf(_("Column \"%s\" has another type."),
												 column->name));
		if (att->attcollation != column->collation)
			report_altered(table->name, psprintf(_("Column \"%s\" has another collation."),
												 column->name));
	}
}

/*
 * For a row that cannot be: constraints can be dropped, and the C code must
 * not take a null for a pointer.
 */
void
narvik_report_bad_column(const char *column)
{
	report_altered(sessions.name, psprintf(_("Column \"%s\" of a row has a value that narvik did not write."),
										   column));
}

static bool
has_access_method(Oid index, Oid access_method)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	bool		has = false;

	if (HeapTupleIsValid(tuple))
	{
		has = ((Form_pg_class) GETSTRUCT(tuple))->relam == access_method;
		ReleaseSysCache(tuple);
	}
	return has;
}

/*
 * An index that has all rows, by its access method and its first column.
 * InvalidOid if there is none.
 *
 * Only the catalogs are read, and whether there is a predicate, not which:
 * RelationGetIndexPredicate() would evaluate what is immutable in it.
 */
static Oid
find_index(Relation rel, Oid access_method, AttrNumber column, bool exclusion)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index form;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_index) GETSTRUCT(tuple);
		if (!OidIsValid(found) && form->indisvalid &&
			form->indkey.values[0] == column &&
			(!exclusion || (form->indisexclusion && form->indimmediate)) &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
			has_access_method(form->indexrelid, access_method))
			found = form->indexrelid;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return found;
}

/* The hash index that both finds a session and keeps ids unique. */
static Oid
find_id_index(Relation rel)
{
	Oid			found = find_index(rel, HASH_AM_OID, Anum_narvik_id, true);

	if (!OidIsValid(found))
		report_altered(sessions.name, _("The hash exclusion constraint on column \"id\" is missing."));
	return found;
}

/*
 * Open a table, as table_open() does; the caller closes it.  While it is open,
 * its columns and indexes can be neither dropped nor altered.
 *
 * Taking the lock can bring news of a change.  So what was found before is
 * looked for again under the lock, and trusted if it is still the same.
 */
static Relation
open_table(Table *table, LOCKMODE lockmode)
{
	Oid			relid = table->is_known ? table->relid : find_table(table->name);

	for (;;)
	{
		Relation	rel = try_table_open(relid, lockmode);
		Oid			found;

		if (rel != NULL && table->is_known)
			return rel;
		found = find_table(table->name);
		if (rel != NULL && found == relid)
		{
			check_table(rel, table);
			table->relid = relid;
			table->is_known = true;
			return rel;
		}
		if (rel != NULL)
			table_close(rel, lockmode);
		relid = found;
	}
}

Relation
narvik_relation_open(LOCKMODE lockmode)
{
	Relation	rel = open_table(&sessions, lockmode);

	if (!OidIsValid(known_id_index))
		known_id_index = find_id_index(rel);
	return rel;
}

/* The sequence of "seq"; InvalidOid if there is none any more.  The table is open. */
Oid
narvik_relation_sequence(Relation rel)
{
	if (!OidIsValid(known_sequence))
		known_sequence = narvik_identity_sequence(rel, Anum_narvik_seq);
	return known_sequence;
}

/* Only SQL reads and writes it, by the names of its columns. */
Relation
narvik_events_open(LOCKMODE lockmode)
{
	return open_table(&events, lockmode);
}

/* The lock that narvik_events_open() would take, if it can be had at once. */
bool
narvik_events_lock_if_free(LOCKMODE lockmode)
{
	return ConditionalLockRelationOid(events.is_known ? events.relid : find_table(events.name),
									  lockmode);
}

/*
 * The index on the id.  The table was just opened, so it was looked for, and it
 * stays for as long as the table is locked.
 */
Relation
narvik_relation_open_id_index(void)
{
	return index_open(known_id_index, AccessShareLock);
}

/* The index that finds expired sessions without reading live ones. */
Relation
narvik_relation_open_hour_index(Relation rel)
{
	Oid			hour_index = find_index(rel, BTREE_AM_OID, Anum_narvik_purge_hour, false);

	if (!OidIsValid(hour_index))
		report_altered(sessions.name, _("The index on column \"purge_hour\" is missing."));
	return index_open(hour_index, AccessShareLock);
}
