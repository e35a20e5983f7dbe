--
-- ages: a session ends at the age that it was created with, or at
-- narvik.session_max_age if that is earlier. No answer says a later moment.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
LOAD 'narvik';

-- What each answer says of when the session with this token ends, from its creation on.
CREATE FUNCTION pg_temp.ends(p_token text) RETURNS TABLE (validated interval, fetched interval, listed interval)
LANGUAGE sql AS $$
    SELECT date_trunc('minute', v.expires_at - v.created_at), date_trunc('minute', f.expires_at - f.created_at), date_trunc('minute', l.expires_at - l.created_at)
    FROM narvik_validate_session(p_token) v, narvik_fetch_session(v.id) f,
         narvik_fetch_sessions_for_user(v.user_id) l
    WHERE l.id = v.id
$$;

-- The earlier end counts: of the lifetime, of the session's own age, of everybody's.
SELECT expires_at - created_at AS lives FROM narvik_create_session('a', max_age => '2 hours');
SELECT expires_at - created_at AS lives FROM narvik_create_session('a', '{}', '1 hour', true, '2 hours');
SELECT expires_at - created_at AS lives FROM narvik_create_session('a', expires_in => '1 hour', max_age => '1 minute');
SET narvik.session_max_age = '30min';
SELECT expires_at - created_at AS lives FROM narvik_create_session('a', max_age => '2 hours');
SELECT expires_at - created_at AS lives FROM narvik_create_session('a', max_age => '10 minutes');
RESET narvik.session_max_age;
SELECT narvik_delete_sessions_for_user('a');

-- No extension goes beyond it, and rotation keeps it.
SELECT token, id FROM narvik_create_session('bob', expires_in => '90 minutes', max_age => '2 hours') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '40 minutes');
SELECT extended FROM narvik_validate_session(:'token');
SELECT * FROM pg_temp.ends(:'token');
UPDATE narvik_sessions SET created_at = created_at - interval '1 hour', ends_at = ends_at - interval '1 hour',
    expires_at = statement_timestamp() + '30 minutes' WHERE user_id = 'bob';
SELECT extended FROM narvik_validate_session(:'token');
SELECT * FROM pg_temp.ends(:'token');
SELECT token, id, expires_at - created_at AS lives FROM narvik_rotate_session(:'token') \gset
SELECT :'lives';
SELECT * FROM pg_temp.ends(:'token');

-- Who sets the expiry does not get beyond it either.
SELECT narvik_update_session_expiry(:'id', '2100-01-01 00:00+00');
SELECT * FROM pg_temp.ends(:'token');
SELECT expires_at = ends_at AS kept, purge_hour = floor(extract(epoch FROM ends_at) / 3600) AS hour_fits FROM narvik_sessions;
UPDATE narvik_sessions SET created_at = created_at - interval '1 hour', expires_at = expires_at - interval '1 hour', ends_at = ends_at - interval '1 hour';
SELECT narvik_update_session_expiry(:'id', '2100-01-01 00:00+00');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT count(*) FROM narvik_sessions;

-- narvik.session_max_age holds for sessions that were stored before it was set, in
-- every answer, without a write.
SELECT token, id FROM narvik_create_session('carol') \gset
SELECT narvik_save_session(narvik_session_id('saved'), 'dora', '2100-01-01 00:00+00');
SET narvik.session_max_age = '20d';
SELECT * FROM pg_temp.ends(:'token');
SELECT * FROM pg_temp.ends('saved');
SELECT expires_at - created_at AS lives FROM narvik_rotate_session(:'token') \gset
SELECT :'lives';
SELECT narvik_save_session(narvik_session_id('later'), 'erin', '2100-01-01 00:00+00');
SELECT * FROM pg_temp.ends('later');
-- Lists of rows that lie at the ends of the calendar are answered, too.
UPDATE narvik_sessions SET expires_at = 'infinity' WHERE user_id = 'dora';
UPDATE narvik_sessions SET created_at = '294276-12-31 23:00+00', expires_at = '294276-12-31 23:59+00' WHERE user_id = 'erin';
SELECT u, CASE u WHEN 'erin' THEN expires_at END AS expires_at, expires_at - created_at AS lives FROM unnest('{dora,erin}'::text[]) u, narvik_fetch_sessions_for_user(u);
RESET narvik.session_max_age;
DELETE FROM narvik_sessions;

-- A saved session can have terms of its own: without, the settings extend it.
SELECT narvik_save_session(narvik_session_id(t), t, statement_timestamp() + '4 minutes', '{}', l, s)
FROM (VALUES ('setting', NULL::interval, true), ('own', '10 minutes', true), ('fixed', '10 minutes', false)) t (t, l, s);
SELECT t, v.extended, date_trunc('minute', v.expires_at - v.created_at + interval '1 s') AS lives
FROM unnest('{setting,own,fixed}'::text[]) t, narvik_validate_session(t) v;
DELETE FROM narvik_sessions;

-- Intervals that are none of a session.
CREATE FUNCTION pg_temp.refuses(p_call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || p_call;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT call, pg_temp.refuses(format(call, i)) FROM unnest(ARRAY[
    'narvik_create_session(''a'', max_age => %L)',
    'narvik_save_session(narvik_session_id(''x''), ''a'', now(), lifetime => %L)']) call,
    unnest('{0,-1 s,1 mon -40 days,178000000 years}'::text[]) i;
SELECT pg_temp.refuses('narvik_save_session(narvik_session_id(''x''), ''a'', now(), sliding => NULL)');
SELECT count(*) FROM narvik_sessions;
