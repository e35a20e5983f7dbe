SELECT token, id FROM narvik_create_session('1', '{"device": "Firefox on Linux"}') \gset
SELECT id AS phone FROM narvik_create_session('1', '{"device": "Safari on iPhone"}') \gset
SELECT id AS of_bob FROM narvik_create_session('2', '{"device": "Edge"}') \gset
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT data ->> 'device' AS device, id = narvik_current_session_id() AS this_device
    FROM narvik_fetch_sessions_for_user(narvik_current_user_id());
COMMIT;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT narvik_invalidate_session(id) AS ended
    FROM narvik_fetch_sessions_for_user(narvik_current_user_id())
    WHERE id = :'phone';
SELECT narvik_invalidate_session(id) AS ended
    FROM narvik_fetch_sessions_for_user(narvik_current_user_id())
    WHERE id = :'of_bob';
COMMIT;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=made-up');
SELECT id FROM narvik_fetch_sessions_for_user(narvik_current_user_id());
ROLLBACK;
