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
LOCK TABLE session IN EXCLUSIVE MODE;

WITH old AS (
    SELECT 's%3A' || sid || '.' ||
               replace(replace(rtrim(encode(hmac(sid, :'secret', 'sha256'), 'base64'), '='),
                               '+', '%2B'), '/', '%2F') AS token,
           sess::jsonb #>> '{passport,user}' AS user_id,      -- where yours is
           sess::jsonb - 'cookie' - 'passport' AS data,
           expire::timestamptz AS expires_at
    FROM session
)
SELECT count(narvik_save_session(narvik_session_id(token), user_id, expires_at, data)) AS moved
FROM old
WHERE user_id IS NOT NULL AND expires_at > now();

SELECT count(*) AS without_user FROM session WHERE sess::jsonb #>> '{passport,user}' IS NULL;
COMMIT;

-- The cookie keeps its name, until the last of the old ones is gone.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = 'connect.sid';
