\set token 1000000000000000000 + random(1, :rows)
\startpipeline
BEGIN;
SELECT narvik_authenticate(:token);
SELECT id, body FROM notes;
COMMIT;
\endpipeline
