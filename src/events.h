/*
 * events.h
 *		What happened to sessions: the table narvik_events, and NOTIFY.
 */
#ifndef NARVIK_EVENTS_H
#define NARVIK_EVENTS_H

#include "store_run.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Why a session ended, if the caller does not say. */
#define NARVIK_LOGOUT		"logout"
#define NARVIK_REVOKED		"revoked"
#define NARVIK_TIMED_OUT	"expired"	/* "max_age" if that came first */
#define NARVIK_OVER_LIMIT	"limit"
#define NARVIK_USER_DELETED "user_deleted"
#define NARVIK_REPLACED		"replaced"
#define NARVIK_REUSED_TOKEN "reuse"

#define NARVIK_MAX_REASON_BYTES	64

/* A walk through the log that deletes, batch by batch. */
typedef struct NarvikEventWalk
{
	int64		after;			/* seq behind which to go on; 0: at the oldest */
	int64		stayed;			/* that it came by */
	bool		misplaced;		/* of them, some do not belong there */
	bool		ended;
} NarvikEventWalk;

extern void narvik_events_init(void);
extern bool narvik_events_are_on(void);
extern bool narvik_events_lock_to_write_if_free(void);
extern void narvik_events_open_to_write(void);
extern void narvik_note_event(const char *kind, const unsigned char *session_id,
							  const text *user_id, Jsonb *data);
extern void narvik_note_end(const unsigned char *session_id, const text *user_id,
							Jsonb *data, const char *reason);
extern int64 narvik_run_ending(NarvikStatement *deletion, Datum *values,
							   const char *nulls, int how, const char *reason);
extern void narvik_announce_end_for_user(const text *user_id,
										 const unsigned char *except_id,
										 const char *reason);
extern void narvik_list_events_for_user(const text *user_id, int64 before_seq,
										int32 max_rows, Tuplestorestate *rows);
extern int64 narvik_forget_old_events(NarvikEventWalk *walk, TimestampTz now, int32 limit);

#endif							/* NARVIK_EVENTS_H */
