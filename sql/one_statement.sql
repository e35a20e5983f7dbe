--
-- one_statement: sessions made, validated and ended within a single statement,
-- and functions called in every place SQL allows.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- Created and validated in the same statement.
SELECT v.id = c.id AS same_id, v.user_id, v.data, v.new
FROM narvik_create_session('alice', '{"a": 1}') c, LATERAL narvik_validate_session(c.token) v;
WITH c AS MATERIALIZED (SELECT * FROM narvik_create_session('alice'))
SELECT c.new AS created_new, v.user_id, v.new FROM c, LATERAL narvik_validate_session(c.token) v;
SELECT (narvik_validate_session((narvik_create_session('alice')).token)).user_id;
-- Saved and validated; deleted and validated; the same.
SELECT v.user_id
FROM (SELECT narvik_save_session(narvik_session_id('saved'), 'alice', '2100-01-01 00:00+00')::text) s (done),
     LATERAL narvik_validate_session(CASE WHEN s.done IS NOT NULL THEN 'saved' END) v;
SELECT d.done, count(v.id)
FROM (SELECT narvik_invalidate_session(narvik_session_id('saved')) OFFSET 0) d (done)
     LEFT JOIN LATERAL narvik_validate_session(CASE WHEN d.done THEN 'saved' END) v ON true
GROUP BY 1;
-- Created, changed, rotated and ended in one statement.
SELECT d.data, v.data AS validated, r.data AS rotated, narvik_invalidate_session(r.id) AS ended,
       narvik_invalidate_session(r.id) AS ended_again
FROM narvik_create_session('alice', '{"a": 1}') c,
     LATERAL narvik_update_session_data(c.id, '{"b": 2}') d (data),
     LATERAL narvik_validate_session(CASE WHEN d.data IS NOT NULL THEN c.token END) v,
     LATERAL narvik_rotate_session(CASE WHEN v.id IS NOT NULL THEN c.token END) r;
SELECT narvik_delete_sessions_for_user('alice');

-- Many in one statement, hits and misses mixed.
CREATE TEMP TABLE tokens AS
SELECT i, c.token, c.id FROM generate_series(1, 1000) i, LATERAL narvik_create_session('user ' || i) c;
INSERT INTO tokens SELECT i, 'unknown ' || i, NULL FROM generate_series(1001, 2000) i;
SELECT count(*) AS valid, count(*) FILTER (WHERE v.user_id = 'user ' || i) AS right_one
FROM tokens, LATERAL narvik_validate_session(token) v;
-- All due at once: each is extended, each once.
SELECT count(*) FROM tokens WHERE narvik_update_session_expiry(id, statement_timestamp() + '1 hour');
SELECT count(*) FILTER (WHERE a.extended) AS first, count(*) FILTER (WHERE b.extended) AS second,
       bool_and(a.expires_at = b.expires_at) AS same_end
FROM tokens, LATERAL narvik_validate_session(token) a,
     LATERAL narvik_validate_session(CASE WHEN a.id IS NOT NULL THEN token END) b;
-- All expired at once: each is deleted.
SELECT count(*) FROM tokens WHERE narvik_update_session_expiry(id, statement_timestamp());
SELECT count(*) FROM tokens, LATERAL narvik_validate_session(token) v;
SELECT count(*) FROM narvik_sessions;
DROP TABLE tokens;

-- In WHERE, EXISTS, CASE, aggregates and sub-selects.
SELECT token, id FROM narvik_create_session('alice', '{"role": "admin"}') \gset
SELECT 'seen' AS page WHERE EXISTS (SELECT FROM narvik_validate_session(:'token'));
SELECT 'seen' AS page WHERE EXISTS (SELECT FROM narvik_validate_session('unknown'));
SELECT 'seen' AS page WHERE 'admin' = (SELECT v.data->>'role' FROM narvik_validate_session(:'token') v);
SELECT CASE WHEN count(*) = 1 THEN max(v.user_id) ELSE 'nobody' END FROM narvik_validate_session(:'token') v;
SELECT (SELECT v.user_id FROM narvik_validate_session(t) v) FROM unnest(ARRAY[:'token', 'unknown', NULL]) t;

-- As a set in the SELECT list, whole, expanded, beside another set, limited; in ROWS FROM.
SELECT (v).user_id, (v).new FROM (SELECT narvik_validate_session(:'token') AS v OFFSET 0) s;
SELECT narvik_validate_session('unknown');
SELECT (narvik_validate_session(:'token')).*  \gset x_
SELECT :'x_id' = :'id' AS same_id, :'x_user_id' AS user_id, :'x_data' AS data, :'x_new' AS new;
SELECT n, (narvik_validate_session(:'token')).user_id FROM generate_series(1, 2) n;
SELECT generate_series(1, 3) AS n, (narvik_validate_session(:'token')).user_id;
SELECT n, user_id FROM ROWS FROM (generate_series(1, 2), narvik_validate_session(:'token'), narvik_validate_session('unknown'))
    AS t (n, id, user_id, created_at, expires_at, data, new, extended, id2, user2, created2, expires2, data2, new2, extended2);
SELECT count(narvik_create_session('alice', jsonb_build_object('n', i))) FROM generate_series(1, 5) i;
SELECT (narvik_fetch_sessions_for_user('alice')).data LIMIT 2;
SELECT f.data FROM narvik_fetch_sessions_for_user('alice') f LIMIT 1;
SELECT EXISTS (SELECT narvik_fetch_sessions_for_user('alice'));

-- Prepared, with a generic plan, over sessions that come and go.
SET plan_cache_mode = force_generic_plan;
PREPARE validate (text) AS SELECT user_id, extended FROM narvik_validate_session($1);
EXECUTE validate (:'token');
EXECUTE validate ('unknown');
EXECUTE validate (NULL);
SELECT narvik_update_session_expiry(:'id', statement_timestamp() + '1 hour');
EXECUTE validate (:'token');
EXECUTE validate (:'token');
SELECT narvik_invalidate_session(:'id');
EXECUTE validate (:'token');
DEALLOCATE validate;
RESET plan_cache_mode;

-- In PL/pgSQL: into a row, as a loop, as a condition.
DO $$
DECLARE
    c narvik_created_session;
    v narvik_session;
    n int := 0;
BEGIN
    c := narvik_create_session('bob', '{"n": 1}');
    SELECT * INTO STRICT v FROM narvik_validate_session(c.token);
    RAISE NOTICE '% % %', v.user_id, v.id = c.id, v.data;
    FOR v IN SELECT * FROM narvik_validate_session(c.token) LOOP
        n := n + 1;
    END LOOP;
    RAISE NOTICE 'loops: %', n;
    SELECT * INTO c FROM narvik_rotate_session(c.token);
    PERFORM narvik_validate_session(c.token);
    RAISE NOTICE 'rotated is valid: %', FOUND;
    IF narvik_invalidate_session(c.id) THEN
        PERFORM narvik_validate_session(c.token);
        RAISE NOTICE 'invalidated is valid: %', FOUND;
    END IF;
END $$;

-- In a cursor: one row, forwards and backwards. It holds what it read while it was open.
SELECT token, id FROM narvik_create_session('carol') \gset
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT user_id FROM narvik_validate_session(:'token');
FETCH c;
FETCH c;
SELECT narvik_invalidate_session(:'id');
FETCH BACKWARD c;
CLOSE c;
DECLARE c CURSOR FOR SELECT f.user_id FROM narvik_fetch_sessions_for_user('alice') f;
FETCH 2 FROM c;
SELECT narvik_delete_sessions_for_user('alice');
FETCH ALL FROM c;
COMMIT;

-- In an index, a default, a check and a trigger's work: a page that logs its visitors.
CREATE TEMP TABLE visits (session text DEFAULT narvik_session_id(narvik_generate_token()), who text);
INSERT INTO visits (who) SELECT v.user_id FROM narvik_create_session('alice') c, LATERAL narvik_validate_session(c.token) v;
SELECT length(session), who FROM visits;
DROP TABLE visits;
SELECT narvik_delete_sessions_for_user('alice');
SELECT count(*) FROM narvik_sessions;
