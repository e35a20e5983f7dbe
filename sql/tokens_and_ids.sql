--
-- tokens_and_ids: the formats of tokens and session ids, against vectors and
-- against base32 and SHA-256 written independently, in SQL.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS narvik CASCADE;
RESET client_min_messages;
SET client_encoding = 'UTF8';

-- 20 random bytes, their base32, and the SHA-256 of that, all made outside.
CREATE TEMP TABLE vectors (bytes text, token text, id text);
INSERT INTO vectors VALUES
    ('0000000000000000000000000000000000000000', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
     '3ba3f5f43b92602683c19aee62a20342b084dd5971ddd33808d81a328879a547'),
    ('000102030405060708090a0b0c0d0e0f10111213', 'aaaqeayeaudaocajbifqydiob4ibceqt',
     '5f904dfb6d84f01623c06ca84ff134338df4eb98405ea621ef7dbdd7c1e622db'),
    ('ffffffffffffffffffffffffffffffffffffffff', '77777777777777777777777777777777',
     '5cfac09f7b171a7b492f1df33e8981f7b662a649329ffb8896f1ef816c41a6a6'),
    ('0ac3209a8dfdcb04635fad6530e8e8e697eb30a1', 'blbsbgun7xfqiy27vvstb2hi42l6wmfb',
     'b927b80e133e2ebf6498d6f7262cf4f1dc3096ba633add5603134b81a31d8f0b'),
    ('3b6aad674324773aa5af0b9d5414c68cf343c618', 'hnvk2z2der3tvjnpboovifggrtzuhrqy',
     '46141e8a150d648d3b27586404a0bd02ff2ce3a087d9068e42e404648b7dd713'),
    ('9697bf8f54024b44774806f2ee135d32986c6191', 's2l37d2uajfui52ia3zo4e25gkmgyymr',
     '49841c50728cf589120bf0eeb86c3a43dcd48d5c09c6f55593a2aeeb65c3f789'),
    ('172e26e3ef758e80a475433603816d6696b5bff3', 'c4xcny7powhibjdvim3ahalnm2lllp7t',
     '13a6e3e7002cc03ef89da57ad474c7c06bc345ecb21425af83fb9c0f447b0f47'),
    ('4f80ee648679c58872e8974aad0633dfab358118', 'j6ao4zegphcyq4xis5fk2brt36vtlaiy',
     '39307012e5acf687c9297cb0db0e0985feecd80d4e7f597453a0d75c2f8b73e8'),
    ('7e5e4832f4afc3c31b1a7f567ee603ea100c037c', 'pzpeqmxuv7b4ggy2p5lh5zqd5iiaya34',
     '48c85dabf7028eb7adab3b60b34d9c76c6246a92280378793b85bbdc6bc8982f'),
    ('7a0b58e7978017314688af7440edc7330efe608a', 'pifvrz4xqaltcruiv52eb3ohgmhp4yek',
     '24885532e8a8d1ff6b017d316fdee26cf9e08bf881066cc81d53788ad6fb622b'),
    ('d29b6a3f8aaa17ac42325ae20faaf43b04a4885c', '2knwup4kvil2yqrsllra7kxuhmckjcc4',
     '5ad1b87519dd4ad17eff5fb7cfbff2444a3fcca902061baeddc41302025d0945'),
    ('591ff574fe75467e98cd3f4962a62ac89fbcfd76', 'lep7k5h6ovdh5ggnh5ewfjrkzcp3z7lw',
     '5c09290a2886be9fea427aa66282cdc7b5560cbc79d7ca40721e0f3bfe7b684e');
-- Tokens of other makers: any text, hashed as UTF-8.
INSERT INTO vectors VALUES
    (NULL, 'testSessionToken', '1626809001a7ba6bfac95ff81333a03ea5e5b95f28fe13fd9216a8e0a78a5e0c'),
    (NULL, '', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
    (NULL, 'é', '4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c'),
    (NULL, '日本語', '77710aedc74ecfa33685e33a6c7df5cc83004da1bdcef7fb280f5c2b2e97e0a5'),
    (NULL, 'a b;c=d', '35ae7bfc8afd5d257c26c0a2bd52a8bf59e7ee57a09428a4e3d8de9d86424e8b'),
    (NULL, repeat('x', 200), 'aa20c23e3201834050679e1d88941b9a6fed0557c9a705cb2c315e2e63fd486d');

-- The id of each is as expected.
SELECT count(*) AS vectors, count(*) FILTER (WHERE narvik_session_id(token) = id) AS id_fits FROM vectors;

-- Saved under its id, each token but the empty one validates, and no other does.
SELECT count(narvik_save_session(id, id, statement_timestamp() + '30 days')) FROM vectors;
SELECT count(v.id) AS valid, count(*) FILTER (WHERE v.id = vectors.id AND v.user_id = vectors.id) AS right_one
FROM vectors, LATERAL narvik_validate_session(token) v;
SELECT narvik_delete_session(id), count(*) FROM vectors GROUP BY 1;

-- NULL has no id; length and content do not matter.
SELECT narvik_session_id(NULL) IS NULL AS null_for_null;
SELECT n, narvik_session_id(t) = encode(sha256(convert_to(t, 'UTF8')), 'hex') AS id_is_sha256
FROM unnest(ARRAY[E'\x01\x7f\\ \r\n', '''";', repeat('x', 1025), repeat('😀', 100000)]) WITH ORDINALITY x (t, n);

-- Base32 of RFC 4648 in lower case, most significant bit first, and back.
CREATE FUNCTION pg_temp.base32(b bytea) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(substr('abcdefghijklmnopqrstuvwxyz234567',
               1 + (SELECT sum(get_bit(b, k / 8 * 8 + 7 - k % 8) << (5 * i + 4 - k))::int
                    FROM generate_series(5 * i, 5 * i + 4) k), 1), '' ORDER BY i)
    FROM generate_series(0, octet_length(b) * 8 / 5 - 1) i
$$;
CREATE FUNCTION pg_temp.from_base32(t text) RETURNS bytea LANGUAGE sql AS $$
    SELECT decode(string_agg(lpad(to_hex(substr(bits, 8 * i + 1, 8)::bit(8)::int), 2, '0'), '' ORDER BY i), 'hex')
    FROM (SELECT string_agg((strpos('abcdefghijklmnopqrstuvwxyz234567', c) - 1)::bit(5)::text, '' ORDER BY n)
          FROM regexp_split_to_table(t, '') WITH ORDINALITY x (c, n)) AS y (bits),
         generate_series(0, length(t) * 5 / 8 - 1) i
$$;
-- They agree with the vectors.
SELECT count(*) AS vectors,
       count(*) FILTER (WHERE pg_temp.base32(decode(bytes, 'hex')) = token) AS encoded,
       count(*) FILTER (WHERE encode(pg_temp.from_base32(token), 'hex') = bytes) AS decoded
FROM vectors WHERE bytes IS NOT NULL;

-- 1000 generated tokens: 32 characters of the alphabet, 20 bytes in canonical form,
-- all different, and every character turns up in every place.
CREATE TEMP TABLE generated AS SELECT narvik_generate_token() AS token FROM generate_series(1, 1000);
SELECT count(DISTINCT token) AS distinct_tokens,
       bool_and(token ~ '^[a-z2-7]{32}$') AS format,
       bool_and(octet_length(pg_temp.from_base32(token)) = 20) AS twenty_bytes,
       bool_and(pg_temp.base32(pg_temp.from_base32(token)) = token) AS canonical
FROM generated;
SELECT count(DISTINCT (place, substr(token, place, 1))) = 32 * 32 AS every_character_in_every_place
FROM generated, generate_series(1, 32) place;
-- No eight of them ever come again.
SELECT count(DISTINCT substr(token, 8 * part + 1, 8)) = 4 * 1000 AS every_part_new
FROM generated, generate_series(0, 3) part;
DROP TABLE generated;

-- 200 sessions created: the same format, the same rule for the id.
SELECT count(*) AS created,
       count(*) FILTER (WHERE c.token ~ '^[a-z2-7]{32}$') AS format,
       count(*) FILTER (WHERE c.id = encode(sha256(convert_to(c.token, 'UTF8')), 'hex')) AS id_is_sha256,
       count(DISTINCT c.token) AS distinct_tokens
FROM generate_series(1, 200) i, LATERAL narvik_create_session('alice', jsonb_build_object('n', i)) c;
SELECT narvik_delete_sessions_for_user('alice');

-- 200 random tokens made here, by other means, saved by their ids: all validate.
CREATE TEMP TABLE outside AS
SELECT i, pg_temp.base32(substr(sha256(uuid_send(gen_random_uuid())), 1, 20)) AS token FROM generate_series(1, 200) i;
SELECT count(narvik_save_session(encode(sha256(convert_to(token, 'UTF8')), 'hex'), 'alice',
                                 statement_timestamp() + '30 days', jsonb_build_object('i', i)))
FROM outside;
SELECT count(*) AS valid, count(*) FILTER (WHERE (v.data->>'i')::int = i) AS right_one
FROM outside, LATERAL narvik_validate_session(token) v;
DROP TABLE outside;
SELECT narvik_delete_sessions_for_user('alice');

-- Two tokens whose ids have the same 32-bit hash code, which is all that the index
-- knows of an id (on little-endian machines; elsewhere they are two tokens like any).
SELECT narvik_save_session(narvik_session_id(t), t, statement_timestamp() + '30 days')
FROM unnest('{collision 39851,collision 61794}'::text[]) t;
SELECT v.user_id FROM narvik_validate_session('collision 39851') v;
SELECT v.user_id FROM narvik_validate_session('collision 61794') v;
SELECT narvik_invalidate_session(narvik_session_id('collision 39851'));
SELECT v.user_id FROM narvik_validate_session('collision 39851') v;
SELECT v.user_id FROM narvik_validate_session('collision 61794') v;
SELECT narvik_invalidate_session(narvik_session_id('collision 61794'));

-- An id is a constant of its token: usable in an index.
CREATE TEMP TABLE indexed (token text);
CREATE INDEX ON indexed (narvik_session_id(token));
DROP TABLE indexed, vectors;
RESET client_encoding;
