SET ROLE webapp;
SELECT narvik_session_id('made by the framework') AS id, narvik_session_id('made at log-in') AS new_id \gset

-- A new session.  False: the id is taken, make another.
SELECT narvik_put_session(:'id', NULL, now() + interval '1 day', '{"cart": [7]}', existing => false);

-- At the beginning of a request.
SELECT user_id, data FROM narvik_fetch_session(:'id') WHERE expires_at > now();

-- At log-in: another id, and the user.
SELECT narvik_change_session_id(:'id', :'new_id');
SELECT narvik_put_session(:'new_id', '1', now() + interval '1 day', '{"cart": [7]}', existing => true);

-- At the end of a request that changed nothing.
SELECT narvik_update_session_expiry(:'new_id', now() + interval '1 day');

-- At log-out.
SELECT narvik_delete_session(:'new_id');

SELECT narvik_put_session(:'new_id', '1', now() + interval '1 day', '{"cart": []}', existing => true);
SELECT narvik_update_session_expiry(:'new_id', now() + interval '1 day');
