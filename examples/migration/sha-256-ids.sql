-- Sessions whose ids are the hex SHA-256 of their tokens become narvik's as they
-- are; nobody is logged out.  The JavaScript library Narvik makes such ids, and
-- so does the code that Lucia's pages showed after Lucia 3.
--
--   psql -v table=user_session -f sha-256-ids.sql
--
-- Columns besides these three become the session's data.

\set ON_ERROR_STOP on
BEGIN;
LOCK TABLE :"table" IN EXCLUSIVE MODE;

SELECT count(narvik_save_session(s.id, s.user_id::text, s.expires_at,
                                 to_jsonb(s) - 'id' - 'user_id' - 'expires_at')) AS moved
FROM :"table" AS s
WHERE expires_at > now();
COMMIT;
