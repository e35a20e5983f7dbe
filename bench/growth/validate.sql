\set token 1000000000000000000 + 2 * random(1, :rows / 2)
SELECT * FROM narvik_validate_session(:token);
