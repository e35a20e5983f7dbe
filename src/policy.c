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

/* For estimates of sums that have months. */
#define DAYS_PER_CALENDAR_MONTH	(365.2425 / MONTHS_PER_YEAR)
#define ESTIMATE_ERROR_DAYS		40

int			narvik_session_expires_in = 30 * SECS_PER_DAY;
int			narvik_max_sessions_per_user = 0;
int			narvik_max_sessions_action = NARVIK_EVICT;
int			narvik_rotation_grace = 0;
bool		narvik_detect_reuse = false;

static int	guest_expires_in = SECS_PER_DAY;	/* seconds */
static int	session_max_age = 0;	/* seconds; 0: no limit */
static int	activity_interval = 0;	/* seconds; 0: not noted */

static const struct config_enum_entry max_sessions_actions[] = {
	{"evict", NARVIK_EVICT, false},
	{"refuse", NARVIK_REFUSE, false},
	{NULL, 0, false}
};

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
	DefineCustomIntVariable("narvik.guest_expires_in",
							"Sets how long a guest's session lives, and how long an extension makes it live again.",
							"Sessions created with a lifetime of their own keep it.",
							&guest_expires_in,
							SECS_PER_DAY, 1, INT_MAX,
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
							"Sets how many sessions a user may have.",
							"Zero sets no limit.",
							&narvik_max_sessions_per_user,
							0, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("narvik.max_sessions_action",
							 "Sets whether one session too many ends the user's oldest or is refused.",
							 NULL,
							 &narvik_max_sessions_action,
							 NARVIK_EVICT, max_sessions_actions,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("narvik.activity_interval",
							"Sets how long after the last note the use of a session is noted again.",
							"Zero notes nothing.",
							&activity_interval,
							0, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("narvik.rotation_grace",
							"Sets how long a token that rotation replaced stays valid.",
							NULL,
							&narvik_rotation_grace,
							0, 0, SECS_PER_HOUR,
							PGC_SUSET, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("narvik.detect_reuse",
							 "Sets whether a session ends if a token that rotation replaced is seen again.",
							 NULL,
							 &narvik_detect_reuse,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

/* ---- arithmetic --------------------------------------------------------- */

/*
 * Whether an interval can be added (sign 1) or subtracted (sign -1) without
 * leaving the range of timestamps on the way: PostgreSQL's functions raise an
 * error then.  An estimate, wrong only within days of the range's ends.
 */
static bool
stays_in_range(TimestampTz from, const Interval *span, int sign)
{
	const double first = (double) MIN_TIMESTAMP / USECS_PER_DAY + ESTIMATE_ERROR_DAYS;
	const double last = (double) END_TIMESTAMP / USECS_PER_DAY - ESTIMATE_ERROR_DAYS;
	double		months = sign * span->month * DAYS_PER_CALENDAR_MONTH;
	double		at_months = (double) from / USECS_PER_DAY + months;
	double		at_days = at_months + (double) sign * span->day;
	double		at_time = at_days + sign * ((double) span->time / USECS_PER_DAY);

	return Min(Min(at_months, at_days), at_time) > first &&
		Max(Max(at_months, at_days), at_time) < last;
}

/* The length of an interval that has no months; false if it is too long. */
static bool
fixed_usecs(const Interval *span, int64 *usecs)
{
	return !pg_mul_s64_overflow(span->day, USECS_PER_DAY, usecs) &&
		!pg_add_s64_overflow(*usecs, span->time, usecs);
}

/*
 * Add a lifetime to a timestamp.  False if the sum is no timestamp or not a
 * later one: anything may come from a caller, or from a row that the table's
 * owner changed.
 */
static bool
add_lifetime(TimestampTz from, const Interval *lifetime, TimestampTz *sum)
{
	if (lifetime->month == 0)
	{
		int64		usecs;

		if (!fixed_usecs(lifetime, &usecs) ||
			pg_add_s64_overflow(from, usecs, sum))
			return false;
	}
	else
	{
		if (!stays_in_range(from, lifetime, 1))
			return false;
		*sum = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
													 TimestampGetDatum(from),
													 IntervalPGetDatum(lifetime)));
	}
	return *sum > from && IS_VALID_TIMESTAMP(*sum);
}

/*
 * The moment from which on a session is extended: half a lifetime before it
 * expires.  As early as can be if that lies before all timestamps.
 */
static TimestampTz
extension_due_at(TimestampTz expires_at, const Interval *lifetime)
{
	Interval   *half;

	if (lifetime->month == 0)
	{
		int64		usecs;
		TimestampTz due_at;

		if (!fixed_usecs(lifetime, &usecs) ||
			pg_sub_s64_overflow(expires_at, usecs / 2, &due_at))
			return DT_NOBEGIN;
		return due_at;
	}

	half = DatumGetIntervalP(DirectFunctionCall2(interval_div,
												 IntervalPGetDatum(lifetime),
												 Float8GetDatum(2.0)));
	if (!stays_in_range(expires_at, half, -1))
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
	from_setting.time = (terms->guest ? guest_expires_in : narvik_session_expires_in) *
		USECS_PER_SEC;
	return from_setting;
}

/*
 * The moment at which a session ends whatever its expiry says: its own, or that
 * of narvik.session_max_age.  Infinity without.
 */
static TimestampTz
age_ends_at(const NarvikTerms *terms)
{
	TimestampTz ends_at;

	if (session_max_age == 0 || TIMESTAMP_NOT_FINITE(terms->created_at) ||
		pg_add_s64_overflow(terms->created_at, session_max_age * USECS_PER_SEC, &ends_at))
		return terms->ends_at;
	return Min(ends_at, terms->ends_at);
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
 * When a session expires: never later than its age permits, which a setting may
 * have changed since the row was written.
 */
TimestampTz
narvik_expires_at(const NarvikTerms *terms)
{
	return Min(terms->expires_at, age_ends_at(terms));
}

/*
 * Set when a new session expires: a full lifetime after its creation, if its
 * age permits.
 */
void
narvik_set_first_expiry(NarvikTerms *terms)
{
	Interval	lifetime = full_lifetime(terms);

	terms->expires_at = Min(narvik_expiry_after(terms->created_at, &lifetime),
							age_ends_at(terms));
}

bool
narvik_has_expired(const NarvikTerms *terms, TimestampTz now)
{
	return now >= narvik_expires_at(terms);
}

/*
 * Whether validating the session now extends it, and until when.  Half of the
 * lifetime or less must be left (Narvik's rule; exactly half is enough).
 * False as well when the extension would not move the expiry forward, as at
 * the end of the session's age.
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

	*new_expires_at = Min(extended, age_ends_at(terms));
	return *new_expires_at > terms->expires_at;
}

/*
 * Whether the use of a session is to be noted now.  Being created is the first
 * use.
 */
bool
narvik_activity_due(const NarvikTerms *terms, TimestampTz active_at, TimestampTz now)
{
	return activity_interval > 0 &&
		now - Max(active_at, terms->created_at) >= activity_interval * USECS_PER_SEC;
}

/*
 * What to write as active_at when the row is written anyway.  Who was waited for
 * may have noted a later use.
 */
TimestampTz
narvik_activity_at(TimestampTz active_at, TimestampTz now)
{
	return activity_interval > 0 ? Max(active_at, now) : active_at;
}

/*
 * Whether something was less than an interval ago; DT_NOBEGIN is never.  Raises
 * invalid_parameter_value for a negative or infinite interval.
 */
bool
narvik_is_within(TimestampTz since, const Interval *within, TimestampTz now)
{
	Interval	zero = {0};
	TimestampTz until;
	int			sign = DatumGetInt32(DirectFunctionCall2(interval_cmp,
														 IntervalPGetDatum(within),
														 IntervalPGetDatum(&zero)));

	if (sign < 0 || INTERVAL_NOT_FINITE(within))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("interval must be finite and not negative")));
	if (sign == 0 || TIMESTAMP_NOT_FINITE(since))
		return false;
	if (add_lifetime(since, within, &until))
		return now < until;

	/*
	 * Beyond all timestamps, or over before it began, as '1 month -31 days'
	 * may be.
	 */
	return within->month >= 0 && within->day >= 0 && within->time >= 0;
}

/* Whether it matters which tokens rotation has replaced. */
bool
narvik_remembers_replaced(void)
{
	return narvik_rotation_grace > 0 || narvik_detect_reuse;
}

bool
narvik_in_grace(TimestampTz replaced_at, TimestampTz now)
{
	return narvik_rotation_grace > 0 && !TIMESTAMP_NOT_FINITE(replaced_at) &&
		now - replaced_at < narvik_rotation_grace * USECS_PER_SEC;
}

/* narvik.session_max_age as an interval; false if there is no limit. */
bool
narvik_get_max_age(Interval *max_age)
{
	memset(max_age, 0, sizeof(Interval));
	max_age->time = session_max_age * USECS_PER_SEC;
	return session_max_age > 0;
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

/*
 * The hour since 1970 in which a session expires.  An extension within one hour
 * needs no new index entry: so it is for most sessions that live for minutes, and
 * for none that live for two hours or more.  What an integer cannot hold is far
 * enough away either way.
 */
int32
narvik_purge_hour(TimestampTz expires_at)
{
	const int64 epoch_shift = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
		HOURS_PER_DAY;
	int64		hour = expires_at / USECS_PER_HOUR;

	if (expires_at % USECS_PER_HOUR < 0)
		hour--;
	return (int32) Max(Min(hour + epoch_shift, INT_MAX), INT_MIN);
}

/* ---- what may become a session ------------------------------------------ */

/* NULL, which is nobody, is the same as NULL. */
bool
narvik_is_same_user_id(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

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
