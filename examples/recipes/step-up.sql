CREATE TABLE payments (
    owner  text NOT NULL DEFAULT narvik_current_user_id(),
    amount numeric NOT NULL
);
INSERT INTO payments SELECT 1 + i % 2, i FROM generate_series(1, 4) AS i;
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON payments
    USING (owner = (SELECT narvik_current_user_id()));
CREATE POLICY fresh ON payments AS RESTRICTIVE
    USING ((SELECT narvik_is_fresh('10 minutes')));
GRANT SELECT, INSERT ON payments TO webapp;

SELECT token FROM narvik_create_session('1') \gset
UPDATE narvik_sessions SET authenticated_at = now() - interval '1 hour';
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT * FROM payments;
INSERT INTO payments (amount) VALUES (5);
ROLLBACK;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT s.token AS renewed, narvik_create_cookie(s.token) AS set_cookie
    FROM check_password('alice', 'alice''s password') AS user_id,
        narvik_reauthenticate_session(
            CASE user_id WHEN narvik_current_user_id()::bigint THEN :'token' END) AS s \gset
SELECT * FROM payments;
COMMIT;
SELECT count(*) AS old_token FROM narvik_authenticate_cookie('narvik_session=' || :'token');

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'renewed');
SELECT count(*) AS renewed_again
    FROM check_password('bob', 'bob''s password') AS user_id,
        narvik_reauthenticate_session(
            CASE user_id WHEN narvik_current_user_id()::bigint THEN :'renewed' END) AS s;
COMMIT;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'renewed');
EXPLAIN (COSTS OFF) SELECT * FROM payments;
COMMIT;
