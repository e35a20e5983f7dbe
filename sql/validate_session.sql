--
-- validate_session: narvik_validate_session answers the session of a token,
-- or no row; it writes only when an extension is due.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- The columns of the answer, in the order the contract gives them.
SELECT a.attname, a.atttypid::regtype
FROM pg_attribute a
WHERE a.attrelid = 'narvik_session'::regclass
ORDER BY a.attnum;

SELECT token, id, created_at AS created, expires_at AS expires
FROM narvik_create_session('alice', '{"theme": "dark"}') \gset
SELECT token AS bobs FROM narvik_create_session('bob') \gset

-- The session as created; not new any more, and not extended.
SELECT v.id = :'id' AS same_id, v.user_id, v.created_at = :'created' AS same_creation,
       v.expires_at = :'expires' AS same_end, v.data, v.new, v.extended
FROM narvik_validate_session(:'token') v;
SELECT v.user_id FROM narvik_validate_session(:'bobs') v;

-- Nothing was due, so nothing was written: the row is the same version.
SELECT ctid AS ctid0, xmin AS xmin0 FROM narvik_sessions WHERE user_id = 'alice' \gset
SELECT count(*) FROM generate_series(1, 10) i, LATERAL narvik_validate_session(CASE WHEN i > 0 THEN :'token' END);
SELECT ctid = :'ctid0' AS same_ctid, xmin = :'xmin0' AS same_xmin
FROM narvik_sessions WHERE user_id = 'alice';

-- It took no transaction id either.
BEGIN;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
COMMIT;

-- No session: unknown token, NULL, empty, the id in place of the token,
-- the token in another case, or with something before or after it.
SELECT what, count(v.id)
FROM (VALUES (1, 'unknown', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'),
             (2, 'NULL', NULL),
             (3, 'empty', ''),
             (4, 'space', ' '),
             (5, 'the id', :'id'),
             (6, 'upper case', upper(:'token')),
             (7, 'leading space', ' ' || :'token'),
             (8, 'trailing space', :'token' || ' '),
             (9, 'trailing newline', :'token' || E'\n'),
             (10, 'cut short', left(:'token', 31)),
             (11, 'padded', :'token' || '=')) AS t (n, what, token)
     LEFT JOIN LATERAL narvik_validate_session(t.token) v ON true
GROUP BY n, what ORDER BY n;

-- A token is any text of 1 to 1024 bytes. The sessions of longer ones and of the
-- empty one exist, saved by id, but no token finds them.
SET client_encoding = 'UTF8';
CREATE TEMP TABLE odd (n int, what text, token text);
INSERT INTO odd VALUES
    (1, '1 byte', 'x'),
    (2, '1024 bytes', repeat('x', 1024)),
    (3, '1025 bytes', repeat('x', 1025)),
    (4, '1024 bytes, 512 characters', repeat('é', 512)),
    (5, '1025 bytes, 513 characters', repeat('é', 512) || 'x'),
    (6, '1 MB', repeat('x', 1048576)),
    (7, 'empty', ''),
    (8, 'non-ASCII', '日本語 é 😀'),
    (9, 'quotes and backslashes', $$'"\'; -- $1 %s$$),
    (10, 'control characters', E'\x01\t\r\n\x7f');
SELECT count(narvik_save_session(narvik_session_id(token), what, statement_timestamp() + '30 days'))
FROM odd;
SELECT o.n, o.what, octet_length(o.token) AS bytes, v.user_id AS found
FROM odd o LEFT JOIN LATERAL narvik_validate_session(o.token) v ON true
ORDER BY o.n;
RESET client_encoding;
SELECT sum(narvik_delete_sessions_for_user(what)) FROM odd;
DROP TABLE odd;

SELECT narvik_delete_sessions_for_user(u) FROM unnest('{alice,bob}'::text[]) u;
