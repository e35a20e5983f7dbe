-- Sessions of connect-pg-simple become narvik's; nobody is logged out.
--
--   psql -v secret='what express-session signs with' -f connect-pg-simple.sql
--
-- The browser's cookie is "connect.sid=s%3A<sid>.<signature>".  All of its value
-- is the token from now on, so the signature still counts: the sid, which the old
-- table has in the clear, opens nothing.

-- "expire" has no time zone.  If the application's connections have another one
-- than this one, SET TimeZone here.

\set ON_ERROR_STOP on
BEGIN;
-- The limit would refuse sessions, or end some that were just moved.
SET LOCAL narvik.max_sessions_per_user = 0;
LOCK TABLE session IN EXCLUSIVE MODE;

-- What became of a row: one that narvik cannot have must not keep the others back.
CREATE FUNCTION pg_temp.move(s session, secret text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    token text;
    sess jsonb;
    user_id text;
    id text;
    data jsonb;
BEGIN
    sess := s.sess::jsonb;
    user_id := sess #>> '{passport,user}';      -- where yours is
    IF jsonb_typeof(sess) <> 'object' THEN
        RETURN 'sess is no object';
    END IF;
    token := 's%3A' || s.sid || '.' ||
        replace(replace(rtrim(encode(hmac(s.sid, secret, 'sha256'), 'base64'), '='),
                        '+', '%2B'), '/', '%2F');
    id := narvik_session_id(token);
    data := sess - 'cookie' - 'passport';
    IF user_id IS NOT NULL THEN
        PERFORM narvik_save_session(id, user_id, s.expire::timestamptz, data);
        RETURN 'user';
    ELSIF narvik_put_session(id, NULL, s.expire::timestamptz, data, existing => false) THEN
        RETURN 'guest';
    END IF;
    RAISE unique_violation USING MESSAGE = 'session already exists';
EXCEPTION WHEN data_exception OR foreign_key_violation OR program_limit_exceeded THEN
    RETURN SQLERRM;
END $$;

CREATE TEMPORARY TABLE outcomes ON COMMIT DROP AS
SELECT s.ctid AS place, pg_temp.move(s, :'secret') AS outcome
FROM session AS s
WHERE expire > localtimestamp;

SELECT count(*) FILTER (WHERE outcome = 'user') AS users,
       count(*) FILTER (WHERE outcome = 'guest') AS guests,
       count(*) FILTER (WHERE outcome NOT IN ('user', 'guest')) AS skipped
FROM outcomes;
SELECT * FROM outcomes WHERE outcome NOT IN ('user', 'guest') ORDER BY place;

-- The cookie keeps its name, until the last of the old ones is gone.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = 'connect.sid';
COMMIT;
