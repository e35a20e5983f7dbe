\set n random(1, :rows)
EXPLAIN (ANALYZE, TIMING OFF) SELECT s.* FROM generate_series(1::bigint, 10000) i, LATERAL (SELECT encode(id, 'hex') AS id, user_id, created_at, expires_at, data, false AS new, false AS extended FROM sessions WHERE id = sha256(convert_to(bench_token(1 + (i * 2654435761 + :n) % :rows), 'UTF8')) AND expires_at > now()) s;
