/*
 * relation.c
 *		Where the table of sessions is.
 *
 * The table is found as a member of the extension, never through search_path
 * or a schema's name: no look-alike can take its place, and it is found
 * wherever ALTER ... SET SCHEMA moves it.
 *
 * What was found is kept per process until a relcache invalidation.  Finding
 * also verifies that the table is still the one narvik--1.0.sql made: the C
 * code reads columns by number, so a column dropped or retyped must end in an
 * error here and not in a crash there.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension_d.h"
#include "catalog/pg_proc_d.h"
#include "catalog/pg_type_d.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "relation.h"

#define TABLE_NAME	"narvik_sessions"

typedef struct
{
	const char *name;
	Oid			type;
} ColumnType;

static const ColumnType columns[Natts_narvik] = {
	{"seq", INT8OID},
	{"id", BYTEAOID},
	{"user_id", TEXTOID},
	{"created_at", TIMESTAMPTZOID},
	{"expires_at", TIMESTAMPTZOID},
	{"lifetime", INTERVALOID},
	{"sliding", BOOLOID},
	{"data", JSONBOID},
	{"purge_hour", INT4OID}
};

/*
 * What is known of the table.  The invalidation callback clears both flags;
 * "verified" is only set when a whole look at the table went by in between.
 */
static Oid	known_relid = InvalidOid;
static Oid	known_id_index = InvalidOid;
static bool unchanged = false;
static bool verified = false;

static void
forget_relation(Datum arg, Oid relid)
{
	(void) arg;
	if (relid == known_relid || relid == InvalidOid)
		unchanged = verified = false;
}

void
narvik_relation_init(void)
{
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
}

static void
report_missing_member(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"narvik\" has no %s \"%s\"", what, name),
			 errhint("Undo the change, or drop the extension and create it again.")));
}

/*
 * A member of the extension by its name: a relation or a function, as the
 * class says.
 */
static Oid
find_member(Oid class, const char *name)
{
	Oid			extension = get_extension_oid("narvik", false);
	Relation	pg_depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			found = InvalidOid;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true,
							  NULL, 2, key);
	while (!OidIsValid(found) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend member = (Form_pg_depend) GETSTRUCT(tuple);
		char	   *member_name;

		if (member->deptype != DEPENDENCY_EXTENSION || member->classid != class)
			continue;
		member_name = class == RelationRelationId ?
			get_rel_name(member->objid) : get_func_name(member->objid);
		if (member_name != NULL && strcmp(member_name, name) == 0)
			found = member->objid;
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);

	if (!OidIsValid(found))
		report_missing_member(class == RelationRelationId ? "table" : "function", name);
	return found;
}

Oid
narvik_find_function(const char *name)
{
	return find_member(ProcedureRelationId, name);
}

static void
report_altered_table(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not as extension \"narvik\" made it",
					TABLE_NAME),
			 errdetail_internal("%s", detail),
			 errhint("Undo the change, or drop the extension and create it again.")));
}

/*
 * Columns may be added behind ours, but ours must be as they were.
 */
static void
check_table(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		report_altered_table("It is not an ordinary table.");
	/* A plan that a rule replaced does not notice when the rule is dropped. */
	if (rel->rd_rules != NULL)
		report_altered_table("It has rules.");

	for (int i = 0; i < Natts_narvik; i++)
	{
		Form_pg_attribute att = i < desc->natts ? TupleDescAttr(desc, i) : NULL;

		if (att == NULL || att->attisdropped ||
			strcmp(NameStr(att->attname), columns[i].name) != 0)
			report_altered_table(psprintf(_("Column \"%s\" is missing."),
										  columns[i].name));
		if (att->atttypid != columns[i].type || att->atttypmod != -1)
			report_altered_table(psprintf(_("Column \"%s\" has another type."),
										  columns[i].name));
	}
}

/*
 * For a row that cannot be: constraints can be dropped, and the C code must
 * not take a null for a pointer.
 */
void
narvik_report_bad_column(const char *column)
{
	report_altered_table(psprintf(_("Column \"%s\" of a row has a value that narvik did not write."),
								  column));
}

/*
 * The hash index that both finds a session and keeps ids unique.
 */
static Oid
find_id_index(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == HASH_AM_OID &&
			form->indisexclusion && form->indisvalid &&
			form->indkey.values[0] == Anum_narvik_id &&
			RelationGetIndexPredicate(index) == NIL)
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);

	if (!OidIsValid(found))
		report_altered_table("The hash exclusion constraint on column \"id\" is missing.");
	return found;
}

/*
 * Open the table, as table_open() does; the caller closes it.  The index is
 * the one on id, not yet open.
 *
 * Taking the lock can bring news of a change, so what is known is trusted
 * only if it is still there once the lock is held.
 */
Relation
narvik_relation_open(LOCKMODE lockmode, Oid *id_index)
{
	for (;;)
	{
		Relation	rel;

		CHECK_FOR_INTERRUPTS();
		if (!verified)
		{
			known_relid = find_member(RelationRelationId, TABLE_NAME);
			unchanged = true;
		}

		rel = try_table_open(known_relid, lockmode);
		if (rel == NULL)
		{
			/* It was dropped while we waited for the lock. */
			unchanged = verified = false;
			continue;
		}
		if (unchanged && !verified)
		{
			check_table(rel);
			known_id_index = find_id_index(rel);
			verified = unchanged;
		}
		if (verified)
		{
			*id_index = known_id_index;
			return rel;
		}
		table_close(rel, lockmode);
	}
}
