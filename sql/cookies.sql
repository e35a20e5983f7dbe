--
-- cookies: narvik_create_cookie, narvik_create_blank_cookie, narvik_cookie_name
-- and narvik_read_cookie where nothing is refused.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
\pset format unaligned
\pset null (null)

-- The answer to a statement under some settings, which hold for it alone.
-- Settings are written as in the vectors: "cookie_name=sid, cookie_secure=off".
SELECT narvik_cookie_name() IS NOT NULL AS module_loaded;
CREATE FUNCTION pg_temp.answer(settings text, statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	setting text;
	answer text;
BEGIN
	FOREACH setting IN ARRAY string_to_array(settings, ', ')
	LOOP
		PERFORM set_config('narvik.' || split_part(setting, '=', 1),
						   split_part(setting, '=', 2), true);
	END LOOP;
	EXECUTE statement INTO answer;
	RAISE 'undo the settings' USING ERRCODE = 'NV001';
EXCEPTION WHEN SQLSTATE 'NV001' THEN
	RETURN answer;
END $$;

-- ---- vectors ---------------------------------------------------------------

CREATE TEMP TABLE vectors (settings text, cookie text, blank text);
COPY vectors FROM stdin;
(none)	narvik_session=tok; Max-Age=2592000; Path=/; SameSite=Lax; Secure; HttpOnly	narvik_session=; Max-Age=0; Path=/; SameSite=Lax; Secure; HttpOnly
cookie_name=sid, session_expires_in=7d	sid=tok; Max-Age=604800; Path=/; SameSite=Lax; Secure; HttpOnly	sid=; Max-Age=0; Path=/; SameSite=Lax; Secure; HttpOnly
cookie_domain=example.com, cookie_path=/app	narvik_session=tok; Domain=example.com; Max-Age=2592000; Path=/app; SameSite=Lax; Secure; HttpOnly	narvik_session=; Domain=example.com; Max-Age=0; Path=/app; SameSite=Lax; Secure; HttpOnly
cookie_same_site=strict	narvik_session=tok; Max-Age=2592000; Path=/; SameSite=Strict; Secure; HttpOnly	narvik_session=; Max-Age=0; Path=/; SameSite=Strict; Secure; HttpOnly
cookie_same_site=none	narvik_session=tok; Max-Age=2592000; Path=/; SameSite=None; Secure; HttpOnly	narvik_session=; Max-Age=0; Path=/; SameSite=None; Secure; HttpOnly
cookie_secure=off	narvik_session=tok; Max-Age=2592000; Path=/; SameSite=Lax; HttpOnly	narvik_session=; Max-Age=0; Path=/; SameSite=Lax; HttpOnly
cookie_expires_in=1h	narvik_session=tok; Max-Age=3600; Path=/; SameSite=Lax; Secure; HttpOnly	narvik_session=; Max-Age=0; Path=/; SameSite=Lax; Secure; HttpOnly
\.

SELECT settings,
       pg_temp.answer(set_all, 'SELECT narvik_create_cookie(''tok'')') IS NOT DISTINCT FROM cookie AS cookie,
       pg_temp.answer(set_all, 'SELECT narvik_create_blank_cookie()') IS NOT DISTINCT FROM blank AS blank
FROM vectors, replace(settings, '(none)', '') set_all;

-- ---- create and blank ------------------------------------------------------

\t on
SELECT narvik_cookie_name();
SELECT pg_temp.answer('cookie_name=sid', 'SELECT narvik_cookie_name()');

-- Every attribute at once.
SELECT pg_temp.answer(s, 'SELECT narvik_create_cookie(''tok'')') ||
       E'\n' || pg_temp.answer(s, 'SELECT narvik_create_blank_cookie()')
FROM (VALUES ('cookie_name=__Secure-sid, cookie_domain=Example.COM, cookie_path=/app/, cookie_same_site=none, cookie_partitioned=on')) v (s);

-- The prefixes, where their conditions are met; a look-alike has none.
SELECT pg_temp.answer('cookie_name=' || name, 'SELECT narvik_create_cookie(''tok'')')
FROM unnest('{__Host-sid,__host-sid,__HOST-sid,__Secure-sid,__secure-,__Http-sid}'::text[]) name;
SELECT pg_temp.answer('cookie_secure=off, cookie_domain=example.com, cookie_path=/app, cookie_name=' || name,
                      'SELECT narvik_create_cookie(''tok'')')
FROM unnest('{__Host,__Hos-sid,_Host-sid,x__Host-sid,__Secure_sid,Secure-sid,__Https-sid}'::text[]) name;

-- Partitioned asks for Secure, not for SameSite=None.
SELECT pg_temp.answer('cookie_partitioned=on', 'SELECT narvik_create_cookie(''tok'')');

-- expires_in goes before narvik.cookie_expires_in, which goes before narvik.session_expires_in.
SELECT pg_temp.answer(s, 'SELECT narvik_create_cookie(''tok'', ''1 minute'')')
FROM unnest('{"","cookie_expires_in=1h","session_expires_in=1d"}'::text[]) s;
SELECT pg_temp.answer('session_expires_in=1d, cookie_expires_in=1h', 'SELECT narvik_create_cookie(''tok'')');
SELECT pg_temp.answer('session_expires_in=1d, cookie_expires_in=-1', 'SELECT narvik_create_cookie(''tok'')');
SELECT narvik_create_cookie('tok', NULL) = narvik_create_cookie('tok');
SELECT narvik_create_cookie(token => 'tok', expires_in => '2 days');

-- A fraction of a second is rounded up.
SELECT i, substring(narvik_create_cookie('tok', i) FROM 'Max-Age=[^;]*')
FROM unnest('{"1 microsecond","0.999999 s","1 s","1.000001 s","59.5 s","1 day","400 days","400 days -1 microsecond"}'::interval[]) i;

-- A day is 24 hours in any time zone.  Whatever day it is today, one of these
-- ends in the other half of New York's year.
SET timezone = 'America/New_York';
SELECT n, narvik_create_cookie('tok', make_interval(days => n)) LIKE '%; Max-Age=' || n * 86400 || ';%'
FROM unnest('{120,182,240}'::int[]) n;
RESET timezone;

-- A month is the calendar's.
SELECT narvik_create_cookie('tok', '1 month') LIKE
       '%; Max-Age=' || extract(epoch FROM (statement_timestamp() AT TIME ZONE 'UTC' + interval '1 month')
                                         - (statement_timestamp() AT TIME ZONE 'UTC'))::bigint || ';%';

-- A blank cookie asks nothing of narvik.session_expires_in.
SELECT pg_temp.answer('session_expires_in=500d', 'SELECT narvik_create_blank_cookie()');

-- No token, no cookie; an empty one makes an empty cookie.
SELECT narvik_create_cookie(NULL);
SELECT narvik_create_cookie(NULL, '1 h');
SELECT pg_temp.answer('cookie_secure=off, cookie_same_site=none', 'SELECT narvik_create_cookie(NULL)');
SELECT narvik_create_cookie('');

-- A token of narvik fits.
SELECT narvik_create_cookie(token) LIKE 'narvik_session=' || token || '; Max-Age=%'
FROM narvik_generate_token() token;

-- ---- read ------------------------------------------------------------------

\t off
SELECT to_json(header) AS header, to_json(narvik_read_cookie(header)) AS value
FROM unnest(ARRAY[
	-- among others
	'narvik_session=tok',
	'a=1; narvik_session=tok',
	'narvik_session=tok; b=2',
	'a=1; narvik_session=tok; b=2',
	-- not there
	'',
	' ',
	';',
	'; ; ;;',
	'a=1',
	'=tok',
	'tok',
	-- names that look alike
	'xnarvik_session=no',
	'narvik_sessionx=no',
	'narvik_sessio=no',
	'narvik_session2=no; narvik_session=tok; 2narvik_session=no',
	'Narvik_Session=no',
	'NARVIK_SESSION=no; narvik_session=tok',
	'x narvik_session=no',
	'"narvik_session"=no',
	'a=narvik_session=no',
	'a=1, narvik_session=no',
	-- white space
	'a=1;narvik_session=tok;b=2',
	'a=1;   narvik_session=tok   ;b=2',
	E'a=1;\tnarvik_session\t=\ttok\t;\tb=2',
	'  narvik_session = tok  ',
	'narvik_session=to k',
	E'narvik_session=tok\r\n',
	-- no value, an empty value, no '='
	'narvik_session=',
	'narvik_session= ; b=2',
	'narvik_session',
	'narvik_session; b=2',
	'narvik_session; narvik_session=tok',
	-- one pair of double quotes is no part of the value
	'$Version="1"; narvik_session="tok";$Path="/"',
	'narvik_session="tok"',
	E'narvik_session =\t "tok" ; b="2"',
	'narvik_session=" tok "',
	'narvik_session=""tok""',
	'narvik_session=""',
	'narvik_session=" ',
	'narvik_session="tok',
	'narvik_session=tok"',
	'narvik_session=t"o"k',
	'narvik_session=''tok''',
	-- the rest of the value is left as it is
	'narvik_session=a=b==',
	'narvik_session=%74ok',
	'narvik_session=t,o\k',
	-- the first one wins
	'narvik_session=first; narvik_session=second',
	'narvik_session=; narvik_session=second'
]) WITH ORDINALITY u (header, n)
ORDER BY n;

\t on
SELECT narvik_read_cookie(NULL);

-- The name is the setting's.
SELECT pg_temp.answer('cookie_name=__Host-sid',
                      'SELECT narvik_read_cookie(''narvik_session=a; sid=b; __host-sid=c; __Host-sid=tok'')');

-- What was created is read again, whatever the octets.
SELECT narvik_read_cookie(narvik_create_cookie(octets)) = octets
FROM (SELECT string_agg(chr(i), '' ORDER BY i) FROM generate_series(33, 126) i WHERE chr(i) !~ '[",;\\]') v (octets);
SELECT to_json(narvik_read_cookie(narvik_create_blank_cookie()));

-- Non-ASCII characters around and in the value.
SELECT narvik_read_cookie('é=ü; narvik_session=ø€; 漢=字') = 'ø€';
SELECT narvik_read_cookie('énarvik_session=no; narvik_sessioné=no');
-- Any octet in another cookie, read as Latin-1; one that is no text in the
-- connection's encoding the server itself refuses.
SELECT narvik_read_cookie('a=' || string_agg(chr(i), '' ORDER BY i) || '; narvik_session=tok') FROM generate_series(1, 255) i WHERE i <> 59;
SET client_encoding = 'LATIN1';
\set header `printf 'a=\\377\\376\\303; narvik_session=tok; b=\\200'`
SELECT narvik_read_cookie(:'header');
RESET client_encoding;
\set VERBOSITY sqlstate
SELECT narvik_read_cookie(E'a=\xff; narvik_session=tok');
\set VERBOSITY default

-- Headers of 1 MB: found at the end, found at the start, found large, not found.
SELECT narvik_read_cookie(repeat('a=b; ', 200000) || 'narvik_session=tok');
SELECT narvik_read_cookie('narvik_session=tok; ' || repeat('a=b; ', 200000));
SELECT length(narvik_read_cookie('a=b; narvik_session=' || repeat('x', 1000000) || '; c=d'));
SELECT narvik_read_cookie(repeat(';', 1000000));
SELECT narvik_read_cookie(repeat('=', 1000000));
SELECT narvik_read_cookie(repeat('narvik_session;', 70000));
-- Over 1 MB it is none that a browser sent.
SELECT n, narvik_read_cookie('narvik_session=tok;' || repeat(' ', n - 19)) FROM unnest('{1048576,1048577}'::int[]) n;

-- Headers out of a table: short, compressed, out of line.
CREATE TEMP TABLE headers (header text);
ALTER TABLE headers ALTER header SET STORAGE EXTENDED;
INSERT INTO headers VALUES ('narvik_session=short'), (repeat('a=b; ', 2000) || 'narvik_session=compressed');
ALTER TABLE headers ALTER header SET STORAGE EXTERNAL;
INSERT INTO headers VALUES (repeat('a=b; ', 2000) || 'narvik_session=out_of_line');
SELECT narvik_read_cookie(header) FROM headers ORDER BY length(header), 1;

-- ---- parallel workers ------------------------------------------------------

SELECT p.proname, p.provolatile, p.proparallel, p.proisstrict
FROM pg_proc p WHERE p.proname ~ '^narvik_.*cookie' ORDER BY p.proname COLLATE "C";

-- Workers have the settings and the clock of their leader.
CREATE TABLE parallel_tokens AS SELECT 'tok' || i AS token FROM generate_series(1, 1000) i;
ALTER TABLE parallel_tokens SET (parallel_workers = 2);
CREATE VIEW cookies_in_workers AS
SELECT count(*) AS as_expected FROM parallel_tokens
WHERE narvik_create_cookie(token, '1 h') = 'sid=' || token || '; Max-Age=3600; Path=/; SameSite=Strict; Secure; HttpOnly'
  AND narvik_create_blank_cookie() = 'sid=; Max-Age=0; Path=/; SameSite=Strict; Secure; HttpOnly'
  AND narvik_read_cookie('a=b; sid=' || token) = token
  AND narvik_cookie_name() = 'sid';
BEGIN;
SET LOCAL narvik.cookie_name = 'sid';
SET LOCAL narvik.cookie_same_site = 'strict';
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
SET LOCAL parallel_leader_participation = off;
DO $$
DECLARE
	line text;
BEGIN
	FOR line IN EXPLAIN (COSTS OFF) SELECT * FROM cookies_in_workers
	LOOP
		IF line ~ 'Gather|Workers' THEN
			RAISE NOTICE '%', btrim(line);
		END IF;
	END LOOP;
END $$;
SELECT * FROM cookies_in_workers;
COMMIT;
DROP VIEW cookies_in_workers;
DROP TABLE parallel_tokens;
