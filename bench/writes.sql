/*
 * A day of sessions, minute by minute: the three moments of a session's life
 * for one contestant.  scripts/bench puts the clock forward between calls.
 * Variables: life, and the contestant's own statements: log_in, request, purge.
 *
 * Every login and every request is a transaction of its own.
 */
CREATE EXTENSION pg_walinspect;
CREATE FUNCTION life() RETURNS interval LANGUAGE sql IMMUTABLE RETURN interval :'life';
CREATE FUNCTION is_due(expires_at timestamptz) RETURNS boolean LANGUAGE sql STABLE
RETURN expires_at <= now() + life() / 2;

SELECT format($template$
CREATE PROCEDURE log_in(first int, last int) LANGUAGE plpgsql AS $$
DECLARE
	answer record;
	token text;
	the_sess constant json := %1$L;
	the_expire bigint;
BEGIN
	FOR i IN first..last LOOP
		token := bench_token(i);
		the_expire := ceil(extract(epoch FROM now() + life()));
		%2$s
		COMMIT;
	END LOOP;
END $$;

/* Sessions first to last make a request each, in an order that jumps about. */
CREATE PROCEDURE make_requests(first int, last int) LANGUAGE plpgsql AS $$
DECLARE
	answer record;
	token text;
	the_now bigint;
	the_expire bigint;
	found_one boolean;
	wal_before constant pg_lsn := pg_current_wal_insert_lsn();
BEGIN
	FOR i IN first..last LOOP
		token := bench_token(first + (i - first) * 7919::bigint %% (last - first + 1));
		the_now := ceil(extract(epoch FROM now()));
		the_expire := ceil(extract(epoch FROM now() + life()));
		found_one := false;
		%3$s
		COMMIT;
		IF NOT found_one THEN
			RAISE EXCEPTION 'a session was lost';
		END IF;
	END LOOP;
	INSERT INTO spans VALUES (last - first + 1, wal_before, pg_current_wal_insert_lsn());
END $$;

CREATE PROCEDURE purge() LANGUAGE plpgsql AS $$
DECLARE
	the_now constant bigint := ceil(extract(epoch FROM now()));
BEGIN
	%4$s
END $$;
$template$, :'sess', :'log_in', :'request', :'purge') \gexec

/*
 * Of what the requests' WAL consists, once all of it is flushed: bytes of
 * records by kind, and full page images.  Spans are where requests were made;
 * make_requests() notes them in a temporary table, which writes no WAL.
 */
CREATE FUNCTION wal_kinds() RETURNS TABLE (kind text, bytes numeric) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY
	SELECT k, sum(b)
	FROM spans,
		 pg_get_wal_stats(spans.wal_from, spans.wal_to, true) w,
		 LATERAL (VALUES (w."resource_manager/record_type", w.record_size), ('full page images', w.fpi_size)) v(k, b)
	WHERE wal_to > wal_from AND b > 0
	GROUP BY k;
END $$;

/* Autovacuum's own rule, asked once a minute of the simulated day. */
CREATE FUNCTION needs_vacuum(t regclass) RETURNS boolean LANGUAGE sql
RETURN (SELECT pg_stat_get_dead_tuples(t) >
		current_setting('autovacuum_vacuum_threshold')::float8 +
		current_setting('autovacuum_vacuum_scale_factor')::float8 * greatest(reltuples, 0)
		FROM pg_class WHERE oid = t);
