/*
 * interleave.c
 *		Runs every interleaving of two operations on one session, and compares
 *		what they answer and leave behind with what they do one after the other.
 *
 *	interleave <connection string> <part> <parts> [operation,...]
 *	interleave <connection string> alone
 *
 * Each operation is a transaction of its own, on a connection of its own: its
 * statements, then COMMIT, ROLLBACK, or PREPARE TRANSACTION and one of these.
 * Above READ COMMITTED both snapshots are taken before anything else happens; a
 * later one differs from that only if the other transaction is over by then,
 * and that is no interleaving.  A statement that has to wait is left waiting
 * while the other transaction goes on.
 *
 * The oracle is the same two transactions in READ COMMITTED, A before B and B
 * before A.  What else is allowed stands in explained(), with the reason.
 *
 * The database has what Interleave.pm puts there.  Every run has tokens of its
 * own.  Violations come out as text, one for each kind and pair of operations:
 * the first that was met, which is among the simplest.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#define lengthof(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* ---- operations --------------------------------------------------------- */

/* Validation that did not write is as good: it never waits to be able to. */
#define WRITES_IF_FREE	1
/* It never waits, whatever the others do. */
#define NEVER_WAITS		2
/* What was committed before it began counts, whatever the snapshot. */
#define NEWEST_STATE	4
/* Above READ COMMITTED it may fail if the row was changed since the snapshot. */
#define MAY_CONFLICT	8
/* The same, if it is the user who was changed. */
#define MAY_CONFLICT_ON_USER 16
/* Changes the user. */
#define CHANGES_USER	32
/* Locks the user, then sessions. */
#define LOCKS_USER_FIRST 64

/* An answer is one text, none if there is no row; beside it, a new token. */
typedef struct
{
	const char *name;
	int			flags;
	const char *sql[2];			/* %1$s: the session's token, %2$s: A or B */
} Op;

#define ID "narvik_session_id('%1$s')"
#define SESSION "user_id, data, life(expires_at)"
#define CREATE "SELECT concat_ws(' ', 'created', " SESSION "), token" \
	" FROM narvik_create_session('alice', '{\"by\": \"%2$s\"}')"
#define SAVE "SELECT 'saved' FROM narvik_save_session(" ID ", 'alice'," \
	" now() + interval '29 days', '{\"by\": \"%2$s\"}')"
#define READS (WRITES_IF_FREE | NEVER_WAITS)

static const Op ops[] = {
	{"create", MAY_CONFLICT_ON_USER, {CREATE}},
	{"create_evicting", MAY_CONFLICT_ON_USER | LOCKS_USER_FIRST, {"SET LOCAL narvik.max_sessions_per_user = 1; " CREATE}},
	{"validate", READS, {"SELECT concat_ws(' ', " SESSION ", CASE WHEN extended THEN 'extended' END)"
	" FROM narvik_validate_session('%1$s')"}},
	{"authenticate", READS, {"SELECT coalesce(narvik_authenticate('%1$s'), 'NULL')"}},
	{"validate_user", READS, {"SELECT u::text FROM narvik_validate_user('%1$s', NULL::app_users) AS u"}},
	{"rotate", MAY_CONFLICT, {"SELECT concat_ws(' ', 'rotated', " SESSION "), token FROM narvik_rotate_session('%1$s')"}},
	{"invalidate", NEWEST_STATE, {"SELECT narvik_invalidate_session(" ID ")::text"}},
	{"delete", NEWEST_STATE, {"SELECT narvik_delete_session(" ID ")::text"}},
	{"delete_for_user", NEWEST_STATE, {"SELECT narvik_delete_sessions_for_user('alice')::text"}},
	{"delete_for_user_except", NEWEST_STATE, {"SELECT narvik_delete_sessions_for_user('alice', " ID ")::text"}},
	{"update_data", MAY_CONFLICT, {"SELECT coalesce(narvik_update_session_data(" ID ","
	" '{\"%2$s\": 1, \"last\": \"%2$s\"}')::text, 'NULL')"}},
	{"update_expiry_later", MAY_CONFLICT, {"SELECT narvik_update_session_expiry(" ID ", now() + interval '60 days')::text"}},
	{"update_expiry_past", MAY_CONFLICT, {"SELECT narvik_update_session_expiry(" ID ", now() - interval '1 hour')::text"}},
	{"save", MAY_CONFLICT, {SAVE}},
	{"fetch", NEVER_WAITS, {"SELECT concat_ws(' ', " SESSION ") FROM narvik_fetch_session(" ID ")"}},
	{"fetch_for_user", NEVER_WAITS, {"SELECT coalesce(string_agg(concat_ws(' ', " SESSION "), ', ' ORDER BY data), 'nothing')"
	" FROM narvik_fetch_sessions_for_user('alice')"}},
	{"delete_all_expired", NEWEST_STATE, {"SELECT narvik_delete_all_expired_sessions()::text"}},
	{"delete_user", CHANGES_USER | LOCKS_USER_FIRST | MAY_CONFLICT_ON_USER, {"DELETE FROM app_users WHERE id = 'alice' RETURNING 'deleted'"}},
	{"rename_user", CHANGES_USER | LOCKS_USER_FIRST | MAY_CONFLICT_ON_USER, {"UPDATE app_users SET id = 'alicia' WHERE id = 'alice' RETURNING 'renamed'"}},
	{"log_in_again", MAY_CONFLICT_ON_USER, {"SELECT narvik_invalidate_session(" ID ")::text", CREATE}},
	{"delete_and_save", MAY_CONFLICT, {"SELECT narvik_delete_session(" ID ")::text", SAVE}}
};

/* What the session is like when it begins. */
static const char *const states[] = {"due", "fresh", "expired", "absent"};

/* ---- how a transaction runs --------------------------------------------- */

typedef enum
{
	COMMIT, ROLLBACK, COMMIT_PREPARED, ROLLBACK_PREPARED
} End;

static const char *const end_names[] = {
	"COMMIT", "ROLLBACK", "PREPARE, COMMIT PREPARED", "PREPARE, ROLLBACK PREPARED"
};

typedef struct
{
	bool		repeatable_read;
	End			end;
} How;

/* Of two transactions; the mirrored ones too. */
static const How hows[][2] = {
	{{false, COMMIT}, {false, COMMIT}},
	{{false, ROLLBACK}, {false, COMMIT}},
	{{false, COMMIT}, {false, ROLLBACK}},
	{{true, COMMIT}, {true, COMMIT}},
	{{true, ROLLBACK}, {true, COMMIT}},
	{{true, COMMIT}, {true, ROLLBACK}},
	{{true, COMMIT}, {false, COMMIT}},
	{{false, COMMIT}, {true, COMMIT}},
	{{true, COMMIT}, {false, ROLLBACK}},
	{{false, ROLLBACK}, {true, COMMIT}},
	{{false, COMMIT_PREPARED}, {false, COMMIT}},
	{{false, COMMIT}, {false, COMMIT_PREPARED}},
	{{false, ROLLBACK_PREPARED}, {false, COMMIT}},
	{{false, COMMIT}, {false, ROLLBACK_PREPARED}},
	{{false, COMMIT_PREPARED}, {true, COMMIT}},
	{{true, COMMIT}, {false, COMMIT_PREPARED}}
};

#define MAX_STEPS	4			/* of one transaction */
#define TEXT		1024

typedef struct
{
	const Op   *op;
	How			how;
	bool		read_only;
	PGconn	   *conn;
	int			pid;
	int			pos;			/* next step */
	int			nsteps;
	bool		waits;
	bool		failed;
	bool		over;			/* committed or undone */
	bool		began_late;		/* when it began the other was over */
	bool		waited_wrongly;
	char		state[6];		/* of its error */
	char		answer[TEXT];
	char		token[64];
} Side;

typedef struct
{
	const char *state;
	Side		side[2];
	bool		serial;
	int			first;			/* of a serial run */
	int			absent;			/* who has no part in it, or -1 */
	int			nchoices;
	int			choices[2 * MAX_STEPS];
	bool		both[2 * MAX_STEPS];	/* the other could have been chosen */
	char		trace[8 * TEXT];
	char		outcome[4 * TEXT];
} Run;

static PGconn *control;
static const char *part;
static long run_number,
			schedules,
			references,
			waits;

static void
append(char *to, size_t size, const char *format,...)
{
	size_t		len = strlen(to);
	va_list		args;

	va_start(args, format);
	if (vsnprintf(to + len, size - len, format, args) >= (int) (size - len))
	{
		fprintf(stderr, "text too long\n");
		exit(2);
	}
	va_end(args);
}

static void
fail(PGconn *conn, const char *what)
{
	fprintf(stderr, "%s: %s", what, PQerrorMessage(conn));
	exit(2);
}

static PGconn *
connect_to(const char *connstr)
{
	PGconn	   *conn = PQconnectdb(connstr);

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn, "connection");
	return conn;
}

/* The last result of a command that must not fail. */
static char *
ask(const char *sql)
{
	static char answer[4 * TEXT];
	PGresult   *result;

	answer[0] = '\0';
	if (!PQsendQuery(control, sql))
		fail(control, sql);
	while ((result = PQgetResult(control)) != NULL)
	{
		if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
			snprintf(answer, sizeof(answer), "%s", PQgetvalue(result, 0, 0));
		else if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail(control, sql);
		PQclear(result);
	}
	return answer;
}

/* ---- a step ------------------------------------------------------------- */

static int
count_statements(const Op *op)
{
	return op->sql[1] ? 2 : 1;
}

static const char *
gid(int who)
{
	static char text[64];

	snprintf(text, sizeof(text), "'%s-%ld-%d'", part, run_number, who);
	return text;
}

static void
token_of_run(char *token, size_t size)
{
	snprintf(token, size, "s-%ld", run_number);
}

static void
send_step(Run *run, int who)
{
	Side	   *side = &run->side[who];
	int			nstatements = count_statements(side->op);
	int			step = side->pos++;
	char		sql[TEXT] = "";
	char		token[32];

	if (step < nstatements)
	{
		if (step == 0 && !(side->how.repeatable_read && !run->serial))
			append(sql, sizeof(sql), "BEGIN%s; ", side->read_only ? " READ ONLY" : "");
		token_of_run(token, sizeof(token));
		append(sql, sizeof(sql), side->op->sql[step], token, who == 0 ? "A" : "B");
		append(run->trace, sizeof(run->trace), "\n    %c  %s %s", "AB"[who], side->op->name,
			   nstatements == 1 ? "" : step == 0 ? "(1)" : "(2)");
		if (step == 0)
			side->began_late = run->side[1 - who].over;
	}
	else
	{
		if (side->how.end == COMMIT || side->how.end == ROLLBACK)
			append(sql, sizeof(sql), "%s", end_names[side->how.end]);
		else if (step == nstatements)
			append(sql, sizeof(sql), "PREPARE TRANSACTION %s", gid(who));
		else
			append(sql, sizeof(sql), "%s PREPARED %s",
				   side->how.end == COMMIT_PREPARED ? "COMMIT" : "ROLLBACK", gid(who));
		append(run->trace, sizeof(run->trace), "\n    %c  %.*s", "AB"[who], (int) strcspn(sql, "'"), sql);
	}
	if (!PQsendQuery(side->conn, sql))
		fail(side->conn, sql);
}

static void
finish_step(Run *run, int who)
{
	Side	   *side = &run->side[who];
	int			nstatements = count_statements(side->op);
	bool		statement = side->pos <= nstatements;
	char		answer[TEXT] = "none";
	PGresult   *result;

	while ((result = PQgetResult(side->conn)) != NULL)
	{
		ExecStatusType status = PQresultStatus(result);

		if (status == PGRES_TUPLES_OK && PQntuples(result) > 0)
		{
			snprintf(answer, sizeof(answer), "%s", PQgetvalue(result, 0, 0));
			if (PQnfields(result) > 1)
				snprintf(side->token, sizeof(side->token), "%s", PQgetvalue(result, 0, 1));
		}
		else if (status == PGRES_FATAL_ERROR)
		{
			const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

			snprintf(side->state, sizeof(side->state), "%s", state ? state : "?");
			snprintf(answer, sizeof(answer), "error %s", side->state);
			side->failed = true;
		}
		PQclear(result);
	}
	if (statement || side->failed)
		append(run->trace, sizeof(run->trace), "%s -> %s", side->waits ? " ... goes on" : "", answer);
	if (statement || (side->failed && strstr(side->answer, "error") == NULL))
		append(side->answer, sizeof(side->answer), "%s%s", side->answer[0] ? ", " : "", answer);
	/* What failed has only its end left, and nothing to prepare. */
	if (side->failed && statement)
	{
		side->pos = nstatements;
		side->nsteps = nstatements + 1;
	}
	side->waits = false;
	side->over = side->pos == side->nsteps;
}

/*
 * Until the answer is there, or the statement waits for a lock.  False if it
 * waits.
 */
static bool
await_step(Run *run, int who)
{
	Side	   *side = &run->side[who];
	struct pollfd fd = {PQsocket(side->conn), POLLIN, 0};
	char		sql[TEXT] = "";

	append(sql, sizeof(sql), "SELECT pg_blocking_pids(%d) <> '{}'", side->pid);
	for (;;)
	{
		if (poll(&fd, 1, side->waits ? 0 : 2) > 0)
		{
			if (!PQconsumeInput(side->conn))
				fail(side->conn, "step");
			if (!PQisBusy(side->conn))
			{
				if (side->waits)
					append(run->trace, sizeof(run->trace), "\n    %c ", "AB"[who]);
				finish_step(run, who);
				return true;
			}
		}
		else if (ask(sql)[0] == 't')
			break;
		else
			(void) poll(&fd, 1, 2);
	}
	if (!side->waits)
	{
		append(run->trace, sizeof(run->trace), " ... waits");
		waits++;
		if ((side->op->flags & NEVER_WAITS) && side->pos <= count_statements(side->op))
			side->waited_wrongly = true;
	}
	side->waits = true;
	return false;
}

/* ---- a run -------------------------------------------------------------- */

/*
 * Which of the two may take a step.  What would make the run a serial one is
 * left out.
 */
static bool
may_step(const Run *run, int who)
{
	const Side *side = &run->side[who];
	const Side *other = &run->side[1 - who];

	if (side->over || side->waits)
		return false;
	if (run->serial)
		return who == run->first || other->over;
	return side->pos + 1 < side->nsteps || other->pos > 0 || other->how.repeatable_read;
}

static void
begin_side(Run *run, int who)
{
	Side	   *side = &run->side[who];
	PGresult   *result;

	side->pos = 0;
	side->nsteps = count_statements(side->op) + (side->how.end >= COMMIT_PREPARED ? 2 : 1);
	side->waits = side->failed = side->over = side->began_late = side->waited_wrongly = false;
	side->token[0] = '\0';
	if (run->absent == who)
	{
		side->over = true;		/* and has answered what it did */
		return;
	}
	side->answer[0] = side->state[0] = '\0';
	if (run->serial || !side->how.repeatable_read)
		return;
	result = PQexec(side->conn, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(side->conn, "BEGIN");
	PQclear(result);
}

static void
execute(Run *run, int nforced)
{
	char		sql[2 * TEXT] = "";
	char		token[32];

	if (++run_number % 200 == 0)
		ask("VACUUM narvik_sessions, app_users");
	token_of_run(token, sizeof(token));
	append(sql, sizeof(sql), "SELECT begin_run('%s', '%s')", run->state, token);
	ask(sql);

	run->trace[0] = '\0';
	run->nchoices = 0;
	begin_side(run, 0);
	begin_side(run, 1);
	while (!run->side[0].over || !run->side[1].over)
	{
		bool		may[2] = {may_step(run, 0), may_step(run, 1)};

		if (may[0] || may[1])
		{
			int			n = run->nchoices++;
			int			who = n < nforced && may[run->choices[n]] ? run->choices[n] : may[0] ? 0 : 1;

			run->choices[n] = who;
			run->both[n] = may[0] && may[1];
			send_step(run, who);
			(void) await_step(run, who);
		}
		for (int who = 0; who < 2; who++)
			if (run->side[who].waits)
				(void) await_step(run, who);
	}

	sql[0] = '\0';
	append(sql, sizeof(sql), "BEGIN READ ONLY; SELECT end_run('%s', '%s', '%s'); COMMIT",
		   token, run->side[0].token, run->side[1].token);
	snprintf(run->outcome, sizeof(run->outcome), "A: %s; B: %s; %s",
			 run->side[0].answer, run->side[1].answer, ask(sql));
}

/* Go to the next interleaving.  False if there is none. */
static bool
next_choices(Run *run)
{
	while (run->nchoices > 0)
	{
		int			n = --run->nchoices;

		if (run->both[n] && run->choices[n] == 0)
		{
			run->choices[n] = 1;
			run->nchoices = n + 1;
			return true;
		}
	}
	return false;
}

/* ---- the oracle --------------------------------------------------------- */

/* A serial run, kept for as long as state and operations stay the same. */
typedef struct
{
	int			first;
	int			absent;			/* who does not take part, or -1 */
	bool		read_only[2];
	bool		rolled_back[2];
	char		outcome[4 * TEXT];
} Reference;

static Reference kept[64];
static int	nkept;

static bool
rolls_back(const Side *side)
{
	return side->how.end == ROLLBACK || side->how.end == ROLLBACK_PREPARED;
}

/* Does a serial run answer and leave behind the same? */
static bool
same_as_serial(const Run *run, int first, int absent, const bool *read_only)
{
	static Run	serial;
	Reference  *wanted = &kept[nkept];

	memset(wanted, 0, sizeof(*wanted));
	wanted->first = first;
	wanted->absent = absent;
	for (int who = 0; who < 2; who++)
	{
		wanted->read_only[who] = read_only[who];
		wanted->rolled_back[who] = rolls_back(&run->side[who]);
	}
	for (int i = 0; i < nkept; i++)
	{
		if (memcmp(&kept[i], wanted, offsetof(Reference, outcome)) == 0)
			return strcmp(run->outcome, kept[i].outcome) == 0;
	}
	nkept++;
	if (nkept == lengthof(kept))
	{
		fprintf(stderr, "too many references\n");
		exit(2);
	}

	serial = *run;
	serial.serial = true;
	serial.first = first;
	serial.absent = absent;
	for (int who = 0; who < 2; who++)
	{
		serial.side[who].how.repeatable_read = false;
		serial.side[who].how.end = wanted->rolled_back[who] ? ROLLBACK : COMMIT;
		serial.side[who].read_only = wanted->read_only[who];
	}
	execute(&serial, 0);
	references++;
	memcpy(wanted->outcome, serial.outcome, sizeof(wanted->outcome));
	return strcmp(run->outcome, wanted->outcome) == 0;
}

/*
 * An order in which one transaction comes after another that was over before it
 * began is none that counts, but for the snapshot of those that work on it.
 */
static bool
may_come_first(const Side *side)
{
	return !side->began_late ||
		(side->how.repeatable_read && !(side->op->flags & NEWEST_STATE));
}

/* Allowed to fail, as if it had not taken place. */
static bool
may_fail(const Run *run, int who)
{
	const Side *side = &run->side[who];
	const Side *other = &run->side[1 - who];
	bool		in_first = strncmp(side->answer, "error", 5) == 0;

	/*
	 * PostgreSQL's own rule for whoever changes a row that was changed since
	 * the snapshot, or saves an id that is there since.  Of what ends sessions
	 * nothing is among them, and the first of two statements does.
	 */
	if (strcmp(side->state, "40001") == 0)
		return side->how.repeatable_read &&
			!(in_first && count_statements(side->op) == 2) &&
			((side->op->flags & MAY_CONFLICT) ||
			 ((side->op->flags & MAY_CONFLICT_ON_USER) && (other->op->flags & CHANGES_USER)));

	/*
	 * Who has ended a session and then asks for the user's row, or for the
	 * user's limit, takes the locks in the other order than who changes the
	 * user, or makes room first.
	 */
	if (strcmp(side->state, "40P01") == 0)
		return count_statements(side->op) + count_statements(other->op) > 2 &&
			((side->op->flags | other->op->flags) & LOCKS_USER_FIRST);
	return false;
}

static bool
explained(const Run *run)
{
	for (int first = 0; first < 2; first++)
	{
		if (!may_come_first(&run->side[first]))
			continue;

		/*
		 * A validation extends the session, or removes it if it has expired,
		 * only if nobody else has the row and its snapshot is new enough.
		 */
		for (int read_only = 0; read_only < 4; read_only++)
		{
			bool		both[2] = {read_only & 1, read_only & 2};

			if ((!both[0] || (run->side[0].op->flags & WRITES_IF_FREE)) &&
				(!both[1] || (run->side[1].op->flags & WRITES_IF_FREE)) &&
				same_as_serial(run, first, -1, both))
				return true;
		}
	}
	for (int who = 0; who < 2; who++)
	{
		static const bool neither[2] = {false, false};

		if (may_fail(run, who) && same_as_serial(run, 1 - who, who, neither))
			return true;
	}
	return false;
}

/* ---- what is wrong ------------------------------------------------------ */

typedef struct
{
	char		title[128];
	int			times;
	char		text[16 * TEXT];
} Violation;

static Violation *violations;
static int	nviolations;

static void
report(const Run *run, const char *kind)
{
	Violation  *v;
	char		title[128] = "";

	append(title, sizeof(title), "%s: %s, %s", kind, run->side[0].op->name, run->side[1].op->name);
	for (int i = 0; i < nviolations; i++)
	{
		if (strcmp(violations[i].title, title) == 0)
		{
			violations[i].times++;
			return;
		}
	}
	violations = realloc(violations, (nviolations + 1) * sizeof(*violations));
	v = &violations[nviolations++];
	memcpy(v->title, title, sizeof(title));
	v->times = 1;
	v->text[0] = '\0';
	append(v->text, sizeof(v->text), "  session %s; A %s, %s; B %s, %s%s\n    left: %s\n", run->state,
		   run->side[0].how.repeatable_read ? "REPEATABLE READ" : "READ COMMITTED", end_names[run->side[0].how.end],
		   run->side[1].how.repeatable_read ? "REPEATABLE READ" : "READ COMMITTED", end_names[run->side[1].how.end],
		   run->trace, run->outcome);
	for (int i = 0; i < nkept; i++)
	{
		if (kept[i].absent < 0 && !kept[i].read_only[0] && !kept[i].read_only[1] &&
			kept[i].rolled_back[0] == rolls_back(&run->side[0]) &&
			kept[i].rolled_back[1] == rolls_back(&run->side[1]))
			append(v->text, sizeof(v->text), "    %s: %s\n", kept[i].first == 0 ? "A, B" : "B, A", kept[i].outcome);
	}
}

static void
check(const Run *run)
{
	schedules++;
	if (run->side[0].waited_wrongly || run->side[1].waited_wrongly)
		report(run, "waits");
	if (!explained(run))
		report(run, run->side[0].state[0] == '4' || run->side[1].state[0] == '4' ? "fails" : "in no order");
}

/* ---- all of it ---------------------------------------------------------- */

static bool
chosen(const char *list, const Op *op)
{
	const char *found;
	size_t		len = strlen(op->name);

	if (list == NULL)
		return true;
	for (found = list; (found = strstr(found, op->name)) != NULL; found += len)
	{
		if ((found == list || found[-1] == ',') && (found[len] == ',' || found[len] == '\0'))
			return true;
	}
	return false;
}

static void
run_pair(Run *run, const Op *a, const Op *b)
{
	run->side[0].op = a;
	run->side[1].op = b;
	nkept = 0;
	for (int i = 0; i < lengthof(hows); i++)
	{
		run->side[0].how = hows[i][0];
		run->side[1].how = hows[i][1];
		run->nchoices = 0;
		do
		{
			execute(run, run->nchoices);
			check(run);
		} while (next_choices(run));
	}
}

/* What each operation does when nothing else goes on: the oracle's own ground. */
static void
run_alone(Run *run)
{
	run->serial = true;
	run->absent = 1;
	for (int op = 0; op < lengthof(ops); op++)
	{
		for (int i = 0; i < lengthof(states); i++)
		{
			run->state = states[i];
			run->side[0].op = run->side[1].op = &ops[op];
			execute(run, 0);
			printf("%s, %s: %s; %s\n", ops[op].name, states[i], run->side[0].answer, strstr(run->outcome, "rows:"));
		}
	}
}

int
main(int argc, char **argv)
{
	static Run	run;
	int			pair = 0;

	if (argc < 4 && !(argc == 3 && strcmp(argv[2], "alone") == 0))
	{
		fprintf(stderr, "usage: %s <connection string> <part> <parts> [operation,...] | alone\n", argv[0]);
		return 2;
	}
	part = argv[2];
	control = connect_to(argv[1]);
	ask("SET session_replication_role = replica");
	run.absent = -1;
	for (int who = 0; who < 2; who++)
	{
		run.side[who].conn = connect_to(argv[1]);
		run.side[who].pid = PQbackendPID(run.side[who].conn);
	}
	if (argc == 3)
	{
		run_alone(&run);
		return 0;
	}
	for (int a = 0; a < lengthof(ops); a++)
	{
		for (int b = a; b < lengthof(ops); b++)
		{
			if (!chosen(argv[4], &ops[a]) || !chosen(argv[4], &ops[b]) ||
				pair++ % atoi(argv[3]) != atoi(part))
				continue;
			for (int i = 0; i < lengthof(states); i++)
			{
				run.state = states[i];
				run_pair(&run, &ops[a], &ops[b]);
			}
		}
	}
	for (int i = 0; i < nviolations; i++)
		printf("%s (%d times)\n%s", violations[i].title, violations[i].times, violations[i].text);
	printf("%ld schedules, %ld serial runs, %ld waits\n", schedules, references, waits);
	return 0;
}
