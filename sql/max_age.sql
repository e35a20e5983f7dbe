--
-- max_age: narvik.session_max_age ends a session that long after its creation,
-- however often it was extended.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';

\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/include/validate_with.sql'
\i :file

-- Makes the session as old as told; when it expires stays as it is.
CREATE FUNCTION pg_temp.age_and_validate(age interval, p_token text,
    OUT valid boolean, OUT still_stored boolean)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE narvik_sessions SET created_at = statement_timestamp() - age
    WHERE id = decode(narvik_session_id(p_token), 'hex');
    PERFORM narvik_validate_session(p_token);
    valid := FOUND;
    still_stored := EXISTS (SELECT FROM narvik_fetch_session(narvik_session_id(p_token)));
END $$;

-- Off by default: a session ten years old is as good as a new one.
LOAD 'narvik';
SHOW narvik.session_max_age;
SELECT token FROM narvik_create_session('alice') \gset
SELECT * FROM pg_temp.age_and_validate('10 years', :'token');

-- On, it is invalid, and its row is deleted.
SET narvik.session_max_age = '90d';
SELECT * FROM pg_temp.age_and_validate('10 years', :'token');

-- One microsecond short of that age it is valid; at that age it is not.
SELECT token FROM narvik_create_session('alice') \gset
SELECT * FROM pg_temp.age_and_validate('89 days 23:59:59.999999', :'token');
SELECT * FROM pg_temp.age_and_validate('90 days', :'token');

-- In a read-only transaction: invalid, the row untouched.
SELECT token, id FROM narvik_create_session('alice') \gset
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '91 days';
BEGIN READ ONLY;
SELECT count(*) FROM narvik_validate_session(:'token');
COMMIT;
SELECT count(*) FROM narvik_sessions;

-- Too old is not live for any other function.
SELECT count(*) AS listed FROM narvik_fetch_sessions_for_user('alice');
SELECT narvik_update_session_data(:'id', '{"a": 1}') IS NULL AS not_updated;
SELECT count(*) AS fetched, bool_and(data = '{}') AS unchanged FROM narvik_fetch_session(:'id');
SELECT count(*) AS rotated FROM narvik_rotate_session(:'token');

-- To the microsecond, in every function: at that age it is dead, before it is not.
CREATE FUNCTION pg_temp.at_age(age interval, OUT listed bigint, OUT updated boolean, OUT rotated bigint, OUT purged bigint)
LANGUAGE plpgsql AS $$
DECLARE
    made narvik_created_session := narvik_create_session('carol');
BEGIN
    UPDATE narvik_sessions SET created_at = statement_timestamp() - age WHERE user_id = 'carol';
    SELECT count(*) INTO listed FROM narvik_fetch_sessions_for_user('carol');
    updated := narvik_update_session_data(made.id, '{"a": 1}') IS NOT NULL;
    SELECT count(*) INTO rotated FROM narvik_rotate_session(made.token);
    DELETE FROM narvik_sessions WHERE user_id = 'alice';
    purged := narvik_delete_all_expired_sessions();
    DELETE FROM narvik_sessions WHERE user_id = 'carol';
END $$;
SELECT * FROM pg_temp.at_age('90 days');
SELECT * FROM pg_temp.at_age('89 days 23:59:59.999999');

-- It is purged with the expired ones, and only it.
SELECT narvik_delete_sessions_for_user('alice') >= 0 AS cleared;
SELECT id FROM narvik_create_session('alice') \gset
SELECT token AS young FROM narvik_create_session('alice') \gset
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '90 days' WHERE id = decode(:'id', 'hex');
SELECT narvik_delete_all_expired_sessions();
SELECT count(*) FROM narvik_sessions;
SELECT count(*) FROM narvik_validate_session(:'young');
-- With the setting off it would not have been.
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '10 years';
SET narvik.session_max_age = 0;
SELECT narvik_delete_all_expired_sessions();
SELECT narvik_delete_sessions_for_user('alice');

-- A new session is clipped: it never ends later than that age.
SET narvik.session_max_age = '1d';
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice') c;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice', expires_in => '1 month') c;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice', expires_in => '25 hours', sliding => false) c;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice', expires_in => '23 hours') c;
SELECT expires_at - created_at AS stored, lifetime FROM narvik_sessions ORDER BY seq;
SELECT bool_and(purge_hour = floor(extract(epoch FROM expires_at) / 3600)) AS hour_fits FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- One clipped so far that its half-life never comes is not extended and not written.
SELECT token FROM narvik_create_session('alice') \gset
SELECT ctid AS ctid0, xmin AS xmin0 FROM narvik_sessions \gset
SELECT v.user_id, v.extended FROM narvik_validate_session(:'token') v;
SELECT ctid = :'ctid0' AS same_ctid, xmin = :'xmin0' AS same_xmin FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- An extension is clipped: 20 hours old and at most 30, it gets 10 more, not 24.
SET narvik.session_max_age = '30h';
SELECT token FROM narvik_create_session('alice', expires_in => '24 hours') \gset
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '20 hours';
SELECT w.valid, w.extended, w.answered = w.stored AS stored_as_answered,
       s.created_at + interval '30 hours' = statement_timestamp() + w.answered AS ends_at_max_age,
       s.purge_hour = floor(extract(epoch FROM s.expires_at) / 3600) AS hour_fits
FROM pg_temp.validate_with('4 hours', :'token') w, narvik_sessions s;
-- Being there, it does not move any more.
SELECT w.valid, w.extended FROM narvik_sessions s,
     LATERAL pg_temp.validate_with(s.created_at + interval '30 hours' - statement_timestamp(), :'token') w;
-- And an extension never moves the end backwards: it is 4 hours away, the age 1 hour.
SET narvik.session_max_age = '21h';
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '20 hours';
SELECT valid, extended, stored FROM pg_temp.validate_with('4 hours', :'token');
SELECT narvik_delete_sessions_for_user('alice');

-- A new token does not make the session younger.
SET narvik.session_max_age = '90d';
SELECT token FROM narvik_create_session('alice') \gset
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '89 days';
SELECT token FROM narvik_rotate_session(:'token') \gset
SELECT * FROM pg_temp.age_and_validate('89 days', :'token');
SELECT * FROM pg_temp.age_and_validate('90 days', :'token');

-- Saved sessions age as well: from the moment they were saved.
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', statement_timestamp() + '10 years');
SELECT * FROM pg_temp.age_and_validate('89 days', 'saved');
SELECT * FROM pg_temp.age_and_validate('90 days', 'saved');

RESET narvik.session_max_age;
SELECT count(*) FROM narvik_sessions;
