/*
 * store_lock.h
 *		Locking rows of the table of sessions; for the store's own files.
 */
#ifndef NARVIK_STORE_LOCK_H
#define NARVIK_STORE_LOCK_H

#include "access/tableam.h"

#include "store.h"
#include "store_run.h"

extern void narvik_lock_user(const text *user_id);
extern bool narvik_lock_user_if_free(const text *user_id);
extern bool narvik_lock_session(const unsigned char *id, LockTupleMode mode,
								ItemPointer tid);
extern int64 narvik_change_rows(NarvikStatement *find, NarvikStatement *change,
								Datum *values, const char *nulls, int how);

#endif							/* NARVIK_STORE_LOCK_H */
