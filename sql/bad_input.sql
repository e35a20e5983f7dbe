--
-- bad_input: what is refused, with which SQLSTATE, and that nothing is stored then.
-- 22004 is null_value_not_allowed, 22023 invalid_parameter_value.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET client_encoding = 'UTF8';
SELECT narvik_session_id('one') AS one \gset

-- The messages.
SELECT narvik_create_session(NULL);
SELECT narvik_create_session('alice', NULL);
SELECT narvik_create_session('alice', sliding => NULL);
SELECT narvik_create_session('');
SELECT narvik_create_session(repeat('x', 1025));
SELECT narvik_create_session('alice', '[]');
SELECT narvik_create_session('alice', expires_in => '0');
SELECT narvik_create_session('alice', expires_in => '-1 second');
SELECT narvik_create_session('alice', expires_in => '300000 years');
SELECT narvik_save_session('no id', 'alice', '2100-01-01 00:00+00');

\set VERBOSITY sqlstate

-- A user id that is NULL, empty, or over 1024 bytes, in every function that takes one.
SELECT narvik_create_session(NULL);
SELECT narvik_create_session('');
SELECT narvik_create_session(repeat('x', 1025));
SELECT narvik_create_session(repeat('é', 512) || 'x');
SELECT narvik_create_session(repeat('x', 1048576));
SELECT narvik_save_session(:'one', NULL, '2100-01-01 00:00+00');
SELECT narvik_save_session(:'one', '', '2100-01-01 00:00+00');
SELECT narvik_save_session(:'one', repeat('x', 1025), '2100-01-01 00:00+00');
SELECT narvik_save_session(:'one', repeat('é', 512) || 'x', '2100-01-01 00:00+00');
SELECT narvik_fetch_sessions_for_user(NULL);
SELECT narvik_fetch_sessions_for_user('');
SELECT narvik_fetch_sessions_for_user(repeat('x', 1025));
SELECT narvik_delete_sessions_for_user(NULL);
SELECT narvik_delete_sessions_for_user('');
SELECT narvik_delete_sessions_for_user(repeat('x', 1025));
SELECT narvik_delete_sessions_for_user(NULL, :'one');

-- Data that is NULL or no JSON object.
SELECT narvik_create_session('alice', NULL);
SELECT narvik_create_session('alice', 'null');
SELECT narvik_create_session('alice', '[]');
SELECT narvik_create_session('alice', '[{}]');
SELECT narvik_create_session('alice', '"{}"');
SELECT narvik_create_session('alice', '1');
SELECT narvik_create_session('alice', 'true');
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', NULL);
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', 'null');
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', '[]');
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', '"{}"');
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', '1');
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', 'false');

-- sliding must be told.
SELECT narvik_create_session('alice', '{}', '1 day', NULL);

-- Ids to save under: 64 hex digits and nothing else.
SELECT narvik_save_session(NULL, 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session('', 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(left(:'one', 63), 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(:'one' || '0', 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(left(:'one', 63) || 'g', 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session('g' || right(:'one', 63), 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(left(:'one', 63) || ' ', 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(:'one' || E'\n', 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session('\x' || :'one', 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session('\x' || left(:'one', 62), 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(repeat('é', 32), 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(repeat('é', 64), 'alice', '2100-01-01 00:00+00');
SELECT narvik_save_session(repeat('0', 1048576), 'alice', '2100-01-01 00:00+00');

\set VERBOSITY default

-- Nothing of it was stored.
SELECT count(*) FROM narvik_sessions;

-- In the functions that look an id up, the same ids are none, not errors. For each
-- there is a session whose id begins like it or is what a careless reader would make of it.
SELECT count(narvik_save_session(id, 'alice', '2100-01-01 00:00+00'))
FROM unnest(ARRAY[:'one', repeat('0', 64), left(:'one', 63) || '0', '0' || right(:'one', 63)]) id;
SELECT what, narvik_invalidate_session(id) AS invalidated, narvik_delete_session(id) AS deleted,
       narvik_update_session_expiry(id, '2101-01-01 00:00+00') AS expiry,
       narvik_update_session_data(id, '{"a": 1}') AS data,
       (SELECT count(*) FROM narvik_fetch_session(id)) AS fetched
FROM (VALUES (1, 'NULL', NULL),
             (2, 'empty', ''),
             (3, '63 digits', left(:'one', 63)),
             (4, '65 digits', :'one' || '0'),
             (5, 'last one no digit', left(:'one', 63) || 'g'),
             (6, 'first one no digit', 'g' || right(:'one', 63)),
             (7, 'trailing space', left(:'one', 63) || ' '),
             (8, 'trailing newline', :'one' || E'\n'),
             (9, 'with \x', '\x' || :'one'),
             (10, '64 with \x', '\x' || left(:'one', 62)),
             (11, '64 bytes, 32 characters', repeat('é', 32)),
             (12, '64 characters, 128 bytes', repeat('é', 64)),
             (13, '1 MB', repeat('0', 1048576)),
             (14, 'just below 0', repeat('/', 64)),
             (15, 'just above 9', repeat(':', 64)),
             (16, 'just below A', repeat('@', 64)),
             (17, 'just above F', repeat('G', 64)),
             (18, 'just below a', repeat('`', 64)),
             (19, 'just above f', repeat('g', 64))) AS t (n, what, id)
ORDER BY n;
SELECT count(*), bool_and(expires_at = '2100-01-01 00:00+00' AND data = '{}') AS untouched FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- The last values accepted: 1 and 1024 bytes of user id.
SELECT octet_length(c.user_id) AS bytes
FROM unnest(ARRAY['x', repeat('x', 1024), repeat('é', 512)]) u, LATERAL narvik_create_session(u) c;
SELECT narvik_delete_sessions_for_user(u) FROM unnest(ARRAY['x', repeat('x', 1024), repeat('é', 512)]) u;

-- Text that tries to be more than text is stored and compared as it is.
CREATE TEMP TABLE nasty (n int, value text);
INSERT INTO nasty VALUES
    (1, $$'; DROP TABLE narvik_sessions; --$$),
    (2, $$' OR '1'='1$$),
    (3, $$\'; SELECT 1; --$$),
    (4, $$"quoted" 'quoted' $1 $$),
    (5, E'line\nbreak\ttab\x01'),
    (6, '%s %n %d %'),
    (7, '日本語 é 😀');
SELECT n, c.user_id = value AS same_user, c.data = jsonb_build_object(value, value) AS same_data,
       v.user_id = value AS found_by_token, narvik_update_session_data(c.id, jsonb_build_object(value, NULL)) AS data
FROM nasty, LATERAL narvik_create_session(value, jsonb_build_object(value, value)) c,
     LATERAL narvik_validate_session(c.token) v
ORDER BY n;
SELECT n, count(f.id) AS listed FROM nasty LEFT JOIN LATERAL narvik_fetch_sessions_for_user(value) f ON true GROUP BY n ORDER BY n;
SELECT n, (SELECT count(*) FROM narvik_validate_session(value)) AS validated,
       (SELECT count(*) FROM narvik_rotate_session(value)) AS rotated,
       narvik_invalidate_session(value) AS invalidated,
       narvik_delete_sessions_for_user('alice', value) AS deleted
FROM nasty ORDER BY n;
SELECT n, narvik_delete_sessions_for_user(value) FROM nasty ORDER BY n;
DROP TABLE nasty;
SELECT count(*) FROM narvik_sessions;

-- An error caught leaves no half of a session and no borrowed rights behind.
SET narvik.max_sessions_per_user = 1;
SELECT token FROM narvik_create_session('alice') \gset
DO $$
BEGIN
    FOR i IN 1..100 LOOP
        BEGIN
            PERFORM narvik_create_session('alice', expires_in => '0');
        EXCEPTION WHEN invalid_parameter_value THEN NULL;
        END;
    END LOOP;
END $$;
SELECT count(*) FROM narvik_validate_session(:'token');
RESET narvik.max_sessions_per_user;
SELECT narvik_delete_sessions_for_user('alice');
RESET client_encoding;
