-- Sessions of Lucia 3 become narvik's; nobody is logged out.
--
-- Lucia's id is what the browser has, so it is the token from now on.  The old
-- table has tokens in the clear: drop it, and its backups, soon.

\set ON_ERROR_STOP on
BEGIN;
-- The limit would refuse sessions, or end some that were just moved.
SET LOCAL narvik.max_sessions_per_user = 0;
LOCK TABLE user_session IN EXCLUSIVE MODE;

-- What became of a row: one that narvik cannot have must not keep the others back.
CREATE FUNCTION pg_temp.move(s user_session) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id(s.id), s.user_id::text, s.expires_at,
                                to_jsonb(s) - 'id' - 'user_id' - 'expires_at');
    RETURN 'moved';
EXCEPTION WHEN data_exception OR foreign_key_violation OR program_limit_exceeded THEN
    RETURN SQLERRM;
END $$;

CREATE TEMPORARY TABLE outcomes ON COMMIT DROP AS
SELECT s.ctid AS place, pg_temp.move(s) AS outcome
FROM user_session AS s
WHERE expires_at > now();

SELECT count(*) FILTER (WHERE outcome = 'moved') AS moved,
       count(*) FILTER (WHERE outcome <> 'moved') AS skipped
FROM outcomes;
SELECT * FROM outcomes WHERE outcome <> 'moved' ORDER BY place;

-- The cookie keeps its name, until the last of the old ones is gone.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = 'auth_session';
COMMIT;
