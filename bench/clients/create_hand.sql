\set user random(1, :rows)
INSERT INTO sessions_indexed (id, user_id, created_at, expires_at, sliding, data) VALUES (sha256(gen_random_bytes(20)), :user, now(), now() + interval '30 days', true, '{"theme": "dark"}') RETURNING encode(id, 'hex') AS id, user_id, created_at, expires_at, data, true AS new, false AS extended;
