CREATE SCHEMA narvik;
CREATE EXTENSION narvik SCHEMA narvik CASCADE;
ALTER DATABASE :"DBNAME" SET search_path = public, narvik;
SET search_path = public, narvik;

CREATE TABLE app_users (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
INSERT INTO app_users (name) VALUES ('alice'), ('bob');

SELECT 'CREATE ROLE webapp LOGIN' WHERE to_regrole('webapp') IS NULL \gexec
GRANT SELECT ON app_users TO webapp;
DO $$
BEGIN
    PERFORM narvik_grant('webapp');
    PERFORM narvik_link_users('app_users');
END $$;

CREATE TABLE app_passwords (
    user_id bigint PRIMARY KEY REFERENCES app_users ON DELETE CASCADE,
    hash    text NOT NULL
);
INSERT INTO app_passwords
    SELECT id, crypt(name || '''s password', gen_salt('bf', 12)) FROM app_users;

SELECT 'CREATE ROLE accounts' WHERE to_regrole('accounts') IS NULL \gexec
GRANT USAGE ON SCHEMA narvik TO accounts;
GRANT SELECT ON app_users TO accounts;
GRANT SELECT, UPDATE (hash) ON app_passwords TO accounts;

-- No row: wrong name or password.  Both take the same time: for an unknown name
-- the password is hashed as well.
CREATE FUNCTION check_password(user_name text, password text) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored record;
BEGIN
    SELECT p.user_id, p.hash INTO stored
        FROM public.app_users AS u JOIN public.app_passwords AS p ON p.user_id = u.id
        WHERE u.name = user_name;
    IF narvik.crypt(password, coalesce(stored.hash, narvik.gen_salt('bf', 12))) = stored.hash THEN
        -- Again, and locked: the password may have been changed meanwhile.
        RETURN QUERY SELECT p.user_id FROM public.app_passwords AS p
            WHERE p.user_id = stored.user_id AND p.hash = stored.hash
            FOR SHARE;
    END IF;
END $$;

-- Of the user who is authenticated.  No row: the old password is wrong.
CREATE FUNCTION change_password(old_password text, new_password text) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.app_passwords SET hash = narvik.crypt(new_password, narvik.gen_salt('bf', 12))
        WHERE user_id = (SELECT narvik.narvik_current_user_id()::bigint)
            AND hash = narvik.crypt(old_password, hash)
        RETURNING user_id
$$;

ALTER FUNCTION check_password OWNER TO accounts;
ALTER FUNCTION change_password OWNER TO accounts;
REVOKE ALL ON FUNCTION check_password, change_password FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_password, change_password TO webapp;
