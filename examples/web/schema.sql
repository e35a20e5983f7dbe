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

-- For the list of devices, the security log, and pages that are open (live.js).
ALTER DATABASE :"DBNAME" SET narvik.activity_interval = '1min';
ALTER DATABASE :"DBNAME" SET narvik.events = on;
ALTER DATABASE :"DBNAME" SET narvik.event_claims = 'device';
ALTER DATABASE :"DBNAME" SET narvik.notify = on;

-- ---- users ----------------------------------------------------------------

CREATE TABLE users (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{2,29}$')
);
SELECT narvik_link_users('users');

CREATE TABLE passwords (
    user_id bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    hash    text NOT NULL
);
CREATE TABLE failed_log_ins (address inet NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON failed_log_ins (at);

-- The application cannot read a hash.  It calls three functions that run as this
-- role, which may do what they do and nothing else.  They name the schema of all
-- that they use, so that nobody can have them call another crypt().
SELECT 'CREATE ROLE accounts' WHERE to_regrole('accounts') IS NULL \gexec
GRANT USAGE ON SCHEMA narvik TO accounts;
GRANT SELECT, INSERT ON users, passwords TO accounts;
GRANT UPDATE (hash) ON passwords TO accounts;
GRANT SELECT, INSERT, DELETE ON failed_log_ins TO accounts;

-- No row: the name is taken.
CREATE FUNCTION sign_up(new_name text, password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH new_user AS (
        INSERT INTO public.users (name) VALUES (new_name) ON CONFLICT (name) DO NOTHING RETURNING id
    )
    INSERT INTO public.passwords
        SELECT id, narvik.crypt(password, narvik.gen_salt('bf', 12)) FROM new_user
        RETURNING user_id
$$;

-- No row: wrong name or password.  Both take the same time: for an unknown name
-- the password is hashed as well.
CREATE FUNCTION log_in(login_name text, password text, client inet) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stored record;
BEGIN
    -- The brake: ten failures from one address in ten minutes, then wait.
    -- Against guesses from many addresses put something in front as well.
    DELETE FROM public.failed_log_ins WHERE at < now() - interval '10 minutes';
    IF (SELECT count(*) >= 10 FROM public.failed_log_ins WHERE address = client) THEN
        RAISE SQLSTATE 'NT429' USING MESSAGE = 'too many failed log-ins';
    END IF;

    SELECT p.user_id, p.hash INTO stored
        FROM public.users AS u JOIN public.passwords AS p ON p.user_id = u.id
        WHERE u.name = login_name;
    IF narvik.crypt(password, coalesce(stored.hash, narvik.gen_salt('bf', 12))) = stored.hash THEN
        -- With FOR SHARE, a change of the password and this wait for each other.
        RETURN QUERY SELECT p.user_id FROM public.passwords AS p
            WHERE p.user_id = stored.user_id AND p.hash = stored.hash
            FOR SHARE;
    ELSE
        INSERT INTO public.failed_log_ins (address) VALUES (client);
    END IF;
END $$;

-- Of whoever asks.  No row: the old password is wrong.
CREATE FUNCTION change_password(old_password text, new_password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.passwords SET hash = narvik.crypt(new_password, narvik.gen_salt('bf', 12))
        WHERE user_id = (SELECT narvik.narvik_current_user_id()::bigint)
            AND hash = narvik.crypt(old_password, hash)
        RETURNING user_id
$$;

ALTER FUNCTION sign_up OWNER TO accounts;
ALTER FUNCTION log_in OWNER TO accounts;
ALTER FUNCTION change_password OWNER TO accounts;

-- Whoever wants to delete the account was asked for the password just now.
CREATE FUNCTION confirmed() RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN narvik_is_fresh('5 minutes');

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY names ON users FOR SELECT USING (true);
CREATE POLICY sign_up ON users FOR INSERT TO accounts WITH CHECK (true);
CREATE POLICY own_account ON users FOR DELETE
    USING (id = (SELECT narvik_current_user_id()::bigint));
CREATE POLICY only_when_confirmed ON users AS RESTRICTIVE FOR DELETE
    USING ((SELECT confirmed()));

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

SELECT 'CREATE ROLE webapp LOGIN' WHERE to_regrole('webapp') IS NULL \gexec
SELECT narvik_grant('webapp');
GRANT SELECT, DELETE ON users TO webapp;
GRANT SELECT, INSERT (body), DELETE ON notes TO webapp;
REVOKE ALL ON FUNCTION sign_up, log_in, change_password FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sign_up, log_in, change_password TO webapp;

COMMIT;
