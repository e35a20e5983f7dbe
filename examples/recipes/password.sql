SELECT token FROM narvik_create_session('1', '{"device": "laptop"}') \gset
SELECT token AS phone FROM narvik_create_session('1', '{"device": "phone"}') \gset
SELECT token AS bob FROM narvik_create_session('2') \gset
SET ROLE webapp;

BEGIN;
SELECT narvik_authenticate(:'token');
WITH changed AS (
    UPDATE app_users SET password_hash = crypt('a better one', gen_salt('bf'))
    WHERE id = narvik_current_user_id()::bigint
        AND password_hash = crypt('alice''s password', password_hash)
    RETURNING id
)
SELECT narvik_delete_sessions_for_user(id::text, except_session_id => narvik_current_session_id())
    AS logged_out FROM changed;
SELECT token AS rotated, narvik_create_cookie(token) AS set_cookie
    FROM narvik_rotate_session(:'token') \gset
COMMIT;

SELECT count(*) AS old_token FROM narvik_validate_session(:'token');
SELECT count(*) AS phone FROM narvik_validate_session(:'phone');
SELECT count(*) AS new_token FROM narvik_validate_session(:'rotated');
SELECT count(*) AS bob FROM narvik_validate_session(:'bob');
