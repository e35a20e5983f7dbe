--
-- promote_session: the log-in of somebody who may have been a guest. The guest's
-- session becomes the user's, and nobody who knows the guest's token gets in.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
LOAD 'narvik';

-- Who has a session, and how many of its tokens are dead.
CREATE FUNCTION pg_temp.sessions() RETURNS TABLE (user_id text, data jsonb) LANGUAGE sql AS $$
    SELECT user_id, data FROM narvik_sessions ORDER BY seq $$;

-- A live guest: the same row, with another token and id. Its data is there, under
-- what the log-in brings; created and authenticated now.
SELECT token AS guest, id AS guest_id FROM narvik_create_guest_session('{"cart": [1], "theme": "dark", "seen": null}', '2 hours') \gset
SELECT seq AS guest_seq FROM narvik_sessions \gset
UPDATE narvik_sessions SET created_at = created_at - interval '1 hour', active_at = now() - interval '1 minute';
SELECT * FROM narvik_promote_session(:'guest', 'alice', '{"theme": "light", "device": null}') \gset
SELECT :'token' <> :'guest' AS other_token, :'id' = narvik_session_id(:'token') AS fits, :'user_id' AS user_id, :'data' AS data, :'new' AS new, :'extended' AS extended,
       :'expires_at'::timestamptz - :'created_at' AS lives, :'created_at' = :'authenticated_at' AS logged_in, :'active_at' = :'created_at' AS active;
SELECT seq = :guest_seq AS same_row, user_id, lifetime, sliding, ends_at, purge_hour = floor(extract(epoch FROM expires_at) / 3600) AS hour_fits FROM narvik_sessions;
SELECT count(*) FROM narvik_validate_session(:'guest');
SELECT v.user_id, v.data, v.authenticated_at = :'authenticated_at' AS same FROM narvik_validate_session(:'token') v;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');

-- Its terms are those of the log-in.
SELECT token AS guest FROM narvik_create_guest_session() \gset
SELECT user_id, expires_at - created_at AS lives FROM narvik_promote_session(:'guest', 'alice', expires_in => '3 hours', sliding => false, max_age => '1 hour');
SELECT lifetime, sliding, ends_at - created_at AS age FROM narvik_sessions ORDER BY seq DESC LIMIT 1;

-- A user's token: that session ends, whoever it is, and its data is not carried over.
SELECT token AS next, id, user_id, data FROM narvik_promote_session(:'token', 'alice', '{"n": 1}') \gset
SELECT :'user_id' AS user_id, :'data' AS data;
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT user_id, data FROM narvik_promote_session(:'next', 'bob');
SELECT count(*) FROM narvik_validate_session(:'next');
SELECT * FROM pg_temp.sessions();

-- No token, one of nobody, one of a guest who is gone: as narvik_create_session.
DELETE FROM narvik_sessions;
SELECT token AS guest, id FROM narvik_create_guest_session('{"cart": [1]}') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp());
SELECT user_id, data FROM unnest(ARRAY[NULL, '', 'x', '''; --', repeat('x', 1025), :'guest']) t, narvik_promote_session(t, 'carol', '{"n": 1}');
SELECT * FROM pg_temp.sessions();
DELETE FROM narvik_sessions;

-- The limit counts it once, guests never. The user's own token makes room itself.
SET narvik.max_sessions_per_user = 2;
SELECT token AS first FROM narvik_create_session('alice', '{"n": 1}') \gset
SELECT count(narvik_create_session('alice', '{"n": 2}'));
SELECT token AS guest FROM narvik_create_guest_session('{"n": 3}') \gset
SELECT token FROM narvik_promote_session(:'guest', 'alice') \gset
SELECT * FROM pg_temp.sessions();
SELECT data FROM narvik_promote_session(:'token', 'alice', '{"n": 4}');
SELECT * FROM pg_temp.sessions();
RESET narvik.max_sessions_per_user;
DELETE FROM narvik_sessions;

-- Linked users: there must be such a user. Else the guest stays one.
CREATE TABLE regress_users (id int PRIMARY KEY);
INSERT INTO regress_users VALUES (1);
SELECT narvik_link_users('regress_users');
SELECT token AS guest FROM narvik_create_guest_session('{"cart": [1]}') \gset
CREATE TEMP TABLE guest AS SELECT :'guest'::text AS token;
SELECT narvik_promote_session(token, '2') FROM guest;
SELECT user_id IS NULL AS guest FROM narvik_validate_session(:'guest');
SELECT user_id, data FROM narvik_promote_session(:'guest', '1');
DELETE FROM regress_users;
SELECT count(*) FROM narvik_sessions;
SELECT narvik_unlink_users();
DROP TABLE regress_users;

-- The identity of the transaction follows; a user's that ended is nobody.
SELECT token AS guest FROM narvik_create_guest_session() \gset
BEGIN;
SELECT narvik_authenticate(:'guest');
SAVEPOINT s;
SELECT token, id FROM narvik_promote_session(:'guest', 'alice') \gset
SELECT narvik_current_user_id(), narvik_current_session_id() = :'id' AS same;
ROLLBACK TO s;
SELECT narvik_current_user_id(), narvik_current_session_id() = narvik_session_id(:'guest') AS guest;
SELECT token AS other FROM narvik_create_guest_session() \gset
SELECT user_id FROM narvik_promote_session(:'other', 'alice');
SELECT narvik_current_user_id(), narvik_current_session_id() = narvik_session_id(:'guest') AS guest;
SELECT token, id FROM narvik_promote_session(:'guest', 'alice') \gset
SELECT user_id FROM narvik_promote_session(:'token', 'alice');
SELECT narvik_current_user_id() IS NULL AS nobody, narvik_current_session_id() IS NULL AS no_session;
ROLLBACK;
-- Rolled back, the guest is as before.
SELECT user_id IS NULL AS guest FROM narvik_validate_session(:'guest');

-- What is refused, as for narvik_create_session; the guest stays.
UPDATE guest SET token = :'guest';
\set VERBOSITY sqlstate
SELECT narvik_promote_session(token, NULL) FROM guest;
SELECT narvik_promote_session(token, '') FROM guest;
SELECT narvik_promote_session(token, 'alice', '[]') FROM guest;
SELECT narvik_promote_session(token, 'alice', NULL) FROM guest;
SELECT narvik_promote_session(token, 'alice', expires_in => '0') FROM guest;
SELECT narvik_promote_session(token, 'alice', sliding => NULL) FROM guest;
SELECT narvik_promote_session(token, 'alice', max_age => '-1 day') FROM guest;
BEGIN READ ONLY;
SELECT narvik_promote_session(token, 'alice') FROM guest;
ROLLBACK;
\set VERBOSITY default
SELECT user_id IS NULL AS guest FROM narvik_validate_session(:'guest');
DELETE FROM narvik_sessions;
