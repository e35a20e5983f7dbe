--
-- put_session, change_session_id: what the session store of a web framework does. It
-- chooses ids and expiry, and writes the whole of a session back.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
LOAD 'narvik';
SELECT narvik_session_id('a') AS a, narvik_session_id('b') AS b, narvik_session_id('none') AS none \gset
CREATE FUNCTION pg_temp.sessions() RETURNS TABLE (token text, user_id text, expires_at timestamptz, data jsonb) LANGUAGE sql AS $$
    SELECT t, user_id, expires_at, data FROM narvik_sessions JOIN unnest('{a,b,c}'::text[]) t ON id = decode(narvik_session_id(t), 'hex') ORDER BY t $$;

-- Stores what is not there, for a user or for nobody; it does not slide.
SELECT narvik_put_session(:'a', NULL, '2100-01-01', '{"n": 1, "nothing": null}');
SELECT narvik_put_session(upper(:'b'), 'bob', statement_timestamp() + '1 hour', '{}');
SELECT user_id, lifetime, sliding, ends_at, authenticated_at = created_at AS logged_in, data,
       purge_hour = floor(extract(epoch FROM expires_at) / 3600) AS hour_fits FROM narvik_sessions ORDER BY seq;
SELECT v.user_id, v.extended FROM narvik_validate_session('b') v;

-- Replaces the whole of what is there, nulls too; created_at stays. Who logs in is
-- authenticated then, who stays logged in is not again.
UPDATE narvik_sessions SET created_at = '2000-01-01', authenticated_at = authenticated_at - interval '1 day';
SELECT narvik_put_session(:'a', 'alice', '2100-01-02', '{"m": null}');
SELECT narvik_put_session(:'b', 'bob', '2100-01-02', '{"m": 1}');
SELECT * FROM pg_temp.sessions();
SELECT created_at, authenticated_at > now() - interval '1 hour' AS logged_in_now, purge_hour = floor(extract(epoch FROM expires_at) / 3600) AS hour_fits FROM narvik_sessions ORDER BY user_id;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
-- Logged out, it is a guest's.
SELECT narvik_put_session(:'a', NULL, '2100-01-03', '{}');
SELECT authenticated_at IS NULL AS never FROM narvik_sessions WHERE user_id IS NULL;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
-- A session that narvik made slides no more once a framework has put it.
SELECT token, id FROM narvik_create_session('carol', expires_in => '2 hours') \gset
SELECT narvik_put_session(:'id', 'carol', statement_timestamp() + '10 minutes', '{}');
SELECT extended, expires_at < statement_timestamp() + '11 minutes' AS as_put FROM narvik_validate_session(:'token');
DELETE FROM narvik_sessions WHERE user_id = 'carol';

-- existing: true only replaces, false only stores. An expired row counts as absent.
SELECT narvik_put_session(:'none', 'dora', '2100-01-01', '{}', true), narvik_put_session(:'a', 'dora', '2100-01-01', '{}', false);
SELECT narvik_put_session(:'a', 'alice', '2100-01-04', '{"only": "existing"}', true), narvik_put_session(narvik_session_id('c'), 'carol', '2100-01-01', '{}', false);
SELECT * FROM pg_temp.sessions();
UPDATE narvik_sessions SET expires_at = '2000-01-02', purge_hour = 0;
SELECT narvik_put_session(:'a', 'dora', '2100-01-01', '{}', true);
SELECT narvik_put_session(:'a', 'dora', '2100-01-01', '{}', false), narvik_put_session(:'b', 'dora', '2100-01-01', '{}', NULL);
SELECT user_id, created_at > '2001-01-01' AS anew FROM narvik_fetch_session(:'a') UNION ALL SELECT user_id, created_at > '2001-01-01' FROM narvik_fetch_session(:'b');
-- Put with an expiry in the past, it has expired.
SELECT narvik_put_session(:'a', 'dora', '2001-01-01', '{}'), narvik_put_session(narvik_session_id('c'), 'dora', '2001-01-01', '{}');
SELECT count(*) FROM narvik_validate_session('a');
DELETE FROM narvik_sessions;
-- An expired one that a trigger keeps in its place is an error, and not waited for.
CREATE FUNCTION pg_temp.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION pg_temp.keep();
SET statement_timeout = '10s';
SELECT narvik_put_session(narvik_session_id('late'), 'dora', '2001-01-01', '{}');
SELECT narvik_put_session(narvik_session_id('late'), 'dora', '2100-01-01', '{}');
SELECT narvik_put_session(narvik_session_id('late'), 'dora', '2100-01-01', '{}', false);
SELECT narvik_change_session_id(:'a', narvik_session_id('late')) FROM narvik_put_session(:'a', 'dora', '2100-01-01', '{}');
RESET statement_timeout;
DROP TRIGGER keep ON narvik_sessions;
DELETE FROM narvik_sessions;

-- Ages hold: the session's own, and everybody's.
SELECT token, id FROM narvik_create_session('alice', max_age => '1 hour') \gset
SELECT narvik_put_session(:'id', 'alice', '2100-01-01', '{}');
SELECT expires_at - created_at AS lives FROM narvik_validate_session(:'token');
SELECT expires_at = ends_at AS as_stored, purge_hour = floor(extract(epoch FROM ends_at) / 3600) AS hour_fits FROM narvik_sessions;
SET narvik.session_max_age = '2h';
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{}');
RESET narvik.session_max_age;
SELECT expires_at - created_at AS lives FROM narvik_validate_session('a');
DELETE FROM narvik_sessions;

-- The limit holds: for who comes, not for who stays, nor for guests.
SET narvik.max_sessions_per_user = 1;
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{}'), narvik_put_session(:'b', NULL, '2100-01-01', '{}');
UPDATE narvik_sessions SET user_id = 'alice';
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{"n": 1}'), narvik_put_session(:'b', NULL, '2100-01-01', '{}', true);
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{"n": 2}', false), narvik_put_session(:'none', 'alice', '2100-01-01', '{}', true);
SELECT * FROM pg_temp.sessions();
SELECT narvik_put_session(:'b', 'alice', '2100-01-01', '{"n": 3}');
SELECT * FROM pg_temp.sessions();
SELECT narvik_put_session(narvik_session_id('c'), 'alice', '2100-01-01', '{"n": 4}');
SELECT * FROM pg_temp.sessions();
RESET narvik.max_sessions_per_user;
DELETE FROM narvik_sessions;

-- The link holds where something would be stored.
CREATE TABLE regress_users (id text PRIMARY KEY);
INSERT INTO regress_users VALUES ('alice');
SELECT narvik_link_users('regress_users');
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{}'), narvik_put_session(:'b', NULL, '2100-01-01', '{}');
\set VERBOSITY sqlstate
SELECT narvik_put_session(:'none', 'zoe', '2100-01-01', '{}');
SELECT narvik_put_session(:'none', 'zoe', '2100-01-01', '{}', false);
SELECT narvik_put_session(:'b', 'zoe', '2100-01-01', '{}', true);
\set VERBOSITY default
SELECT narvik_put_session(:'none', 'zoe', '2100-01-01', '{}', true), narvik_put_session(:'b', 'zoe', '2100-01-01', '{}', false);
DELETE FROM regress_users;
-- The user was deleted, and the session with them: nothing to write back.
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{}', true);
UPDATE narvik_sessions SET expires_at = '2000-01-01', purge_hour = 0;
SELECT narvik_put_session(:'b', 'alice', '2100-01-01', '{}', true);
SELECT * FROM pg_temp.sessions();
SELECT narvik_unlink_users();
DROP TABLE regress_users;
DELETE FROM narvik_sessions;

-- Another id: the same session, at once under the new one only.
SELECT narvik_put_session(:'a', 'alice', '2100-01-01', '{"n": 1}'), narvik_put_session(:'b', 'bob', '2100-01-01', '{"n": 2}');
SELECT narvik_change_session_id(:'a', upper(narvik_session_id('c')));
SELECT * FROM pg_temp.sessions();
SELECT count(*) FROM narvik_validate_session('a');
SELECT narvik_change_session_id(narvik_session_id('c'), narvik_session_id('c')), narvik_change_session_id(:'none', :'a'), narvik_change_session_id('x', :'a'), narvik_change_session_id(NULL, :'a');
SELECT narvik_change_session_id(narvik_session_id('c'), :'b');
UPDATE narvik_sessions SET expires_at = '2000-01-01', purge_hour = 0 WHERE user_id = 'bob';
SELECT narvik_change_session_id(:'b', :'a'), narvik_change_session_id(:'b', narvik_session_id('c'));
SELECT narvik_change_session_id(narvik_session_id('c'), :'b');
SELECT * FROM pg_temp.sessions();
-- A trigger's own error is not taken for that of a taken id.
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE exclusion_violation USING MESSAGE = 'not today'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse();
\set VERBOSITY terse
SELECT narvik_change_session_id(:'b', narvik_session_id('free'));
\set VERBOSITY default
DROP TRIGGER refuse ON narvik_sessions;

-- The identity follows: another user, none, another id, an end.
BEGIN;
SELECT narvik_authenticate('b');
SELECT narvik_change_session_id(:'b', :'a');
SELECT narvik_current_user_id(), narvik_current_session_id() = :'a' AS follows;
SELECT narvik_put_session(:'a', 'carol', '2100-01-01', '{}');
SELECT narvik_current_user_id(), narvik_current_session_id() = :'a' AS same;
SAVEPOINT s;
SELECT narvik_put_session(:'a', NULL, '2100-01-01', '{}');
SELECT narvik_current_user_id() IS NULL AS nobody, narvik_current_session_id() = :'a' AS same;
SELECT narvik_put_session(:'a', NULL, '2000-01-01', '{}');
SELECT narvik_current_session_id() IS NULL AS ended;
ROLLBACK TO s;
SELECT narvik_current_user_id(), narvik_current_session_id() = :'a' AS same;
ROLLBACK;
DELETE FROM narvik_sessions;

-- What is refused, and what is merely not there.
CREATE FUNCTION pg_temp.answer(p_call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
    EXECUTE 'SELECT ' || p_call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT call, pg_temp.answer(call) FROM unnest(ARRAY[
    'narvik_put_session(''x'', ''a'', ''2100-01-01'', ''{}'')', 'narvik_put_session(''x'', ''a'', ''2100-01-01'', ''{}'', false)',
    'narvik_put_session(''x'', ''a'', ''2100-01-01'', ''{}'', true)', 'narvik_put_session(NULL, ''a'', ''2100-01-01'', ''{}'')',
    'narvik_put_session(NULL, ''a'', ''2100-01-01'', ''{}'', true)',
    'narvik_put_session(repeat(''0'', 64), '''', ''2100-01-01'', ''{}'')', 'narvik_put_session(repeat(''0'', 64), repeat(''x'', 1025), ''2100-01-01'', ''{}'')',
    'narvik_put_session(repeat(''0'', 64), ''a'', NULL, ''{}'')', 'narvik_put_session(repeat(''0'', 64), ''a'', ''infinity'', ''{}'')',
    'narvik_put_session(repeat(''0'', 64), ''a'', ''2100-01-01'', NULL)', 'narvik_put_session(repeat(''0'', 64), ''a'', ''2100-01-01'', ''[]'')',
    'narvik_change_session_id(repeat(''0'', 64), ''x'')', 'narvik_change_session_id(repeat(''0'', 64), NULL)']) call;
SELECT count(*) FROM narvik_sessions;

-- an expired row that a trigger keeps in its place is an error, not a search without end
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION keep();
SELECT narvik_put_session(narvik_session_id('kept'), 'alice', now() - interval '1 hour', '{}');
SET statement_timeout = '10s';
SELECT narvik_put_session(narvik_session_id('kept'), 'alice', now() + interval '1 hour', '{}');
SELECT narvik_put_session(narvik_session_id('kept'), 'alice', now() + interval '1 hour', '{}', false);
SELECT narvik_save_session(narvik_session_id('kept'), 'alice', now() + interval '1 hour');
SELECT narvik_put_session(narvik_session_id('other'), 'alice', now() + interval '1 hour', '{}');
SELECT narvik_change_session_id(narvik_session_id('other'), narvik_session_id('kept'));
RESET statement_timeout;
DROP TRIGGER keep ON narvik_sessions;
DROP FUNCTION keep();
DELETE FROM narvik_sessions;
