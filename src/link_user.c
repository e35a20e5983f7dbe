/*
 * link_user.c
 *		The link to the application's users: whether a user exists, and the row
 *		of one.
 *
 * A user that gets a session is locked FOR KEY SHARE, as a foreign key would
 * do: it cannot vanish before the session is committed, and whoever deletes it
 * afterwards sees the session.
 *
 * The users table is read as its owner (sql.c), as foreign keys do.  A user id
 * becomes a key without the checks of a domain, which are code of the domain's
 * owner.  What SPI returns is looked at only if it has the type that was asked
 * for.  Column names in the SQL are qualified, and a row is asked
 * for by alias.*, so that no column's name can stand for something else.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/typcache.h"

#include "link.h"
#include "policy.h"
#include "relation.h"
#include "sql.h"

/* ---- keys --------------------------------------------------------------- */

/* A user id to be read as a key. */
typedef struct KeyInput
{
	Oid			function;
	Oid			param;
	char	   *string;
	Datum		key;
} KeyInput;

static void
read_key(void *arg)
{
	KeyInput   *input = arg;

	input->key = OidInputFunctionCall(input->function, input->string, input->param, -1);
}

/*
 * A user id as a key.  False if it has not the form of one, which input
 * functions can only say by an error.
 */
static bool
parse_key(const NarvikLink *link, const text *user_id, Datum *key)
{
	KeyInput	input = {.string = text_to_cstring(user_id)};
	ErrorData  *error;

	/*
	 * The checks of a domain are not asked: they are code of the domain's
	 * owner.
	 */
	getTypeInputInfo(getBaseType(link->key_type), &input.function, &input.param);
	error = narvik_attempt(read_key, &input);
	if (error == NULL)
	{
		*key = input.key;
		return true;
	}

	/*
	 * What is wrong with the text, and not with the server.  Types that have
	 * a grammar call it a syntax error.
	 */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
		error->sqlerrcode != ERRCODE_SYNTAX_ERROR && error->sqlerrcode != ERRCODE_NAME_TOO_LONG)
		ReThrowError(error);
	return false;
}

static const char *
key_name(const NarvikLink *link)
{
	return quote_identifier(get_attname(link->users, link->key, false));
}

/* "u.id = $1", safe under any search_path. */
static char *
key_condition(const NarvikLink *link)
{
	TypeCacheEntry *type = lookup_type_cache(link->key_type, TYPECACHE_EQ_OPR);
	StringInfoData condition;

	initStringInfo(&condition);
	generate_operator_clause(&condition, psprintf("u.%s", key_name(link)),
							 link->key_type, type->eq_opr, "$1",
							 getBaseType(link->key_type));
	return condition.data;
}

/* ---- whether a user exists ---------------------------------------------- */

/*
 * The plan that locks a user.  A plan whose text is out of date, because
 * something was renamed or another table is linked, is left to itself: a
 * statement further up the stack may be running it.
 */
static SPIPlanPtr
plan_to_lock_user(const NarvikLink *link, Relation users)
{
	static SPIPlanPtr plan = NULL;
	static char *known_text = NULL;
	static Oid	known_type = InvalidOid;
	Oid			key_type = getBaseType(link->key_type);
	char	   *text = narvik_sql_of(users,
									 psprintf("SELECT u.%s FROM %s AS u WHERE %s FOR KEY SHARE OF u",
											  key_name(link), narvik_users_source(users),
											  key_condition(link)));
	SPIPlanPtr	made;

	if (plan != NULL && known_type == key_type && strcmp(known_text, text) == 0)
		return plan;
	plan = NULL;
	made = SPI_prepare(text, 1, &key_type);
	if (made == NULL || SPI_keepplan(made) != 0)
		elog(ERROR, "could not prepare the look-up of a user");
	known_type = key_type;
	known_text = MemoryContextStrdup(TopMemoryContext, text);
	plan = made;
	return plan;
}

/* A column of the first row of a result, which must be of this type. */
static Datum
found_value(int column, Oid type)
{
	bool		isnull;
	Datum		value;

	if (SPI_gettypeid(SPI_tuptable->tupdesc, column) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg_internal("result of the look-up of a user has another type")));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
	if (isnull)
		elog(ERROR, "result of the look-up of a user is null");
	return value;
}

/*
 * Whether the key in a column, of one row, prints as the user id: a user with the
 * id 7 is not found as '007', or their sessions would not be found when they are
 * deleted.
 */
static bool
found_user(const NarvikLink *link, int column, const text *user_id)
{
	return SPI_processed == 1 &&
		narvik_is_same_user_id(narvik_print_key(link, found_value(column, link->key_type)), user_id);
}

/* Whether there is a user with this id. */
static bool
lock_user(const NarvikLink *link, Relation users, const text *user_id)
{
	NarvikCaller caller;
	Datum		key;
	bool		found;

	narvik_become_owner(users, &caller);
	found = parse_key(link, user_id, &key);
	if (found)
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute_plan(plan_to_lock_user(link, users), &key, NULL, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not look up a user");
		found = found_user(link, 1, user_id);
		if (SPI_finish() != SPI_OK_FINISH)
			elog(ERROR, "SPI_finish failed");
	}
	narvik_become_caller(&caller);
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
		Relation	sessions = narvik_relation_open(RowExclusiveLock);

		if (users != NULL || !OidIsValid(narvik_find_link().users))
		{
			table_close(sessions, NoLock);
			return users;
		}
		table_close(sessions, RowExclusiveLock);
	}
}

/*
 * Whether there is such a user, locked now, or no link.  An error if the key is not
 * unique any more.
 */
bool
narvik_user_exists(const text *user_id)
{
	NarvikLink	link;
	Relation	users = settle_link(&link);
	bool		found = true;

	if (users != NULL)
	{
		narvik_check_key_is_unique(users, link.key);
		found = lock_user(&link, users, user_id);
		table_close(users, NoLock);
	}
	return found;
}

/* The same, or foreign_key_violation. */
void
narvik_check_user_exists(const text *user_id)
{
	if (!narvik_user_exists(user_id))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("user does not exist"),
				 errdetail("Table \"%s\" has no such user.",
						   get_rel_name(narvik_find_link().users))));
}

/* ---- the row of a user -------------------------------------------------- */

/* What the executor would check if the caller read whole rows. */
static void
check_caller_may_read(Relation users)
{
	Oid			relid = RelationGetRelid(users);
	Oid			schema = RelationGetNamespace(users);
	AclResult	allowed = narvik_schema_usage(schema, GetUserId());

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_SCHEMA, get_namespace_name(schema));
	allowed = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	if (allowed != ACLCHECK_OK)
		allowed = pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ALL);
	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_TABLE, RelationGetRelationName(users));
}

/* Of several with one key, which its loss of uniqueness permits, it is none. */
static bool
select_user(const NarvikLink *link, Relation users, const text *user_id, Datum key, Datum *row)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			key_type = getBaseType(link->key_type);
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* In parentheses, or it would be the columns. */
	if (SPI_execute_with_args(narvik_sql_of(users,
											psprintf("SELECT (u.*)::%s, u.%s FROM %s AS u WHERE %s",
													 format_type_be_qualified(users->rd_rel->reltype),
													 key_name(link), narvik_users_source(users),
													 key_condition(link))),
							  1, &key_type, &key, NULL, true, 2) != SPI_OK_SELECT)
		elog(ERROR, "could not fetch a user");
	found = found_user(link, 2, user_id);
	if (found)
	{
		Datum		value = found_value(1, users->rd_rel->reltype);
		MemoryContext spi_context = MemoryContextSwitchTo(context);

		*row = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
		MemoryContextSwitchTo(spi_context);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return found;
}

/*
 * The row of a user as the caller may see it, by the active snapshot.  False if
 * there is none.
 *
 * Where row-level security applies to the caller, the caller reads it.
 * Elsewhere, as for a superuser, the owner does.
 */
bool
narvik_fetch_user(const NarvikLink *link, Relation users, const text *user_id,
				  Datum *row)
{
	bool		as_caller = check_enable_rls(RelationGetRelid(users), InvalidOid, true) == RLS_ENABLED;
	NarvikCaller caller;
	Datum		key;
	bool		found;

	check_caller_may_read(users);
	narvik_become_owner(users, &caller);
	found = parse_key(link, user_id, &key);
	if (as_caller)
		narvik_become_caller(&caller);
	found = found && select_user(link, users, user_id, key, row);
	if (!as_caller)
		narvik_become_caller(&caller);
	return found;
}
