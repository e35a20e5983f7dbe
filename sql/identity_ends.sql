--
-- identity_ends: in whatever way the transaction's own call ends its session, or finds
-- it ended, the identity ends with it; a savepoint's rollback brings both back.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
CREATE TABLE regress_users (id text UNIQUE);
INSERT INTO regress_users VALUES ('alice'), ('bob'), ('carol');
SELECT narvik_link_users('regress_users');
DO $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id('other'), 'alice', now() + interval '29 days');
    PERFORM narvik_save_session(narvik_session_id('bob'), 'bob', now() + interval '29 days');
    PERFORM narvik_save_session(narvik_session_id('token'), 'alice', now() + interval '29 days');
END $$;

-- Who it is after a statement, in a savepoint that is rolled back. Bob is who it was
-- before, and has to be afterwards.
CREATE FUNCTION pg_temp.after(statement text, setting text DEFAULT 'narvik.max_sessions_per_user', value text DEFAULT '0',
    OUT who text, OUT session boolean)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config(setting, value, true);
    PERFORM narvik_authenticate('token');
    EXECUTE statement;
    who := narvik_current_user_id();
    session := narvik_current_session_id() = narvik_session_id('token');
    RAISE SQLSTATE 'XX999';
EXCEPTION WHEN SQLSTATE 'XX999' THEN
    IF narvik_current_user_id() IS DISTINCT FROM 'bob' OR narvik_current_session_id() IS DISTINCT FROM narvik_session_id('bob') THEN
        RAISE 'not restored';
    END IF;
END $$;
BEGIN;
SELECT narvik_authenticate('bob');

-- The limit: the oldest is the other one, then it is the identity's.
SELECT value AS "limit", s AS statement, a.* FROM unnest('{0,1,2,3}'::text[]) value, unnest(ARRAY[
    'SELECT narvik_create_session(''alice'')',
    'SELECT narvik_save_session(narvik_session_id(''new''), ''alice'', now() + interval ''1 day'')',
    'SELECT narvik_create_session(''carol'')',
    -- One that has expired already takes nobody's place.
    'SELECT narvik_save_session(narvik_session_id(''new''), ''alice'', now())']) s,
    pg_temp.after(s, 'narvik.max_sessions_per_user', value) a
ORDER BY s, value;
SELECT value AS "limit", a.* FROM unnest('{1,2,3}'::text[]) value, pg_temp.after(
    'SELECT narvik_create_session(''alice'') FROM generate_series(1, 2)', 'narvik.max_sessions_per_user', value) a;

-- The expiry moved.
SELECT s AS statement, a.* FROM unnest(ARRAY[
    'SELECT narvik_update_session_expiry(narvik_session_id(''token''), now() - interval ''1 second'')',
    'SELECT narvik_update_session_expiry(narvik_session_id(''token''), statement_timestamp())',
    'SELECT narvik_update_session_expiry(upper(narvik_session_id(''token'')), ''2000-01-01'')',
    'SELECT narvik_update_session_expiry(narvik_session_id(''token''), now() + interval ''1 minute'')',
    'SELECT narvik_update_session_expiry(narvik_session_id(''other''), ''2000-01-01'')',
    'SELECT narvik_update_session_expiry(narvik_session_id(''nobody''), ''2000-01-01'')',
    -- An end is an end, even if the session lives again.
    'SELECT narvik_update_session_expiry(narvik_session_id(''token''), e) FROM unnest(''{2000-01-01,2100-01-01}''::timestamptz[]) e']) s, pg_temp.after(s) a;

-- Found expired, or not found: by each function that looks for a live session. By its
-- own token or id only.
CREATE FUNCTION pg_temp.expire() RETURNS void LANGUAGE sql AS $$
    UPDATE narvik_sessions SET expires_at = '2000-01-01', purge_hour = 0 WHERE id = decode(narvik_session_id('token'), 'hex') $$;
CREATE FUNCTION pg_temp.remove() RETURNS void LANGUAGE sql AS $$
    DELETE FROM narvik_sessions WHERE id = decode(narvik_session_id('token'), 'hex') $$;
SELECT how, s AS statement, a.who, a.session FROM unnest('{expire,remove}'::text[]) how, unnest(ARRAY[
    'SELECT',
    'SELECT narvik_validate_session(''token'')',
    'SELECT narvik_validate_user(''token'', NULL::regress_users)',
    'SELECT narvik_authenticate(''token'')',
    'SELECT narvik_rotate_session(''token'')',
    'SELECT narvik_update_session_data(narvik_session_id(''token''), ''{}'')',
    'SELECT narvik_validate_session(''other'')',
    'SELECT narvik_validate_user(''other'', NULL::regress_users)',
    'SELECT narvik_validate_session(''no token''), narvik_validate_session(NULL), narvik_validate_session('''')',
    'SELECT narvik_rotate_session(''no token'')']) s,
    pg_temp.after(format('DO $do$ BEGIN PERFORM pg_temp.%I(); EXECUTE %L; END $do$', how, s)) a
ORDER BY how, s;
-- Expired sessions deleted, its own among them or not.
SELECT s AS statement, a.* FROM unnest(ARRAY[
    'DO $do$ BEGIN PERFORM pg_temp.expire(); PERFORM narvik_delete_all_expired_sessions(); END $do$',
    'SELECT narvik_delete_all_expired_sessions()']) s, pg_temp.after(s) a;
-- Too old: by the setting, or by its age.
SELECT age, s AS statement, a.* FROM unnest('{1h,3h}'::text[]) age, unnest(ARRAY[
    'SELECT narvik_validate_session(''token'')',
    'SELECT narvik_validate_user(''token'', NULL::regress_users)',
    'SELECT narvik_delete_all_expired_sessions()']) s,
    pg_temp.after(format('DO $do$ BEGIN UPDATE narvik_sessions SET created_at = created_at - interval ''2 hours''; EXECUTE %L; END $do$', s),
                  'narvik.session_max_age', age) a
ORDER BY age, s;

-- Deleted, by its id or its user.
SELECT s AS statement, a.* FROM unnest(ARRAY[
    'SELECT narvik_invalidate_session(narvik_session_id(''token''))',
    'SELECT narvik_delete_session(narvik_session_id(''token''))',
    'SELECT narvik_delete_sessions_for_user(''alice'')',
    'SELECT narvik_delete_sessions_for_user(''alice'', narvik_session_id(''other''))',
    'SELECT narvik_delete_sessions_for_user(''alice'', narvik_session_id(''token''))',
    'DELETE FROM regress_users WHERE id = ''alice''',
    'DELETE FROM regress_users WHERE id = ''bob''',
    'TRUNCATE regress_users',
    'UPDATE regress_users SET id = NULL WHERE id = ''alice''',
    'UPDATE regress_users SET id = NULL WHERE id = ''bob''',
    'UPDATE regress_users SET id = ''alicia'' WHERE id = ''alice''',
    'UPDATE regress_users SET id = ''robert'' WHERE id = ''bob''',
    'DO $do$ BEGIN UPDATE regress_users SET id = ''alicia'' WHERE id = ''alice''; DELETE FROM regress_users WHERE id = ''alicia''; END $do$']) s,
    pg_temp.after(s) a;
-- A user whose sessions went is nobody even if the identity's row was gone before.
SELECT a.* FROM pg_temp.after('SELECT pg_temp.remove(), narvik_delete_sessions_for_user(''alice'')') a;
ROLLBACK;

-- A session that expires while the transaction goes on: nobody, as soon as that is
-- found; before, and after the savepoint's rollback, who it was.
\set who 'SELECT narvik_current_user_id() AS who, narvik_current_session_id() = :\'id\' AS session;'
SELECT token, id FROM narvik_create_session('carol', '{}', '2 s', false) \gset
BEGIN;
SELECT narvik_authenticate(:'token');
SAVEPOINT a;
SELECT pg_sleep(2.1);
:who
SELECT count(*) FROM narvik_validate_session(:'token');
:who
ROLLBACK TO a;
:who
SELECT count(*) FROM narvik_validate_user(:'token', NULL::regress_users);
:who
ROLLBACK TO a;
SELECT narvik_delete_all_expired_sessions();
:who
ROLLBACK TO a;
SAVEPOINT b;
SELECT count(*) FROM narvik_validate_session(:'token');
RELEASE b;
:who
ROLLBACK TO a;
:who
COMMIT;
SELECT narvik_invalidate_session(:'id');
-- Where nothing may be written, too.
SELECT token, id FROM narvik_create_session('carol', '{}', '2 s', false) \gset
BEGIN READ ONLY;
SELECT narvik_authenticate(:'token');
SELECT pg_sleep(2.1);
:who
SELECT count(*) FROM narvik_validate_session(:'token');
:who
COMMIT;
-- Time that went on with a commit.
DO $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id('shorter'), 'carol', clock_timestamp() + interval '1 hour');
    COMMIT;
    PERFORM pg_sleep(0.3);
    COMMIT;
    PERFORM narvik_authenticate('shorter');
    RAISE NOTICE 'before: %', narvik_current_user_id();
    PERFORM narvik_update_session_expiry(narvik_session_id('shorter'), statement_timestamp() + interval '0.1 s');
    RAISE NOTICE 'after: %', narvik_current_user_id();
END $$;

-- A policy by identity shows nothing any more.
CREATE TABLE regress_notes (owner text, body text);
INSERT INTO regress_notes VALUES ('alice', 'hers');
ALTER TABLE regress_notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_notes USING (owner = narvik_current_user_id());
CREATE ROLE regress_narvik_app;
GRANT SELECT ON regress_notes TO regress_narvik_app;
SELECT narvik_grant('regress_narvik_app');
SET narvik.max_sessions_per_user = 1;
SET ROLE regress_narvik_app;
BEGIN;
SELECT narvik_authenticate('token');
SELECT body FROM regress_notes;
SELECT user_id FROM narvik_create_session('alice');
SELECT body FROM regress_notes;
ROLLBACK;
RESET ROLE;
RESET narvik.max_sessions_per_user;

DROP TABLE regress_users, regress_notes;
DROP OWNED BY regress_narvik_app CASCADE;
DROP ROLE regress_narvik_app;
DELETE FROM narvik_sessions;
