\set n :n + 1
\set token 1000000000000000000 + :client_id * 1000000 + :n
SELECT * FROM narvik_validate_session(:token);
