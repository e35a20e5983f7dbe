\set user random(1, :rows)
SELECT * FROM narvik_create_session(:user, '{"theme": "dark"}');
