/* What the plot of whole requests shows. */
SELECT format('"%s" %s %s', label, median, coalesce(CASE WHEN what LIKE 'narvik%' THEN 1 END, 0))
FROM medians JOIN (VALUES
	('no_session', 'no sessions at all'), ('narvik', 'narvik'), ('narvik_rls_one', 'narvik, row-level security'),
	('narvik_rls', 'narvik, a transaction'), ('hand', 'table by hand'), ('redis', 'Redis, connect-redis'),
	('connect_pg', 'connect-pg-simple')) AS l (what, label) USING (what)
WHERE part = 'requests' ORDER BY median;
