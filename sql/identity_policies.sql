--
-- identity_policies: row-level security by narvik_current_user_id(), called in
-- the policy itself and as an InitPlan, in every kind of query.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
SELECT count(narvik_save_session(narvik_session_id('token-' || u), u, '2100-01-01'))
FROM unnest('{alice,bob}'::text[]) u;

CREATE ROLE regress_narvik_app;
GRANT EXECUTE ON FUNCTION narvik_authenticate(text) TO regress_narvik_app;
CREATE TABLE regress_called (user_id text, n int);
CREATE TABLE regress_initplan (user_id text, n int);
CREATE INDEX ON regress_called (user_id);
INSERT INTO regress_called SELECT u, i FROM unnest('{alice,bob,carol}'::text[]) WITH ORDINALITY AS t (u, o), generate_series(1, 10 * o) i;
INSERT INTO regress_initplan TABLE regress_called;
ALTER TABLE regress_called ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE regress_initplan ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_called USING (user_id = narvik_current_user_id());
CREATE POLICY own ON regress_initplan USING (user_id = (SELECT narvik_current_user_id()));
GRANT SELECT, INSERT, UPDATE, DELETE ON regress_called, regress_initplan TO regress_narvik_app;
CREATE VIEW regress_barrier WITH (security_barrier) AS
    SELECT user_id, n FROM regress_initplan WHERE user_id = narvik_current_user_id();
ALTER VIEW regress_barrier OWNER TO regress_narvik_app;
\set rows 'SELECT string_agg(what || \' \' || coalesce(user_id, \'-\') || \' \' || count, \', \' ORDER BY what, user_id) AS rows FROM (SELECT \'called\' AS what, user_id, count(*) FROM regress_called GROUP BY user_id UNION ALL SELECT \'initplan\', user_id, count(*) FROM regress_initplan GROUP BY user_id UNION ALL SELECT \'view\', user_id, count(*) FROM regress_barrier GROUP BY user_id) r;'

SET ROLE regress_narvik_app;
-- Nobody sees nothing; two identities in one transaction.
:rows
BEGIN;
SELECT narvik_authenticate('token-alice');
:rows
SELECT narvik_authenticate('token-bob');
:rows
SAVEPOINT s;
SELECT narvik_authenticate('token-alice');
:rows
ROLLBACK TO s;
:rows
SELECT narvik_authenticate('token-x') IS NULL AS invalid;
:rows
COMMIT;
:rows

-- Writing: the same rows, and no row for somebody else.
BEGIN;
SELECT narvik_authenticate('token-alice');
WITH u AS (UPDATE regress_called SET n = -n RETURNING user_id) SELECT user_id, count(*) FROM u GROUP BY 1;
WITH d AS (DELETE FROM regress_initplan RETURNING user_id) SELECT user_id, count(*) FROM d GROUP BY 1;
INSERT INTO regress_called VALUES (narvik_current_user_id(), 0);
SAVEPOINT s;
INSERT INTO regress_called VALUES ('bob', 0);
ROLLBACK TO s;
UPDATE regress_called SET user_id = 'bob';
ROLLBACK;
INSERT INTO regress_initplan VALUES (NULL, 0);

-- Scans through the index, and without.
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT FROM regress_called;
BEGIN;
SELECT narvik_authenticate('token-alice');
:rows
SELECT narvik_authenticate('token-bob');
:rows
COMMIT;
RESET enable_seqscan;

-- Prepared statements, in their generic plan, and PL/pgSQL's: nothing is stale.
CREATE FUNCTION pg_temp.count_rows() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT string_agg(DISTINCT user_id, ',') || count(*) FROM regress_called) || '|' ||
           (SELECT string_agg(DISTINCT user_id, ',') || count(*) FROM regress_initplan);
END $$;
CREATE FUNCTION pg_temp.count_inlined() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT user_id || count(*) FROM regress_called GROUP BY user_id $$;
SET plan_cache_mode = force_generic_plan;
PREPARE called AS SELECT user_id, count(*) FROM regress_called GROUP BY 1;
PREPARE initplan AS SELECT user_id, count(*) FROM regress_initplan GROUP BY 1;
CREATE FUNCTION pg_temp.all_ways() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE way text; r record;
BEGIN
    FOREACH way IN ARRAY ARRAY['EXECUTE called', 'EXECUTE initplan'] LOOP
        FOR r IN EXECUTE way LOOP RETURN NEXT way || ': ' || r.user_id || ' ' || r.count; END LOOP;
    END LOOP;
    RETURN NEXT 'plpgsql: ' || coalesce(pg_temp.count_rows(), '-');
    RETURN NEXT 'sql: ' || coalesce((SELECT string_agg(f, ',') FROM pg_temp.count_inlined() f), '-');
END $$;
SELECT pg_temp.all_ways();
BEGIN;
SELECT narvik_authenticate('token-alice');
SELECT pg_temp.all_ways();
SELECT narvik_authenticate('token-bob');
SELECT pg_temp.all_ways();
COMMIT;
SELECT pg_temp.all_ways();
BEGIN;
SELECT narvik_authenticate('token-alice');
SELECT pg_temp.all_ways();
ROLLBACK;
SELECT pg_temp.all_ways();
-- The same with custom plans, many executions each.
SET plan_cache_mode = auto;
DO $$
DECLARE
    who text;
    wrong int := 0;
    seen int := 0;
    r record;
BEGIN
    FOR i IN 1 .. 40 LOOP
        who := narvik_authenticate('token-' || (ARRAY['alice', 'bob', 'nobody'])[1 + i % 3]);
        FOR r IN SELECT user_id FROM regress_called UNION ALL SELECT user_id FROM regress_initplan LOOP
            seen := seen + 1;
            IF r.user_id IS DISTINCT FROM who THEN wrong := wrong + 1; END IF;
        END LOOP;
    END LOOP;
    RAISE NOTICE 'wrong: % of %', wrong, seen;
END $$;

-- A cursor never shows the rows of whoever comes after its owner.
BEGIN;
SELECT narvik_authenticate('token-alice');
DECLARE c CURSOR FOR SELECT user_id FROM regress_initplan;
FETCH 1 FROM c;
SELECT narvik_authenticate('token-bob');
FETCH 2 FROM c;
DECLARE d CURSOR FOR SELECT user_id FROM regress_called;
FETCH 1 FROM d;
SELECT narvik_authenticate(NULL);
DECLARE e CURSOR FOR SELECT user_id FROM regress_called;
FETCH 1 FROM e;
COMMIT;

-- A security barrier holds back a function that would tell.
CREATE FUNCTION pg_temp.tell(text, int) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN RAISE NOTICE 'told: % %', $1, $2; RETURN true; END $$;
BEGIN;
SELECT narvik_authenticate('token-alice');
SELECT count(*) FROM regress_barrier WHERE n <= 1 AND pg_temp.tell(user_id, n);
SELECT count(*) FROM regress_called WHERE n <= 1 AND pg_temp.tell(user_id, n);
COMMIT;
SELECT count(*) FROM regress_called WHERE pg_temp.tell(user_id, n);

-- FORCE: the owner too sees only what is his by identity.
RESET ROLE;
ALTER TABLE regress_called OWNER TO regress_narvik_app;
SET ROLE regress_narvik_app;
SELECT count(*) FROM regress_called;
BEGIN;
SELECT narvik_authenticate('token-bob');
SELECT user_id, count(*) FROM regress_called GROUP BY 1;
COMMIT;

-- Parallel query.  As an InitPlan the function leaves the scan to workers; called
-- in the policy it keeps the scan in the leader.  Either way the rows are right.
RESET ROLE;
CREATE TABLE regress_big (user_id text, n int);
INSERT INTO regress_big SELECT (ARRAY['alice', 'bob', 'carol'])[1 + i % 3], i FROM generate_series(1, 60000) i;
ANALYZE regress_big;
ALTER TABLE regress_big ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_big USING (user_id = (SELECT narvik_current_user_id()));
GRANT SELECT ON regress_big TO regress_narvik_app;
CREATE FUNCTION pg_temp.explain(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF, SUMMARY OFF, TIMING OFF, ANALYZE) ' || query
    LOOP
        IF line ~ 'Gather|Parallel|Workers|InitPlan' AND line !~ 'Filter' THEN
            -- PostgreSQL 19 has other names for these plans.
            RETURN NEXT replace(regexp_replace(line, ' \((actual|returns).*', ''), 'InitPlan expr_', 'InitPlan ');
        END IF;
    END LOOP;
END $$;
SET ROLE regress_narvik_app;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
SELECT pg_temp.explain('SELECT count(*) FROM regress_big');
BEGIN;
SELECT narvik_authenticate('token-alice');
SELECT pg_temp.explain('SELECT user_id, count(*) FROM regress_big GROUP BY 1');
SELECT user_id, count(*), sum(n) FROM regress_big GROUP BY 1;
SELECT narvik_authenticate('token-bob');
SELECT user_id, count(*), sum(n) FROM regress_big GROUP BY 1;
SELECT narvik_authenticate(NULL);
SELECT user_id, count(*) FROM regress_big GROUP BY 1;
COMMIT;
RESET ROLE;
ALTER POLICY own ON regress_big USING (user_id = narvik_current_user_id());
SET ROLE regress_narvik_app;
BEGIN;
SELECT narvik_authenticate('token-alice');
SELECT pg_temp.explain('SELECT user_id, count(*) FROM regress_big GROUP BY 1');
SELECT user_id, count(*), sum(n) FROM regress_big GROUP BY 1;
SELECT narvik_authenticate('token-bob');
SELECT user_id, count(*), sum(n) FROM regress_big GROUP BY 1;
-- Forced into a parallel plan, the functions still answer from the leader.
SELECT count(set_config(name, 'on', true)) FROM pg_settings
WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT narvik_current_user_id();
SELECT user_id, narvik_current_user_id() AS who, count(*) FROM regress_big GROUP BY 1;
COMMIT;
RESET ROLE;

-- Authenticated and read in one statement: LATERAL and OFFSET 0 give the order, however
-- it is planned and whoever it was before.
GRANT EXECUTE ON FUNCTION narvik_authenticate_cookie(text) TO regress_narvik_app;
SET ROLE regress_narvik_app;
DO $$
DECLARE
    setting text;
    who text;
    seen text;
BEGIN
    FOREACH setting IN ARRAY '{nothing,enable_nestloop,enable_seqscan,enable_indexscan,enable_bitmapscan,enable_hashjoin,enable_mergejoin,enable_memoize,enable_material}'::text[] LOOP
        IF setting <> 'nothing' THEN
            PERFORM set_config(setting, 'off', true);
        END IF;
        FOREACH who IN ARRAY '{alice,x,bob}'::text[] LOOP
            EXECUTE format($q$SELECT string_agg(format('%%s: %%s %%s', user_id, owner, count), ', ' ORDER BY owner) FROM (
                SELECT r.user_id, i.user_id AS owner, count(*)
                FROM narvik_authenticate_cookie('narvik_session=token-%s') AS r
                LEFT JOIN LATERAL (SELECT user_id FROM regress_initplan WHERE r.id IS NOT NULL OFFSET 0) AS i ON true
                GROUP BY 1, 2) AS page$q$, who) INTO seen;
            RAISE NOTICE 'without %: %', setting, seen;
        END LOOP;
    END LOOP;
END $$;
RESET ROLE;

RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
RESET parallel_leader_participation;
DEALLOCATE ALL;
DROP VIEW regress_barrier;
DROP TABLE regress_called, regress_initplan, regress_big;
DROP OWNED BY regress_narvik_app;
DROP ROLE regress_narvik_app;
SELECT count(narvik_delete_sessions_for_user(u)) FROM unnest('{alice,bob}'::text[]) u;
