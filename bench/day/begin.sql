/*
 * A day of sessions, one transaction for every log-in, request and purge.  The
 * contestant's file says how each is done, and names its table.
 * Variables: contestant, life, sessions, starts (in how many minutes all visits
 * begin).
 */
\ir ../tables.sql
CREATE EXTENSION pg_walinspect;
CREATE FUNCTION life() RETURNS interval LANGUAGE sql IMMUTABLE RETURN interval :'life';
SET narvik.session_expires_in = :'life';
\set purge_every 1
\ir :contestant.sql

CREATE PROCEDURE log_in_all(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first..last LOOP
		PERFORM log_in(bench_token(i), 'user' || i, now() + life());
		COMMIT;
	END LOOP;
END $$;

/* Sessions first to last make a request each, in an order that jumps about. */
CREATE PROCEDURE make_requests(first int, last int) LANGUAGE plpgsql AS $$
DECLARE
	wal_before constant pg_lsn := pg_current_wal_insert_lsn();
BEGIN
	FOR i IN first..last LOOP
		IF NOT request(bench_token(first + (i - first) * 7919::bigint % (last - first + 1))) THEN
			RAISE EXCEPTION 'a session was lost';
		END IF;
		COMMIT;
	END LOOP;
	INSERT INTO spans VALUES (last - first + 1, wal_before, pg_current_wal_insert_lsn());
END $$;

/* Autovacuum's own rule, asked once a minute of the simulated day. */
CREATE FUNCTION needs_vacuum(t regclass) RETURNS boolean LANGUAGE sql
RETURN (SELECT pg_stat_get_dead_tuples(t) >
		current_setting('autovacuum_vacuum_threshold')::float8 +
		current_setting('autovacuum_vacuum_scale_factor')::float8 * greatest(reltuples, 0)
		FROM pg_class WHERE oid = t);

/*
 * Sessions with a 30-day life were there yesterday at the same hour, and so become
 * due between that visit and 14 days after today's.
 */
SELECT life() < interval '1 day' AS logs_in, 0 AS begun \gset
SELECT count(log_in(bench_token(i), 'user' || i, now() + i * :starts / :sessions * interval '1 minute' + interval '14 days'
					+ i * 2654435761 % 1296000 * interval '1 second'))
FROM generate_series(1, :sessions::bigint) i WHERE NOT :'logs_in'::boolean \g /dev/null

VACUUM ANALYZE :table;
CHECKPOINT;
CREATE TEMPORARY TABLE spans (requests bigint, wal_from pg_lsn, wal_to pg_lsn);
SELECT pg_current_wal_insert_lsn() AS first_lsn \gset
