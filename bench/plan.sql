/*
 * Whether the statement that every request sends is planned once, and how.
 * After the calls of memory.sql.  Variable: temp_files, how many there were
 * before them.
 */
PREPARE validation(text) AS SELECT * FROM narvik_validate_session($1);
\o /dev/null
SELECT format('EXECUTE validation(%L)', bench_token(i)) FROM generate_series(1, 20) i \gexec
\o
INSERT INTO measured SELECT 'memory', 0, 'custom plans', 1, custom_plans FROM pg_prepared_statements WHERE name = 'validation';

CREATE FUNCTION plan_of(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (ANALYZE, BUFFERS) ' || statement;
END $$;
INSERT INTO measured
SELECT 'memory', 0, 'sorts and spools', 1, count(*) FILTER (WHERE line ~ 'Sort|Materialize|temp')
FROM plan_of(format('EXECUTE validation(%L)', bench_token(1))) p(line);
INSERT INTO measured
SELECT 'memory', 0, 'temporary files', 1, temp_files - :temp_files FROM pg_stat_database WHERE datname = current_database();
