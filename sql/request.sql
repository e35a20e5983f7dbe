--
-- request: narvik_authenticate_cookie, the one call of every request. A Cookie header
-- in; the session, as identity of the transaction, and what to set out.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET TimeZone = 'UTC';
LOAD 'narvik';
SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = 'narvik_request'::regclass ORDER BY attnum;

SELECT narvik_save_session(narvik_session_id(t), t, statement_timestamp() + '20 days', jsonb_build_object('of', t)) FROM unnest('{alice,bob,due}'::text[]) t;
SELECT narvik_save_session(narvik_session_id('old'), 'old', statement_timestamp());

-- Valid: nothing to set; the identity is the session's.
BEGIN;
SELECT set_cookie, token, id = narvik_session_id('alice') AS fits, user_id, authenticated_at = created_at AS logged_in, active_at = created_at AS active, data, new, extended, due
FROM narvik_authenticate_cookie('theme=dark; narvik_session=alice; x=y');
SELECT narvik_current_user_id(), narvik_current_session_id() = narvik_session_id('alice') AS same;
-- The same of octets, of which some are no text.
SELECT user_id FROM narvik_authenticate_cookie('\xff'::bytea || '=1; narvik_session=bob; y='::bytea || '\x00c3'::bytea);
SELECT narvik_current_user_id();
-- A request without a valid session is nobody's.
SELECT count(*) FROM narvik_authenticate_cookie('theme=dark');
SELECT narvik_current_user_id() IS NULL AS nobody;
SELECT count(*) FROM narvik_authenticate_cookie('narvik_session=bob');
SELECT count(*) FROM narvik_authenticate_cookie(NULL);
SELECT narvik_current_user_id() IS NULL AS nobody;
SELECT count(*) FROM narvik_authenticate_cookie('narvik_session=bob');
SELECT count(*) FROM narvik_authenticate_cookie(NULL::bytea);
SELECT narvik_current_user_id() IS NULL AS nobody;
ROLLBACK;

-- Each cookie of the name is tried, up to eight, in their order.
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=unknown; narvik_session=old; narvik_session=; narvik_session="alice"; narvik_session=bob');
SELECT n, r.user_id FROM unnest('{7,8}'::int[]) n LEFT JOIN narvik_authenticate_cookie(repeat('narvik_session=x; ', n) || 'narvik_session=alice') r ON true ORDER BY n;
-- Found expired, its row goes.
SELECT count(*) FROM narvik_fetch_session(narvik_session_id('old'));
-- Other names, in whatever case, are none.
SELECT count(*) FROM narvik_authenticate_cookie('NARVIK_SESSION=alice; xnarvik_session=alice; narvik_session2=alice');
SET narvik.cookie_name = 'sid';
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=bob; sid=alice');
RESET narvik.cookie_name;

-- Whatever the header, no error.
SELECT count(r.id) FROM unnest(ARRAY['', ';', '=', 'narvik_session', 'narvik_session=', 'narvik_session="', 'narvik_session=""', 'narvik_session=a b', 'narvik_session=é',
    'narvik_session=' || repeat('x', 1025), repeat('narvik_session=x;', 10000), E'narvik_session=\x01', '''; --']) h, narvik_authenticate_cookie(h) r;
SELECT count(r.id) FROM unnest('{"\\x","\\x00","\\x6e617276696b5f73657373696f6e3dff","\\x6e617276696b5f73657373696f6e3d00"}'::bytea[]) h, narvik_authenticate_cookie(h) r;
-- Nor a session, where narvik_create_cookie would have refused the token, or where
-- narvik_validate_session takes none so long.
SELECT narvik_put_session(narvik_session_id(t), 'odd', '2100-01-01', '{}') FROM unnest(ARRAY['a b', 'é', '"', repeat('x', 1025)]) t;
SELECT count(*) FROM unnest(ARRAY['a b', 'é', '"', repeat('x', 1025)]) t, narvik_authenticate_cookie('narvik_session=' || t);

-- One of more than 1 MB is not looked at, in text or octets.
SELECT n, t.user_id AS text, b.user_id AS octets FROM unnest('{1048576,1048577}'::int[]) n
CROSS JOIN LATERAL (SELECT 'narvik_session=alice;' || repeat(' ', n - 21)) h (text)
LEFT JOIN narvik_authenticate_cookie(h.text) t ON true LEFT JOIN narvik_authenticate_cookie(h.text::bytea) b ON true ORDER BY n;

-- Extended: set the cookie for as long as the session lives now, or as the settings
-- say.  This one's own lifetime is an hour.
CREATE FUNCTION pg_temp.make_due(p_token text) RETURNS void LANGUAGE sql AS $$
    SELECT narvik_update_session_expiry(narvik_session_id(p_token), statement_timestamp() + interval '1 minute') $$;
SELECT narvik_save_session(narvik_session_id('hour'), 'carol', statement_timestamp() + '1 minute', '{}', '1 hour');
SELECT set_cookie, extended, due FROM narvik_authenticate_cookie('narvik_session=hour');
SELECT set_cookie, extended FROM narvik_authenticate_cookie('narvik_session=hour');
SELECT pg_temp.make_due(t) FROM unnest('{hour,due}'::text[]) t;
SELECT set_cookie FROM narvik_authenticate_cookie('\x'::bytea || 'narvik_session=due');
SET narvik.cookie_expires_in = '2h';
SELECT set_cookie FROM narvik_authenticate_cookie('narvik_session=hour');
SELECT pg_temp.make_due('hour');
SET narvik.cookie_expires_in = 0;
SELECT set_cookie FROM narvik_authenticate_cookie('narvik_session=hour');
SELECT narvik_create_cookie('x'), narvik_create_blank_cookie();
RESET narvik.cookie_expires_in;
SELECT narvik_create_cookie('x', '0');
-- Settings that browsers would not accept are a warning: the request has its answer.
SELECT pg_temp.make_due('hour');
SET narvik.cookie_same_site = none;
SET narvik.cookie_secure = off;
SELECT set_cookie, extended, user_id FROM narvik_authenticate_cookie('narvik_session=hour');
SELECT narvik_create_cookie('x');
RESET narvik.cookie_same_site;
RESET narvik.cookie_secure;
-- No cookie lives longer than browsers keep one.
SELECT narvik_save_session(narvik_session_id('long'), 'dora', statement_timestamp() + '1 day', '{}', '100 years');
SELECT set_cookie FROM narvik_authenticate_cookie('narvik_session=long');
SELECT narvik_create_cookie('x', '-1 s');
-- Not extended where it cannot be: due, and nothing to set.
SELECT pg_temp.make_due('hour');
BEGIN READ ONLY;
SELECT set_cookie, extended, due FROM narvik_authenticate_cookie('narvik_session=hour');
COMMIT;

-- A guest is a session without a user.
SELECT token AS guest FROM narvik_create_guest_session() \gset
BEGIN;
SELECT user_id IS NULL AS nobody, authenticated_at IS NULL AS never FROM narvik_authenticate_cookie('narvik_session=' || :'guest');
SELECT narvik_current_user_id() IS NULL AS no_user, narvik_current_session_id() = narvik_session_id(:'guest') AS same;
COMMIT;

-- An argument of no type is text, as drivers send it.
PREPARE request AS SELECT user_id FROM narvik_authenticate_cookie($1);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'request';
EXECUTE request('narvik_session=alice');
DELETE FROM narvik_sessions;
