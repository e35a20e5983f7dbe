\set sid 1000000000000000000 + random(1, :rows)
\set expire :now + 86400 + random(1, 3600)
SELECT sess FROM "session" WHERE sid = :sid AND expire >= to_timestamp(:now);
UPDATE "session" SET expire = to_timestamp(:expire) WHERE sid = :sid RETURNING sid;
