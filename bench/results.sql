/* The results of scripts/bench. */
\qecho
\qecho '### Targets'
\qecho
\qecho '| target | wanted | measured | holds |'
\qecho '|---|---|---|---|'
SELECT format('| %s | %s %s | %s | %s |', target, relation, wanted, coalesce(shown(measured), '-'),
			  CASE WHEN measured IS NULL THEN 'not measured' WHEN measured = wanted OR (measured < wanted) = (relation = '<=') THEN 'yes' ELSE '**no**' END)
FROM (VALUES
	(1, 'in-server: validate / hand-written subselect, time', '<=', 0.85, ratio('in-server', 'validate', 'hand')),
	(2, 'in-server: authenticate / hand-written subselect, time', '<=', 0.65, ratio('in-server', 'authenticate', 'hand')),
	(3, 'in-server: validate, 10 million rows / 100 thousand, time', '<=', 1.3,
		med('in-server', 'validate', 10000000) / med('in-server', 'validate', 100000)),
	(4, 'in-server: authenticate / validate, time', '<=', 1, ratio('in-server', 'authenticate', 'validate')),
	(5, '8 clients: validate / hand-written SELECT, rate', '>=', 1.0, ratio('clients', 'validate', 'hand')),
	(6, '8 clients: validate / SELECT 1, rate', '>=', 0.55, ratio('clients', 'validate', 'select1')),
	(7, '8 clients: validate / connect-pg-simple, rate', '>=', 7, ratio('clients', 'validate', 'connect_pg')),
	(8, '8 clients: authenticate / validate, rate', '>=', 1, ratio('clients', 'authenticate', 'validate')),
	(9, '8 clients: create / hand-written INSERT, rate', '>=', 0.95, ratio('creates', 'create_narvik', 'create_hand')),
	(10, '15-minute life: share of extensions that are HOT, %', '>=', 85, med('day 15min', 'narvik HOT, %')),
	(11, '15-minute life, one request a minute: WAL a request, connect-pg-simple / narvik', '>=', 20,
		ratio('day 15min', 'connect_pg WAL', 'narvik WAL')),
	(12, '15-minute life, four requests a minute: the same', '>=', 20, ratio('day 15min-busy', 'connect_pg WAL', 'narvik WAL')),
	(13, '15-minute life, one request a minute: the same without full page images', '>=', 20,
		(med('day 15min', 'connect_pg WAL') - med('wal 15min', 'connect_pg full page images')) /
		nullif(med('day 15min', 'narvik WAL') - med('wal 15min', 'narvik full page images'), 0))
	) t(n, target, relation, wanted, measured) ORDER BY n;

SELECT count(*) > 0 AS there FROM measured WHERE part = 'requests' \gset
\if :there
\qecho
\qecho '### Whole requests'
\qecho
\qecho '| contestant | requests a second (least, most) | ratio to redis | p50, ms | p99, ms | processor seconds for 1000 requests: application | database | Redis |'
\qecho '|---|---|---|---|---|---|---|---|'
SELECT format('| %s | %s (%s, %s) | %s | %s | %s | %s | %s | %s |', what, shown(median), shown(least), shown(most),
			  shown(median / med('requests', 'redis')), shown(med('requests p50', what)), shown(med('requests p99', what)),
			  shown(med('requests application', what)), shown(med('requests database', what)), shown(med('requests Redis', what)))
FROM medians WHERE part = 'requests' ORDER BY median DESC;
\endif

SELECT compared('in-server', 'In-server: microseconds a call', 'hand');
SELECT compared('clients', 'Clients: requests a second', 'hand');
SELECT compared('round-trips', 'Round trips: validate and read the user''s three notes, requests a second', 'hand_two');
SELECT compared('creates', 'Clients: sessions created a second', 'create_hand');
SELECT compared(act, title || ' a second', 'nothing')
FROM (VALUES ('create', 'Events: sessions created'), ('rotate', 'Events: sessions rotated'), ('log_out', 'Events and notifications: log-outs'),
			 ('purge', 'Events: expired sessions deleted'), ('validate', 'Activity: validations')) AS t (act, title);

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
