/* narvik--1.0.sql */

\echo Use "CREATE EXTENSION narvik CASCADE" to load this file. \quit

/* ---- the table ---------------------------------------------------------- */

/*
 * Looked up by hash: a hash index on the 32-byte id is half the size of a
 * btree and quicker to search.  Hash indexes cannot be UNIQUE, so the
 * exclusion constraint keeps ids unique; the identity primary key is there
 * for logical replication.  User ids are compared byte by byte: an upgrade of
 * the C library changes other collations, and rows could not be found any
 * more.  A tenth of each page stays free for HOT updates: an extension is one
 * if it leaves purge_hour as it is.  With a life of two hours or more it never
 * does, with one of minutes mostly (bench/README.md has figures).
 */
CREATE TABLE narvik_sessions (
	seq			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id			bytea NOT NULL,
	user_id		text COLLATE pg_catalog."C",
	created_at	timestamptz NOT NULL,
	expires_at	timestamptz NOT NULL,
	ends_at		timestamptz,
	authenticated_at timestamptz,
	active_at	timestamptz,
	lifetime	interval,
	sliding		boolean NOT NULL,
	data		jsonb NOT NULL,
	purge_hour	integer NOT NULL,
	replaced_ids bytea[],
	replaced_at	timestamptz[],
	CONSTRAINT narvik_sessions_id_excl EXCLUDE USING hash (id WITH =)
) WITH (fillfactor = 90);
CREATE INDEX narvik_sessions_user_id_idx ON narvik_sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX narvik_sessions_purge_hour_idx ON narvik_sessions (purge_hour);
CREATE INDEX narvik_sessions_replaced_ids_idx ON narvik_sessions USING gin (replaced_ids)
	WITH (fastupdate = off) WHERE replaced_ids IS NOT NULL;

/* pg_dump carries the sessions, and the counter behind seq. */
SELECT pg_catalog.pg_extension_config_dump('narvik_sessions', '');
SELECT pg_catalog.pg_extension_config_dump('narvik_sessions_seq_seq', '');

COMMENT ON TABLE narvik_sessions IS 'login sessions; read and written by narvik''s functions only';
COMMENT ON COLUMN narvik_sessions.seq IS 'order of creation; replica identity for logical replication';
COMMENT ON COLUMN narvik_sessions.id IS 'session id: SHA-256 of the token, 32 bytes; the token itself is never stored';
COMMENT ON COLUMN narvik_sessions.user_id IS 'whose session this is; NULL: a guest''s';
COMMENT ON COLUMN narvik_sessions.created_at IS 'when the session was created';
COMMENT ON COLUMN narvik_sessions.expires_at IS 'from this moment on the session is invalid';
COMMENT ON COLUMN narvik_sessions.ends_at IS 'expires_at is never later than this; NULL: no such end';
COMMENT ON COLUMN narvik_sessions.authenticated_at IS 'when the user logged in; NULL: a guest''s';
COMMENT ON COLUMN narvik_sessions.active_at IS 'when the session was last seen in use; NULL: not noted';
COMMENT ON COLUMN narvik_sessions.lifetime IS 'length of a full extension; NULL: narvik.session_expires_in decides at each validation';
COMMENT ON COLUMN narvik_sessions.sliding IS 'whether validation extends the session';
COMMENT ON COLUMN narvik_sessions.data IS 'additional session data, always a JSON object';
COMMENT ON COLUMN narvik_sessions.purge_hour IS 'hour since 1970-01-01 00:00 UTC in which expires_at falls; coarse, so that extensions of short sessions can be HOT updates';
COMMENT ON COLUMN narvik_sessions.replaced_ids IS 'ids that rotation replaced while narvik.rotation_grace or narvik.detect_reuse was set, the newest first';
COMMENT ON COLUMN narvik_sessions.replaced_at IS 'when each of them was';
COMMENT ON CONSTRAINT narvik_sessions_pkey ON narvik_sessions IS 'replica identity for logical replication';
COMMENT ON INDEX narvik_sessions_pkey IS 'replica identity for logical replication';
COMMENT ON CONSTRAINT narvik_sessions_id_excl ON narvik_sessions IS 'ids are unique';
COMMENT ON INDEX narvik_sessions_id_excl IS 'finds a session by its id';
COMMENT ON INDEX narvik_sessions_user_id_idx IS 'finds the sessions of a user';
COMMENT ON INDEX narvik_sessions_purge_hour_idx IS 'finds expired sessions without reading live ones';
COMMENT ON INDEX narvik_sessions_replaced_ids_idx IS 'finds a session by an id that rotation replaced';
COMMENT ON SEQUENCE narvik_sessions_seq_seq IS 'the counter behind narvik_sessions.seq';

/* ---- what happened ------------------------------------------------------ */

/*
 * Written with narvik.events, in the transaction that did what it tells.  There
 * is no index on the time: the oldest are the first by seq.
 */
CREATE TABLE narvik_events (
	seq			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at			timestamptz NOT NULL,
	kind		text COLLATE pg_catalog."C" NOT NULL,
	reason		text COLLATE pg_catalog."C",
	session_id	bytea NOT NULL,
	user_id		text COLLATE pg_catalog."C",
	detail		jsonb NOT NULL
);
CREATE INDEX narvik_events_user_id_idx ON narvik_events (user_id, seq) WHERE user_id IS NOT NULL;

SELECT pg_catalog.pg_extension_config_dump('narvik_events', '');
SELECT pg_catalog.pg_extension_config_dump('narvik_events_seq_seq', '');

COMMENT ON TABLE narvik_events IS 'what happened to sessions, while narvik.events is on; read with narvik_fetch_events_for_user()';
COMMENT ON COLUMN narvik_events.seq IS 'order of writing; replica identity for logical replication';
COMMENT ON COLUMN narvik_events.at IS 'when it happened';
COMMENT ON COLUMN narvik_events.kind IS 'created, promoted, rotated, reauthenticated or ended';
COMMENT ON COLUMN narvik_events.reason IS 'why it ended: logout, revoked, expired, max_age, limit, user_deleted, replaced, reuse, or what the caller said; NULL: it did not end';
COMMENT ON COLUMN narvik_events.session_id IS 'the session''s id after the event, 32 bytes';
COMMENT ON COLUMN narvik_events.user_id IS 'whose session it is; NULL: a guest''s';
COMMENT ON COLUMN narvik_events.detail IS 'what narvik.event_claims names of the session''s data';
COMMENT ON CONSTRAINT narvik_events_pkey ON narvik_events IS 'replica identity for logical replication; finds the oldest';
COMMENT ON INDEX narvik_events_pkey IS 'replica identity for logical replication; finds the oldest';
COMMENT ON INDEX narvik_events_user_id_idx IS 'finds the events of a user, newest first';
COMMENT ON SEQUENCE narvik_events_seq_seq IS 'the counter behind narvik_events.seq';

/* ---- what the functions answer ------------------------------------------ */

CREATE TYPE narvik_session AS (
	id			text,
	user_id		text,
	created_at	timestamptz,
	expires_at	timestamptz,
	authenticated_at timestamptz,
	active_at	timestamptz,
	data		jsonb,
	new			boolean,
	extended	boolean,
	due			boolean
);
COMMENT ON TYPE narvik_session IS 'a session; new or extended: send the cookie again';
COMMENT ON COLUMN narvik_session.id IS 'session id: 64 hex digits, SHA-256 of the token';
COMMENT ON COLUMN narvik_session.user_id IS 'whose session it is; NULL: a guest''s';
COMMENT ON COLUMN narvik_session.created_at IS 'when the session was created';
COMMENT ON COLUMN narvik_session.expires_at IS 'from then on it is invalid';
COMMENT ON COLUMN narvik_session.authenticated_at IS 'when the user logged in; NULL: a guest''s';
COMMENT ON COLUMN narvik_session.active_at IS 'when it was last seen in use, as far as that is noted';
COMMENT ON COLUMN narvik_session.data IS 'additional session data';
COMMENT ON COLUMN narvik_session.new IS 'send the cookie: the token is new';
COMMENT ON COLUMN narvik_session.extended IS 'send the cookie again: the session lives longer now';
COMMENT ON COLUMN narvik_session.due IS 'an extension is due and was not made: validate again, on the primary';

CREATE TYPE narvik_created_session AS (
	token		text,
	id			text,
	user_id		text,
	created_at	timestamptz,
	expires_at	timestamptz,
	authenticated_at timestamptz,
	active_at	timestamptz,
	data		jsonb,
	new			boolean,
	extended	boolean
);
COMMENT ON TYPE narvik_created_session IS 'a session with its token, which only the client keeps';
COMMENT ON COLUMN narvik_created_session.token IS 'the only copy; the table has its hash';
COMMENT ON COLUMN narvik_created_session.id IS 'session id: 64 hex digits, SHA-256 of the token';
COMMENT ON COLUMN narvik_created_session.user_id IS 'whose session it is; NULL: a guest''s';
COMMENT ON COLUMN narvik_created_session.created_at IS 'when the session was created';
COMMENT ON COLUMN narvik_created_session.expires_at IS 'from then on it is invalid';
COMMENT ON COLUMN narvik_created_session.authenticated_at IS 'when the user logged in; NULL: a guest''s';
COMMENT ON COLUMN narvik_created_session.active_at IS 'when it was last seen in use, as far as that is noted';
COMMENT ON COLUMN narvik_created_session.data IS 'additional session data';
COMMENT ON COLUMN narvik_created_session.new IS 'send the cookie: the token is new';
COMMENT ON COLUMN narvik_created_session.extended IS 'send the cookie again: the session lives longer now';

CREATE TYPE narvik_request AS (
	set_cookie	text,
	token		text,
	id			text,
	user_id		text,
	created_at	timestamptz,
	expires_at	timestamptz,
	authenticated_at timestamptz,
	active_at	timestamptz,
	data		jsonb,
	new			boolean,
	extended	boolean,
	due			boolean
);
COMMENT ON TYPE narvik_request IS 'the session of a request, and the cookie to answer with';
COMMENT ON COLUMN narvik_request.set_cookie IS 'send it as a Set-Cookie header; NULL: send none';
COMMENT ON COLUMN narvik_request.token IS 'the token that came';
COMMENT ON COLUMN narvik_request.id IS 'session id: 64 hex digits, SHA-256 of the token';
COMMENT ON COLUMN narvik_request.user_id IS 'whose session it is; NULL: a guest''s';
COMMENT ON COLUMN narvik_request.created_at IS 'when the session was created';
COMMENT ON COLUMN narvik_request.expires_at IS 'from then on it is invalid';
COMMENT ON COLUMN narvik_request.authenticated_at IS 'when the user logged in; NULL: a guest''s';
COMMENT ON COLUMN narvik_request.active_at IS 'when it was last seen in use, as far as that is noted';
COMMENT ON COLUMN narvik_request.data IS 'additional session data';
COMMENT ON COLUMN narvik_request.new IS 'always false: the token is known';
COMMENT ON COLUMN narvik_request.extended IS 'the session lives longer now';
COMMENT ON COLUMN narvik_request.due IS 'an extension is due and was not made: validate again, on the primary';

CREATE TYPE narvik_event AS (
	seq			bigint,
	at			timestamptz,
	kind		text,
	reason		text,
	session_id	text,
	user_id		text,
	detail		jsonb
);
COMMENT ON TYPE narvik_event IS 'what happened to a session';
COMMENT ON COLUMN narvik_event.seq IS 'order of writing';
COMMENT ON COLUMN narvik_event.at IS 'when it happened';
COMMENT ON COLUMN narvik_event.kind IS 'created, promoted, rotated, reauthenticated or ended';
COMMENT ON COLUMN narvik_event.reason IS 'why it ended; NULL: it did not';
COMMENT ON COLUMN narvik_event.session_id IS 'session id: 64 hex digits, SHA-256 of the token';
COMMENT ON COLUMN narvik_event.user_id IS 'whose session it is';
COMMENT ON COLUMN narvik_event.detail IS 'what narvik.event_claims names of the session''s data';

/* ---- lifecycle ---------------------------------------------------------- */

CREATE FUNCTION narvik_create_session(user_id text, data jsonb DEFAULT '{}',
									  expires_in interval DEFAULT NULL,
									  sliding boolean DEFAULT true,
									  max_age interval DEFAULT NULL)
RETURNS narvik_created_session
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_create_session(text, jsonb, interval, boolean, interval) IS
'log in: stores a new session and returns it with its token';

CREATE FUNCTION narvik_create_guest_session(data jsonb DEFAULT '{}',
											expires_in interval DEFAULT NULL)
RETURNS narvik_created_session
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_create_guest_session(jsonb, interval) IS
'stores a session of nobody yet, before anybody has logged in, and returns it with its token';

CREATE FUNCTION narvik_promote_session(token text, user_id text, data jsonb DEFAULT '{}',
									   expires_in interval DEFAULT NULL,
									   sliding boolean DEFAULT true,
									   max_age interval DEFAULT NULL)
RETURNS narvik_created_session
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_promote_session(text, text, jsonb, interval, boolean, interval) IS
'log in whoever has this token: a guest''s session becomes the user''s under a new token, any other one ends and a new one is stored';

CREATE FUNCTION narvik_validate_session(token text)
RETURNS SETOF narvik_session
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION narvik_validate_session(text) IS
'the session of this token if it is valid, else no row; extends it once half of its life is over';

CREATE FUNCTION narvik_invalidate_session(session_id text, reason text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_invalidate_session(text, text) IS
'log out: deletes the session; false if there was none';

CREATE FUNCTION narvik_rotate_session(token text)
RETURNS SETOF narvik_created_session
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION narvik_rotate_session(text) IS
'gives the session a new token and id; the old token is dead in the same instant';

CREATE FUNCTION narvik_reauthenticate_session(token text, patch jsonb DEFAULT '{}')
RETURNS SETOF narvik_created_session
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION narvik_reauthenticate_session(text, jsonb) IS
'the password was asked for again: rotates the session, sets authenticated_at and merges the patch into its data';

CREATE FUNCTION narvik_fetch_sessions_for_user(user_id text, max_rows integer DEFAULT NULL,
											   created_before timestamptz DEFAULT NULL)
RETURNS SETOF narvik_session
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION narvik_fetch_sessions_for_user(text, integer, timestamptz) IS
'the live sessions of a user, newest first, at most so many, created before a moment';

CREATE FUNCTION narvik_fetch_events_for_user(user_id text, before_seq bigint DEFAULT NULL,
											 max_rows integer DEFAULT 100)
RETURNS SETOF narvik_event
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION narvik_fetch_events_for_user(text, bigint, integer) IS
'what happened to the sessions of a user, newest first, at most so many, written before one of them';

CREATE FUNCTION narvik_delete_sessions_for_user(user_id text, except_session_id text DEFAULT NULL,
												reason text DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_delete_sessions_for_user(text, text, text) IS
'log out everywhere, or everywhere but here; how many sessions were deleted';

CREATE FUNCTION narvik_delete_all_expired_sessions()
RETURNS bigint
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_delete_all_expired_sessions() IS
'deletes every expired session now; how many there were';

CREATE FUNCTION narvik_update_session_data(session_id text, patch jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_update_session_data(text, jsonb) IS
'merges the top-level keys of patch into the session''s data, a null value removes its key; the new data, or NULL if there is no live session';

/* ---- storage callbacks for clients that hash tokens themselves ---------- */

CREATE FUNCTION narvik_save_session(id text, user_id text, expires_at timestamptz,
									data jsonb DEFAULT '{}', lifetime interval DEFAULT NULL,
									sliding boolean DEFAULT true)
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_save_session(text, text, timestamptz, jsonb, interval, boolean) IS
'Narvik''s saveSession: stores a session under an id the client computed';

CREATE FUNCTION narvik_fetch_session(id text)
RETURNS SETOF narvik_session
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION narvik_fetch_session(text) IS
'Narvik''s fetchSession: the session as stored, expired or not';

CREATE FUNCTION narvik_update_session_expiry(id text, expires_at timestamptz)
RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_update_session_expiry(text, timestamptz) IS
'Narvik''s updateSessionExpiry: sets when the session expires; false if there is no live one';

CREATE FUNCTION narvik_delete_session(id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'narvik_invalidate_session' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_delete_session(text) IS
'Narvik''s deleteSession: deletes the session; false if there was none';

CREATE FUNCTION narvik_put_session(id text, user_id text, expires_at timestamptz, data jsonb,
								   existing boolean DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_put_session(text, text, timestamptz, jsonb, boolean) IS
'what a framework''s store does: replaces user, expiry and data of a session, or stores a new one; false where it did nothing';

CREATE FUNCTION narvik_change_session_id(session_id text, new_session_id text)
RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_change_session_id(text, text) IS
'gives a session an id that the client chose; false if there is no live one';

/* ---- tokens and ids ----------------------------------------------------- */

CREATE FUNCTION narvik_generate_token()
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION narvik_generate_token() IS
'a new token: 20 random bytes as 32 lower-case base32 characters';

CREATE FUNCTION narvik_session_id(token text)
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION narvik_session_id(text) IS
'the session id of a token: SHA-256 of its UTF-8 text, as 64 hex digits';

/* ---- cookies ------------------------------------------------------------ */

CREATE FUNCTION narvik_cookie_name()
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION narvik_cookie_name() IS
'the name of the session cookie: narvik.cookie_name';

CREATE FUNCTION narvik_create_cookie(token text, expires_in interval DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION narvik_create_cookie(text, interval) IS
'the value of a Set-Cookie header that stores the token in the browser';

CREATE FUNCTION narvik_create_blank_cookie()
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION narvik_create_blank_cookie() IS
'the value of a Set-Cookie header that removes the session cookie from the browser';

CREATE FUNCTION narvik_read_cookie(cookie_header text)
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION narvik_read_cookie(text) IS
'the session cookie''s value out of a Cookie request header, or NULL';

/* ---- identity ----------------------------------------------------------- */

CREATE FUNCTION narvik_authenticate(token text)
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_authenticate(text) IS
'validates the token and makes its session the identity of this transaction; the user id, or NULL';

/* The bytea form takes any octets; text has to be in the connection's encoding. */
CREATE FUNCTION narvik_authenticate_cookie(cookie_header text)
RETURNS SETOF narvik_request
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION narvik_authenticate_cookie(text) IS
'the one call of every request: the session of a Cookie header, as identity of this transaction, and the cookie to answer with; or no row';

CREATE FUNCTION narvik_authenticate_cookie(cookie_header bytea)
RETURNS SETOF narvik_request
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION narvik_authenticate_cookie(bytea) IS
'the same for a header of any octets';

CREATE FUNCTION narvik_current_user_id()
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED LEAKPROOF;
COMMENT ON FUNCTION narvik_current_user_id() IS
'the user whom narvik_authenticate() found in this transaction, or NULL; for policies';

CREATE FUNCTION narvik_current_session_id()
RETURNS text
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED LEAKPROOF;
COMMENT ON FUNCTION narvik_current_session_id() IS
'the session that narvik_authenticate() found in this transaction, or NULL';

CREATE FUNCTION narvik_current_data()
RETURNS jsonb
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED LEAKPROOF;
COMMENT ON FUNCTION narvik_current_data() IS
'the data of the session that narvik_authenticate() found in this transaction, or NULL; claims for policies';

CREATE FUNCTION narvik_is_fresh(within interval)
RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION narvik_is_fresh(interval) IS
'whether the user of this transaction''s identity proved who they are less than so long ago; false for nobody';

/* ---- the application's users -------------------------------------------- */

CREATE FUNCTION narvik_link_users(users regclass, id_column name DEFAULT 'id')
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_link_users(regclass, name) IS
'makes user_id a reference to a table of users: no session without a user, and none outlives its user';

CREATE FUNCTION narvik_unlink_users()
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_unlink_users() IS 'undoes narvik_link_users()';

CREATE FUNCTION narvik_users_changed()
RETURNS trigger
AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION narvik_users_changed() IS
'trigger on the linked table of users: their sessions follow';

/*
 * The link is the row trigger that watches one column (link.c).  25, 17 and 32
 * are the bits in tgtype of the three triggers that narvik_link_users() makes, and
 * what else it requires can be gone since.
 * Operands have the very types of PostgreSQL's operators, so that none that
 * somebody made in the schema that narvik comes to fits better.
 */
CREATE FUNCTION narvik_linked_users(OUT users regclass, OUT id_column name, OUT whole boolean)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT DISTINCT link.tgrelid::pg_catalog.regclass, a.attname,
		   (SELECT pg_catalog.count(DISTINCT t.tgtype) = 3
				   AND pg_catalog.bool_and(t.tgenabled = 'O' OR t.tgenabled = 'A')
				   AND pg_catalog.bool_and(c.relpersistence = 'p')
			FROM pg_catalog.pg_trigger AS t
			JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
			WHERE t.tgfoid = link.tgfoid
				  AND (t.tgtype = '25' OR t.tgtype = '17' OR t.tgtype = '32')
				  AND (t.tgrelid = link.tgrelid
					   OR EXISTS (SELECT
								  FROM pg_catalog.pg_partition_tree(link.tgrelid::pg_catalog.regclass) AS p
								  WHERE p.relid::pg_catalog.oid = t.tgrelid)))
		   AND EXISTS (SELECT
					   FROM pg_catalog.pg_index AS i
					   LEFT JOIN pg_catalog.pg_collation AS c ON c.oid = a.attcollation
					   WHERE i.indrelid = link.tgrelid AND i.indkey[0] = a.attnum
							 AND i.indisunique AND i.indimmediate AND i.indisvalid
							 AND i.indnkeyatts = '1' AND i.indpred IS NULL
							 AND (i.indcollation[0] = a.attcollation OR c.collisdeterministic))
	FROM pg_catalog.pg_trigger AS link
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = link.tgrelid AND a.attnum = link.tgattr[0]
	WHERE link.tgfoid = 'narvik_users_changed()'::pg_catalog.regprocedure::pg_catalog.oid
		  AND link.tgtype = '25' AND link.tgattr[1] IS NULL AND link.tgparentid = '0';
END;
COMMENT ON FUNCTION narvik_linked_users() IS
'the linked table of users and its column; whole: nothing that it needs is missing; no row: no link';

CREATE FUNCTION narvik_validate_user(token text, user_type anyelement)
RETURNS SETOF anyelement
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION narvik_validate_user(text, anyelement) IS
'validates the token and returns the row of its user in the linked table, or no row';

/* ---- privileges --------------------------------------------------------- */

CREATE FUNCTION narvik_grant(role regrole)
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_grant(regrole) IS
'lets a role execute what an application needs, and no more';

CREATE FUNCTION narvik_revoke(role regrole)
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION narvik_revoke(regrole) IS 'undoes narvik_grant()';

/* ---- counters ----------------------------------------------------------- */

CREATE FUNCTION narvik_stats(OUT created bigint, OUT validated bigint, OUT rejected bigint,
							 OUT expired bigint, OUT extended bigint, OUT invalidated bigint,
							 OUT rotated bigint, OUT promoted bigint, OUT reauthenticated bigint,
							 OUT limited bigint, OUT reused bigint,
							 OUT purged bigint, OUT purge_runs bigint,
							 OUT last_purge_at timestamptz, OUT last_purge_rows bigint,
							 OUT last_purge_ms bigint, OUT last_purge_error text,
							 OUT stats_reset timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION narvik_stats() IS 'the row of the view narvik_stats';

CREATE VIEW narvik_stats AS SELECT * FROM narvik_stats();
COMMENT ON VIEW narvik_stats IS
'what was done with sessions in this database since stats_reset; empty unless narvik is in shared_preload_libraries';
COMMENT ON COLUMN narvik_stats.created IS 'sessions created or saved';
COMMENT ON COLUMN narvik_stats.validated IS 'validations that found a live session';
COMMENT ON COLUMN narvik_stats.rejected IS 'validations of a token without a session; NULL and the empty text are no token';
COMMENT ON COLUMN narvik_stats.expired IS 'validations of a token whose session had expired';
COMMENT ON COLUMN narvik_stats.extended IS 'validations that extended the session; they are in validated too';
COMMENT ON COLUMN narvik_stats.invalidated IS 'sessions deleted by id, by user or with their user';
COMMENT ON COLUMN narvik_stats.rotated IS 'sessions that got a new token or id';
COMMENT ON COLUMN narvik_stats.promoted IS 'guests'' sessions that became a user''s';
COMMENT ON COLUMN narvik_stats.reauthenticated IS 'sessions whose user was asked for the password again';
COMMENT ON COLUMN narvik_stats.limited IS 'sessions that narvik.max_sessions_per_user ended or refused';
COMMENT ON COLUMN narvik_stats.reused IS 'sessions that ended because a replaced token was seen again';
COMMENT ON COLUMN narvik_stats.purged IS 'expired sessions deleted by the purge worker or narvik_delete_all_expired_sessions()';
COMMENT ON COLUMN narvik_stats.purge_runs IS 'visits of the purge worker that ended well';
COMMENT ON COLUMN narvik_stats.last_purge_at IS 'when the last of them ended';
COMMENT ON COLUMN narvik_stats.last_purge_rows IS 'how many sessions it deleted';
COMMENT ON COLUMN narvik_stats.last_purge_ms IS 'how long it took, in milliseconds';
COMMENT ON COLUMN narvik_stats.last_purge_error IS 'why the last visit failed or there was none, or which sessions cannot be deleted; NULL if all is well';
COMMENT ON COLUMN narvik_stats.stats_reset IS 'since when is counted';

CREATE FUNCTION narvik_reset_stats()
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION narvik_reset_stats() IS 'sets the counters of this database to zero';

/* ---- who may call ------------------------------------------------------- */

/*
 * The functions work with the rights of the table's owner, so EXECUTE is the
 * only gate.  Everything here is closed to everybody, also to those whom ALTER
 * DEFAULT PRIVILEGES lets in at creation.  Open are the functions of the list,
 * which touch no session, and the types, which hold none: of these the database
 * administrator's defaults decide.
 *
 * The search path is pinned because somebody may have made functions and
 * operators in the schema that narvik comes to, which a call here would fit
 * better than the ones of pg_catalog.
 */
DO $$
DECLARE
	open_functions CONSTANT name[] := '{
		narvik_generate_token,
		narvik_session_id,
		narvik_cookie_name,
		narvik_create_cookie,
		narvik_create_blank_cookie,
		narvik_read_cookie,
		narvik_current_user_id,
		narvik_current_session_id,
		narvik_current_data,
		narvik_is_fresh}';
	script_path CONSTANT text := pg_catalog.current_setting('search_path');
	statement	text;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	FOR statement IN
		SELECT format('REVOKE ALL ON %s FROM %s', o.name,
					  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
		FROM pg_extension AS e
		JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass
			 AND d.refobjid = e.oid AND d.deptype = 'e'
		CROSS JOIN LATERAL (
			-- A sequence and a view are tables to REVOKE.
			SELECT 'TABLE ' || oid::regclass, relowner, relacl FROM pg_class
			WHERE d.classid = 'pg_class'::regclass AND oid = d.objid
			UNION ALL
			SELECT 'FUNCTION ' || oid::regprocedure, proowner,
				   coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
			WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid
				  AND proname <> ALL (open_functions)
		) AS o (name, owner, acl)
		CROSS JOIN aclexplode(o.acl) AS a
		WHERE e.extname = 'narvik' AND a.grantee <> o.owner
	LOOP
		EXECUTE statement;
	END LOOP;
	PERFORM pg_catalog.set_config('search_path', script_path, true);
END $$;

GRANT EXECUTE ON FUNCTION narvik_stats(), narvik_linked_users() TO pg_read_all_stats;
GRANT SELECT ON narvik_stats TO pg_read_all_stats;
