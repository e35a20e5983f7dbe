-- probe.run(check) runs one check of a function and undoes what it did.  A check
-- answers 'ok' if the function did its work, 'refused' if it did nothing and said
-- so, and 'WRONG: ...' if its answer and the sessions do not agree: with the
-- session in brackets if it is one that was never stored like that.
--
-- The sessions it needs are made by seed() in 007_altered_table.pl.

CREATE SCHEMA probe;

-- A session as validation or a fetch answers it; NULL if there is none.
CREATE FUNCTION probe.v(token text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT to_jsonb(s) FROM narvik_validate_session(token) AS s); END $$;
CREATE FUNCTION probe.f(token text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT to_jsonb(s) FROM narvik_fetch_session(narvik_session_id(token)) AS s); END $$;
CREATE FUNCTION probe.holds(session jsonb, user_id text, data jsonb) RETURNS boolean LANGUAGE sql
RETURN coalesce(session->>'user_id', '') = user_id AND session->'data' = data;

CREATE FUNCTION probe.saves_twice() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM narvik_save_session(narvik_session_id('fresh'), 'w', now() + interval '29 days');
	RETURN true;
EXCEPTION WHEN unique_violation THEN
	RETURN false;
END $$;

-- Checks that take several steps judge themselves.
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

-- What is done and seen afterwards, in this order, and how that is judged.
CREATE TABLE probe.checks (n serial, name text, seen text, ok text, refused text);
INSERT INTO probe.checks (name, seen, ok, refused) VALUES
	('create',
	 $$SELECT to_jsonb(c) - 'token' AS created, probe.v(c.token) AS session, c.created_at, c.expires_at FROM narvik_create_session('w', '{"n": 2}') AS c$$,
	 $$probe.holds(session, 'w', '{"n": 2}') AND created @> (session - '{new,extended,due}'::text[])
		AND expires_at = created_at + interval '720 hours' AND abs(extract(epoch FROM clock_timestamp() - created_at)) < 60$$,
	 'false'),
	('validate',
	 $$SELECT probe.f('due') AS before, probe.v('due') AS session, probe.f('due') AS after$$,
	 $$probe.holds(session, 'u', '{"n": 1}') AND session @> (after - '{new,extended,due}'::text[]) AND session->'created_at' = before->'created_at'
		AND session @> '{"extended": true}' AND (session->>'expires_at')::timestamptz > now() + interval '29 days'$$,
	 $$probe.holds(session, 'u', '{"n": 1}') AND session @> (before - '{new,extended,due}'::text[]) AND session @> '{"extended": false}'$$),
	('validate_expired', $$SELECT probe.v('old') AS valid, probe.f('old') AS stored$$, 'valid IS NULL AND stored IS NULL', 'valid IS NULL'),
	('invalidate', $$SELECT narvik_invalidate_session(narvik_session_id('fresh')) AS did, probe.v('fresh') AS valid$$,
	 'did AND valid IS NULL', 'NOT did AND valid IS NOT NULL'),
	('delete', $$SELECT narvik_delete_session(narvik_session_id('fresh')) AS did, probe.f('fresh') AS stored$$,
	 'did AND stored IS NULL', 'NOT did AND stored IS NOT NULL'),
	('rotate',
	 $$SELECT token IS NOT NULL AS did, probe.v('fresh') AS old, probe.v(token) AS new
		FROM (SELECT (SELECT token FROM narvik_rotate_session('fresh')) AS token OFFSET 0) AS r$$,
	 $$did AND old IS NULL AND probe.holds(new, 'u', '{"n": 1}')$$, 'NOT did AND old IS NOT NULL'),
	('guest',
	 $$SELECT before, probe.v(guest) AS guest, probe.v(promoted) AS promoted
		FROM (SELECT guest, before, (SELECT token FROM narvik_promote_session(guest, 'w') WHERE before IS NOT NULL) AS promoted
			  FROM (SELECT token AS guest, probe.v(token) AS before FROM narvik_create_guest_session('{"n": 2}') OFFSET 0) AS g OFFSET 0) AS p$$,
	 $$probe.holds(before, '', '{"n": 2}') AND guest IS NULL AND probe.holds(promoted, 'w', '{"n": 2}')$$,
	 $$probe.holds(before, '', '{"n": 2}') AND guest IS NOT NULL AND promoted->>'user_id' = 'w' AND promoted->'data' <> '{"n": 2}'$$),
	('put',
	 $$SELECT narvik_put_session(narvik_session_id('fresh'), 'w', now() + interval '1 day', '{"n": 2}', true) AS did, probe.f('fresh') AS stored$$,
	 $$did AND probe.holds(stored, 'w', '{"n": 2}') AND (stored->>'expires_at')::timestamptz = now() + interval '1 day'$$,
	 $$NOT did AND probe.holds(stored, 'u', '{"n": 1}')$$),
	('change_id',
	 $$SELECT narvik_change_session_id(narvik_session_id('fresh'), narvik_session_id('new')) AS did, probe.v('fresh') AS old, probe.v('new') AS new$$,
	 $$did AND old IS NULL AND probe.holds(new, 'u', '{"n": 1}')$$, 'NOT did AND old IS NOT NULL AND new IS NULL'),
	('reauthenticate', 'SELECT probe.reauthenticate() AS answer', $$answer = 'ok'$$, $$answer = 'refused'$$),
	('identity', 'SELECT probe.identity() AS answer', $$answer = 'ok'$$, $$answer = 'refused'$$),
	('replaced', 'SELECT probe.replaced() AS answer', $$answer = 'ok'$$, $$answer = 'refused'$$),
	('events', 'SELECT probe.events() AS answer', $$answer = 'ok'$$, $$answer = 'refused'$$),
	('list',
	 $$SELECT array_agg(id ORDER BY id) AS session, (SELECT array_agg(narvik_session_id(t) ORDER BY 1) FROM unnest('{due,fresh}'::text[]) AS t) AS expected
		FROM narvik_fetch_sessions_for_user('u')$$, 'session = expected', 'false'),
	('delete_for_user',
	 $$SELECT narvik_delete_sessions_for_user('u', narvik_session_id('fresh')) AS n, probe.v('due') AS due, probe.v('fresh') AS kept$$,
	 'kept IS NOT NULL AND n > 0 AND due IS NULL', 'kept IS NOT NULL AND n = 0 AND due IS NOT NULL'),
	('delete_expired',
	 $$SELECT narvik_delete_all_expired_sessions() AS n, probe.f('old') AS expired, probe.v('fresh') AS live$$,
	 'n = 1 AND expired IS NULL AND live IS NOT NULL', 'n = 0 AND expired IS NOT NULL'),
	('update_data',
	 $$SELECT narvik_update_session_data(narvik_session_id('fresh'), '{"m": 3, "n": null}') AS answer, probe.v('fresh') AS stored$$,
	 $$answer = '{"m": 3}' AND stored->'data' = answer$$, $$answer IS NULL AND stored->'data' = '{"n": 1}'$$),
	('save',
	 $$SELECT narvik_save_session(narvik_session_id('new'), 'w', now() + interval '29 days', '{"n": 2}'), probe.v('new') AS stored$$,
	 $$probe.holds(stored, 'w', '{"n": 2}') AND (stored->>'expires_at')::timestamptz = now() + interval '29 days'$$, 'false'),
	('save_twice', $$SELECT probe.saves_twice() AS did$$, 'NOT did', 'false'),
	('update_expiry',
	 $$SELECT narvik_update_session_expiry(narvik_session_id('fresh'), now() - interval '1 second') AS did, probe.v('fresh') AS valid$$,
	 'did AND valid IS NULL', 'NOT did AND valid IS NOT NULL'),
	('fetch', $$SELECT probe.f('fresh') AS session$$,
	 $$probe.holds(session, 'u', '{"n": 1}') AND session->>'id' = narvik_session_id('fresh')
		AND (session->>'expires_at')::timestamptz > now() + interval '27 days'
		AND (session->>'created_at')::timestamptz BETWEEN now() - interval '1 hour' AND now()$$, 'false');

CREATE FUNCTION probe.run(check_name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE outcome text;
BEGIN
	EXECUTE (SELECT format($run$SELECT CASE WHEN %s THEN 'ok' WHEN %s THEN 'refused'
			ELSE 'WRONG: ' || coalesce('(' || (to_jsonb(x)->>'session') || ')', 'answers ' || to_jsonb(x)::text) END
			FROM (%s OFFSET 0) AS x$run$, ok, refused, seen) FROM probe.checks WHERE name = check_name) INTO outcome;
	RAISE EXCEPTION USING ERRCODE = 'PB000', MESSAGE = outcome;
EXCEPTION
	WHEN SQLSTATE 'PB000' THEN RETURN SQLERRM;
	WHEN OTHERS THEN RETURN 'error ' || SQLSTATE || ': ' || SQLERRM;
END $$;

CREATE FUNCTION probe.all_checks() RETURNS TABLE (outcome text) LANGUAGE sql AS $$
	SELECT name || ' ' || probe.run(name) FROM probe.checks ORDER BY n
$$;
