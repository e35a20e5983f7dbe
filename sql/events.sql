-- Events: one for each thing that happens to a session, in the transaction that does it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
DELETE FROM narvik_sessions;
DELETE FROM narvik_events;

-- Off: nothing.
SELECT id FROM narvik_create_session('alice') \gset
SELECT narvik_invalidate_session(:'id');
SELECT count(*) FROM narvik_events;

-- What happened since the last look, sessions by the order in which they appear.
CREATE FUNCTION pg_temp.news() RETURNS TABLE (kind text, reason text, user_id text, detail jsonb, id_is_hash boolean, at_is_now boolean)
LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM narvik_events RETURNING *)
	SELECT kind, reason, user_id, detail, octet_length(session_id) = 32, at BETWEEN now() - interval '1 hour' AND clock_timestamp()
	FROM gone ORDER BY seq
$$;

SET narvik.events = on;
SET narvik.event_claims = 'device, "Level of trust"';

-- kinds, and what of the data they show
SELECT token, id FROM narvik_create_session('alice', '{"device": "phone", "Level of trust": 1, "secret": true}') \gset
SELECT token AS token2, id AS id2 FROM narvik_rotate_session(:'token') \gset
SELECT token AS token3, id AS id3 FROM narvik_reauthenticate_session(:'token2', '{"Level of trust": 2}') \gset
SELECT narvik_change_session_id(:'id3', narvik_session_id('chosen'));
SELECT narvik_invalidate_session(narvik_session_id('chosen'));
SELECT * FROM pg_temp.news();
SELECT token FROM narvik_create_guest_session('{"device": "tv"}') \gset
SELECT id FROM narvik_promote_session(:'token', 'bob', '{"x": 1}') \gset
SELECT narvik_save_session(narvik_session_id('saved'), 'bob', now() + interval '1 day');
SELECT * FROM pg_temp.news();

-- what changes nothing of note is none
SELECT user_id FROM narvik_validate_session('chosen');
SELECT narvik_update_session_data(:'id', '{"device": "pad"}');
SELECT narvik_update_session_expiry(:'id', now() + interval '2 days');
SELECT narvik_invalidate_session(narvik_session_id('unknown')), narvik_rotate_session('unknown'), narvik_delete_sessions_for_user('nobody');
SELECT * FROM pg_temp.news();

-- reasons
SELECT narvik_delete_sessions_for_user('bob', :'id');
SELECT narvik_delete_sessions_for_user('bob', NULL, 'stolen phone');
SELECT id FROM narvik_create_session('bob') \gset
SELECT narvik_delete_session(:'id');
SELECT id FROM narvik_create_session('bob') \gset
SELECT narvik_invalidate_session(:'id', 'admin');
SELECT token FROM narvik_create_session('bob') \gset
SELECT user_id FROM narvik_promote_session(:'token', 'carol');
BEGIN;
SET LOCAL narvik.max_sessions_per_user = 1;
SELECT user_id FROM narvik_create_session('carol');
COMMIT;
SELECT kind, reason, user_id FROM pg_temp.news();

-- expired, past its own end, past the setting's
SELECT narvik_save_session(narvik_session_id('old'), 'dave', now() + interval '1 day');
SELECT narvik_update_session_expiry(narvik_session_id('old'), now() - interval '1 day');
SELECT count(*) FROM narvik_validate_session('old');
SELECT token, id FROM narvik_create_session('dave', max_age => '1 day') \gset
UPDATE narvik_sessions SET expires_at = now() - interval '1 day', ends_at = now() - interval '1 day' WHERE id = decode(:'id', 'hex');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT token AS aged, id FROM narvik_create_session('dave') \gset
UPDATE narvik_sessions SET created_at = now() - interval '3 days' WHERE id = decode(:'id', 'hex');
SELECT id FROM narvik_create_session('dave') \gset
UPDATE narvik_sessions SET created_at = now() - interval '3 days' WHERE id = decode(:'id', 'hex');
SELECT narvik_save_session(narvik_session_id('older'), 'dave', now() - interval '1 day');
SET narvik.session_max_age = '2d';
SELECT count(*) FROM narvik_validate_session(:'aged');
SELECT narvik_delete_all_expired_sessions();
RESET narvik.session_max_age;
SELECT kind, reason, user_id FROM pg_temp.news() ORDER BY 1, 2, 3;
-- with the setting there from the beginning, which then cuts the expiry
SET narvik.session_max_age = '2d';
SELECT token AS aged FROM narvik_create_session('dave', '{"n": "aged"}') \gset
SELECT token AS idle FROM narvik_create_session('dave', '{"n": "idle"}', expires_in => '1 day') \gset
UPDATE narvik_sessions SET created_at = created_at - interval '3 days', expires_at = expires_at - interval '3 days' WHERE user_id = 'dave';
SELECT narvik_save_session(narvik_session_id('early'), 'dave', '4713-01-01 BC');
UPDATE narvik_sessions SET created_at = '294276-12-31' WHERE id = decode(narvik_session_id('early'), 'hex');
SELECT count(*) FROM narvik_validate_session(:'aged');
SELECT narvik_delete_all_expired_sessions();
RESET narvik.session_max_age;
SELECT kind, reason, detail FROM pg_temp.news() ORDER BY 1, 2, 3;
-- a log-in with the token of a session that has expired
SELECT narvik_save_session(narvik_session_id('past'), 'dave', now() - interval '1 hour');
SELECT user_id FROM narvik_promote_session('past', 'dave');
SELECT kind, reason, user_id FROM pg_temp.news();

-- put: a session of another user is another session
SELECT narvik_put_session(narvik_session_id('p'), NULL, now() + interval '1 day', '{"device": "d"}');
SELECT narvik_put_session(narvik_session_id('p'), 'erin', now() + interval '1 day', '{"device": "e"}');
SELECT narvik_put_session(narvik_session_id('p'), 'erin', now() + interval '1 day', '{"device": "f"}');
SELECT narvik_put_session(narvik_session_id('p'), 'frank', now() + interval '1 day', '{"device": "g"}');
SELECT narvik_put_session(narvik_session_id('p'), NULL, now() + interval '1 day', '{"device": "h"}');
SELECT * FROM pg_temp.news();

-- users
CREATE TABLE people (id text PRIMARY KEY);
INSERT INTO people VALUES ('erin'), ('frank'), ('carol'), ('gina');
DELETE FROM narvik_sessions;
SELECT narvik_link_users('people');
SELECT count(narvik_create_session(id)) FROM people WHERE id <> 'carol';
SELECT count(*) FROM pg_temp.news();
DELETE FROM people WHERE id = 'erin';
UPDATE people SET id = 'francis' WHERE id = 'frank';
TRUNCATE people;
SELECT kind, reason, user_id FROM pg_temp.news() ORDER BY 1, 2, 3;
SELECT narvik_unlink_users();
DROP TABLE people;

-- rolled back means never happened
BEGIN;
SELECT count(*) FROM narvik_create_session('hana');
SAVEPOINT s;
SELECT narvik_delete_sessions_for_user('hana');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT narvik_delete_sessions_for_user('hana');
ROLLBACK;
SELECT kind, reason, user_id FROM pg_temp.news();
SELECT narvik_delete_sessions_for_user('hana');

-- the log of a user, newest first, in pages
SELECT count(*) FROM generate_series(1, 3) AS i, narvik_create_session('ivan', jsonb_build_object('device', i));
SELECT seq AS third FROM narvik_fetch_events_for_user('ivan', max_rows => 1) \gset
SELECT kind, reason, user_id, detail, length(session_id) AS id_digits FROM narvik_fetch_events_for_user('ivan');
SELECT detail FROM narvik_fetch_events_for_user('ivan', before_seq => :third);
SELECT detail FROM narvik_fetch_events_for_user('ivan', :third, 1);
SELECT count(*) FROM narvik_fetch_events_for_user('ivan', max_rows => 0);
SELECT count(*) FROM narvik_fetch_events_for_user('ivan', NULL, NULL);
SELECT count(*) FROM narvik_fetch_events_for_user('nobody');
SELECT count(*) FROM narvik_fetch_events_for_user(NULL);
SELECT count(*) FROM narvik_fetch_events_for_user('ivan', max_rows => -1);

-- reasons and lists that are none
SELECT narvik_invalidate_session('x', '');
SELECT narvik_invalidate_session('x', repeat('é', 32)), narvik_delete_sessions_for_user('ivan', NULL, repeat('x', 64));
SELECT narvik_invalidate_session('x', repeat('x', 65));
SELECT narvik_delete_sessions_for_user('ivan', NULL, repeat('é', 33));
SET narvik.event_claims = 'a,,b';
SET narvik.event_claims = '"a';
\set VERBOSITY sqlstate
SET narvik.events_retention = -1;
\set VERBOSITY default

-- if an event cannot be written, what it tells does not happen
\set SHOW_CONTEXT never
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room for %', NEW.kind; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT count(*) FROM narvik_create_session('kim');
SELECT count(*) FROM narvik_sessions WHERE user_id = 'kim';
DROP TRIGGER refuse ON narvik_events;
SELECT id FROM narvik_create_session('kim') \gset
CREATE TRIGGER refuse BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT narvik_invalidate_session(:'id');
\set SHOW_CONTEXT errors
SELECT count(*) FROM narvik_sessions WHERE user_id = 'kim';
DROP TRIGGER refuse ON narvik_events;
DROP FUNCTION refuse();

-- it is found wherever it is, as long as it is there
CREATE SCHEMA "Odd %s schema";
ALTER EXTENSION narvik SET SCHEMA "Odd %s schema";
SET search_path = "Odd %s schema", public;
SELECT narvik_invalidate_session(:'id');
SELECT kind, reason FROM narvik_fetch_events_for_user('kim', max_rows => 1);
ALTER EXTENSION narvik SET SCHEMA public;
RESET search_path;
DROP SCHEMA "Odd %s schema";
SELECT kind, reason FROM narvik_fetch_events_for_user('kim', max_rows => 1);
ALTER TABLE narvik_events RENAME TO log;
SELECT count(*) FROM narvik_create_session('kim');
ALTER TABLE log RENAME TO narvik_events;
SELECT count(*) FROM narvik_create_session('kim');

-- its code must not run with the rights of another owner
CREATE ROLE regress_narvik_auditor;
ALTER TABLE narvik_events OWNER TO regress_narvik_auditor;
SELECT count(*) FROM narvik_create_session('kim');
SELECT narvik_delete_sessions_for_user('kim');
SELECT count(*) > 0 AS listed FROM narvik_fetch_events_for_user('kim');
SET narvik.events = off;
SELECT narvik_delete_sessions_for_user('kim');
SET narvik.events = on;
ALTER TABLE narvik_events OWNER TO CURRENT_USER;
DROP ROLE regress_narvik_auditor;
-- nor may it lose what is written
CREATE RULE lose AS ON INSERT TO narvik_events DO INSTEAD NOTHING;
SELECT count(*) FROM narvik_create_session('kim');
DROP RULE lose ON narvik_events;
SELECT count(*) FROM narvik_create_session('kim');

RESET narvik.events;
DELETE FROM narvik_sessions;
DELETE FROM narvik_events;
