/*
 * relation.h
 *		Where the tables of sessions and of events are.
 */
#ifndef NARVIK_RELATION_H
#define NARVIK_RELATION_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* The columns, in the order of narvik--1.0.sql. */
enum
{
	Anum_narvik_seq = 1,
	Anum_narvik_id,
	Anum_narvik_user_id,
	Anum_narvik_created_at,
	Anum_narvik_expires_at,
	Anum_narvik_ends_at,
	Anum_narvik_authenticated_at,
	Anum_narvik_active_at,
	Anum_narvik_lifetime,
	Anum_narvik_sliding,
	Anum_narvik_data,
	Anum_narvik_purge_hour,
	Anum_narvik_replaced_ids,
	Anum_narvik_replaced_at,
	Natts_narvik = Anum_narvik_replaced_at
};

extern void narvik_relation_init(void);
extern Relation narvik_relation_open(LOCKMODE lockmode);
extern Relation narvik_relation_open_id_index(void);
extern Relation narvik_relation_open_hour_index(Relation rel);
extern Oid	narvik_relation_sequence(Relation rel);
extern Relation narvik_events_open(LOCKMODE lockmode);
extern bool narvik_events_lock_if_free(LOCKMODE lockmode);
extern Oid	narvik_find_function(const char *name);
extern List *narvik_find_functions(const char *name);
extern void narvik_report_bad_column(const char *column);

#endif							/* NARVIK_RELATION_H */
