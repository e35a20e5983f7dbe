--
-- invalidate_session: narvik_invalidate_session deletes the session with an id.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT token, id FROM narvik_create_session('alice') \gset
SELECT token AS token2, id AS id2 FROM narvik_create_session('alice') \gset

-- Deleted: true, and the token is dead. The second time: there was none.
SELECT narvik_invalidate_session(:'id');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT count(*) FROM narvik_sessions WHERE id = decode(:'id', 'hex');
SELECT narvik_invalidate_session(:'id');

-- The user's other session lives on.
SELECT v.user_id FROM narvik_validate_session(:'token2') v;

-- It is the id that counts, not the token; nothing else matches.
SELECT what, narvik_invalidate_session(id)
FROM (VALUES (1, 'the token', :'token2'),
             (2, 'unknown', repeat('0', 64)),
             (3, 'cut short', left(:'id2', 63)),
             (4, 'one digit more', :'id2' || '0'),
             (5, 'with \x', '\x' || :'id2'),
             (6, 'empty', ''),
             (7, 'NULL', NULL)) AS t (n, what, id)
ORDER BY n;
SELECT count(*) FROM narvik_sessions;

-- Digits in upper case are the same id.
SELECT narvik_invalidate_session(upper(:'id2'));
SELECT count(*) FROM narvik_sessions;

-- Rolled back, the session is there again.
SELECT token, id FROM narvik_create_session('alice') \gset
BEGIN;
SELECT narvik_invalidate_session(:'id');
SELECT count(*) FROM narvik_validate_session(:'token');
ROLLBACK;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT narvik_invalidate_session(:'id');
