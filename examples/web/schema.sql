-- Everything the application needs of the database.  For a superuser, in an
-- empty database:  psql -d notes -f schema.sql

\set ON_ERROR_STOP on
BEGIN;

-- ---- narvik ---------------------------------------------------------------

-- The container image of narvik has done this.
CREATE SCHEMA IF NOT EXISTS narvik;
CREATE EXTENSION IF NOT EXISTS narvik SCHEMA narvik CASCADE;
SET search_path = public, narvik;
ALTER DATABASE :"DBNAME" SET search_path = public, narvik;

-- A cookie that only this very host can set.  Browsers want https for it.
ALTER DATABASE :"DBNAME" SET narvik.cookie_name = '__Host-session';
ALTER DATABASE :"DBNAME" SET narvik.session_expires_in = '14d';
ALTER DATABASE :"DBNAME" SET narvik.session_max_age = '90d';

-- For the list of devices, the security log, and pages that are open (live.js).
ALTER DATABASE :"DBNAME" SET narvik.activity_interval = '1min';
ALTER DATABASE :"DBNAME" SET narvik.events = on;
ALTER DATABASE :"DBNAME" SET narvik.event_claims = 'device, why';
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

-- Where users have logged in before: a hash of the browser's cookie.
CREATE TABLE devices (
    user_id bigint REFERENCES users ON DELETE CASCADE,
    device  bytea,
    PRIMARY KEY (user_id, device)
);

-- The brake: a try is counted before its password is looked at.
CREATE TABLE tries (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text,                -- NULL: of a sign-up
    network   inet NOT NULL,
    device    bytea NOT NULL,
    known     boolean NOT NULL,    -- the user's device
    succeeded boolean NOT NULL DEFAULT false,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON tries (name);
CREATE INDEX ON tries (network);
CREATE INDEX ON tries (at);

-- The application cannot read a hash.  It calls four functions that run as this
-- role, which may do what they do and nothing else.  They name the schema of all
-- that they use, so that nobody can have them call another crypt().
SELECT 'CREATE ROLE accounts' WHERE to_regrole('accounts') IS NULL \gexec
GRANT USAGE ON SCHEMA narvik TO accounts;
GRANT SELECT, INSERT ON users, passwords, devices TO accounts;
GRANT UPDATE (hash) ON passwords TO accounts;
GRANT SELECT, INSERT, DELETE, UPDATE (succeeded) ON tries TO accounts;

-- Commit it before the password is looked at.  No row: too many tries.
CREATE FUNCTION begin_try(of_name text, client inet, device_cookie text) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- IPv4 can come as ::ffff:192.0.2.7.  Of IPv6 everybody has a /64.
    of_network inet := CASE
        WHEN client <<= '::ffff:0:0/96' THEN '0.0.0.0'::inet + (client - '::ffff:0:0'::inet)
        WHEN family(client) = 4 THEN client
        ELSE network(set_masklen(client, 64)) END;
    of_device bytea := sha256(convert_to(device_cookie, 'UTF8'));
    is_known boolean;
BEGIN
    -- Those that come at once count each other.
    PERFORM pg_advisory_xact_lock(hashtext('tries'));
    DELETE FROM public.tries WHERE at < clock_timestamp() - interval '10 minutes';

    -- A device of the user has ten tries that nobody else can use up.  All others
    -- share twenty of their network and a hundred of the name, more than one network
    -- can use up.
    is_known := EXISTS (SELECT FROM public.devices AS d JOIN public.users AS u ON u.id = d.user_id
            WHERE u.name = of_name AND d.device = of_device)
        AND (SELECT count(*) FROM public.tries
            WHERE name = of_name AND device = of_device AND known AND NOT succeeded) < 10;
    IF is_known
        OR (SELECT count(*) FROM public.tries WHERE network = of_network AND NOT known AND NOT succeeded) < 20
        AND (SELECT count(*) FROM public.tries WHERE name = of_name AND NOT known AND NOT succeeded) < 100
    THEN
        RETURN QUERY INSERT INTO public.tries (name, network, device, known)
            VALUES (left(of_name, 100), of_network, of_device, is_known) RETURNING id;
    END IF;
END $$;

-- No row: the name is taken.  The try never succeeds: that limits accounts, too.
CREATE FUNCTION sign_up(try bigint, new_name text, password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH new_user AS (
        INSERT INTO public.users (name) SELECT new_name FROM public.tries WHERE id = try
            ON CONFLICT (name) DO NOTHING RETURNING id
    ), new_device AS (
        INSERT INTO public.devices SELECT n.id, t.device FROM new_user AS n, public.tries AS t WHERE t.id = try
    )
    INSERT INTO public.passwords
        SELECT id, narvik.crypt(password, narvik.gen_salt('bf', 12)) FROM new_user
        RETURNING user_id
$$;

-- No row: wrong name or password.  Both take the same time: for an unknown name
-- the password is hashed as well.
CREATE FUNCTION log_in(try bigint, password text) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    this record;
BEGIN
    SELECT t.device, p.user_id, p.hash INTO this
        FROM public.tries AS t
            LEFT JOIN public.users AS u ON u.name = t.name
            LEFT JOIN public.passwords AS p ON p.user_id = u.id
        WHERE t.id = try AND NOT t.succeeded;
    IF FOUND AND narvik.crypt(password, coalesce(this.hash, narvik.gen_salt('bf', 12))) = this.hash THEN
        -- Again, and locked: the password may have been changed meanwhile.
        PERFORM FROM public.passwords AS p
            WHERE p.user_id = this.user_id AND p.hash = this.hash
            FOR NO KEY UPDATE;
        IF FOUND THEN
            UPDATE public.tries SET succeeded = true WHERE id = try;
            INSERT INTO public.devices VALUES (this.user_id, this.device) ON CONFLICT DO NOTHING;
            RETURN NEXT this.user_id;
        END IF;
    END IF;
END $$;

-- Of whoever asks.  No row: the old password is wrong.
CREATE FUNCTION change_password(try bigint, old_password text, new_password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.passwords AS p SET hash = narvik.crypt(new_password, narvik.gen_salt('bf', 12))
        FROM public.log_in(try, old_password) AS me (id)
        WHERE p.user_id = me.id AND me.id = (SELECT narvik.narvik_current_user_id()::bigint)
        RETURNING p.user_id
$$;

ALTER FUNCTION begin_try OWNER TO accounts;
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
REVOKE ALL ON FUNCTION begin_try, sign_up, log_in, change_password FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_try, sign_up, log_in, change_password TO webapp;

COMMIT;
