ALTER DATABASE :"DBNAME" SET narvik.events = on;
ALTER DATABASE :"DBNAME" SET narvik.event_claims = 'device';
\connect -
SELECT token FROM narvik_create_session('1', '{"device": "laptop"}') \gset
SELECT id AS phone FROM narvik_create_session('1', '{"device": "phone"}') \gset
SELECT count(*) FROM narvik_create_session('2', '{"device": "tablet"}') \g /dev/null
SET ROLE webapp;
SELECT narvik_invalidate_session(:'phone', reason => 'lost phone');

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT kind, reason, detail ->> 'device' AS device, session_id = narvik_current_session_id() AS this_session
    FROM narvik_fetch_events_for_user(narvik_current_user_id(), max_rows => 20);
COMMIT;

SELECT * FROM narvik_events;
DELETE FROM narvik_events;

RESET ROLE;
DELETE FROM narvik_events WHERE user_id = '1';
SELECT user_id, kind FROM narvik_events;
