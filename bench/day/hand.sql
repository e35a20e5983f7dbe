\set table sessions_indexed
CREATE FUNCTION log_in(token text, user_id text, expires_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO sessions_indexed (id, user_id, created_at, expires_at, sliding, data)
	VALUES (sha256(convert_to(token, 'UTF8')), user_id, now(), expires_at, true, '{"theme": "dark"}');
END $$;
CREATE FUNCTION request(token text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	session sessions_indexed;
BEGIN
	SELECT * INTO session FROM sessions_indexed WHERE id = sha256(convert_to(token, 'UTF8')) AND expires_at > now();
	IF session.expires_at <= now() + life() / 2 THEN
		UPDATE sessions_indexed SET expires_at = now() + life() WHERE id = session.id;
	END IF;
	RETURN session.id IS NOT NULL;
END $$;
CREATE FUNCTION purge() RETURNS void LANGUAGE sql BEGIN ATOMIC
	DELETE FROM sessions_indexed WHERE expires_at <= now();
END;
