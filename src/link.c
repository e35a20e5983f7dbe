/*
 * link.c
 *		The link to the application's users: where it is, and whether a user
 *		exists.
 *
 * The link is a row trigger on the users table that calls our function; the
 * column it watches is the key.  Nothing else remembers it.  So pg_dump
 * carries it with the users table, DROP TABLE removes it, and it follows
 * renaming.
 *
 * A user that gets a session is locked FOR KEY SHARE, as a foreign key would
 * do: it cannot vanish before the session is committed, and whoever deletes it
 * afterwards sees the session.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc_d.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/typcache.h"

#include "link.h"
#include "relation.h"

/*
 * Known until anything changes in any relation: what making the link changes
 * is a table that nobody knows yet.
 */
static NarvikLink known_link;
static bool link_is_known = false;
static bool link_unchanged;		/* since the search began */
static SPIPlanPtr user_plan = NULL;

static void
forget_link(Datum arg, Oid relid)
{
	(void) arg;
	(void) relid;
	link_is_known = link_unchanged = false;
}

void
narvik_link_init(void)
{
	CacheRegisterRelcacheCallback(forget_link, (Datum) 0);
}

/* ---- where it is -------------------------------------------------------- */

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
	NarvikLink	link = {InvalidOid, InvalidAttrNumber, InvalidOid};
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
 * The link as the catalogs have it now.  A lock on the users table keeps a
 * link from being undone, one on the table of sessions keeps it from being
 * made.  Whoever takes both takes the users' first, as deleting a user does.
 */
NarvikLink
narvik_find_link(void)
{
	while (!link_is_known)
	{
		CHECK_FOR_INTERRUPTS();
		link_unchanged = true;
		known_link = search_link();
		if (user_plan != NULL)
		{
			SPI_freeplan(user_plan);
			user_plan = NULL;
		}
		link_is_known = link_unchanged;
	}
	return known_link;
}

/*
 * Open the linked table, as table_open() does; NULL if there is no link.
 * Taking the lock can bring news of a change.
 */
Relation
narvik_open_link(LOCKMODE lockmode, NarvikLink *link)
{
	for (;;)
	{
		Relation	users;

		CHECK_FOR_INTERRUPTS();
		*link = narvik_find_link();
		if (!OidIsValid(link->users))
			return NULL;
		users = try_table_open(link->users, lockmode);
		if (users == NULL)
			link_is_known = false;	/* it was dropped while we waited */
		else if (link_is_known)
			return users;
		else
			table_close(users, lockmode);
	}
}

/* ---- keys --------------------------------------------------------------- */

text *
narvik_print_key(const NarvikLink *link, Datum key)
{
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(link->key_type, &function, &is_varlena);
	return cstring_to_text(OidOutputFunctionCall(function, key));
}

/*
 * A user id as a key.  False if it has not the form of one; the subtransaction
 * is there because input functions know no other way to say so.
 */
bool
narvik_parse_key(const NarvikLink *link, const text *user_id, Datum *key)
{
	char	   *string = text_to_cstring(user_id);
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Oid			function;
	Oid			param;
	volatile bool parsed = true;
	volatile Datum value = (Datum) 0;

	getTypeInputInfo(link->key_type, &function, &param);

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		value = OidInputFunctionCall(function, string, param, -1);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		/* What is wrong with the text, and not with the server. */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
			ReThrowError(error);
		parsed = false;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	*key = value;
	return parsed;
}

/* The condition that a row's key equals a parameter, safe under any search_path. */
char *
narvik_key_condition(const NarvikLink *link, const char *row, const char *param)
{
	TypeCacheEntry *type = lookup_type_cache(link->key_type, TYPECACHE_EQ_OPR);
	StringInfoData condition;

	initStringInfo(&condition);
	generate_operator_clause(&condition,
							 psprintf("%s.%s", row,
									  quote_identifier(get_attname(link->users, link->key, false))),
							 link->key_type, type->eq_opr, param, link->key_type);
	return condition.data;
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
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(users)),
											   RelationGetRelationName(users)));
}

/* ---- whether a user exists ---------------------------------------------- */

static SPIPlanPtr
plan_user_query(const NarvikLink *link, Relation users)
{
	Oid			key_type = link->key_type;
	SPIPlanPtr	plan;

	plan = SPI_prepare(psprintf("SELECT u.%s FROM %s AS u WHERE %s FOR KEY SHARE OF u",
								quote_identifier(get_attname(link->users, link->key, false)),
								narvik_users_source(users),
								narvik_key_condition(link, "u", "$1")),
					   1, &key_type);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare the look-up of a user");
	return plan;
}

/*
 * Whether there is a user with this key that prints as the user id: a user
 * with the id 7 is not found as '007', or his sessions would not be found when
 * he is deleted.  Runs as the owner of the users table, as foreign keys do.
 */
static bool
lock_user(const NarvikLink *link, Relation users, Datum key, const text *user_id)
{
	Oid			caller;
	int			caller_sec_context;
	bool		isnull;
	bool		found;

	GetUserIdAndSecContext(&caller, &caller_sec_context);
	SetUserIdAndSecContext(users->rd_rel->relowner,
						   caller_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (user_plan == NULL)
		user_plan = plan_user_query(link, users);
	if (SPI_execute_plan(user_plan, &key, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look up a user");

	found = SPI_processed > 0;
	if (found)
	{
		text	   *printed = narvik_print_key(link,
											   SPI_getbinval(SPI_tuptable->vals[0],
															 SPI_tuptable->tupdesc,
															 1, &isnull));

		found = VARSIZE_ANY_EXHDR(printed) == VARSIZE_ANY_EXHDR(user_id) &&
			memcmp(VARDATA_ANY(printed), VARDATA_ANY(user_id),
				   VARSIZE_ANY_EXHDR(user_id)) == 0;
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	SetUserIdAndSecContext(caller, caller_sec_context);
	return found;
}

/*
 * Lock users, if there is a link, and the table of sessions, which inserting
 * locks anyway.  NULL if there is no link; none can be made then.
 */
static Relation
settle_link(NarvikLink *link)
{
	for (;;)
	{
		Relation	users = narvik_open_link(RowShareLock, link);
		Oid			id_index;
		Relation	sessions = narvik_relation_open(RowExclusiveLock, &id_index);

		if (users != NULL || link_is_known)
		{
			table_close(sessions, NoLock);
			return users;
		}
		table_close(sessions, RowExclusiveLock);
	}
}

/*
 * Raise foreign_key_violation unless there is such a user, or no link.
 */
void
narvik_check_user_exists(const text *user_id)
{
	NarvikLink	link;
	Relation	users = settle_link(&link);
	Datum		key;

	if (users == NULL)
		return;
	if (!narvik_parse_key(&link, user_id, &key) ||
		!lock_user(&link, users, key, user_id))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("user does not exist"),
				 errdetail("Table \"%s\" has no such user.",
						   RelationGetRelationName(users))));
	table_close(users, NoLock);
}
