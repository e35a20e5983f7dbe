--
-- session_data: additional session data, and narvik_update_session_data.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT token, id, expires_at AS expires
FROM narvik_create_session('alice', '{"a": 1, "b": {"x": 1, "y": 2}, "c": null}') \gset

-- Keys are added and replaced; the new data is answered, stored and validated.
SELECT narvik_update_session_data(:'id', '{"a": 2, "d": [1, 2]}');
SELECT data FROM narvik_sessions;
SELECT v.data FROM narvik_validate_session(:'token') v;

-- Top-level keys only: a nested object is replaced, not merged.
SELECT narvik_update_session_data(:'id', '{"b": {"z": 3}}');

-- A null value removes its key; removing what is not there changes nothing. A null
-- that was stored stays as long as the patch does not name its key.
SELECT narvik_update_session_data(:'id', '{"a": null, "unknown": null}');
SELECT narvik_update_session_data(:'id', '{"c": null}');

-- Only top-level nulls remove: deeper ones are values.
SELECT narvik_update_session_data(:'id', '{"b": {"z": null}, "d": [null], "e": "null", "f": false, "g": 0, "h": ""}');

-- An empty patch changes nothing.
SELECT narvik_update_session_data(:'id', '{}');

-- Odd keys are keys like others.
SELECT narvik_update_session_data(:'id', '{"": 1, "a.b": 2, "a b": 3, "''\"\\": 4, "$1": 5}');
SELECT narvik_update_session_data(:'id', '{"": null, "a.b": null, "a b": null, "''\"\\": null, "$1": null}');

-- Everything removed: an empty object.
SELECT narvik_update_session_data(:'id', '{"b": null, "d": null, "e": null, "f": null, "g": null, "h": null}');

-- The end of the session is as it was, and no other session was touched.
SELECT id AS other FROM narvik_create_session('alice', '{"mine": true}') \gset
SELECT narvik_update_session_data(upper(:'id'), '{"k": 1}');
SELECT expires_at = :'expires' AS same_end, data FROM narvik_fetch_session(:'id');
SELECT data FROM narvik_fetch_session(:'other');

-- No live session with that id: NULL. Unknown, malformed, NULL, expired.
SELECT what, narvik_update_session_data(id, '{"k": 2}') IS NULL AS none
FROM (VALUES (1, 'unknown', repeat('0', 64)),
             (2, 'empty', ''),
             (3, 'not hex', repeat('g', 64)),
             (4, '65 digits', :'id' || '0'),
             (5, 'the token', :'token'),
             (6, 'NULL', NULL)) AS t (n, what, id)
ORDER BY n;
SELECT narvik_update_session_expiry(:'id', statement_timestamp());
SELECT narvik_update_session_data(:'id', '{"k": 2}') IS NULL AS none;
SELECT data AS unchanged FROM narvik_fetch_session(:'id');

-- The last microsecond counts as live, the moment of expiry does not.
DO $$
DECLARE
    session narvik_created_session;
BEGIN
    SELECT * INTO session FROM narvik_create_session('bob');
    PERFORM narvik_update_session_expiry(session.id, statement_timestamp() + '1 microsecond');
    RAISE NOTICE '%', narvik_update_session_data(session.id, '{"last": "microsecond"}');
    PERFORM narvik_update_session_expiry(session.id, statement_timestamp());
    RAISE NOTICE '%', narvik_update_session_data(session.id, '{"too": "late"}');
END $$;

-- A patch must be a JSON object.
SELECT narvik_update_session_data(:'other', NULL);
SELECT narvik_update_session_data(:'other', '[1]');
\set VERBOSITY sqlstate
SELECT narvik_update_session_data(:'other', '"text"');
SELECT narvik_update_session_data(:'other', '1');
SELECT narvik_update_session_data(:'other', 'true');
SELECT narvik_update_session_data(:'other', 'null');
\set VERBOSITY default
SELECT data AS unchanged FROM narvik_fetch_session(:'other');
SELECT narvik_delete_sessions_for_user(u) FROM unnest('{alice,bob}'::text[]) u;

-- Big data that does not compress goes through every function unharmed. It really
-- is stored out of line: its TOAST table has chunks.
SELECT reltoastrelid::regclass AS toast FROM pg_class WHERE oid = 'narvik_sessions'::regclass \gset
SELECT string_agg(md5(i::text), '') AS noise FROM generate_series(1, 1000) i \gset
SELECT token, id FROM narvik_create_session('alice', jsonb_build_object('noise', :'noise')) \gset
SELECT count(*) > 4 AS out_of_line FROM :toast;
SELECT length(v.data::text), v.data->>'noise' = :'noise' AS intact, v.extended FROM narvik_validate_session(:'token') v;
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 hour');
SELECT v.data->>'noise' = :'noise' AS intact, v.extended FROM narvik_validate_session(:'token') v;
SELECT v.data->>'noise' = :'noise' AS intact, v.extended FROM narvik_validate_session(:'token') v;
SELECT token, id, data->>'noise' = :'noise' AS intact FROM narvik_rotate_session(:'token') \gset
SELECT :'intact' AS intact;
SELECT v.data->>'noise' = :'noise' AS intact FROM narvik_validate_session(:'token') v;
SELECT f.data->>'noise' = :'noise' AS intact FROM narvik_fetch_session(:'id') f;
SELECT f.data->>'noise' = :'noise' AS intact FROM narvik_fetch_sessions_for_user('alice') f;
SELECT d->>'noise' = :'noise' AS intact, d->'more' AS more FROM narvik_update_session_data(:'id', '{"more": true}') d;
SELECT d->>'noise' = :'noise' AS intact FROM narvik_update_session_data(:'id', '{}') d;
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', statement_timestamp() + '1 day', jsonb_build_object('noise', :'noise'));
SELECT v.data->>'noise' = :'noise' AS intact FROM narvik_validate_session('saved') v;

-- What was answered stays whole when the table loses its rows before it is read.
CREATE FUNCTION pg_temp.read_after_truncate(p_token text) RETURNS TABLE (source text, bytes int)
LANGUAGE plpgsql AS $$
DECLARE
    validated jsonb;
    fetched jsonb;
    listed jsonb;
    updated jsonb;
    rotated jsonb;
BEGIN
    SELECT data INTO validated FROM narvik_validate_session(p_token);
    SELECT data INTO fetched FROM narvik_fetch_session(narvik_session_id(p_token));
    SELECT data INTO listed FROM narvik_fetch_sessions_for_user('alice') f WHERE f.id = narvik_session_id(p_token);
    updated := narvik_update_session_data(narvik_session_id(p_token), '{}');
    SELECT data INTO rotated FROM narvik_rotate_session(p_token);
    TRUNCATE narvik_sessions;
    RETURN QUERY VALUES ('validate', length(validated::text)), ('fetch', length(fetched::text)),
        ('fetch for user', length(listed::text)), ('update', length(updated::text)), ('rotate', length(rotated::text));
END $$;
SELECT * FROM pg_temp.read_after_truncate(:'token');
SELECT count(*) FROM narvik_sessions;
