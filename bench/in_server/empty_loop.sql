\set n random(1, :rows)
EXPLAIN (ANALYZE, TIMING OFF) SELECT t.token FROM generate_series(1::bigint, 10000) i, LATERAL (SELECT bench_token(1 + (i * 2654435761 + :n) % :rows)) t(token);
