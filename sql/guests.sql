--
-- guests: a session before anybody has logged in. It is nobody's: no user, no limit,
-- no link. In all else it is a session.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
LOAD 'narvik';

-- Without arguments: a day, sliding, no data, not authenticated.
SELECT token, id FROM narvik_create_guest_session() \gset
SELECT user_id IS NULL AS nobody, authenticated_at IS NULL AS never, active_at = created_at AS active_now,
       expires_at - created_at AS lives, data, new, extended
FROM narvik_create_guest_session('{"cart": [1]}');
SELECT user_id IS NULL AS nobody, lifetime, sliding, ends_at, data FROM narvik_sessions ORDER BY seq;

-- The setting decides at each extension, unless the session has a lifetime of its own.
SHOW narvik.guest_expires_in;
SELECT token AS own, expires_at - created_at AS lives FROM narvik_create_guest_session('{}', '2 hours') \gset
SELECT :'lives';
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '13 hours');
SELECT extended FROM narvik_validate_session(:'token');
SET narvik.guest_expires_in = '3d';
SELECT user_id, extended, expires_at = statement_timestamp() + '3 days' AS three_days FROM narvik_validate_session(:'token');
SELECT extended FROM narvik_validate_session(:'own');
RESET narvik.guest_expires_in;
SET narvik.session_max_age = '1h';
SELECT expires_at - created_at AS lives FROM narvik_create_guest_session();
RESET narvik.session_max_age;
-- Minor versions of PostgreSQL differ in the message.
\set VERBOSITY sqlstate
SET narvik.guest_expires_in = 0;
\set VERBOSITY default

-- Only functions that say so make one.
SELECT narvik_create_session(NULL);
SELECT narvik_save_session(narvik_session_id('x'), NULL, '2100-01-01');
\set VERBOSITY sqlstate
SELECT narvik_create_guest_session(NULL);
SELECT narvik_create_guest_session('[]');
SELECT narvik_create_guest_session('{}', '0');
\set VERBOSITY default

-- It is fetched, changed, rotated and ended by its id or token, as any other.
SELECT narvik_update_session_data(:'id', '{"cart": [1, 2]}');
SELECT token, id, user_id IS NULL AS nobody, authenticated_at IS NULL AS never FROM narvik_rotate_session(:'token') \gset
SELECT :'nobody', :'never', f.data FROM narvik_fetch_session(:'id') f;
SELECT narvik_invalidate_session(:'id');
SELECT count(*) FROM narvik_validate_session(:'token');

-- No list, no deletion and no limit of a user reaches them.
SELECT narvik_delete_sessions_for_user('alice');
SET narvik.max_sessions_per_user = 1;
SELECT count(narvik_create_guest_session(jsonb_build_object('n', n))) FROM generate_series(1, 3) n;
SELECT count(narvik_create_session('alice')) FROM generate_series(1, 2);
SELECT user_id, count(*) FROM narvik_sessions GROUP BY user_id ORDER BY user_id;
RESET narvik.max_sessions_per_user;
DELETE FROM narvik_sessions;
-- The index that finds a user's sessions leaves them out.
SELECT pg_get_indexdef('narvik_sessions_user_id_idx'::regclass);

-- Linked users: guests need none, and stay when all of them go.
CREATE TABLE regress_users (id text PRIMARY KEY);
INSERT INTO regress_users VALUES ('alice');
SELECT token FROM narvik_create_guest_session() \gset
SELECT narvik_link_users('regress_users');
SELECT token AS later FROM narvik_create_guest_session() \gset
SELECT token AS alice FROM narvik_create_session('alice') \gset
SELECT count(*) FROM narvik_validate_user(:'later', NULL::regress_users);
BEGIN;
SELECT narvik_authenticate(:'later') IS NULL AS guest;
TRUNCATE regress_users;
SELECT narvik_current_session_id() = narvik_session_id(:'later') AS still_there;
SELECT count(*) FROM narvik_validate_session(:'alice');
ROLLBACK;
TRUNCATE regress_users;
SELECT count(*), count(user_id) AS of_users FROM narvik_sessions;
SELECT narvik_unlink_users();
DROP TABLE regress_users;

-- Identity: a session but no user, so that a policy can show a cart.
CREATE TABLE regress_carts (session_id text, user_id text, goods text);
INSERT INTO regress_carts VALUES (narvik_session_id(:'token'), NULL, 'guest''s'), (narvik_session_id(:'later'), NULL, 'other''s'), (NULL, 'alice', 'alice''s');
ALTER TABLE regress_carts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE ROLE regress_narvik_shop;
GRANT SELECT ON regress_carts TO regress_narvik_shop;
CREATE POLICY own ON regress_carts USING (session_id = narvik_current_session_id() OR user_id = narvik_current_user_id());
SELECT narvik_grant('regress_narvik_shop');
SET ROLE regress_narvik_shop;
BEGIN;
SELECT narvik_authenticate(:'token');
SELECT narvik_current_user_id() IS NULL AS no_user, narvik_current_session_id() = narvik_session_id(:'token') AS session;
SELECT goods FROM regress_carts;
-- The identity follows what happens to the session.
SELECT token AS rotated FROM narvik_rotate_session(:'token') \gset
SELECT narvik_current_session_id() = narvik_session_id(:'rotated') AS follows;
SAVEPOINT s;
SELECT narvik_invalidate_session(narvik_current_session_id());
SELECT narvik_current_session_id() IS NULL AS nobody;
ROLLBACK TO s;
SELECT narvik_current_session_id() = narvik_session_id(:'rotated') AS back;
SELECT narvik_update_session_expiry(narvik_current_session_id(), '2000-01-01');
SELECT narvik_current_session_id() IS NULL AS nobody;
COMMIT;
-- Nobody after it, and a guest after a user, who is not the user any more.
SELECT narvik_current_session_id() IS NULL AS nobody;
RESET ROLE;
SELECT token AS alice FROM narvik_create_session('alice') \gset
SET ROLE regress_narvik_shop;
BEGIN;
SELECT narvik_authenticate(:'alice');
SELECT goods FROM regress_carts;
SELECT narvik_authenticate(:'later');
SELECT goods FROM regress_carts;
SELECT narvik_delete_sessions_for_user('alice');
SELECT goods FROM regress_carts;
SELECT narvik_authenticate('nobody');
SELECT count(*) FROM regress_carts;
COMMIT;
RESET ROLE;
SELECT narvik_revoke('regress_narvik_shop');
DROP TABLE regress_carts;
REVOKE USAGE ON SCHEMA public FROM regress_narvik_shop;
DROP ROLE regress_narvik_shop;

-- They expire and are purged.
UPDATE narvik_sessions SET expires_at = now() - interval '1 second', purge_hour = 0;
SELECT count(*) FROM narvik_validate_session(:'later');
SELECT narvik_create_guest_session('{}', '1 microsecond') IS NULL AS no;
SELECT narvik_delete_all_expired_sessions();
SELECT count(*) FROM narvik_sessions;
