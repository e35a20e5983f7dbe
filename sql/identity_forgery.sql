--
-- identity_forgery: nothing but a valid token makes the identity.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
SELECT count(narvik_save_session(narvik_session_id('token-' || u), u, '2100-01-01'))
FROM unnest('{alice,bob}'::text[]) u;

CREATE ROLE regress_narvik_forger;
GRANT EXECUTE ON FUNCTION narvik_authenticate(text) TO regress_narvik_forger;
CREATE SCHEMA regress_forged AUTHORIZATION regress_narvik_forger;
CREATE TABLE regress_secrets (user_id text, secret text);
INSERT INTO regress_secrets VALUES ('alice', 'of alice'), ('bob', 'of bob');
ALTER TABLE regress_secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_secrets USING (user_id = narvik_current_user_id());
GRANT SELECT ON regress_secrets TO regress_narvik_forger;

SET ROLE regress_narvik_forger;
SELECT secret FROM regress_secrets;

-- Settings: every name somebody may have thought of, also in a function's SET.
CREATE FUNCTION pg_temp.try(statement text, INOUT allowed text[], INOUT forged boolean) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE statement;
        allowed := allowed || statement;
    EXCEPTION WHEN syntax_error OR insufficient_privilege OR undefined_object OR invalid_name THEN NULL;
    END;
    forged := forged OR public.narvik_current_user_id() IS NOT NULL
              OR public.narvik_current_session_id() IS NOT NULL OR EXISTS (SELECT FROM public.regress_secrets);
END $$;
DO $$
DECLARE
    names text[] := '{user_id,current_user_id,identity,session_id,current_session_id,user,token,authenticated,
                      session,whoami,claims,current_user,user_id.x}';
    name text;
    allowed text[] := '{}';
    forged boolean := false;
BEGIN
    FOREACH name IN ARRAY names LOOP
        SELECT * INTO allowed, forged FROM pg_temp.try(format('SELECT set_config(%L, %L, true)', 'narvik.' || name, 'alice'), allowed, forged);
        SELECT * INTO allowed, forged FROM pg_temp.try(format('SET narvik.%s = %L', name, 'alice'), allowed, forged);
        SELECT * INTO allowed, forged FROM pg_temp.try(format('CREATE FUNCTION regress_forged.f() RETURNS text LANGUAGE sql
            SET narvik.%s = %L AS %L', name, 'alice', 'SELECT public.narvik_current_user_id()'), allowed, forged);
    END LOOP;
    RAISE NOTICE 'allowed: %, forged: %', allowed, forged;
    -- PostgreSQL reserves the prefix in lower case only; other spellings can be set and mean nothing.
    FOREACH name IN ARRAY names LOOP
        SELECT * INTO allowed, forged FROM pg_temp.try(format('SELECT set_config(%L, %L, true)', upper('narvik.' || name), 'alice'), allowed, forged);
    END LOOP;
    RAISE NOTICE 'forged: %', forged;
END $$;
SET narvik.no_such_setting = 'alice';
SELECT secret FROM regress_secrets;

-- A look-alike in front of the real one: the policy knows which it means.
CREATE FUNCTION regress_forged.narvik_current_user_id() RETURNS text LANGUAGE sql AS $$SELECT 'alice'$$;
CREATE FUNCTION pg_temp.narvik_current_user_id() RETURNS text LANGUAGE sql AS $$SELECT 'alice'$$;
CREATE FUNCTION regress_forged.narvik_authenticate(text) RETURNS text LANGUAGE sql AS $$SELECT 'alice'$$;
CREATE FUNCTION regress_forged.texteq(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE OPERATOR regress_forged.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_forged.texteq);
SET search_path = regress_forged, pg_temp, pg_catalog, public;
BEGIN;
SELECT narvik_authenticate('anything'), narvik_current_user_id();
SELECT public.narvik_current_user_id(), public.narvik_current_session_id();
SELECT secret FROM regress_secrets;
SELECT public.narvik_authenticate('token-bob');
SELECT secret FROM regress_secrets;
COMMIT;
RESET search_path;

-- A SECURITY DEFINER function of the user's, and one that calls in between.
CREATE FUNCTION regress_forged.definer(t text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM set_config('role', 'alice', true);
    RETURN public.narvik_current_user_id();
EXCEPTION WHEN OTHERS THEN
    RETURN public.narvik_authenticate(t);
END $$;
SELECT regress_forged.definer('alice');
SELECT secret FROM regress_secrets;
-- With the C functions under another name: refused.
CREATE FUNCTION regress_forged.set_identity(text) RETURNS text AS '$libdir/narvik', 'narvik_authenticate' LANGUAGE C;

-- DISCARD and RESET give nobody an identity, and take none away in mid-transaction.
BEGIN;
SELECT narvik_authenticate('token-bob');
RESET ALL;
SELECT narvik_current_user_id();
DISCARD PLANS;
DISCARD TEMP;
DISCARD SEQUENCES;
SELECT narvik_current_user_id();
SET SESSION AUTHORIZATION DEFAULT;
SELECT narvik_current_user_id();
COMMIT;
RESET ROLE;
SET ROLE regress_narvik_forger;
DISCARD ALL;
SET ROLE regress_narvik_forger;
SELECT narvik_current_user_id(), narvik_current_session_id();
SELECT secret FROM regress_secrets;
RESET ROLE;

DROP TABLE regress_secrets;
DROP OWNED BY regress_narvik_forger CASCADE;
DROP ROLE regress_narvik_forger;
SELECT count(narvik_delete_sessions_for_user(u)) FROM unnest('{alice,bob}'::text[]) u;
