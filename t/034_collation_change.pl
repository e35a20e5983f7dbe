# An upgrade of the library that orders text loses nobody's sessions.  A database
# in an ICU locale gets another locale behind its indexes' back, which is what an
# upgrade does to them: each session of each user is still found, and ended.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE DATABASE icu TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en'});

# Mixed case, punctuation, umlauts, numbers; two sessions each.  The control is a
# table as anybody would make it.
my $users = 4000;
$node->safe_psql(
	'icu', qq{
	SET client_min_messages = warning;
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE ids AS
	SELECT n, CASE n % 8 WHEN 0 THEN 'User' || n WHEN 1 THEN 'user-' || n WHEN 2 THEN U&'\\00FCser.' || n
		WHEN 3 THEN U&'\\00C4' || n WHEN 4 THEN 'USER_' || n WHEN 5 THEN U&'z\\00E5 ' || n WHEN 6 THEN n || '\@example.org'
		ELSE upper(md5(n::text)) END AS id
	FROM generate_series(1, $users) AS n ORDER BY hashint4(n);
	CREATE TABLE control (id text PRIMARY KEY);
	INSERT INTO control SELECT id FROM ids;
	CREATE TABLE users (id text PRIMARY KEY);
	INSERT INTO users SELECT id FROM ids;
	SELECT count(narvik_save_session(narvik_session_id(format('%s of %s', i, id)), id, now() + interval '29 days'))
	FROM ids, generate_series(1, 2) AS i;
	SELECT narvik_link_users('users');
	ANALYZE});

my $column = $node->safe_psql(
	'postgres', q{
	SELECT attname FROM pg_attribute
	WHERE attrelid = 'pg_database'::regclass AND attname IN ('daticulocale', 'datlocale')});
$node->safe_psql('postgres', "UPDATE pg_database SET $column = 'sv-u-ka-shifted-kf-upper-kn-true' WHERE datname = 'icu'");

cmp_ok(
	$node->safe_psql(
		'icu', q{
		SET enable_seqscan = off;
		SELECT count(*) FROM ids WHERE NOT EXISTS (SELECT FROM control WHERE control.id = ids.id OFFSET 0)}),
	'>',
	$users / 10,
	'an ordinary index misses many of its rows');
# Its owner's business, and that of every owner of such an index.
$node->safe_psql('icu', 'REINDEX TABLE users');

is( $node->safe_psql('icu', 'SELECT count(*) FROM ids WHERE (SELECT count(*) FROM narvik_fetch_sessions_for_user(id)) <> 2'),
	'0', "each user's sessions are listed");
is( $node->safe_psql(
		'icu', q{
		BEGIN;
		SELECT sum(narvik_delete_sessions_for_user(id)) FROM ids;
		SELECT count(*) FROM narvik_sessions;
		ROLLBACK}),
	2 * $users . "\n0",
	'each user is logged out everywhere');
is( $node->safe_psql(
		'icu', q{
		BEGIN;
		SET LOCAL narvik.max_sessions_per_user = 2;
		SELECT count(narvik_create_session(id)) FROM ids;
		SELECT count(*), max(n) FROM (SELECT count(*) AS n FROM narvik_sessions GROUP BY user_id COLLATE "C") AS u;
		ROLLBACK}),
	"$users\n$users|2",
	'the limit holds for each user');
is( $node->safe_psql(
		'icu', q{
		BEGIN;
		UPDATE users SET id = 'new ' || id;
		SELECT count(*) FROM narvik_sessions WHERE user_id NOT LIKE 'new %';
		ROLLBACK}),
	'0',
	'the sessions follow each user who is renamed');
is( $node->safe_psql(
		'icu', q{
		BEGIN;
		DELETE FROM users;
		SELECT count(*) FROM narvik_sessions;
		ROLLBACK}),
	'0',
	'they go with each user who is deleted');
is( $node->safe_psql(
		'icu', q{
		SELECT count(*) FROM ids WHERE (SELECT u.id FROM narvik_validate_user(format('1 of %s', ids.id), NULL::users) AS u) = ids.id}),
	$users,
	"each session's user is found");
# Undone and made again: nobody is an orphan.
is( $node->safe_psql('icu', q{SELECT narvik_unlink_users(); SELECT narvik_link_users('users')}),
	"\n", 'the users can be linked anew');
# PostgreSQL's own check of the order, and of each row in it.
$node->safe_psql('icu', 'CREATE EXTENSION amcheck');
is( $node->psql(
		'icu', q{
		SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
		WHERE indrelid = 'narvik_sessions'::regclass AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')}),
	0,
	'the indexes are in order');

$node->stop;
done_testing();
