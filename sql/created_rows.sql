-- New sessions obey what the owner has added to the table, by a statement or without one.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
DELETE FROM narvik_sessions;
\set VERBOSITY terse
CREATE VIEW pg_temp.stored AS SELECT user_id, active_at, data FROM narvik_sessions;
\set create 'SELECT user_id FROM narvik_create_session'

-- what this statement stores, its next call sees; seq goes on
SELECT count(*) FROM narvik_create_session('a') AS c, narvik_validate_session(c.token);
SELECT user_id FROM narvik_create_session('b');
SELECT count(*), count(DISTINCT seq) FROM narvik_sessions;
BEGIN;
:create('c');
SAVEPOINT s;
:create('c');
ROLLBACK TO s;
SELECT count(*) FROM narvik_sessions WHERE user_id = 'c';
ROLLBACK;
SELECT count(*) FROM narvik_sessions WHERE user_id = 'c';
DELETE FROM narvik_sessions;

-- a check
ALTER TABLE narvik_sessions ADD CONSTRAINT no_mallory CHECK (user_id <> 'mallory');
:create('alice');
:create('mallory');
ALTER TABLE narvik_sessions DROP CONSTRAINT no_mallory;
-- a unique index, also one that is checked at the end
CREATE UNIQUE INDEX once ON narvik_sessions (user_id) WHERE user_id = 'alice';
:create('alice');
DROP INDEX once;
ALTER TABLE narvik_sessions ADD CONSTRAINT once UNIQUE (user_id) DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT user_id FROM narvik_create_session('alice');
COMMIT;
ALTER TABLE narvik_sessions DROP CONSTRAINT once;
SELECT * FROM pg_temp.stored;
-- a column must not be empty
ALTER TABLE narvik_sessions ADD extra int;
:create('bob');
DELETE FROM narvik_sessions;
ALTER TABLE narvik_sessions ALTER extra SET NOT NULL;
:create('bob');
ALTER TABLE narvik_sessions DROP extra;
-- defaults, also those of a domain, and a generated column
ALTER TABLE narvik_sessions ALTER active_at SET DEFAULT '2001-01-01 00:00 UTC';
:create('carol');
SELECT user_id, active_at = '2001-01-01 00:00 UTC' AS by_default FROM pg_temp.stored;
ALTER TABLE narvik_sessions ALTER active_at DROP DEFAULT;
CREATE DOMAIN origin AS text DEFAULT 'web' NOT NULL;
ALTER TABLE narvik_sessions ADD origin origin, ADD twice text GENERATED ALWAYS AS (user_id || user_id) STORED;
:create('dave');
SELECT origin, twice FROM narvik_sessions WHERE user_id = 'dave';
ALTER TABLE narvik_sessions DROP origin, DROP twice;
DROP DOMAIN origin;
-- triggers of all kinds
CREATE FUNCTION pg_temp.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% %', TG_WHEN, TG_LEVEL; RETURN NEW; END $$;
CREATE TRIGGER tell BEFORE INSERT ON narvik_sessions FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.tell();
:create('erin');
DROP TRIGGER tell ON narvik_sessions;
CREATE TRIGGER tell AFTER INSERT ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION pg_temp.tell();
:create('erin');
DROP TRIGGER tell ON narvik_sessions;
-- row-level security, also for the owner, does not keep narvik from storing
ALTER TABLE narvik_sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
:create('frank');
ALTER TABLE narvik_sessions DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
-- the sequence, changed and gone
ALTER TABLE narvik_sessions ALTER seq SET INCREMENT 10 RESTART 1000000;
SELECT count(*) FROM narvik_create_session('gina') AS a, narvik_create_session('gina') AS b;
SELECT seq FROM narvik_sessions WHERE user_id = 'gina' ORDER BY seq;
BEGIN;
ALTER EXTENSION narvik DROP SEQUENCE narvik_sessions_seq_seq;
ALTER TABLE narvik_sessions ALTER seq DROP IDENTITY;
:create('hana');
ROLLBACK;
ALTER TABLE narvik_sessions ALTER seq SET INCREMENT 1;
-- the owner's right to insert
CREATE ROLE regress_narvik_owner;
GRANT USAGE ON SCHEMA public TO regress_narvik_owner;
ALTER TABLE narvik_sessions OWNER TO regress_narvik_owner;
:create('ivan');
REVOKE INSERT ON narvik_sessions FROM regress_narvik_owner;
:create('ivan');
GRANT INSERT ON narvik_sessions TO regress_narvik_owner;
-- what the owner's index computes, the owner computes
CREATE FUNCTION public.who(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'as the owner: %, in %', current_user = 'regress_narvik_owner', current_setting('search_path'); RETURN $1; END $$;
SET client_min_messages = warning;
CREATE INDEX who ON narvik_sessions (public.who(user_id));
RESET client_min_messages;
:create('judy');
DROP INDEX who;
DROP FUNCTION public.who;
ALTER TABLE narvik_sessions OWNER TO CURRENT_USER;
REVOKE USAGE ON SCHEMA public FROM regress_narvik_owner;
DROP ROLE regress_narvik_owner;
DELETE FROM narvik_sessions;
