--
-- interface: the functions as users see them: names, arguments, results, and
-- what the planner is told about them. What is listed here is the contract.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT p.proname AS name, regexp_replace(pg_get_function_arguments(p.oid), '(, )?\mOUT [^,]*', '', 'g') AS arguments, pg_get_function_result(p.oid) AS result
FROM pg_proc p
     JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
     JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'narvik'
ORDER BY p.proname COLLATE "C";

-- What may write is volatile and parallel unsafe; what touches sessions is closed to PUBLIC.
SELECT p.proname AS name, p.provolatile AS volatility, p.proparallel AS parallel, p.proisstrict AS strict,
       p.proleakproof AS leakproof, has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc p
     JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
     JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'narvik'
ORDER BY p.proname COLLATE "C";

-- The table and its sequence are closed to PUBLIC.
SELECT c.relname AS name, c.relkind AS kind,
       CASE c.relkind WHEN 'S' THEN has_sequence_privilege('public', c.oid, 'SELECT, USAGE, UPDATE')
            ELSE has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                 OR has_any_column_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END AS public
FROM pg_class c
     JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
     JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'narvik' AND c.relkind <> 'c'
ORDER BY c.relname COLLATE "C";

-- pg_dump carries both.
SELECT c::regclass AS dumped, w AS condition
FROM pg_extension, unnest(extconfig, extcondition) AS t (c, w)
WHERE extname = 'narvik'
ORDER BY c::regclass::text COLLATE "C";
