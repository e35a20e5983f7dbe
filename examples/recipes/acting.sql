ALTER DATABASE :"DBNAME" SET narvik.events = on;
ALTER DATABASE :"DBNAME" SET narvik.event_claims = 'actor';
\connect -

INSERT INTO app_users (name) VALUES ('sam');
CREATE TABLE staff (
    user_id bigint PRIMARY KEY REFERENCES app_users ON DELETE CASCADE
);
INSERT INTO staff SELECT id FROM app_users WHERE name = 'sam';

-- No row: whoever asks is not of the staff, or gave no password for ten minutes, or
-- there is no such user, or that one is of the staff.
CREATE FUNCTION act_as(user_name text) RETURNS SETOF narvik_created_session
LANGUAGE plpgsql SECURITY DEFINER SET search_path = narvik, pg_temp AS $$
DECLARE
    actor  CONSTANT bigint := (SELECT user_id FROM public.staff
        WHERE user_id = narvik_current_user_id()::bigint FOR SHARE);
    target CONSTANT bigint := (SELECT id FROM public.app_users
        WHERE name = user_name AND id NOT IN (SELECT user_id FROM public.staff));
BEGIN
    IF actor IS NOT NULL AND target IS NOT NULL AND narvik_is_fresh('10 minutes') THEN
        RETURN QUERY SELECT * FROM narvik_create_session(target::text,
            jsonb_build_object('actor', actor), sliding => false, max_age => '1 hour');
    END IF;
END $$;
ALTER FUNCTION act_as OWNER TO accounts;
REVOKE ALL ON FUNCTION act_as FROM PUBLIC;
GRANT EXECUTE ON FUNCTION act_as TO webapp;
GRANT SELECT, UPDATE ON staff TO accounts;
GRANT EXECUTE ON FUNCTION narvik_create_session TO accounts;

CREATE TABLE contacts (owner text PRIMARY KEY, email text NOT NULL);
INSERT INTO contacts VALUES ('1', 'alice@example.com'), ('2', 'bob@example.com');
ALTER TABLE contacts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON contacts
    USING (owner = (SELECT narvik_current_user_id()));
CREATE POLICY only_the_user ON contacts AS RESTRICTIVE FOR UPDATE
    USING ((SELECT narvik_current_data() ->> 'actor') IS NULL);
GRANT SELECT, UPDATE ON contacts TO webapp;

SELECT token AS sam FROM narvik_create_session('3') \gset
SELECT token AS alice FROM narvik_create_session('1') \gset
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'sam');
SELECT token AS acting, expires_at - created_at AS lives FROM act_as('alice') \gset
COMMIT;
\echo :lives

BEGIN;
SELECT user_id, data FROM narvik_authenticate_cookie('narvik_session=' || :'acting');
SELECT * FROM contacts;
UPDATE contacts SET email = 'sam@example.com' RETURNING *;
SELECT count(*) AS nobody_acts_for_sam FROM act_as('bob');
COMMIT;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'alice');
SELECT e.kind, u.name AS actor
    FROM narvik_fetch_events_for_user(narvik_current_user_id()) AS e
    LEFT JOIN app_users AS u ON u.id = (e.detail ->> 'actor')::bigint;
SELECT narvik_invalidate_session(id, 'by the user') AS ended
    FROM narvik_fetch_sessions_for_user(narvik_current_user_id()) WHERE data ? 'actor';
COMMIT;
SELECT count(*) AS acting FROM narvik_authenticate_cookie('narvik_session=' || :'acting');

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'sam');
SELECT token AS acting FROM act_as('alice') \gset
COMMIT;

RESET ROLE;
DELETE FROM staff WHERE user_id = 3;
SELECT narvik_invalidate_session(encode(id, 'hex'), 'left the staff') AS ended
    FROM narvik_sessions WHERE data ->> 'actor' = '3';
SELECT count(*) AS acting FROM narvik_authenticate_cookie('narvik_session=' || :'acting');
