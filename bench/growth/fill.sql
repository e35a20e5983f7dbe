/* Every second session has expired, over the last hundred hours.  A user has five of
   each kind.  Times are what they are in a table that has grown for a month. */
ALTER DATABASE growth SET narvik.purge = off;
INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, active_at, sliding, data, purge_hour)
SELECT sha256(bench_token(i)::bytea), 'user' || i / 10, e - interval '30 days', e, e - interval '30 days', true, '{"theme": "dark"}', floor(extract(epoch FROM e) / 3600)
FROM generate_series(1, :rows) AS i,
	 LATERAL (SELECT CASE WHEN i % 2 = 0 THEN now() + interval '20 days' + i % 864000 * interval '1 second'
					 ELSE now() - interval '1 hour' - i % 360000 * interval '1 second' END) AS x (e);
VACUUM (FREEZE, ANALYZE) narvik_sessions;
SELECT warm_up('narvik_sessions') \g /dev/null
