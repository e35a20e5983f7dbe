\set token 1000000000000000000 + random(1, :rows)
SELECT n.id, n.body FROM narvik_validate_session(:token) s JOIN notes n ON n.owner = s.user_id;
