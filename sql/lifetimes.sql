--
-- lifetimes: which values of expires_in are accepted: those that are positive and
-- end within the range of timestamps. 22023 is invalid_parameter_value.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

\set VERBOSITY sqlstate
-- Zero, written in any way.
SELECT narvik_create_session('alice', expires_in => '0');
SELECT narvik_create_session('alice', expires_in => '0.0000001 seconds');
SELECT narvik_create_session('alice', expires_in => '1 day -24 hours');
-- Negative.
SELECT narvik_create_session('alice', expires_in => '-1 microsecond');
SELECT narvik_create_session('alice', expires_in => '1 day -25 hours');
SELECT narvik_create_session('alice', expires_in => '1 month -40 days');
SELECT narvik_create_session('alice', expires_in => '-1 month 20 days');
SELECT narvik_create_session('alice', expires_in => '-178000000 years');
-- Beyond the range of timestamps, which ends with the year 294276.
SELECT narvik_create_session('alice', expires_in => '294277 years');
SELECT narvik_create_session('alice', expires_in => '178000000 years');
SELECT narvik_create_session('alice', expires_in => '2147483647 days');
SELECT narvik_create_session('alice', expires_in => '2562047788 hours');
SELECT narvik_create_session('alice', expires_in => '2147483647 months 2147483647 days 2562047788 hours');
-- Fixed sessions as well.
SELECT narvik_create_session('alice', '{}', '0', false);
SELECT narvik_create_session('alice', '{}', '-1 day', false);
SELECT narvik_create_session('alice', '{}', '294277 years', false);
-- With a limit on their age as well.
SET narvik.session_max_age = '1d';
SELECT narvik_create_session('alice', expires_in => '-1 day');
SELECT narvik_create_session('alice', expires_in => '294277 years');
RESET narvik.session_max_age;
-- What is no interval at all never comes as far as narvik.
SELECT narvik_create_session('alice', expires_in => '290000000 years');
\set VERBOSITY default
-- An infinite one does from PostgreSQL 17 on; before that it is no interval.
DO $$
DECLARE
    endless text;
BEGIN
    FOREACH endless IN ARRAY '{infinity,-infinity}'::text[] LOOP
        BEGIN
            PERFORM narvik_create_session('alice', expires_in => endless::interval);
            RAISE NOTICE '% was accepted', endless;
        EXCEPTION
            WHEN invalid_datetime_format THEN NULL;
            WHEN invalid_parameter_value THEN NULL;
        END;
    END LOOP;
END $$;
-- Nothing was stored.
SELECT count(*) FROM narvik_sessions;

-- Accepted: one microsecond, and numbers that cancel out to something positive.
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice', expires_in => '1 microsecond') c;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice', expires_in => '1 day -23:59:59.999999') c;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice', expires_in => '-1 day 24:00:00.000001') c;
SELECT c.expires_at > c.created_at AS lives FROM narvik_create_session('alice', expires_in => '-1 month 60 days') c;
SELECT c.expires_at > c.created_at AS lives FROM narvik_create_session('alice', expires_in => '1 month -20 days') c;

-- Accepted: so long that it ends shortly before timestamps do, given in months, in
-- days, and to the last microsecond.
SELECT c.expires_at > '294000-01-01' AS lives FROM narvik_create_session('alice', expires_in => '292000 years') c;
SELECT c.expires_at > '294200-01-01' AS lives FROM narvik_create_session('alice', expires_in => '292200 years') c;
SELECT c.expires_at > '294000-01-01' AS lives FROM narvik_create_session('alice', expires_in => '106650000 days') c;
CREATE FUNCTION pg_temp.create_longest() RETURNS narvik_created_session LANGUAGE plpgsql AS $$
BEGIN
    RETURN narvik_create_session('alice',
        expires_in => timestamptz '294276-12-31 23:59:59.999999+00' - statement_timestamp());
END $$;
SELECT c.expires_at = '294276-12-31 23:59:59.999999+00' AS lives FROM pg_temp.create_longest() c;
SELECT count(*) FROM narvik_sessions;
-- And not a microsecond more.
\set VERBOSITY sqlstate
DO $$
BEGIN
    PERFORM narvik_create_session('alice',
        expires_in => timestamptz '294276-12-31 23:59:59.999999+00' - statement_timestamp() + interval '1 microsecond');
END $$;
\set VERBOSITY default

-- Validating them is no occasion for an error, not even when they are due and the
-- same lifetime from now would end too late, or half of it lies before all timestamps.
SELECT narvik_delete_sessions_for_user('alice') > 0 AS cleared;
CREATE TEMP TABLE long AS
SELECT c.token, c.id, c.user_id
FROM unnest('{1 microsecond,1 month -20 days,20000 years,292000 years,106650000 days}'::interval[]) WITH ORDINALITY t (l, n),
     LATERAL narvik_create_session('user ' || n, expires_in => l) c;
UPDATE narvik_sessions SET expires_at = '2100-01-01 00:00+00';
SELECT long.user_id, count(v.id) AS valid
FROM long LEFT JOIN LATERAL narvik_validate_session(token) v ON true
GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM long WHERE narvik_update_session_expiry(id, statement_timestamp() + interval '1 minute');
SELECT long.user_id, count(v.id) AS valid
FROM long LEFT JOIN LATERAL narvik_validate_session(token) v ON true
GROUP BY 1 ORDER BY 1;
SELECT sum(narvik_delete_sessions_for_user(user_id)) FROM long;
DROP TABLE long;

-- The longest of all, a moment later.
SELECT token, id FROM pg_temp.create_longest() \gset
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 hour');
SELECT v.user_id FROM narvik_validate_session(:'token') v;
SELECT narvik_delete_sessions_for_user('alice') > 0 AS cleared;
