/* What a reader wants to know, in ten lines. */
\qecho
\qecho '| what | narvik | beside it; times it: the median of the rounds (least, most) |'
\qecho '|---|---|---|'
SELECT format('| %s | %s | %s |', what, figure, beside) FROM (VALUES
	(1, 'A page behind a log-in, by Express, a second', big(med('requests', 'narvik')),
	 format('Redis with connect-redis %s, %s times; connect-pg-simple %s, %s times; a table by hand %s; no sessions at all %s',
			big(med('requests', 'redis')), ratio_shown('requests', 'narvik', 'redis'), big(med('requests', 'connect_pg')),
			ratio_shown('requests', 'narvik', 'connect_pg'), big(med('requests', 'hand')), big(med('requests', 'no_session')))),
	(2, '... whose notes row-level security selects', big(med('requests', 'narvik_rls_one')),
	 format('%s times Redis, whose query has to name the user', ratio_shown('requests', 'narvik_rls_one', 'redis'))),
	(3, 'The p99 of such a page in ms', shown(med('requests p99', 'narvik')),
	 format('Redis %s, connect-pg-simple %s', shown(med('requests p99', 'redis')), shown(med('requests p99', 'connect_pg')))),
	(4, 'Validations a second, 8 clients', big(med('clients', 'validate')),
	 format('a SELECT by primary key that extends nothing %s, %s times; SELECT 1 %s', big(med('clients', 'hand')), ratio_shown('clients', 'validate', 'hand'), big(med('clients', 'select1')))),
	(5, '... with the identity of row-level security', big(med('clients', 'authenticate')),
	 format('%s times that SELECT', ratio_shown('clients', 'authenticate', 'hand'))),
	(6, 'Log-ins a second, 8 clients', big(med('creates', 'create_narvik')),
	 format('an INSERT into a table with like indexes %s, %s times', big(med('creates', 'create_hand')), ratio_shown('creates', 'create_narvik', 'create_hand'))),
	(7, 'A validation inside the server, in microseconds', shown(med('in-server', 'validate')),
	 format('a subselect by primary key %s, %s times', shown(med('in-server', 'hand')), ratio_shown('in-server', 'validate', 'hand'))),
	(8, 'WAL a request, life of 15 minutes, a request a minute', format('%s bytes', shown(med('day 15min', 'narvik WAL'))),
	 format('connect-pg-simple %s', shown(med('day 15min', 'connect_pg WAL')))),
	(9, 'Table and indexes, a session', format('%s bytes', shown(med('growth bytes', 'table') + med('growth bytes', 'indexes'))), 'when the table is new'),
	(10, 'Validations a second from the smallest table to the largest', (SELECT string_agg(big(median), ', ' ORDER BY size) FROM medians WHERE part = 'growth rate' AND what = 'validate'),
	 (SELECT string_agg(big(size), ', ' ORDER BY size) || ' sessions' FROM medians WHERE part = 'growth rate' AND what = 'validate')))
	AS v (n, what, figure, beside) ORDER BY n;
