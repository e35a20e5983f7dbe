--
-- settings: names, defaults, units, bounds, and who may set them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
-- Makes them known before the first call of a function.
LOAD 'narvik';

SELECT name, setting, unit, context, vartype
FROM pg_settings
WHERE name LIKE 'narvik.%' AND name NOT LIKE 'narvik.purge%'
ORDER BY name COLLATE "C";

-- Each has a description.
SELECT name FROM pg_settings WHERE name LIKE 'narvik.%' AND coalesce(short_desc, '') = '';

-- The words of those that take one of several.
SELECT name, enumvals FROM pg_settings WHERE name LIKE 'narvik.%' AND vartype = 'enum';

-- Units.
SHOW narvik.session_expires_in;
SET narvik.session_expires_in = '15min';
SHOW narvik.session_expires_in;
SELECT setting FROM pg_settings WHERE name = 'narvik.session_expires_in';
SET narvik.session_expires_in = 90;
SHOW narvik.session_expires_in;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice') c;
SET narvik.session_max_age = '7d';
SHOW narvik.session_max_age;

-- The largest values still work.
SET narvik.session_expires_in = 2147483647;
SET narvik.session_max_age = 2147483647;
SET narvik.max_sessions_per_user = 2147483647;
SELECT extract(epoch FROM c.expires_at - c.created_at)::bigint AS lives_seconds FROM narvik_create_session('alice') c;
SELECT v.user_id FROM narvik_create_session('alice') c, LATERAL narvik_validate_session(c.token) v;
SELECT narvik_delete_sessions_for_user('alice');

-- What makes no sense is refused, and changes nothing.
\set VERBOSITY sqlstate
SET narvik.session_expires_in = 0;
SET narvik.session_expires_in = -1;
SET narvik.session_expires_in = '1 fortnight';
SET narvik.session_expires_in = '100000d';
SET narvik.session_expires_in = '';
SET narvik.session_max_age = -1;
SET narvik.session_max_age = 'never';
SET narvik.max_sessions_per_user = -1;
SET narvik.max_sessions_per_user = 'many';
SET narvik.max_sessions_per_user = '5s';
\set VERBOSITY default
SHOW narvik.session_expires_in;
SHOW narvik.session_max_age;
SHOW narvik.max_sessions_per_user;
RESET narvik.session_expires_in;
RESET narvik.session_max_age;
RESET narvik.max_sessions_per_user;

-- The names under narvik. are reserved: a misspelt one is an error.
\set VERBOSITY sqlstate
SET narvik.session_expire_in = '1h';
SHOW narvik.session_expire_in;
\set VERBOSITY default
SELECT count(*) FROM pg_settings WHERE name = 'narvik.session_expire_in';

-- An application role can read them and change none of them.
CREATE ROLE regress_narvik_app;
SET ROLE regress_narvik_app;
SHOW narvik.session_expires_in;
SET narvik.session_expires_in = '365d';
DO $$
DECLARE
    setting text;
    refused bigint := 0;
BEGIN
    FOR setting IN SELECT name FROM pg_settings WHERE name LIKE 'narvik.%' LOOP
        BEGIN
            PERFORM set_config(setting, current_setting(setting), false);
            RAISE NOTICE '% was set', setting;
        EXCEPTION WHEN insufficient_privilege THEN
            refused := refused + 1;
        END;
    END LOOP;
    RAISE NOTICE 'all refused: %', refused = (SELECT count(*) FROM pg_settings WHERE name LIKE 'narvik.%');
END $$;
RESET ROLE;

-- Not either by setting them before the library is loaded: what was put there is
-- dropped when it is. (Where narvik is preloaded it is refused at once.)
GRANT EXECUTE ON FUNCTION narvik_create_session(text, jsonb, interval, boolean, interval) TO regress_narvik_app;
\c -
SET client_min_messages = error;
SET ROLE regress_narvik_app;
DO $$
BEGIN
    PERFORM set_config('narvik.session_expires_in', '365d', false),
            set_config('narvik.session_max_age', '365d', false),
            set_config('narvik.max_sessions_per_user', '100', false);
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice') c;
SHOW narvik.session_expires_in;
SHOW narvik.session_max_age;
SHOW narvik.max_sessions_per_user;
RESET ROLE;

-- What a superuser gives a database is there before the library, and taken over.
ALTER DATABASE :"DBNAME" SET narvik.session_expires_in = '1h';
\c -
SET ROLE regress_narvik_app;
SELECT c.expires_at - c.created_at AS lives FROM narvik_create_session('alice') c;
SHOW narvik.session_expires_in;
RESET ROLE;
ALTER DATABASE :"DBNAME" RESET narvik.session_expires_in;
\c -

REVOKE EXECUTE ON FUNCTION narvik_create_session(text, jsonb, interval, boolean, interval) FROM regress_narvik_app;
SELECT narvik_delete_sessions_for_user('alice');
DROP ROLE regress_narvik_app;
