/* What fill() leaves out: the other tables, and three notes for every user. */
INSERT INTO session SELECT bench_token(i), bench_sess(), now() + interval '1 day' FROM generate_series(1, :rows) i;
INSERT INTO sessions_indexed (id, user_id, created_at, expires_at, sliding, data)
SELECT id, user_id, created_at, expires_at, true, data FROM sessions;
CREATE TABLE notes (
	id		bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner	text NOT NULL,
	body	text NOT NULL
);
INSERT INTO notes (owner, body)
SELECT 'user' || i % (:rows / 2 + 1), 'note ' || i FROM generate_series(1, :rows * 3 / 2) i;
CREATE INDEX ON notes (owner);

/* Only reached by a role that does not bypass row-level security. */
CREATE ROLE bench_app LOGIN;
SELECT narvik_grant('bench_app') \g /dev/null
GRANT SELECT ON notes TO bench_app;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON notes USING (owner = (SELECT narvik_current_user_id()));
