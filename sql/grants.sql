--
-- grants: what narvik_grant() gives a role and narvik_revoke() takes back, and all
-- that an application's role can do with what it has.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
CREATE ROLE regress_narvik_app;
CREATE ROLE regress_narvik_stranger;
CREATE ROLE "Regress ""Odd"" Röle; x";
CREATE VIEW pg_temp.members AS
    SELECT p.oid, p.proname::text AS name, p.oid::regprocedure AS signature
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'narvik';

-- Every function of the extension, for whom it is.  A new one has to be put here.
CREATE TEMP TABLE class (name text PRIMARY KEY, is_for text NOT NULL);
INSERT INTO class
SELECT unnest('{narvik_create_session,narvik_create_guest_session,narvik_promote_session,narvik_validate_session,narvik_validate_user,narvik_authenticate,narvik_authenticate_cookie,
                narvik_invalidate_session,narvik_rotate_session,narvik_reauthenticate_session,narvik_fetch_sessions_for_user,
                narvik_fetch_events_for_user,
                narvik_delete_sessions_for_user,narvik_update_session_data,narvik_save_session,narvik_fetch_session,
                narvik_update_session_expiry,narvik_delete_session,narvik_put_session,narvik_change_session_id}'::text[]), 'application'
UNION ALL
SELECT unnest('{narvik_current_user_id,narvik_current_session_id,narvik_current_data,narvik_is_fresh,narvik_generate_token,narvik_session_id,
                narvik_cookie_name,narvik_create_cookie,narvik_create_blank_cookie,narvik_read_cookie}'::text[]), 'everybody'
UNION ALL
SELECT unnest('{narvik_delete_all_expired_sessions,narvik_link_users,narvik_unlink_users,narvik_users_changed,
                narvik_linked_users,narvik_grant,narvik_revoke,narvik_reset_stats,narvik_stats}'::text[]), 'administrator';
SELECT name AS unclassified FROM pg_temp.members WHERE name NOT IN (SELECT name FROM class);
SELECT name AS gone FROM class WHERE name NOT IN (SELECT name FROM pg_temp.members);
SELECT is_for, count(*) FROM class GROUP BY 1 ORDER BY 1;
-- Whether a role can execute exactly what is for these.
CREATE FUNCTION pg_temp.differs(role text, VARIADIC classes text[]) RETURNS TABLE (name text, may boolean) LANGUAGE sql AS $$
    SELECT name, has_function_privilege(role, m.oid, 'EXECUTE')
    FROM pg_temp.members m JOIN pg_temp.class c USING (name)
    WHERE has_function_privilege(role, m.oid, 'EXECUTE') <> (c.is_for = ANY (classes)) $$;

SELECT * FROM pg_temp.differs('public', 'everybody');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody');
SELECT narvik_grant('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody', 'application');
SELECT * FROM pg_temp.differs('regress_narvik_stranger', 'everybody');
SELECT * FROM pg_temp.differs('public', 'everybody');
-- Without the right to hand it on.
SELECT name FROM pg_temp.members WHERE has_function_privilege('regress_narvik_app', oid, 'EXECUTE WITH GRANT OPTION');
-- Nothing on what is no function.
SELECT relname, a.grantee::regrole FROM pg_class, aclexplode(relacl) a
WHERE relname ~ '^narvik' AND a.grantee NOT IN (relowner, 'pg_read_all_stats'::regrole);
-- Twice is once; taken back; taken back twice.
SELECT narvik_grant('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody', 'application');
SELECT narvik_revoke('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody');
SELECT narvik_revoke('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody');
-- A grant that is rolled back was never made.
BEGIN;
SELECT narvik_grant('regress_narvik_app');
ROLLBACK;
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody');

-- Where default privileges took the open ones from PUBLIC it gives them, too.
DO $$
BEGIN
    EXECUTE (SELECT 'REVOKE EXECUTE ON FUNCTION ' || string_agg(signature::text, ', ') || ' FROM PUBLIC'
             FROM pg_temp.members JOIN pg_temp.class USING (name) WHERE is_for = 'everybody');
END $$;
SELECT * FROM pg_temp.differs('regress_narvik_app', VARIADIC '{}');
SELECT narvik_grant('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody', 'application');
SELECT narvik_revoke('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', VARIADIC '{}');
DO $$
BEGIN
    EXECUTE (SELECT 'GRANT EXECUTE ON FUNCTION ' || string_agg(signature::text, ', ') || ' TO PUBLIC'
             FROM pg_temp.members JOIN pg_temp.class USING (name) WHERE is_for = 'everybody');
END $$;
SELECT * FROM pg_temp.differs('public', 'everybody');

-- Role names.
SELECT narvik_grant('"Regress ""Odd"" Röle; x"');
SELECT * FROM pg_temp.differs('Regress "Odd" Röle; x', 'everybody', 'application');
SELECT narvik_revoke('"Regress ""Odd"" Röle; x"');
SELECT * FROM pg_temp.differs('Regress "Odd" Röle; x', 'everybody');
SELECT narvik_grant(NULL);
SELECT narvik_revoke(NULL);
SELECT narvik_grant('regress_no_such_role');
SELECT narvik_grant('Regress_Narvik_App'::regrole), narvik_revoke('regress_narvik_app'::regrole::oid);
\set VERBOSITY sqlstate
SELECT narvik_grant(0);
SELECT narvik_grant('-');
SELECT narvik_revoke(0);
SELECT narvik_grant(4294967295);
SELECT narvik_grant('public');
\set VERBOSITY default

-- Functions of the same names that are not narvik's get nothing and do not disturb.
CREATE FUNCTION narvik_create_session(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE ALL ON FUNCTION narvik_create_session(int) FROM PUBLIC;
SELECT narvik_grant('regress_narvik_app');
SELECT has_function_privilege('regress_narvik_app', 'narvik_create_session(int)', 'EXECUTE');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody', 'application');
SELECT narvik_revoke('regress_narvik_app');
DROP FUNCTION narvik_create_session(int);

-- In another schema, and through a hostile search_path.
CREATE SCHEMA "Regress ""Narvik""; x";
ALTER EXTENSION narvik SET SCHEMA "Regress ""Narvik""; x";
CREATE SCHEMA regress_trap;
CREATE FUNCTION regress_trap.narvik_create_session(text, jsonb, interval, boolean, interval) RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE ALL ON FUNCTION regress_trap.narvik_create_session FROM PUBLIC;
SET search_path = regress_trap, public;
SELECT "Regress ""Narvik""; x".narvik_grant('regress_narvik_app');
RESET search_path;
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody', 'application');
SELECT has_function_privilege('regress_narvik_app', 'regress_trap.narvik_create_session(text, jsonb, interval, boolean, interval)', 'EXECUTE') AS trap,
       has_schema_privilege('regress_narvik_app', 'Regress "Narvik"; x', 'USAGE') AS usage,
       has_schema_privilege('regress_narvik_app', 'Regress "Narvik"; x', 'CREATE') AS "create";
SET ROLE regress_narvik_app;
SELECT user_id FROM "Regress ""Narvik""; x".narvik_create_session('alice');
RESET ROLE;
SELECT "Regress ""Narvik""; x".narvik_revoke('regress_narvik_app');
SELECT * FROM pg_temp.differs('regress_narvik_app', 'everybody');
ALTER EXTENSION narvik SET SCHEMA public;
DROP FUNCTION regress_trap.narvik_create_session;
DROP SCHEMA regress_trap;
SELECT narvik_delete_sessions_for_user('alice');
-- The role has USAGE of that schema left, by contract.
SELECT has_schema_privilege('regress_narvik_app', 'Regress "Narvik"; x', 'USAGE') AS usage;
DROP SCHEMA "Regress ""Narvik""; x";

-- Who grants: whoever may; EXECUTE on narvik_grant() alone gives nothing to give.
GRANT EXECUTE ON FUNCTION narvik_grant(regrole) TO regress_narvik_stranger;
\set VERBOSITY terse
SET ROLE regress_narvik_stranger;
SELECT narvik_grant('regress_narvik_stranger');
RESET ROLE;
\set VERBOSITY default
SELECT * FROM pg_temp.differs('regress_narvik_stranger', 'everybody');
REVOKE EXECUTE ON FUNCTION narvik_grant(regrole) FROM regress_narvik_stranger;

-- The application's role tries everything: what succeeded.
SELECT narvik_grant('regress_narvik_app');
SELECT count(narvik_save_session(narvik_session_id('token-' || i), 'alice', '2100-01-01')) FROM generate_series(1, 3) i;
CREATE TABLE regress_users (id text PRIMARY KEY);
GRANT ALL ON regress_users TO regress_narvik_app;
INSERT INTO regress_users VALUES ('alice');
SELECT narvik_link_users('regress_users');
GRANT SELECT ON pg_temp.members TO regress_narvik_app;
CREATE TEMP TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, statement text, state text);
GRANT SELECT, UPDATE ON attempts TO regress_narvik_app;
INSERT INTO attempts (statement)
SELECT unnest(ARRAY[
    'SELECT narvik_create_session(''alice'')', 'SELECT narvik_create_guest_session()', 'SELECT narvik_promote_session(''x'', ''alice'')', 'SELECT narvik_validate_session(''token-1'')',
    'SELECT narvik_validate_user(''token-1'', NULL::regress_users)', 'SELECT narvik_authenticate(''token-1'')',
    'SELECT narvik_authenticate_cookie(''x=1'')', 'SELECT narvik_authenticate_cookie(''x=1''::bytea)',
    'SELECT narvik_current_user_id()', 'SELECT narvik_current_session_id()',
    'SELECT narvik_invalidate_session(narvik_session_id(''token-2''))', 'SELECT narvik_rotate_session(''token-1'')',
    'SELECT narvik_fetch_sessions_for_user(''alice'')', 'SELECT narvik_delete_sessions_for_user(''bob'')',
    'SELECT narvik_reauthenticate_session(''token-5'')', 'SELECT narvik_fetch_events_for_user(''alice'')',
    'SELECT narvik_current_data()', 'SELECT narvik_is_fresh(''1 day'')',
    'SELECT count(*) FROM narvik_events', 'INSERT INTO narvik_events (at, kind) VALUES (now(), ''created'')',
    'DELETE FROM narvik_events', 'TRUNCATE narvik_events', 'SELECT nextval(''narvik_events_seq_seq'')',
    'SELECT narvik_delete_all_expired_sessions()', 'SELECT narvik_update_session_data(narvik_session_id(''token-3''), ''{}'')',
    'SELECT narvik_save_session(narvik_session_id(''token-9''), ''alice'', ''2100-01-01'')',
    'SELECT narvik_fetch_session(narvik_session_id(''token-3''))',
    'SELECT narvik_update_session_expiry(narvik_session_id(''token-3''), ''2099-01-01'')',
    'SELECT narvik_put_session(narvik_session_id(''token-8''), ''alice'', ''2100-01-01'', ''{}'')',
    'SELECT narvik_change_session_id(narvik_session_id(''token-8''), narvik_session_id(''token-7''))',
    'SELECT narvik_delete_session(narvik_session_id(''token-3''))', 'SELECT narvik_generate_token()',
    'SELECT narvik_session_id(''x'')', 'SELECT narvik_cookie_name()', 'SELECT narvik_create_cookie(''x'')',
    'SELECT narvik_create_blank_cookie()', 'SELECT narvik_read_cookie(''x'')',
    'SELECT narvik_link_users(''regress_users'')', 'SELECT narvik_linked_users()', 'SELECT narvik_unlink_users()', 'SELECT narvik_users_changed()',
    'SELECT narvik_grant(''regress_narvik_app'')', 'SELECT narvik_revoke(''regress_narvik_stranger'')',
    'SELECT narvik_stats()', 'SELECT narvik_reset_stats()',
    'TABLE narvik_stats', 'SELECT count(*) FROM narvik_sessions', 'SELECT seq FROM narvik_sessions',
    'TABLE narvik_sessions FOR UPDATE', 'DELETE FROM narvik_sessions', 'UPDATE narvik_sessions SET user_id = ''root''',
    'INSERT INTO narvik_sessions (id) VALUES (''x'')', 'TRUNCATE narvik_sessions',
    'LOCK narvik_sessions IN ACCESS SHARE MODE', 'COMMENT ON TABLE narvik_sessions IS ''x''',
    'ALTER TABLE narvik_sessions ADD x int', 'CREATE INDEX ON narvik_sessions (id)', 'DROP TABLE narvik_sessions',
    'CREATE TRIGGER x AFTER DELETE ON regress_users FOR EACH ROW EXECUTE FUNCTION narvik_users_changed()',
    'DROP TRIGGER narvik_users_changed ON regress_users', 'ALTER TABLE regress_users DISABLE TRIGGER ALL',
    'ALTER FUNCTION narvik_current_user_id() RENAME TO x', 'CREATE OR REPLACE FUNCTION narvik_current_user_id() RETURNS text LANGUAGE sql AS ''SELECT NULL''',
    'ALTER FUNCTION narvik_validate_session(text) SECURITY DEFINER',
    'SELECT nextval(''narvik_sessions_seq_seq'')', 'SELECT currval(''narvik_sessions_seq_seq'')',
    'SELECT setval(''narvik_sessions_seq_seq'', 1)', 'SELECT last_value FROM narvik_sessions_seq_seq',
    'DROP EXTENSION narvik CASCADE', 'ALTER EXTENSION narvik SET SCHEMA pg_temp']);
-- And each setting, by SET, set_config and ALTER ROLE.
INSERT INTO attempts (statement)
SELECT format(s, name, 'regress_narvik_app', quote_literal(setting)) FROM pg_settings,
    unnest('{"SET %1$s = %3$s","SELECT set_config(''%1$s'', %3$s, true)","ALTER ROLE %2$s SET %1$s = %3$s"}'::text[]) s
WHERE name LIKE 'narvik.%' ORDER BY name;
-- No function of the extension is left out.
SELECT name AS not_tried FROM class c WHERE NOT EXISTS (SELECT FROM attempts WHERE statement ~ ('^SELECT ' || c.name || '\('));
SET ROLE regress_narvik_app;
DO $$
DECLARE a record;
BEGIN
    FOR a IN SELECT * FROM attempts ORDER BY n LOOP
        BEGIN
            EXECUTE a.statement;
            UPDATE attempts SET state = 'done' WHERE n = a.n;
        EXCEPTION WHEN OTHERS THEN
            UPDATE attempts SET state = SQLSTATE WHERE n = a.n;
        END;
        IF current_user <> 'regress_narvik_app' THEN RAISE WARNING 'now %, after %', current_user, a.statement; END IF;
    END LOOP;
END $$;
RESET ROLE;
SELECT statement AS succeeded FROM attempts WHERE state = 'done' ORDER BY n;
SELECT count(*) AS refused FROM attempts WHERE state = '42501' AND statement !~ 'narvik\.';
SELECT statement, state FROM attempts WHERE state NOT IN ('done', '42501') ORDER BY n;
SELECT count(*) = 3 * (SELECT count(*) FROM pg_settings WHERE name LIKE 'narvik.%') AS all_settings_refused
FROM attempts WHERE statement ~ 'narvik\.' AND state = '42501';

SELECT narvik_unlink_users();
DROP TABLE regress_users;
DELETE FROM narvik_sessions;
DROP OWNED BY regress_narvik_app, regress_narvik_stranger, "Regress ""Odd"" Röle; x";
DROP ROLE regress_narvik_app, regress_narvik_stranger, "Regress ""Odd"" Röle; x";
