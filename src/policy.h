/*
 * policy.h
 *		How long a session lives, and what may become one.
 */
#ifndef NARVIK_POLICY_H
#define NARVIK_POLICY_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* What decides how long a session lives. */
typedef struct NarvikTerms
{
	bool		guest;
	TimestampTz created_at;
	TimestampTz expires_at;
	TimestampTz ends_at;		/* DT_NOEND: none of its own */
	bool		sliding;
	bool		has_lifetime;	/* else the setting decides */
	Interval	lifetime;
} NarvikTerms;

extern int	narvik_session_expires_in;	/* seconds */
extern int	narvik_max_sessions_per_user;	/* 0: no limit */
extern int	narvik_max_sessions_action;
extern int	narvik_rotation_grace;	/* seconds */
extern bool narvik_detect_reuse;

/* What happens to one session too many. */
enum
{
	NARVIK_EVICT,				/* the oldest ends */
	NARVIK_REFUSE
};

extern void narvik_policy_init(void);

extern TimestampTz narvik_expiry_after(TimestampTz from,
									   const Interval *lifetime);
extern void narvik_set_first_expiry(NarvikTerms *terms);
extern TimestampTz narvik_expires_at(const NarvikTerms *terms);
extern bool narvik_has_expired(const NarvikTerms *terms, TimestampTz now);
extern bool narvik_extension_due(const NarvikTerms *terms, TimestampTz now,
								 TimestampTz *new_expires_at);
extern bool narvik_activity_due(const NarvikTerms *terms, TimestampTz active_at,
								TimestampTz now);
extern TimestampTz narvik_activity_at(TimestampTz active_at, TimestampTz now);
extern bool narvik_is_within(TimestampTz since, const Interval *within,
							 TimestampTz now);
extern bool narvik_remembers_replaced(void);
extern bool narvik_in_grace(TimestampTz replaced_at, TimestampTz now);
extern bool narvik_get_max_age(Interval *max_age);
extern TimestampTz narvik_oldest_allowed(TimestampTz now);
extern int32 narvik_purge_hour(TimestampTz expires_at);

extern bool narvik_is_same_user_id(const text *a, const text *b);
extern void narvik_check_user_id(const text *user_id);
extern void narvik_check_data(Jsonb *data);
extern void narvik_check_expires_at(TimestampTz expires_at);

#endif							/* NARVIK_POLICY_H */
