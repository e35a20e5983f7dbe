/*
 * purge.c
 *		Removing expired sessions.
 *
 * Nothing depends on it: validation never takes an expired session for a live
 * one, whether its row is still there or not.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "store.h"

PG_FUNCTION_INFO_V1(narvik_delete_all_expired_sessions);

/*
 * narvik_delete_all_expired_sessions() returns bigint
 *
 * How many there were; those past narvik.session_max_age count.  Deletes in
 * the caller's transaction and waits for rows that others have locked.
 */
Datum
narvik_delete_all_expired_sessions(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PreventCommandIfReadOnly("narvik_delete_all_expired_sessions()");
	PG_RETURN_INT64(narvik_store_delete_expired(GetCurrentStatementStartTimestamp()));
}
