/* For bench/requests/app.js: notes, and the contestants' tables of sessions. */
CREATE TABLE notes (
	id		bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner	text NOT NULL,
	body	text NOT NULL
);
INSERT INTO notes (owner, body) SELECT 'user' || i % :users + 1, 'note ' || i FROM generate_series(1, :users * 3) i;
CREATE INDEX ON notes (owner);
CREATE TABLE hand_sessions (
	id			bytea PRIMARY KEY,
	user_id		text NOT NULL,
	expires_at	timestamptz NOT NULL
);

/* Who logs users in is the owner of the notes, and sees them all. */
CREATE ROLE bench_app LOGIN;
CREATE EXTENSION narvik CASCADE;
SELECT narvik_grant('bench_app') \g /dev/null
GRANT SELECT ON notes TO bench_app;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON notes USING (owner = (SELECT narvik_current_user_id()));
