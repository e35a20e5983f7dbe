-- probe.run(check) runs one check of a function and undoes what it did.  A check
-- answers 'ok' if the function did its work, 'refused' if it did nothing and said
-- so, and 'WRONG: ...' if its answer and the sessions do not agree.
--
-- The sessions it needs are made by seed() in 007_altered_table.pl.

CREATE SCHEMA probe;
CREATE FUNCTION probe.run(check_name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE outcome text;
BEGIN
	EXECUTE format('SELECT probe.%I()', check_name) INTO outcome;
	RAISE EXCEPTION USING ERRCODE = 'PB000', MESSAGE = outcome;
EXCEPTION
	WHEN SQLSTATE 'PB000' THEN RETURN SQLERRM;
	WHEN OTHERS THEN RETURN 'error ' || SQLSTATE || ': ' || SQLERRM;
END $$;

CREATE FUNCTION probe.create() RETURNS text LANGUAGE plpgsql AS $$
DECLARE c record; v record;
BEGIN
	SELECT * INTO c FROM narvik_create_session('w', '{"n": 2}');
	SELECT * INTO v FROM narvik_validate_session(c.token);
	IF NOT FOUND THEN RETURN 'WRONG: the new token is not valid'; END IF;
	IF v.id = narvik_session_id(c.token) AND v.user_id = 'w' AND v.data = '{"n": 2}'
	   AND v.expires_at = c.expires_at AND v.created_at = c.created_at
	   AND c.expires_at = c.created_at + interval '720 hours'
	   AND abs(extract(epoch FROM clock_timestamp() - c.created_at)) < 60
	THEN RETURN 'ok'; END IF;
	RETURN 'WRONG: ' || v::text;
END $$;

CREATE FUNCTION probe.validate() RETURNS text LANGUAGE plpgsql AS $$
DECLARE v record; f record; before record;
BEGIN
	SELECT * INTO before FROM narvik_fetch_session(narvik_session_id('due'));
	SELECT * INTO v FROM narvik_validate_session('due');
	IF NOT FOUND THEN RETURN 'WRONG: a live session is not valid'; END IF;
	SELECT * INTO f FROM narvik_fetch_session(narvik_session_id('due'));
	IF v.user_id = 'u' AND v.data = '{"n": 1}' AND v.id = narvik_session_id('due')
	   AND v.expires_at = f.expires_at AND v.created_at = before.created_at
	THEN
		IF v.extended AND v.expires_at > now() + interval '29 days' THEN RETURN 'ok'; END IF;
		IF NOT v.extended AND v.expires_at = before.expires_at THEN RETURN 'refused'; END IF;
	END IF;
	RETURN 'WRONG: ' || v::text;
END $$;

CREATE FUNCTION probe.validate_expired() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM narvik_validate_session('old');
	IF FOUND THEN RETURN 'WRONG: an expired session is valid'; END IF;
	PERFORM FROM narvik_fetch_session(narvik_session_id('old'));
	RETURN CASE WHEN FOUND THEN 'refused' ELSE 'ok' END;
END $$;

CREATE FUNCTION probe.invalidate() RETURNS text LANGUAGE plpgsql AS $$
DECLARE deleted boolean := narvik_invalidate_session(narvik_session_id('fresh'));
BEGIN
	PERFORM FROM narvik_validate_session('fresh');
	RETURN CASE WHEN deleted AND NOT FOUND THEN 'ok'
				WHEN NOT deleted AND FOUND THEN 'refused'
				ELSE format('WRONG: answers %s, valid %s', deleted, FOUND) END;
END $$;

CREATE FUNCTION probe.delete() RETURNS text LANGUAGE plpgsql AS $$
DECLARE deleted boolean := narvik_delete_session(narvik_session_id('fresh'));
BEGIN
	PERFORM FROM narvik_fetch_session(narvik_session_id('fresh'));
	RETURN CASE WHEN deleted AND NOT FOUND THEN 'ok'
				WHEN NOT deleted AND FOUND THEN 'refused'
				ELSE format('WRONG: answers %s, found %s', deleted, FOUND) END;
END $$;

CREATE FUNCTION probe.rotate() RETURNS text LANGUAGE plpgsql AS $$
DECLARE r record; rotated boolean; new_valid boolean; old_valid boolean;
BEGIN
	SELECT * INTO r FROM narvik_rotate_session('fresh');
	rotated := FOUND;
	PERFORM FROM narvik_validate_session('fresh');
	old_valid := FOUND;
	IF NOT rotated THEN
		RETURN CASE WHEN old_valid THEN 'refused' ELSE 'WRONG: not rotated and gone' END;
	END IF;
	PERFORM FROM narvik_validate_session(r.token) WHERE user_id = 'u' AND data = '{"n": 1}';
	new_valid := FOUND;
	RETURN CASE WHEN new_valid AND NOT old_valid THEN 'ok'
				ELSE format('WRONG: new valid %s, old valid %s', new_valid, old_valid) END;
END $$;

CREATE FUNCTION probe.guest() RETURNS text LANGUAGE plpgsql AS $$
DECLARE g record; p record; v record; guest_valid boolean;
BEGIN
	SELECT * INTO g FROM narvik_create_guest_session('{"n": 2}');
	SELECT * INTO v FROM narvik_validate_session(g.token);
	IF NOT FOUND OR v.user_id IS NOT NULL OR v.data <> '{"n": 2}' THEN RETURN 'WRONG: the new guest is ' || v::text; END IF;
	SELECT * INTO p FROM narvik_promote_session(g.token, 'w');
	PERFORM FROM narvik_validate_session(g.token);
	guest_valid := FOUND;
	SELECT * INTO v FROM narvik_validate_session(p.token);
	IF FOUND AND v.user_id = 'w' AND (v.data = '{"n": 2}') <> guest_valid THEN
		RETURN CASE WHEN guest_valid THEN 'refused' ELSE 'ok' END;
	END IF;
	RETURN format('WRONG: guest valid %s, promoted %s', guest_valid, v);
END $$;

CREATE FUNCTION probe.put() RETURNS text LANGUAGE plpgsql AS $$
DECLARE put boolean := narvik_put_session(narvik_session_id('fresh'), 'w', now() + interval '1 day', '{"n": 2}', true); f record;
BEGIN
	SELECT * INTO f FROM narvik_fetch_session(narvik_session_id('fresh'));
	RETURN CASE WHEN put AND f.user_id = 'w' AND f.data = '{"n": 2}' AND f.expires_at = now() + interval '1 day' THEN 'ok'
				WHEN NOT put AND f.user_id = 'u' AND f.data = '{"n": 1}' THEN 'refused'
				ELSE format('WRONG: answers %s, stored %s', put, f) END;
END $$;

CREATE FUNCTION probe.change_id() RETURNS text LANGUAGE plpgsql AS $$
DECLARE changed boolean := narvik_change_session_id(narvik_session_id('fresh'), narvik_session_id('new')); old_valid boolean;
BEGIN
	PERFORM FROM narvik_validate_session('fresh');
	old_valid := FOUND;
	PERFORM FROM narvik_validate_session('new') WHERE user_id = 'u' AND data = '{"n": 1}';
	RETURN CASE WHEN changed AND FOUND AND NOT old_valid THEN 'ok'
				WHEN NOT changed AND NOT FOUND AND old_valid THEN 'refused'
				ELSE format('WRONG: answers %s, new valid %s, old valid %s', changed, FOUND, old_valid) END;
END $$;

CREATE FUNCTION probe.reauthenticate() RETURNS text LANGUAGE plpgsql AS $$
DECLARE r record; done boolean; old_valid boolean; v record;
BEGIN
	SELECT * INTO r FROM narvik_reauthenticate_session('fresh', '{"m": 3, "n": null}');
	done := FOUND;
	PERFORM FROM narvik_validate_session('fresh');
	old_valid := FOUND;
	IF NOT done THEN
		RETURN CASE WHEN old_valid THEN 'refused' ELSE 'WRONG: not renewed and gone' END;
	END IF;
	SELECT * INTO v FROM narvik_validate_session(r.token);
	RETURN CASE WHEN FOUND AND NOT old_valid AND v.user_id = 'u' AND v.data = '{"m": 3}' AND v.authenticated_at = now() THEN 'ok'
				ELSE format('WRONG: new %s, old valid %s', v, old_valid) END;
END $$;

-- Of what it sees or not, the data are those of the session.
CREATE FUNCTION probe.identity() RETURNS text LANGUAGE plpgsql AS $$
DECLARE who text := narvik_authenticate('fresh');
BEGIN
	IF who = 'u' AND narvik_current_data() = '{"n": 1}' AND narvik_is_fresh('1 hour') IS NOT NULL THEN RETURN 'ok'; END IF;
	RETURN format('WRONG: %s, data %s', who, narvik_current_data());
END $$;

-- A replaced token is valid in its grace, or not, and ends its session once seen later.
CREATE FUNCTION probe.replaced() RETURNS text LANGUAGE plpgsql AS $$
DECLARE in_grace boolean;
BEGIN
	SET LOCAL narvik.rotation_grace = '1h';
	PERFORM FROM narvik_validate_session('replaced') WHERE user_id = 'u' AND id = narvik_session_id('fresh');
	in_grace := FOUND;
	SET LOCAL narvik.rotation_grace = 0;
	SET LOCAL narvik.detect_reuse = on;
	PERFORM FROM narvik_validate_session('replaced');
	IF FOUND THEN RETURN 'WRONG: valid after the grace'; END IF;
	PERFORM FROM narvik_validate_session('fresh');
	RETURN CASE WHEN in_grace AND NOT FOUND THEN 'ok'
				WHEN FOUND OR NOT in_grace THEN 'refused' END;
END $$;

-- An event for what happened, and none for what did not.
CREATE FUNCTION probe.events() RETURNS text LANGUAGE plpgsql AS $$
DECLARE deleted boolean; c record; kinds text;
BEGIN
	SET LOCAL narvik.events = on;
	SET LOCAL narvik.event_claims = 'n';
	SELECT * INTO c FROM narvik_create_session('w', '{"n": 2, "m": 3}');
	deleted := narvik_invalidate_session(c.id);
	SELECT string_agg(concat_ws(' ', kind, reason, detail), ', ' ORDER BY seq) INTO kinds
	FROM narvik_fetch_events_for_user('w') WHERE session_id = c.id;
	RETURN CASE WHEN deleted AND kinds = 'created {"n": 2}, ended logout {"n": 2}' THEN 'ok'
				WHEN NOT deleted AND kinds = 'created {"n": 2}' THEN 'refused'
				ELSE format('WRONG: deleted %s, events %s', deleted, kinds) END;
END $$;

CREATE FUNCTION probe.list() RETURNS text LANGUAGE plpgsql AS $$
DECLARE ids text[];
BEGIN
	SELECT array_agg(id ORDER BY id) INTO ids FROM narvik_fetch_sessions_for_user('u');
	IF ids = (SELECT array_agg(narvik_session_id(t) ORDER BY 1)
			  FROM unnest(ARRAY['due', 'fresh']) AS t) OR
	   ids = ARRAY[narvik_session_id('fresh'), narvik_session_id('due')]
	THEN RETURN 'ok'; END IF;
	RETURN 'WRONG: ' || coalesce(ids::text, 'none');
END $$;

CREATE FUNCTION probe.delete_for_user() RETURNS text LANGUAGE plpgsql AS $$
DECLARE n bigint := narvik_delete_sessions_for_user('u', narvik_session_id('fresh')); due boolean;
BEGIN
	PERFORM FROM narvik_validate_session('due');
	due := FOUND;
	PERFORM FROM narvik_validate_session('fresh');
	IF NOT FOUND THEN RETURN 'WRONG: deleted the one to keep'; END IF;
	RETURN CASE WHEN n > 0 AND NOT due THEN 'ok'
				WHEN n = 0 AND due THEN 'refused'
				ELSE format('WRONG: deleted %s, valid %s', n, due) END;
END $$;

CREATE FUNCTION probe.delete_expired() RETURNS text LANGUAGE plpgsql AS $$
DECLARE n bigint := narvik_delete_all_expired_sessions();
BEGIN
	PERFORM FROM narvik_fetch_session(narvik_session_id('old'));
	IF n = 1 AND NOT FOUND THEN
		PERFORM FROM narvik_validate_session('fresh');
		RETURN CASE WHEN FOUND THEN 'ok' ELSE 'WRONG: deleted a live session' END;
	END IF;
	RETURN CASE WHEN n = 0 AND FOUND THEN 'refused'
				ELSE format('WRONG: deleted %s, found %s', n, FOUND) END;
END $$;

CREATE FUNCTION probe.update_data() RETURNS text LANGUAGE plpgsql AS $$
DECLARE j jsonb := narvik_update_session_data(narvik_session_id('fresh'), '{"m": 3, "n": null}');
		stored jsonb;
BEGIN
	SELECT data INTO stored FROM narvik_validate_session('fresh');
	RETURN CASE WHEN j = '{"m": 3}' AND stored = j THEN 'ok'
				WHEN j IS NULL AND stored = '{"n": 1}' THEN 'refused'
				ELSE format('WRONG: answers %s, stored %s', j, stored) END;
END $$;

CREATE FUNCTION probe.save() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM narvik_save_session(narvik_session_id('new'), 'w', now() + interval '29 days', '{"n": 2}');
	PERFORM FROM narvik_validate_session('new')
		WHERE user_id = 'w' AND data = '{"n": 2}' AND expires_at = now() + interval '29 days';
	RETURN CASE WHEN FOUND THEN 'ok' ELSE 'WRONG: saved and not there' END;
END $$;

CREATE FUNCTION probe.save_twice() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM narvik_save_session(narvik_session_id('fresh'), 'w', now() + interval '29 days');
	RETURN 'WRONG: saved twice';
EXCEPTION WHEN unique_violation THEN
	RETURN 'ok';
END $$;

CREATE FUNCTION probe.update_expiry() RETURNS text LANGUAGE plpgsql AS $$
DECLARE updated boolean := narvik_update_session_expiry(narvik_session_id('fresh'),
														now() - interval '1 second');
BEGIN
	PERFORM FROM narvik_validate_session('fresh');
	RETURN CASE WHEN updated AND NOT FOUND THEN 'ok'
				WHEN NOT updated AND FOUND THEN 'refused'
				ELSE format('WRONG: answers %s, valid %s', updated, FOUND) END;
END $$;

CREATE FUNCTION probe.fetch() RETURNS text LANGUAGE plpgsql AS $$
DECLARE f record;
BEGIN
	SELECT * INTO f FROM narvik_fetch_session(narvik_session_id('fresh'));
	IF NOT FOUND THEN RETURN 'WRONG: not found'; END IF;
	IF f.user_id = 'u' AND f.data = '{"n": 1}' AND f.id = narvik_session_id('fresh')
	   AND f.expires_at > now() + interval '27 days' AND f.created_at <= now()
	   AND f.created_at > now() - interval '1 hour'
	THEN RETURN 'ok'; END IF;
	RETURN 'WRONG: ' || f::text;
END $$;

CREATE FUNCTION probe.all_checks() RETURNS TABLE (outcome text) LANGUAGE sql AS $$
	SELECT c || ' ' || probe.run(c)
	FROM unnest(ARRAY['create', 'validate', 'validate_expired', 'invalidate', 'delete', 'rotate', 'guest', 'put', 'change_id', 'reauthenticate', 'identity', 'replaced', 'events',
					  'list', 'delete_for_user', 'delete_expired', 'update_data', 'save',
					  'save_twice', 'update_expiry', 'fetch']) AS c
$$;
