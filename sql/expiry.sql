--
-- expiry: from expires_at on a session is invalid, for good.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';

\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/include/validate_with.sql'
\i :file

-- One microsecond before its end a session is valid (and, sliding, extended).
SELECT token, id FROM narvik_create_session('alice') \gset
SELECT * FROM pg_temp.validate_with('1 microsecond', :'token');
-- At its end it is not; validating deletes the row.
SELECT * FROM pg_temp.validate_with('0', :'token');
SELECT count(*) FROM narvik_sessions;
-- Deleted, it stays dead.
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 hour');

-- Long past its end, too, with a lifetime of its own.
SELECT token FROM narvik_create_session('alice', expires_in => '1 hour') \gset
SELECT * FROM pg_temp.validate_with('-10 years', :'token');

-- Validating an expired session leaves other rows alone, expired ones too.
SELECT token, id FROM narvik_create_session('alice') \gset
SELECT id AS other FROM narvik_create_session('alice') \gset
SELECT narvik_update_session_expiry(i, statement_timestamp() - interval '1 second')
FROM unnest(ARRAY[:'id', :'other']) i;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT count(*) FILTER (WHERE id = decode(:'id', 'hex')) AS validated,
       count(*) FILTER (WHERE id = decode(:'other', 'hex')) AS other
FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- In a read-only transaction: invalid all the same, the row untouched.
SELECT token, id FROM narvik_create_session('alice') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp());
SELECT ctid AS ctid0, xmin AS xmin0, xmax AS xmax0 FROM narvik_sessions \gset
BEGIN READ ONLY;
SELECT count(*) FROM narvik_validate_session(:'token');
COMMIT;
SELECT count(*) AS rows, bool_and(ctid = :'ctid0' AND xmin = :'xmin0' AND xmax = :'xmax0') AS untouched FROM narvik_sessions;

-- Expired but still stored: no function brings it back or treats it as live.
SELECT count(*) FROM narvik_rotate_session(:'token');
SELECT count(*) FROM narvik_sessions WHERE id <> decode(:'id', 'hex');
SELECT narvik_save_session(narvik_session_id('spare'), 'alice', statement_timestamp());
SELECT narvik_update_session_data(narvik_session_id('spare'), '{"a": 1}') IS NULL AS not_live;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
SELECT data FROM narvik_fetch_session(narvik_session_id('spare'));
SELECT count(*) FROM narvik_validate_session('spare');

-- The setting grown longer does not revive it either.
SELECT token, id FROM narvik_create_session('alice') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp() - interval '1 second');
SET narvik.session_expires_in = '365d';
SELECT count(*) FROM narvik_validate_session(:'token');
RESET narvik.session_expires_in;

-- Logging out of an expired session removes it.
SELECT id FROM narvik_create_session('alice') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp());
SELECT narvik_invalidate_session(:'id');
SELECT count(*) FROM narvik_fetch_session(:'id');

-- Logging out everywhere removes live and expired ones, and counts what it deleted.
SELECT id FROM narvik_create_session('alice') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp());
SELECT count(*) FROM generate_series(1, 2) i, LATERAL narvik_create_session('alice', jsonb_build_object('n', i));
SELECT count(*) AS stored FROM narvik_sessions WHERE user_id = 'alice' \gset
SELECT narvik_delete_sessions_for_user('alice') = :stored AS all_counted;
SELECT count(*) FROM narvik_sessions;
