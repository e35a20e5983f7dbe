CREATE TABLE app_passwords (
    user_id bigint PRIMARY KEY REFERENCES app_users ON DELETE CASCADE,
    hash    text NOT NULL
);

-- The brake: a try is counted before its password is looked at.
CREATE TABLE app_tries (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text NOT NULL,
    network   inet NOT NULL,
    known     boolean NOT NULL,
    succeeded boolean NOT NULL DEFAULT false,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON app_tries (network);
CREATE INDEX ON app_tries (name);

-- Where users have logged in before.
CREATE TABLE app_networks (
    user_id bigint REFERENCES app_users ON DELETE CASCADE,
    network inet,
    PRIMARY KEY (user_id, network)
);

SELECT 'CREATE ROLE accounts' WHERE to_regrole('accounts') IS NULL \gexec
GRANT USAGE ON SCHEMA narvik TO accounts;
GRANT SELECT, INSERT ON app_users, app_passwords, app_networks TO accounts;
GRANT UPDATE (hash) ON app_passwords TO accounts;
GRANT SELECT, INSERT, DELETE, UPDATE (succeeded) ON app_tries TO accounts;

-- Commit it before the password is checked.  No row: too many tries.
CREATE FUNCTION begin_try(user_name text, client inet) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- IPv4 can come as ::ffff:192.0.2.7.  Of IPv6 everybody has a /64.
    of_client inet := CASE
        WHEN client <<= '::ffff:0:0/96' THEN '0.0.0.0'::inet + (client - '::ffff:0:0'::inet)
        WHEN family(client) = 4 THEN client
        ELSE network(set_masklen(client, 64)) END;
    at_home   boolean;
BEGIN
    -- Those that come at once count each other.
    PERFORM pg_advisory_xact_lock(hashtext('app_tries'));
    DELETE FROM public.app_tries WHERE at < clock_timestamp() - interval '10 minutes';
    at_home := EXISTS (SELECT FROM public.app_networks AS n JOIN public.app_users AS u ON u.id = n.user_id
        WHERE u.name = user_name AND n.network = of_client);
    IF (SELECT count(*) FROM public.app_tries WHERE network = of_client AND NOT succeeded) < 20
        AND (at_home
            OR (SELECT count(*) FROM public.app_tries WHERE name = user_name AND NOT known AND NOT succeeded) < 100)
    THEN
        RETURN QUERY INSERT INTO public.app_tries (name, network, known)
            VALUES (left(user_name, 100), of_client, at_home) RETURNING id;
    END IF;
END $$;

-- No row: the name is taken or not allowed, or the password is too short or longer
-- than what bcrypt looks at.
CREATE FUNCTION sign_up(try bigint, password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH new_user AS (
        INSERT INTO public.app_users (name)
            SELECT name FROM public.app_tries
            WHERE id = try AND name ~ '^[a-z0-9_-]{3,30}$' AND octet_length(password) BETWEEN 8 AND 72
            ON CONFLICT (name) DO NOTHING RETURNING id
    )
    INSERT INTO public.app_passwords
        SELECT id, narvik.crypt(password, narvik.gen_salt('bf', 12)) FROM new_user
        RETURNING user_id
$$;

-- No row: wrong name or password.  Both take the same time: for an unknown name
-- the password is hashed as well.
CREATE FUNCTION check_password(try bigint, password text) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    this record;
BEGIN
    SELECT t.network, p.user_id, p.hash INTO this
        FROM public.app_tries AS t
            LEFT JOIN public.app_users AS u ON u.name = t.name
            LEFT JOIN public.app_passwords AS p ON p.user_id = u.id
        WHERE t.id = try AND NOT t.succeeded;
    IF FOUND AND narvik.crypt(password, coalesce(this.hash, narvik.gen_salt('bf', 12))) = this.hash THEN
        -- Again, and locked: the password may have been changed meanwhile.
        PERFORM FROM public.app_passwords AS p
            WHERE p.user_id = this.user_id AND p.hash = this.hash
            FOR SHARE;
        IF FOUND THEN
            UPDATE public.app_tries SET succeeded = true WHERE id = try;
            INSERT INTO public.app_networks VALUES (this.user_id, this.network) ON CONFLICT DO NOTHING;
            RETURN NEXT this.user_id;
        END IF;
    END IF;
END $$;

ALTER FUNCTION begin_try OWNER TO accounts;
ALTER FUNCTION sign_up OWNER TO accounts;
ALTER FUNCTION check_password(bigint, text) OWNER TO accounts;
REVOKE ALL ON FUNCTION begin_try, sign_up, check_password(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_try, sign_up, check_password(bigint, text) TO webapp;
