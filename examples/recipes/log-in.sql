-- Bob knows this token, and has put it into Alice's browser.
SELECT token AS planted FROM narvik_create_session('2') \gset
SET ROLE webapp;

-- Alice logs in there.
SELECT s.token, narvik_create_cookie(s.token) AS set_cookie
    FROM check_password('alice', 'alice''s password') AS user_id,
        narvik_promote_session(:'planted', user_id::text, '{"device": "laptop"}') AS s \gset

SELECT user_id AS planted_is FROM narvik_authenticate_cookie('narvik_session=' || :'planted');
SELECT user_id AS new_is FROM narvik_authenticate_cookie('narvik_session=' || :'token');
