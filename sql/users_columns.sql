--
-- users_columns: whatever the columns of the users table are called, whatever
-- their types and however the table changes, the answers are those of the right
-- user's row.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
CREATE FUNCTION pg_temp.state(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

-- A table with the columns given, two users, sessions of both and of somebody else.
-- What linking says of the orphan, creating of a stranger; the row of the first
-- user, and once more under another key; whose sessions are left when it is deleted.
CREATE FUNCTION pg_temp.try(columns text, more text DEFAULT '', key text DEFAULT 'id',
    OUT orphan text, OUT stranger text, OUT "row" text, OUT rekeyed text, OUT "left" text)
LANGUAGE plpgsql AS $$
DECLARE
    ask text := 'SELECT ("the row")::text FROM narvik_validate_user(%L, NULL::public.regress_users) AS "the row"';
BEGIN
    EXECUTE format('CREATE TABLE public.regress_users (%s)', columns);
    EXECUTE format('INSERT INTO public.regress_users VALUES (1, ''one'' %1$s), (2, ''two'' %1$s)', more);
    ask := format(ask, (narvik_create_session('1')).token);
    PERFORM narvik_create_session('2'), narvik_create_session('9');
    orphan := pg_temp.state(format('SELECT narvik_link_users(''regress_users'', %L)', key));
    PERFORM narvik_delete_sessions_for_user('9');
    PERFORM narvik_link_users('regress_users', key);
    stranger := pg_temp.state('SELECT narvik_create_session(''9'')');
    EXECUTE ask INTO "row";
    EXECUTE format('UPDATE public.regress_users SET %1$I = 3 WHERE %1$I = 1', key);
    EXECUTE ask INTO rekeyed;
    EXECUTE format('DELETE FROM public.regress_users WHERE %I = 3', key);
    "left" := (SELECT string_agg(user_id, ' ') FROM narvik_sessions);
    PERFORM narvik_unlink_users(), narvik_delete_sessions_for_user('2');
    DROP TABLE public.regress_users;
END $$;

-- Names: every alias that a statement of narvik's has or had, the table's own name,
-- other names that mean something, mixed case, and what needs quoting.
SELECT name, t.* FROM unnest(ARRAY['narvik_linked_user', 'Narvik_Linked_User', 'regress_users', 'users', 'u', 'U', 'k',
    's', 't', 'x', 'r', 'a', 'b', 'c', 'l', 'o', 'n', 'narvik_counts', 'key', 'row', 'user', 'user_id', 'session', 'session_id', 'narvik_sessions',
    'narvik_session', 'public', 'pg_catalog', 'format', 'count', 'old', 'new', 'value', '*', '$1', 'a b', 'ö', '"', '%s']) name,
    pg_temp.try(format('id int PRIMARY KEY, name text, %I int DEFAULT 5', name)) t;
-- The key itself.
SELECT name, t.* FROM unnest(ARRAY['narvik_linked_user', 'regress_users', 'u', 'k', 's', 'key', 'user_id', '*', '%s']) name,
    pg_temp.try(format('%I int PRIMARY KEY, name text', name), '', name) t;

-- Types: numbers, and bytes, which were taken for a row; composite types of another
-- and of the same shape.
CREATE TYPE regress_pair AS (id int, name text);
CREATE DOMAIN regress_number AS int;
CREATE DOMAIN regress_bytes AS bytea;
CREATE DOMAIN regress_pairs AS regress_pair;
CREATE TABLE regress_others (id int, name text, narvik_linked_user text);
SELECT type, t.row, t.left FROM (VALUES
    ('int', '5'), ('bigint', '5'), ('smallint', '5'), ('boolean', 'true'), ('"char"', '''c'''), ('float8', '5'),
    ('text', '''text'''), ('name', '''name'''), ('uuid', '''00000000-0000-0000-0000-000000000005'''), ('jsonb', '''{"id": 5}'''),
    ('int[]', 'ARRAY[1, 2]'), ('int4range', '''[1,5)'''), ('bytea', '''\x00'''), ('bytea', '''\xffffffffffffffffffffffffffffffffffffffffffff'''),
    ('bytea', 'decode(repeat(''00'', 14) || ''0300000018'' || repeat(''00'', 20), ''hex'')'),
    ('regress_number', '6'), ('regress_bytes', '''\x0102'''), ('regress_pair', 'ROW(7, ''seven'')'), ('regress_pairs', 'ROW(7, ''seven'')'),
    ('regress_others', 'ROW(7, ''seven'', ''other'')'), ('regress_others[]', 'ARRAY[ROW(7, ''seven'', ''other'')::regress_others]'),
    ('narvik_session', 'NULL'), ('narvik_session', 'ROW(''id'', ''user'', NULL, NULL, ''{}'', true, true, true)')) v (type, value),
    pg_temp.try(format('id int PRIMARY KEY, name text, narvik_linked_user %s', type), ', ' || value) t;

-- Columns that are gone, and columns that are younger than the rows.
CREATE TABLE regress_users (gone text, id int PRIMARY KEY, gone2 int, name text);
INSERT INTO regress_users VALUES ('gone', 1, -1, 'one'), ('gone', 2, -1, 'two');
ALTER TABLE regress_users DROP gone, DROP gone2, ADD narvik_linked_user int DEFAULT 5, ADD u text DEFAULT 'young';
SELECT narvik_link_users('regress_users');
SELECT token FROM narvik_create_session('1') \gset
SELECT * FROM narvik_validate_user(:'token', NULL::regress_users);
ALTER TABLE regress_users ADD bytes bytea DEFAULT '\x05', ADD pair regress_pair DEFAULT ROW(7, 'seven');
SELECT * FROM narvik_validate_user(:'token', NULL::regress_users);
ALTER TABLE regress_users DROP u, DROP bytes, DROP pair;

-- Another type is an error, also if a column is of that type.
CREATE VIEW regress_view AS SELECT * FROM regress_users;
CREATE DOMAIN regress_row AS regress_users;
ALTER TABLE regress_users ADD other regress_others DEFAULT ROW(7, 'seven', 'other');
SELECT type, pg_temp.state(format('SELECT narvik_validate_user(%L, %s)', :'token', type))
FROM unnest(ARRAY['NULL::regress_others', 'NULL::regress_view', 'NULL::regress_row', 'NULL::regress_users[]', 'NULL::regress_pair',
    'NULL::int', 'NULL::bytea', 'ROW(1, ''one'')', 'ROW(1, ''one'', 5)']) type;
DROP VIEW regress_view;
DROP DOMAIN regress_row;
ALTER TABLE regress_users DROP other;

-- A table that changes between planning and reading: a statement answers with the
-- right row or is refused, a new one answers.
CREATE FUNCTION pg_temp.ask(token text) RETURNS SETOF regress_users LANGUAGE plpgsql AS $$
BEGIN RETURN QUERY SELECT * FROM narvik_validate_user(token, NULL::regress_users); END $$;
CREATE FUNCTION pg_temp.wrong(change text, token text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    statement text;
    "right" text;
    new text := format('SELECT r::text FROM narvik_validate_user(%L, NULL::regress_users) r', token);
BEGIN
    EXECUTE change;
    EXECUTE 'SELECT r::text FROM regress_users r WHERE id = 1' INTO "right";
    FOREACH statement IN ARRAY ARRAY['EXECUTE all_columns', 'EXECUTE whole_row', 'EXECUTE selected', 'EXECUTE one_column',
        format('SELECT r::text FROM pg_temp.ask(%L) r', token), new] LOOP
        BEGIN
            EXECUTE statement INTO STRICT answer;
            -- The first column, or the only one.
            IF answer NOT IN ("right", '1', 'one') THEN
                RETURN NEXT format('%s: %s', statement, answer);
            END IF;
        EXCEPTION WHEN datatype_mismatch OR undefined_column OR feature_not_supported THEN
            IF statement = new THEN
                RETURN NEXT format('%s: %s', statement, SQLERRM);
            END IF;
        END;
    END LOOP;
END $$;
PREPARE all_columns AS SELECT * FROM narvik_validate_user(:'token', NULL::regress_users);
PREPARE whole_row AS SELECT r::text FROM narvik_validate_user(:'token', NULL::regress_users) r;
PREPARE selected AS SELECT narvik_validate_user(:'token', NULL::regress_users)::text;
PREPARE one_column AS SELECT name FROM narvik_validate_user(:'token', NULL::regress_users);
EXECUTE all_columns;
EXECUTE whole_row;
EXECUTE selected;
EXECUTE one_column;
SELECT * FROM pg_temp.ask(:'token');
SELECT change, w AS wrong FROM unnest(ARRAY[
    'SELECT',
    'ALTER TABLE regress_users ADD more text DEFAULT ''more''',
    'ALTER TABLE regress_users ALTER more DROP DEFAULT, ALTER more TYPE int USING 5',
    'ALTER TABLE regress_users ALTER more TYPE bytea USING ''\x00''',
    'ALTER TABLE regress_users RENAME more TO u',
    'ALTER TABLE regress_users DROP narvik_linked_user',
    'ALTER TABLE regress_users RENAME u TO narvik_linked_user',
    'ALTER TABLE regress_users DROP narvik_linked_user',
    'ALTER TABLE regress_users ADD narvik_linked_user regress_pair DEFAULT ROW(7, ''seven'')',
    'ALTER TABLE regress_users ALTER narvik_linked_user DROP DEFAULT, ALTER narvik_linked_user TYPE regress_others USING ROW(7, ''seven'', ''other'')',
    'ALTER TABLE regress_users RENAME name TO other_name',
    'ALTER TABLE regress_users RENAME other_name TO name',
    'ALTER TABLE regress_users DROP name',
    'ALTER TABLE regress_users ADD name text DEFAULT ''one''']) change
LEFT JOIN pg_temp.wrong(change, :'token') w ON true;
SELECT * FROM narvik_validate_user(:'token', NULL::regress_users);
SELECT user_id FROM narvik_create_session('2');
SELECT pg_temp.state('SELECT narvik_create_session(''9'')');
-- By its own policy, while it is read.
CREATE FUNCTION regress_alter() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE regress_users ADD more int DEFAULT 5, DROP narvik_linked_user;
    RETURN true;
END $$;
CREATE ROLE regress_narvik_owner;
GRANT EXECUTE ON FUNCTION narvik_validate_user(text, anyelement) TO regress_narvik_owner;
ALTER TABLE regress_users OWNER TO regress_narvik_owner;
ALTER TABLE regress_users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY alters ON regress_users USING (regress_alter());
SET ROLE regress_narvik_owner;
SELECT pg_temp.state(format('SELECT narvik_validate_user(%L, NULL::regress_users)', :'token'));
RESET ROLE;
DEALLOCATE ALL;
DROP FUNCTION pg_temp.ask(text);
DROP TABLE regress_users;
DROP FUNCTION regress_alter();
DROP OWNED BY regress_narvik_owner;
DROP ROLE regress_narvik_owner;
DELETE FROM narvik_sessions;

-- Partitions with their columns in another order, and one gone.
CREATE TABLE regress_users (id int PRIMARY KEY, name text, narvik_linked_user bytea, u int) PARTITION BY RANGE (id);
CREATE TABLE regress_low (u int, gone text, narvik_linked_user bytea, name text, id int NOT NULL);
ALTER TABLE regress_low DROP gone;
ALTER TABLE regress_users ATTACH PARTITION regress_low FOR VALUES FROM (0) TO (100);
CREATE TABLE regress_high PARTITION OF regress_users FOR VALUES FROM (100) TO (200);
INSERT INTO regress_users VALUES (1, 'low', '\x00', 7), (101, 'high', '\xff', 8);
SELECT narvik_link_users('regress_users');
SELECT token AS low FROM narvik_create_session('1') \gset
SELECT token AS high FROM narvik_create_session('101') \gset
SELECT * FROM narvik_validate_user(:'low', NULL::regress_users);
SELECT * FROM narvik_validate_user(:'high', NULL::regress_users);
SELECT pg_temp.state(format('SELECT narvik_validate_user(%L, NULL::regress_low)', :'low'));
ALTER TABLE regress_users ADD more regress_pair DEFAULT ROW(7, 'seven');
SELECT * FROM narvik_validate_user(:'low', NULL::regress_users);
UPDATE regress_users SET id = id + 1;
SELECT id, name FROM unnest(ARRAY[:'low', :'high']) t, narvik_validate_user(t, NULL::regress_users);
DELETE FROM regress_low;
SELECT user_id FROM narvik_sessions;
DROP TABLE regress_users;
DELETE FROM narvik_sessions;

-- A table with a child: its rows are no users, its row type is another.
CREATE TABLE regress_users (id int PRIMARY KEY, name text, narvik_linked_user int);
CREATE TABLE regress_child (u int) INHERITS (regress_users);
INSERT INTO regress_users VALUES (1, 'parent', 5);
INSERT INTO regress_child VALUES (1, 'child', 6, 7), (2, 'child', 6, 7);
SELECT narvik_link_users('regress_users');
SELECT token FROM narvik_create_session('1') \gset
SELECT * FROM narvik_validate_user(:'token', NULL::regress_users);
SELECT pg_temp.state(format('SELECT narvik_validate_user(%L, NULL::regress_child)', :'token'));
SELECT pg_temp.state('SELECT narvik_create_session(''2'')');
ALTER TABLE regress_users ADD k text DEFAULT 'both';
SELECT * FROM narvik_validate_user(:'token', NULL::regress_users);
DROP TABLE regress_users, regress_child;
DELETE FROM narvik_sessions;

-- The table of sessions may have columns behind narvik's, whatever they are called.
ALTER TABLE narvik_sessions ADD s int DEFAULT 1, ADD k int DEFAULT 1, ADD u int DEFAULT 1, ADD key int DEFAULT 1,
    ADD narvik_sessions bytea DEFAULT '\x00', ADD narvik_linked_user int DEFAULT 1, ADD "$1" int DEFAULT 1;
SELECT t.* FROM pg_temp.try('id int PRIMARY KEY, name text, user_id int, s int, k int, u int, key int', ', 5, 5, 5, 5, 5') t;
SELECT token, id FROM narvik_create_session('1') \gset
SELECT user_id FROM narvik_fetch_sessions_for_user('1');
SELECT narvik_update_session_data(:'id', '{"a": 1}');
SELECT user_id, data FROM narvik_rotate_session(:'token');
SELECT narvik_delete_sessions_for_user('1');
ALTER TABLE narvik_sessions DROP s, DROP k, DROP u, DROP key, DROP narvik_sessions, DROP narvik_linked_user, DROP "$1";

DROP TABLE regress_others;
DROP DOMAIN regress_pairs, regress_bytes, regress_number;
DROP TYPE regress_pair;
