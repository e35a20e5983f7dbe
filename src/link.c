/*
 * link.c
 *		The link to the application's users: where it is.
 *
 * The link is a row trigger on the users table that calls our function; the
 * column it watches is the key.  Nothing else remembers it.  So pg_dump
 * carries it with the users table, DROP TABLE removes it, and it follows
 * renaming.
 *
 * A lock on the users table keeps a link from being undone, one on the table
 * of sessions keeps it from being made.  Whoever takes both takes the users'
 * first, as deleting a user does.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc_d.h"
#include "catalog/pg_trigger.h"
#include "storage/sinval.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "link.h"
#include "relation.h"
#include "sql.h"

/*
 * Known until anything changes in any relation: what making the link changes
 * is a table that nobody knows yet.
 */
static NarvikLink known_link;
static bool link_is_known = false;

static void
forget_link(Datum arg, Oid relid)
{
	link_is_known = false;
}

void
narvik_link_init(void)
{
	CacheRegisterRelcacheCallback(forget_link, (Datum) 0);
}

/*
 * Whether a trigger is the link, and not one of its copies on partitions or
 * the one for TRUNCATE.
 */
static bool
link_from_trigger(Oid trigger, NarvikLink *link)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		found = TRIGGER_FOR_ROW(form->tgtype) && !OidIsValid(form->tgparentid) &&
			form->tgattr.dim1 == 1;
		if (found)
		{
			link->users = form->tgrelid;
			link->key = form->tgattr.values[0];
			link->key_type = get_atttype(link->users, link->key);
		}
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return found;
}

static NarvikLink
search_link(void)
{
	NarvikLink	link = {.users = InvalidOid};
	Oid			function = narvik_find_function(NARVIK_LINK_FUNCTION);
	Relation	pg_depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(function));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true,
							  NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend dependent = (Form_pg_depend) GETSTRUCT(tuple);

		if (dependent->classid == TriggerRelationId &&
			link_from_trigger(dependent->objid, &link))
			break;
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);
	return link;
}

/*
 * The link as the catalogs have it now.  It is remembered only if no news of
 * any change came in during the search.
 */
NarvikLink
narvik_find_link(void)
{
	if (!link_is_known)
	{
		uint64		messages = SharedInvalidMessageCounter;

		known_link = search_link();
		link_is_known = messages == SharedInvalidMessageCounter;
	}
	return known_link;
}

/*
 * Open the linked table, as table_open() does; NULL if there is no link.
 * Taking the lock can bring news of a change, so the link is looked for again
 * under the lock.
 */
Relation
narvik_open_link(LOCKMODE lockmode, NarvikLink *link)
{
	*link = narvik_find_link();
	while (OidIsValid(link->users))
	{
		Relation	users = try_table_open(link->users, lockmode);
		NarvikLink	found = narvik_find_link();

		if (users != NULL && found.users == link->users &&
			found.key == link->key && found.key_type == link->key_type)
			return users;
		if (users != NULL)
			table_close(users, lockmode);
		*link = found;
	}
	return NULL;
}

/*
 * Whether a column alone is unique, at every moment, and by the equality that
 * look-ups of users use.  If the column's collation is deterministic, what is
 * different under the index's is different.  That an index has a predicate is read
 * from the catalog: RelationGetIndexPredicate() would evaluate what is immutable in
 * it.
 */
static bool
is_unique(Relation rel, AttrNumber column)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), column - 1);
	Oid			equality = lookup_type_cache(attribute->atttypid, TYPECACHE_EQ_OPR)->eq_opr;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		found = form->indisunique && form->indimmediate && form->indisvalid &&
			form->indnkeyatts == 1 && form->indkey.values[0] == column &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			get_op_opfamily_strategy(equality, index->rd_opfamily[0]) == BTEqualStrategyNumber &&
			(index->rd_indcollation[0] == attribute->attcollation ||
			 get_collation_isdeterministic(attribute->attcollation));
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

/*
 * The update of a key that is not unique does not wait for those who hold the user,
 * so this is asked whenever one is to be held.
 */
void
narvik_check_key_is_unique(Relation users, AttrNumber key)
{
	if (!is_unique(users, key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FOREIGN_KEY),
				 errmsg("column \"%s\" of table \"%s\" is not unique",
						get_attname(RelationGetRelid(users), key, false),
						RelationGetRelationName(users)),
				 errhint("Make it the primary key, or give it a unique constraint.")));
}

text *
narvik_print_key(const NarvikLink *link, Datum key)
{
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(link->key_type, &function, &is_varlena);
	return cstring_to_text(OidOutputFunctionCall(function, key));
}

/*
 * The users table for a FROM clause.  Only the table itself: neither its key
 * nor its triggers reach into tables that inherit from it.
 */
char *
narvik_users_source(Relation users)
{
	return psprintf("%s%s",
					users->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY ",
					narvik_qualified_name(users));
}
