--
-- privileges: a role with EXECUTE can do everything the functions offer, and
-- cannot touch the table; a role without it can do nothing to sessions.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

CREATE ROLE regress_narvik_app;
CREATE ROLE regress_narvik_stranger;
GRANT EXECUTE ON FUNCTION
    narvik_create_session(text, jsonb, interval, boolean, interval), narvik_validate_session(text), narvik_invalidate_session(text, text),
    narvik_rotate_session(text), narvik_fetch_sessions_for_user(text, integer, timestamptz), narvik_delete_sessions_for_user(text, text, text),
    narvik_delete_all_expired_sessions(), narvik_update_session_data(text, jsonb),
    narvik_save_session(text, text, timestamptz, jsonb, interval, boolean), narvik_fetch_session(text),
    narvik_update_session_expiry(text, timestamptz), narvik_delete_session(text)
TO regress_narvik_app;

-- The application.
SET narvik.max_sessions_per_user = 3;
SET ROLE regress_narvik_app;
SELECT token, id FROM narvik_create_session('alice', '{"a": 1}', '2 hours') \gset
SELECT v.user_id, v.data FROM narvik_validate_session(:'token') v;
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 minute');
SELECT v.user_id, v.extended FROM narvik_validate_session(:'token') v;
SELECT narvik_update_session_data(:'id', '{"b": 2}');
SELECT f.user_id FROM narvik_fetch_session(:'id') f;
SELECT token, id FROM narvik_rotate_session(:'token') \gset
SELECT v.user_id, v.data FROM narvik_validate_session(:'token') v;
SELECT count(narvik_create_session('alice', jsonb_build_object('n', i))) FROM generate_series(1, 3) i;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
SELECT narvik_delete_sessions_for_user('alice');
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', statement_timestamp());
SELECT count(*) FROM narvik_validate_session('saved');
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', statement_timestamp());
SELECT narvik_delete_all_expired_sessions();
SELECT narvik_delete_session(narvik_session_id('saved'));
SELECT id FROM narvik_create_session('alice') \gset
SELECT narvik_invalidate_session(:'id');

-- It is still itself, after success and after errors of every kind.
SELECT current_user;
DO $$
DECLARE
    statements text[] := ARRAY[
        'SELECT narvik_create_session('''')',
        'SELECT narvik_create_session(''alice'', ''[]'')',
        'SELECT narvik_save_session(narvik_session_id(''one''), ''alice'', ''2100-01-01'')',
        'SELECT narvik_save_session(narvik_session_id(''one''), ''alice'', ''2100-01-01'')',
        'SELECT narvik_update_session_data(narvik_session_id(''one''), ''[]'')',
        'SELECT narvik_update_session_expiry(narvik_session_id(''one''), ''infinity'')'];
    statement text;
    failed int := 0;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN OTHERS THEN failed := failed + 1;
        END;
        IF current_user <> 'regress_narvik_app' THEN RAISE WARNING 'after %: %', statement, current_user; END IF;
        BEGIN
            PERFORM FROM narvik_sessions;
            RAISE WARNING 'after %: the table can be read', statement;
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
    END LOOP;
    RAISE NOTICE 'failed: % of %', failed, cardinality(statements);
END $$;
SELECT narvik_delete_session(narvik_session_id('one'));

-- The table itself is closed to it: 42501, insufficient_privilege.
\set VERBOSITY sqlstate
SELECT * FROM narvik_sessions;
SELECT count(*) FROM narvik_sessions;
SELECT seq FROM narvik_sessions;
INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
    VALUES ('\x00', 'alice', now(), now() + '1 day', true, '{}', 0);
UPDATE narvik_sessions SET user_id = 'root';
DELETE FROM narvik_sessions;
TRUNCATE narvik_sessions;
COPY narvik_sessions TO STDOUT;
BEGIN;
LOCK TABLE narvik_sessions IN ACCESS SHARE MODE;
ROLLBACK;
SELECT nextval('narvik_sessions_seq_seq');
SELECT last_value FROM narvik_sessions_seq_seq;
CREATE TRIGGER mine AFTER INSERT ON narvik_sessions EXECUTE FUNCTION suppress_redundant_updates_trigger();
\set VERBOSITY default
-- Nor does it see what the planner knows of the table's content.
RESET ROLE;
SELECT count(narvik_create_session('alice', jsonb_build_object('n', i))) FROM generate_series(1, 3) i;
ANALYZE narvik_sessions;
SELECT count(*) > 0 AS statistics FROM pg_stats WHERE tablename = 'narvik_sessions';
SET ROLE regress_narvik_app;
SELECT count(*) > 0 AS statistics FROM pg_stats WHERE tablename = 'narvik_sessions';
RESET ROLE;
SELECT narvik_delete_sessions_for_user('alice');

-- A role that was granted nothing: closed, all of it but what touches no session.
SELECT id FROM narvik_create_session('alice') \gset
SET ROLE regress_narvik_stranger;
SELECT narvik_create_session('alice');
\set VERBOSITY sqlstate
SELECT narvik_create_session('alice');
SELECT narvik_validate_session('x');
SELECT narvik_invalidate_session(:'id');
SELECT narvik_rotate_session('x');
SELECT narvik_fetch_sessions_for_user('alice');
SELECT narvik_delete_sessions_for_user('alice');
SELECT narvik_delete_all_expired_sessions();
SELECT narvik_update_session_data(:'id', '{}');
SELECT narvik_save_session(:'id', 'alice', '2100-01-01 00:00+00');
SELECT narvik_fetch_session(:'id');
SELECT narvik_update_session_expiry(:'id', '2100-01-01 00:00+00');
SELECT narvik_delete_session(:'id');
SELECT * FROM narvik_sessions;
\set VERBOSITY default
SELECT length(narvik_generate_token()), narvik_session_id('testSessionToken'), narvik_cookie_name(),
       narvik_create_cookie('tok') IS NOT NULL AS cookie, narvik_create_blank_cookie() IS NOT NULL AS blank,
       narvik_read_cookie('narvik_session=tok');
RESET ROLE;

-- Rows are written with the rights of the table's owner, whoever that is; the caller
-- is himself again afterwards.
CREATE TABLE regress_narvik_writers (what text, role text);
CREATE FUNCTION regress_narvik_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.regress_narvik_writers VALUES (lower(TG_OP), current_user);
    RETURN NULL;
END $$;
CREATE TRIGGER regress_narvik_note AFTER INSERT OR UPDATE OR DELETE ON narvik_sessions
    FOR EACH ROW EXECUTE FUNCTION regress_narvik_note();
GRANT USAGE, CREATE ON SCHEMA public TO regress_narvik_stranger;
ALTER TABLE narvik_sessions OWNER TO regress_narvik_stranger;
-- Row-level security does not come between, not even when forced upon the owner.
ALTER TABLE narvik_sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
GRANT INSERT ON regress_narvik_writers TO regress_narvik_stranger;
SET ROLE regress_narvik_app;
SELECT token, id FROM narvik_create_session('bob') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 minute');
SELECT v.extended FROM narvik_validate_session(:'token') v;
SELECT narvik_update_session_expiry(:'id', statement_timestamp());
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT narvik_save_session(narvik_session_id('saved'), 'bob', statement_timestamp() + '1 day', '{"a": 1}');
SELECT narvik_update_session_data(narvik_session_id('saved'), '{"b": 2}');
SELECT f.data FROM narvik_fetch_sessions_for_user('bob') f;
SELECT f.data FROM narvik_fetch_session(narvik_session_id('saved')) f;
SELECT v.data FROM narvik_rotate_session('saved') r, LATERAL narvik_validate_session(r.token) v;
SELECT narvik_delete_sessions_for_user('bob');
SELECT current_user;
RESET ROLE;
SELECT what, role, count(*) FROM regress_narvik_writers GROUP BY 1, 2 ORDER BY 1, 2;
ALTER TABLE narvik_sessions DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
ALTER TABLE narvik_sessions OWNER TO CURRENT_USER;
DROP TRIGGER regress_narvik_note ON narvik_sessions;
DROP FUNCTION regress_narvik_note();
DROP TABLE regress_narvik_writers;

RESET narvik.max_sessions_per_user;
SELECT narvik_delete_sessions_for_user('alice');
DROP OWNED BY regress_narvik_app, regress_narvik_stranger;
DROP ROLE regress_narvik_app, regress_narvik_stranger;
