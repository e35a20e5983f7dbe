--
-- cookie_refusals: what a browser would ignore or mistake is refused, and the
-- error names the setting.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SELECT narvik_cookie_name() IS NOT NULL AS module_loaded;
\pset format unaligned
\t on

-- The answer to a statement under some settings ("cookie_name=sid,
-- cookie_secure=off"), which hold for it alone; or its whole error.
CREATE FUNCTION pg_temp.answer(settings text, statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	setting text;
	answer text;
	message text;
	detail text;
	hint text;
BEGIN
	FOREACH setting IN ARRAY string_to_array(settings, ', ')
	LOOP
		PERFORM set_config('narvik.' || split_part(setting, '=', 1),
						   split_part(setting, '=', 2), true);
	END LOOP;
	EXECUTE statement INTO answer;
	RAISE 'undo the settings' USING ERRCODE = 'NV001';
EXCEPTION
	WHEN SQLSTATE 'NV001' THEN
		RETURN answer;
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
			detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		RETURN concat_ws(E'\n', SQLSTATE || ': ' || message,
						 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;

-- The value a setting took, or the whole error.
CREATE FUNCTION pg_temp.try(setting text, value text) RETURNS text
LANGUAGE sql AS $$
	SELECT pg_temp.answer('', format('SELECT set_config(%L, %L, true)', 'narvik.' || setting, value))
$$;

-- The ASCII characters that a setting or token takes between "before" and "after".
CREATE FUNCTION pg_temp.taken(statement text, before text, after text) RETURNS text
LANGUAGE sql AS $$
	SELECT string_agg(c, '' ORDER BY i)
	FROM generate_series(1, 127) i, chr(i) c
	WHERE pg_temp.answer('', format(statement, before || c || after)) NOT LIKE '22023: %'
$$;

-- ---- cookie_name: a token of RFC 7230 --------------------------------------

SELECT pg_temp.try('cookie_name', '');
SELECT pg_temp.try('cookie_name', 'my session');
SELECT pg_temp.try('cookie_name', ' session');
SELECT pg_temp.try('cookie_name', 'session=');
SELECT pg_temp.try('cookie_name', 'session;');
SELECT pg_temp.try('cookie_name', 'session, other');
SELECT pg_temp.try('cookie_name', '"session"');
SELECT pg_temp.try('cookie_name', 'séance');
SELECT pg_temp.try('cookie_name', E'a\x01b') ~ '^22023: .*"narvik.cookie_name"';
SELECT pg_temp.taken('SELECT set_config(''narvik.cookie_name'', %L, true)', 'a', 'b');
SELECT length(pg_temp.try('cookie_name', repeat('n', 4096)));
SELECT replace(pg_temp.try('cookie_name', repeat('n', 4097)), repeat('n', 4097), '(4097 octets)');

-- ---- cookie_domain: an LDH host name ---------------------------------------

SELECT pg_temp.try('cookie_domain', '.example.com');
SELECT pg_temp.try('cookie_domain', 'example.com.');
SELECT pg_temp.try('cookie_domain', '.');
SELECT pg_temp.try('cookie_domain', 'example..com');
SELECT pg_temp.try('cookie_domain', 'my_app.example.com');
SELECT pg_temp.try('cookie_domain', 'example.com:8080');
SELECT pg_temp.try('cookie_domain', 'https://example.com');
SELECT pg_temp.try('cookie_domain', 'example.com; Secure');
SELECT pg_temp.try('cookie_domain', 'exämple.com');
SELECT pg_temp.try('cookie_domain', '-a.example.com');
SELECT pg_temp.try('cookie_domain', 'a-.example.com');
SELECT pg_temp.try('cookie_domain', 'example.-');
SELECT pg_temp.try('cookie_domain', ' ');
SELECT pg_temp.taken('SELECT set_config(''narvik.cookie_domain'', %L, true)', 'a', 'b');
SELECT pg_temp.try('cookie_domain', v) = v FROM unnest('{"",localhost,a,1.a,a--b.c,xn--exmple-cua.com,192.0.2.1}'::text[]) v;
SELECT length(pg_temp.try('cookie_domain', repeat('a', 63) || '.com'));
SELECT replace(pg_temp.try('cookie_domain', repeat('a', 64) || '.com'), repeat('a', 64), '(64 octets)');
SELECT replace(pg_temp.try('cookie_domain', 'www.' || repeat('a', 64)), repeat('a', 64), '(64 octets)');
SELECT length(pg_temp.try('cookie_domain', repeat('a.', 126) || 'b'));
SELECT replace(pg_temp.try('cookie_domain', repeat('a.', 126) || 'bc'), repeat('a.', 126) || 'bc', '(254 octets)');

-- ---- cookie_path -----------------------------------------------------------

SELECT pg_temp.try('cookie_path', '');
SELECT pg_temp.try('cookie_path', 'app');
SELECT pg_temp.try('cookie_path', ' /app');
SELECT pg_temp.try('cookie_path', '/app;');
SELECT pg_temp.try('cookie_path', '/app; Domain=example.com');
SELECT pg_temp.try('cookie_path', '/appétit');
SELECT pg_temp.try('cookie_path', '/app ');
SELECT pg_temp.try('cookie_path', E'/app\t') ~ '^22023: .*"narvik.cookie_path"';
SELECT pg_temp.try('cookie_path', E'/app\r\nSet-Cookie: a=b') ~ '^22023: .*"narvik.cookie_path"';
SELECT pg_temp.taken('SELECT set_config(''narvik.cookie_path'', %L, true)', '/', 'b');
SELECT length(pg_temp.try('cookie_path', '/' || repeat('p', 1023)));
SELECT replace(pg_temp.try('cookie_path', '/' || repeat('p', 1024)), repeat('p', 1024), '(1024 octets)');

-- ---- cookie_expires_in, and words that are no value ------------------------

SELECT pg_temp.try('cookie_expires_in', '0');
SELECT pg_temp.try('cookie_expires_in', '-1');
SELECT pg_temp.try('cookie_expires_in', '1');
SELECT pg_temp.try('cookie_expires_in', '400d');
SELECT pg_temp.try('cookie_expires_in', '34560000s');
-- the server's message about ranges differs between versions
SELECT v, pg_temp.try('cookie_expires_in', v) ~ '^22023: .* parameter "narvik.cookie_expires_in"'
FROM unnest('{-2,34560001,401d,9999999999,soon}'::text[]) v;
SELECT pg_temp.try('cookie_same_site', 'loose');
SELECT pg_temp.try('cookie_secure', 'maybe');
SELECT pg_temp.try('cookie_partitioned', 'maybe');

-- ---- settings that do not go together --------------------------------------

-- Each for a cookie and for a blank one: it would not remove the cookie.
CREATE FUNCTION pg_temp.cookies(settings text) RETURNS SETOF text
LANGUAGE sql AS $$
	SELECT pg_temp.answer(settings, 'SELECT narvik_create_cookie(''tok'')') UNION ALL
	SELECT pg_temp.answer(settings, 'SELECT narvik_create_blank_cookie()')
$$;

SELECT pg_temp.cookies('cookie_same_site=none, cookie_secure=off');
SELECT pg_temp.cookies('cookie_partitioned=on, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__Secure-sid, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__sEcUrE-sid, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__Secure-, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__Http-sid, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__HTTP-sid, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__Host-sid, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__host-sid, cookie_secure=off');
SELECT pg_temp.cookies('cookie_name=__Host-sid, cookie_domain=example.com');
SELECT pg_temp.cookies('cookie_name=__HOST-sid, cookie_domain=example.com');
SELECT pg_temp.cookies('cookie_name=__Host-sid, cookie_path=/app');
SELECT pg_temp.cookies('cookie_name=__host-sid, cookie_path=//');

-- In any order: it is the cookie that is refused.
SELECT pg_temp.cookies('cookie_secure=off, cookie_same_site=none');
SELECT pg_temp.cookies('cookie_secure=off, cookie_same_site=none, cookie_secure=on');

-- narvik_read_cookie and narvik_cookie_name do without.
SELECT pg_temp.answer('cookie_same_site=none, cookie_secure=off', 'SELECT narvik_read_cookie(''narvik_session=tok'')');
SELECT pg_temp.answer('cookie_same_site=none, cookie_secure=off', 'SELECT narvik_cookie_name()');

-- ---- Max-Age over 400 days -------------------------------------------------

SELECT pg_temp.answer('session_expires_in=400d', 'SELECT narvik_create_cookie(''tok'')');
SELECT pg_temp.answer('session_expires_in=34560001', 'SELECT narvik_create_cookie(''tok'')');
SELECT pg_temp.answer('session_expires_in=34560001, cookie_expires_in=400d', 'SELECT narvik_create_cookie(''tok'')');
SELECT pg_temp.answer('session_expires_in=34560001', 'SELECT narvik_create_cookie(''tok'', ''1 day'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''400 days'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''400 days 1 second'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''400 days 1 microsecond'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''10000 years'')');

-- ---- expires_in that is no time --------------------------------------------

SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''-1 second'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''1 day -24 hours'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''1 day -25 hours'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''tok'', ''170000000 years'')');

-- ---- the token: cookie-octets of RFC 6265 ----------------------------------

-- No message shows it.
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''se cret'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''se"cret'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''se,cret'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''secret; Domain=evil.example'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''se\cret'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(E''secret\r\nSet-Cookie: a=b'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(E''secret\t'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(E''\x7f'')');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(''sécret'')');
SELECT pg_temp.taken('SELECT narvik_create_cookie(%L)', 'a', 'b');
SELECT pg_temp.taken('SELECT narvik_create_cookie(%L)', '', '') = pg_temp.taken('SELECT narvik_create_cookie(%L)', 'a', 'b');

-- ---- name and value of 4096 octets together --------------------------------

SELECT length(narvik_create_cookie(repeat('s', 4096 - length('narvik_session')))) -
       length(narvik_create_cookie(''));
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(repeat(''s'', 4097 - length(''narvik_session'')))');
SELECT pg_temp.answer('cookie_name=' || repeat('n', 4096), 'SELECT length(narvik_create_cookie(''''))');
SELECT pg_temp.answer('cookie_name=' || repeat('n', 4096), 'SELECT length(narvik_create_blank_cookie())');
SELECT pg_temp.answer('cookie_name=' || repeat('n', 4096), 'SELECT narvik_create_cookie(''s'')');
SELECT pg_temp.answer('cookie_name=' || repeat('n', 4095), 'SELECT length(narvik_create_cookie(''s''))');
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(repeat(''s'', 10000000))');
-- too long and malformed: still one error, still without the token
SELECT pg_temp.answer('', 'SELECT narvik_create_cookie(repeat(''secret ; '', 1000))');

-- The longest cookie of all.
SELECT pg_temp.answer('cookie_same_site=strict, cookie_partitioned=on, cookie_expires_in=400d, cookie_domain=' || repeat('a.', 126) || 'b' ||
                      ', cookie_path=/' || repeat('p', 1023) || ', cookie_name=sid',
                      'SELECT length(narvik_create_cookie(repeat(''s'', 4093)))');
