/*
 * The results as Markdown on standard output, out of the table measured.
 */
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
CREATE VIEW medians AS
SELECT part, size, what, count(*) AS rounds, min(value) AS least, max(value) AS most,
	   percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS median
FROM measured GROUP BY part, size, what;

/* At a million rows; a quick run has fewer. */
CREATE FUNCTION med(p text, w text, s bigint DEFAULT NULL) RETURNS numeric LANGUAGE sql
RETURN (SELECT median::numeric FROM medians WHERE part = p AND what = w AND (s IS NULL OR size = s)
		ORDER BY size = 1000000 DESC, size DESC LIMIT 1);
CREATE FUNCTION shown(v numeric) RETURNS text LANGUAGE sql
RETURN CASE WHEN v = trunc(v) OR abs(v) >= 1000 THEN round(v)::text
			WHEN abs(v) >= 10 THEN round(v, 1)::text ELSE round(v, 2)::text END;
CREATE FUNCTION shown(v float8) RETURNS text LANGUAGE sql RETURN shown(v::numeric);
CREATE FUNCTION ratio(p text, a text, b text) RETURNS numeric LANGUAGE sql
RETURN med(p, a) / nullif(med(p, b), 0);

\qecho '### Targets'
\qecho
\qecho '| target | wanted | measured | holds |'
\qecho '|---|---|---|---|'
SELECT format('| %s | %s %s | %s | %s |', target, relation, wanted,
			  coalesce(shown(measured), '-'),
			  CASE WHEN measured IS NULL THEN 'not measured'
				   WHEN relation = '<=' THEN CASE WHEN measured <= wanted THEN 'yes' ELSE '**no**' END
				   ELSE CASE WHEN measured >= wanted THEN 'yes' ELSE '**no**' END END)
FROM (VALUES
	(1, 'in-server: validate / hand-written subselect, time', '<=', 0.85, ratio('in-server', 'validate', 'hand')),
	(2, 'in-server: authenticate / hand-written subselect, time', '<=', 0.65, ratio('in-server', 'authenticate', 'hand')),
	(3, 'in-server: validate, 10 million rows / 100 thousand, time', '<=', 1.3,
		med('in-server', 'validate', 10000000) / med('in-server', 'validate', 100000)),
	(4, 'in-server: authenticate / validate, time', '<=', 1, ratio('in-server', 'authenticate', 'validate')),
	(5, '8 clients: validate / hand-written SELECT, rate', '>=', 1.0, ratio('clients', 'validate', 'hand')),
	(6, '8 clients: validate / SELECT 1, rate', '>=', 0.55, ratio('clients', 'validate', 'select1')),
	(7, '8 clients: validate / connect-pg-simple, rate', '>=', 7, ratio('clients', 'validate', 'connect_pg')),
	(8, '8 clients: validate / Redis without persistence, rate', '>=', 1.5, ratio('clients', 'validate', 'redis')),
	(9, '8 clients: validate / Redis with appendonly everysec, rate', '>=', 1.5, ratio('clients', 'validate', 'redis_aof')),
	(10, '8 clients: authenticate / validate, rate', '>=', 1, ratio('clients', 'authenticate', 'validate')),
	(11, '8 clients: create / hand-written INSERT, rate', '>=', 0.95, ratio('creates', 'create_narvik', 'create_hand')),
	(12, '15-minute life: share of extensions that are HOT, %', '>=', 85, med('writes 15min', 'narvik HOT %')),
	(13, '15-minute life, one request a minute: WAL a request, connect-pg-simple / narvik', '>=', 20,
		med('writes 15min', 'connect_pg WAL') / nullif(med('writes 15min', 'narvik WAL'), 0)),
	(13.2, '15-minute life, four requests a minute: the same', '>=', 20,
		med('writes 15min-busy', 'connect_pg WAL') / nullif(med('writes 15min-busy', 'narvik WAL'), 0)),
	(13.5, '15-minute life: the same without full page images', '>=', 20,
		(med('writes 15min', 'connect_pg WAL') - med('wal 15min', 'connect_pg full page images')) /
		nullif(med('writes 15min', 'narvik WAL') - med('wal 15min', 'narvik full page images'), 0)),
	(14, 'prepared validate: custom plans before the generic one stays', '<=', 5, med('memory', 'custom plans')),
	(15, 'prepared validate: nodes that sort or spool, and temporary files', '<=', 0,
		med('memory', 'sorts and spools') + med('memory', 'temporary files')),
	(16, 'prepared validate: growth of private memory over the calls, kB', '<=', 64,
		(SELECT max(value) - (array_agg(value ORDER BY round))[1] FROM measured WHERE what = 'RssAnon kB')::numeric)
	) t(n, target, relation, wanted, measured) ORDER BY n;

SELECT count(*) > 0 AS there FROM measured WHERE part = 'in-server' \gset
\if :there
\qecho
\qecho '### In-server: microseconds a call'
\qecho
\qecho 'Median of the raw times (least, most); then without the empty loop; then the raw time over the hand-written one''s.'
\qecho
\qecho '| rows | what | a call | without the loop | ratio to hand-written |'
\qecho '|---|---|---|---|---|'
SELECT format('| %s | %s | %s (%s, %s) | %s | %s |', size, what, shown(median), shown(least), shown(most),
			  shown(median - med('in-server', 'empty loop', size)::float8),
			  shown(median / med('in-server', 'hand', size)::float8))
FROM medians WHERE part = 'in-server' ORDER BY size, median;
\endif

SELECT count(*) > 0 AS there FROM measured WHERE part = 'clients' \gset
\if :there
\qecho
\qecho '### Clients: requests a second'
\qecho
\qecho '| what | median (least, most) | ratio to hand-written SELECT | ratio to SELECT 1 |'
\qecho '|---|---|---|---|'
SELECT format('| %s | %s (%s, %s) | %s | %s |', what, shown(median), shown(least), shown(most),
			  shown(median / med('clients', 'hand')::float8), shown(median / med('clients', 'select1')::float8))
FROM medians WHERE part = 'clients' ORDER BY median DESC;
\qecho
\qecho '| creating a session | median (least, most) | ratio to hand-written INSERT |'
\qecho '|---|---|---|'
SELECT format('| %s | %s (%s, %s) | %s |', what, shown(median), shown(least), shown(most),
			  shown(median / med('creates', 'create_hand')::float8))
FROM medians WHERE part = 'creates' ORDER BY median DESC;
\endif

SELECT count(*) > 0 AS there FROM measured WHERE part LIKE 'writes%' \gset
\if :there
\qecho
\qecho '### Writes: a day of sessions'
\qecho
\qecho '| day | contestant | requests | logins | UPDATEs | HOT | WAL a request, bytes | the same with logins, purges and vacuum | table and indexes at the end, MB | at most, MB |'
\qecho '|---|---|---|---|---|---|---|---|---|---|'
SELECT format('| %s | %s | %s |', split_part(part, ' ', 2), who, string_agg(coalesce(shown(med(part, who || ' ' || figure)), '-'), ' | ' ORDER BY n))
FROM (SELECT DISTINCT part, split_part(what, ' ', 1) AS who FROM measured WHERE part LIKE 'writes%') w,
	 (VALUES (1, 'requests'), (2, 'logins'), (3, 'UPDATEs'), (4, 'HOT %'), (5, 'WAL'), (6, 'WAL in all'), (7, 'MB at the end'), (8, 'MB at most')) f(n, figure)
GROUP BY part, who ORDER BY part, med(part, who || ' WAL');
\qecho
\qecho 'What a request''s WAL consists of, bytes a request:'
\qecho
\qecho '| day | contestant | kind | bytes |'
\qecho '|---|---|---|---|'
SELECT format('| %s | %s | %s | %s |', split_part(part, ' ', 2), split_part(what, ' ', 1), substring(what FROM ' (.*)'), shown(median))
FROM medians WHERE part LIKE 'wal %' AND median >= 0.5 ORDER BY part, split_part(what, ' ', 1), median DESC;
\endif

SELECT count(*) > 0 AS there FROM measured WHERE part = 'round-trips' \gset
\if :there
\qecho
\qecho '### Round trips: validate and read the user''s three notes, requests a second'
\qecho
\qecho '| what | median (least, most) | ratio to hand-written validate-then-query |'
\qecho '|---|---|---|'
SELECT format('| %s | %s (%s, %s) | %s |', what, shown(median), shown(least), shown(most),
			  shown(median / med('round-trips', 'hand_two')::float8))
FROM medians WHERE part = 'round-trips' ORDER BY median DESC;
\endif

SELECT count(*) > 0 AS there FROM measured WHERE part = 'memory' \gset
\if :there
\qecho
\qecho '### Memory: one connection'
\qecho
SELECT format('Private memory (RssAnon) of the server process after %s calls: %s kB.', string_agg(DISTINCT what, ''), string_agg(shown(value), ', ' ORDER BY round))
FROM (SELECT value, round, (SELECT value::text FROM measured WHERE what = 'calls between samples') || ', twice that, ...' AS what
	  FROM measured WHERE what = 'RssAnon kB') s;
\endif
