--
-- altered_table: after someone altered the table every function says so; what does
-- no harm is accepted; once mended all is well, in the same connection.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

SELECT narvik_session_id('saved') AS saved \gset
SELECT narvik_save_session(:'saved', 'alice', '2100-01-01 00:00+00', '{"a": 1}');

-- Calls every function that touches the table, each on its own; how many succeeded
-- and what the others said. Nothing stays.
CREATE FUNCTION pg_temp.call_all(OUT calls bigint, OUT state text, OUT message text, OUT detail text, OUT hint text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    done bigint := 0;
BEGIN
    CREATE TEMP TABLE said (s text, m text, d text, h text) ON COMMIT DROP;
    FOREACH statement IN ARRAY ARRAY[
        $q$SELECT narvik_create_session('bob')$q$,
        $q$SELECT narvik_validate_session('saved')$q$,
        $q$SELECT narvik_invalidate_session(narvik_session_id('saved'))$q$,
        $q$SELECT narvik_rotate_session('saved')$q$,
        $q$SELECT narvik_fetch_sessions_for_user('alice')$q$,
        $q$SELECT narvik_delete_sessions_for_user('alice')$q$,
        $q$SELECT narvik_delete_all_expired_sessions()$q$,
        $q$SELECT narvik_update_session_data(narvik_session_id('saved'), '{"a": 2}')$q$,
        $q$SELECT narvik_save_session(narvik_session_id('other'), 'alice', '2100-01-01 00:00+00')$q$,
        $q$SELECT narvik_fetch_session(narvik_session_id('saved'))$q$,
        $q$SELECT narvik_update_session_expiry(narvik_session_id('saved'), '2101-01-01 00:00+00')$q$,
        $q$SELECT narvik_delete_session(narvik_session_id('saved'))$q$]
    LOOP
        BEGIN
            EXECUTE statement;
            RAISE EXCEPTION USING ERRCODE = 'XX999';
        EXCEPTION
            WHEN SQLSTATE 'XX999' THEN
                done := done + 1;
            WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                    detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
                INSERT INTO said VALUES (state, message, detail, hint);
        END;
    END LOOP;
    IF done > 0 THEN
        calls := done;
        state := NULL; message := NULL; detail := NULL; hint := NULL;
        RETURN NEXT;
    END IF;
    RETURN QUERY SELECT count(*), s, m, d, h FROM said GROUP BY s, m, d, h ORDER BY s, m, d;
    DROP TABLE said;
END $$;
SELECT calls FROM pg_temp.call_all();

\x on
-- A column dropped, renamed, of another type; one that is read before and one that
-- is read after it; the constraint that finds ids; the table gone from the extension.
BEGIN;
ALTER TABLE narvik_sessions DROP COLUMN data;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER TABLE narvik_sessions RENAME COLUMN lifetime TO life;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER TABLE narvik_sessions ALTER COLUMN expires_at TYPE timestamp;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER TABLE narvik_sessions DROP CONSTRAINT narvik_sessions_id_excl;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER EXTENSION narvik DROP TABLE narvik_sessions;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
\x off
-- Undone: all of them work.
SELECT calls, message FROM pg_temp.call_all();
-- Altered and mended for good, each in a transaction of its own.
ALTER TABLE narvik_sessions RENAME COLUMN sliding TO slides;
SELECT calls, message FROM pg_temp.call_all();
ALTER TABLE narvik_sessions RENAME COLUMN slides TO sliding;
SELECT calls, message FROM pg_temp.call_all();
ALTER TABLE narvik_sessions DROP CONSTRAINT narvik_sessions_id_excl;
SELECT calls, message FROM pg_temp.call_all();
ALTER TABLE narvik_sessions ADD CONSTRAINT narvik_sessions_id_excl EXCLUDE USING hash (id WITH =);
SELECT calls, message FROM pg_temp.call_all();

-- The table of events likewise, while they are written; what has no event works.
SET narvik.events = on;
\x on
BEGIN;
ALTER TABLE narvik_events DROP COLUMN detail;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER TABLE narvik_events RENAME COLUMN reason TO why;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER TABLE narvik_events ALTER COLUMN at TYPE timestamp;
SELECT * FROM pg_temp.call_all();
ROLLBACK;
BEGIN;
ALTER TABLE narvik_events ALTER COLUMN user_id TYPE text COLLATE "default";
SELECT * FROM pg_temp.call_all();
ROLLBACK;
\x off
SELECT calls, message FROM pg_temp.call_all();
ALTER TABLE narvik_events RENAME COLUMN kind TO what;
SELECT calls, message FROM pg_temp.call_all();
SELECT narvik_fetch_events_for_user('alice');
RESET narvik.events;
SELECT calls, message FROM pg_temp.call_all();
SET narvik.events = on;
ALTER TABLE narvik_events RENAME COLUMN what TO kind;
ALTER TABLE narvik_events ADD COLUMN note text DEFAULT 'none', ADD COLUMN day date GENERATED ALWAYS AS ((at AT TIME ZONE 'UTC')::date) STORED;
SELECT calls, message FROM pg_temp.call_all();
SELECT id FROM narvik_create_session('carol') \gset
SELECT narvik_invalidate_session(:'id');
SELECT kind, reason, user_id, note, day = (at AT TIME ZONE 'UTC')::date AS generated FROM narvik_events ORDER BY seq;
SELECT kind, reason FROM narvik_fetch_events_for_user('carol');
ALTER TABLE narvik_events DROP COLUMN note, DROP COLUMN day;
DELETE FROM narvik_events;
RESET narvik.events;

-- What does no harm: more columns, indexes, triggers, policies, a full VACUUM.
ALTER TABLE narvik_sessions ADD COLUMN note text DEFAULT 'none', ADD COLUMN number int GENERATED ALWAYS AS (purge_hour / 24) STORED;
CREATE INDEX regress_narvik_created_at ON narvik_sessions (created_at);
CREATE FUNCTION pg_temp.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$;
CREATE TRIGGER regress_narvik_touch BEFORE INSERT OR UPDATE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION pg_temp.touch();
ALTER TABLE narvik_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE narvik_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY regress_narvik_nothing ON narvik_sessions USING (false);
VACUUM FULL narvik_sessions;
REINDEX TABLE narvik_sessions;
SELECT calls FROM pg_temp.call_all();
SELECT token, id FROM narvik_create_session('bob') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 hour');
SELECT v.user_id, v.data, v.extended FROM narvik_validate_session(:'token') v;
SELECT user_id, note, number = purge_hour / 24 AS generated FROM narvik_sessions WHERE user_id = 'bob';
TRUNCATE narvik_sessions;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT v.user_id FROM narvik_create_session('bob') c, LATERAL narvik_validate_session(c.token) v;

SET client_min_messages = warning;
DROP EXTENSION narvik CASCADE;
