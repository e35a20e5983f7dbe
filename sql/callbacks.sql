--
-- callbacks: Narvik's storage callbacks, for clients that hash tokens themselves.
-- They store, fetch, move and delete exactly what they are told.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
SELECT narvik_session_id('one') AS one, narvik_session_id('two') AS two, narvik_session_id('none') AS none \gset

-- saveSession: created now, sliding, no lifetime of its own, data {} by default.
SELECT narvik_save_session(:'one', 'alice', statement_timestamp() + '10 days');
SELECT id = decode(:'one', 'hex') AS same_id, user_id, created_at < statement_timestamp() AS created,
       expires_at - created_at AS lives, lifetime, sliding, data,
       purge_hour = floor(extract(epoch FROM expires_at) / 3600) AS hour_fits
FROM narvik_sessions;
SELECT narvik_save_session(id => :'two', user_id => 'alice', expires_at => '2100-01-01 00:00+00',
                           data => '{"theme": "dark", "nothing": null}');

-- fetchSession: the session as stored, neither new nor extended.
SELECT f.id = :'one' AS same_id, f.user_id, f.expires_at - f.created_at AS lives, f.data, f.new, f.extended
FROM narvik_fetch_session(:'one') f;
SELECT f.expires_at, f.data FROM narvik_fetch_session(:'two') f;
-- The id is answered in lower case, however it was asked for.
SELECT f.id = :'two' AS lower_case FROM narvik_fetch_session(upper(:'two')) f;

-- The token of a saved id validates, with the data given, and slides.
SELECT v.id = :'one' AS same_id, v.user_id, v.data, v.new, v.extended,
       v.expires_at = statement_timestamp() + '30 days' AS full_life
FROM narvik_validate_session('one') v;
SELECT v.data, v.extended FROM narvik_validate_session('two') v;

-- updateSessionExpiry: forwards and backwards, by id in any case; false for none.
SELECT narvik_update_session_expiry(:'one', '2101-01-01 00:00+00');
SELECT narvik_update_session_expiry(upper(:'one'), '2099-12-31 23:59:59.999999+00');
SELECT narvik_update_session_expiry(:'none', '2101-01-01 00:00+00');
SELECT f.expires_at FROM narvik_fetch_session(:'one') f;
SELECT f.expires_at FROM narvik_fetch_session(:'two') f;

-- Expired ones are fetched as they are, by a fetch that changes nothing. Years
-- before 1970 are hours before hour 0.
SELECT narvik_update_session_expiry(:'one', '1969-12-31 23:30+00');
SELECT ctid AS ctid0, xmin AS xmin0 FROM narvik_sessions WHERE id = decode(:'one', 'hex') \gset
SELECT f.user_id, f.expires_at, f.data, f.new, f.extended FROM narvik_fetch_session(:'one') f;
SELECT ctid = :'ctid0' AS same_ctid, xmin = :'xmin0' AS same_xmin, purge_hour
FROM narvik_sessions WHERE id = decode(:'one', 'hex');

-- What has expired is not brought back, but its id can be used again.
SELECT narvik_update_session_expiry(:'one', '2100-01-01 00:00+00');
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00');

-- Due ones are fetched unextended.
SELECT narvik_update_session_expiry(:'one', statement_timestamp() + '1 hour');
SELECT f.expires_at < statement_timestamp() + '1 hour' AS unextended, f.extended FROM narvik_fetch_session(:'one') f;

-- A session may be saved that has expired already; it is stored and it is not valid.
SELECT narvik_save_session(narvik_session_id('past'), 'alice', '2001-01-01 00:00+00');
SELECT f.expires_at FROM narvik_fetch_session(narvik_session_id('past')) f;
SELECT count(*) FROM narvik_validate_session('past');

-- The calendar's whole width is accepted, to its last microsecond.
SELECT narvik_save_session(narvik_session_id('last'), 'alice', '294276-12-31 23:59:59.999999+00');
SELECT f.expires_at FROM narvik_fetch_session(narvik_session_id('last')) f;
SELECT v.user_id, v.extended FROM narvik_validate_session('last') v;
-- No hour is too far away to come after this one.
SELECT purge_hour > extract(epoch FROM statement_timestamp()) / 3600 AS later FROM narvik_sessions
WHERE id = decode(narvik_session_id('last'), 'hex');
SELECT narvik_update_session_expiry(narvik_session_id('last'), '4714-11-24 00:00:00+00 BC');
SELECT f.expires_at FROM narvik_fetch_session(narvik_session_id('last')) f;
SELECT purge_hour < 0 AS before_1970 FROM narvik_sessions WHERE id = decode(narvik_session_id('last'), 'hex');
SELECT count(*) FROM narvik_validate_session('last');

-- deleteSession: true, then false. The other one stays.
SELECT narvik_delete_session(:'one');
SELECT narvik_delete_session(:'one');
SELECT narvik_delete_session(upper(:'two'));
SELECT count(*) FROM narvik_sessions;

-- A second save of an id is refused, in upper case too; what was
-- saved first stays as it was.
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00', '{"first": true}');
SELECT narvik_save_session(:'one', 'bob', '2101-01-01 00:00+00');
\set VERBOSITY sqlstate
SELECT narvik_save_session(upper(:'one'), 'bob', '2101-01-01 00:00+00');
-- Twice in one statement as well.
SELECT narvik_save_session(:'two', 'bob', '2101-01-01 00:00+00') FROM generate_series(1, 2);
\set VERBOSITY default
SELECT f.user_id, f.expires_at, f.data FROM narvik_fetch_session(:'one') f;
SELECT count(*) FROM narvik_sessions;
-- A program that catches it goes on.
DO $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id('one'), 'bob', '2101-01-01 00:00+00');
EXCEPTION WHEN unique_violation THEN
    RAISE NOTICE 'caught, and fetched: %', (SELECT user_id FROM narvik_fetch_session(narvik_session_id('one')));
END $$;
-- Expired or deleted, the id is free again, and nothing of the first is left.
SELECT narvik_update_session_expiry(:'one', '2001-01-01 00:00+00');
SELECT narvik_save_session(:'one', 'bob', '2100-01-01 00:00+00', '{"second": true}');
SELECT f.user_id, f.data FROM narvik_fetch_session(:'one') f;
SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
SELECT narvik_delete_session(:'one');
SELECT narvik_save_session(:'one', 'bob', '2100-01-01 00:00+00');
SELECT f.user_id FROM narvik_fetch_session(:'one') f;
SELECT narvik_delete_session(:'one');

-- When it expires must be told, and be a time.
SELECT narvik_save_session(:'one', 'alice', NULL);
SELECT narvik_save_session(:'one', 'alice', 'infinity');
\set VERBOSITY sqlstate
SELECT narvik_save_session(:'one', 'alice', '-infinity');
\set VERBOSITY default
SELECT narvik_save_session(:'one', 'alice', '2100-01-01 00:00+00');
SELECT narvik_update_session_expiry(:'one', NULL);
SELECT narvik_update_session_expiry(:'one', 'infinity');
\set VERBOSITY sqlstate
SELECT narvik_update_session_expiry(:'one', '-infinity');
\set VERBOSITY default
SELECT f.expires_at FROM narvik_fetch_session(:'one') f;
SELECT narvik_delete_session(:'one');
SELECT count(*) FROM narvik_sessions;
