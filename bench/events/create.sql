\set user random(1, 1000000)
SELECT * FROM narvik_create_session(:user, '{"theme": "dark"}');
