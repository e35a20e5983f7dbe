\set token 1000000000000000000 + random(1, :rows)
SELECT user_id FROM narvik_validate_session(:token) \gset
SELECT id, body FROM notes WHERE owner = :user_id;
