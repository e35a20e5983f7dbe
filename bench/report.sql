/* What the reports share: medians of what was measured, and tables in Markdown. */
SET client_min_messages = warning;
CREATE VIEW medians AS
SELECT part, size, what, min(value) AS least, max(value) AS most, percentile_cont(0.5) WITHIN GROUP (ORDER BY value)::numeric AS median
FROM measured GROUP BY part, size, what;

/* At a million rows; a quick run has fewer. */
CREATE FUNCTION med(p text, w text, s bigint DEFAULT NULL) RETURNS numeric LANGUAGE sql
RETURN (SELECT median FROM medians WHERE part = p AND what = w AND (s IS NULL OR size = s)
		ORDER BY size = 1000000 DESC, size DESC LIMIT 1);
CREATE FUNCTION shown(v numeric) RETURNS text LANGUAGE sql
RETURN CASE WHEN v = trunc(v) OR abs(v) >= 1000 THEN round(v)::text
			WHEN abs(v) >= 10 THEN round(v, 1)::text ELSE round(v, 2)::text END;
CREATE FUNCTION shown(v float8) RETURNS text LANGUAGE sql RETURN shown(v::numeric);

/*
 * Contestants take turns, so a ratio is that of one round: the median of the rounds, with
 * the least and the most.
 */
CREATE FUNCTION ratio_shown(p text, a text, b text, s bigint DEFAULT NULL) RETURNS text LANGUAGE sql
RETURN (SELECT format('%s (%s, %s)', shown(percentile_cont(0.5) WITHIN GROUP (ORDER BY r)), shown(min(r)), shown(max(r)))
		FROM (SELECT x.value / nullif(y.value, 0) AS r FROM measured x JOIN measured y USING (part, size, round)
			  WHERE part = p AND x.what = a AND y.what = b
			  AND size = coalesce(s, (SELECT size FROM medians WHERE part = p AND what = a ORDER BY size = 1000000 DESC, size DESC LIMIT 1))) AS rounds);
CREATE FUNCTION big(n numeric) RETURNS text LANGUAGE sql RETURN to_char(n, 'FM999,999,999,999');

/* A table of one part, each contestant beside one of them. */
CREATE FUNCTION compared(p text, title text, base text) RETURNS SETOF text LANGUAGE sql
BEGIN ATOMIC
	SELECT line FROM (
		SELECT 0 AS n, 0 AS size, 0 AS median, format(E'\n### %s\n\n| rows | what | median (least, most) | ratio to %s, of each round (least, most) |\n|---|---|---|---|', title, base) AS line
		UNION ALL
		SELECT 1, size, median, format('| %s | %s | %s (%s, %s) | %s |', size, what, shown(median), shown(least), shown(most),
									   CASE what WHEN base THEN '1' ELSE ratio_shown(p, what, base, size) END)
		FROM medians WHERE part = p) lines
	WHERE EXISTS (SELECT FROM medians WHERE part = p)
	ORDER BY n, size, median;
END;
