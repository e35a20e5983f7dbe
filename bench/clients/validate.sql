\set token 1000000000000000000 + random(1, :rows)
SELECT * FROM narvik_validate_session(:token::text);
