CREATE ROLE login_service LOGIN;
CREATE ROLE request_service LOGIN;
GRANT USAGE ON SCHEMA narvik TO login_service, request_service;

GRANT EXECUTE ON FUNCTION
    narvik_promote_session, narvik_invalidate_session, narvik_reauthenticate_session,
    narvik_authenticate_cookie(text), check_password, change_password
TO login_service;

GRANT EXECUTE ON FUNCTION narvik_authenticate_cookie(text), narvik_create_guest_session TO request_service;

-- Ends the session of this transaction, and no other.
CREATE FUNCTION log_out() RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = narvik, pg_temp
AS 'SELECT narvik_invalidate_session(narvik_current_session_id())';
ALTER FUNCTION log_out() OWNER TO login_service;
REVOKE ALL ON FUNCTION log_out() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_out() TO request_service;

SELECT token FROM narvik_create_session('1') \gset
SELECT count(*) FROM narvik_create_session('2') \g /dev/null
SET SESSION AUTHORIZATION request_service;

SELECT narvik_promote_session(NULL, '1');
SELECT narvik_save_session(narvik_session_id('known'), '1', 'tomorrow');
SELECT narvik_update_session_data(narvik_session_id('known'), '{"role": "admin"}');
SELECT narvik_delete_sessions_for_user('2');
SELECT id FROM narvik_fetch_sessions_for_user('2');
SET ROLE login_service;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT log_out();
COMMIT;
SELECT count(*) FROM narvik_authenticate_cookie('narvik_session=' || :'token');
RESET SESSION AUTHORIZATION;
SELECT user_id FROM narvik_sessions;
