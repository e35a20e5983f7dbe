\set token 1000000000000000000 + random(0, 7) * 1000000 + random(1, :calls)
SELECT * FROM narvik_validate_session(:token);
