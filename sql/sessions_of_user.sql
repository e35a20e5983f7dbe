--
-- sessions_of_user: listing and deleting all sessions of a user.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT id AS id1, token AS token1 FROM narvik_create_session('alice', '{"device": "phone"}') \gset
SELECT id AS id2, token AS token2 FROM narvik_create_session('alice', '{"device": "laptop"}', '2 hours') \gset
SELECT id AS id3, token AS token3 FROM narvik_create_session('alice', '{"device": "tablet"}', sliding => false) \gset
SELECT id AS idb, token AS tokenb FROM narvik_create_session('bob', '{"device": "desk"}') \gset

-- Newest first; neither new nor extended; the user's own only.
SELECT f.id = s.id AS same_id, f.user_id, f.data, f.expires_at - f.created_at AS lives, f.new, f.extended
FROM narvik_fetch_sessions_for_user('alice') WITH ORDINALITY
         AS f (id, user_id, created_at, expires_at, data, new, extended, due, n)
     JOIN (VALUES (1, :'id3'), (2, :'id2'), (3, :'id1')) AS s (n, id) ON s.n = f.n
ORDER BY f.n;
SELECT data FROM narvik_fetch_sessions_for_user('bob');
SELECT count(*) FROM narvik_fetch_sessions_for_user('carol');

-- Names match exactly.
SELECT u, count(f.id)
FROM unnest('{Alice,"alice ",alic,al%,al_ce}'::text[]) WITH ORDINALITY t (u, n)
     LEFT JOIN LATERAL narvik_fetch_sessions_for_user(u) f ON true
GROUP BY u, n ORDER BY n;

-- Newest is by creation, not by use, by end, or by place in the table.
UPDATE narvik_sessions SET created_at = created_at - interval '1 day' WHERE id = decode(:'id3', 'hex');
SELECT narvik_update_session_data(:'id1', '{"used": true}');
SELECT f.data FROM narvik_fetch_sessions_for_user('alice') f;

-- Listing extends nothing, even what is due.
SELECT narvik_update_session_expiry(:'id1', statement_timestamp() + '1 hour');
SELECT ctid AS ctid0, xmin AS xmin0 FROM narvik_sessions WHERE id = decode(:'id1', 'hex') \gset
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
SELECT ctid = :'ctid0' AS same_ctid, xmin = :'xmin0' AS same_xmin FROM narvik_sessions WHERE id = decode(:'id1', 'hex');

-- Live ones only: one ends now, one a microsecond later.
DO $$
DECLARE
    found text;
BEGIN
    UPDATE narvik_sessions SET expires_at = statement_timestamp() WHERE data->>'device' = 'laptop';
    UPDATE narvik_sessions SET expires_at = statement_timestamp() + interval '1 microsecond' WHERE data->>'device' = 'tablet';
    SELECT string_agg(f.data->>'device', ' ') INTO found FROM narvik_fetch_sessions_for_user('alice') f;
    RAISE NOTICE 'live: %', found;
END $$;
-- They are hidden, not deleted.
SELECT count(*) FROM narvik_sessions WHERE user_id = 'alice';

-- Delete all but one; the one may be given in upper case. Others' sessions stay,
-- those of users with similar names too.
SELECT count(narvik_create_session(u)) FROM unnest('{Alice,"alice ",alic,al%}'::text[]) u;
SELECT narvik_delete_sessions_for_user('alice', upper(:'id1'));
SELECT f.id = :'id1' AS kept FROM narvik_fetch_sessions_for_user('alice') f;
SELECT count(*) FROM narvik_validate_session(:'token1');
SELECT count(*) FROM narvik_validate_session(:'tokenb');

SELECT u, narvik_delete_sessions_for_user(u) FROM unnest('{Alice,"alice ",alic,al%}'::text[]) u;

-- An exception that is not the user's keeps nothing of the user's.
SELECT narvik_delete_sessions_for_user('alice', :'idb');
SELECT count(*) FROM narvik_validate_session(:'tokenb');

-- Neither does one that is no id at all. None left: 0.
CREATE FUNCTION pg_temp.deleted_except(pattern text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    own text := (narvik_create_session('alice')).id;
BEGIN
    RETURN narvik_delete_sessions_for_user('alice', replace(pattern, 'ID', own));
END $$;
SELECT pattern, pg_temp.deleted_except(pattern)
FROM unnest(ARRAY[NULL, '', '%', repeat('0', 63), repeat('0', 64), repeat('g', 64),
                  'ID0', 'IDx', 'ID ', ' ID', '\xID', 'ID']) WITH ORDINALITY t (pattern, n)
ORDER BY n;
SELECT narvik_delete_sessions_for_user('alice');
SELECT narvik_delete_sessions_for_user('alice');
SELECT narvik_delete_sessions_for_user('carol');

-- Many: all listed, all counted.
SELECT count(narvik_create_session('alice', jsonb_build_object('n', i))) FROM generate_series(1, 1000) i;
SELECT count(*), bool_and((f.data->>'n')::int = 1001 - n) AS newest_first
FROM narvik_fetch_sessions_for_user('alice') WITH ORDINALITY
         AS f (id, user_id, created_at, expires_at, data, new, extended, due, n);
SELECT narvik_delete_sessions_for_user('alice', narvik_session_id('none of them'));
SELECT narvik_delete_sessions_for_user('bob');
SELECT count(*) FROM narvik_sessions;

-- The newest so many, and those before a moment: pages.
DELETE FROM narvik_sessions;
SELECT narvik_save_session(narvik_session_id('page ' || n), 'alice', now() + interval '1 day', jsonb_build_object('n', n)) IS NULL
FROM generate_series(1, 5) AS n \g /dev/null
UPDATE narvik_sessions SET created_at = now() - (data->>'n')::int * interval '1 minute';
SELECT string_agg(data->>'n', ' ') FROM narvik_fetch_sessions_for_user('alice', 2);
SELECT string_agg(data->>'n', ' ') FROM narvik_fetch_sessions_for_user('alice', max_rows => 0);
SELECT string_agg(data->>'n', ' ')
FROM narvik_fetch_sessions_for_user('alice', 2, (SELECT min(created_at) FROM narvik_fetch_sessions_for_user('alice', 2)));
SELECT string_agg(data->>'n', ' ') FROM narvik_fetch_sessions_for_user('alice', created_before => now() - interval '3 minutes');
SELECT string_agg(data->>'n', ' ') FROM narvik_fetch_sessions_for_user('alice', NULL, NULL);
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice', 10, 'infinity');
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice', 10, '-infinity');
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice', -1);
DELETE FROM narvik_sessions;
