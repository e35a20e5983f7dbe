\set table session
\set purge_every 15
CREATE FUNCTION log_in(token text, user_id text, expires_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO "session" (sess, expire, sid) SELECT bench_sess(), to_timestamp(ceil(extract(epoch FROM expires_at))), token
	ON CONFLICT (sid) DO UPDATE SET sess = bench_sess(), expire = excluded.expire;
END $$;
CREATE FUNCTION request(token text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sess FROM "session" WHERE sid = token AND expire >= to_timestamp(ceil(extract(epoch FROM now())));
	UPDATE "session" SET expire = to_timestamp(ceil(extract(epoch FROM now() + life()))) WHERE sid = token;
	RETURN FOUND;
END $$;
CREATE FUNCTION purge() RETURNS void LANGUAGE sql BEGIN ATOMIC
	DELETE FROM "session" WHERE expire < to_timestamp(ceil(extract(epoch FROM now())));
END;
