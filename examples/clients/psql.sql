-- Sessions of narvik from psql, as a shell script or a test would use them.
-- Connects as PGHOST, PGDATABASE, PGUSER and so on say; see setup.sql.
-- :'cookies' becomes part of the statement.  Applications send it as a
-- parameter instead, or the token is in the log as soon as statements are.
\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned

-- Every request begins with its Cookie header, as it came.  There is no session, or
-- it is the transaction's identity.  If there is a cookie to set, answer with it: the
-- session lives longer now.
PREPARE session(text) AS
    SELECT 'request: ' || coalesce(coalesce(r.user_id, 'guest') || ' on a ' || (r.data->>'device'), 'nobody') ||
           coalesce(E'\nset cookie: ' || r.set_cookie, '')
    FROM (SELECT) AS always LEFT JOIN narvik_authenticate_cookie($1) AS r ON true;

-- Row-level security shows the user's.
PREPARE notes AS
    SELECT 'notes: ' || coalesce(string_agg(body, ', ' ORDER BY body), 'none') FROM notes;

-- With \; psql sends both at once, and both are one transaction.
EXECUTE session('theme=dark') \; EXECUTE notes;

-- Something to remember of a visitor who has not logged in.
SELECT token AS guest FROM narvik_create_guest_session('{"device": "laptop"}') \gset
EXECUTE session('narvik_session=' || :'guest') \; EXECUTE notes;

-- Log in: the guest's session becomes the user's.  Of the Set-Cookie header the
-- browser sends the first part back.
SELECT set_cookie, 'theme=dark; ' || split_part(set_cookie, ';', 1) AS cookies
FROM narvik_promote_session(:'guest', 'alice'), narvik_create_cookie(token) AS set_cookie \gset
\echo log in: :set_cookie
EXECUTE session(:'cookies') \; EXECUTE notes;

-- Here twenty of its thirty days go by at once.
SELECT narvik_update_session_expiry(id, now() + interval '10 days') AS updated
FROM narvik_authenticate_cookie(:'cookies') \gset
EXECUTE session(:'cookies') \; EXECUTE notes;
EXECUTE session(:'cookies') \; EXECUTE notes;

-- Log out: the session is gone, and this header removes the cookie.
SELECT narvik_invalidate_session(id) AS invalidated, narvik_create_blank_cookie() AS set_cookie
FROM narvik_authenticate_cookie(:'cookies') \gset
\echo log out: :set_cookie
EXECUTE session(:'cookies') \; EXECUTE notes;
