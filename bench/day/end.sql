/* What the day has written.  Spans are where requests were made: the rest is log-ins, purges and vacuum. */
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'first_lsn') AS wal_in_all, pg_stat_force_next_flush() \gset
CHECKPOINT;
SELECT sum(requests) AS requests, sum(wal_to - wal_from) AS wal FROM spans \gset
INSERT INTO measured
SELECT 'wal ' || :'day', :sessions, :'contestant' || ' ' || kind, 1, sum(bytes) / :requests
FROM spans, pg_get_wal_stats(wal_from, wal_to, true) w,
	 LATERAL (VALUES (w."resource_manager/record_type", w.record_size), ('full page images', w.fpi_size)) v(kind, bytes)
WHERE wal_to > wal_from AND bytes > 0 GROUP BY kind;
INSERT INTO measured
SELECT 'day ' || :'day', :sessions, :'contestant' || ' ' || what, 1, value
FROM pg_stat_user_tables, LATERAL (VALUES
	('requests', :requests), ('log-ins', :begun), ('UPDATEs', n_tup_upd),
	('HOT, %', 100.0 * n_tup_hot_upd / nullif(n_tup_upd, 0)),
	('WAL', :wal / :requests), ('WAL in all', :wal_in_all / :requests),
	('MB', pg_total_relation_size(relid) / 1e6)) v(what, value)
WHERE relname = :'table' AND value IS NOT NULL;
