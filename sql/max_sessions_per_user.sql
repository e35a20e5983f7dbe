--
-- max_sessions_per_user: with narvik.max_sessions_per_user set, one session more
-- deletes the user's oldest.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';

-- The data of a session is its name here. The sessions of a user, oldest first:
CREATE FUNCTION pg_temp.names(p_user text) RETURNS text
LANGUAGE sql AS $$
    SELECT string_agg(data->>'name', ' ' ORDER BY created_at, seq) FROM narvik_sessions WHERE user_id = p_user
$$;

-- Off by default.
LOAD 'narvik';
SHOW narvik.max_sessions_per_user;
SELECT narvik_create_session('alice', jsonb_build_object('name', name)) IS NOT NULL AS created
FROM unnest('{a1,a2,a3,a4,a5}'::text[]) name;
SELECT pg_temp.names('alice');

-- The limit is kept at the next creation, for that user only: one in, the oldest out.
SET narvik.max_sessions_per_user = 3;
SELECT pg_temp.names('alice');
SELECT token FROM narvik_create_session('bob', '{"name": "b1"}') \gset
SELECT pg_temp.names('alice'), pg_temp.names('bob');
SELECT (narvik_create_session('alice', '{"name": "a6"}')).user_id;
SELECT pg_temp.names('alice'), pg_temp.names('bob');
SELECT (narvik_create_session('alice', '{"name": "a7"}')).user_id;
SELECT pg_temp.names('alice'), pg_temp.names('bob');

-- Up to the limit nothing is deleted.
SELECT (narvik_create_session('bob', '{"name": "b2"}')).user_id;
SELECT (narvik_create_session('bob', '{"name": "b3"}')).user_id;
SELECT pg_temp.names('bob');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT (narvik_create_session('bob', '{"name": "b4"}')).user_id;
SELECT pg_temp.names('bob');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT narvik_delete_sessions_for_user(u) FROM unnest('{alice,bob}'::text[]) u;

-- The oldest is the one created first, not the one that expires first or was used last.
SELECT id FROM narvik_create_session('alice', '{"name": "first"}', '10 years') \gset
SELECT (narvik_create_session('alice', '{"name": "second"}', '1 minute')).user_id;
SELECT (narvik_create_session('alice', '{"name": "third"}')).user_id;
SELECT narvik_update_session_data(:'id', '{"used": "last"}');
SELECT (narvik_create_session('alice', '{"name": "fourth"}')).user_id;
SELECT pg_temp.names('alice');
SELECT narvik_delete_sessions_for_user('alice');

-- Created first is what created_at says, not the order of rows.
SELECT count(narvik_create_session('alice', jsonb_build_object('name', name)))
FROM unnest('{a1,a2,a3}'::text[]) name;
UPDATE narvik_sessions SET created_at = created_at - interval '1 hour' WHERE data->>'name' = 'a2';
SELECT (narvik_create_session('alice', '{"name": "a4"}')).user_id;
SELECT pg_temp.names('alice');
SELECT narvik_delete_sessions_for_user('alice');

-- All of one statement are of one age; of those the first created goes first.
SELECT count(narvik_create_session('alice', jsonb_build_object('name', name)))
FROM unnest('{a1,a2,a3,a4,a5}'::text[]) name;
SELECT pg_temp.names('alice');
SELECT narvik_delete_sessions_for_user('alice');

-- A limit of one: each login ends the one before.
SET narvik.max_sessions_per_user = 1;
SELECT token AS token1 FROM narvik_create_session('alice') \gset
SELECT token AS token2 FROM narvik_create_session('alice') \gset
SELECT count(*) FROM narvik_validate_session(:'token1');
SELECT count(*) FROM narvik_validate_session(:'token2');
-- Rotation adds no session, so it ends none.
SELECT token AS token3 FROM narvik_rotate_session(:'token2') \gset
SELECT count(*) FROM narvik_validate_session(:'token3');
SELECT narvik_delete_sessions_for_user('alice');

-- Expired sessions do not count, newer ones or older: the live one stays.
SET narvik.max_sessions_per_user = 0;
SELECT narvik_save_session(narvik_session_id('x1'), 'alice', statement_timestamp());
SELECT token FROM narvik_create_session('alice', '{"name": "live"}') \gset
SELECT narvik_save_session(narvik_session_id(x), 'alice', statement_timestamp()) FROM unnest('{x2,x3,x4}'::text[]) x;
SET narvik.max_sessions_per_user = 2;
SELECT (narvik_create_session('alice', '{"name": "new"}')).user_id;
SELECT data->>'name' AS live FROM narvik_fetch_sessions_for_user('alice');
SELECT count(*) FROM narvik_validate_session(:'token');
SELECT narvik_delete_sessions_for_user('alice') >= 2 AS cleared;

-- Nor do those past narvik.session_max_age.
SET narvik.session_max_age = '90d';
SELECT (narvik_create_session('alice', '{"name": "live"}')).user_id;
SELECT (narvik_create_session('alice', '{"name": "too old"}')).user_id;
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '89 days' WHERE data->>'name' = 'live';
UPDATE narvik_sessions SET created_at = statement_timestamp() - interval '91 days' WHERE data->>'name' = 'too old';
SELECT (narvik_create_session('alice', '{"name": "new"}')).user_id;
SELECT data->>'name' AS live FROM narvik_fetch_sessions_for_user('alice');
RESET narvik.session_max_age;
SELECT narvik_delete_sessions_for_user('alice') >= 2 AS cleared;

-- A saved session is one more, too, and may be the one deleted.
SELECT count(narvik_save_session(narvik_session_id(name), 'alice', statement_timestamp() + '1 day',
                                 jsonb_build_object('name', name)))
FROM unnest('{s1,s2,s3}'::text[]) name;
SELECT pg_temp.names('alice');
SELECT (narvik_create_session('alice', '{"name": "c4"}')).user_id;
SELECT narvik_save_session(narvik_session_id('s5'), 'alice', statement_timestamp() + '1 day', '{"name": "s5"}');
SELECT pg_temp.names('alice');

-- One saved that has expired already takes no live one's place.
SELECT narvik_save_session(narvik_session_id('s6'), 'alice', statement_timestamp(), '{"name": "s6"}');
SELECT pg_temp.names('alice');
SELECT narvik_delete_session(narvik_session_id('s6'));

-- A save that is refused deletes nothing.
\set VERBOSITY sqlstate
SELECT narvik_save_session(narvik_session_id('s5'), 'alice', statement_timestamp() + '1 day', '{"name": "again"}');
SELECT narvik_create_session('alice', '[]');
\set VERBOSITY default
SELECT pg_temp.names('alice');

-- Off again: no limit.
SET narvik.max_sessions_per_user = 0;
SELECT (narvik_create_session('alice', '{"name": "c6"}')).user_id;
SELECT pg_temp.names('alice');
RESET narvik.max_sessions_per_user;
SELECT narvik_delete_sessions_for_user('alice');
