-- Makes a database a router: functions with narvik's names and signatures, in
-- schema narvik, that ask the shards.  As a superuser:
--
--   psql -d <database> -v shards='{"host=a dbname=x","host=b dbname=y"}' -f router.sql
--
-- with the shards in the order of their numbers, and without user or password:
-- those are options of the user mapping of narvik_router.
-- Run it again after narvik was updated; where partitions are stays.
\set ON_ERROR_STOP 1
\set inside narvik_router
BEGIN;
SET LOCAL client_min_messages = warning;
-- The router's own narvik makes tokens and cookies, and has no sessions.
CREATE SCHEMA IF NOT EXISTS narvik_local;
CREATE EXTENSION IF NOT EXISTS narvik SCHEMA narvik_local CASCADE;
CREATE SCHEMA IF NOT EXISTS narvik_router;
CREATE EXTENSION IF NOT EXISTS plproxy SCHEMA narvik_router;
CREATE SCHEMA IF NOT EXISTS narvik;
SET LOCAL search_path = pg_catalog;
\ir common.sql
SELECT :'narvik' = 'narvik' AS taken \gset
\if :taken
	DO 'BEGIN RAISE EXCEPTION ''schema narvik holds the extension, a router needs it for its functions''; END';
\endif

-- Owns the functions, and alone may use the connections.
SELECT 'CREATE ROLE narvik_router' WHERE to_regrole('narvik_router') IS NULL \gexec

/* ---- where the partitions are ------------------------------------------- */

-- Partitions with the same connection string share one connection.
SELECT format('CREATE SERVER narvik FOREIGN DATA WRAPPER plproxy OPTIONS (%s)',
	(SELECT string_agg(format('p%s %L', p, shards[1 + p % cardinality(shards)]), ', ')
	 FROM generate_series(0, :partitions - 1) AS p))
FROM (SELECT :'shards'::text[]) AS s (shards)
WHERE NOT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'narvik') \gexec
SELECT 'CREATE USER MAPPING FOR narvik_router SERVER narvik OPTIONS (user ''narvik_router'')'
WHERE NOT EXISTS (SELECT FROM pg_user_mappings WHERE srvname = 'narvik' AND usename = 'narvik_router') \gexec
GRANT USAGE ON FOREIGN SERVER narvik TO narvik_router;

CREATE OR REPLACE VIEW narvik_router.map AS
SELECT substr(option_name, 2)::integer AS partition, option_value AS shard
FROM pg_foreign_server CROSS JOIN pg_options_to_table(srvoptions)
WHERE srvname = 'narvik' AND option_name ~ '^p[0-9]+$';

CREATE OR REPLACE FUNCTION narvik_router.place(partition integer, shard text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER SERVER narvik OPTIONS (SET %I %L)', 'p' || partition, shard);
END $$;

/* ---- asking shards ------------------------------------------------------ */

-- Values travel as text, which must not depend on the client's settings.
SELECT format('SECURITY DEFINER SET search_path = pg_catalog, %s, pg_temp SET datestyle = ISO SET intervalstyle = postgres', :'narvik')
	AS definer \gset

CREATE OR REPLACE FUNCTION narvik_router.create_session(id text, user_id text, data jsonb, expires_in interval, sliding boolean, max_age interval)
RETURNS SETOF :narvik.narvik_session LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON narvik_router.partition_of_id($1);
	SELECT * FROM narvik_shard.create_session($1, $2, $3, $4, $5, $6);
$$;

CREATE OR REPLACE FUNCTION narvik_router.create_guest_session(id text, data jsonb, expires_in interval)
RETURNS SETOF :narvik.narvik_session LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON narvik_router.partition_of_id($1);
	SELECT * FROM narvik_shard.create_guest_session($1, $2, $3);
$$;

CREATE OR REPLACE FUNCTION narvik_router.promote_session(token text, new_id text, user_id text, data jsonb, expires_in interval, sliding boolean, max_age interval)
RETURNS SETOF :narvik.narvik_session LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON narvik_router.partition_of_id($2);
	SELECT * FROM narvik_shard.promote_session($1, $2, $3, $4, $5, $6, $7);
$$;

CREATE OR REPLACE FUNCTION narvik_router.rotate_session(token text, new_id text)
RETURNS SETOF :narvik.narvik_session LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON narvik_router.partition_of_id($2);
	SELECT * FROM narvik_shard.rotate_session($1, $2);
$$;

CREATE OR REPLACE FUNCTION narvik_router.reauthenticate_session(token text, new_id text, patch jsonb)
RETURNS SETOF :narvik.narvik_session LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON narvik_router.partition_of_id($2);
	SELECT * FROM narvik_shard.reauthenticate_session($1, $2, $3);
$$;

CREATE OR REPLACE FUNCTION narvik_router.sessions_of_user(user_id text, max_rows integer, created_before timestamptz, OUT partitions integer[], OUT session :narvik.narvik_session)
RETURNS SETOF record LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON ALL;
	SELECT partitions, session FROM narvik_shard.sessions_of_user($1, $2, $3);
$$;

CREATE OR REPLACE FUNCTION narvik_router.delete_sessions_of_user(user_id text, except_session_id text, reason text, OUT partitions integer[], OUT deleted bigint)
RETURNS SETOF record LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON ALL;
	SELECT partitions, deleted FROM narvik_shard.delete_sessions_of_user($1, $2, $3);
$$;

CREATE OR REPLACE FUNCTION narvik_router.delete_all_expired_sessions() RETURNS SETOF bigint LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON ALL;
	SELECT * FROM narvik_shard.delete_all_expired_sessions();
$$;

CREATE OR REPLACE FUNCTION narvik_router.reset_stats() RETURNS SETOF boolean LANGUAGE plproxy AS $$
	CLUSTER 'narvik';
	RUN ON ALL;
	SELECT * FROM narvik_shard.reset_stats();
$$;

-- Every partition has to have answered, and just once.
CREATE OR REPLACE FUNCTION narvik_router.check_complete(answered integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF ARRAY(SELECT unnest($1) ORDER BY 1) <> ARRAY(SELECT generate_series(0, narvik_router.partition_count() - 1)) THEN
		RAISE serialization_failure USING MESSAGE = 'partitions of the sessions are being moved', HINT = 'Repeat the transaction.';
	END IF;
END $$;

-- A token for the same partition: its session stays where it is.
CREATE OR REPLACE FUNCTION narvik_router.token_beside(token text) RETURNS text LANGUAGE plpgsql :definer AS $$
DECLARE
	beside text;
BEGIN
	LOOP
		beside := narvik_generate_token();
		EXIT WHEN narvik_router.partition_of_token(beside) = narvik_router.partition_of_token($1);
	END LOOP;
	RETURN beside;
END $$;

/* ---- narvik's functions ------------------------------------------------- */

-- PL/Proxy insists: what a shard answers is not of the router's snapshot.
UPDATE narvik_functions SET properties = replace(properties, 'STABLE', 'VOLATILE') WHERE route <> 'local';

-- Those that touch no session: the same C code under another name.
SELECT replace(pg_get_functiondef(oid), 'FUNCTION ' || :'narvik' || '.', 'FUNCTION narvik.')
FROM narvik_functions WHERE route = 'local' \gexec

SELECT format('CREATE OR REPLACE FUNCTION narvik.%I(%s) RETURNS %s LANGUAGE plproxy %s %s AS %L',
	name, arguments, result, properties, :'definer',
	format('CLUSTER ''narvik''; RUN ON %s; SELECT * FROM narvik_shard.%I(%s);', CASE route
		WHEN 'token' THEN 'narvik_router.partition_of_token($1)'
		WHEN 'id' THEN 'narvik_router.partition_of_id($1)'
		WHEN 'all' THEN 'ALL' END, name, parameters))
FROM narvik_functions WHERE route IN ('token', 'id', 'all') \gexec

CREATE TEMPORARY TABLE narvik_own (name, body) AS VALUES
	('narvik_create_session', $$
DECLARE
	token text := narvik_generate_token();
	s record;
BEGIN
	SELECT * INTO STRICT s FROM narvik_router.create_session(narvik_session_id(token), $1, $2, $3, $4, $5);
	RETURN (token, s.id, s.user_id, s.created_at, s.expires_at, s.authenticated_at, s.active_at, s.data, s.new, s.extended)::narvik_created_session;
END $$),
	('narvik_create_guest_session', $$
DECLARE
	token text := narvik_generate_token();
	s record;
BEGIN
	SELECT * INTO STRICT s FROM narvik_router.create_guest_session(narvik_session_id(token), $1, $2);
	RETURN (token, s.id, s.user_id, s.created_at, s.expires_at, s.authenticated_at, s.active_at, s.data, s.new, s.extended)::narvik_created_session;
END $$),
	('narvik_promote_session', $$
DECLARE
	-- Beside the guest's session; who comes without a token comes anywhere.
	new_token text := CASE WHEN $1 <> '' THEN narvik_router.token_beside($1) ELSE narvik_generate_token() END;
	s record;
BEGIN
	SELECT * INTO STRICT s FROM narvik_router.promote_session($1, narvik_session_id(new_token), $2, $3, $4, $5, $6);
	RETURN (new_token, s.id, s.user_id, s.created_at, s.expires_at, s.authenticated_at, s.active_at, s.data, s.new, s.extended)::narvik_created_session;
END $$),
	('narvik_rotate_session', $$
DECLARE
	new_token text := narvik_router.token_beside($1);
	s record;
BEGIN
	FOR s IN SELECT * FROM narvik_router.rotate_session($1, narvik_session_id(new_token)) LOOP
		RETURN QUERY SELECT new_token, s.id, s.user_id, s.created_at, s.expires_at, s.authenticated_at, s.active_at, s.data, s.new, s.extended;
	END LOOP;
END $$),
	('narvik_reauthenticate_session', $$
DECLARE
	new_token text := narvik_router.token_beside($1);
	s record;
BEGIN
	FOR s IN SELECT * FROM narvik_router.reauthenticate_session($1, narvik_session_id(new_token), $2) LOOP
		RETURN QUERY SELECT new_token, s.id, s.user_id, s.created_at, s.expires_at, s.authenticated_at, s.active_at, s.data, s.new, s.extended;
	END LOOP;
END $$),
	('narvik_fetch_sessions_for_user', $$
DECLARE
	a record;
	answered integer[] := '{}';
	sessions narvik_session[] := '{}';
BEGIN
	FOR a IN SELECT * FROM narvik_router.sessions_of_user($1, $2, $3) LOOP
		answered := answered || a.partitions;
		IF a.partitions IS NULL THEN
			sessions := sessions || a.session;
		END IF;
	END LOOP;
	PERFORM narvik_router.check_complete(answered);
	RETURN QUERY SELECT * FROM unnest(sessions) AS s ORDER BY s.created_at DESC LIMIT $2;
END $$),
	('narvik_delete_sessions_for_user', $$
DECLARE
	a record;
	answered integer[] := '{}';
	total bigint := 0;
BEGIN
	FOR a IN SELECT * FROM narvik_router.delete_sessions_of_user($1, $2, $3) LOOP
		answered := answered || a.partitions;
		total := total + a.deleted;
	END LOOP;
	PERFORM narvik_router.check_complete(answered);
	RETURN total;
END $$),
	('narvik_delete_all_expired_sessions', $$
BEGIN
	RETURN (SELECT sum(deleted) FROM narvik_router.delete_all_expired_sessions() AS deleted);
END $$),
	('narvik_reset_stats', $$
BEGIN
	PERFORM narvik_router.reset_stats();
END $$);
INSERT INTO narvik_own
SELECT 'narvik_' || verb, format($$
BEGIN
	IF $1 IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'role must not be null';
	END IF;
	EXECUTE format(%L, $1);
END $$, format('%s %s', upper(verb), list) || ' ' || direction || ' %s')
FROM (VALUES ('grant', 'TO'), ('revoke', 'FROM')) AS v (verb, direction), (
	SELECT 'EXECUTE ON FUNCTION ' || string_agg(format('narvik.%I(%s)', name, identity_arguments), ', ') AS list
	FROM narvik_functions WHERE application) AS f;
UPDATE narvik_own SET body = replace(body, 'EXECUTE format(', E'EXECUTE format(\'GRANT USAGE ON SCHEMA narvik TO %s\', $1);\n	EXECUTE format(')
WHERE name = 'narvik_grant';

-- grant and revoke work with the rights of their caller, as narvik's do.
SELECT format('CREATE OR REPLACE FUNCTION narvik.%I(%s) RETURNS %s LANGUAGE plpgsql %s %s AS %L',
	name, arguments, result, properties,
	CASE WHEN name IN ('narvik_grant', 'narvik_revoke') THEN 'SET search_path = pg_catalog, pg_temp' ELSE :'definer' END, body)
FROM narvik_functions JOIN narvik_own USING (name) WHERE route = 'own' \gexec

CREATE OR REPLACE VIEW narvik.narvik_stats AS SELECT * FROM narvik.narvik_stats();

/* ---- who may call ------------------------------------------------------- */

SELECT format('COMMENT ON FUNCTION narvik.%I(%s) IS %L', name, identity_arguments, comment)
FROM narvik_functions WHERE route <> 'none' \gexec
SELECT format('ALTER FUNCTION narvik.%I(%s) OWNER TO narvik_router', name, identity_arguments),
	format('REVOKE ALL ON FUNCTION narvik.%I(%s) FROM PUBLIC', name, identity_arguments)
FROM narvik_functions WHERE route NOT IN ('none', 'local') AND name NOT IN ('narvik_grant', 'narvik_revoke') \gexec
REVOKE ALL ON FUNCTION narvik.narvik_grant(regrole), narvik.narvik_revoke(regrole) FROM PUBLIC;
REVOKE ALL ON narvik.narvik_stats FROM PUBLIC;
GRANT EXECUTE ON FUNCTION narvik.narvik_stats() TO pg_read_all_stats;
GRANT SELECT ON narvik.narvik_stats TO pg_read_all_stats;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA narvik_router FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA narvik_router FROM PUBLIC;
GRANT USAGE ON SCHEMA narvik_router, :narvik TO narvik_router;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA narvik_router TO narvik_router;
COMMIT;
