--
-- delete_expired: narvik_delete_all_expired_sessions deletes what has expired
-- by now, the current hour's included, and counts it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- Nothing there, nothing deleted.
SELECT narvik_delete_all_expired_sessions();

-- Ends one session at each distance from now and purges, all at one moment.
CREATE FUNCTION pg_temp.purge(distances interval[]) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM narvik_save_session(narvik_session_id(random()::text), 'alice', statement_timestamp() + distance,
                                jsonb_build_object('distance', distance))
    FROM unnest(distances) distance;
    RETURN narvik_delete_all_expired_sessions();
END $$;

-- Expired this moment, in this hour, in hours and years past, before 1970: deleted.
-- Live for another microsecond, hour, or hundreds of thousands of years: kept.
SELECT pg_temp.purge('{0,-1 microsecond,-1 second,-59 minutes,-1 hour,-61 minutes,-1 day,-30 days,-60 years,-2100 years,
                       1 microsecond,1 second,1 hour,30 days,10000 years,290000 years}');
SELECT data->>'distance' AS kept FROM narvik_sessions ORDER BY seq;

-- What ended meanwhile goes at the next call; then nothing is left to delete.
SELECT narvik_delete_sessions_for_user('alice') >= 4 AS cleared;
SELECT pg_temp.purge('{-1 second,-1 second,1 day}');
SELECT narvik_delete_all_expired_sessions();
SELECT count(*) FROM narvik_sessions;

-- Sliding or fixed, created or saved, of whichever user: expired is expired.
SELECT narvik_update_session_expiry(c.id, statement_timestamp() - interval '1 minute')
FROM (VALUES ('bob', true), ('carol', false)) t (name, slides),
     LATERAL narvik_create_session(name, '{}', '1 hour', slides) c;
SELECT narvik_delete_all_expired_sessions();

-- More than one batch would hold.
SELECT count(narvik_save_session(narvik_session_id(i::text), 'user ' || i % 7,
                                 statement_timestamp() - make_interval(mins => i)))
FROM generate_series(1, 2500) i;
SELECT narvik_delete_all_expired_sessions();
SELECT count(*) FROM narvik_sessions;

SELECT narvik_delete_sessions_for_user('alice');
