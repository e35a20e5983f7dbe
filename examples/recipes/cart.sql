CREATE TABLE cart_items (
    owner text NOT NULL DEFAULT coalesce(narvik_current_user_id(), narvik_current_session_id()),
    item  text NOT NULL
);
CREATE INDEX ON cart_items (owner);
ALTER TABLE cart_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON cart_items
    USING (owner = (SELECT coalesce(narvik_current_user_id(), narvik_current_session_id())));
GRANT SELECT, INSERT, DELETE ON cart_items TO webapp;

SET ROLE webapp;
SELECT token AS guest, narvik_create_cookie(token) AS set_cookie
    FROM narvik_create_guest_session('{"language": "nb"}') \gset

BEGIN;
SELECT user_id IS NULL AS guest FROM narvik_authenticate_cookie('narvik_session=' || :'guest');
INSERT INTO cart_items (item) VALUES ('lamp'), ('chair');
COMMIT;

BEGIN;
SELECT token AS brought FROM narvik_authenticate_cookie('narvik_session=' || :'guest') \gset
WITH taken AS (DELETE FROM cart_items WHERE narvik_current_user_id() IS NULL RETURNING item)
    SELECT coalesce(array_agg(item), '{}') AS items FROM taken \gset
SELECT s.token, s.data
    FROM check_password('alice', 'alice''s password') AS user_id,
        narvik_promote_session(:'brought', user_id::text, '{"device": "laptop"}') AS s \gset
INSERT INTO cart_items (item) SELECT unnest(:'items'::text[]);
COMMIT;
\echo :data

BEGIN;
SELECT user_id FROM narvik_authenticate_cookie('narvik_session=' || :'token');
SELECT * FROM cart_items;
COMMIT;
SELECT count(*) AS guest FROM narvik_authenticate_cookie('narvik_session=' || :'guest');
