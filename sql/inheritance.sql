--
-- inheritance: rows of tables that inherit from narvik's are nobody's sessions. No
-- function and no trigger reads, counts, lists, changes or deletes one, even if it has
-- the id, the user, the number and the place of a session. The same for users.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
TRUNCATE narvik_sessions;

-- Each session is in the children too, at the same place, older there; dora's has
-- expired there. One session is in the children only.
SELECT count(narvik_save_session(narvik_session_id('token-' || n), u, '2100-01-01'))
FROM unnest('{alice,alice,alice,bob,dora}'::text[]) WITH ORDINALITY t (u, n);
SELECT narvik_save_session(narvik_session_id('old'), 'alice', statement_timestamp() - interval '3 days');
SELECT narvik_save_session(narvik_session_id('due'), 'erin', statement_timestamp() + '1 hour');
SELECT narvik_save_session(narvik_session_id('child'), 'child', '2100-01-01');
CREATE TABLE regress_archive () INHERITS (narvik_sessions);
INSERT INTO regress_archive
SELECT seq, id, user_id, created_at - interval '1 day', e, lifetime, sliding, data, extract(epoch FROM e) / 3600
FROM narvik_sessions, LATERAL (SELECT CASE user_id WHEN 'dora' THEN created_at - interval '1 day' ELSE expires_at END) x (e)
ORDER BY seq;
CREATE TABLE regress_grandchild (more text) INHERITS (regress_archive);
INSERT INTO regress_grandchild SELECT * FROM ONLY regress_archive;
DELETE FROM ONLY narvik_sessions WHERE user_id = 'child';
SELECT count(*) AS sessions FROM ONLY narvik_sessions;
SELECT count(*) AS twins FROM ONLY narvik_sessions s JOIN regress_archive a ON (a.ctid, a.id, a.seq) = (s.ctid, s.id, s.seq);

-- What a statement answers, how many rows it changed in the children, and whose
-- sessions it took away, changed or made. Nothing stays.
CREATE TEMP TABLE sessions AS SELECT ctid AS place, tableoid::regclass::text AS child, s.* FROM narvik_sessions s;
CREATE FUNCTION pg_temp.try(statement text, setting text DEFAULT 'narvik.max_sessions_per_user', value text DEFAULT '0',
    OUT answer text, OUT children bigint, OUT sessions text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config(setting, value, true);
    EXECUTE statement INTO answer;
    SELECT count(*) FILTER (WHERE x.child <> 'narvik_sessions'),
        string_agg(x.how || x.user_id, ' ' ORDER BY x.user_id, x.how DESC) FILTER (WHERE x.child = 'narvik_sessions')
    INTO children, sessions
    FROM (SELECT '-' AS how, * FROM (SELECT * FROM pg_temp.sessions
              EXCEPT SELECT ctid, tableoid::regclass::text, s.* FROM narvik_sessions s) gone
          UNION ALL
          SELECT '+', * FROM (SELECT ctid, tableoid::regclass::text, s.* FROM narvik_sessions s
              EXCEPT SELECT * FROM pg_temp.sessions) come) x;
    RAISE SQLSTATE 'XX999';
EXCEPTION WHEN SQLSTATE 'XX999' THEN
    RETURN;
WHEN OTHERS THEN
    answer := SQLSTATE;
END $$;

-- By token.
SELECT s AS statement, t.* FROM unnest(ARRAY[
    'SELECT user_id FROM narvik_validate_session(''token-1'')',
    'SELECT count(*) FROM narvik_validate_session(''token-5'')',
    'SELECT count(*) FROM narvik_validate_session(''old'')',
    'SELECT extended FROM narvik_validate_session(''due'')',
    'SELECT count(*) FROM narvik_validate_session(''child'')',
    'SELECT narvik_authenticate(''old'')',
    'SELECT narvik_authenticate(''due'')',
    'SELECT narvik_authenticate(''child'')',
    'SELECT user_id FROM narvik_rotate_session(''token-1'')',
    'SELECT count(*) FROM narvik_rotate_session(''old'')',
    'SELECT count(*) FROM narvik_rotate_session(''child'')']) s, pg_temp.try(s) t;
-- By id.
SELECT s AS statement, t.* FROM unnest(ARRAY[
    'SELECT narvik_invalidate_session(narvik_session_id(''token-1''))',
    'SELECT narvik_invalidate_session(narvik_session_id(''child''))',
    'SELECT narvik_delete_session(narvik_session_id(''token-1''))',
    'SELECT narvik_delete_session(narvik_session_id(''child''))',
    'SELECT narvik_update_session_data(narvik_session_id(''token-1''), ''{"a": 1}'')',
    'SELECT narvik_update_session_data(narvik_session_id(''child''), ''{"a": 1}'')',
    'SELECT narvik_update_session_expiry(narvik_session_id(''token-1''), ''2000-01-01'')',
    'SELECT narvik_update_session_expiry(narvik_session_id(''child''), ''2000-01-01'')',
    'SELECT count(*) FROM narvik_fetch_session(narvik_session_id(''token-1''))',
    'SELECT count(*) FROM narvik_fetch_session(narvik_session_id(''child''))',
    'SELECT narvik_save_session(narvik_session_id(''token-1''), ''alice'', ''2100-01-01'')',
    'SELECT narvik_save_session(narvik_session_id(''child''), ''child'', ''2100-01-01'')']) s, pg_temp.try(s) t;
-- By user.
SELECT s AS statement, t.* FROM unnest(ARRAY[
    'SELECT count(*) FROM narvik_fetch_sessions_for_user(''alice'')',
    'SELECT count(*) FROM narvik_fetch_sessions_for_user(''child'')',
    'SELECT narvik_delete_sessions_for_user(''alice'')',
    'SELECT narvik_delete_sessions_for_user(''alice'', narvik_session_id(''token-2''))',
    'SELECT narvik_delete_sessions_for_user(''child'')',
    'SELECT user_id FROM narvik_create_session(''child'')']) s, pg_temp.try(s) t;
-- The limit; nine sessions of alice's have not expired, three of them are hers.
SELECT value AS "limit", s AS statement, t.* FROM unnest('{1,3,4,9}'::text[]) value, unnest(ARRAY[
    'SELECT user_id FROM narvik_create_session(''alice'')',
    'SELECT narvik_save_session(narvik_session_id(''new''), ''alice'', ''2100-01-01'')',
    'SELECT user_id FROM narvik_create_session(''child'')']) s, pg_temp.try(s, 'narvik.max_sessions_per_user', value) t
ORDER BY s, value;
-- What has expired, and what is too old.
SELECT value AS max_age, t.* FROM unnest('{0,12h}'::text[]) value,
    pg_temp.try('SELECT narvik_delete_all_expired_sessions()', 'narvik.session_max_age', value) t;

-- The link: who has sessions in the children only keeps nobody from linking.
CREATE TABLE regress_users (id text PRIMARY KEY);
CREATE TABLE regress_former () INHERITS (regress_users);
INSERT INTO regress_users VALUES ('alice'), ('bob'), ('dora'), ('erin');
INSERT INTO regress_former VALUES ('alice'), ('child');
SELECT narvik_link_users('regress_users');
CREATE FUNCTION pg_temp.shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := upper(NEW.id); RETURN NEW; END $$;
CREATE TRIGGER shout BEFORE UPDATE ON regress_users FOR EACH ROW WHEN (OLD.id = 'bob') EXECUTE FUNCTION pg_temp.shout();
SELECT s AS statement, t.* FROM unnest(ARRAY[
    'SELECT id FROM narvik_validate_user(''token-1'', NULL::regress_users)',
    'SELECT count(*) FROM narvik_validate_user(''old'', NULL::regress_users)',
    'SELECT id FROM narvik_validate_user(''due'', NULL::regress_users)',
    'SELECT count(*) FROM narvik_validate_user(''child'', NULL::regress_users)',
    'SELECT narvik_create_session(''child'')',
    'SELECT narvik_save_session(narvik_session_id(''new''), ''child'', ''2100-01-01'')',
    'DELETE FROM ONLY regress_users WHERE id = ''alice'' RETURNING id',
    'UPDATE ONLY regress_users SET id = ''alicia'' WHERE id = ''alice'' RETURNING id',
    'UPDATE regress_users SET id = id WHERE id = ''bob'' RETURNING id',
    -- These change no user.
    'DELETE FROM regress_former WHERE id = ''alice'' RETURNING id',
    'DELETE FROM regress_former WHERE id = ''child'' RETURNING id',
    'UPDATE regress_former SET id = ''carol'' WHERE id = ''alice'' RETURNING id']) s, pg_temp.try(s) t;
-- All users, and those of the child.
BEGIN;
TRUNCATE regress_former;
SELECT count(*) AS sessions FROM ONLY narvik_sessions;
TRUNCATE ONLY regress_users;
SELECT count(*) AS sessions FROM ONLY narvik_sessions;
SELECT count(*) AS in_children FROM regress_archive;
ROLLBACK;
SELECT narvik_unlink_users();
SELECT narvik_delete_sessions_for_user(u) FROM unnest('{alice,child}'::text[]) u;
-- A session of somebody unknown does keep from it.
SELECT user_id FROM narvik_create_session('nobody');
SELECT narvik_link_users('regress_users');

DROP TABLE regress_users, regress_former, regress_archive, regress_grandchild;
TRUNCATE narvik_sessions;
