--
-- encodings: a token's id is the hash of its UTF-8 text, whatever the database's
-- encoding; lengths are bytes.
--
CREATE DATABASE regress_narvik_win1252 TEMPLATE template0 ENCODING 'WIN1252' LOCALE_PROVIDER libc LOCALE 'C';
\set home :DBNAME
\c regress_narvik_win1252
SET client_min_messages = warning;
CREATE EXTENSION narvik CASCADE;
RESET client_min_messages;
SET client_encoding = 'UTF8';

-- The vector of the UTF-8 database: the same id.
SELECT octet_length('é') AS bytes_here, narvik_session_id('é');
SELECT narvik_session_id('testSessionToken');

-- Saved under that id, the token is found; user ids and data keep their characters.
SELECT narvik_save_session('4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c', 'Zoë', '2100-01-01 00:00+00', '{"ä": "ö"}');
SELECT v.user_id, v.data FROM narvik_validate_session('é') v;
SELECT narvik_update_session_data('4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c', '{"ü": "ß"}');
SELECT f.user_id, f.data FROM narvik_fetch_sessions_for_user('Zoë') f;
SELECT length(r.token) FROM narvik_rotate_session('é') r;

-- A character that UTF-8 lacks: no token that a client can have hashed. It has no id,
-- and it is no reason for an error when somebody sends it.
SELECT count(*) FROM narvik_validate_session(chr(129));
SELECT count(*) FROM narvik_rotate_session('x' || chr(129));
SELECT narvik_session_id(chr(129));

-- 1024 bytes of this encoding are 1024 characters.
SELECT octet_length((narvik_create_session(repeat('é', 1024))).user_id);
\set VERBOSITY sqlstate
SELECT narvik_create_session(repeat('é', 1025));
\set VERBOSITY default

\c :home
DROP DATABASE regress_narvik_win1252;
