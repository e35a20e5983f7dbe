--
-- stats: the view narvik_stats has one row where narvik is preloaded, and none,
-- with a notice, where it is not.  Two expected results, one for each.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT current_setting('shared_preload_libraries') ~ 'narvik' AS preloaded;

-- Its columns.
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_attribute a
WHERE a.attrelid = 'narvik_stats'::regclass AND a.attnum > 0
ORDER BY a.attnum;

-- A row or a notice; either way everything that counts works.
SELECT narvik_reset_stats();
SELECT v.user_id, v.extended
FROM narvik_create_session('counted') c, LATERAL narvik_validate_session(c.token) v;
SELECT count(*) FROM narvik_validate_session('unknown');
-- A request without a cookie is not rejected.
SELECT count(*) FROM narvik_validate_session(NULL);
SELECT count(*) FROM narvik_validate_session('');
SELECT narvik_delete_sessions_for_user('counted');
SELECT created, validated, rejected, expired, extended, invalidated, rotated, now() >= stats_reset AS has_been_reset
FROM narvik_stats;
SELECT narvik_reset_stats();
SELECT created, validated, rejected, invalidated FROM narvik_stats;

-- Nobody reads it but the owner and those who may read all statistics; nobody
-- resets it but the owner.
CREATE ROLE regress_narvik_stranger;
CREATE ROLE regress_narvik_monitor IN ROLE pg_read_all_stats;
SELECT r.rolname,
       has_table_privilege(r.oid, 'narvik_stats', 'SELECT') AS view,
       has_function_privilege(r.oid, 'narvik_stats()', 'EXECUTE') AS function,
       has_function_privilege(r.oid, 'narvik_reset_stats()', 'EXECUTE') AS reset
FROM pg_roles r WHERE r.rolname LIKE 'regress\_narvik\_%' ORDER BY r.rolname COLLATE "C";
SET ROLE regress_narvik_stranger;
SELECT * FROM narvik_stats;
SELECT * FROM narvik_stats();
SELECT narvik_reset_stats();
SET ROLE regress_narvik_monitor;
SELECT count(*) FROM narvik_stats;
SELECT narvik_reset_stats();
RESET ROLE;
DROP ROLE regress_narvik_stranger, regress_narvik_monitor;
