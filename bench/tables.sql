/*
 * What narvik is measured against inside PostgreSQL: a table of sessions as
 * people write it by hand, and how all tables are filled.  Rows go in past
 * narvik's functions, because filling is not measured.
 */
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_prewarm;
CREATE EXTENSION narvik CASCADE;

/* 19 digits: what pgbench can compute too.  Like any token, one block of SHA-256. */
CREATE FUNCTION bench_token(i bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (1000000000000000000 + i)::text;

CREATE TABLE sessions (
	id			bytea PRIMARY KEY,
	user_id		text NOT NULL,
	created_at	timestamptz NOT NULL,
	expires_at	timestamptz NOT NULL,
	data		jsonb NOT NULL
);

/* With the columns that narvik's answer has, and indexes on them; for what writes. */
CREATE TABLE sessions_indexed (
	seq			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id			bytea NOT NULL UNIQUE,
	user_id		text NOT NULL,
	created_at	timestamptz NOT NULL,
	expires_at	timestamptz NOT NULL,
	authenticated_at	timestamptz,
	active_at	timestamptz,
	lifetime	interval,
	sliding		boolean NOT NULL,
	data		jsonb NOT NULL
);
CREATE INDEX ON sessions_indexed (user_id);
CREATE INDEX ON sessions_indexed (expires_at);

/* The table of connect-pg-simple 10.0.0, and what express-session puts into it. */
CREATE TABLE session (
	sid			varchar PRIMARY KEY,
	sess		json NOT NULL,
	expire		timestamp(6) NOT NULL
);
CREATE INDEX ON session (expire);
CREATE FUNCTION bench_sess() RETURNS json LANGUAGE sql IMMUTABLE
RETURN '{"cookie":{"originalMaxAge":86400000,"expires":"2026-11-30T12:42:56.943Z","httpOnly":true,"path":"/"},"user":"user1234","theme":"dark"}'::json;

/* Validation with its extension at half-life, by hand in PL/pgSQL. */
CREATE FUNCTION validate_by_hand(token text)
RETURNS TABLE (id text, user_id text, created_at timestamptz, expires_at timestamptz,
			   data jsonb, new boolean, extended boolean)
LANGUAGE plpgsql ROWS 1 AS $$
DECLARE
	key bytea := sha256(convert_to(token, 'UTF8'));
BEGIN
	SELECT encode(s.id, 'hex'), s.user_id, s.created_at, s.expires_at, s.data, false, false
	INTO id, user_id, created_at, expires_at, data, new, extended
	FROM sessions s
	WHERE s.id = key AND s.expires_at > now();
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF expires_at - now() <= interval '15 days' THEN
		expires_at := now() + interval '30 days';
		extended := true;
		UPDATE sessions s SET expires_at = validate_by_hand.expires_at WHERE s.id = key;
	END IF;
	RETURN NEXT;
END $$;

/*
 * Sessions 1 to n of a 30-day life, none of which is due for an extension
 * today: more than half of the life is left.
 */
CREATE PROCEDURE fill(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE narvik_sessions, sessions;
	INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
	SELECT sha256(convert_to(bench_token(i), 'UTF8')), 'user' || i / 2, now(), e, true,
		   '{"theme": "dark"}', floor(extract(epoch FROM e) / 3600)
	FROM generate_series(1, n) i,
		 LATERAL (SELECT now() + interval '20 days' + i % 864000 * interval '1 second') x(e);
	COMMIT;
	INSERT INTO sessions (id, user_id, created_at, expires_at, data)
	SELECT sha256(convert_to(bench_token(i), 'UTF8')), 'user' || i / 2, now(),
		   now() + interval '20 days' + i % 864000 * interval '1 second', '{"theme": "dark"}'
	FROM generate_series(1, n) i;
	ASSERT EXISTS (SELECT FROM narvik_validate_session(bench_token(n)));
END $$;

/* Every page of a table and its indexes into shared_buffers; how many bytes. */
CREATE FUNCTION warm_up(t regclass) RETURNS bigint LANGUAGE sql
RETURN (SELECT sum(pg_prewarm(r)) * 8192
		FROM (SELECT t::oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = t) x(r));

/* What was measured; scripts/bench collects it. */
CREATE TABLE measured (part text, size bigint, what text, round int, value double precision);
