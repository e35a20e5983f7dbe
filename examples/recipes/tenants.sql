CREATE TABLE members (
    user_id   bigint REFERENCES app_users ON DELETE CASCADE,
    tenant_id integer,
    role      text NOT NULL,
    PRIMARY KEY (user_id, tenant_id)
);
CREATE TABLE invoices (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL,
    amount    numeric NOT NULL
);
CREATE INDEX ON invoices (tenant_id);

ALTER TABLE invoices ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoices FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON invoices
    USING (tenant_id = (SELECT (narvik_current_data() ->> 'tenant')::integer));
CREATE POLICY clerks_insert ON invoices AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT narvik_current_data() ->> 'role') = 'clerk');
GRANT SELECT, INSERT ON invoices TO webapp;

INSERT INTO members VALUES (1, 10, 'clerk'), (1, 20, 'reader'), (2, 30, 'clerk');
INSERT INTO invoices (tenant_id, amount)
    SELECT 1 + i % 1000, i FROM generate_series(1, 100000) AS i;
ANALYZE invoices;

-- Of the session that is authenticated.  No row: the user is no member.
CREATE FUNCTION enter_tenant(tenant integer) RETURNS SETOF jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = narvik, pg_temp AS $$
    SELECT narvik_update_session_data(narvik_current_session_id(),
            jsonb_build_object('tenant', tenant_id, 'role', role))
        FROM (SELECT tenant_id, role FROM public.members
            WHERE user_id = narvik_current_user_id()::bigint AND tenant_id = tenant
            FOR SHARE) AS locked_first
$$;
ALTER FUNCTION enter_tenant OWNER TO accounts;
REVOKE ALL ON FUNCTION enter_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter_tenant TO webapp;
GRANT SELECT, UPDATE (role) ON members TO accounts;
GRANT EXECUTE ON FUNCTION narvik_update_session_data TO accounts;
REVOKE EXECUTE ON FUNCTION narvik_update_session_data FROM webapp;

SELECT token FROM narvik_create_session('1') \gset
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT enter_tenant(10);
SELECT enter_tenant(30) AS not_a_member;
COMMIT;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT tenant_id, count(*) FROM invoices GROUP BY tenant_id;
INSERT INTO invoices (tenant_id, amount) VALUES (10, 1);
SELECT enter_tenant(20);
SELECT tenant_id, count(*) FROM invoices GROUP BY tenant_id;
INSERT INTO invoices (tenant_id, amount) VALUES (20, 1);
ROLLBACK;
SELECT count(*) AS after_the_transaction FROM invoices;

RESET ROLE;
DELETE FROM members WHERE user_id = 1 AND tenant_id = 10;
SELECT narvik_update_session_data(id, '{"tenant": null, "role": null}')
    FROM narvik_fetch_sessions_for_user('1') WHERE data ->> 'tenant' = '10';
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
EXPLAIN (COSTS OFF) SELECT sum(amount) FROM invoices;
ROLLBACK;

RESET ROLE;
CREATE TABLE events (owner text NOT NULL, what text NOT NULL);
INSERT INTO events
    SELECT i % 1000, 'something that happened' FROM generate_series(1, 300000) AS i;
ANALYZE events;
GRANT SELECT ON events TO webapp;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON events USING (owner = narvik_current_user_id());

SET ROLE webapp;
EXPLAIN (COSTS OFF) SELECT count(*) FROM events;

RESET ROLE;
ALTER POLICY own ON events USING (owner = (SELECT narvik_current_user_id()));

SET ROLE webapp;
EXPLAIN (COSTS OFF) SELECT count(*) FROM events;

SELECT r.user_id, r.set_cookie, e.mine
    FROM narvik_authenticate_cookie('narvik_session=' || :'token') AS r
    LEFT JOIN LATERAL (
        SELECT count(*) AS mine FROM events WHERE r.id IS NOT NULL OFFSET 0
    ) AS e ON true;
