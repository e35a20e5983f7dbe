--
-- users_validate: narvik_validate_user() answers the row of the session's user as
-- the caller may see it; whether a user exists is asked with the rights of the
-- table's owner.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
CREATE TABLE regress_users (id int PRIMARY KEY, name text, address jsonb);
CREATE TABLE regress_others (id int PRIMARY KEY);
INSERT INTO regress_users VALUES (1, 'Ann', '{"city": "Narvik"}'), (2, 'Böb', NULL), (3, NULL, NULL);
UPDATE regress_users SET address = jsonb_build_object('long', repeat('x', 100000)) WHERE id = 3;
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/include/state.sql'
\i :file

-- No link: said, whatever the token.
SELECT * FROM narvik_validate_user('token', NULL::regress_users);
SELECT * FROM narvik_validate_user(NULL, NULL::regress_users);
SELECT narvik_link_users('regress_users');
SELECT count(narvik_save_session(narvik_session_id('token-' || i), i::text, '2100-01-01')) FROM generate_series(1, 3) i;

-- The row, typed.
SELECT * FROM narvik_validate_user('token-1', NULL::regress_users);
SELECT u.name, u.address ->> 'city' AS city, pg_typeof(u) FROM narvik_validate_user('token-1', NULL::regress_users) u;
SELECT (narvik_validate_user('token-2', NULL::regress_users)).name;
SELECT length(u.address ->> 'long') FROM narvik_validate_user('token-3', NULL::regress_users) u;
SELECT name FROM narvik_validate_user('token-2', (9, 'other', NULL)::regress_users);
SELECT t, u.id, u.name FROM unnest('{token-1,token-x,token-2}'::text[]) t LEFT JOIN narvik_validate_user(t, NULL::regress_users) u ON true;

-- The wrong type, or none.
SELECT * FROM narvik_validate_user('token-1', NULL::regress_others);
\set VERBOSITY sqlstate
SELECT * FROM narvik_validate_user('token-1', 1);
SELECT * FROM narvik_validate_user('token-1', NULL);
SELECT * FROM narvik_validate_user('token-1', NULL::narvik_session);
SELECT * FROM narvik_validate_user('token-x', NULL::regress_others);
\set VERBOSITY default

-- No row for what is no valid token, and it is never an error.
SELECT count(u.id) FROM unnest(ARRAY['', 'token-x', NULL, E'\x01', 'Ä', repeat('x', 1024), repeat('x', 100000), '''; --', '%s']) t,
    narvik_validate_user(t, NULL::regress_users) u;
SELECT narvik_update_session_expiry(narvik_session_id('token-3'), '2000-01-01');
SELECT * FROM narvik_validate_user('token-3', NULL::regress_users);
SELECT narvik_invalidate_session(narvik_session_id('token-3'));

-- It slides, and in a read-only transaction answers without.
SELECT narvik_update_session_expiry(narvik_session_id('token-1'), statement_timestamp() + '1 hour');
BEGIN READ ONLY;
SELECT name FROM narvik_validate_user('token-1', NULL::regress_users);
COMMIT;
SELECT expires_at < statement_timestamp() + '1 day' AS unmoved FROM narvik_fetch_session(narvik_session_id('token-1'));
SELECT name FROM narvik_validate_user('token-1', NULL::regress_users);
SELECT expires_at > statement_timestamp() + '29 days' AS moved FROM narvik_fetch_session(narvik_session_id('token-1'));
-- It is no authentication.
SELECT name, narvik_current_user_id() FROM narvik_validate_user('token-1', NULL::regress_users);

-- The table changes its shape: the row has the new one.
PREPARE validate AS SELECT name FROM narvik_validate_user('token-2', NULL::regress_users);
ALTER TABLE regress_users ADD extra int DEFAULT 5;
SELECT * FROM narvik_validate_user('token-2', NULL::regress_users);
ALTER TABLE regress_users DROP address;
SELECT * FROM narvik_validate_user('token-2', NULL::regress_users);
ALTER TABLE regress_users ALTER extra TYPE text USING 'now text';
SELECT * FROM narvik_validate_user('token-2', NULL::regress_users);

EXECUTE validate;
ALTER TABLE regress_users ADD extra2 int;
EXECUTE validate;
ALTER TABLE regress_users DROP extra2;

-- A row that somebody wrote past the functions: no such user, no row.
BEGIN;
UPDATE narvik_sessions SET user_id = 'abc' WHERE user_id = '2';
SELECT * FROM narvik_validate_user('token-2', NULL::regress_users);
UPDATE narvik_sessions SET user_id = '99' WHERE user_id = 'abc';
SELECT * FROM narvik_validate_user('token-2', NULL::regress_users);
ROLLBACK;

-- A role with EXECUTE only: it makes sessions of users whom it cannot see ...
CREATE ROLE regress_narvik_app;
SELECT narvik_grant('regress_narvik_app');
SET ROLE regress_narvik_app;
SELECT user_id FROM narvik_create_session('1');
SELECT narvik_save_session(narvik_session_id('token-3'), '3', '2100-01-01');
SELECT pg_temp.state('SELECT narvik_create_session(''4'')');
-- ... and does not see them through the function either.
SELECT * FROM narvik_validate_user('token-1', NULL::regress_users);
SELECT current_user;
SELECT user_id FROM narvik_validate_session('token-1');
-- With the privilege on some columns only, it is the whole row that is asked for.
RESET ROLE;
GRANT SELECT (id, name) ON regress_users TO regress_narvik_app;
SET ROLE regress_narvik_app;
SELECT pg_temp.state('SELECT narvik_validate_user(''token-1'', NULL::regress_users)');
RESET ROLE;
GRANT SELECT ON regress_users TO regress_narvik_app;
SET ROLE regress_narvik_app;
SELECT name FROM narvik_validate_user('token-1', NULL::regress_users);

-- Row-level security on the users: the caller's policies for the row, no policy
-- for whether a user exists; FORCE changes nothing.
RESET ROLE;
CREATE ROLE regress_narvik_owner;
ALTER TABLE regress_users OWNER TO regress_narvik_owner;
ALTER TABLE regress_users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_users USING (id::text = narvik_current_user_id());
SET ROLE regress_narvik_app;
SELECT name FROM narvik_validate_user('token-1', NULL::regress_users);
BEGIN;
SELECT narvik_authenticate('token-1');
SELECT name FROM narvik_validate_user('token-1', NULL::regress_users);
SELECT name FROM narvik_validate_user('token-2', NULL::regress_users);
COMMIT;
SELECT user_id FROM narvik_create_session('2');
SELECT pg_temp.state('SELECT narvik_create_session(''4'')');
RESET ROLE;
ALTER TABLE regress_users DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- A hostile search_path: traps in front of what the look-ups use.
CREATE SCHEMA regress_trap AUTHORIZATION regress_narvik_app;
SET ROLE regress_narvik_app;
CREATE FUNCTION regress_trap.spring(int, int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'sprung as %', current_user; END $$;
CREATE FUNCTION regress_trap.spring(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'sprung as %', current_user; END $$;
CREATE OPERATOR regress_trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = regress_trap.spring);
CREATE OPERATOR regress_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_trap.spring);
CREATE FUNCTION regress_trap.format(text, int) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'sprung as %', current_user; END $$;
CREATE TABLE regress_trap.regress_users (id int);
CREATE DOMAIN regress_trap.text AS pg_catalog.int4;
CREATE TEMP TABLE narvik_sessions (user_id int);
SET search_path = pg_temp, regress_trap, pg_catalog, public;
SELECT 1 = 1;
SELECT user_id FROM public.narvik_create_session('1');
SELECT name FROM public.narvik_validate_user('token-1', NULL::public.regress_users);
RESET ROLE;
SELECT public.narvik_unlink_users();
SELECT public.narvik_link_users('public.regress_users');
UPDATE public.regress_users SET id = 20 WHERE id OPERATOR(pg_catalog.=) 2;
SELECT name FROM public.narvik_validate_user('token-2', NULL::public.regress_users);
DELETE FROM public.regress_users WHERE id OPERATOR(pg_catalog.=) 20;
SELECT name FROM public.narvik_validate_user('token-2', NULL::public.regress_users);
RESET search_path;
DROP TABLE pg_temp.narvik_sessions;

-- The role that deletes a user needs no right on narvik; so the sessions go.
CREATE ROLE regress_narvik_clerk;
GRANT SELECT, UPDATE, DELETE, TRUNCATE ON regress_users TO regress_narvik_clerk;
SELECT user_id FROM narvik_validate_session('token-1');
SET ROLE regress_narvik_clerk;
UPDATE regress_users SET id = 10 WHERE id = 1;
RESET ROLE;
SELECT user_id FROM narvik_validate_session('token-1');
SET ROLE regress_narvik_clerk;
DELETE FROM regress_users WHERE id = 10;
SELECT current_user;
RESET ROLE;
SELECT user_id FROM narvik_sessions;
SET ROLE regress_narvik_clerk;
TRUNCATE regress_users;
SELECT narvik_unlink_users();
RESET ROLE;
SELECT count(*) FROM narvik_sessions;
-- Who may link: not the clerk, not the application, and the table's owner only with
-- rights on narvik too.
SELECT narvik_unlink_users();
SET ROLE regress_narvik_owner;
SELECT narvik_link_users('regress_users');
RESET ROLE;
GRANT EXECUTE ON FUNCTION narvik_link_users(regclass, name), narvik_users_changed() TO regress_narvik_owner;
SET ROLE regress_narvik_owner;
SELECT narvik_link_users('regress_users');
RESET ROLE;
GRANT EXECUTE ON FUNCTION narvik_link_users(regclass, name) TO regress_narvik_clerk;
SET ROLE regress_narvik_clerk;
SELECT narvik_link_users('regress_users');
RESET ROLE;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'regress_users'::regclass;
-- Nobody else can make a table the link by hanging the trigger to it.
GRANT CREATE ON SCHEMA public TO regress_narvik_app;
SET ROLE regress_narvik_app;
CREATE TABLE regress_mine (id text PRIMARY KEY);
CREATE TRIGGER t AFTER DELETE OR UPDATE OF id ON regress_mine FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
RESET ROLE;

DROP TABLE regress_users, regress_others;
DELETE FROM narvik_sessions;
DROP OWNED BY regress_narvik_app, regress_narvik_clerk, regress_narvik_owner CASCADE;
DROP ROLE regress_narvik_app, regress_narvik_clerk, regress_narvik_owner;
