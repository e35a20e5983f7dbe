/*
 * grants.c
 *		What an application's role may do, in one call.
 *
 * The grants are ordinary ones, made as the caller, so pg_dump carries them.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_proc_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "call.h"
#include "relation.h"
#include "sql.h"

PG_FUNCTION_INFO_V1(narvik_grant);
PG_FUNCTION_INFO_V1(narvik_revoke);

/*
 * Everything about sessions.  What touches none is open to all unless default
 * privileges took it from PUBLIC, and policies call it as the application's
 * role, so it is granted as well.  The link, the counters and the purge are the
 * administrator's.
 */
static const char *const application_functions[] = {
	"narvik_create_session",
	"narvik_create_guest_session",
	"narvik_promote_session",
	"narvik_validate_session",
	"narvik_validate_user",
	"narvik_authenticate",
	"narvik_authenticate_cookie",
	"narvik_invalidate_session",
	"narvik_rotate_session",
	"narvik_reauthenticate_session",
	"narvik_fetch_sessions_for_user",
	"narvik_fetch_events_for_user",
	"narvik_delete_sessions_for_user",
	"narvik_update_session_data",
	"narvik_save_session",
	"narvik_fetch_session",
	"narvik_update_session_expiry",
	"narvik_delete_session",
	"narvik_put_session",
	"narvik_change_session_id",
	"narvik_generate_token",
	"narvik_session_id",
	"narvik_cookie_name",
	"narvik_create_cookie",
	"narvik_create_blank_cookie",
	"narvik_read_cookie",
	"narvik_current_user_id",
	"narvik_current_session_id",
	"narvik_current_data",
	"narvik_is_fresh"
};

static char *
schema_name(void)
{
	Oid			function = narvik_find_function(application_functions[0]);

	return pstrdup(quote_identifier(get_namespace_name(get_func_namespace(function))));
}

/*
 * "narvik.narvik_create_session(text,jsonb,interval,boolean,interval), ..."  Somebody may
 * have other functions of the same names in narvik's schema.
 */
static char *
function_list(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(application_functions); i++)
	{
		List	   *functions = narvik_find_functions(application_functions[i]);
		ListCell   *cell;

		foreach(cell, functions)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
							 format_procedure_qualified(lfirst_oid(cell)));
	}
	return list.data;
}

static const char *
role_arg(FunctionCallInfo fcinfo)
{
	narvik_require_arg(fcinfo, 0, gettext_noop("role must not be null"));
	return quote_identifier(GetUserNameFromId(PG_GETARG_OID(0), false));
}

/*
 * narvik_grant(role regrole) returns void
 *
 * EXECUTE on what an application needs, and USAGE on narvik's schema.  Raises
 * null_value_not_allowed for NULL, undefined_object for a role that does not
 * exist.
 */
Datum
narvik_grant(PG_FUNCTION_ARGS)
{
	const char *role = role_arg(fcinfo);
	char	   *schema = schema_name();

	PreventCommandIfReadOnly("narvik_grant()");
	narvik_run_ddl(psprintf("GRANT USAGE ON SCHEMA %s TO %s", schema, role));
	narvik_run_ddl(psprintf("GRANT EXECUTE ON FUNCTION %s TO %s", function_list(), role));
	PG_RETURN_VOID();
}

/*
 * narvik_revoke(role regrole) returns void
 *
 * Takes EXECUTE back.  USAGE on the schema stays: the role may have it for
 * other reasons, and it opens nothing.  Errors as for narvik_grant().
 */
Datum
narvik_revoke(PG_FUNCTION_ARGS)
{
	const char *role = role_arg(fcinfo);

	PreventCommandIfReadOnly("narvik_revoke()");
	narvik_run_ddl(psprintf("REVOKE EXECUTE ON FUNCTION %s FROM %s",
							function_list(), role));
	PG_RETURN_VOID();
}
