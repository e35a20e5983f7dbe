--
-- create_session: narvik_create_session stores a new session and answers it
-- with its token.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- The columns of the answer, in the order the contract gives them.
SELECT a.attname, a.atttypid::regtype
FROM pg_attribute a
WHERE a.attrelid = 'narvik_created_session'::regclass
ORDER BY a.attnum;

-- Defaults: created now, 30 days to live, no data, new, not extended.
SELECT c.user_id, c.created_at = statement_timestamp() AS created_now,
       c.expires_at - c.created_at AS lives, c.data, c.new, c.extended
FROM narvik_create_session('alice') c;

-- The row: sliding, and no lifetime of its own (the setting decides).
SELECT user_id, expires_at - created_at AS lives, lifetime, sliding, data,
       octet_length(id) AS id_bytes
FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- Every argument by name: a lifetime of its own, kept in the row; fixed; data.
SELECT c.user_id, c.expires_at - c.created_at AS lives, c.data, c.new, c.extended
FROM narvik_create_session(sliding => false, expires_in => '2 hours',
                           data => '{"theme": "dark", "cart": [1, null]}',
                           user_id => 'alice') c;
SELECT user_id, expires_at - created_at AS lives, lifetime, sliding, data
FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- The token is 32 base32 characters; the id is the SHA-256 of its text.
SELECT token, id FROM narvik_create_session('alice', '{"theme": "dark"}') \gset
SELECT :'token' ~ '^[a-z2-7]{32}$' AS token_format,
       :'id' ~ '^[0-9a-f]{64}$' AS id_format,
       :'id' = narvik_session_id(:'token') AS id_of_token,
       :'id' = encode(sha256(convert_to(:'token', 'UTF8')), 'hex') AS id_is_sha256;

-- The table holds the id, and the token in no column and in no form.
SELECT count(*) AS rows_with_the_id FROM narvik_sessions WHERE id = decode(:'id', 'hex');
SELECT count(*) AS rows_with_the_token
FROM narvik_sessions s
WHERE position(:'token' in lower(s::text)) > 0
   OR position(encode(convert_to(:'token', 'UTF8'), 'hex') in lower(s::text)) > 0
   OR position(encode(convert_to(:'token', 'UTF8'), 'base64') in s::text) > 0;

-- The token validates at once.
SELECT v.id = :'id' AS same_id, v.user_id, v.data, v.new, v.extended
FROM narvik_validate_session(:'token') v;

-- A user may have many sessions (no limit by default), each with its own token and id.
SELECT count(DISTINCT c.token) AS tokens, count(DISTINCT c.id) AS ids
FROM generate_series(1, 20) i, LATERAL narvik_create_session('alice', jsonb_build_object('n', i)) c;
SELECT count(*) FROM narvik_sessions WHERE user_id = 'alice';
SELECT narvik_delete_sessions_for_user('alice');

-- The setting is the default lifetime; a given one overrides it.
SET narvik.session_expires_in = '90min';
SELECT c.expires_at - c.created_at AS by_setting FROM narvik_create_session('alice') c;
SELECT c.expires_at - c.created_at AS by_argument
FROM narvik_create_session('alice', expires_in => '7 days') c;
RESET narvik.session_expires_in;
SELECT lifetime FROM narvik_sessions ORDER BY seq;
SELECT narvik_delete_sessions_for_user('alice');

-- Months are calendar months, in UTC whatever the connection's TimeZone.
SELECT l AS lifetime,
       c.expires_at = ((statement_timestamp() AT TIME ZONE 'UTC') + l) AT TIME ZONE 'UTC' AS exact
FROM unnest('{1 month,1 year 2 mons 3 days 04:05:06.000007,1 microsecond}'::interval[]) l,
     LATERAL narvik_create_session('alice', expires_in => l) c;

-- purge_hour is the hour since 1970 in which the session expires.
SELECT bool_and(purge_hour = floor(extract(epoch FROM expires_at) / 3600)) AS hour_fits, count(*)
FROM narvik_sessions;
SELECT narvik_delete_sessions_for_user('alice');

-- Time is the statement's start, not the transaction's.
BEGIN;
SELECT c.created_at = statement_timestamp() AS statement_start, c.created_at > now() AS after_transaction_start
FROM narvik_create_session('alice') c;
ROLLBACK;

-- Rolled back: no session.
SELECT count(*) FROM narvik_sessions;
