ALTER DATABASE :"DBNAME" SET narvik.activity_interval = '5min';
\connect -
SELECT token FROM narvik_create_session('1', '{"device": "laptop"}') \gset
SELECT token AS phone FROM narvik_create_session('1', '{"device": "phone"}') \gset
SELECT token AS tablet FROM narvik_create_session('2', '{"device": "tablet"}') \gset
-- An hour later the laptop is used again, the tablet was eight minutes ago.
UPDATE narvik_sessions SET created_at = now() - interval '61 minutes',
    active_at = CASE data ->> 'device' WHEN 'tablet' THEN now() - interval '8 minutes' END;
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT data ->> 'device' AS device, date_trunc('minute', now() - active_at) AS last_active
    FROM narvik_fetch_sessions_for_user(narvik_current_user_id()) ORDER BY active_at DESC;
COMMIT;

RESET ROLE;
CREATE ROLE dashboard LOGIN;
GRANT USAGE ON SCHEMA narvik TO dashboard;
GRANT SELECT (user_id, created_at, expires_at, active_at) ON narvik_sessions TO dashboard;
SET ROLE dashboard;

SELECT count(*) AS sessions, count(DISTINCT user_id) AS users
    FROM narvik_sessions
    WHERE expires_at > now() AND greatest(active_at, created_at) > now() - interval '10 minutes';
