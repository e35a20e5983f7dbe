--
-- cookie_settings: the settings cookie_*: defaults, units, and who may set them
-- how.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SELECT narvik_cookie_name() IS NOT NULL AS module_loaded;
\pset format unaligned

SELECT name, vartype, context, unit, boot_val, reset_val, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'narvik.cookie%' ORDER BY name COLLATE "C";
\t on
-- ---- units and spellings ---------------------------------------------------

SET narvik.cookie_expires_in = '90min';
SHOW narvik.cookie_expires_in;
SELECT narvik_create_cookie('tok');
SET narvik.cookie_expires_in = 90;
SHOW narvik.cookie_expires_in;
RESET narvik.cookie_expires_in;
SHOW narvik.cookie_expires_in;
SET narvik.cookie_same_site = 'STRICT';
SHOW narvik.cookie_same_site;
SELECT narvik_create_cookie('tok');
RESET narvik.cookie_same_site;
SET narvik.cookie_secure = no;
SELECT narvik_create_cookie('tok');
RESET narvik.cookie_secure;

-- ---- refused when set, and then nothing changes ----------------------------

SET narvik.cookie_name = 'sid';
SET narvik.cookie_name = 'my session';
\echo :LAST_ERROR_SQLSTATE
SHOW narvik.cookie_name;
RESET narvik.cookie_name;
SET narvik.cookie_domain = '.example.com';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_path = 'app';
\echo :LAST_ERROR_SQLSTATE
-- Minor versions of PostgreSQL differ in the message.
\set VERBOSITY sqlstate
SET narvik.cookie_expires_in = -2;
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_same_site = 'loose';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_secure = 'maybe';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_partitioned = 'maybe';
\echo :LAST_ERROR_SQLSTATE
SELECT narvik_create_cookie('tok');
ALTER DATABASE :"DBNAME" SET narvik.cookie_path = 'app';
\echo :LAST_ERROR_SQLSTATE

-- ---- for how long a setting holds ------------------------------------------

BEGIN;
SET LOCAL narvik.cookie_name = 'local';
SELECT narvik_create_cookie('tok');
COMMIT;
SELECT narvik_cookie_name();

BEGIN;
SET narvik.cookie_name = 'undone';
ROLLBACK;
SELECT narvik_cookie_name();

CREATE FUNCTION pg_temp.host_cookie(token text) RETURNS text
LANGUAGE sql SET narvik.cookie_name = '__Host-sid' SET narvik.cookie_expires_in = '1h'
AS 'SELECT narvik_create_cookie(token)';
SELECT pg_temp.host_cookie('tok');
SELECT narvik_cookie_name();
CREATE FUNCTION pg_temp.wrong_cookie() RETURNS text
LANGUAGE sql SET narvik.cookie_name = 'my session' AS 'SELECT narvik_cookie_name()';
\echo :LAST_ERROR_SQLSTATE

-- ---- an application's role may set none of them ----------------------------

CREATE ROLE regress_narvik_cookies;
SET ROLE regress_narvik_cookies;
SET narvik.cookie_name = 'sid';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_expires_in = '1d';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_domain = 'example.com';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_path = '/app';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_same_site = 'strict';
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_secure = off;
\echo :LAST_ERROR_SQLSTATE
SET narvik.cookie_partitioned = on;
\echo :LAST_ERROR_SQLSTATE
SET LOCAL narvik.cookie_secure = off;
\echo :LAST_ERROR_SQLSTATE
SELECT set_config('narvik.cookie_secure', 'off', false);
\echo :LAST_ERROR_SQLSTATE
ALTER ROLE regress_narvik_cookies SET narvik.cookie_secure = off;
\echo :LAST_ERROR_SQLSTATE
-- but use and read them
SELECT narvik_create_cookie('tok');
SHOW narvik.cookie_secure;
RESET ROLE;

-- A superuser's SET holds for the role that the connection then takes on.
SET narvik.cookie_name = 'sid';
SET ROLE regress_narvik_cookies;
SELECT narvik_create_cookie('tok');
RESET ROLE;
RESET narvik.cookie_name;

-- ---- connections that have not loaded the module yet -----------------------

-- What the database sets is there from the first call on.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = 'database_sid';
ALTER DATABASE :"DBNAME" SET narvik.cookie_expires_in = '2h';
\c -
SELECT narvik_create_cookie('tok');
ALTER DATABASE :"DBNAME" RESET narvik.cookie_name;
ALTER DATABASE :"DBNAME" RESET narvik.cookie_expires_in;

-- A value that nobody could check yet is dropped then: a wrong one ...
\c -
SET client_min_messages = error;
DO $$
BEGIN
	SET narvik.cookie_path = 'app';
EXCEPTION WHEN invalid_parameter_value THEN	-- the module is preloaded
END $$;
SELECT narvik_create_cookie('tok');

-- ... and one of a role that may not set it.
\c -
SET client_min_messages = error;
SET SESSION AUTHORIZATION regress_narvik_cookies;
DO $$
BEGIN
	SET narvik.cookie_secure = off;
EXCEPTION WHEN insufficient_privilege THEN	-- the module is preloaded
END $$;
SELECT narvik_create_cookie('tok');
RESET SESSION AUTHORIZATION;

DROP ROLE regress_narvik_cookies;
