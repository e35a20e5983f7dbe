CREATE TABLE members (
    user_id   bigint REFERENCES app_users ON DELETE CASCADE,
    tenant_id integer,
    PRIMARY KEY (user_id, tenant_id)
);
CREATE TABLE invoices (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL,
    amount    numeric NOT NULL
);
CREATE INDEX ON invoices (tenant_id);

ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE members FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON members
    USING (user_id = (SELECT narvik_current_user_id()::bigint));

ALTER TABLE invoices ENABLE ROW LEVEL SECURITY;
ALTER TABLE invoices FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenants ON invoices
    USING (tenant_id = ANY (ARRAY(SELECT tenant_id FROM members)));

GRANT SELECT ON members TO webapp;
GRANT SELECT, INSERT ON invoices TO webapp;

INSERT INTO members VALUES (1, 10), (1, 20), (2, 30);
INSERT INTO invoices (tenant_id, amount)
    SELECT 1 + i % 1000, i FROM generate_series(1, 100000) AS i;
ANALYZE members, invoices;

SELECT token FROM narvik_create_session('1') \gset
SET ROLE webapp;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT tenant_id, count(*) FROM invoices GROUP BY tenant_id ORDER BY tenant_id;
COMMIT;
SELECT count(*) AS after_commit FROM invoices;

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
INSERT INTO invoices (tenant_id, amount) VALUES (30, 1);
ROLLBACK;

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
