\set token 1000000000000000000 + random(1, :rows)
SELECT narvik_authenticate(:token);
