\set token 1000000000000000000 + random(1, :rows)
SELECT * FROM narvik_validate_session(:token);
\set n :n + 1
\if :n % :every = 0
INSERT INTO measured SELECT 'memory', :rows::bigint, 'RssAnon kB', :n::int / :every::int, substring(pg_read_file('/proc/self/status', 0, 8192) FROM 'RssAnon:\s*(\d+)')::float8;
\endif
