--
-- identity: who this transaction is, from narvik_authenticate() to the
-- transaction's end, through savepoints, exceptions and errors.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
DO $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id('token-' || u), u, now() + interval '29 days')
    FROM unnest('{alice,bob,carol}'::text[]) u;
    PERFORM narvik_save_session(narvik_session_id('token-expired'), 'erin', now() - interval '1 day');
END $$;
\set who 'SELECT narvik_current_user_id() AS who, narvik_current_session_id() = narvik_session_id(\'token-\' || narvik_current_user_id()) AS session;'

-- Nobody at first.
:who
-- A valid token; somebody else; the session's id is lower-case hex.
BEGIN;
SELECT narvik_authenticate('token-alice');
:who
SELECT narvik_authenticate('token-bob');
:who
SELECT narvik_current_session_id() ~ '^[0-9a-f]{64}$' AS hex;
COMMIT;
:who

-- Whatever is no valid token makes it nobody: an earlier identity must not stay.
SELECT repeat('x', 1025) AS long, repeat('x', 100000) AS huge \gset
BEGIN;
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate(NULL) IS NULL AS null;
:who
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate('') IS NULL AS empty;
:who
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate('token-nobody') IS NULL AS unknown;
:who
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate('token-expired') IS NULL AS expired;
:who
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate(:'long') IS NULL AS long;
:who
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate(:'huge') IS NULL AS huge;
:who
-- An id is no token.
SELECT narvik_authenticate(narvik_session_id('token-alice')) IS NULL AS id;
-- And back.
SELECT narvik_authenticate('token-alice');
:who
COMMIT;

-- Outside of a transaction block it is gone at the next statement, but holds to
-- the end of this one.
SELECT narvik_authenticate('token-alice');
:who
SELECT a, narvik_current_user_id() FROM narvik_authenticate('token-alice') a;
:who
-- Statements sent as one message are one transaction.
SELECT narvik_authenticate('token-alice')\; SELECT narvik_current_user_id();
:who
-- COMMIT and ROLLBACK, with a chain too.
BEGIN; SELECT narvik_authenticate('token-alice'); ROLLBACK;
:who
BEGIN; SELECT narvik_authenticate('token-alice'); COMMIT AND CHAIN;
:who
SELECT narvik_authenticate('token-alice'); ROLLBACK AND CHAIN;
:who
COMMIT;

-- Savepoints: what was set after one goes with its rollback ...
BEGIN;
SELECT narvik_authenticate('token-alice');
SAVEPOINT a;
:who
SELECT narvik_authenticate('token-bob');
:who
ROLLBACK TO a;
:who
-- ... which can be rolled back to again ...
SELECT narvik_authenticate('token-carol');
ROLLBACK TO a;
:who
-- ... a cleared one comes back ...
SELECT narvik_authenticate(NULL);
:who
ROLLBACK TO a;
:who
-- ... and what is released stays.
SELECT narvik_authenticate('token-bob');
RELEASE a;
:who
COMMIT;
:who
-- First set within a savepoint.
BEGIN;
SAVEPOINT a;
SELECT narvik_authenticate('token-alice');
ROLLBACK TO a;
:who
SELECT narvik_authenticate('token-alice');
RELEASE a;
:who
COMMIT;
-- Cleared within a savepoint that is released.
BEGIN;
SELECT narvik_authenticate('token-alice');
SAVEPOINT a;
SELECT narvik_authenticate('token-nobody');
RELEASE a;
:who
COMMIT;
-- Three levels; the middle one sets nothing.
BEGIN;
SELECT narvik_authenticate('token-alice');
SAVEPOINT a;
SAVEPOINT b;
SAVEPOINT c;
SELECT narvik_authenticate('token-bob');
RELEASE c;
:who
SAVEPOINT c;
SELECT narvik_authenticate('token-carol');
ROLLBACK TO c;
:who
ROLLBACK TO b;
:who
SELECT narvik_authenticate('token-carol');
RELEASE b;
:who
ROLLBACK TO a;
:who
COMMIT;
-- Each level sets one; a release in the middle replaces the one of its parent.
BEGIN;
SELECT narvik_authenticate('token-alice');
SAVEPOINT a;
SELECT narvik_authenticate('token-bob');
SAVEPOINT b;
SELECT narvik_authenticate('token-carol');
SELECT narvik_authenticate('token-alice');
SELECT narvik_authenticate('token-carol');
RELEASE b;
:who
SAVEPOINT b;
SELECT narvik_authenticate(NULL);
ROLLBACK TO b;
:who
ROLLBACK TO a;
:who
COMMIT;
:who

-- An error in mid-transaction: the savepoint's identity is back after it.
BEGIN;
SELECT narvik_authenticate('token-alice');
SAVEPOINT a;
SELECT narvik_authenticate('token-bob');
SELECT 1 / 0;
SELECT narvik_current_user_id();
ROLLBACK TO a;
:who
SELECT 1 / (narvik_authenticate('token-carol') = '')::int;
ROLLBACK TO a;
:who
SELECT 1 / 0;
COMMIT;
:who

-- Blocks with EXCEPTION are savepoints.
BEGIN;
DO $$
BEGIN
    PERFORM narvik_authenticate('token-alice');
    BEGIN
        PERFORM narvik_authenticate('token-bob');
        BEGIN
            PERFORM narvik_authenticate('token-carol');
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN
            RAISE NOTICE 'after the innermost: %', narvik_current_user_id();
        END;
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'after the outer: %', narvik_current_user_id();
    END;
    BEGIN
        PERFORM narvik_authenticate('token-carol');
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RAISE NOTICE 'after one without an error: %', narvik_current_user_id();
END $$;
:who
COMMIT;
-- Many of them, at many depths, beside a model of what is expected.
CREATE FUNCTION pg_temp.dive(depth int, INOUT expected text, INOUT checks int, INOUT wrong int) LANGUAGE plpgsql AS $$
DECLARE
    users text[] := '{alice,bob,carol,nobody}';
    before text;
    chosen text;
BEGIN
    FOR i IN 1 .. 3 LOOP
        before := expected;
        BEGIN
            IF random() < 0.7 THEN
                chosen := users[1 + floor(random() * 4)];
                PERFORM narvik_authenticate('token-' || chosen);
                expected := nullif(chosen, 'nobody');
            END IF;
            IF depth > 0 THEN
                SELECT d.expected, d.checks, d.wrong INTO expected, checks, wrong
                FROM pg_temp.dive(depth - 1, expected, checks, wrong) d;
            END IF;
            IF random() < 0.5 THEN RAISE EXCEPTION USING ERRCODE = 'XX999'; END IF;
        EXCEPTION WHEN SQLSTATE 'XX999' THEN
            expected := before;
        END;
        checks := checks + 1;
        IF narvik_current_user_id() IS DISTINCT FROM expected THEN wrong := wrong + 1; END IF;
    END LOOP;
END $$;
SELECT setseed(0.4);
BEGIN;
SELECT checks, wrong FROM pg_temp.dive(5, NULL, 0, 0);
COMMIT;
:who

-- COMMIT and ROLLBACK inside a procedure end it.
CREATE PROCEDURE pg_temp.commits() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM narvik_authenticate('token-alice');
    RAISE NOTICE 'before: %', narvik_current_user_id();
    COMMIT;
    RAISE NOTICE 'after COMMIT: %', narvik_current_user_id();
    PERFORM narvik_authenticate('token-bob');
    ROLLBACK;
    RAISE NOTICE 'after ROLLBACK: %', narvik_current_user_id();
    PERFORM narvik_authenticate('token-carol');
    RAISE NOTICE 'before the end: %', narvik_current_user_id();
END $$;
CALL pg_temp.commits();
:who

-- A deferred trigger at COMMIT still sees it.
CREATE TEMP TABLE audit (what int);
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% by %', NEW.what, narvik_current_user_id();
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER note AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
BEGIN;
SELECT narvik_authenticate('token-alice');
INSERT INTO audit VALUES (1);
COMMIT;
INSERT INTO audit VALUES (2);

-- The transaction ends its own session, in whatever way: nobody; back with the
-- savepoint's rollback.
CREATE FUNCTION pg_temp.after(statement text, OUT who text, OUT session boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM narvik_authenticate('token-carol');
    EXECUTE statement;
    who := narvik_current_user_id();
    session := narvik_current_session_id() = narvik_session_id('token-carol');
    RAISE SQLSTATE 'XX999';
EXCEPTION WHEN SQLSTATE 'XX999' THEN
    IF narvik_current_user_id() <> 'bob' THEN RAISE 'not restored'; END IF;
END $$;
BEGIN;
SELECT narvik_authenticate('token-bob');
SELECT s AS statement, a.* FROM unnest(ARRAY[
    'SELECT narvik_invalidate_session(narvik_current_session_id())',
    'SELECT narvik_invalidate_session(upper(narvik_session_id(''token-carol'')))',
    'SELECT narvik_delete_session(narvik_current_session_id())',
    'SELECT narvik_delete_sessions_for_user(''carol'')',
    'SELECT narvik_delete_sessions_for_user(''carol'', ''nonsense'')',
    'SELECT narvik_delete_sessions_for_user(''carol'', narvik_session_id(''token-alice''))',
    -- These end others.
    'SELECT narvik_delete_sessions_for_user(''carol'', narvik_current_session_id())',
    'SELECT narvik_invalidate_session(narvik_session_id(''token-alice''))',
    'SELECT narvik_invalidate_session(NULL)',
    'SELECT narvik_invalidate_session(''nonsense'')',
    'SELECT narvik_delete_session(narvik_session_id(''token-alice''))',
    'SELECT narvik_delete_session(NULL)',
    'SELECT narvik_delete_sessions_for_user(''alice'')',
    'SELECT narvik_delete_sessions_for_user(''carolx'')',
    'SELECT narvik_rotate_session(''token-alice'')',
    'SELECT narvik_rotate_session(''no token'')',
    'SELECT narvik_delete_all_expired_sessions()']) s, pg_temp.after(s) a;
:who
ROLLBACK;
-- Rotated, the session is the same under its new id: the old one would not do for
-- "everywhere else, log out".
BEGIN;
SELECT narvik_authenticate('token-carol');
SELECT token AS new FROM narvik_rotate_session('token-carol') \gset
SELECT narvik_current_user_id(), narvik_current_session_id() = narvik_session_id(:'new') AS session;
SELECT narvik_delete_sessions_for_user('carol', narvik_current_session_id());
SELECT narvik_current_user_id();
SAVEPOINT a;
SELECT count(*) FROM narvik_rotate_session(:'new');
SELECT narvik_current_session_id() = narvik_session_id(:'new') AS session;
ROLLBACK TO a;
SELECT narvik_current_session_id() = narvik_session_id(:'new') AS session;
SELECT narvik_authenticate('token-carol') IS NULL AS old;
SELECT narvik_authenticate(:'new');
SELECT narvik_current_session_id() = narvik_session_id(:'new') AS session;
ROLLBACK;
-- The user follows the linked table: another key, gone.
CREATE TABLE regress_users (id text PRIMARY KEY);
INSERT INTO regress_users VALUES ('alice'), ('bob'), ('carol'), ('erin');
SELECT narvik_link_users('regress_users');
BEGIN;
SELECT narvik_authenticate('token-carol');
UPDATE regress_users SET id = 'alicia' WHERE id = 'alice';
:who
SAVEPOINT a;
UPDATE regress_users SET id = 'caroline' WHERE id = 'carol';
SELECT narvik_current_user_id(), narvik_current_session_id() = narvik_session_id('token-carol') AS session;
ROLLBACK TO a;
:who
DELETE FROM regress_users WHERE id = 'bob';
:who
DELETE FROM regress_users WHERE id = 'carol';
:who
ROLLBACK TO a;
TRUNCATE regress_users;
:who
ROLLBACK;
DROP TABLE regress_users;

-- It slides as narvik_validate_session() does.
SELECT narvik_update_session_expiry(narvik_session_id('token-alice'), statement_timestamp() + '15 days 1 hour');
SELECT narvik_authenticate('token-alice');
SELECT f.expires_at < statement_timestamp() + '16 days' AS unmoved FROM narvik_fetch_session(narvik_session_id('token-alice')) f;
SELECT narvik_update_session_expiry(narvik_session_id('token-alice'), statement_timestamp() + '14 days');
BEGIN READ ONLY;
SELECT narvik_authenticate('token-alice');
:who
COMMIT;
SELECT f.expires_at < statement_timestamp() + '15 days' AS unmoved FROM narvik_fetch_session(narvik_session_id('token-alice')) f;
SELECT narvik_authenticate('token-alice');
SELECT f.expires_at > statement_timestamp() + '29 days' AS moved FROM narvik_fetch_session(narvik_session_id('token-alice')) f;
BEGIN READ ONLY;
SELECT narvik_authenticate('token-expired') IS NULL AS expired;
:who
COMMIT;

-- What the catalog promises of them.
SELECT proname, provolatile, proparallel, proleakproof, prosecdef FROM pg_proc
WHERE proname IN ('narvik_authenticate', 'narvik_current_user_id', 'narvik_current_session_id') ORDER BY 1;

SELECT count(narvik_delete_sessions_for_user(u)) FROM unnest('{alice,bob,carol,erin}'::text[]) u;
