/*
 * Sessions with a 30-day life as a site has them: each visited yesterday too,
 * at the same hour, and so becomes due between that visit and 14 days after
 * today's.  Variables: n, table, starts (in how many minutes all visits begin).
 */
CREATE VIEW filler AS
SELECT bench_token(i) AS token, sha256(convert_to(bench_token(i), 'UTF8')) AS id, 'user' || i AS user_id, now() AS created_at,
	   now() + i * :starts / :n * interval '1 minute' + interval '14 days'
		   + i * 2654435761 % 1296000 * interval '1 second' AS expires_at,
	   jsonb '{"theme": "dark"}' AS data
FROM generate_series(1, :n::bigint) i;

SELECT :'table' = 'narvik_sessions' AS is_narvik, :'table' = 'session' AS is_connect_pg \gset
\if :is_narvik
INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
SELECT id, user_id, created_at, expires_at, true, data, floor(extract(epoch FROM expires_at) / 3600) FROM filler;
\elif :is_connect_pg
INSERT INTO session SELECT token, :'sess', expires_at FROM filler;
\else
INSERT INTO sessions_indexed (id, user_id, created_at, expires_at, sliding, data)
SELECT id, user_id, created_at, expires_at, true, data FROM filler;
\endif
