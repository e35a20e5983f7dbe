-- Sessions of Lucia 3 become narvik's; nobody is logged out.
--
-- Lucia's id is what the browser has, so it is the token from now on.  The old
-- table has tokens in the clear: drop it, and its backups, soon.

\set ON_ERROR_STOP on
BEGIN;
LOCK TABLE user_session IN EXCLUSIVE MODE;

SELECT count(narvik_save_session(narvik_session_id(s.id), s.user_id::text, s.expires_at,
                                 to_jsonb(s) - 'id' - 'user_id' - 'expires_at')) AS moved
FROM user_session AS s
WHERE expires_at > now();
COMMIT;

-- The cookie keeps its name, until the last of the old ones is gone.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = 'auth_session';
