--
-- sliding: a validation in the second half of a session's life extends it to
-- a full lifetime from now.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';

\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/include/validate_with.sql'
\i :file

-- The lifetime of the setting, 30 days. Exactly half left does extend ...
SELECT token FROM narvik_create_session('alice') \gset
SELECT * FROM pg_temp.validate_with('15 days', :'token');
-- ... one microsecond more does not.
SELECT * FROM pg_temp.validate_with('15 days 0.000001 seconds', :'token');
-- Anything less does, down to the last microsecond.
SELECT * FROM pg_temp.validate_with('14 days 23:59:59.999999', :'token');
SELECT * FROM pg_temp.validate_with('1 microsecond', :'token');

-- Once extended, the next validation leaves it alone.
SELECT v.extended FROM narvik_validate_session(:'token') v;

-- An extension changes expires_at and purge_hour, and nothing else.
SELECT narvik_delete_sessions_for_user('alice');
SELECT token, id, created_at AS created FROM narvik_create_session('alice', '{"theme": "dark"}') \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 hour');
SELECT v.id = :'id' AS same_id, v.user_id, v.created_at = :'created' AS same_creation,
       v.expires_at = statement_timestamp() + '30 days' AS full_life, v.data, v.new, v.extended
FROM narvik_validate_session(:'token') v;
SELECT id = decode(:'id', 'hex') AS same_id, user_id, created_at = :'created' AS same_creation,
       expires_at > statement_timestamp() + '29 days' AS full_life, lifetime, sliding, data,
       purge_hour = floor(extract(epoch FROM expires_at) / 3600) AS hour_fits
FROM narvik_sessions;

-- A session without a lifetime of its own follows the setting at each validation.
SET narvik.session_expires_in = '1h';
SELECT * FROM pg_temp.validate_with('30 minutes 0.000001 seconds', :'token');
SELECT * FROM pg_temp.validate_with('30 minutes', :'token');
SET narvik.session_expires_in = '60d';
SELECT * FROM pg_temp.validate_with('30 days 0.000001 seconds', :'token');
SELECT * FROM pg_temp.validate_with('30 days', :'token');
-- A shorter setting does not cut short what was given before.
SET narvik.session_expires_in = '1h';
SELECT * FROM pg_temp.validate_with('30 days', :'token');
RESET narvik.session_expires_in;
SELECT narvik_delete_sessions_for_user('alice');

-- A lifetime of its own decides for the session, whatever the setting says.
SELECT token FROM narvik_create_session('alice', expires_in => '2 hours') \gset
SELECT * FROM pg_temp.validate_with('1 hour 0.000001 seconds', :'token');
SELECT * FROM pg_temp.validate_with('1 hour', :'token');
SET narvik.session_expires_in = '60d';
SELECT * FROM pg_temp.validate_with('1 hour 0.000001 seconds', :'token');
SELECT * FROM pg_temp.validate_with('1 hour', :'token');
SET narvik.session_expires_in = '1min';
SELECT * FROM pg_temp.validate_with('1 hour 0.000001 seconds', :'token');
SELECT * FROM pg_temp.validate_with('1 hour', :'token');
RESET narvik.session_expires_in;
SELECT narvik_delete_sessions_for_user('alice');

-- A saved session slides by the setting as well.
SELECT narvik_save_session(narvik_session_id('saved'), 'alice', statement_timestamp() + '15 days');
SELECT * FROM pg_temp.validate_with('15 days 0.000001 seconds', 'saved');
SELECT * FROM pg_temp.validate_with('15 days', 'saved');
SELECT narvik_delete_sessions_for_user('alice');

-- Lifetimes with months: extended to a calendar month in UTC from now. Half of a
-- month is what interval division says, 15 days, whichever month it is.
SELECT token FROM narvik_create_session('alice', expires_in => '1 month') \gset
SELECT valid, extended FROM pg_temp.validate_with('15 days 0.000001 seconds', :'token');
SELECT valid, extended, answered = stored AS stored_as_answered,
       answered = ((statement_timestamp() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
                  - statement_timestamp() AS exact
FROM pg_temp.validate_with('15 days', :'token');
SELECT narvik_delete_sessions_for_user('alice');
-- Half of a year is six months, 181 to 184 days.
SELECT token FROM narvik_create_session('alice', expires_in => '1 year') \gset
SELECT valid, extended FROM pg_temp.validate_with('185 days', :'token');
SELECT valid, extended, answered = stored AS stored_as_answered,
       answered = ((statement_timestamp() AT TIME ZONE 'UTC') + interval '1 year') AT TIME ZONE 'UTC'
                  - statement_timestamp() AS exact
FROM pg_temp.validate_with('179 days', :'token');
SELECT narvik_delete_sessions_for_user('alice');
-- Days, hours and microseconds together: half of it to the microsecond.
SELECT token FROM narvik_create_session('alice', expires_in => '3 days 02:00:00.000002') \gset
SELECT * FROM pg_temp.validate_with('37:00:00.000002', :'token');
SELECT * FROM pg_temp.validate_with('37:00:00.000001', :'token');
SELECT narvik_delete_sessions_for_user('alice');

-- A lifetime far longer than the past the calendar knows: still extended when due.
SELECT token FROM narvik_create_session('alice', expires_in => '20000 years') \gset
SELECT valid, extended, answered > '19999 years' AS full_life
FROM pg_temp.validate_with('1 hour', :'token');
SELECT narvik_delete_sessions_for_user('alice');
