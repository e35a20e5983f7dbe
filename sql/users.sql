--
-- users: user_id as a reference to the application's table of users.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
CREATE TABLE regress_users (id int PRIMARY KEY, name text, nick text, part int);
INSERT INTO regress_users SELECT i, 'user ' || i, 'nick' || i FROM generate_series(1, 9) i;
\set sessions 'SELECT string_agg(user_id, \',\' ORDER BY user_id) AS sessions FROM narvik_sessions;'
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/include/state.sql'
\i :file

-- What cannot be linked.
SELECT narvik_link_users(NULL);
SELECT narvik_link_users('regress_users', NULL);
SELECT narvik_link_users('regress_no_such_table');
SELECT narvik_link_users('-');
SELECT narvik_link_users(4294967295);
SELECT narvik_link_users('regress_users', 'no_such_column');
SELECT narvik_link_users('regress_users', 'ctid');
SELECT narvik_link_users('regress_users', 'name');
SELECT narvik_link_users('regress_users_pkey');
CREATE VIEW regress_view AS TABLE regress_users;
SELECT narvik_link_users('regress_view');
DROP VIEW regress_view;
CREATE SEQUENCE regress_sequence;
SELECT narvik_link_users('regress_sequence');
DROP SEQUENCE regress_sequence;
CREATE TEMP TABLE regress_temporary (id int PRIMARY KEY);
SELECT narvik_link_users('regress_temporary');
CREATE UNLOGGED TABLE regress_unlogged (id int PRIMARY KEY);
SELECT narvik_link_users('regress_unlogged');
DROP TABLE regress_unlogged;
-- Unique, but not the column alone, not at every moment, or not for every row.
CREATE UNIQUE INDEX regress_u ON regress_users (name, nick);
SELECT pg_temp.state($$SELECT narvik_link_users('regress_users', 'name')$$);
DROP INDEX regress_u;
CREATE UNIQUE INDEX regress_u ON regress_users (name) WHERE id > 3;
SELECT pg_temp.state($$SELECT narvik_link_users('regress_users', 'name')$$);
DROP INDEX regress_u;
CREATE UNIQUE INDEX regress_u ON regress_users (lower(name));
SELECT pg_temp.state($$SELECT narvik_link_users('regress_users', 'name')$$);
DROP INDEX regress_u;
ALTER TABLE regress_users ADD CONSTRAINT regress_u UNIQUE (name) DEFERRABLE;
SELECT pg_temp.state($$SELECT narvik_link_users('regress_users', 'name')$$);
ALTER TABLE regress_users DROP CONSTRAINT regress_u;
-- Sessions of nobody: told how many, none is touched, nothing is linked.
SELECT narvik_save_session(narvik_session_id('a'), 'alice', '2100-01-01');
SELECT narvik_link_users('regress_users');
SELECT narvik_save_session(narvik_session_id('b'), '007', '2100-01-01');
SELECT narvik_save_session(narvik_session_id('c'), '8', '2100-01-01');
SELECT narvik_link_users('regress_users');
-- An expired one is one.
SELECT narvik_update_session_expiry(narvik_session_id('a'), '2000-01-01');
SELECT narvik_link_users('regress_users');
:sessions
SELECT narvik_unlink_users();
SELECT narvik_delete_sessions_for_user('alice') + narvik_delete_sessions_for_user('007') + narvik_delete_sessions_for_user('8') AS deleted;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'regress_users'::regclass;

-- Linked, once; again it is the same link.
SELECT narvik_link_users('regress_users');
SELECT narvik_link_users('regress_users');
CREATE TABLE regress_others (id text PRIMARY KEY);
SELECT narvik_link_users('regress_others');

-- Known users have sessions, others have none, in whatever way they are made.
SELECT user_id FROM narvik_create_session('7');
SELECT narvik_create_session('10');
SELECT pg_temp.state(format('SELECT narvik_create_session(%L)', u)) AS state, u
FROM unnest('{abc,007,+7,7.0," 7","7 ",0x7,-7,99999999999999999999,NaN,Ä,''}'::text[]) u;
SELECT pg_temp.state(format('SELECT narvik_save_session(narvik_session_id(%L), %L, ''2100-01-01'')', u, u)) AS state, u
FROM unnest('{10,abc,007,6}'::text[]) u;
:sessions
-- What is wrong in itself is said first.
SELECT narvik_create_session('');
SELECT narvik_create_session(NULL);
-- The refusal undoes nothing else.
BEGIN;
SELECT user_id FROM narvik_create_session('5');
SAVEPOINT s;
SELECT narvik_create_session('10');
ROLLBACK TO s;
COMMIT;
:sessions
-- A session's other functions do not ask.
SELECT count(*) FROM narvik_rotate_session('6');
SELECT narvik_delete_sessions_for_user('not a number'), narvik_delete_sessions_for_user('5');

-- A user created and given a session in one transaction.
BEGIN;
INSERT INTO regress_users VALUES (11);
SELECT user_id FROM narvik_create_session('11');
ROLLBACK;
:sessions
SELECT narvik_create_session('11');
BEGIN;
INSERT INTO regress_users VALUES (11);
SELECT user_id FROM narvik_create_session('11');
COMMIT;
:sessions
WITH u AS (INSERT INTO regress_users VALUES (12) RETURNING id) SELECT id FROM u;
SELECT user_id FROM narvik_create_session('12');

-- Deleted with the user, in the same transaction.
SELECT count(narvik_create_session('11')) FROM generate_series(1, 3);
BEGIN;
DELETE FROM regress_users WHERE id = 11;
:sessions
SELECT pg_temp.state('SELECT narvik_create_session(''11'')');
ROLLBACK;
:sessions
BEGIN;
SAVEPOINT s;
DELETE FROM regress_users WHERE id >= 11;
ROLLBACK TO s;
:sessions
DELETE FROM regress_users WHERE id >= 11;
COMMIT;
:sessions
-- An expired one too; a user without sessions goes without a sound.
SELECT user_id FROM narvik_create_session('4');
UPDATE narvik_sessions SET expires_at = '2000-01-01' WHERE user_id = '4';
DELETE FROM regress_users WHERE id IN (3, 4);
:sessions

-- They follow a key that changes; a change of something else is none.
SELECT token FROM narvik_create_session('7') \gset
UPDATE regress_users SET id = 70 WHERE id = 7;
:sessions
SELECT user_id FROM narvik_validate_session(:'token');
SELECT pg_temp.state('SELECT narvik_create_session(''7'')');
UPDATE regress_users SET name = 'renamed';
UPDATE regress_users SET id = id, name = 'again';
:sessions
UPDATE regress_users SET id = id + 1 WHERE id IN (6, 70);
:sessions
BEGIN;
UPDATE regress_users SET id = 100 WHERE id = 71;
:sessions
ROLLBACK;
:sessions
-- Two that swap places, through a third.
BEGIN;
UPDATE regress_users SET id = 1000 WHERE id = 7;
UPDATE regress_users SET id = 7 WHERE id = 71;
UPDATE regress_users SET id = 71 WHERE id = 1000;
COMMIT;
SELECT user_id FROM narvik_validate_session('6');
SELECT user_id FROM narvik_validate_session(:'token');
-- A key that the statement does not name, changed by a trigger of the application.
CREATE FUNCTION pg_temp.move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.id := NEW.id + 500; RETURN NEW; END $$;
BEGIN;
CREATE TRIGGER move BEFORE UPDATE ON regress_users FOR EACH ROW EXECUTE FUNCTION pg_temp.move();
UPDATE regress_users SET name = 'moved' WHERE id IN (7, 71);
:sessions
UPDATE regress_users SET id = id + 1 WHERE id IN (507, 571);
:sessions
ROLLBACK;
-- INSERT ... ON CONFLICT DO UPDATE, MERGE, and a deletion by a foreign key.
INSERT INTO regress_users VALUES (7) ON CONFLICT (id) DO UPDATE SET id = 8000;
:sessions
MERGE INTO regress_users u USING (VALUES (8000)) v (i) ON u.id = v.i WHEN MATCHED THEN DELETE;
:sessions
CREATE TABLE regress_tenants (id int PRIMARY KEY);
INSERT INTO regress_tenants VALUES (1);
ALTER TABLE regress_users ADD tenant int REFERENCES regress_tenants ON DELETE CASCADE;
UPDATE regress_users SET tenant = 1 WHERE id = 71;
DELETE FROM regress_tenants;
:sessions

-- TRUNCATE takes all.
SELECT user_id FROM narvik_create_session('1');
SELECT user_id FROM narvik_create_session('2');
BEGIN;
TRUNCATE regress_users;
:sessions
ROLLBACK;
:sessions
TRUNCATE regress_users;
:sessions
INSERT INTO regress_users SELECT i FROM generate_series(1, 9) i;

-- Unlinked: nobody is asked any more, and nobody's sessions go.
SELECT user_id FROM narvik_create_session('1');
BEGIN;
SELECT narvik_unlink_users();
SELECT user_id FROM narvik_create_session('abc');
DELETE FROM regress_users WHERE id = 1;
:sessions
ROLLBACK;
:sessions
SELECT pg_temp.state('SELECT narvik_create_session(''abc'')');
SELECT narvik_unlink_users();
SELECT narvik_unlink_users();
SELECT user_id FROM narvik_create_session('abc');
DELETE FROM regress_users;
TRUNCATE regress_users;
:sessions
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'regress_users'::regclass AND NOT tgisinternal;
SELECT narvik_delete_sessions_for_user('abc') + narvik_delete_sessions_for_user('1') AS deleted;

-- A link that is rolled back was never there.
BEGIN;
SELECT narvik_link_users('regress_users');
SELECT pg_temp.state('SELECT narvik_create_session(''1'')');
ROLLBACK;
SELECT user_id FROM narvik_create_session('1');
SELECT narvik_delete_sessions_for_user('1');

-- Nor one of a savepoint, nor one undone there.
BEGIN;
SAVEPOINT s;
SELECT narvik_link_users('regress_users');
SELECT pg_temp.state('SELECT narvik_create_session(''1'')');
ROLLBACK TO s;
SELECT user_id FROM narvik_create_session('1');
SELECT narvik_delete_sessions_for_user('1');
SELECT narvik_link_users('regress_users');
SAVEPOINT s;
SELECT narvik_unlink_users();
SELECT user_id FROM narvik_create_session('1');
ROLLBACK TO s;
SELECT pg_temp.state('SELECT narvik_create_session(''1'')');
ROLLBACK;

-- The trigger function is no function to call, nor a trigger to hang elsewhere.
SELECT narvik_users_changed();
CREATE TRIGGER t BEFORE DELETE ON regress_others FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
INSERT INTO regress_others VALUES ('x');
DELETE FROM regress_others;
DROP TRIGGER t ON regress_others;
CREATE TRIGGER t AFTER INSERT ON regress_others FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
SELECT pg_temp.state('INSERT INTO regress_others VALUES (''y'')');
DROP TRIGGER t ON regress_others;
CREATE TRIGGER t AFTER DELETE OR UPDATE OR TRUNCATE ON regress_others FOR EACH STATEMENT EXECUTE FUNCTION narvik_users_changed();
SELECT pg_temp.state('DELETE FROM regress_others');
DROP TRIGGER t ON regress_others;
-- Nor do triggers on a table that is not the linked one touch a session, whatever
-- the type of its column.
INSERT INTO regress_users VALUES (1), (2);
CREATE TRIGGER t AFTER UPDATE ON regress_others FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
CREATE TRIGGER u AFTER TRUNCATE ON regress_others FOR EACH STATEMENT EXECUTE FUNCTION narvik_users_changed();
SELECT narvik_link_users('regress_users');
SELECT user_id FROM narvik_create_session('1');
SELECT pg_temp.state('UPDATE regress_others SET id = ''1''');
TRUNCATE regress_others;
:sessions
-- The link undone by hand; what is left of it does nothing, and is no hindrance.
DROP TRIGGER narvik_users_changed ON regress_users;
UPDATE regress_users SET id = 3 WHERE id = 1;
TRUNCATE regress_users;
:sessions
SELECT narvik_unlink_users();
INSERT INTO regress_users VALUES (1);
SELECT narvik_link_users('regress_users');
DELETE FROM regress_users;
:sessions

-- Without the trigger function there is a clear error.
BEGIN;
ALTER EXTENSION narvik DROP FUNCTION narvik_users_changed();
ALTER TABLE regress_others ADD looked_again int;
SELECT pg_temp.state('SELECT narvik_create_session(''1'')');
SELECT pg_temp.state('SELECT narvik_unlink_users()');
SELECT pg_temp.state('SELECT narvik_link_users(''regress_others'')');
ALTER EXTENSION narvik DROP FUNCTION narvik_create_session(text, jsonb, interval, boolean);
SELECT pg_temp.state('SELECT narvik_grant(current_user::regrole)');
ROLLBACK;
DROP TABLE regress_others, regress_users, regress_tenants;
