\set token 1000000000000000000 + random(1, :rows)
SELECT n.id, n.body FROM sessions s JOIN notes n ON n.owner = s.user_id WHERE s.id = sha256(convert_to(:token, 'UTF8')) AND s.expires_at > now();
