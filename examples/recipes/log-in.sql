-- Bob knows this token, and has put it into Alice's browser.
SELECT token AS planted FROM narvik_create_session('2') \gset
SET ROLE webapp;

-- Alice logs in there.
BEGIN;
SELECT user_id FROM check_password('alice', 'alice''s password') AS user_id \gset
SELECT narvik_invalidate_session(narvik_session_id(:'planted'));
SELECT token, narvik_create_cookie(token) AS set_cookie
    FROM narvik_create_session(:'user_id', '{"device": "laptop"}') \gset
COMMIT;

SELECT user_id AS planted_is FROM narvik_validate_session(:'planted');
SELECT user_id AS new_is FROM narvik_validate_session(:'token');

SELECT token AS rotated FROM narvik_rotate_session(:'token') \gset
SELECT user_id AS old_is FROM narvik_validate_session(:'token');
SELECT user_id AS new_is FROM narvik_validate_session(:'rotated');
