--
-- commits: in a procedure or DO block that commits, time goes on with each of its
-- transactions: now is the start of the statement or of the transaction, whichever is
-- later.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
CREATE TABLE regress_users (id text PRIMARY KEY);
INSERT INTO regress_users VALUES ('alice'), ('bob');
SELECT narvik_link_users('regress_users');

-- Every function that asks what time it is.
CREATE PROCEDURE pg_temp.work() LANGUAGE plpgsql AS $$
DECLARE
    present timestamptz := greatest(now(), statement_timestamp());
    created narvik_created_session := narvik_create_session('bob', '{}', '1 hour');
BEGIN
    RAISE NOTICE 'created now: %, for an hour: %', created.created_at = present,
        created.expires_at = present + interval '1 hour';
    PERFORM narvik_save_session(narvik_session_id('saved'), 'bob', now() + interval '1 hour');
    RAISE NOTICE 'saved now: %', (SELECT created_at = present FROM narvik_fetch_session(narvik_session_id('saved')));
    RAISE NOTICE 'extended now: %', (SELECT extended AND expires_at = present + interval '30 days'
                                     FROM narvik_validate_session('due'));
    RAISE NOTICE 'listed: %', (SELECT string_agg(data ->> 'name', ' ' ORDER BY data ->> 'name')
                               FROM narvik_fetch_sessions_for_user('alice'));
    RAISE NOTICE 'validated: %, %, %', (SELECT count(*) FROM narvik_validate_session('ends-1')),
        narvik_authenticate('ends-2'), (SELECT count(*) FROM narvik_validate_user('ends-3', NULL::regress_users));
    RAISE NOTICE 'rotated: %', (SELECT count(*) FROM narvik_rotate_session('ends-4'));
    RAISE NOTICE 'data: %', narvik_update_session_data(narvik_session_id('ends-5'), '{"a": 1}');
    RAISE NOTICE 'expired: %', narvik_delete_all_expired_sessions();
END $$;
-- Sessions that end soon, one that lives on, and one that is soon due.
CREATE PROCEDURE pg_temp.sleep(ending text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id('ends-' || n), 'alice', clock_timestamp() + interval '1.5 s', jsonb_build_object('name', n))
    FROM generate_series(1, 6) n;
    PERFORM narvik_save_session(narvik_session_id('lives'), 'alice', now() + interval '1 day', '{"name": "lives"}');
    PERFORM narvik_save_session(narvik_session_id('due'), 'alice', clock_timestamp() + interval '15 days 1.5 s', '{"name": "due"}');
    COMMIT;
    PERFORM pg_sleep(1.6);
    CASE ending
        WHEN 'COMMIT' THEN COMMIT;
        WHEN 'COMMIT AND CHAIN' THEN COMMIT AND CHAIN;
        WHEN 'ROLLBACK' THEN ROLLBACK;
        ELSE NULL;
    END CASE;
    CALL pg_temp.work();
    ROLLBACK;
    PERFORM narvik_delete_sessions_for_user('alice');
END $$;
-- Within one transaction they all live; in the next one they have ended.
CALL pg_temp.sleep('');
CALL pg_temp.sleep('COMMIT');
CALL pg_temp.sleep('COMMIT AND CHAIN');
CALL pg_temp.sleep('ROLLBACK');
DO $$ BEGIN CALL pg_temp.sleep('COMMIT'); END $$;

-- A session made after a commit has its whole life before it.
DO $$
DECLARE
    first narvik_created_session;
    second narvik_created_session;
BEGIN
    first := narvik_create_session('alice', '{}', '0.5 s', false);
    COMMIT;
    PERFORM pg_sleep(0.6);
    COMMIT;
    second := narvik_create_session('alice', '{}', '0.5 s', false);
    RAISE NOTICE 'first: %, second: %', (SELECT count(*) FROM narvik_validate_session(first.token)),
        (SELECT count(*) FROM narvik_validate_session(second.token));
    RAISE NOTICE 'later: %, as long: %', second.created_at >= first.created_at + interval '0.6 s',
        second.expires_at - second.created_at = first.expires_at - first.created_at;
END $$;
SELECT narvik_delete_sessions_for_user('alice');

-- What has expired takes no place within the limit, and ages go on.
SET narvik.max_sessions_per_user = 2;
DO $$
BEGIN
    PERFORM narvik_create_session('alice', '{"name": "old"}');
    PERFORM narvik_create_session('alice', '{"name": "short"}', '0.3 s');
    COMMIT;
    PERFORM pg_sleep(0.4);
    COMMIT;
    PERFORM narvik_create_session('alice', '{"name": "new"}');
    RAISE NOTICE 'within the limit: %', (SELECT string_agg(data ->> 'name', ' ' ORDER BY created_at) FROM narvik_fetch_sessions_for_user('alice'));
END $$;
RESET narvik.max_sessions_per_user;
SELECT narvik_delete_sessions_for_user('alice');
SET narvik.session_max_age = '1s';
DO $$
DECLARE
    one narvik_created_session;
BEGIN
    one := narvik_create_session('alice', '{}', '1 hour');
    UPDATE narvik_sessions SET created_at = clock_timestamp() - interval '0.5 s', expires_at = now() + interval '1 hour';
    RAISE NOTICE 'young: %', (SELECT count(*) FROM narvik_validate_session(one.token));
    COMMIT;
    PERFORM pg_sleep(0.6);
    COMMIT;
    RAISE NOTICE 'listed: %', (SELECT count(*) FROM narvik_fetch_sessions_for_user('alice'));
    RAISE NOTICE 'expired: %', narvik_delete_all_expired_sessions();
    ROLLBACK;
    RAISE NOTICE 'too old: %', (SELECT count(*) FROM narvik_validate_session(one.token));
END $$;
RESET narvik.session_max_age;

-- In a transaction block it is the statement.
BEGIN;
SELECT narvik_save_session(narvik_session_id('ends'), 'alice', clock_timestamp() + interval '0.2 s');
SELECT pg_sleep(0.3);
SELECT count(*) FROM narvik_validate_session('ends');
SELECT created_at = statement_timestamp() AS now, created_at > now() AS later FROM narvik_create_session('alice');
COMMIT;
DROP TABLE regress_users;
DELETE FROM narvik_sessions;
