-- Everything the application needs of the database.  For a superuser, in an
-- empty database:  psql -d notes -f schema.sql

\set ON_ERROR_STOP on
BEGIN;

-- ---- narvik ---------------------------------------------------------------

CREATE SCHEMA narvik;
CREATE EXTENSION narvik SCHEMA narvik CASCADE;
SET search_path = public, narvik;
ALTER DATABASE :"DBNAME" SET search_path = public, narvik;

-- A cookie that only this very host can set.  Browsers want https for it.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = '__Host-session';
ALTER DATABASE :"DBNAME" SET narvik.session_expires_in = '14d';
ALTER DATABASE :"DBNAME" SET narvik.session_max_age = '90d';

-- ---- users ----------------------------------------------------------------

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{2,29}$'),
    password_hash text NOT NULL
);
SELECT narvik_link_users('users');

-- Passwords are hashed and compared in these functions, which run as their
-- owner.  The application itself cannot read a hash.

-- No row: the name is taken.
CREATE FUNCTION sign_up(new_name text, password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, narvik, pg_temp
AS $$
    INSERT INTO users (name, password_hash)
        VALUES (new_name, crypt(password, gen_salt('bf', 10)))
        ON CONFLICT (name) DO NOTHING RETURNING id
$$;

CREATE TABLE failed_log_ins (address inet NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON failed_log_ins (at);

-- No row: wrong name or password.  Who asks cannot tell which by the time it
-- takes: for an unknown name there is a hash that no password has.
CREATE FUNCTION log_in(login_name text, password text, client inet) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, narvik, pg_temp
AS $$
DECLARE
    found_user users;
BEGIN
    -- The brake: ten failures from one address in ten minutes, then wait.
    -- Against guesses from many addresses put something in front as well.
    DELETE FROM failed_log_ins WHERE at < now() - interval '10 minutes';
    IF (SELECT count(*) >= 10 FROM failed_log_ins WHERE address = client) THEN
        RAISE SQLSTATE 'NT429' USING MESSAGE = 'too many failed log-ins';
    END IF;

    -- With FOR SHARE, a change of the password and this wait for each other.
    SELECT * INTO found_user FROM users WHERE name = login_name FOR SHARE;
    IF crypt(password, coalesce(found_user.password_hash, '$2a$10$' || repeat('.', 53)))
        = found_user.password_hash
    THEN
        RETURN NEXT found_user.id;
    ELSE
        INSERT INTO failed_log_ins (address) VALUES (client);
    END IF;
END $$;

-- Of whoever asks.  No row: the old password is wrong.
CREATE FUNCTION change_password(old_password text, new_password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, narvik, pg_temp
AS $$
    UPDATE users SET password_hash = crypt(new_password, gen_salt('bf', 10))
        WHERE id = narvik_current_user_id()::bigint
            AND password_hash = crypt(old_password, password_hash)
        RETURNING id
$$;

-- ---- notes ----------------------------------------------------------------

CREATE TABLE notes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      bigint NOT NULL DEFAULT narvik_current_user_id()::bigint
                   REFERENCES users ON DELETE CASCADE,
    body       text NOT NULL CHECK (length(body) BETWEEN 1 AND 2000),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON notes (owner);

-- The application's queries have no "WHERE owner = ...": this is it.
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON notes
    USING (owner = (SELECT narvik_current_user_id()::bigint));

-- ---- the application's role -----------------------------------------------

CREATE ROLE webapp LOGIN;
SELECT narvik_grant('webapp');
GRANT SELECT (id, name) ON users TO webapp;
GRANT SELECT, INSERT (body), DELETE ON notes TO webapp;
REVOKE ALL ON FUNCTION sign_up, log_in, change_password FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sign_up, log_in, change_password TO webapp;

COMMIT;
