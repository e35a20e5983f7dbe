/* What the plot of whole requests shows. */
SELECT format('"%s" %s %s', label, median, coalesce(CASE WHEN what LIKE 'narvik%' THEN 1 END, 0))
FROM medians JOIN (VALUES
	('narvik', 'narvik, one statement'), ('narvik_rls', 'narvik, row-level security'), ('hand', 'table by hand'),
	('redis', 'Redis, connect-redis'), ('connect_pg', 'connect-pg-simple')) AS l (what, label) USING (what)
WHERE part = 'requests' ORDER BY median;
