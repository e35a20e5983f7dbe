-- Activity: when a session was last used, as far as that is noted.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
DELETE FROM narvik_sessions;
SELECT token, id FROM narvik_create_session('alice') \gset
UPDATE narvik_sessions SET created_at = now() - interval '1 hour';

-- off: not noted; being created is the first use
SELECT active_at = created_at AS created, extended FROM narvik_validate_session(:'token');
SELECT active_at IS NULL AS not_noted FROM narvik_sessions;

-- on: noted if the last note is older, and no more often
SET narvik.activity_interval = '5min';
SELECT active_at > now() - interval '1 second' AS now, extended, due FROM narvik_validate_session(:'token');
UPDATE narvik_sessions SET active_at = now() - interval '270 seconds';
SELECT active_at < now() - interval '269 seconds' AS kept FROM narvik_validate_session(:'token');
UPDATE narvik_sessions SET active_at = now() - interval '301 seconds';
SELECT active_at > now() - interval '1 second' AS now FROM narvik_validate_session(:'token');
SELECT active_at > now() - interval '1 minute' AS noted FROM narvik_fetch_sessions_for_user('alice');
SELECT active_at > now() - interval '1 minute' AS noted FROM narvik_fetch_session(:'id');
-- authenticate and the call of a request note it, too
UPDATE narvik_sessions SET active_at = NULL;
SELECT narvik_authenticate(:'token');
SELECT active_at IS NOT NULL AS noted FROM narvik_sessions;
UPDATE narvik_sessions SET active_at = NULL;
SELECT set_cookie IS NULL AS no_cookie, active_at > now() - interval '1 second' AS now FROM narvik_authenticate_cookie('narvik_session=' || :'token');
-- with an extension it is one write
UPDATE narvik_sessions SET active_at = NULL, expires_at = now() + interval '1 day';
SELECT extended, active_at > now() - interval '1 second' AS now FROM narvik_validate_session(:'token');
-- what is no use of the session: lists, a fetch, rotation
UPDATE narvik_sessions SET active_at = NULL;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice'), narvik_fetch_session(:'id');
SELECT token FROM narvik_rotate_session(:'token') \gset
SELECT active_at IS NULL AS not_noted FROM narvik_sessions;
-- in READ ONLY it is left out, and nothing is due for that
BEGIN READ ONLY;
SELECT due, active_at < now() - interval '1 minute' AS old FROM narvik_validate_session(:'token');
COMMIT;
-- a fixed session is active, too; a guest's as well
SELECT token FROM narvik_create_session('bob', sliding => false) \gset
SELECT token AS guest FROM narvik_create_guest_session() \gset
UPDATE narvik_sessions SET created_at = now() - interval '1 hour';
SELECT active_at > now() - interval '1 second' AS now, extended FROM narvik_validate_session(:'token');
SELECT active_at > now() - interval '1 second' AS now, extended FROM narvik_validate_session(:'guest');
DELETE FROM narvik_sessions;
-- the stores of frameworks do not validate: what they write notes it, each time
CREATE VIEW pg_temp.active AS SELECT CASE
    WHEN active_at IS NULL THEN 'not noted'
    WHEN active_at > now() + interval '1 minute' THEN 'later'
    WHEN active_at > now() - interval '1 minute' THEN 'now'
    ELSE 'earlier' END AS active FROM narvik_sessions;
SELECT narvik_session_id('web') AS web \gset
SELECT narvik_put_session(:'web', 'alice', now() + interval '1 day', '{}');
SELECT * FROM pg_temp.active;
SELECT narvik_put_session(:'web', 'alice', now() + interval '1 day', '{}', true);
SELECT * FROM pg_temp.active;
UPDATE narvik_sessions SET active_at = now() - interval '10 minutes';
SELECT narvik_put_session(:'web', 'bob', now() + interval '1 day', '{}', true);
SELECT * FROM pg_temp.active;
-- an expiry does, but to end it sooner is no use of it
UPDATE narvik_sessions SET active_at = NULL;
SELECT narvik_update_session_expiry(:'web', now() + interval '2 days');
SELECT * FROM pg_temp.active;
UPDATE narvik_sessions SET active_at = now() - interval '10 minutes';
SELECT narvik_update_session_expiry(:'web', now() + interval '1 day');
SELECT * FROM pg_temp.active;
UPDATE narvik_sessions SET active_at = NULL;
SELECT narvik_update_session_expiry(:'web', now() + interval '1 hour');
SELECT * FROM pg_temp.active;
-- at the end of its age it stays as it is, and is in use
SET narvik.session_max_age = '1h';
SELECT narvik_update_session_expiry(:'web', now() + interval '1 day');
SELECT * FROM pg_temp.active;
RESET narvik.session_max_age;
-- a note never goes back
UPDATE narvik_sessions SET active_at = now() + interval '10 minutes';
SELECT narvik_put_session(:'web', 'bob', now() + interval '1 day', '{}', true);
SELECT narvik_update_session_expiry(:'web', now() + interval '2 days');
SELECT * FROM pg_temp.active;
-- nor is one made of what has expired
UPDATE narvik_sessions SET active_at = NULL, expires_at = now();
SELECT narvik_put_session(:'web', 'bob', now() + interval '1 day', '{}', true);
SELECT narvik_update_session_expiry(:'web', now() + interval '2 days');
SELECT * FROM pg_temp.active;
SELECT narvik_put_session(:'web', 'bob', now() + interval '1 day', '{}');
SELECT * FROM pg_temp.active;
-- off: it stays as it is
RESET narvik.activity_interval;
SELECT narvik_put_session(:'web', 'bob', now() + interval '1 day', '{}', true);
SELECT narvik_update_session_expiry(:'web', now() + interval '2 days');
SELECT * FROM pg_temp.active;
UPDATE narvik_sessions SET active_at = now() - interval '10 minutes';
SELECT narvik_put_session(:'web', 'bob', now() + interval '1 day', '{}', true);
SELECT narvik_update_session_expiry(:'web', now() + interval '2 days');
SELECT * FROM pg_temp.active;
\set VERBOSITY sqlstate
SET narvik.activity_interval = -1;
\set VERBOSITY default
RESET narvik.activity_interval;
DELETE FROM narvik_sessions;

-- The limit can refuse instead of ending the oldest; what has expired never counts.
SET narvik.max_sessions_per_user = 2;
SET narvik.max_sessions_action = refuse;
SELECT narvik_save_session(narvik_session_id('x' || i), 'alice', now() - interval '1 day') FROM generate_series(1, 3) AS i;
SELECT count(*) FROM narvik_create_session('alice');
SELECT count(*) FROM narvik_create_session('alice');
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never
SELECT count(*) FROM narvik_create_session('alice');
\set VERBOSITY default
SELECT narvik_save_session(narvik_session_id('y'), 'alice', now() + interval '1 day');
SELECT narvik_put_session(narvik_session_id('y'), 'alice', now() + interval '1 day', '{}');
SELECT token FROM narvik_create_guest_session() \gset
CREATE FUNCTION pg_temp.promote(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN user_id FROM narvik_promote_session(token, 'alice');
EXCEPTION WHEN configuration_limit_exceeded THEN
	RETURN 'refused';
END $$;
SELECT pg_temp.promote(:'token');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT count(*) FROM narvik_create_session('bob');
SELECT narvik_invalidate_session(id) FROM narvik_fetch_sessions_for_user('alice', 1);
SELECT count(*) FROM narvik_create_session('alice');
SET narvik.max_sessions_action = maybe;
RESET narvik.max_sessions_per_user;
RESET narvik.max_sessions_action;
DELETE FROM narvik_sessions;
