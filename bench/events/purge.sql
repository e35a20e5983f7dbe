SELECT narvik_delete_all_expired_sessions();
