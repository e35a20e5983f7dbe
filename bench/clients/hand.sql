\set token 1000000000000000000 + random(1, :rows)
SELECT encode(id, 'hex') AS id, user_id, created_at, expires_at, data, false AS new, false AS extended FROM sessions WHERE id = sha256(convert_to(:token, 'UTF8')) AND expires_at > now();
