\set user random(1, :rows / 10 - 1)
SELECT * FROM narvik_fetch_sessions_for_user('user' || :user);
