--
-- time_zones: a day of a lifetime is 24 hours and a month is a month in UTC;
-- the connection's TimeZone and its summer time never matter.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- Creates sessions of 30, 60, ... 360 days under the TimeZone of the caller, and
-- lets each be extended. Answers how many ended exactly n * 24 hours later, and
-- whether arithmetic in that zone would have differed for at least one: if not,
-- the test would see nothing.
CREATE FUNCTION pg_temp.lifetimes_in(zone text,
    OUT zone_is_set boolean, OUT created_exact bigint, OUT extended_exact bigint, OUT zone_would_differ boolean)
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := statement_timestamp();
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    zone_is_set := current_setting('TimeZone') = zone;

    CREATE TEMP TABLE made ON COMMIT DROP AS
    SELECT days, c.token, c.id, c.expires_at
    FROM generate_series(30, 360, 30) days,
         LATERAL narvik_create_session('alice', expires_in => make_interval(days => days)) c;
    SELECT count(*) FILTER (WHERE expires_at = moment + make_interval(hours => 24 * days)),
           bool_or(moment + make_interval(days => days) <> moment + make_interval(hours => 24 * days))
    INTO created_exact, zone_would_differ
    FROM made;

    PERFORM narvik_update_session_expiry(id, moment + interval '1 hour') FROM made;
    SELECT count(*) FILTER (WHERE v.extended AND v.expires_at = moment + make_interval(hours => 24 * days))
    INTO extended_exact
    FROM made, LATERAL narvik_validate_session(made.token) v;

    DROP TABLE made;
END $$;

-- A zone whose summer time begins in a week, whenever that is: its day of the year,
-- counted from 0, in POSIX notation.
SELECT format('AAA0BBB,%s,%s', day % 365, (day + 180) % 365) AS soon
FROM (SELECT extract(doy FROM statement_timestamp() AT TIME ZONE 'UTC')::int + 6) d (day) \gset

-- No difference in UTC; a difference in zones with summer time; 12 exact in all.
SELECT * FROM pg_temp.lifetimes_in('UTC');
SELECT * FROM pg_temp.lifetimes_in('Europe/Oslo');
SELECT * FROM pg_temp.lifetimes_in('America/New_York');
SELECT * FROM pg_temp.lifetimes_in('Australia/Lord_Howe');
SELECT * FROM pg_temp.lifetimes_in(:'soon');

-- The boundary of a half-life is the same in every zone: of 360 days 180 times 24
-- hours, of 30 days and of a month 15 times.
CREATE FUNCTION pg_temp.due(zone text, lifetime interval, remaining interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    made record;
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    SELECT * INTO made FROM narvik_create_session('alice', expires_in => lifetime);
    PERFORM narvik_update_session_expiry(made.id, statement_timestamp() + remaining);
    RETURN (SELECT extended FROM narvik_validate_session(made.token));
END $$;
SELECT n, lifetime, pg_temp.due(zone, lifetime, half) AS half_left,
       pg_temp.due(zone, lifetime, half + interval '1 microsecond') AS more_left
FROM unnest(ARRAY['UTC', 'Europe/Oslo', 'America/New_York', :'soon']) WITH ORDINALITY z (zone, n),
     (VALUES (interval '360 days', interval '4320 hours'), ('30 days', '360 hours'), ('1 month', '360 hours')) l (lifetime, half)
ORDER BY n, half, lifetime = '1 month';
-- Other lifetimes, exactly half of each left, in the zone of this connection.
SELECT count(*) AS cases,
       count(*) FILTER (WHERE v.extended) AS due
FROM generate_series(20, 340, 20) days,
     LATERAL narvik_create_session('bob', expires_in => make_interval(days => days)) c,
     LATERAL (SELECT narvik_update_session_expiry(c.id, statement_timestamp() + make_interval(hours => 12 * days))) u (done),
     LATERAL narvik_validate_session(CASE WHEN u.done THEN c.token END) v;

-- Months are months in UTC, at both ends of the world.
CREATE FUNCTION pg_temp.months_exact(zone text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := statement_timestamp();
BEGIN
    PERFORM set_config('TimeZone', zone, true);
    RETURN (SELECT count(*)
            FROM generate_series(1, 24) months,
                 LATERAL narvik_create_session('alice', expires_in => make_interval(months => months)) c
            WHERE c.expires_at = ((moment AT TIME ZONE 'UTC') + make_interval(months => months)) AT TIME ZONE 'UTC');
END $$;
SELECT n, pg_temp.months_exact(zone)
FROM unnest(ARRAY['UTC', 'Europe/Oslo', 'Pacific/Kiritimati', 'Etc/GMT+12', :'soon']) WITH ORDINALITY z (zone, n);

SELECT narvik_delete_sessions_for_user('alice') > 0 AS deleted;
SELECT narvik_delete_sessions_for_user('bob');
