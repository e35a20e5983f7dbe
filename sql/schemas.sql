--
-- schemas: narvik and pgcrypto in any schema, moved, dropped and made again under
-- one connection's feet. What the C code remembers must keep up.
--
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS narvik, pgcrypto CASCADE;
CREATE SCHEMA regress_crypto;
CREATE SCHEMA regress_narvik;
CREATE SCHEMA regress_other;
CREATE EXTENSION pgcrypto SCHEMA regress_crypto;
CREATE EXTENSION narvik SCHEMA regress_narvik;
RESET client_min_messages;
SET search_path = '';

-- Everything with an empty search_path, neither extension in public.
SELECT token, id FROM regress_narvik.narvik_create_session('alice', '{"a": 1}', '2 hours') \gset
SELECT v.user_id, v.data, v.extended FROM regress_narvik.narvik_validate_session(:'token') v;
SELECT regress_narvik.narvik_update_session_expiry(:'id', statement_timestamp() + '1 minute');
SELECT v.user_id, v.extended FROM regress_narvik.narvik_validate_session(:'token') v;
SELECT regress_narvik.narvik_update_session_data(:'id', '{"b": 2}');
SELECT f.user_id, f.data FROM regress_narvik.narvik_fetch_sessions_for_user('alice') f;
SELECT f.user_id, f.data FROM regress_narvik.narvik_fetch_session(:'id') f;
SELECT token, id FROM regress_narvik.narvik_rotate_session(:'token') \gset
SELECT regress_narvik.narvik_invalidate_session(:'id');
SELECT regress_narvik.narvik_save_session(:'id', 'alice', statement_timestamp());
SELECT regress_narvik.narvik_delete_all_expired_sessions();
SELECT regress_narvik.narvik_delete_session(:'id');
SELECT regress_narvik.narvik_session_id('testSessionToken');
SELECT length(regress_narvik.narvik_generate_token());

-- Moved to another schema: the same sessions, found at once.
SELECT token, id FROM regress_narvik.narvik_create_session('alice', '{"a": 1}') \gset
ALTER EXTENSION narvik SET SCHEMA regress_other;
SELECT v.user_id FROM regress_other.narvik_validate_session(:'token') v;
SELECT regress_other.narvik_update_session_data(:'id', '{"b": 2}');
SELECT (regress_other.narvik_create_session('alice')).user_id;
SELECT count(*) FROM regress_other.narvik_fetch_sessions_for_user('alice');
-- Its schema renamed.
ALTER SCHEMA regress_other RENAME TO regress_renamed;
SELECT v.user_id FROM regress_renamed.narvik_validate_session(:'token') v;
SELECT (regress_renamed.narvik_create_session('alice')).user_id;
ALTER SCHEMA regress_renamed RENAME TO regress_other;
-- pgcrypto moved.
ALTER EXTENSION pgcrypto SET SCHEMA regress_other;
SELECT v.user_id FROM regress_other.narvik_validate_session(:'token') v;
SELECT (regress_other.narvik_create_session('alice')).user_id;
-- A move rolled back.
BEGIN;
ALTER EXTENSION narvik SET SCHEMA regress_narvik;
SELECT v.user_id FROM regress_narvik.narvik_validate_session(:'token') v;
SELECT (regress_narvik.narvik_create_session('alice')).user_id;
ROLLBACK;
SELECT v.user_id FROM regress_other.narvik_validate_session(:'token') v;
SELECT count(*) FROM regress_other.narvik_fetch_sessions_for_user('alice');

-- Dropped and made again: a new table; the old tokens are unknown, new ones work.
DROP EXTENSION narvik;
CREATE EXTENSION narvik SCHEMA regress_narvik;
SELECT count(*) FROM regress_narvik.narvik_validate_session(:'token');
SELECT token AS new FROM regress_narvik.narvik_create_session('alice') \gset
SELECT v.user_id FROM regress_narvik.narvik_validate_session(:'new') v;
-- Dropped, and the drop rolled back.
BEGIN;
DROP EXTENSION narvik;
ROLLBACK;
SELECT v.user_id FROM regress_narvik.narvik_validate_session(:'new') v;
SELECT (regress_narvik.narvik_create_session('alice')).user_id;
-- Made, used, and rolled back; then made for good.
DROP EXTENSION narvik;
BEGIN;
CREATE EXTENSION narvik SCHEMA regress_other;
SELECT token FROM regress_other.narvik_create_session('alice') \gset
SELECT v.user_id FROM regress_other.narvik_validate_session(:'token') v;
ROLLBACK;
CREATE EXTENSION narvik SCHEMA regress_narvik;
SELECT count(*) FROM regress_narvik.narvik_validate_session(:'token');
SELECT token FROM regress_narvik.narvik_create_session('alice') \gset
SELECT v.user_id FROM regress_narvik.narvik_validate_session(:'token') v;

-- Tables of the same name elsewhere are others' tables.
CREATE TABLE regress_other.narvik_sessions (LIKE regress_narvik.narvik_sessions INCLUDING ALL);
CREATE TABLE public.narvik_sessions (LIKE regress_narvik.narvik_sessions INCLUDING ALL);
CREATE TEMP TABLE narvik_sessions (LIKE regress_narvik.narvik_sessions INCLUDING ALL);
SET search_path = pg_temp, regress_other, public;
SELECT token FROM regress_narvik.narvik_create_session('alice') \gset
SELECT v.user_id FROM regress_narvik.narvik_validate_session(:'token') v;
SELECT token FROM regress_narvik.narvik_rotate_session(:'token') \gset
SELECT regress_narvik.narvik_delete_sessions_for_user('nobody');
SELECT (SELECT count(*) FROM regress_narvik.narvik_sessions) AS narviks,
       (SELECT count(*) FROM pg_temp.narvik_sessions) AS temporary,
       (SELECT count(*) FROM regress_other.narvik_sessions) AS other,
       (SELECT count(*) FROM public.narvik_sessions) AS public;
RESET search_path;
DROP TABLE pg_temp.narvik_sessions, public.narvik_sessions, regress_other.narvik_sessions;

-- The library without the extension: its functions say what is missing.
DROP EXTENSION narvik;
CREATE TYPE regress_other.session AS (id text, user_id text, created_at timestamptz, expires_at timestamptz,
    data jsonb, new boolean, extended boolean);
CREATE FUNCTION regress_other.validate(text) RETURNS SETOF regress_other.session
    AS '$libdir/narvik', 'narvik_validate_session' LANGUAGE C VOLATILE;
CREATE FUNCTION regress_other.invalidate(text) RETURNS boolean
    AS '$libdir/narvik', 'narvik_invalidate_session' LANGUAGE C VOLATILE;
SELECT regress_other.validate('x');
SELECT regress_other.invalidate(repeat('0', 64));
DROP FUNCTION regress_other.validate(text), regress_other.invalidate(text);
DROP TYPE regress_other.session;

-- In a new connection, the first call of all is under an empty search_path.
CREATE EXTENSION narvik SCHEMA regress_narvik;
\c -
SET search_path = '';
SELECT token FROM regress_narvik.narvik_create_session('alice') \gset
SELECT v.user_id FROM regress_narvik.narvik_validate_session(:'token') v;

SET client_min_messages = warning;
DROP EXTENSION narvik, pgcrypto;
DROP SCHEMA regress_crypto, regress_narvik, regress_other;
