/*
 * Calls in a loop inside one statement: no protocol, no client.
 * Variables: rows, calls, rounds.
 *
 * Every statement computes the token from the loop variable, in the same
 * words, and answers the same columns.  EXPLAIN ANALYZE with TIMING OFF runs
 * it to the end, forms every row and throws it away; each has two plan nodes
 * below the join, so what it adds is the same for all.
 *
 * The planner knows how many calls there will be and could join the whole table
 * instead of looking sessions up one by one, as single requests have to.  It may
 * not do that, nor compile the statement.
 */
SET jit = off;
SET max_parallel_workers_per_gather = 0;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_memoize = off;
SET enable_material = off;
SET enable_seqscan = off;
SET enable_bitmapscan = off;

CREATE OR REPLACE PROCEDURE in_server(n bigint, calls int, rounds int) LANGUAGE plpgsql AS $$
DECLARE
	/* Multiplying by a prime visits the rows in an order that no cache can guess. */
	token constant text := 'bench_token(1 + i * 2654435761 %% %s)';
	has_authenticate constant boolean := to_regproc('narvik_authenticate') IS NOT NULL;
	names constant text[] := ARRAY['empty loop', 'hand', 'plpgsql', 'validate', 'authenticate', 'authenticate, scalar'];
	statements constant text[] := ARRAY[
		'SELECT t.token FROM %1$s, LATERAL (SELECT %2$s) t(token)',
		'SELECT s.* FROM %1$s, LATERAL (SELECT encode(id, ''hex'') AS id, user_id, created_at, expires_at, data,
				false AS new, false AS extended
			FROM sessions WHERE id = sha256(convert_to(%2$s, ''UTF8'')) AND expires_at > now()) s',
		'SELECT s.* FROM %1$s, LATERAL validate_by_hand(%2$s) s',
		'SELECT s.* FROM %1$s, LATERAL narvik_validate_session(%2$s) s',
		'SELECT s.* FROM %1$s, LATERAL narvik_authenticate(%2$s) s',
		'SELECT narvik_authenticate(%2$s) FROM %1$s'];
	report json;
BEGIN
	FOR round IN 0..rounds LOOP		-- round 0 warms up
		FOR k IN 1..cardinality(names) LOOP
			CONTINUE WHEN names[k] ~ 'authenticate' AND NOT has_authenticate;
			EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' ||
				format(statements[k],
					   format('generate_series(%s::bigint, %s) i', round * calls + 1, (round + 1) * calls),
					   format(token, n))
				INTO report;
			IF (report->0->'Plan'->>'Actual Rows')::bigint <> calls THEN
				RAISE EXCEPTION '% found % of % sessions', names[k], report->0->'Plan'->>'Actual Rows', calls;
			END IF;
			IF names[k] = 'hand' AND report->0->'Plan'->'Plans'->1->>'Index Name' IS DISTINCT FROM 'sessions_pkey' THEN
				RAISE EXCEPTION 'the subselect is no index scan for every call: %', report;
			END IF;
			IF round > 0 THEN
				INSERT INTO measured
				VALUES ('in-server', n, names[k], round, (report->0->>'Execution Time')::float8 * 1000 / calls);
			END IF;
			COMMIT;
		END LOOP;
	END LOOP;
END $$;

CALL in_server(:rows, :calls, :rounds);
