-- Sessions whose ids are the hex SHA-256 of their tokens become narvik's as they
-- are; nobody is logged out.  The JavaScript library Narvik makes such ids, and
-- so does the code that Lucia's pages showed after Lucia 3.
--
--   psql -v table=user_session -f sha-256-ids.sql
--
-- Columns besides these three become the session's data.

\set ON_ERROR_STOP on
BEGIN;
-- The limit would refuse sessions, or end some that were just moved.
SET LOCAL narvik.max_sessions_per_user = 0;
LOCK TABLE :"table" IN EXCLUSIVE MODE;

-- What became of a row: one that narvik cannot have must not keep the others back.
CREATE FUNCTION pg_temp.move(s :"table") RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM narvik_save_session(s.id, s.user_id::text, s.expires_at,
                                to_jsonb(s) - 'id' - 'user_id' - 'expires_at');
    RETURN 'moved';
EXCEPTION WHEN data_exception OR foreign_key_violation OR program_limit_exceeded THEN
    RETURN SQLERRM;
END $$;

CREATE TEMPORARY TABLE outcomes ON COMMIT DROP AS
SELECT s.ctid AS place, pg_temp.move(s) AS outcome
FROM :"table" AS s
WHERE expires_at > now();

SELECT count(*) FILTER (WHERE outcome = 'moved') AS moved,
       count(*) FILTER (WHERE outcome <> 'moved') AS skipped
FROM outcomes;
SELECT * FROM outcomes WHERE outcome <> 'moved' ORDER BY place;
COMMIT;
