--
-- transactions: savepoints, exceptions, rollbacks and isolation levels, within
-- one connection.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- A session created after a savepoint goes with it; one created before stays.
BEGIN;
SELECT token AS before FROM narvik_create_session('alice') \gset
SAVEPOINT s;
SELECT token AS after FROM narvik_create_session('alice') \gset
SELECT count(*) FROM narvik_validate_session(:'after');
ROLLBACK TO s;
SELECT count(*) FROM narvik_validate_session(:'after');
SELECT count(*) FROM narvik_validate_session(:'before');
COMMIT;
SELECT count(*) FROM narvik_validate_session(:'after');
SELECT count(*) FROM narvik_validate_session(:'before');

-- An extension rolled back is due again.
SELECT narvik_update_session_expiry(narvik_session_id(:'before'), statement_timestamp() + '1 hour');
BEGIN;
SAVEPOINT s;
SELECT v.extended FROM narvik_validate_session(:'before') v;
ROLLBACK TO s;
SELECT v.extended FROM narvik_validate_session(:'before') v;
SELECT v.extended FROM narvik_validate_session(:'before') v;
ROLLBACK;
SELECT v.extended FROM narvik_validate_session(:'before') v;

-- Invalidated and rolled back, it is valid again.
BEGIN;
SAVEPOINT s;
SELECT narvik_invalidate_session(narvik_session_id(:'before'));
SELECT count(*) FROM narvik_validate_session(:'before');
ROLLBACK TO s;
SELECT count(*) FROM narvik_validate_session(:'before');
COMMIT;

-- Expired, deleted by a validation that is rolled back: still stored, still expired.
SELECT narvik_update_session_expiry(narvik_session_id(:'before'), statement_timestamp());
BEGIN;
SELECT count(*) FROM narvik_validate_session(:'before');
SELECT count(*) FROM narvik_sessions;
ROLLBACK;
SELECT count(*) FROM narvik_sessions;
SELECT count(*) FROM narvik_validate_session(:'before');
SELECT count(*) FROM narvik_sessions;

-- Exceptions undo what their block did, and nothing else.
DO $$
DECLARE
    kept narvik_created_session;
    lost narvik_created_session;
BEGIN
    kept := narvik_create_session('bob');
    BEGIN
        lost := narvik_create_session('bob');
        PERFORM narvik_validate_session(lost.token);
        RAISE NOTICE 'inside: %', FOUND;
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM narvik_validate_session(lost.token);
        RAISE NOTICE 'lost: %', FOUND;
    END;
    BEGIN
        PERFORM narvik_create_session('bob', '[]');
    EXCEPTION WHEN invalid_parameter_value THEN NULL;
    END;
    PERFORM narvik_validate_session(kept.token);
    RAISE NOTICE 'kept: %', FOUND;
END $$;
SELECT narvik_delete_sessions_for_user('bob');

-- After an error nothing works until the rollback, then everything does.
BEGIN;
\set VERBOSITY sqlstate
SELECT narvik_create_session('');
SELECT narvik_create_session('bob');
\set VERBOSITY default
ROLLBACK;
SELECT (narvik_create_session('bob')).user_id;
SELECT narvik_delete_sessions_for_user('bob');

-- A procedure that commits between its sessions.
CREATE PROCEDURE pg_temp.logins() LANGUAGE plpgsql AS $$
DECLARE
    c narvik_created_session;
BEGIN
    FOR i IN 1..3 LOOP
        c := narvik_create_session('bob', jsonb_build_object('n', i));
        IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
        PERFORM narvik_validate_session(c.token);
        RAISE NOTICE '%: %', i, FOUND;
    END LOOP;
END $$;
CALL pg_temp.logins();
SELECT narvik_delete_sessions_for_user('bob');

-- The whole life of a session within one transaction of each isolation level.
CREATE FUNCTION pg_temp.life() RETURNS TABLE (step text, answer text) LANGUAGE plpgsql AS $$
DECLARE
    c narvik_created_session;
    r narvik_created_session;
BEGIN
    c := narvik_create_session('carol');
    RETURN QUERY SELECT 'validated', (SELECT user_id FROM narvik_validate_session(c.token));
    PERFORM narvik_update_session_expiry(c.id, statement_timestamp() + '1 hour');
    RETURN QUERY SELECT 'extended', (SELECT extended::text FROM narvik_validate_session(c.token));
    RETURN QUERY SELECT 'data', narvik_update_session_data(c.id, '{"a": 1}')::text;
    SELECT * INTO r FROM narvik_rotate_session(c.token);
    RETURN QUERY SELECT 'old token', count(*)::text FROM narvik_validate_session(c.token);
    RETURN QUERY SELECT 'new token', data::text FROM narvik_validate_session(r.token);
    RETURN QUERY SELECT 'listed', count(*)::text FROM narvik_fetch_sessions_for_user('carol');
    RETURN QUERY SELECT 'invalidated', narvik_invalidate_session(r.id)::text;
    RETURN QUERY SELECT 'after', count(*)::text FROM narvik_validate_session(r.token);
    c := narvik_create_session('carol');
    PERFORM narvik_update_session_expiry(c.id, statement_timestamp());
    RETURN QUERY SELECT 'expired', count(*)::text FROM narvik_validate_session(c.token);
    RETURN QUERY SELECT 'left', count(*)::text FROM narvik_sessions WHERE user_id = 'carol';
END $$;
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT * FROM pg_temp.life();
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM pg_temp.life();
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM pg_temp.life();
COMMIT;
SELECT count(*) FROM narvik_sessions;
