-- scripts/capacity's report.
CREATE FUNCTION m(name text) RETURNS numeric LANGUAGE sql RETURN med('capacity', name);
CREATE FUNCTION bytes(n numeric) RETURNS text LANGUAGE sql RETURN pg_size_pretty(round(n));

\qecho
\qecho '| what | figure |'
\qecho '|---|---|'
SELECT '| ' || what || ' | ' || figure || ' |' FROM (VALUES
	('a session: its row', bytes(m('heap'))),
	('... hash index on the id', bytes(m('id_excl'))),
	('... index on the user', bytes(m('user_id_idx'))),
	('... primary key', bytes(m('pkey'))),
	('... index on the hour of expiry', bytes(m('purge_hour_idx'))),
	('a session in all, freshly filled', bytes(m('heap') + m('id_excl') + m('user_id_idx') + m('pkey') + m('purge_hour_idx'))),
	('a session in all, after two lives of the table', bytes(m('lived_in'))),
	('sessions a GB, after two lives', big(1073741824 / m('lived_in'))),
	('validations a second and core, inside the server, tokens from a table', big(m('validate_in_server'))),
	('validations a second and core, with client and token look-up', big(m('validate') / :cores)),
	('the same through a router', big(m('router_validate') / :cores)),
	('creates a second, 8 clients, each waiting for the disk', big(m('create'))),
	('the same with synchronous_commit = off', big(m('create_async'))),
	('the same through a router, waiting for the disk', big(m('router_create'))),
	('WAL of a create, one in twenty since the checkpoint', bytes(m('wal_create'))),
	('WAL of an extension, one in twenty since the checkpoint', bytes(m('wal_extend'))),
	('sessions moved to another shard a second', big(m('moved')))) AS v (what, figure);

\qecho
\qecho 'On paper: a session lives 30 days and makes 20 requests a day, the busiest hour has'
\qecho 'three times the average. Cores are half busy then. A session extends once in 15 days.'
\qecho
\qecho '| | 10 million | 1 billion | 10 billion |'
\qecho '|---|---|---|---|'
CREATE TEMPORARY TABLE paper AS
SELECT n, n * m('lived_in') AS space, 3 * n * 20 / 86400 AS peak, 3 * n / 30 / 86400 AS creates, n / 30 * (m('wal_create') + 2 * m('wal_extend')) AS wal
FROM unnest('{1e7,1e9,1e10}'::numeric[]) AS n;
SELECT '| ' || what || ' | ' || string_agg(figure, ' | ' ORDER BY n) || ' |' FROM (
	SELECT n, v.* FROM paper, LATERAL (VALUES
		(1, 'table and indexes', bytes(space)),
		(2, 'validations a second, busiest hour', big(peak)),
		(3, 'cores for them, one database or replicas', big(ceil(2 * peak / (m('validate') / :cores)))),
		(4, 'cores for them, routers and shards', big(ceil(2 * peak / (m('router_validate') / :cores)))),
		(5, 'creates a second, busiest hour', big(creates)),
		(6, 'WAL a day, creates and extensions', bytes(wal)),
		(7, 'shards of at most 64 GB of sessions', big(ceil(space / 68719476736))))
	AS v (line, what, figure)) AS lines
GROUP BY line, what ORDER BY line;
