CREATE ROLE authenticator LOGIN NOINHERIT;
CREATE ROLE web_anon;
GRANT web_anon TO authenticator;
GRANT USAGE ON SCHEMA narvik TO web_anon;
GRANT EXECUTE ON FUNCTION narvik_authenticate_cookie(text) TO web_anon;

CREATE SCHEMA hooks;
CREATE FUNCTION hooks.pre_request() RETURNS void
LANGUAGE plpgsql SET search_path = narvik, pg_temp AS $$
DECLARE
    cookies json := nullif(current_setting('request.cookies', true), '');
    answer  text;
BEGIN
    SELECT set_cookie INTO answer FROM narvik_authenticate_cookie(
        narvik_cookie_name() || '=' || (cookies ->> narvik_cookie_name()));
    IF answer IS NOT NULL THEN
        PERFORM set_config('response.headers',
            json_build_array(json_build_object('Set-Cookie', answer))::text, true);
    END IF;
END $$;
GRANT USAGE ON SCHEMA hooks TO web_anon;

CREATE SCHEMA api;
CREATE TABLE api.notes (
    owner text NOT NULL DEFAULT narvik_current_user_id(),
    body  text NOT NULL
);
ALTER TABLE api.notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON api.notes USING (owner = (SELECT narvik_current_user_id()));
GRANT USAGE ON SCHEMA api TO web_anon;
GRANT SELECT, INSERT ON api.notes TO web_anon;

SELECT token FROM narvik_create_session('1') \gset
SET SESSION AUTHORIZATION authenticator;

BEGIN;
SET LOCAL ROLE web_anon;
SELECT set_config('request.cookies', json_build_object('narvik_session', :'token')::text, true) \g /dev/null
SELECT hooks.pre_request();
INSERT INTO api.notes (body) VALUES ('milk');
SELECT * FROM api.notes;
COMMIT;

BEGIN;
SET LOCAL ROLE web_anon;
SELECT set_config('request.cookies', '{"narvik_session": "made-up"}', true) \g /dev/null
SELECT hooks.pre_request();
SELECT * FROM api.notes;
COMMIT;
RESET SESSION AUTHORIZATION;

CREATE FUNCTION hooks.pre_request_or_refuse() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hooks.pre_request();
    IF narvik.narvik_current_user_id() IS NULL
        AND current_setting('request.path', true) IS DISTINCT FROM '/rpc/log_in'
    THEN
        RAISE SQLSTATE 'PT401' USING MESSAGE = 'not logged in';
    END IF;
END $$;

SET SESSION AUTHORIZATION authenticator;
BEGIN;
SET LOCAL ROLE web_anon;
SELECT hooks.pre_request_or_refuse();
ROLLBACK;
RESET SESSION AUTHORIZATION;
