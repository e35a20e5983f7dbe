-- What the clients in this folder need, as a superuser in a database of theirs:
-- narvik, the application's role, and notes that only their owner sees.
CREATE SCHEMA narvik;
CREATE EXTENSION narvik SCHEMA narvik CASCADE;
ALTER DATABASE :"DBNAME" SET search_path = public, narvik;
SET search_path = public, narvik;

SELECT 'CREATE ROLE webapp LOGIN' WHERE to_regrole('webapp') IS NULL \gexec
SELECT narvik_grant('webapp');

CREATE TABLE notes (owner text DEFAULT narvik_current_user_id(), body text);
INSERT INTO notes VALUES ('alice', 'buy milk'), ('alice', 'call mum'), ('bob', 'sell milk');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON notes USING (owner = (SELECT narvik_current_user_id()));
GRANT SELECT, INSERT ON notes TO webapp;
