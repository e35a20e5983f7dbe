SELECT token FROM narvik_create_session('1', '{"device": "laptop"}') \gset
SELECT token AS phone FROM narvik_create_session('1', '{"device": "phone"}') \gset
SELECT token AS bob FROM narvik_create_session('2') \gset
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT narvik_delete_sessions_for_user(user_id::text, narvik_current_session_id(), 'password changed')
    AS logged_out FROM change_password('alice''s password', 'a better one') AS user_id;
SELECT token AS renewed, narvik_create_cookie(token) AS set_cookie
    FROM narvik_reauthenticate_session(:'token') \gset
COMMIT;

SELECT count(*) AS old_token FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT count(*) AS phone FROM narvik_authenticate_cookie('narvik_session=' || :'phone');
SELECT count(*) AS new_token FROM narvik_authenticate_cookie('narvik_session=' || :'renewed');
SELECT count(*) AS bob FROM narvik_authenticate_cookie('narvik_session=' || :'bob');
