-- Gives the session `remaining` to live and validates it, both in one client
-- statement and so at one moment. Answers what validation said, and what the
-- table holds after it, as distances from that moment.
CREATE FUNCTION pg_temp.validate_with(remaining interval, p_token text,
    OUT valid boolean, OUT extended boolean, OUT answered interval, OUT stored interval)
LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz := statement_timestamp();
    key bytea := decode(narvik_session_id(p_token), 'hex');
    v narvik_session;
BEGIN
    UPDATE narvik_sessions s
    SET expires_at = moment + remaining,
        purge_hour = floor(extract(epoch FROM moment + remaining) / 3600)
    WHERE s.id = key;
    SELECT * INTO v FROM narvik_validate_session(p_token);
    valid := FOUND;
    extended := v.extended;
    answered := v.expires_at - moment;
    stored := (SELECT s.expires_at - moment FROM narvik_sessions s WHERE s.id = key);
END $$;
