/*
 * store_run.h
 *		Running SQL statements on the tables; for the store's own files, and for
 *		events.c.
 */
#ifndef NARVIK_STORE_RUN_H
#define NARVIK_STORE_RUN_H

#include "executor/spi.h"
#include "utils/tuplestore.h"

#include "sql.h"

#define NARVIK_MAX_PARAMS	12

/*
 * A statement; %s stands for the table of sessions, or for that of events.  Its
 * plan is made when first used.
 */
typedef struct NarvikStatement
{
	const char *text;
	bool		of_events;
	int			nparams;
	Oid			params[NARVIK_MAX_PARAMS];	/* their types */
	int			ncolumns;		/* of its result */
	Oid			columns[NARVIK_MAX_PARAMS]; /* their types */
	int			cursor_options;
	SPIPlanPtr	plan;
	char	   *table_name;		/* the table the plan was made for */
	Oid			relid;
	/* Of one that deletes, what events.c made of it. */
	struct NarvikStatement *with_events;
	struct NarvikStatement *with_answer;
} NarvikStatement;

/* How to run a statement, to be combined. */
#define NARVIK_READ_ONLY		1
#define NARVIK_WITHOUT_INDEX	2	/* sequential scans are welcome */
#define NARVIK_NEWEST_STATE		4	/* whatever the isolation level */
#define NARVIK_ANNOUNCED		8	/* each session that ends is (events.c) */

typedef struct NarvikRun
{
	MemoryContext caller_context;
	NarvikCaller caller;
} NarvikRun;

extern bool narvik_run_changed_newest_state(void);
extern void narvik_run_begin(NarvikRun *run, NarvikStatement *statement,
							 Datum *values, const char *nulls, int how);
extern Portal narvik_run_cursor(NarvikRun *run, NarvikStatement *statement,
								Datum *values, const char *nulls, int how);
extern void narvik_run_end(NarvikRun *run);
extern int64 narvik_run_count(NarvikStatement *statement, Datum *values,
							  const char *nulls, int how);
extern TupleDesc narvik_run_into(NarvikStatement *statement, Datum *values,
								 const char *nulls, int how,
								 Tuplestorestate *rows);
extern Datum narvik_run_column(uint64 row, int column);
extern Datum narvik_run_column_copy(const NarvikRun *run, uint64 row, int column);

#endif							/* NARVIK_STORE_RUN_H */
