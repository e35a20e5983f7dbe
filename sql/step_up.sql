-- Step-up and claims: what policies can ask of the identity beside who it is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
DELETE FROM narvik_sessions;

SELECT token, id FROM narvik_create_session('alice', '{"role": "reader", "tenant": 7}') \gset
UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour';

-- nobody, a guest
SELECT narvik_current_data() IS NULL AS no_data, narvik_is_fresh('1 day');
SELECT token AS guest FROM narvik_create_guest_session('{"cart": [1]}') \gset
BEGIN;
SELECT narvik_authenticate(:'guest') IS NULL AS guest, narvik_current_data(), narvik_is_fresh('1 day');
COMMIT;
SELECT count(*) FROM narvik_reauthenticate_session(:'guest');

-- how long ago
BEGIN;
SELECT narvik_authenticate(:'token');
SELECT within, narvik_is_fresh(within) FROM unnest('{0, 30 minutes, 59 minutes, 61 minutes, 1 day, 1000000 years, NULL}'::interval[]) AS within;
SAVEPOINT s;
SELECT narvik_is_fresh('-1 second');
ROLLBACK TO s;
SELECT narvik_is_fresh('1 day -25 hours');
ROLLBACK;
-- an interval that is positive and yet ends before it began
UPDATE narvik_sessions SET authenticated_at = '2026-02-10';
BEGIN;
SELECT narvik_authenticate(:'token');
SELECT within, narvik_is_fresh(within) FROM unnest('{1 month -29 days, -1 month 31 days, 1000000 years}'::interval[]) AS within;
ROLLBACK;
UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour';

-- the password was asked for again
BEGIN;
SELECT narvik_authenticate(:'token');
SELECT token AS token2, id AS id2 FROM narvik_reauthenticate_session(:'token', '{"role": "admin", "tenant": null}') \gset
SELECT narvik_current_session_id() = :'id2' AS follows, narvik_current_user_id(), narvik_current_data(), narvik_is_fresh('1 minute');
COMMIT;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT data, authenticated_at > now() - interval '1 minute' AS now, created_at < authenticated_at AS later FROM narvik_validate_session(:'token2');
-- sliding and rotation do not count as that
UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour', expires_at = now() + interval '1 day';
SELECT extended, authenticated_at < now() - interval '59 minutes' AS kept FROM narvik_validate_session(:'token2');
SELECT token AS token3 , authenticated_at < now() - interval '59 minutes' AS kept FROM narvik_rotate_session(:'token2') \gset
\echo :kept
-- bad input
SELECT count(*) FROM narvik_reauthenticate_session(NULL) AS a, narvik_reauthenticate_session('unknown') AS b;
SELECT count(*) FROM narvik_reauthenticate_session('unknown', NULL);
SELECT count(*) FROM narvik_reauthenticate_session('unknown', '[]');

-- claims follow what the transaction does to its session, and savepoints
BEGIN;
SELECT narvik_authenticate(:'token3'), narvik_current_session_id() AS id \gset
SELECT narvik_current_data();
SAVEPOINT a;
SELECT narvik_update_session_data(:'id', '{"n": 1}');
SELECT narvik_current_data();
SAVEPOINT b;
SELECT narvik_update_session_data(:'id', '{"n": 2, "role": null}');
RELEASE b;
SELECT narvik_current_data();
ROLLBACK TO a;
SELECT narvik_current_data();
SELECT narvik_put_session(:'id', 'bob', now() + interval '1 day', '{"put": true}');
SELECT narvik_current_user_id(), narvik_current_data(), narvik_is_fresh('1 minute');
SELECT narvik_change_session_id(:'id', narvik_session_id('chosen'));
SELECT narvik_current_data();
SELECT narvik_invalidate_session(narvik_session_id('chosen'));
SELECT narvik_current_data() IS NULL AS no_data, narvik_is_fresh('1 day');
ROLLBACK TO a;
SELECT narvik_current_data();
SELECT narvik_authenticate('nonsense') IS NULL AS nobody, narvik_current_data() IS NULL AS no_data;
COMMIT;
-- promotion: the guest's data under what is given
BEGIN;
SELECT narvik_authenticate(:'guest') IS NULL AS guest;
SELECT user_id FROM narvik_promote_session(:'guest', 'carol', '{"role": "new"}');
SELECT narvik_current_user_id(), narvik_current_data(), narvik_is_fresh('1 minute');
COMMIT;

-- what others change meanwhile does not count; large data is as it was, too
SELECT token, id FROM narvik_create_session('dora',
	jsonb_build_object('big', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) AS i))) \gset
BEGIN;
SELECT narvik_authenticate(:'token');
SAVEPOINT s;
UPDATE narvik_sessions SET data = '{"big": "small"}' WHERE id = decode(:'id', 'hex');
SELECT length(narvik_current_data() ->> 'big');
ROLLBACK TO s;
SELECT length(narvik_current_data() ->> 'big');
COMMIT;
BEGIN;
SELECT narvik_authenticate(:'token');
ROLLBACK;
DO $$ BEGIN PERFORM narvik_current_data(); END $$;

-- a policy by claims and freshness; functions are asked once for a statement if they stand in a subselect
CREATE TABLE payments (tenant integer, amount integer);
INSERT INTO payments SELECT i % 10, i FROM generate_series(1, 100) AS i;
ANALYZE payments;
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON payments USING (tenant = (SELECT (narvik_current_data() ->> 'tenant')::integer));
CREATE POLICY fresh ON payments AS RESTRICTIVE USING ((SELECT narvik_is_fresh('10 minutes')));
CREATE ROLE regress_narvik_app;
GRANT SELECT ON payments TO regress_narvik_app;
SELECT narvik_grant('regress_narvik_app');
SELECT token FROM narvik_create_session('erin', '{"tenant": 7}') \gset
CREATE FUNCTION pg_temp.plan() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXPLAIN (COSTS OFF) SELECT count(*) FROM payments;
END $$;
SET ROLE regress_narvik_app;
BEGIN;
SELECT count(*) FROM payments;
SELECT narvik_authenticate(:'token');
SELECT count(*), min(tenant), max(tenant) FROM payments;
SELECT count(*) FROM pg_temp.plan() AS line WHERE line ~ '^ *InitPlan';
COMMIT;
RESET ROLE;
UPDATE narvik_sessions SET authenticated_at = now() - interval '11 minutes' WHERE user_id = 'erin';
SET ROLE regress_narvik_app;
BEGIN;
SELECT narvik_authenticate(:'token');
SELECT count(*) FROM payments;
SELECT token FROM narvik_reauthenticate_session(:'token') \gset
SELECT count(*) FROM payments;
COMMIT;
-- a parallel plan
RESET ROLE;
ALTER TABLE payments SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET ROLE regress_narvik_app;
BEGIN;
SELECT narvik_authenticate(:'token');
SELECT count(*) FROM pg_temp.plan() AS line WHERE line LIKE '%Parallel Seq Scan%';
SELECT count(*) FROM payments;
COMMIT;
RESET ROLE;
DROP TABLE payments;
SELECT narvik_revoke('regress_narvik_app');
DROP OWNED BY regress_narvik_app;
DROP ROLE regress_narvik_app;
DELETE FROM narvik_sessions;
