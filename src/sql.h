/*
 * sql.h
 *		What modules need to run SQL of their own: names, whose rights, and a way
 *		back.
 */
#ifndef NARVIK_SQL_H
#define NARVIK_SQL_H

#include "utils/relcache.h"

/* Who called, to be put back by narvik_become_caller(). */
typedef struct NarvikCaller
{
	Oid			role;
	int			security_context;
	int			guc_level;
} NarvikCaller;

extern void narvik_become_owner(Relation rel, NarvikCaller *caller);
extern void narvik_set_for_owner(const char *setting, const char *value);
extern void narvik_become_caller(const NarvikCaller *caller);
extern ErrorData *narvik_attempt(void (*action) (void *arg), void *arg);
extern void narvik_sql_init(void);
extern char *narvik_qualified_name(Relation rel);
extern char *narvik_sql_of(Relation rel, const char *sql);
extern void narvik_run_ddl(const char *sql);

#endif							/* NARVIK_SQL_H */
