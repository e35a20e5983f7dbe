-- Whatever its owner makes of narvik_events: acts are done as ever, and their events are
-- written if they can be; what is no event of narvik's is left alone.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
DELETE FROM narvik_sessions;
DELETE FROM narvik_events;
SET narvik.events = on;

-- Creates, rotates, reauthenticates and ends a session, and another that expires; how many
-- are left, and the log.
CREATE FUNCTION pg_temp.act(OUT sessions bigint, OUT log text) LANGUAGE plpgsql AS $$
DECLARE
	t text := (SELECT token FROM narvik_create_session('alice'));
BEGIN
	t := (SELECT token FROM narvik_rotate_session(t));
	t := (SELECT token FROM narvik_reauthenticate_session(t));
	PERFORM narvik_invalidate_session(narvik_session_id(t));
	PERFORM narvik_save_session(narvik_session_id('old'), 'alice', now() - interval '1 day');
	PERFORM narvik_validate_session('old');
	sessions := (SELECT count(*) FROM narvik_sessions);
	log := (SELECT string_agg(concat_ws(' ', kind, reason), ', ' ORDER BY seq) FROM narvik_fetch_events_for_user('alice'));
	DELETE FROM ONLY narvik_events;
END $$;
SELECT * FROM pg_temp.act();

-- Row-level security, enabled and forced, of an owner who is no superuser
CREATE ROLE regress_narvik_keeper;
GRANT CREATE ON SCHEMA public TO regress_narvik_keeper;
ALTER TABLE narvik_sessions OWNER TO regress_narvik_keeper;
ALTER TABLE narvik_events OWNER TO regress_narvik_keeper;
ALTER TABLE narvik_events ENABLE ROW LEVEL SECURITY;
SELECT * FROM pg_temp.act();
ALTER TABLE narvik_events FORCE ROW LEVEL SECURITY;
SELECT * FROM pg_temp.act();
CREATE POLICY none ON narvik_events AS RESTRICTIVE USING (false) WITH CHECK (false);
SELECT * FROM pg_temp.act();
ALTER TABLE narvik_events NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
DROP POLICY none ON narvik_events;
ALTER TABLE narvik_sessions OWNER TO CURRENT_USER;
ALTER TABLE narvik_events OWNER TO CURRENT_USER;
REVOKE CREATE ON SCHEMA public FROM regress_narvik_keeper;
DROP ROLE regress_narvik_keeper;

-- A trigger can leave events out, or change them: the acts are done
CREATE FUNCTION regress_narvik_filter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.kind = ANY (TG_ARGV) THEN
		RETURN NULL;
	END IF;
	NEW.reason := upper(NEW.reason);
	RETURN NEW;
END $$;
CREATE TRIGGER filter BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION regress_narvik_filter('rotated');
SELECT * FROM pg_temp.act();
DROP TRIGGER filter ON narvik_events;
CREATE TRIGGER filter BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION regress_narvik_filter('created', 'rotated', 'reauthenticated', 'ended');
SELECT * FROM pg_temp.act();
DROP TRIGGER filter ON narvik_events;
DROP FUNCTION regress_narvik_filter();

-- One that raises: only validation goes on, and leaves what it would have removed
CREATE FUNCTION regress_narvik_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no event'; END $$;
SELECT narvik_save_session(narvik_session_id('expired'), 'bob', now() - interval '1 day');
SELECT narvik_save_session(narvik_session_id('due'), 'bob', now() + interval '1 day');
SET narvik.detect_reuse = on;
SELECT token AS replaced FROM narvik_create_session('bob') \gset
SELECT token AS present FROM narvik_rotate_session(:'replaced') \gset
DELETE FROM narvik_events;
CREATE TRIGGER refuse BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION regress_narvik_refuse();
SET client_min_messages = error;
BEGIN;
SELECT narvik_authenticate('due');
SELECT (SELECT count(*) FROM narvik_validate_session('expired')) AS expired,
	(SELECT count(*) FROM narvik_validate_session(:'replaced')) AS replaced, (SELECT count(*) FROM narvik_validate_session(:'present')) AS present;
SELECT narvik_current_user_id();
COMMIT;
RESET client_min_messages;
SELECT count(*), count(*) FILTER (WHERE expires_at < now()) AS expired, count(*) FILTER (WHERE expires_at > now() + interval '20 days') AS live FROM narvik_sessions;
SELECT count(*) FROM narvik_events;
DROP TRIGGER refuse ON narvik_events;
SELECT (SELECT count(*) FROM narvik_validate_session('expired')) AS expired,
	(SELECT count(*) FROM narvik_validate_session(:'replaced')) AS replaced, (SELECT count(*) FROM narvik_validate_session(:'present')) AS present;
SELECT kind, reason FROM narvik_events ORDER BY seq;
-- nor is there an event of what a trigger keeps from being done
CREATE FUNCTION regress_narvik_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE DELETE OR UPDATE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION regress_narvik_keep();
DELETE FROM narvik_events;
SELECT narvik_invalidate_session(narvik_session_id('due')), narvik_delete_sessions_for_user('bob'),
	narvik_change_session_id(narvik_session_id('due'), narvik_session_id('new'));
SELECT count(*) FROM narvik_rotate_session('due') AS a, narvik_reauthenticate_session('due') AS b;
SELECT count(*) FROM narvik_events;
DROP TRIGGER keep ON narvik_sessions;
DROP FUNCTION regress_narvik_refuse(), regress_narvik_keep();
RESET narvik.detect_reuse;
DELETE FROM narvik_sessions;
DELETE FROM narvik_events;

-- Rows of a table that inherits from it are no events
CREATE TABLE archive () INHERITS (narvik_events);
INSERT INTO archive (seq, at, kind, session_id, user_id, detail) VALUES (1000000, now() - interval '1 year', 'created', '', 'alice', '{}');
SELECT * FROM pg_temp.act();
SELECT count(*) FROM narvik_fetch_events_for_user('alice');
SELECT count(*) FROM archive;
DROP TABLE archive;

-- A table that refers to it, and defaults of the owner's in its columns
CREATE TABLE refers (seq bigint REFERENCES narvik_events (seq) ON DELETE CASCADE);
ALTER TABLE narvik_events ALTER COLUMN reason SET DEFAULT 'none', ALTER COLUMN user_id SET DEFAULT 'somebody', ALTER COLUMN detail SET DEFAULT '{"d": 1}';
SELECT count(*) FROM narvik_create_guest_session();
INSERT INTO refers SELECT seq FROM narvik_events;
SELECT kind, reason, user_id, detail FROM narvik_events ORDER BY seq;
SELECT * FROM pg_temp.act();
SELECT count(*) FROM refers;
ALTER TABLE narvik_events ALTER COLUMN reason DROP DEFAULT, ALTER COLUMN user_id DROP DEFAULT, ALTER COLUMN detail DROP DEFAULT;
DROP TABLE refers;

-- Its numbers begin again, or jump
TRUNCATE narvik_events RESTART IDENTITY;
SELECT * FROM pg_temp.act();
SELECT setval('narvik_events_seq_seq', 9223372036854775800);
SELECT log FROM pg_temp.act();
\set VERBOSITY sqlstate
SELECT log FROM pg_temp.act();
\set VERBOSITY default
SELECT setval('narvik_events_seq_seq', 1, false);
SELECT log FROM pg_temp.act();

RESET narvik.events;
DELETE FROM narvik_sessions;
DELETE FROM narvik_events;
