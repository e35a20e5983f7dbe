--
-- collations: text that narvik looks up is compared byte by byte, in its tables and in
-- their indexes, whatever collation the database has; so no upgrade of a library that
-- orders text loses a session. With another collation the table is refused.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- Every column of every table of the extension that has a collation, and its indexes.
WITH tables AS (
    SELECT c.oid FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
    WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik') AND d.deptype = 'e' AND c.relkind IN ('r', 'p')),
relations AS (
    SELECT oid FROM tables UNION ALL SELECT indexrelid FROM pg_index, tables WHERE indrelid = tables.oid)
SELECT a.attrelid::regclass AS relation, a.attname AS "column", l.collname AS collation
FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid JOIN pg_collation l ON l.oid = a.attcollation
ORDER BY a.attrelid::regclass::text COLLATE "C", a.attnum;

-- How many of narvik's functions are refused, and how.
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', '2100-01-01');
CREATE FUNCTION pg_temp.call_all(OUT state text, OUT calls bigint) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    said text[] := '{}';
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        $q$SELECT narvik_create_session('bob')$q$,
        $q$SELECT narvik_validate_session('saved')$q$,
        $q$SELECT narvik_authenticate('saved')$q$,
        $q$SELECT narvik_invalidate_session(narvik_session_id('saved'))$q$,
        $q$SELECT narvik_rotate_session('saved')$q$,
        $q$SELECT narvik_fetch_sessions_for_user('alice')$q$,
        $q$SELECT narvik_delete_sessions_for_user('alice')$q$,
        $q$SELECT narvik_delete_all_expired_sessions()$q$,
        $q$SELECT narvik_update_session_data(narvik_session_id('saved'), '{"a": 2}')$q$,
        $q$SELECT narvik_save_session(narvik_session_id('other'), 'alice', '2100-01-01')$q$,
        $q$SELECT narvik_fetch_session(narvik_session_id('saved'))$q$,
        $q$SELECT narvik_update_session_expiry(narvik_session_id('saved'), '2101-01-01')$q$,
        $q$SELECT narvik_delete_session(narvik_session_id('saved'))$q$]
    LOOP
        BEGIN
            EXECUTE statement;
            RAISE SQLSTATE 'XX999';
        EXCEPTION
            WHEN SQLSTATE 'XX999' THEN said := said || 'done'::text;
            WHEN OTHERS THEN said := said || SQLSTATE;
        END;
    END LOOP;
    RETURN QUERY SELECT s, count(*) FROM unnest(said) s GROUP BY s;
END $$;
SELECT * FROM pg_temp.call_all();
CREATE COLLATION regress_other (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
ALTER TABLE narvik_sessions ALTER user_id TYPE text;
SELECT * FROM pg_temp.call_all();
ALTER TABLE narvik_sessions ALTER user_id TYPE text COLLATE "POSIX";
SELECT * FROM pg_temp.call_all();
ALTER TABLE narvik_sessions ALTER user_id TYPE text COLLATE "en-x-icu";
SELECT * FROM pg_temp.call_all();
ALTER TABLE narvik_sessions ALTER user_id TYPE text COLLATE regress_other;
SELECT * FROM pg_temp.call_all();
-- Mended, in the same connection.
ALTER TABLE narvik_sessions ALTER user_id TYPE text COLLATE "C";
SELECT * FROM pg_temp.call_all();
SELECT narvik_delete_sessions_for_user('ALICE'), narvik_delete_sessions_for_user('alice');
DROP COLLATION regress_other;
