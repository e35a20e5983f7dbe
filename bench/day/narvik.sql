\set table narvik_sessions
CREATE FUNCTION log_in(token text, user_id text, expires_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM narvik_save_session(narvik_session_id(token), user_id, expires_at, '{"theme": "dark"}');
END $$;
CREATE FUNCTION request(token text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM narvik_validate_session(token);
	RETURN FOUND;
END $$;
CREATE FUNCTION purge() RETURNS bigint LANGUAGE sql RETURN narvik_delete_all_expired_sessions();
