-- A login session from its first day to its last.  scripts/demo plays this file;
-- in a database of your own: psql -f examples/getting-started.sql
-- An application sends the same statements with bind parameters where :'token'
-- and :'id' stand here.

-- Once in a database: add narvik, and pgcrypto, which it builds on.
CREATE EXTENSION narvik CASCADE;

-- Somebody puts a lamp into a cart: a session without a user.
SELECT token AS guest_token FROM narvik_create_guest_session('{"cart": ["lamp"]}') \gset

-- It is Alice, and her password was right. Log her in: the session becomes hers,
-- under a new token.
SELECT * FROM narvik_promote_session(:'guest_token', 'alice', '{"device": "laptop"}') \gset

-- The token goes to her browser and stays there.  The database keeps its SHA-256,
-- which is the session's id.
\echo token: :token
\echo id:    :id

-- Send the token as a cookie.
SELECT narvik_create_cookie(:'token') AS cookie \gset
\echo Set-Cookie: :cookie

-- The browser returns it with every request, among other cookies.  Pass the header as
-- it came.  Is there a session, and whose is it?
SELECT user_id, data, expires_at, set_cookie
FROM narvik_authenticate_cookie('theme=dark; narvik_session=' || :'token');

-- A session lives 30 days unless told otherwise.  On her phone Alice gets one that
-- lives four seconds, so that we can watch it slide.
SELECT token AS phone_token FROM narvik_promote_session(NULL, 'alice', '{"device": "phone"}', '4 seconds') \gset
SELECT expires_at, set_cookie FROM narvik_authenticate_cookie('narvik_session=' || :'phone_token');

-- Once half of the life is over, the next request starts it anew: expires_at moves on,
-- and set_cookie is what to answer with.
SELECT pg_sleep(2.1);
SELECT expires_at, set_cookie FROM narvik_authenticate_cookie('narvik_session=' || :'phone_token');

-- Where is Alice logged in?
SELECT user_id, data, expires_at FROM narvik_fetch_sessions_for_user('alice');

-- She logs out on the laptop.  Its token is dead from this moment on...
SELECT narvik_invalidate_session(:'id');
SELECT user_id, expires_at FROM narvik_authenticate_cookie('narvik_session=' || :'token');

-- ...and a blank cookie makes her browser forget it.
SELECT narvik_create_blank_cookie() AS cookie \gset
\echo Set-Cookie: :cookie

-- The phone stays silent for longer than its session lives.  An expired session is
-- never valid, though its row is still in the table.
SELECT pg_sleep(4.1);
SELECT user_id, data FROM narvik_fetch_sessions_for_user('alice');
SELECT count(*) FROM narvik_sessions;

-- Purge what has expired.  On a server that preloads narvik a worker does it.
SELECT narvik_delete_all_expired_sessions();
SELECT count(*) FROM narvik_sessions;
