\set n random(1, :rows)
EXPLAIN (ANALYZE, TIMING OFF) SELECT s.* FROM generate_series(1::bigint, 10000) i, LATERAL narvik_authenticate(bench_token(1 + (i * 2654435761 + :n) % :rows)) s;
