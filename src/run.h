/*
 * run.h
 *		Running SQL statements on the table of sessions.
 */
#ifndef NARVIK_RUN_H
#define NARVIK_RUN_H

#include "executor/spi.h"

#define NARVIK_MAX_PARAMS	8

/* A statement; %s stands for the table.  Its plan is made when first used. */
typedef struct NarvikStatement
{
	const char *text;
	int			nparams;
	Oid			types[NARVIK_MAX_PARAMS];
	int			cursor_options;
	SPIPlanPtr	plan;
	char	   *table_name;		/* the table the plan was made for */
} NarvikStatement;

/* How to run a statement, to be combined. */
#define NARVIK_READ_ONLY	1
/*
 * Not on behalf of a client but in a process with all rights: triggers on the
 * table must not get hold of them.
 */
#define NARVIK_RESTRICTED	2
#define NARVIK_WITHOUT_INDEX	4

typedef struct NarvikRun
{
	MemoryContext caller_context;
	Oid			caller;
	int			caller_sec_context;
	int			guc_level;
} NarvikRun;

extern void narvik_run_prepare(NarvikRun *run, NarvikStatement *statement,
							   int how);
extern void narvik_run_begin(NarvikRun *run, NarvikStatement *statement,
							 Datum *values, const char *nulls,
							 Snapshot snapshot, int how);
extern void narvik_run_end(NarvikRun *run);
extern int64 narvik_run_count(NarvikStatement *statement, Datum *values,
							  const char *nulls, int how);
extern Datum narvik_run_column(uint64 row, int column);
extern Datum narvik_run_column_copy(const NarvikRun *run, uint64 row, int column);

#endif							/* NARVIK_RUN_H */
