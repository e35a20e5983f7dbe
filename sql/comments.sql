--
-- comments: every object of the extension, and every column, says what it is for.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- Objects without a comment: none. (Array types and row types are their owner's.)
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik')
  AND d.deptype = 'e'
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
  AND NOT (d.classid = 'pg_type'::regclass
           AND EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                       WHERE t.oid = d.objid AND (t.typcategory = 'A' OR c.relkind IN ('r', 'v'))))
ORDER BY 1;

-- Columns of its table, its view and its types without one, indexes, constraints and
-- sequences: none.
CREATE TEMP VIEW relations AS
SELECT coalesce(t.typrelid, d.objid) AS oid
FROM pg_depend d LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik')
  AND d.deptype = 'e'
  AND (d.classid = 'pg_class'::regclass OR t.typtype = 'c');
SELECT c.relname || '.' || a.attname AS without_comment
FROM relations r
     JOIN pg_class c ON c.oid = r.oid AND c.relkind IN ('r', 'v', 'c')
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE col_description(c.oid, a.attnum) IS NULL
UNION ALL
SELECT i.indexrelid::regclass::text
FROM relations r JOIN pg_index i ON i.indrelid = r.oid
WHERE obj_description(i.indexrelid, 'pg_class') IS NULL
UNION ALL
SELECT c.conname
FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
WHERE c.contype <> 'n' AND obj_description(c.oid, 'pg_constraint') IS NULL
UNION ALL
SELECT c.relname
FROM relations r JOIN pg_class c ON c.oid = r.oid
WHERE c.relkind = 'S' AND obj_description(c.oid, 'pg_class') IS NULL
ORDER BY 1;
SELECT c.relkind, count(*) > 0 AS some
FROM relations r JOIN pg_class c ON c.oid = r.oid GROUP BY 1 ORDER BY 1;
DROP VIEW relations;

-- There are objects and columns to be commented.
SELECT count(*) > 20 AS objects FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik') AND deptype = 'e';
-- The extension itself says what it is.
SELECT obj_description(oid, 'pg_extension') IS NOT NULL AS commented FROM pg_extension WHERE extname = 'narvik';
