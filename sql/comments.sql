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
                       WHERE t.oid = d.objid AND (t.typcategory = 'A' OR c.relkind = 'r')))
ORDER BY 1;

-- Columns of its tables without one: none.
SELECT c.relname || '.' || a.attname AS without_comment
FROM pg_depend d
     JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'r'
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik')
  AND col_description(c.oid, a.attnum) IS NULL
ORDER BY 1;

-- There are objects and columns to be commented.
SELECT count(*) > 20 AS objects FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik') AND deptype = 'e';
-- The extension itself says what it is.
SELECT obj_description(oid, 'pg_extension') IS NOT NULL AS commented FROM pg_extension WHERE extname = 'narvik';
