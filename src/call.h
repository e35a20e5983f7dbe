/*
 * call.h
 *		Arguments and answers of the SQL functions about sessions.
 */
#ifndef NARVIK_CALL_H
#define NARVIK_CALL_H

#include "fmgr.h"
#include "utils/relcache.h"

#include "store.h"

/* What validation takes at most; 20 random bytes need 32. */
#define NARVIK_MAX_TOKEN_BYTES	1024

extern text *narvik_user_id_arg(FunctionCallInfo fcinfo, int argno);
extern Jsonb *narvik_data_arg(FunctionCallInfo fcinfo, int argno);
extern void narvik_begin_session(FunctionCallInfo fcinfo, int data_argno,
								 text *user_id, NarvikSession *session);
extern TimestampTz narvik_expires_at_arg(FunctionCallInfo fcinfo, int argno);
extern bool narvik_lifetime_arg(FunctionCallInfo fcinfo, int argno,
								TimestampTz from, Interval *lifetime);
extern void narvik_require_arg(FunctionCallInfo fcinfo, int argno,
							   const char *message);
extern int32 narvik_max_rows_arg(FunctionCallInfo fcinfo, int argno);
extern const char *narvik_reason_arg(FunctionCallInfo fcinfo, int argno,
									 const char *if_null);
extern bool narvik_id_arg(FunctionCallInfo fcinfo, int argno,
						  unsigned char *id);
extern bool narvik_token_arg(FunctionCallInfo fcinfo, int argno,
							 unsigned char *id);

extern Datum narvik_created_session(FunctionCallInfo fcinfo, const text *token,
									const NarvikSession *session);
extern Datum narvik_no_row(FunctionCallInfo fcinfo);
extern void narvik_check_rows_expected(FunctionCallInfo fcinfo, Relation rel);
extern Datum narvik_one_row(FunctionCallInfo fcinfo, Datum row);
extern Datum narvik_session_row(FunctionCallInfo fcinfo,
								const NarvikSession *session,
								bool extended, bool due);
extern Datum narvik_request_row(FunctionCallInfo fcinfo, const text *set_cookie,
								const text *token, const NarvikSession *session,
								bool extended, bool due);
extern Tuplestorestate *narvik_session_rows(FunctionCallInfo fcinfo);
extern Tuplestorestate *narvik_event_rows(FunctionCallInfo fcinfo);
extern Datum narvik_created_session_row(FunctionCallInfo fcinfo,
										const text *token,
										const NarvikSession *session);

#endif							/* NARVIK_CALL_H */
