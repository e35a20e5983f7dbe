--
-- rotate_session: narvik_rotate_session gives the same session a new token.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT token, id, created_at AS created, expires_at AS expires
FROM narvik_create_session('alice', '{"theme": "dark"}', '2 hours', false) \gset
SELECT token AS other FROM narvik_create_session('alice') \gset

-- New token and id; user, data and both times are the same. New, so the cookie is
-- to be sent; not extended.
SELECT token AS token2, id AS id2, user_id, created_at = :'created' AS same_creation,
       expires_at = :'expires' AS same_end, data, new, extended
FROM narvik_rotate_session(:'token') \gset r_
SELECT :'r_token2' <> :'token' AS new_token, :'r_id2' <> :'id' AS new_id,
       :'r_token2' ~ '^[a-z2-7]{32}$' AS token_format, :'r_id2' = narvik_session_id(:'r_token2') AS id_of_token,
       :'r_user_id' AS user_id, :'r_same_creation' AS same_creation, :'r_same_end' AS same_end,
       :'r_data' AS data, :'r_new' AS new, :'r_extended' AS extended;

-- The old token is dead; the new one is the session, fixed and of two hours as before.
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT v.id = :'r_id2' AS same_id, v.user_id, v.created_at = :'created' AS same_creation,
       v.expires_at = :'expires' AS same_end, v.data, v.new, v.extended
FROM narvik_validate_session(:'r_token2') v;
SELECT user_id, data, lifetime, sliding, expires_at = :'expires' AS same_end
FROM narvik_sessions WHERE id = decode(:'r_id2', 'hex');

-- No row more than before; the user's other session is untouched.
SELECT count(*) FROM narvik_sessions;
SELECT count(*) FROM narvik_validate_session(:'other');

-- The old token rotates no more, the new one does.
SELECT count(*) FROM narvik_rotate_session(:'token');
SELECT count(*) FROM narvik_rotate_session(:'r_token2');
SELECT count(*) FROM narvik_rotate_session(:'r_token2');
SELECT narvik_delete_sessions_for_user('alice');

-- In one statement: the old token is dead and the new one valid at once.
SELECT token FROM narvik_create_session('alice') \gset
SELECT r.token <> :'token' AS new_token, old.user_id AS old_user, new.user_id AS new_user
FROM narvik_rotate_session(:'token') r
     LEFT JOIN LATERAL narvik_validate_session(CASE WHEN r.token IS NOT NULL THEN :'token' END) old ON true
     LEFT JOIN LATERAL narvik_validate_session(r.token) new ON true;
SELECT narvik_delete_sessions_for_user('alice');

-- Rolled back, the old token is the one that is valid.
SELECT token FROM narvik_create_session('alice') \gset
BEGIN;
SELECT token AS token2 FROM narvik_rotate_session(:'token') \gset
ROLLBACK;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT count(*) FROM narvik_validate_session(:'token2');

-- A session past half of its life keeps its end; the next validation extends it.
SELECT narvik_update_session_expiry(narvik_session_id(:'token'), '2100-01-01 00:00+00');
SELECT token, r.expires_at = '2100-01-01 00:00+00' AS same_end, r.extended
FROM narvik_rotate_session(:'token') r \gset
SELECT :'same_end' AS same_end, :'extended' AS extended;
SELECT narvik_update_session_expiry(narvik_session_id(:'token'), statement_timestamp() + '1 hour');
SELECT token, r.expires_at < statement_timestamp() + '1 hour' AS same_end, r.extended
FROM narvik_rotate_session(:'token') r \gset
SELECT :'same_end' AS same_end, :'extended' AS extended;
SELECT v.extended FROM narvik_validate_session(:'token') v;

-- The row written is right in every column.
SELECT bool_and(purge_hour = floor(extract(epoch FROM expires_at) / 3600)) AS hour_fits, count(*) FROM narvik_sessions;

-- Expired: no row, and no session is made of it.
SELECT narvik_update_session_expiry(narvik_session_id(:'token'), statement_timestamp());
SELECT count(*) FROM narvik_rotate_session(:'token');
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
SELECT narvik_delete_sessions_for_user('alice') <= 1 AS cleared;

-- The last microsecond counts as live, the moment of expiry does not.
DO $$
DECLARE
    made narvik_created_session := narvik_create_session('bob');
BEGIN
    PERFORM narvik_update_session_expiry(made.id, statement_timestamp() + interval '1 microsecond');
    RAISE NOTICE 'before: % row', (SELECT count(*) FROM narvik_rotate_session(made.token));
    made := narvik_create_session('bob');
    PERFORM narvik_update_session_expiry(made.id, statement_timestamp());
    RAISE NOTICE 'at its end: % row', (SELECT count(*) FROM narvik_rotate_session(made.token));
END $$;
SELECT narvik_delete_sessions_for_user('bob');

-- No session, no row, no error, whatever the text.
SELECT what, count(r.id)
FROM (VALUES (1, 'unknown', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'),
             (2, 'NULL', NULL),
             (3, 'empty', ''),
             (4, 'quotes', $$'; DROP TABLE narvik_sessions; --$$),
             (5, 'control characters', E'\x01\n\x7f'),
             (6, '1025 bytes', repeat('x', 1025)),
             (7, '1 MB', repeat('x', 1048576))) AS t (n, what, token)
     LEFT JOIN LATERAL narvik_rotate_session(t.token) r ON true
GROUP BY n, what ORDER BY n;

-- Tokens of 1 to 1024 bytes rotate, whoever made them.
SELECT narvik_save_session(narvik_session_id(t), 'alice', statement_timestamp() + '1 day')
FROM unnest(ARRAY['', 'x', repeat('x', 1024), repeat('x', 1025)]) t;
SELECT octet_length(t) AS bytes, count(r.id)
FROM unnest(ARRAY['', 'x', repeat('x', 1024), repeat('x', 1025)]) t
     LEFT JOIN LATERAL narvik_rotate_session(t) r ON true
GROUP BY 1 ORDER BY 1;
SELECT narvik_delete_sessions_for_user('alice');
