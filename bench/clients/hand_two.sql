\set token 1000000000000000000 + random(1, :rows)
SELECT user_id FROM sessions WHERE id = sha256(convert_to(:token, 'UTF8')) AND expires_at > now() \gset
SELECT id, body FROM notes WHERE owner = :user_id;
