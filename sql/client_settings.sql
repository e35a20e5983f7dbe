--
-- client_settings: what a connection may have set for itself changes nothing.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;

-- The life of a session, as one line of text.
CREATE FUNCTION pg_temp.life() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c narvik_created_session;
    r narvik_created_session;
    answer text;
BEGIN
    c := narvik_create_session($q$o'\x brien$q$, $j${"a": "\\x", "b": null}$j$, '90 minutes');
    answer := (SELECT v.user_id || ' ' || v.data || ' ' || (v.expires_at - v.created_at = make_interval(mins => 90))
               FROM narvik_validate_session(c.token) v);
    PERFORM narvik_update_session_expiry(c.id, statement_timestamp() + make_interval(mins => 5));
    answer := answer || ' ' || (SELECT v.extended || ' ' || (v.expires_at = statement_timestamp() + make_interval(mins => 90))
                                FROM narvik_validate_session(c.token) v);
    answer := answer || ' ' || narvik_update_session_data(c.id, '{"a": null, "c": 1}');
    SELECT * INTO r FROM narvik_rotate_session(c.token);
    answer := answer || ' ' || (r.id = narvik_session_id(r.token)) || ' ' ||
        (SELECT count(*) FROM narvik_fetch_sessions_for_user($q$o'\x brien$q$));
    PERFORM narvik_save_session(narvik_session_id('saved'), 'alice', statement_timestamp() - make_interval(mins => 5));
    answer := answer || ' ' || narvik_delete_all_expired_sessions();
    answer := answer || ' ' || narvik_delete_sessions_for_user($q$o'\x brien$q$, narvik_session_id('other'));
    RETURN answer;
END $$;
-- First under settings that change how SQL is read, so that no plan made under
-- others is there to help.  From PostgreSQL 19 on all strings are standard ones.
SELECT current_setting('server_version_num')::int < 190000 AS other_strings \gset
\if :other_strings
SET standard_conforming_strings = off;
SET escape_string_warning = off;
\endif
SET backslash_quote = off;
SET transform_null_equals = on;
SET quote_all_identifiers = on;
SELECT pg_temp.life();
\if :other_strings
RESET standard_conforming_strings;
RESET escape_string_warning;
\endif
RESET backslash_quote;
RESET transform_null_equals;
RESET quote_all_identifiers;
SELECT pg_temp.life();

-- The same line under every one of these: no row. (One has another name from
-- PostgreSQL 16 on.)
CREATE FUNCTION pg_temp.same_under(setting text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    usual text := pg_temp.life();
    before text := current_setting(setting);
    unusual text;
BEGIN
    PERFORM set_config(setting, value, false);
    unusual := pg_temp.life();
    PERFORM set_config(setting, before, false);
    RETURN usual = unusual;
END $$;
CREATE TEMP TABLE settings (setting text, value text);
INSERT INTO settings VALUES
             ('bytea_output', 'escape'),
             ('DateStyle', 'SQL, DMY'),
             ('DateStyle', 'German'),
             ('IntervalStyle', 'iso_8601'),
             ('TimeZone', 'Asia/Kathmandu'),
             ('standard_conforming_strings', 'off'),
             ('escape_string_warning', 'on'),
             ('quote_all_identifiers', 'on'),
             ('xmlbinary', 'hex'),
             ('extra_float_digits', '-15'),
             ('client_encoding', 'LATIN1'),
             ('lc_messages', 'C'),
             ('transform_null_equals', 'on'),
             ('array_nulls', 'off'),
             ('row_security', 'off'),
             ('session_replication_role', 'replica'),
             ('session_replication_role', 'local'),
             ('check_function_bodies', 'off'),
             ('enable_indexscan', 'off'),
             ('enable_bitmapscan', 'off'),
             ('enable_seqscan', 'off'),
             ('plan_cache_mode', 'force_generic_plan'),
             ('plan_cache_mode', 'force_custom_plan'),
             ('force_parallel_mode', 'on'),
             ('debug_parallel_query', 'on'),
             ('jit_above_cost', '0'),
             ('work_mem', '64kB'),
             ('statement_timeout', '1h'),
             ('lock_timeout', '1h'),
             ('synchronous_commit', 'off'),
             ('default_statistics_target', '1'),
             ('temp_tablespaces', ''),
             ('from_collapse_limit', '1');
DELETE FROM settings WHERE setting NOT IN (SELECT name FROM pg_settings)
    OR setting = 'standard_conforming_strings' AND NOT :'other_strings';
SELECT count(*) >= 30 AS to_be_tried FROM settings;
SELECT setting, value AS not_the_same_under FROM settings WHERE NOT pg_temp.same_under(setting, value);
DROP TABLE settings;
SELECT count(*) FROM narvik_sessions;
