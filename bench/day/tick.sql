/*
 * One moment of the day: whoever visits makes a request.
 * Variables: at (seconds since the day began), visit (its minutes), and begin.sql's.
 */
SELECT greatest(0, (:at / 60 + 1 - :visit) * :sessions / :starts) AS first, least(:sessions, (:at / 60 + 1) * :sessions / :starts) AS last,
	   :at % (60 * :purge_every) = 0 AS purges \gset
\if :logs_in
	CALL log_in_all(:begun + 1, :last);
	\set begun :last
\endif
CALL make_requests(:first + 1, :last);
\if :purges
	SELECT purge() \g /dev/null
\endif
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT format('VACUUM ANALYZE %I', :'table') WHERE :at % 60 = 0 AND needs_vacuum(:'table') UNION ALL SELECT 'CHECKPOINT' WHERE :at % 300 = 0 \gexec
