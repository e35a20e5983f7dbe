\set n :n + 1
\set user :first + :client_id * :each + :n
SELECT narvik_delete_sessions_for_user('user' || :user);
