/*
 * cookie_functions.c
 *		Settings and SQL functions of the session cookie.
 *
 * cookie.c knows what browsers accept; here its answers become refused
 * settings and errors.  No table, no lock; results are allocated in the
 * caller's memory context.  Every function is PARALLEL SAFE: they read
 * settings, which parallel workers share, and nothing else.
 *
 * A setting that is wrong in itself is refused when it is set.  Settings that
 * do not go together are refused when a cookie is made of them: they are set
 * one after the other, in any order, and not all by the same person.
 *
 * No message shows a token.
 */
#include "postgres.h"
#include "compat.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "cookie.h"
#include "cookie_functions.h"
#include "policy.h"

#define AS_LONG_AS_SESSION	(-1)
#define UNTIL_CLOSED		0

/* More than browsers send: they keep 180 cookies for a site, of 4 kB each. */
#define MAX_HEADER_BYTES	(1024 * 1024)

PG_FUNCTION_INFO_V1(narvik_cookie_name);
PG_FUNCTION_INFO_V1(narvik_create_cookie);
PG_FUNCTION_INFO_V1(narvik_create_blank_cookie);
PG_FUNCTION_INFO_V1(narvik_read_cookie);

static char *cookie_name = NULL;
static int	cookie_expires_in = AS_LONG_AS_SESSION; /* seconds */
static char *cookie_domain = NULL;
static char *cookie_path = NULL;
static int	cookie_same_site = NARVIK_SAME_SITE_LAX;
static bool cookie_secure = true;
static bool cookie_partitioned = false;

static const struct config_enum_entry same_site_options[] = {
	{"lax", NARVIK_SAME_SITE_LAX, false},
	{"strict", NARVIK_SAME_SITE_STRICT, false},
	{"none", NARVIK_SAME_SITE_NONE, false},
	{NULL, 0, false}
};

/* ---- settings ----------------------------------------------------------- */

static bool
accept_unless(const char *flaw)
{
	if (flaw)
		GUC_check_errdetail("%s", _(flaw));
	return flaw == NULL;
}

static bool
check_cookie_name(char **newval, void **extra, GucSource source)
{
	return accept_unless(narvik_cookie_name_flaw(*newval));
}

static bool
check_cookie_domain(char **newval, void **extra, GucSource source)
{
	return accept_unless(narvik_cookie_domain_flaw(*newval));
}

static bool
check_cookie_path(char **newval, void **extra, GucSource source)
{
	return accept_unless(narvik_cookie_path_flaw(*newval));
}

/*
 * Called from _PG_init, which also reserves the prefix narvik.
 *
 * PGC_SUSET: an application's role must not lengthen the life of its cookies
 * nor take their protection away.
 */
void
narvik_cookie_functions_init(void)
{
	DefineCustomStringVariable("narvik.cookie_name",
							   "Sets the name of the session cookie.",
							   NULL,
							   &cookie_name,
							   "narvik_session",
							   PGC_SUSET, 0,
							   check_cookie_name, NULL, NULL);
	DefineCustomIntVariable("narvik.cookie_expires_in",
							"Sets how long browsers keep the session cookie.",
							"-1 keeps it for \"narvik.session_expires_in\", 0 until the browser is closed.",
							&cookie_expires_in,
							AS_LONG_AS_SESSION,
							AS_LONG_AS_SESSION, NARVIK_COOKIE_MAX_AGE,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("narvik.cookie_domain",
							   "Sets the domain of the session cookie.",
							   "Empty keeps the cookie to the host that sent it.",
							   &cookie_domain,
							   "",
							   PGC_SUSET, 0,
							   check_cookie_domain, NULL, NULL);
	DefineCustomStringVariable("narvik.cookie_path",
							   "Sets the path of the session cookie.",
							   NULL,
							   &cookie_path,
							   "/",
							   PGC_SUSET, 0,
							   check_cookie_path, NULL, NULL);
	DefineCustomEnumVariable("narvik.cookie_same_site",
							 "Sets whether requests from other sites carry the session cookie.",
							 NULL,
							 &cookie_same_site,
							 NARVIK_SAME_SITE_LAX, same_site_options,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("narvik.cookie_secure",
							 "Sets whether browsers send the session cookie over secure connections only.",
							 NULL,
							 &cookie_secure,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("narvik.cookie_partitioned",
							 "Sets whether browsers keep a session cookie of its own for each site that embeds this one.",
							 NULL,
							 &cookie_partitioned,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

/* ---- making a cookie ---------------------------------------------------- */

/* Whether browsers accept such a cookie; if not, it is said at this level. */
static bool
check_settings_go_together(const NarvikCookie *cookie, int elevel)
{
	switch (narvik_cookie_conflict(cookie))
	{
		case NARVIK_COOKIE_NO_CONFLICT:
			return true;
		case NARVIK_SAME_SITE_NONE_NEEDS_SECURE:
			ereport(elevel,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value \"none\" of \"narvik.cookie_same_site\" requires \"narvik.cookie_secure\"")));
			break;
		case NARVIK_PARTITIONED_NEEDS_SECURE:
			ereport(elevel,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"narvik.cookie_partitioned\" requires \"narvik.cookie_secure\"")));
			break;
		case NARVIK_PREFIX_NEEDS_SECURE:
			ereport(elevel,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value \"%s\" of \"narvik.cookie_name\" requires \"narvik.cookie_secure\"",
							cookie->name)));
			break;
		case NARVIK_HOST_PREFIX_NEEDS_NO_DOMAIN:
			ereport(elevel,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value \"%s\" of \"narvik.cookie_name\" requires an empty \"narvik.cookie_domain\"",
							cookie->name)));
			break;
		case NARVIK_HOST_PREFIX_NEEDS_ROOT_PATH:
			ereport(elevel,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value \"%s\" of \"narvik.cookie_name\" requires \"/\" as \"narvik.cookie_path\"",
							cookie->name)));
			break;
	}
	return false;
}

static NarvikCookie
cookie_from_settings(int64 max_age)
{
	NarvikCookie cookie = {
		.name = cookie_name,
		.domain = cookie_domain,
		.path = cookie_path,
		.max_age = max_age,
		.same_site = cookie_same_site,
		.secure = cookie_secure,
		.partitioned = cookie_partitioned
	};

	return cookie;
}

/*
 * How long it is until then, a fraction of a second rounded up: a cookie must not
 * be gone while its session lives.
 */
static int64
seconds_until(TimestampTz expires_at)
{
	int64		usecs = expires_at - GetCurrentStatementStartTimestamp();

	return usecs / USECS_PER_SEC + (usecs % USECS_PER_SEC > 0);
}

static bool
is_zero(const Interval *interval)
{
	return interval->month == 0 && interval->day == 0 && interval->time == 0;
}

/*
 * How long the cookie lives, in seconds.  cookie_expires_in cannot be set too
 * long; the other two can.  Browsers would cut the time short (6265bis section
 * 5.5).
 */
static int64
choose_max_age(const Interval *expires_in)
{
	int64		max_age;

	if (expires_in ? is_zero(expires_in) : cookie_expires_in == UNTIL_CLOSED)
		return NARVIK_COOKIE_NO_MAX_AGE;
	if (expires_in)
		max_age = seconds_until(narvik_expiry_after(GetCurrentStatementStartTimestamp(), expires_in));
	else if (cookie_expires_in != AS_LONG_AS_SESSION)
		max_age = cookie_expires_in;
	else
		max_age = narvik_session_expires_in;

	if (max_age <= NARVIK_COOKIE_MAX_AGE)
		return max_age;
	if (expires_in)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expires_in is too long for a cookie"),
				 errdetail("Browsers keep a cookie for at most 400 days.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"narvik.session_expires_in\" is too long for a cookie"),
			 errdetail("Browsers keep a cookie for at most 400 days."),
			 errhint("Set \"narvik.cookie_expires_in\" to 400 days or less.")));
}

static void
check_token(const char *token, size_t len)
{
	if (!narvik_cookie_has_room(cookie_name, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"narvik.cookie_name\" and token are too long for a cookie"),
				 errdetail("Browsers ignore a cookie whose name and value are over %d bytes long together.",
						   NARVIK_COOKIE_MAX_BYTES)));
	if (!narvik_is_cookie_value(token, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("token contains a character that a cookie cannot hold"),
				 errdetail("These are control characters, spaces, double quotes, commas, semicolons, backslashes and non-ASCII characters.")));
}

static text *
print_cookie(const NarvikCookie *cookie, const char *value, size_t value_len)
{
	size_t		len = narvik_print_cookie(cookie, value, value_len, NULL, 0);
	text	   *result = palloc(VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	narvik_print_cookie(cookie, value, value_len, VARDATA(result), len);
	return result;
}

/*
 * The cookie of a session that has just been extended, whose token came in one.
 * If no setting says how long the cookie lives, it lives as
 * long as the session, or as long as browsers permit.
 *
 * NULL, and a warning, if browsers would not accept it: whoever changed the
 * settings may not have logged in since, and all others still have a cookie.
 */
text *
narvik_session_cookie(const char *token, size_t len, TimestampTz expires_at)
{
	NarvikCookie cookie = cookie_from_settings(cookie_expires_in == AS_LONG_AS_SESSION ?
											   Min(seconds_until(expires_at), NARVIK_COOKIE_MAX_AGE) :
											   choose_max_age(NULL));

	if (!check_settings_go_together(&cookie, WARNING))
		return NULL;
	return print_cookie(&cookie, token, len);
}

const char *
narvik_session_cookie_name(void)
{
	return cookie_name;
}

/*
 * A Cookie header in an argument, text or bytea.  False if it is null, or so long
 * that no browser sent it: nobody should be able to make us copy 1 GB.
 */
bool
narvik_cookie_header_arg(FunctionCallInfo fcinfo, int argno, const char **header, size_t *len)
{
	struct varlena *arg;

	if (PG_ARGISNULL(argno) ||
		toast_raw_datum_size(PG_GETARG_DATUM(argno)) > VARHDRSZ + MAX_HEADER_BYTES)
		return false;
	arg = PG_GETARG_VARLENA_PP(argno);
	*header = VARDATA_ANY(arg);
	*len = VARSIZE_ANY_EXHDR(arg);
	return true;
}

/* ---- SQL functions ------------------------------------------------------ */

/*
 * narvik_cookie_name() RETURNS text
 *
 * The setting narvik.cookie_name.
 */
Datum
narvik_cookie_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(cookie_name));
}

/*
 * narvik_create_cookie(token text, expires_in interval DEFAULT NULL)
 * RETURNS text
 *
 * The value of a Set-Cookie header.  NULL token: NULL.  NULL expires_in:
 * narvik.cookie_expires_in.  invalid_parameter_value if a browser would ignore
 * the cookie or take it for another.
 */
Datum
narvik_create_cookie(PG_FUNCTION_ARGS)
{
	text	   *token;
	NarvikCookie cookie;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	token = PG_GETARG_TEXT_PP(0);
	cookie = cookie_from_settings(choose_max_age(PG_ARGISNULL(1) ? NULL :
												 PG_GETARG_INTERVAL_P(1)));
	(void) check_settings_go_together(&cookie, ERROR);
	check_token(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
	PG_RETURN_TEXT_P(print_cookie(&cookie, VARDATA_ANY(token),
								  VARSIZE_ANY_EXHDR(token)));
}

/*
 * narvik_create_blank_cookie() RETURNS text
 *
 * The value of a Set-Cookie header that removes the cookie: an age of zero,
 * and name, domain and path as it was set with (RFC 6265 section 3.1).
 * invalid_parameter_value if a browser would ignore it.
 */
Datum
narvik_create_blank_cookie(PG_FUNCTION_ARGS)
{
	NarvikCookie cookie = cookie_from_settings(0);

	(void) check_settings_go_together(&cookie, ERROR);
	PG_RETURN_TEXT_P(print_cookie(&cookie, "", 0));
}

/*
 * narvik_read_cookie(cookie_header text) RETURNS text, STRICT
 *
 * The session cookie's value out of a Cookie request header, or NULL if it is
 * not there.  Never an error, whatever the header: browsers send what they
 * like, and narvik_validate_session takes any text.
 */
Datum
narvik_read_cookie(PG_FUNCTION_ARGS)
{
	const char *header;
	size_t		len;
	const char *value;
	size_t		value_len;

	if (!narvik_cookie_header_arg(fcinfo, 0, &header, &len) ||
		!narvik_find_cookie(header, len, cookie_name, &value, &value_len))
		PG_RETURN_NULL();

	PG_RETURN_TEXT_P(cstring_to_text_with_len(value, (int) value_len));
}
