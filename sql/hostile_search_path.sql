--
-- hostile_search_path: look-alikes of everything narvik might use, in front of
-- pg_catalog. None of them may be called: each would raise a warning.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

CREATE ROLE regress_narvik_app;
CREATE SCHEMA regress_evil;
GRANT USAGE ON SCHEMA regress_evil TO regress_narvik_app;

-- Every operator on the types a session is made of, and every function of these
-- names or on these types, with the same arguments and result. They do what the
-- real ones do, but not silently.
DO $$
DECLARE
    types oid[] := '{bytea,text,timestamptz,timestamp,interval,jsonb,bool,int2,int4,int8,float8,numeric,oid,name,regclass,record}'::regtype[]::oid[];
    o record;
    args text;
    operators int := 0;
    functions int := 0;
BEGIN
    FOR o IN SELECT op.oid, oprname AS name, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS result,
                    oprleft <> 0 AS binary
             FROM pg_operator op
             WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprcode <> 0
               AND (oprleft = 0 OR oprleft = ANY (types)) AND oprright = ANY (types)
               AND oprleft <> 'record'::regtype AND oprright <> 'record'::regtype
    LOOP
        EXECUTE format('CREATE FUNCTION regress_evil.op%s(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN
                            RAISE WARNING ''look-alike operator %s (%s, %s)'';
                            RETURN %s; END $f$',
                       o.oid, CASE WHEN o.binary THEN format('a %s, b %s', o.l, o.r) ELSE format('b %s', o.r) END, o.result,
                       replace(o.name, '%', '%%'), o.l, o.r,
                       CASE WHEN o.binary THEN 'a ' ELSE '' END || format('OPERATOR(pg_catalog.%s) b', o.name));
        EXECUTE format('CREATE OPERATOR regress_evil.%s (%s RIGHTARG = %s, FUNCTION = regress_evil.op%s)',
                       o.name, CASE WHEN o.binary THEN format('LEFTARG = %s,', o.l) ELSE '' END, o.r, o.oid);
        operators := operators + 1;
    END LOOP;

    FOR o IN SELECT p.oid, proname AS name, pg_get_function_arguments(p.oid) AS arguments,
                    pg_get_function_result(p.oid) AS result, pronargs AS n, proretset
             FROM pg_proc p
             WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0 AND proargmodes IS NULL
               AND prolang IN (SELECT oid FROM pg_language WHERE lanname IN ('internal', 'sql'))
               AND prorettype <> ALL ('{internal,cstring,trigger,event_trigger,void,fdw_handler,index_am_handler,table_am_handler,tsm_handler,language_handler}'::regtype[])
               AND NOT EXISTS (SELECT FROM unnest(proargtypes::oid[]) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p')
               AND prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')
               AND (proargtypes::oid[] <@ types)
               AND NOT proretset
               AND oidvectortypes(proargtypes) !~ '^$|internal'
    LOOP
        SELECT string_agg('$' || i, ', ') INTO args FROM generate_series(1, o.n) i;
        EXECUTE format('CREATE FUNCTION regress_evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN
                            RAISE WARNING ''look-alike function %s'';
                            RETURN pg_catalog.%I(%s); END $f$',
                       o.name, (SELECT string_agg(format_type(a, NULL), ', ') FROM unnest((SELECT proargtypes::oid[] FROM pg_proc WHERE oid = o.oid)) a),
                       o.result, o.name, o.name, args);
        functions := functions + 1;
    END LOOP;

    -- Without arguments: the clocks and the like.
    FOR o IN SELECT unnest('{now,statement_timestamp,transaction_timestamp,clock_timestamp}'::text[]) AS name LOOP
        EXECUTE format('CREATE FUNCTION regress_evil.%I() RETURNS timestamptz LANGUAGE plpgsql AS $f$ BEGIN
                            RAISE WARNING ''look-alike function %s'';
                            RETURN pg_catalog.%I(); END $f$', o.name, o.name, o.name);
    END LOOP;
    RAISE NOTICE 'hundreds of operators and functions: %', operators > 200 AND functions > 800;
END $$;

-- Aggregates, sets, pgcrypto's functions and narvik's own.
CREATE FUNCTION regress_evil.warn(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'look-alike %', what; RETURN true; END $$;
CREATE FUNCTION regress_evil.step(bigint, anyelement) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'look-alike aggregate'; RETURN $1; END $$;
CREATE AGGREGATE regress_evil.count(anyelement) (SFUNC = regress_evil.step, STYPE = bigint, INITCOND = '0');
CREATE AGGREGATE regress_evil.max(anyelement) (SFUNC = regress_evil.step, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION regress_evil.jsonb_each(jsonb) RETURNS TABLE (key text, value jsonb) LANGUAGE sql AS
$$ SELECT 'evil', '1'::pg_catalog.jsonb FROM regress_evil.warn('jsonb_each') $$;
CREATE FUNCTION regress_evil.jsonb_object_keys(jsonb) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT 'evil' FROM regress_evil.warn('jsonb_object_keys') $$;
CREATE FUNCTION regress_evil.gen_random_bytes(integer) RETURNS bytea LANGUAGE sql AS
$$ SELECT '\x00'::pg_catalog.bytea FROM regress_evil.warn('gen_random_bytes') $$;
CREATE FUNCTION regress_evil.digest(text, text) RETURNS bytea LANGUAGE sql AS
$$ SELECT '\x00'::pg_catalog.bytea FROM regress_evil.warn('digest') $$;
CREATE FUNCTION regress_evil.digest(bytea, text) RETURNS bytea LANGUAGE sql AS
$$ SELECT '\x00'::pg_catalog.bytea FROM regress_evil.warn('digest') $$;
CREATE FUNCTION regress_evil.narvik_session_id(text) RETURNS text LANGUAGE sql AS
$$ SELECT 'evil' FROM regress_evil.warn('narvik_session_id') $$;
CREATE FUNCTION regress_evil.narvik_generate_token() RETURNS text LANGUAGE sql AS
$$ SELECT 'evil' FROM regress_evil.warn('narvik_generate_token') $$;

-- The table, with a trigger that warns; and one more among the temporary ones.
CREATE TABLE regress_evil.narvik_sessions (LIKE narvik_sessions INCLUDING ALL);
CREATE FUNCTION regress_evil.caught() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'look-alike table'; RETURN NULL; END $$;
CREATE TRIGGER caught BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON regress_evil.narvik_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION regress_evil.caught();
GRANT ALL ON regress_evil.narvik_sessions TO PUBLIC;

-- Types of the same names, last: from here on even this file has to be careful.
CREATE TYPE regress_evil.narvik_session AS (evil int);
CREATE TYPE regress_evil.narvik_created_session AS (evil int);
CREATE DOMAIN regress_evil.bytea AS pg_catalog.bytea CHECK (regress_evil.warn('type bytea'));
CREATE DOMAIN regress_evil.text AS pg_catalog.text CHECK (regress_evil.warn('type text'));
CREATE DOMAIN regress_evil.jsonb AS pg_catalog.jsonb CHECK (regress_evil.warn('type jsonb'));
CREATE DOMAIN regress_evil.timestamptz AS pg_catalog.timestamptz CHECK (regress_evil.warn('type timestamptz'));
CREATE DOMAIN regress_evil.int4 AS pg_catalog.int4 CHECK (regress_evil.warn('type int4'));
CREATE DOMAIN regress_evil.int8 AS pg_catalog.int8 CHECK (regress_evil.warn('type int8'));
GRANT EXECUTE ON FUNCTION
    narvik_create_session(text, jsonb, interval, boolean, interval), narvik_validate_session(text), narvik_invalidate_session(text, text),
    narvik_rotate_session(text), narvik_fetch_sessions_for_user(text, integer, timestamptz), narvik_delete_sessions_for_user(text, text, text),
    narvik_delete_all_expired_sessions(), narvik_update_session_data(text, jsonb),
    narvik_save_session(text, text, timestamptz, jsonb, interval, boolean), narvik_fetch_session(text),
    narvik_update_session_expiry(text, timestamptz), narvik_delete_session(text)
TO regress_narvik_app;

SELECT narvik_session_id('saved') AS saved, '2100-01-01 00:00+00' AS future, '2001-01-01 00:00+00' AS past \gset

-- A new connection, so that every plan is made under the hostile path, by a role
-- with nothing but EXECUTE. Every path of every function: not due, due, expired,
-- too old, limited, refused.
\c -
SET narvik.max_sessions_per_user = 2;
SET narvik.session_max_age = '365d';
SET ROLE regress_narvik_app;
CREATE TEMP TABLE narvik_sessions (LIKE regress_evil.narvik_sessions);
SET search_path = pg_temp, regress_evil, pg_catalog, public;

-- The look-alikes work: this one is called, and says so.
SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text AS control;
SELECT statement_timestamp() IS NOT NULL AS control;
DELETE FROM regress_evil.narvik_sessions;

SELECT token, id FROM public.narvik_create_session('alice', '{"a": 1}') \gset
SELECT user_id FROM public.narvik_create_session('alice', '{"a": 1}', '2 hours', false);
SELECT user_id FROM public.narvik_create_session('bob');
SELECT user_id, data, extended FROM public.narvik_validate_session(:'token');
SELECT public.narvik_update_session_expiry(:'id', :'future');
SELECT public.narvik_update_session_data(:'id', '{"b": 2, "a": null}');
SELECT user_id, data FROM public.narvik_fetch_sessions_for_user('alice');
SELECT user_id, data FROM public.narvik_fetch_session(:'id');
SELECT token, id FROM public.narvik_rotate_session(:'token') \gset
SELECT user_id, data, extended FROM public.narvik_validate_session(:'token');
SELECT public.narvik_delete_sessions_for_user('alice', :'id');
SELECT user_id FROM public.narvik_create_session('alice');
SELECT user_id FROM public.narvik_create_session('alice');
SELECT user_id FROM public.narvik_validate_session(:'token');
SELECT public.narvik_save_session(:'saved', 'carol', :'future', '{"c": 3}');
SELECT user_id, data, extended FROM public.narvik_validate_session('saved');
SELECT public.narvik_update_session_expiry(:'saved', :'past');
SELECT user_id FROM public.narvik_validate_session('saved');
SELECT public.narvik_save_session(:'saved', 'carol', :'past');
SELECT user_id FROM public.narvik_rotate_session('saved');
SELECT public.narvik_update_session_data(:'saved', '{}');
SELECT public.narvik_delete_all_expired_sessions();
SELECT public.narvik_save_session(:'saved', 'carol', :'future');
SELECT public.narvik_save_session(:'saved', 'carol', :'future');
SELECT public.narvik_delete_session(:'saved');
SELECT public.narvik_invalidate_session(:'saved');
SELECT public.narvik_session_id('testSessionToken');
SELECT public.narvik_read_cookie('a=b; narvik_session=tok');
SELECT public.narvik_create_cookie('tok', '1 hour');
SELECT public.narvik_create_blank_cookie();
SELECT token FROM public.narvik_create_session('dave', '{}', '1 hour') \gset
RESET ROLE;
RESET search_path;
UPDATE public.narvik_sessions SET expires_at = statement_timestamp() + '1 minute' WHERE user_id = 'dave';
SET ROLE regress_narvik_app;
SET search_path = pg_temp, regress_evil, pg_catalog, public;
SELECT user_id, extended FROM public.narvik_validate_session(:'token');
SELECT public.narvik_delete_sessions_for_user('alice');
SELECT public.narvik_delete_sessions_for_user('bob');
SELECT public.narvik_delete_sessions_for_user('dave');

-- Plans made under a good path and used under a hostile one, and the other way round.
RESET search_path;
SET search_path = public;
SELECT token, id FROM narvik_create_session('alice') \gset
SELECT user_id FROM narvik_validate_session(:'token');
SET search_path = pg_temp, regress_evil, pg_catalog, public;
SELECT user_id FROM public.narvik_create_session('alice');
SELECT user_id FROM public.narvik_create_session('alice');
SELECT user_id FROM public.narvik_validate_session(:'token');
SELECT public.narvik_update_session_data(:'id', '{"a": 1}');
SELECT public.narvik_delete_all_expired_sessions();
SELECT public.narvik_delete_sessions_for_user('alice');

-- The real table is empty again, the others never held anything.
RESET search_path;
RESET ROLE;
SELECT (SELECT count(*) FROM public.narvik_sessions) AS narviks,
       (SELECT count(*) FROM pg_temp.narvik_sessions) AS temporary,
       (SELECT count(*) FROM regress_evil.narvik_sessions) AS evil;

\c -
SET client_min_messages = warning;
DROP SCHEMA regress_evil CASCADE;
DROP OWNED BY regress_narvik_app;
DROP ROLE regress_narvik_app;
