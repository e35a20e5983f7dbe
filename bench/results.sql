/* The results of scripts/bench. */
SELECT count(*) > 0 AS there FROM measured WHERE part = 'requests' \gset
\if :there
\qecho
\qecho '### Whole requests'
\qecho
\qecho '| contestant | requests a second (least, most) | ratio to redis, of each round (least, most) | p50, ms | p99, ms | processor seconds for 1000 requests: application | database | Redis |'
\qecho '|---|---|---|---|---|---|---|---|'
SELECT format('| %s | %s (%s, %s) | %s | %s | %s | %s | %s | %s |', what, shown(median), shown(least), shown(most),
			  CASE what WHEN 'redis' THEN '1' ELSE ratio_shown('requests', what, 'redis') END, shown(med('requests p50', what)), shown(med('requests p99', what)),
			  shown(med('requests application', what)), shown(med('requests database', what)), shown(med('requests Redis', what)))
FROM medians WHERE part = 'requests' ORDER BY median DESC;
\endif

SELECT compared('in-server', 'In-server: microseconds a call', 'hand');
SELECT compared('clients', 'Clients: requests a second', 'hand');
SELECT compared('round-trips', 'Round trips: validate and read the user''s three notes, requests a second', 'hand_two');
SELECT compared('creates', 'Clients: sessions created a second', 'create_hand');
SELECT compared(act, title || ' a second', 'nothing')
FROM (VALUES ('create', 'Events: sessions created'), ('rotate', 'Events: sessions rotated'), ('log_out', 'Events and notifications: log-outs'),
			 ('purge', 'Events: expired sessions deleted'), ('validate', 'Activity: validations'), ('extend', 'Validations that extend')) AS t (act, title);
SELECT compared('protocol', 'How statements are sent: validations a second', 'prepared');
SELECT compared('pipeline', 'Four statements of a transaction, in one round trip (narvik_rls) or four: transactions a second', 'one_by_one');

SELECT count(*) > 0 AS there FROM measured WHERE part = 'connections' \gset
\if :there
\qecho
\qecho '### Connections at work: validations a second'
\qecho
\qecho '| connections | median (least, most) |'
\qecho '|---|---|'
SELECT format('| %s | %s (%s, %s) |', what, shown(median), shown(least), shown(most)) FROM medians WHERE part = 'connections' ORDER BY what::int;
\endif

SELECT count(*) > 0 AS there FROM measured WHERE part = 'growth rate' \gset
\if :there
\qecho
\qecho '### Growth'
\qecho
SELECT '| | ' || string_agg(big(size), ' | ' ORDER BY size) || E' |\n|---|' || repeat('---|', count(*)::int) FROM (SELECT DISTINCT size FROM measured WHERE part = 'growth rate') AS s;
SELECT format('| %s | %s |', label || ': ' || what, string_agg(shown(median), ' | ' ORDER BY size))
FROM medians JOIN (VALUES (1, 'growth rate', 'calls a second'), (2, 'growth bytes', 'bytes a session'), (3, 'growth WAL', 'bytes of WAL a call'), (4, 'growth purge', 'purge')) AS l (n, part, label) USING (part)
GROUP BY n, label, part, what ORDER BY n, what;
\endif

SELECT count(*) > 0 AS there FROM measured WHERE part LIKE 'day %' \gset
\if :there
\qecho
\qecho '### Days'
\qecho
\qecho '| day | contestant | requests | log-ins | UPDATEs | HOT, % | WAL a request, bytes | the same with log-ins, purges and vacuum | table and indexes at the end, MB |'
\qecho '|---|---|---|---|---|---|---|---|---|'
SELECT format('| %s | %s | %s |', split_part(part, ' ', 2), who, string_agg(coalesce(shown(med(part, who || ' ' || figure)), '-'), ' | ' ORDER BY n))
FROM (SELECT DISTINCT part, split_part(what, ' ', 1) AS who FROM measured WHERE part LIKE 'day %') d,
	 (VALUES (1, 'requests'), (2, 'log-ins'), (3, 'UPDATEs'), (4, 'HOT, %'), (5, 'WAL'), (6, 'WAL in all'), (7, 'MB')) f(n, figure)
GROUP BY part, who ORDER BY part, med(part, who || ' WAL');
\qecho
\qecho 'What a request''s WAL consists of, bytes a request:'
\qecho
\qecho '| day | contestant | kind | bytes |'
\qecho '|---|---|---|---|'
SELECT format('| %s | %s | %s | %s |', split_part(part, ' ', 2), split_part(what, ' ', 1), substring(what FROM ' (.*)'), shown(median))
FROM medians WHERE part LIKE 'wal %' AND median >= 0.5 ORDER BY part, split_part(what, ' ', 1), median DESC;
\endif
