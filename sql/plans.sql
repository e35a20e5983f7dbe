--
-- plans: the statement of every request is planned once for all, after five calls,
-- and its plan neither sorts nor spools.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

PREPARE validation(text) AS SELECT * FROM narvik_validate_session($1);
PREPARE request(text) AS SELECT narvik_authenticate($1);
\o /dev/null
SELECT format('EXECUTE %s(%L)', name, i) FROM generate_series(1, 7) i, (VALUES ('validation'), ('request')) p (name) \gexec
\o
SELECT name, custom_plans, generic_plans FROM pg_prepared_statements ORDER BY name;
EXPLAIN (COSTS OFF) EXECUTE validation('token');
EXPLAIN (COSTS OFF) EXECUTE request('token');
DEALLOCATE ALL;
