/* For each of 8 clients as many sessions as it makes calls, all of different users, and
   used at some time of the last five minutes.  To be purged they have expired, and to be
   extended they are in the second half of their life. */
TRUNCATE narvik_sessions, narvik_events;
INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, active_at, sliding, data, purge_hour)
SELECT sha256(bench_token(client * 1000000 + i)::bytea), 'user' || (client * 1000000 + i), now() - interval '1 hour', e,
	   now() - random() * interval '5 minutes', true, '{"theme": "dark"}', floor(extract(epoch FROM e) / 3600)
FROM generate_series(0, 7) AS client, generate_series(1, :calls) AS i,
	 LATERAL (SELECT now() + CASE :'act' WHEN 'purge' THEN interval '-2 hours' WHEN 'extend' THEN interval '14 days' ELSE interval '29 days' END) AS x (e);
VACUUM (FREEZE, ANALYZE) narvik_sessions;
CHECKPOINT;
