/*
 * policy.c
 *		How long a session lives, and what may become one.
 *
 * Settings and arithmetic; no table, no lock, no allocation that outlives
 * the caller's memory context.
 *
 * Lifetimes are added in UTC: a day is 24 hours and a month is the calendar's
 * month in UTC.  With timestamptz + interval a session's end would depend on
 * the TimeZone of the connection that happens to extend it.
 */
#include "postgres.h"
#include "compat.h"

#include <limits.h>

#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "policy.h"

#define MAX_USER_ID_BYTES	1024

/*
 * No sum of a present time and a longer interval is a timestamp: the type
 * ends in the year 294276.
 */
#define MAX_LIFETIME_DAYS	(292000 * 365.2425)

/* From the year 1 to PostgreSQL's epoch: timestamps reach further back. */
#define DAYS_AD				(1999 * 365.2425)

int			narvik_session_expires_in = 30 * SECS_PER_DAY;
int			narvik_max_sessions_per_user = 0;

static int	session_max_age = 0;	/* seconds; 0: no limit */

void
narvik_policy_init(void)
{
	DefineCustomIntVariable("narvik.session_expires_in",
							"Sets how long a session lives, and how long an extension makes it live again.",
							"Sessions created with a lifetime of their own keep it.",
							&narvik_session_expires_in,
							30 * SECS_PER_DAY, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("narvik.session_max_age",
							"Sets the age at which a session expires no matter how often it was extended.",
							"Zero sets no limit.",
							&session_max_age,
							0, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("narvik.max_sessions_per_user",
							"Sets how many sessions a user may have; creating one more deletes the oldest.",
							"Zero sets no limit.",
							&narvik_max_sessions_per_user,
							0, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
}

/* ---- arithmetic --------------------------------------------------------- */

#define DAYS_PER_CALENDAR_MONTH	(365.2425 / MONTHS_PER_YEAR)

/*
 * Whether a lifetime is positive and can be added to a present time without
 * leaving the range of timestamps on the way.  Anything may come from a
 * caller, or from a row that the table's owner changed.
 */
static bool
is_sane_lifetime(const Interval *lifetime)
{
	double		months = lifetime->month * DAYS_PER_CALENDAR_MONTH;
	double		days = months + lifetime->day;
	double		total = days + (double) lifetime->time / USECS_PER_DAY;

	if (lifetime->month != 0 && (months < 0 || days < 0))
		return false;
	return total > 0 && Max(Max(months, days), total) <= MAX_LIFETIME_DAYS;
}

/* The length of a sane lifetime that has no months. */
static int64
fixed_usecs(const Interval *lifetime)
{
	return lifetime->day * USECS_PER_DAY + lifetime->time;
}

/*
 * Add a lifetime to a timestamp.  False if the lifetime is not sane, or the
 * sum is not a later timestamp.
 */
static bool
add_lifetime(TimestampTz from, const Interval *lifetime, TimestampTz *sum)
{
	if (!is_sane_lifetime(lifetime))
		return false;

	if (lifetime->month == 0)
	{
		if (pg_add_s64_overflow(from, fixed_usecs(lifetime), sum))
			return false;
	}
	else
		*sum = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
													 TimestampGetDatum(from),
													 IntervalPGetDatum(lifetime)));
	return *sum > from && IS_VALID_TIMESTAMP(*sum);
}

/*
 * The moment from which on a session is extended: half a sane lifetime before
 * it expires.  As early as can be if that lies before all timestamps.
 */
static TimestampTz
extension_due_at(TimestampTz expires_at, const Interval *lifetime)
{
	Interval   *half;
	TimestampTz due_at;

	if (lifetime->month == 0)
	{
		if (pg_sub_s64_overflow(expires_at, fixed_usecs(lifetime) / 2, &due_at))
			return DT_NOBEGIN;
		return due_at;
	}

	half = DatumGetIntervalP(DirectFunctionCall2(interval_div,
												 IntervalPGetDatum(lifetime),
												 Float8GetDatum(2.0)));
	if (half->month * DAYS_PER_CALENDAR_MONTH + half->day >=
		(double) expires_at / USECS_PER_DAY + DAYS_AD)
		return DT_NOBEGIN;
	return DatumGetTimestamp(DirectFunctionCall2(timestamp_mi_interval,
												 TimestampGetDatum(expires_at),
												 IntervalPGetDatum(half)));
}

static Interval
full_lifetime(const NarvikTerms *terms)
{
	Interval	from_setting = {0};

	if (terms->has_lifetime)
		return terms->lifetime;
	from_setting.time = narvik_session_expires_in * USECS_PER_SEC;
	return from_setting;
}

/*
 * The moment at which a session of this age limit ends; infinity without.
 */
static TimestampTz
max_age_ends_at(TimestampTz created_at)
{
	TimestampTz ends_at;

	if (session_max_age == 0 || TIMESTAMP_NOT_FINITE(created_at) ||
		pg_add_s64_overflow(created_at, session_max_age * USECS_PER_SEC, &ends_at))
		return DT_NOEND;
	return ends_at;
}

/* ---- rules -------------------------------------------------------------- */

/*
 * The end of a lifetime that a caller asked for.  Raises
 * invalid_parameter_value if it is zero, negative or no timestamp.
 */
TimestampTz
narvik_expiry_after(TimestampTz from, const Interval *lifetime)
{
	TimestampTz expires_at;

	if (!add_lifetime(from, lifetime, &expires_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session lifetime out of range"),
				 errdetail("A lifetime must be positive and end within the range of timestamps.")));
	return expires_at;
}

/*
 * Set when a new session expires: a full lifetime after its creation, but
 * within narvik.session_max_age.
 */
void
narvik_set_first_expiry(NarvikTerms *terms)
{
	Interval	lifetime = full_lifetime(terms);

	terms->expires_at = Min(narvik_expiry_after(terms->created_at, &lifetime),
							max_age_ends_at(terms->created_at));
}

bool
narvik_has_expired(const NarvikTerms *terms, TimestampTz now)
{
	return now >= terms->expires_at ||
		now >= max_age_ends_at(terms->created_at);
}

/*
 * Whether validating the session now extends it, and until when.  Half of the
 * lifetime or less must be left (Narvik's rule; exactly half is enough).
 * False as well when the extension would not move the expiry forward, as at
 * the end of narvik.session_max_age.
 */
bool
narvik_extension_due(const NarvikTerms *terms, TimestampTz now,
					 TimestampTz *new_expires_at)
{
	Interval	lifetime;
	TimestampTz extended;

	if (!terms->sliding || TIMESTAMP_NOT_FINITE(terms->expires_at))
		return false;

	lifetime = full_lifetime(terms);
	if (!add_lifetime(now, &lifetime, &extended) ||
		now < extension_due_at(terms->expires_at, &lifetime))
		return false;

	*new_expires_at = Min(extended, max_age_ends_at(terms->created_at));
	return *new_expires_at > terms->expires_at;
}

/*
 * Sessions created at this moment or earlier are past narvik.session_max_age.
 */
TimestampTz
narvik_oldest_allowed(TimestampTz now)
{
	if (session_max_age == 0)
		return DT_NOBEGIN;
	return now - session_max_age * USECS_PER_SEC;
}

/* ---- what may become a session ------------------------------------------ */

void
narvik_check_user_id(const text *user_id)
{
	Size		len = VARSIZE_ANY_EXHDR(user_id);

	if (len == 0 || len > MAX_USER_ID_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("user ID must be 1 to %d bytes long", MAX_USER_ID_BYTES)));
}

void
narvik_check_data(Jsonb *data)
{
	if (!JB_ROOT_IS_OBJECT(data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("session data must be a JSON object")));
}

/*
 * An infinite expiry would be a session that nothing ever ends.
 */
void
narvik_check_expires_at(TimestampTz expires_at)
{
	if (TIMESTAMP_NOT_FINITE(expires_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expiry of a session must be finite")));
}
