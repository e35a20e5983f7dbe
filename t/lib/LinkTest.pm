# What tests share that carry databases elsewhere: databases with linked users,
# grants and policies by identity, and whether all of that still works.

package LinkTest;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(
  linked_databases make_roles make_linked_database grants_of triggers_of as_app
  check_link
);

# name => [ narvik's schema, DDL of the users ]; user 1 and 2, the key is "Id".
my %databases = (
	plain => [ 'public', 'CREATE TABLE "App Users" (name text, "Id" int PRIMARY KEY)' ],
	own_schema => [ 'auth', 'CREATE TABLE "App Users" ("Id" uuid UNIQUE, name text)' ],
	partitioned => [
		'auth', q{
		CREATE TABLE "App Users" (name text, "Id" int PRIMARY KEY) PARTITION BY LIST ("Id");
		CREATE TABLE low PARTITION OF "App Users" FOR VALUES IN (1, 3);
		CREATE TABLE high ("Id" int NOT NULL, name text);
		ALTER TABLE "App Users" ATTACH PARTITION high DEFAULT;} ]);

sub linked_databases { return sort keys %databases }

sub id
{
	my ($db, $n) = @_;
	return $db eq 'own_schema' ? "00000000-0000-0000-0000-00000000000$n" : $n;
}

sub make_roles
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE "Odd ""App""" LOGIN; CREATE ROLE former LOGIN');
	return;
}

# The tokens are token-1 and token-2.
sub make_linked_database
{
	my ($node, $db) = @_;
	my ($schema, $users) = @{ $databases{$db} };
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql('postgres', "ALTER DATABASE $db SET search_path = public, auth");
	$node->safe_psql(
		$db,
		($schema eq 'public' ? '' : "CREATE SCHEMA $schema;") . qq{
		CREATE EXTENSION pgcrypto;
		CREATE EXTENSION narvik SCHEMA $schema;
		$users;
		GRANT SELECT ON "App Users" TO app;
		SELECT narvik_link_users('"App Users"', 'Id');
		SELECT narvik_grant('app'), narvik_grant('"Odd ""App"""'), narvik_grant('former');
		SELECT narvik_revoke('former');
		CREATE TABLE notes (user_id text);
		GRANT SELECT ON notes TO app;
		ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON notes USING (user_id = (SELECT narvik_current_user_id()))});
	foreach my $n (1, 2)
	{
		my $id = id($db, $n);
		$node->safe_psql(
			$db, qq{
			INSERT INTO "App Users" ("Id", name) VALUES ('$id', 'user $n');
			INSERT INTO notes VALUES ('$id')});
		$node->safe_psql($db, qq{SELECT narvik_save_session(narvik_session_id('token-$n'), '$id', now() + interval '29 days')});
	}
	return;
}

sub grants_of
{
	my ($node, $db) = @_;
	return $node->safe_psql(
		$db, q{
		SELECT p.proname, a.grantee::regrole, a.privilege_type
		FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
		WHERE p.proname ~ '^narvik_' ORDER BY 1, a.grantee::regrole::text});
}

sub triggers_of
{
	my ($node, $db) = @_;
	return $node->safe_psql(
		$db, q{
		SELECT tgrelid::regclass, tgname, pg_get_triggerdef(oid) FROM pg_trigger
		WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, 2});
}

# What an application role is answered, or the SQLSTATE.
sub as_app
{
	my ($node, $db, $sql, $role) = @_;
	$role //= 'app';
	my ($rc, $out, $err) = $node->psql(
		$db, "\\set VERBOSITY sqlstate\n$sql",
		connstr => $node->connstr($db) . " user=$role");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $out;
}

# A database that was made as $original.
sub check_link
{
	my ($node, $db, $original, $how) = @_;
	my ($one, $two, $three, $nobody) = map { id($original, $_) } (1, 2, 3, 9);
	my $app = sub { return as_app($node, $db, @_) };

	is($app->('SELECT current_user'), 'app', "$how: there is the database");
	is($app->("SELECT user_id FROM narvik_create_session('$one')"), $one, "$how: a user logs in");
	is($app->("SELECT narvik_create_session('$nobody')"), '23503', "$how: nobody else does");
	is($app->("SELECT narvik_save_session(narvik_session_id('x'), '$nobody', '2100-01-01')"), '23503', "$how: in no way");
	is( $app->(q{SELECT name FROM narvik_validate_user('token-1', NULL::"App Users")}), 'user 1',
		"$how: an old token finds its user");
	is($app->("SELECT narvik_link_users('\"App Users\"', 'Id')"), '42501', "$how: the application does not link");
	is( $node->safe_psql(
			$db, qq{
			BEGIN;
			UPDATE "App Users" SET "Id" = '$three' WHERE "Id" = '$one';
			SELECT user_id FROM narvik_validate_session('token-1');
			ROLLBACK}),
		$three,
		"$how: sessions follow their user");
	$node->safe_psql($db, qq{DELETE FROM "App Users" WHERE "Id" = '$one'});
	is($node->safe_psql($db, 'SELECT DISTINCT user_id FROM narvik_sessions'), $two, "$how: they go with him");
	is($app->("SELECT narvik_create_session('$one')"), '23503', "$how: who is gone logs in no more");
	is( $app->(q{BEGIN; SELECT narvik_authenticate('token-2'); SELECT user_id FROM notes; COMMIT; SELECT count(*) FROM notes}),
		"$two\n$two\n0", "$how: policies by identity hold");
	is($app->('SELECT count(*) FROM narvik_sessions'), '42501', "$how: the table is closed");
	is($app->('SELECT narvik_grant(\'app\')'), '42501', "$how: the application grants nothing");
	is( $app->("SELECT user_id FROM narvik_validate_session('token-2')", q{'Odd "App"'}), $two,
		"$how: a role with an odd name was granted it");
	is($app->("SELECT narvik_validate_session('token-2')", 'former'), '42501', "$how: a role it was revoked from has it not");
	is( $node->safe_psql($db, qq{SELECT narvik_unlink_users(); SELECT user_id FROM narvik_create_session('$nobody')}),
		"\n$nobody", "$how: the link can be undone");
	is( $node->safe_psql($db, qq{DELETE FROM narvik_sessions WHERE user_id = '$nobody'; SELECT narvik_link_users('"App Users"', 'Id')}),
		'', "$how: and made again");
	is($app->("SELECT narvik_create_session('$nobody')"), '23503', "$how: and holds");
	return;
}

1;
