-- Tokens that rotation replaced: dead at once, or valid for a grace, or the end of the session.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
DELETE FROM narvik_sessions;

-- Off: dead at once, and nothing is kept.
SELECT token AS t1 FROM narvik_create_session('alice') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT replaced_ids IS NULL AS nothing_kept FROM narvik_sessions;

-- Nor is anything looked up: how often the index of the replaced ids, and the whole table, were read.
CREATE FUNCTION pg_temp.looked_up(token text, OUT valid bigint, OUT by_index bigint, OUT whole bigint) LANGUAGE plpgsql AS $$
BEGIN
	by_index := -pg_stat_get_xact_numscans('narvik_sessions_replaced_ids_idx'::regclass);
	whole := -pg_stat_get_xact_numscans('narvik_sessions'::regclass);
	valid := (SELECT count(*) FROM narvik_validate_session(token));
	by_index := by_index + pg_stat_get_xact_numscans('narvik_sessions_replaced_ids_idx'::regclass);
	whole := whole + pg_stat_get_xact_numscans('narvik_sessions'::regclass);
END $$;
SELECT * FROM pg_temp.looked_up('unknown');
SELECT * FROM pg_temp.looked_up(:'t1');
SELECT * FROM pg_temp.looked_up(:'t2');
SET narvik.detect_reuse = on;
SELECT * FROM pg_temp.looked_up('unknown');
SELECT * FROM pg_temp.looked_up(:'t2');
RESET narvik.detect_reuse;

-- In grace: the same session, which it does not extend; no second chain of tokens.
SET narvik.rotation_grace = '1min';
SELECT token AS t3, id AS id3 FROM narvik_rotate_session(:'t2') \gset
SELECT replaced_ids = ARRAY[sha256(convert_to(:'t2', 'UTF8'))] AS only_hash_kept FROM narvik_sessions;
UPDATE narvik_sessions SET expires_at = now() + interval '1 day';
SELECT user_id, id = :'id3' AS same, extended, due FROM narvik_validate_session(:'t2');
SELECT user_id, token = :'t2' AS same_token, set_cookie FROM narvik_authenticate_cookie('narvik_session=' || :'t2');
BEGIN;
SELECT narvik_authenticate(:'t2'), narvik_current_session_id() = :'id3' AS present;
SELECT narvik_invalidate_session(narvik_current_session_id());
SELECT narvik_current_user_id() IS NULL AS nobody;
ROLLBACK;
SELECT count(*) FROM narvik_rotate_session(:'t2');
SELECT count(*) FROM narvik_reauthenticate_session(:'t2');
SELECT count(*) FROM narvik_validate_session(:'t1');
-- twice within grace: both are valid
SELECT token AS t4 FROM narvik_rotate_session(:'t3') \gset
SELECT count(*) FROM narvik_validate_session(:'t2') AS a, narvik_validate_session(:'t3') AS b, narvik_validate_session(:'t4') AS c;
SELECT cardinality(replaced_ids), cardinality(replaced_at) FROM narvik_sessions;
-- over: dead, and nothing else happens
UPDATE narvik_sessions SET replaced_at = ARRAY[now() - interval '30 seconds', now() - interval '61 seconds'];
SELECT count(*) FROM narvik_validate_session(:'t3');
SELECT count(*) FROM narvik_validate_session(:'t2');
SELECT count(*) FROM narvik_validate_session(:'t4');
-- a log-out ends them all
SELECT narvik_delete_sessions_for_user('alice');
SELECT (SELECT count(*) FROM narvik_validate_session(:'t3')), (SELECT count(*) FROM narvik_validate_session(:'t4'));

-- whoever ends the session by an id that it had means it
SELECT token AS t1, id AS id1 FROM narvik_create_session('alice') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
SELECT token AS t3 FROM narvik_rotate_session(:'t2') \gset
BEGIN;
SELECT narvik_authenticate(:'t3');
SELECT narvik_invalidate_session(:'id1'), narvik_current_user_id() IS NULL AS nobody;
SELECT narvik_invalidate_session(:'id1');
COMMIT;
SELECT count(*) FROM narvik_validate_session(:'t3');

-- Seen after the grace: the session ends.
SET narvik.detect_reuse = on;
SET narvik.events = on;
SELECT token AS t1 FROM narvik_create_session('bob') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
SELECT token AS t3 FROM narvik_rotate_session(:'t2') \gset
UPDATE narvik_sessions SET replaced_at = ARRAY[now(), now() - interval '2 minutes'];
SELECT count(*) FROM narvik_validate_session(:'t2');
BEGIN READ ONLY;
SELECT count(*) FROM narvik_validate_session(:'t1');
COMMIT;
SELECT count(*) FROM narvik_validate_session(:'t3');
BEGIN;
SELECT narvik_authenticate(:'t3');
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT narvik_current_user_id() IS NULL AS nobody;
ROLLBACK;
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT (SELECT count(*) FROM narvik_validate_session(:'t2')), (SELECT count(*) FROM narvik_validate_session(:'t3'));
SELECT kind, reason FROM narvik_fetch_events_for_user('bob');
-- without a grace
SET narvik.rotation_grace = 0;
SELECT token AS t1 FROM narvik_create_session('carol') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
SELECT count(*) FROM narvik_validate_session(:'t2');
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT count(*) FROM narvik_validate_session(:'t2');

-- After the session's end there is nothing to steal: it has expired.
SET narvik.rotation_grace = '1min';
SELECT token AS t1 FROM narvik_create_session('ivan') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
UPDATE narvik_sessions SET expires_at = now() - interval '2 days', replaced_at = ARRAY[now() - interval '3 days'] WHERE user_id = 'ivan';
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT kind, reason FROM narvik_fetch_events_for_user('ivan');
SELECT token AS t1 FROM narvik_create_session('ivan') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
UPDATE narvik_sessions SET expires_at = now() - interval '1 second' WHERE user_id = 'ivan';
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT kind, reason FROM narvik_fetch_events_for_user('ivan', max_rows => 1);

-- A browser may send a replaced token beside the present one, in either order: the present one counts.
SELECT token AS t1 FROM narvik_create_session('judy') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
SELECT token AS t3 FROM narvik_rotate_session(:'t2') \gset
SELECT token = :'t3' AS present FROM narvik_authenticate_cookie('narvik_session=' || :'t2' || '; narvik_session=' || :'t3');
UPDATE narvik_sessions SET replaced_at = ARRAY[now(), now() - interval '2 minutes'] WHERE user_id = 'judy';
SELECT token = :'t3' AS present FROM narvik_authenticate_cookie('narvik_session=' || :'t1' || '; narvik_session=' || :'t3');
SELECT token = :'t3' AS present FROM narvik_authenticate_cookie('narvik_session=' || :'t3' || '; narvik_session=' || :'t1');
-- without it the one in grace; and a reused one alone ends the session
SELECT token = :'t2' AS in_grace FROM narvik_authenticate_cookie('narvik_session=' || :'t1' || '; narvik_session=' || :'t2');
SELECT count(*) FROM narvik_authenticate_cookie('narvik_session=' || :'t1' || '; narvik_session=another');
SELECT count(*) FROM narvik_authenticate_cookie('narvik_session=' || :'t3');
SELECT reason FROM narvik_fetch_events_for_user('judy', max_rows => 1);

-- A trigger that keeps the row keeps the session, and it has not ended.
CREATE FUNCTION pg_temp.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT token AS t1 FROM narvik_create_session('kate') \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
UPDATE narvik_sessions SET replaced_at = ARRAY[now() - interval '2 minutes'] WHERE user_id = 'kate';
CREATE TRIGGER keep BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION pg_temp.keep();
BEGIN;
SELECT narvik_authenticate(:'t2');
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT narvik_current_user_id();
COMMIT;
DROP TRIGGER keep ON narvik_sessions;
SELECT count(*) FROM narvik_validate_session(:'t2');
DELETE FROM narvik_sessions WHERE user_id = 'kate';

-- What was replaced before a log-in or a password is dead after it, grace or not.
SET narvik.rotation_grace = '1min';
SELECT token AS t1 FROM narvik_create_guest_session() \gset
SELECT token AS t2 FROM narvik_rotate_session(:'t1') \gset
SELECT count(*) FROM narvik_validate_session(:'t1');
SELECT token AS t3 FROM narvik_promote_session(:'t2', 'dave') \gset
SELECT (SELECT count(*) FROM narvik_validate_session(:'t1')), (SELECT count(*) FROM narvik_validate_session(:'t2'));
SELECT token AS t4 FROM narvik_rotate_session(:'t3') \gset
SELECT token AS t5 FROM narvik_reauthenticate_session(:'t4') \gset
SELECT (SELECT count(*) FROM narvik_validate_session(:'t3')), (SELECT count(*) FROM narvik_validate_session(:'t4')),
	(SELECT count(*) FROM narvik_validate_session(:'t5'));
-- a log-in with a token in grace ends that session
SELECT token AS t6 FROM narvik_rotate_session(:'t5') \gset
SELECT user_id FROM narvik_promote_session(:'t5', 'erin');
SELECT count(*) FROM narvik_validate_session(:'t6');
-- an id that a client chose is not remembered
SELECT token AS t1, id FROM narvik_create_session('frank') \gset
SELECT token AS t2, id AS id2 FROM narvik_rotate_session(:'t1') \gset
SELECT narvik_change_session_id(:'id2', narvik_session_id('chosen'));
SELECT (SELECT count(*) FROM narvik_validate_session(:'t1')), (SELECT count(*) FROM narvik_validate_session(:'t2')),
	(SELECT count(*) FROM narvik_validate_session('chosen'));
-- not more than so many are kept
SELECT token AS t FROM narvik_create_session('gina') \gset
DO $$
DECLARE t text := (SELECT token FROM narvik_create_session('hana'));
BEGIN
	FOR i IN 1..20 LOOP
		t := (SELECT token FROM narvik_rotate_session(t));
	END LOOP;
END $$;
SELECT cardinality(replaced_ids), cardinality(replaced_at), array_lower(replaced_ids, 1) FROM narvik_sessions WHERE user_id = 'hana';
\set VERBOSITY sqlstate
SET narvik.rotation_grace = '2h';
\set VERBOSITY default
RESET narvik.rotation_grace;
RESET narvik.detect_reuse;
RESET narvik.events;
DELETE FROM narvik_sessions;
DELETE FROM narvik_events;
