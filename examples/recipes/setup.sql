CREATE SCHEMA narvik;
CREATE EXTENSION narvik SCHEMA narvik CASCADE;
ALTER DATABASE :"DBNAME" SET search_path = public, narvik;
SET search_path = public, narvik;

CREATE TABLE app_users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    password_hash text NOT NULL
);
INSERT INTO app_users (name, password_hash) VALUES
    ('alice', crypt('alice''s password', gen_salt('bf'))),
    ('bob', crypt('bob''s password', gen_salt('bf')));

CREATE ROLE webapp LOGIN;
GRANT SELECT, UPDATE (password_hash) ON app_users TO webapp;
DO $$
BEGIN
    PERFORM narvik_grant('webapp');
    PERFORM narvik_link_users('app_users');
END $$;
