CREATE ROLE support LOGIN;
GRANT USAGE ON SCHEMA narvik TO support;
GRANT EXECUTE ON FUNCTION
    narvik_fetch_sessions_for_user,
    narvik_fetch_events_for_user,
    narvik_invalidate_session,
    narvik_delete_sessions_for_user
TO support;
GRANT SELECT ON app_users TO support;

SELECT id FROM narvik_create_session('1', '{"device": "laptop"}') \gset
SELECT count(*) FROM narvik_create_session('1', '{"device": "phone"}') \g /dev/null
SELECT count(*) FROM narvik_create_session('2') \g /dev/null
SET ROLE support;

SELECT data FROM narvik_fetch_sessions_for_user('1');
SELECT narvik_invalidate_session(:'id', reason => 'support');
SELECT narvik_delete_sessions_for_user('1', reason => 'support');

SELECT narvik_create_session('1');
SELECT narvik_promote_session('made-up', '1');
SELECT narvik_validate_session('made-up');
SELECT narvik_authenticate_cookie('narvik_session=made-up');
SELECT narvik_save_session(narvik_session_id('known'), '1', 'tomorrow');
SELECT narvik_rotate_session('made-up');
SELECT narvik_reauthenticate_session('made-up');
SELECT narvik_update_session_data(:'id', '{"role": "admin"}');
SELECT * FROM narvik_sessions;
SELECT * FROM narvik_events;

SELECT sum(narvik_delete_sessions_for_user(id::text)) AS logged_out FROM app_users;
