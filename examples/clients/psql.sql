-- Sessions of narvik from psql, as a shell script or a test would use them.
-- Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
-- :'cookies' becomes part of the statement.  Applications send it as a
-- parameter instead, or the token is in the log as soon as statements are.
\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned

-- On every request, with its Cookie header: who it is, or nobody.  If there is
-- a cookie to set, answer with it: the session lives longer now.
PREPARE request(text) AS
    SELECT 'request: ' || coalesce(s.user_id || ' on a ' || (s.data->>'device'), 'not logged in') ||
           CASE WHEN s.new OR s.extended THEN E'\nset cookie: ' || narvik_create_cookie(token) ELSE '' END
    FROM narvik_read_cookie($1) AS token LEFT JOIN narvik_validate_session(token) AS s ON true;

-- In a transaction of this user: row-level security shows her rows.
PREPARE authenticate(text) AS
    SELECT narvik_authenticate(narvik_read_cookie($1)) AS user_id;
PREPARE notes AS
    SELECT 'notes: ' || coalesce(string_agg(body, ', ' ORDER BY body), 'none') FROM notes;

-- Nobody has logged in.
EXECUTE request('theme=dark');
BEGIN;
EXECUTE authenticate('theme=dark') \gset
EXECUTE notes;
COMMIT;

-- Log in: the Set-Cookie header, of which the browser sends the first part back.
SELECT set_cookie, 'theme=dark; ' || split_part(set_cookie, ';', 1) AS cookies
FROM narvik_create_session('alice', '{"device": "laptop"}'), narvik_create_cookie(token) AS set_cookie \gset
\echo log in: :set_cookie
EXECUTE request(:'cookies');
BEGIN;
EXECUTE authenticate(:'cookies') \gset
EXECUTE notes;
COMMIT;

-- Here twenty of its thirty days go by at once.
SELECT narvik_update_session_expiry(narvik_session_id(narvik_read_cookie(:'cookies')),
                                    now() + interval '10 days') AS updated \gset
EXECUTE request(:'cookies');
EXECUTE request(:'cookies');

-- Log out: the session is gone, and this header removes the cookie.
SELECT narvik_invalidate_session(narvik_session_id(narvik_read_cookie(:'cookies'))) AS invalidated,
       narvik_create_blank_cookie() AS set_cookie \gset
\echo log out: :set_cookie
EXECUTE request(:'cookies');
BEGIN;
EXECUTE authenticate(:'cookies') \gset
EXECUTE notes;
COMMIT;
