-- What shards and routers have in common; shard.sql and router.sql include it.
-- Which of narvik's functions goes where, and in which partition a session is.
--
-- Expects: inside, the schema of what is created here.
-- Leaves: narvik, the schema of the extension; partitions, how many there are;
-- temporary tables narvik_routes and narvik_functions.

-- A power of two, or PL/Proxy refuses it.  More partitions than there will ever
-- be databases; it cannot be changed without moving every session.
\set partitions 64

SELECT extnamespace::regnamespace AS narvik FROM pg_extension WHERE extname = 'narvik' \gset

/* ---- routes ------------------------------------------------------------- */

-- token, id: to the shard of the session, which the first argument tells.
-- all: to every shard.  own: the router has a function of its own for it.
-- local: touches no session, runs on the router.  none: not on a router.
-- "application" is what narvik_grant() grants.
CREATE TEMPORARY TABLE narvik_routes (name, route, writes, application) AS VALUES
	('narvik_create_session',				'own',		true,	true),
	('narvik_create_guest_session',			'own',		true,	true),
	('narvik_promote_session',				'own',		true,	true),
	('narvik_validate_session',				'token',	true,	true),
	('narvik_invalidate_session',			'id',		true,	true),
	('narvik_rotate_session',				'own',		true,	true),
	('narvik_reauthenticate_session',		'own',		true,	true),
	('narvik_fetch_sessions_for_user',		'own',		false,	true),
	('narvik_delete_sessions_for_user',		'own',		true,	true),
	('narvik_delete_all_expired_sessions',	'own',		true,	false),
	('narvik_update_session_data',			'id',		true,	true),
	('narvik_save_session',					'id',		true,	true),
	('narvik_fetch_session',				'id',		false,	true),
	('narvik_update_session_expiry',		'id',		true,	true),
	('narvik_delete_session',				'id',		true,	true),
	('narvik_put_session',					'id',		true,	true),
	('narvik_stats',						'all',		false,	false),
	('narvik_reset_stats',					'own',		true,	false),
	('narvik_grant',						'own',		true,	false),
	('narvik_revoke',						'own',		true,	false),
	('narvik_generate_token',				'local',	false,	true),
	('narvik_session_id',					'local',	false,	true),
	('narvik_cookie_name',					'local',	false,	true),
	('narvik_create_cookie',				'local',	false,	true),
	('narvik_create_blank_cookie',			'local',	false,	true),
	('narvik_read_cookie',					'local',	false,	true),
	('narvik_authenticate',					'none',		false,	false),
	('narvik_authenticate_cookie',			'none',		false,	false),
	('narvik_change_session_id',			'none',		false,	false),
	('narvik_current_user_id',				'none',		false,	false),
	('narvik_current_session_id',			'none',		false,	false),
	('narvik_current_data',					'none',		false,	false),
	('narvik_is_fresh',						'none',		false,	false),
	('narvik_fetch_events_for_user',		'none',		false,	false),
	('narvik_validate_user',				'none',		false,	false),
	('narvik_link_users',					'none',		false,	false),
	('narvik_linked_users',					'none',		false,	false),
	('narvik_unlink_users',					'none',		false,	false),
	('narvik_users_changed',				'none',		false,	false);

-- The extension's functions as the catalog has them, so that nothing here
-- repeats a signature.
CREATE TEMPORARY TABLE narvik_functions AS
SELECT p.oid, coalesce(p.proname, r.name) AS name, r.route, r.writes, r.application,
	pg_get_function_arguments(p.oid) AS arguments,
	pg_get_function_identity_arguments(p.oid) AS identity_arguments,
	pg_get_function_result(p.oid) AS result,
	concat_ws(' ', CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
		CASE WHEN p.proisstrict THEN 'STRICT' END, CASE WHEN p.proretset THEN 'ROWS ' || p.prorows END) AS properties,
	(SELECT coalesce(string_agg('$' || i, ', ' ORDER BY i), '') FROM generate_series(1, p.pronargs) AS i) AS parameters,
	obj_description(p.oid, 'pg_proc') AS comment
FROM narvik_routes AS r
FULL JOIN (
	SELECT p.* FROM pg_proc AS p
	JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'narvik'
) AS p ON p.proname = r.name;

DO $$
DECLARE
	names text;
BEGIN
	SELECT string_agg(name, ', ') INTO names FROM narvik_functions WHERE oid IS NULL OR route IS NULL;
	IF names IS NOT NULL THEN
		RAISE EXCEPTION 'narvik has other functions than these scripts know: %', names;
	END IF;
END $$;

/* ---- partitions --------------------------------------------------------- */

CREATE OR REPLACE FUNCTION :inside.partition_count() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN :partitions;

CREATE OR REPLACE FUNCTION :inside.partition_of(id bytea) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN get_byte(id, 31) & (:partitions - 1);

-- What is no session id has no session, wherever one looks.
CREATE OR REPLACE FUNCTION :inside.partition_of_id(id text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN id ~ '^[0-9A-Fa-f]{64}$' THEN :inside.partition_of(decode(id, 'hex')) ELSE 0 END;

CREATE OR REPLACE FUNCTION :inside.partition_of_token(token text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN octet_length(token) <= 1024 THEN :inside.partition_of_id(:narvik.narvik_session_id(token)) ELSE 0 END;
