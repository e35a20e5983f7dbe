--
-- users_link_again: a link that has lost triggers, as in a restore by a role that
-- may not create them: narvik_linked_users() says so, linking again mends it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
CREATE TABLE regress_users (id int PRIMARY KEY, other int UNIQUE);
INSERT INTO regress_users SELECT i, i FROM generate_series(1, 9) i;
CREATE TABLE regress_others (id int PRIMARY KEY);
\set linked 'SELECT users, id_column, whole FROM narvik_linked_users();'
\set triggers 'SELECT string_agg(tgname || tgenabled::text, \' \' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = \'regress_users\'::regclass;'

:linked
SELECT narvik_link_users('regress_users');
:linked
-- Linked again it stays as it is; another column or table is refused.
SELECT narvik_link_users('regress_users');
:triggers
:linked
SELECT narvik_link_users('regress_users', 'other');
SELECT narvik_link_users('regress_others');
SELECT narvik_link_users('regress_users', 'no_such_column');

-- Any trigger that is lost or disabled is missed, and made again.
CREATE FUNCTION pg_temp.without(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    missed text;
BEGIN
    EXECUTE what;
    missed := (SELECT l::text FROM narvik_linked_users() l);
    PERFORM narvik_link_users('regress_users');
    RETURN coalesce(missed, 'no link') || ' -> ' || (SELECT l::text FROM narvik_linked_users() l);
END $$;
SELECT t, pg_temp.without(format('DROP TRIGGER narvik_users_%s ON regress_users', t)) AS dropped,
       pg_temp.without(format('ALTER TABLE regress_users DISABLE TRIGGER narvik_users_%s', t)) AS disabled,
       pg_temp.without(format('ALTER TABLE regress_users ENABLE REPLICA TRIGGER narvik_users_%s', t)) AS replica
FROM unnest('{changed,rekeyed,truncated}'::text[]) t;
SELECT pg_temp.without('DROP TRIGGER narvik_users_rekeyed ON regress_users; DROP TRIGGER narvik_users_truncated ON regress_users');
:triggers
-- One that fires always is as good, and stays so; names do not matter.
ALTER TABLE regress_users ENABLE ALWAYS TRIGGER narvik_users_changed, ENABLE ALWAYS TRIGGER narvik_users_truncated;
:linked
SELECT narvik_link_users('regress_users');
:triggers
SELECT pg_temp.without('DROP TRIGGER narvik_users_truncated ON regress_users');
:triggers
ALTER TABLE regress_users RENAME TO "Regress Users";
ALTER TABLE "Regress Users" RENAME id TO "Id";
:linked
ALTER TABLE "Regress Users" RENAME TO regress_users;
ALTER TABLE regress_users RENAME "Id" TO id;

-- Nor do those of triggers: none is made beside one that was renamed.
ALTER TRIGGER narvik_users_changed ON regress_users RENAME TO "Odd ""Name""";
ALTER TRIGGER narvik_users_truncated ON regress_users RENAME TO zz;
SELECT narvik_link_users('regress_users');
:triggers
BEGIN;
SELECT narvik_unlink_users();
:triggers
:linked
ROLLBACK;
ALTER TRIGGER "Odd ""Name""" ON regress_users RENAME TO narvik_users_changed;
ALTER TRIGGER zz ON regress_users RENAME TO narvik_users_truncated;

-- What linking requires of the table is missed, too. Where the key is not unique, no
-- user can be held, so none gets a session, and no row is the one of a user.
CREATE FUNCTION pg_temp.attempt(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE what;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
BEGIN;
SELECT narvik_save_session(narvik_session_id('token-1'), '1', '2100-01-01');
ALTER TABLE regress_users DROP CONSTRAINT regress_users_pkey;
:linked
SELECT pg_temp.attempt('SELECT narvik_create_session(''1'')');
SELECT pg_temp.attempt('SELECT narvik_put_session(narvik_session_id(''x''), ''1'', ''2100-01-01'', ''{}'')');
SELECT user_id FROM narvik_create_guest_session();
SELECT u.id FROM narvik_validate_user('token-1', NULL::regress_users) u;
INSERT INTO regress_users VALUES (1);
SELECT u.id FROM narvik_validate_user('token-1', NULL::regress_users) u;
SELECT pg_temp.attempt('SELECT narvik_link_users(''regress_users'')');
DELETE FROM regress_users WHERE id = 1;
SELECT count(*) FROM narvik_validate_session('token-1');
ALTER TABLE regress_users ADD UNIQUE (id) DEFERRABLE;
:linked
CREATE UNIQUE INDEX ON regress_users (id) WHERE id > 0;
CREATE UNIQUE INDEX ON regress_users (id, other);
:linked
ALTER TABLE regress_users ADD UNIQUE (id);
:linked
SELECT pg_temp.attempt('SELECT narvik_create_session(''2'')');
ROLLBACK;
BEGIN;
ALTER TABLE regress_users SET UNLOGGED;
:linked
SELECT pg_temp.attempt('SELECT narvik_link_users(''regress_users'')');
ROLLBACK;
:linked

-- It does what it should again.
DROP TRIGGER narvik_users_truncated ON regress_users;
DROP TRIGGER narvik_users_rekeyed ON regress_users;
SELECT narvik_link_users('regress_users');
SELECT user_id FROM narvik_create_session('1');
UPDATE regress_users SET id = 10 WHERE id = 1;
SELECT user_id FROM narvik_sessions;
TRUNCATE regress_users;
SELECT user_id FROM narvik_sessions;

-- Not over sessions whose users went while the link was not whole.
INSERT INTO regress_users VALUES (1), (2);
SELECT user_id FROM narvik_create_session('1');
ALTER TABLE regress_users DISABLE TRIGGER narvik_users_changed;
DELETE FROM regress_users WHERE id = 1;
SELECT narvik_link_users('regress_users');
:linked
SELECT narvik_delete_sessions_for_user('1');
SELECT narvik_link_users('regress_users');
:linked

-- Triggers that somebody put on another table are not the link.
CREATE TRIGGER t AFTER UPDATE ON regress_others FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
ALTER TABLE regress_others DISABLE TRIGGER t;
:linked
DROP TABLE regress_others;

-- Rolled back, nothing has been made.
DROP TRIGGER narvik_users_truncated ON regress_users;
BEGIN;
SELECT narvik_link_users('regress_users');
:linked
ROLLBACK;
:linked
SELECT narvik_unlink_users();
:linked

-- Of a partitioned table each partition counts.
CREATE TABLE regress_parts (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE regress_part_1 PARTITION OF regress_parts FOR VALUES IN (1) PARTITION BY LIST (id);
CREATE TABLE regress_part_1_1 PARTITION OF regress_part_1 DEFAULT;
SELECT narvik_link_users('regress_parts');
CREATE TABLE regress_part_2 PARTITION OF regress_parts DEFAULT;
:linked
ALTER TABLE regress_part_1_1 DISABLE TRIGGER narvik_users_changed;
:linked
SELECT narvik_link_users('regress_parts');
:linked
INSERT INTO regress_parts VALUES (1);
SELECT user_id FROM narvik_create_session('1');
DELETE FROM regress_part_1_1;
SELECT user_id FROM narvik_sessions;
ALTER TABLE regress_parts ENABLE ALWAYS TRIGGER narvik_users_changed;
ALTER TABLE regress_part_1 ENABLE ALWAYS TRIGGER narvik_users_rekeyed;
ALTER TABLE regress_part_2 DISABLE TRIGGER narvik_users_rekeyed;
SELECT narvik_link_users('regress_parts');
:linked
SELECT tgrelid::regclass, string_agg(tgname || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger
WHERE tgrelid::regclass::text ~ 'regress_part' GROUP BY 1 ORDER BY 1;
-- A partition that a crash empties is refused, or missed.
BEGIN;
CREATE UNLOGGED TABLE regress_part_3 PARTITION OF regress_parts FOR VALUES IN (3);
:linked
SELECT pg_temp.attempt('SELECT narvik_link_users(''regress_parts'')');
ROLLBACK;
:linked

-- Monitoring may ask, an application may not.
CREATE ROLE regress_narvik_monitor IN ROLE pg_monitor;
CREATE ROLE regress_narvik_app;
SELECT narvik_grant('regress_narvik_app');
SET ROLE regress_narvik_monitor;
:linked
SET ROLE regress_narvik_app;
:linked
RESET ROLE;
DROP OWNED BY regress_narvik_app;
DROP ROLE regress_narvik_app, regress_narvik_monitor;
DROP TABLE regress_parts, regress_users;
:linked
