/*
 * redis_client.c
 *		Requests to Redis as pgbench makes them to PostgreSQL: N connections
 *		shared out among threads, each thread a poll loop, each connection
 *		waiting for an answer before it sends the next command.
 *
 *	redis_client <socket> <clients> <threads> <seconds> <keys> <command>...
 *
 * The commands make up one request.  In them, {n} stands for the number of a
 * random session, in 32 digits.  Prints requests per second.  A command that
 * finds no session ends the program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUFFER		65536

typedef struct
{
	int			fd;
	int			command;		/* which one is under way */
	long		key;
	size_t		filled;			/* of answer */
	char		answer[BUFFER];
} Connection;

typedef struct
{
	pthread_t	thread;
	Connection *connections;
	int			nconnections;
	uint64_t	random;
	long		requests;
} Worker;

static const char *socket_path;
static double seconds;
static long nkeys;
static char **commands;
static int	ncommands;
static double begun;

static void
die(const char *what)
{
	fprintf(stderr, "redis_client: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* xorshift64*: pgbench's generator is of that kind. */
static long
random_key(Worker *worker)
{
	worker->random ^= worker->random >> 12;
	worker->random ^= worker->random << 25;
	worker->random ^= worker->random >> 27;
	return (worker->random * 2685821657736338717ULL >> 11) % nkeys + 1;
}

/* Sends the command as clients do: an array of strings. */
static void
send_command(Connection *c)
{
	char		words[1024];
	char		out[2048];
	const char *command = commands[c->command];
	const char *hole = strstr(command, "{n}");
	char	   *rest = words;
	char	   *word;
	int			len = 0;
	int			nwords = 1;

	snprintf(words, sizeof(words), "%.*s%032ld%s",
			 (int) (hole - command), command, c->key, hole + 3);
	for (char *p = words; *p; p++)
		nwords += *p == ' ';
	len += sprintf(out, "*%d\r\n", nwords);
	while ((word = strsep(&rest, " ")) != NULL)
		len += sprintf(out + len, "$%zu\r\n%s\r\n", strlen(word), word);
	if (send(c->fd, out, len, 0) != len)
		die("send");
}

/* Whether the whole answer is there; it must be a string, or the number 1. */
static bool
answered(const Connection *c)
{
	const char *end = memmem(c->answer, c->filled, "\r\n", 2);

	if (end == NULL)
		return false;
	if (c->answer[0] == '$' && c->answer[1] != '-')
		return c->filled >= (size_t) (end - c->answer) + 4 + atol(c->answer + 1);
	if (strncmp(c->answer, ":1\r", 3) == 0)
		return true;
	errno = 0;
	die(c->answer);
	return false;
}

static void
go_on(Worker *worker, Connection *c)
{
	ssize_t		got = recv(c->fd, c->answer + c->filled, BUFFER - 1 - c->filled, 0);

	if (got <= 0)
		die("recv");
	c->filled += got;
	c->answer[c->filled] = '\0';
	if (!answered(c))
		return;
	c->filled = 0;
	if (++c->command == ncommands)
	{
		worker->requests++;
		c->command = 0;
		c->key = random_key(worker);
	}
	send_command(c);
}

static void *
work(void *arg)
{
	Worker	   *worker = arg;
	struct pollfd fds[worker->nconnections];

	for (int i = 0; i < worker->nconnections; i++)
	{
		Connection *c = &worker->connections[i];

		fds[i].fd = c->fd;
		fds[i].events = POLLIN;
		c->key = random_key(worker);
		send_command(c);
	}
	while (now() - begun < seconds)
	{
		if (poll(fds, worker->nconnections, 1000) < 0)
			die("poll");
		for (int i = 0; i < worker->nconnections; i++)
			if (fds[i].revents)
				go_on(worker, &worker->connections[i]);
	}
	return NULL;
}

static void
open_connection(Connection *c)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
		die(socket_path);
}

int
main(int argc, char **argv)
{
	int			nclients,
				nthreads;
	Worker	   *workers;
	long		requests = 0;

	if (argc < 7)
		die("too few arguments");
	socket_path = argv[1];
	nclients = atoi(argv[2]);
	nthreads = atoi(argv[3]);
	seconds = atof(argv[4]);
	nkeys = atol(argv[5]);
	commands = argv + 6;
	ncommands = argc - 6;
	for (int i = 0; i < ncommands; i++)
		if (strstr(commands[i], "{n}") == NULL)
			die("a command without {n}");

	workers = calloc(nthreads, sizeof(Worker));
	for (int t = 0; t < nthreads; t++)
	{
		Worker	   *worker = &workers[t];

		worker->nconnections = nclients / nthreads;
		worker->connections = calloc(worker->nconnections, sizeof(Connection));
		worker->random = time(NULL) * 1000003ULL + t + 1;
		for (int i = 0; i < worker->nconnections; i++)
			open_connection(&worker->connections[i]);
	}
	begun = now();
	for (int t = 0; t < nthreads; t++)
		if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0)
			die("pthread_create");
	for (int t = 0; t < nthreads; t++)
	{
		pthread_join(workers[t].thread, NULL);
		requests += workers[t].requests;
	}
	printf("%f\n", requests / (now() - begun));
	return 0;
}
