--
-- fixed_sessions: a session made with sliding => false ends when it was told to.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';

\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/include/validate_with.sql'
\i :file

-- With the lifetime of the setting, and with one of its own: valid to the last
-- microsecond, never extended, expired at the moment it was told to.
SELECT token FROM narvik_create_session('alice', sliding => false) \gset
SELECT token AS own FROM narvik_create_session('alice', expires_in => '2 hours', sliding => false) \gset
SELECT r AS remaining, w.*
FROM unnest('{30 days,15 days,14 days,1 hour,1 microsecond}'::interval[]) r,
     LATERAL pg_temp.validate_with(r, :'token') w;
SELECT r AS remaining, w.*
FROM unnest('{2 hours,1 hour,30 minutes,1 microsecond}'::interval[]) r,
     LATERAL pg_temp.validate_with(r, :'own') w;

-- Not extended means not written.
SELECT narvik_update_session_expiry(narvik_session_id(:'token'), statement_timestamp() + '1 hour');
SELECT ctid AS ctid0, xmin AS xmin0 FROM narvik_sessions WHERE id = decode(narvik_session_id(:'token'), 'hex') \gset
SELECT v.user_id, v.extended FROM narvik_validate_session(:'token') v;
SELECT ctid = :'ctid0' AS same_ctid, xmin = :'xmin0' AS same_xmin
FROM narvik_sessions WHERE id = decode(narvik_session_id(:'token'), 'hex');

SELECT * FROM pg_temp.validate_with('0', :'token');
SELECT * FROM pg_temp.validate_with('0', :'own');

-- Rotation keeps it fixed.
SELECT token FROM narvik_create_session('alice', expires_in => '2 hours', sliding => false) \gset
SELECT token FROM narvik_rotate_session(:'token') \gset
SELECT * FROM pg_temp.validate_with('1 minute', :'token');

SELECT narvik_delete_sessions_for_user('alice');
