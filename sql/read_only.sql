--
-- read_only: what a READ ONLY transaction gets: answers, and nothing written.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT token, id FROM narvik_create_session('alice', '{"theme": "dark"}') \gset
SELECT token AS due, id AS due_id FROM narvik_create_session('alice') \gset
SELECT token AS over, id AS over_id FROM narvik_create_session('alice') \gset
SELECT narvik_update_session_expiry(:'due_id', statement_timestamp() + '1 hour');
SELECT narvik_update_session_expiry(:'over_id', statement_timestamp());
-- Tokens for statements that fail: none is written into a statement's text.
CREATE TEMP TABLE tokens AS SELECT :'token' AS live, :'due' AS due;
CREATE TEMP TABLE before AS SELECT ctid AS tid, xmin AS x, s.* FROM narvik_sessions s;

BEGIN READ ONLY;
-- A live one; one that is due, answered unextended with its end as stored; an expired one.
SELECT v.user_id, v.data, v.extended FROM narvik_validate_session(:'token') v;
SELECT v.user_id, v.extended, v.expires_at < statement_timestamp() + '1 hour' AS unextended
FROM narvik_validate_session(:'due') v;
SELECT count(*) FROM narvik_validate_session(:'over');
SELECT count(*) FROM narvik_validate_session('unknown');
-- What only reads works.
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
SELECT count(*) FROM narvik_fetch_session(:'over_id');
SELECT length(narvik_generate_token()), length(narvik_session_id('x'));
-- No transaction id was taken.
SELECT pg_current_xact_id_if_assigned() IS NULL AS no_xid;
COMMIT;

-- The same with the session's default, under each isolation level.
SET default_transaction_read_only = on;
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
SELECT count(*) FROM narvik_validate_session(:'over');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
SELECT count(*) FROM narvik_validate_session(:'over');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE DEFERRABLE;
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
COMMIT;

-- What has to write is refused: 25006, read_only_sql_transaction.
\set VERBOSITY sqlstate
SELECT narvik_create_session('alice');
SELECT narvik_rotate_session(live) FROM tokens;
SELECT narvik_invalidate_session(:'id');
SELECT narvik_update_session_data(:'id', '{"a": 1}');
SELECT narvik_delete_sessions_for_user('alice');
SELECT narvik_delete_all_expired_sessions();
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', '2100-01-01 00:00+00');
SELECT narvik_update_session_expiry(:'id', '2100-01-01 00:00+00');
SELECT narvik_delete_session(:'id');
\set VERBOSITY default
RESET default_transaction_read_only;

-- All rows are the versions they were.
SELECT count(*) AS rows, count(b.seq) AS unchanged
FROM narvik_sessions s LEFT JOIN before b ON b.seq = s.seq AND b.tid = s.ctid AND b.x = s.xmin;

-- A read-only subtransaction of a transaction that may write does not write either.
BEGIN;
SELECT narvik_invalidate_session(:'over_id');
SAVEPOINT s;
SET LOCAL transaction_read_only = on;
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
ROLLBACK TO s;
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
ROLLBACK;

-- Where writing is allowed again, what was due is extended and what was over goes.
SELECT v.user_id, v.extended FROM narvik_validate_session(:'due') v;
SELECT count(*) FROM narvik_validate_session(:'over');
SELECT count(*) FROM narvik_sessions;

DROP TABLE tokens, before;
SELECT narvik_delete_sessions_for_user('alice');
