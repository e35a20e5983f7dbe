-- Makes a database one of the shards.  As a superuser:
--
--   psql -d <database> -v shards=3 -v shard=0 -f shard.sql     0, 1 and 2 of three
--   psql -d <database> -f shard.sql                            one more, still empty
--
-- Routers connect as narvik_router, which gets its functions and nothing else.
-- Run it again after narvik was updated; which partitions are here stays.
\set ON_ERROR_STOP 1
\if :{?shards}
\else
	\set shards 0
	\set shard 0
\endif
\set inside narvik_shard
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS narvik;
CREATE EXTENSION IF NOT EXISTS narvik SCHEMA narvik CASCADE;
CREATE SCHEMA IF NOT EXISTS narvik_shard;
SET LOCAL search_path = pg_catalog;
\ir common.sql

SELECT 'CREATE ROLE narvik_router LOGIN' WHERE to_regrole('narvik_router') IS NULL \gexec
-- Values travel as text.  And waiting for a lock is pointless if one cannot see
-- afterwards what has changed.
ALTER ROLE narvik_router IN DATABASE :"DBNAME" SET datestyle = 'ISO';
ALTER ROLE narvik_router IN DATABASE :"DBNAME" SET intervalstyle = 'postgres';
ALTER ROLE narvik_router IN DATABASE :"DBNAME" SET default_transaction_isolation = 'read committed';

/* ---- which partitions are here ------------------------------------------ */

CREATE TABLE IF NOT EXISTS narvik_shard.partitions (
	partition	integer PRIMARY KEY,
	moved_to	text						-- NULL: it is here
);
INSERT INTO narvik_shard.partitions
SELECT p FROM generate_series(0, :partitions - 1) AS p
WHERE p % nullif(:shards, 0) = :shard AND NOT EXISTS (SELECT FROM narvik_shard.partitions);

CREATE OR REPLACE FUNCTION narvik_shard.is_here(partition integer) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN EXISTS (SELECT FROM narvik_shard.partitions AS p WHERE p.partition = is_here.partition AND moved_to IS NULL);

CREATE OR REPLACE FUNCTION narvik_shard.check_here(partition integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	IF NOT narvik_shard.is_here($1) THEN
		RAISE serialization_failure USING MESSAGE = format('partition %s of the sessions is in another database', $1),
			HINT = 'Repeat the transaction.';
	END IF;
END $$;

-- The partitions' advisory locks.  The one behind the last stands for all.
CREATE OR REPLACE FUNCTION narvik_shard.lock_shared(partition integer) RETURNS void
LANGUAGE sql RETURN pg_advisory_xact_lock_shared(1851880054, partition);
CREATE OR REPLACE FUNCTION narvik_shard.try_lock_shared(partition integer) RETURNS boolean
LANGUAGE sql RETURN pg_try_advisory_xact_lock_shared(1851880054, partition);
CREATE OR REPLACE FUNCTION narvik_shard.lock_exclusive(partition integer) RETURNS void
LANGUAGE sql RETURN pg_advisory_xact_lock(1851880054, partition);

-- A transaction that writes holds the partition until it commits: a move waits for
-- the writers, and then they wait for the move.
CREATE OR REPLACE FUNCTION narvik_shard.hold(partition integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE object_not_in_prerequisite_state USING MESSAGE = 'sessions of a shard are written in READ COMMITTED only';
	END IF;
	PERFORM narvik_shard.lock_shared($1);
	IF $1 < narvik_shard.partition_count() THEN
		PERFORM narvik_shard.check_here($1);
	END IF;
END $$;

/* ---- what routers call -------------------------------------------------- */

-- Within these functions narvik's are found without their schema.
SELECT format('SECURITY DEFINER SET search_path = pg_catalog, %s, pg_temp', :'narvik') AS definer \gset

-- The functions that need only the session's partition: generated.
SELECT format('CREATE OR REPLACE FUNCTION narvik_shard.%I(%s) RETURNS %s LANGUAGE plpgsql %s AS %L',
	name, arguments, result, :'definer', format(CASE
	-- Validation waits for nobody: while its partition is moved it writes nothing.
	WHEN route = 'token' THEN $$
DECLARE
	partition integer := narvik_shard.partition_of_token($1);
BEGIN
	IF NOT narvik_shard.try_lock_shared(partition) THEN
		SET LOCAL transaction_read_only = on;
	END IF;
	RETURN QUERY SELECT * FROM %1$I(%2$s);
	PERFORM narvik_shard.check_here(partition);
END $$
	WHEN route = 'all' THEN $$
BEGIN
	RETURN QUERY SELECT * FROM %1$I(%2$s);
END $$
	-- First read, then ask whether it was the right place.
	WHEN NOT writes THEN $$
BEGIN
	RETURN QUERY SELECT * FROM %1$I(%2$s);
	PERFORM narvik_shard.check_here(narvik_shard.partition_of_id($1));
END $$
	ELSE $$
BEGIN
	PERFORM narvik_shard.hold(narvik_shard.partition_of_id($1));
	%3$s %1$I(%2$s);
END $$
	END, name, parameters, CASE result WHEN 'void' THEN 'PERFORM' ELSE 'RETURN' END))
FROM narvik_functions WHERE route IN ('token', 'id', 'all') \gexec

-- The router makes the token, because it decides where the session lives.  So
-- narvik makes a session here, by all its rules, and before anybody has seen it
-- it gets the id that the router chose.
CREATE OR REPLACE FUNCTION narvik_shard.give_id(old_id text, new_id text) RETURNS void
LANGUAGE plpgsql :definer AS $$
BEGIN
	UPDATE ONLY narvik_sessions SET id = decode($2, 'hex') WHERE id = decode($1, 'hex');
	IF NOT FOUND THEN
		RAISE no_data_found USING MESSAGE = 'new session has vanished';
	END IF;
	IF current_setting('narvik.events')::boolean THEN
		UPDATE ONLY narvik_events SET session_id = decode($2, 'hex') WHERE seq = (
			SELECT seq FROM (SELECT seq, session_id FROM ONLY narvik_events ORDER BY seq DESC LIMIT 1000) AS newest
			WHERE session_id = decode($1, 'hex'));
	END IF;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.create_session(id text, user_id text, data jsonb, expires_in interval, sliding boolean, max_age interval)
RETURNS SETOF :narvik.narvik_session LANGUAGE plpgsql :definer AS $$
DECLARE
	created record;
BEGIN
	-- NULL: narvik is not loaded yet, and nobody has set it.
	IF current_setting('narvik.max_sessions_per_user', true) <> '0' THEN
		PERFORM narvik_shard.hold(narvik_shard.partition_count());		-- it may end another session
	END IF;
	PERFORM narvik_shard.hold(narvik_shard.partition_of_id($1));
	created := narvik_create_session($2, $3, $4, $5, $6);
	PERFORM narvik_shard.give_id(created.id, $1);
	RETURN QUERY SELECT $1, created.user_id, created.created_at, created.expires_at, created.authenticated_at, created.active_at, created.data, created.new, created.extended, false;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.create_guest_session(id text, data jsonb, expires_in interval)
RETURNS SETOF :narvik.narvik_session LANGUAGE plpgsql :definer AS $$
DECLARE
	created record;
BEGIN
	PERFORM narvik_shard.hold(narvik_shard.partition_of_id($1));
	created := narvik_create_guest_session($2, $3);
	PERFORM narvik_shard.give_id(created.id, $1);
	RETURN QUERY SELECT $1, created.user_id, created.created_at, created.expires_at, created.authenticated_at, created.active_at, created.data, created.new, created.extended, false;
END $$;

-- A guest's session, if there is one, is in the partition of the new id.
CREATE OR REPLACE FUNCTION narvik_shard.promote_session(token text, new_id text, user_id text, data jsonb, expires_in interval, sliding boolean, max_age interval)
RETURNS SETOF :narvik.narvik_session LANGUAGE plpgsql :definer AS $$
DECLARE
	created record;
BEGIN
	IF current_setting('narvik.max_sessions_per_user', true) <> '0' THEN
		PERFORM narvik_shard.hold(narvik_shard.partition_count());		-- it may end another session
	END IF;
	PERFORM narvik_shard.hold(narvik_shard.partition_of_id($2));
	created := narvik_promote_session($1, $3, $4, $5, $6, $7);
	PERFORM narvik_shard.give_id(created.id, $2);
	RETURN QUERY SELECT $2, created.user_id, created.created_at, created.expires_at, created.authenticated_at, created.active_at, created.data, created.new, created.extended, false;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.rotate_session(token text, new_id text)
RETURNS SETOF :narvik.narvik_session LANGUAGE plpgsql :definer AS $$
DECLARE
	rotated record;
BEGIN
	IF narvik_shard.partition_of_token($1) <> narvik_shard.partition_of_id($2) THEN
		RAISE invalid_parameter_value USING MESSAGE = 'new session ID belongs to another partition';
	END IF;
	PERFORM narvik_shard.hold(narvik_shard.partition_of_id($2));
	FOR rotated IN SELECT * FROM narvik_rotate_session($1) LOOP
		PERFORM narvik_shard.give_id(rotated.id, $2);
		RETURN QUERY SELECT $2, rotated.user_id, rotated.created_at, rotated.expires_at, rotated.authenticated_at, rotated.active_at, rotated.data, rotated.new, rotated.extended, false;
	END LOOP;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.reauthenticate_session(token text, new_id text, patch jsonb)
RETURNS SETOF :narvik.narvik_session LANGUAGE plpgsql :definer AS $$
DECLARE
	renewed record;
BEGIN
	IF narvik_shard.partition_of_token($1) <> narvik_shard.partition_of_id($2) THEN
		RAISE invalid_parameter_value USING MESSAGE = 'new session ID belongs to another partition';
	END IF;
	PERFORM narvik_shard.hold(narvik_shard.partition_of_id($2));
	FOR renewed IN SELECT * FROM narvik_reauthenticate_session($1, $3) LOOP
		PERFORM narvik_shard.give_id(renewed.id, $2);
		RETURN QUERY SELECT $2, renewed.user_id, renewed.created_at, renewed.expires_at, renewed.authenticated_at, renewed.active_at, renewed.data, renewed.new, renewed.extended, false;
	END LOOP;
END $$;

-- A user's sessions are everywhere, and partitions may move while one asks
-- around.  So each shard says for which partitions it has answered.

-- One row with them, then one for each session; all of one snapshot.  What narvik is
-- told of max_rows is whether it can be: some of what it would count may have moved.
CREATE OR REPLACE FUNCTION narvik_shard.sessions_of_user(user_id text, max_rows integer, created_before timestamptz, OUT partitions integer[], OUT session :narvik.narvik_session)
RETURNS SETOF record LANGUAGE plpgsql :definer AS $$
BEGIN
	RETURN QUERY
	WITH here AS (SELECT partition FROM narvik_shard.partitions WHERE moved_to IS NULL)
	SELECT ARRAY(SELECT partition FROM here), NULL::narvik_session
	UNION ALL
	(SELECT NULL, s FROM narvik_fetch_sessions_for_user($1, CASE WHEN $2 < 0 THEN $2 END, $3) AS s
	WHERE narvik_shard.partition_of_id(s.id) IN (SELECT partition FROM here)
	ORDER BY s.created_at DESC LIMIT CASE WHEN $2 >= 0 THEN $2 END);
END $$;

-- Those that are here before the deletion: it sees all their sessions.
CREATE OR REPLACE FUNCTION narvik_shard.delete_sessions_of_user(user_id text, except_session_id text, reason text, OUT partitions integer[], OUT deleted bigint)
RETURNS SETOF record LANGUAGE plpgsql :definer AS $$
BEGIN
	PERFORM narvik_shard.hold(narvik_shard.partition_count());
	partitions := ARRAY(SELECT partition FROM narvik_shard.partitions WHERE moved_to IS NULL);
	deleted := narvik_delete_sessions_for_user($1, $2, $3);
	RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.delete_all_expired_sessions() RETURNS SETOF bigint
LANGUAGE plpgsql :definer AS $$
BEGIN
	RETURN NEXT narvik_delete_all_expired_sessions();
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.reset_stats() RETURNS SETOF boolean
LANGUAGE plpgsql :definer AS $$
BEGIN
	PERFORM narvik_reset_stats();
	RETURN NEXT true;
END $$;

/* ---- moving a partition: see move-partitions ---------------------------- */

-- At the source, in the transaction that ends with give_away().  True if it is
-- still here, false if it has gone to this target already.
CREATE OR REPLACE FUNCTION narvik_shard.stop_writers(partition integer, target text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
	gone_to text;
BEGIN
	PERFORM narvik_shard.lock_exclusive(narvik_shard.partition_count());
	PERFORM narvik_shard.lock_exclusive($1);
	SELECT moved_to INTO STRICT gone_to FROM narvik_shard.partitions AS p WHERE p.partition = $1;
	IF gone_to <> target THEN
		RAISE object_not_in_prerequisite_state USING MESSAGE = format('partition %s has gone elsewhere', $1),
			DETAIL = format('It has gone to "%s".', gone_to);
	END IF;
	RETURN gone_to IS NULL;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.rows_of(partition integer) RETURNS SETOF :narvik.narvik_sessions
LANGUAGE sql STABLE BEGIN ATOMIC
	SELECT * FROM ONLY :narvik.narvik_sessions WHERE narvik_shard.partition_of(id) = partition;
END;

-- At the target, before the rows come: those of an attempt that failed go.
CREATE OR REPLACE FUNCTION narvik_shard.make_room(partition integer) RETURNS void
LANGUAGE plpgsql :definer AS $$
BEGIN
	IF narvik_shard.is_here($1) THEN
		RAISE object_in_use USING MESSAGE = format('partition %s is here already', $1);
	END IF;
	DELETE FROM ONLY narvik_sessions WHERE narvik_shard.partition_of(id) = $1;
	-- The source forgets them as soon as this is committed.
	SET LOCAL synchronous_commit = on;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.give_away(partition integer, target text) RETURNS bigint
LANGUAGE plpgsql :definer AS $$
DECLARE
	moved bigint;
BEGIN
	UPDATE narvik_shard.partitions AS p SET moved_to = target WHERE p.partition = $1;
	DELETE FROM ONLY narvik_sessions WHERE narvik_shard.partition_of(id) = $1;
	GET DIAGNOSTICS moved = ROW_COUNT;
	RETURN moved;
END $$;

CREATE OR REPLACE FUNCTION narvik_shard.take_over(partition integer) RETURNS void
LANGUAGE sql BEGIN ATOMIC
	INSERT INTO narvik_shard.partitions AS p VALUES (partition, NULL) ON CONFLICT (partition) DO UPDATE SET moved_to = NULL;
END;

/* ---- who may call ------------------------------------------------------- */

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA narvik_shard FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA narvik_shard FROM PUBLIC;
GRANT USAGE ON SCHEMA narvik_shard, :narvik TO narvik_router;
SELECT format('GRANT EXECUTE ON FUNCTION narvik_shard.%I(%s) TO narvik_router', name, identity_arguments)
FROM narvik_functions WHERE route IN ('token', 'id', 'all') \gexec
GRANT EXECUTE ON FUNCTION
	narvik_shard.create_session(text, text, jsonb, interval, boolean, interval),
	narvik_shard.create_guest_session(text, jsonb, interval),
	narvik_shard.promote_session(text, text, text, jsonb, interval, boolean, interval),
	narvik_shard.rotate_session(text, text),
	narvik_shard.reauthenticate_session(text, text, jsonb),
	narvik_shard.sessions_of_user(text, integer, timestamptz),
	narvik_shard.delete_sessions_of_user(text, text, text),
	narvik_shard.delete_all_expired_sessions(),
	narvik_shard.reset_stats()
TO narvik_router;
COMMIT;
