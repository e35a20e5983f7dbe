# pg_dump carries the link to the users, narvik_grant()'s grants and policies by
# identity: after a restore they work as before.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE "Odd ""App""" LOGIN; CREATE ROLE former LOGIN');

# name => [ narvik's schema, DDL of the users ]; user 1 and 2, the key is "Id".
my %databases = (
	plain => [ 'public', 'CREATE TABLE "App Users" (name text, "Id" int PRIMARY KEY)' ],
	own_schema => [ 'auth', 'CREATE TABLE "App Users" ("Id" uuid UNIQUE, name text)' ],
	partitioned => [ 'auth', q{
		CREATE TABLE "App Users" (name text, "Id" int PRIMARY KEY) PARTITION BY LIST ("Id");
		CREATE TABLE low PARTITION OF "App Users" FOR VALUES IN (1, 3);
		CREATE TABLE high ("Id" int NOT NULL, name text);
		ALTER TABLE "App Users" ATTACH PARTITION high DEFAULT;}]);

my $grants = q{
	SELECT p.proname, a.grantee::regrole, a.privilege_type
	FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
	WHERE p.proname ~ '^narvik_' ORDER BY 1, a.grantee::regrole::text};
my $triggers = q{
	SELECT tgrelid::regclass, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, 2};

sub id
{
	my ($db, $n) = @_;
	return $db eq 'own_schema' ? "00000000-0000-0000-0000-00000000000$n" : $n;
}

# What an application role is answered, or the SQLSTATE.
sub as_app
{
	my ($db, $sql, $role) = @_;
	$role //= 'app';
	my ($rc, $out, $err) = $node->psql($db, "\\set VERBOSITY sqlstate\n$sql",
		connstr => $node->connstr($db) . " user=$role");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $out;
}

sub check_link
{
	my ($db, $original, $how) = @_;
	my ($one, $two, $three, $nobody) = map { id($original, $_) } (1, 2, 3, 9);

	is(as_app($db, 'SELECT current_user'), 'app', "$how: there is the database");
	is(as_app($db, "SELECT user_id FROM narvik_create_session('$one')"), $one, "$how: a user logs in");
	is(as_app($db, "SELECT narvik_create_session('$nobody')"), '23503', "$how: nobody else does");
	is(as_app($db, "SELECT narvik_save_session(narvik_session_id('x'), '$nobody', '2100-01-01')"), '23503', "$how: in no way");
	is(as_app($db, q{SELECT name FROM narvik_validate_user('token-1', NULL::"App Users")}), 'user 1',
		"$how: an old token finds its user");
	is(as_app($db, "SELECT narvik_link_users('\"App Users\"', 'Id')"), '42501', "$how: the application does not link");
	is( $node->safe_psql($db, qq{
			BEGIN;
			UPDATE "App Users" SET "Id" = '$three' WHERE "Id" = '$one';
			SELECT user_id FROM narvik_validate_session('token-1');
			ROLLBACK}),
		$three, "$how: sessions follow their user");
	$node->safe_psql($db, qq{DELETE FROM "App Users" WHERE "Id" = '$one'});
	is($node->safe_psql($db, 'SELECT DISTINCT user_id FROM narvik_sessions'), $two, "$how: they go with him");
	is(as_app($db, "SELECT narvik_create_session('$one')"), '23503', "$how: who is gone logs in no more");
	is(as_app($db, q{BEGIN; SELECT narvik_authenticate('token-2'); SELECT user_id FROM notes; COMMIT; SELECT count(*) FROM notes}),
		"$two\n$two\n0", "$how: policies by identity hold");
	is(as_app($db, 'SELECT count(*) FROM narvik_sessions'), '42501', "$how: the table is closed");
	is(as_app($db, 'SELECT narvik_grant(\'app\')'), '42501', "$how: the application grants nothing");
	is(as_app($db, "SELECT user_id FROM narvik_validate_session('token-2')", q{'Odd "App"'}), $two, "$how: a role with an odd name was granted it");
	is(as_app($db, "SELECT narvik_validate_session('token-2')", 'former'), '42501', "$how: a role it was revoked from has it not");
	is( $node->safe_psql($db, qq{SELECT narvik_unlink_users(); SELECT user_id FROM narvik_create_session('$nobody')}),
		"\n$nobody", "$how: the link can be undone");
	is( $node->safe_psql($db, qq{DELETE FROM narvik_sessions WHERE user_id = '$nobody'; SELECT narvik_link_users('"App Users"', 'Id')}),
		'', "$how: and made again");
	is(as_app($db, "SELECT narvik_create_session('$nobody')"), '23503', "$how: and holds");
	return;
}

foreach my $db (sort keys %databases)
{
	my ($schema, $users) = @{ $databases{$db} };
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql('postgres', "ALTER DATABASE $db SET search_path = public, auth");
	$node->safe_psql($db, ($schema eq 'public' ? '' : "CREATE SCHEMA $schema;") . qq{
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
		$node->safe_psql($db, qq{
			INSERT INTO "App Users" ("Id", name) VALUES ('$id', 'user $n');
			INSERT INTO notes VALUES ('$id')});
		$node->safe_psql($db, qq{SELECT narvik_save_session(narvik_session_id('token-$n'), '$id', now() + interval '29 days')});
	}

	my $dir = PostgreSQL::Test::Utils::tempdir();
	$node->command_ok([ 'pg_dump', '-d', $node->connstr($db), '-f', "$dir/plain" ], "$db: pg_dump");
	$node->command_ok([ 'pg_dump', '-d', $node->connstr($db), '-Fc', '-f', "$dir/custom" ], "$db: pg_dump -Fc");
	my ($before_grants, $before_triggers) = map { $node->safe_psql($db, $_) } ($grants, $triggers);
	like($before_triggers, qr/narvik_users_changed.*narvik_users_truncated/s, "$db: the link is there before");

	foreach my $format ('plain', 'custom')
	{
		my $restored = "${db}_$format";
		$node->safe_psql('postgres', "CREATE DATABASE $restored TEMPLATE template0");
		$node->safe_psql('postgres', "ALTER DATABASE $restored SET search_path = public, auth");
		$node->command_ok(
			$format eq 'plain'
			? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($restored), '-f', "$dir/plain" ]
			: [ 'pg_restore', '--exit-on-error', '-d', $node->connstr($restored), "$dir/custom" ],
			"$restored: restored without an error");
		is($node->safe_psql($restored, $grants), $before_grants, "$restored: the same roles may call the same functions");
		is($node->safe_psql($restored, $triggers), $before_triggers, "$restored: the same triggers");
		check_link($restored, $db, $restored);
	}

	# Over what is there, as a backup is put back.  PostgreSQL 15 itself cannot with
	# partitions: it refuses to drop their keys.
	next if $db eq 'partitioned';
	$node->command_ok([ 'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d', $node->connstr($db), "$dir/custom" ],
		"$db --clean: restored without an error");
	is($node->safe_psql($db, $triggers), $before_triggers, "$db --clean: the same triggers");
	check_link($db, $db, "$db --clean");
}

$node->stop;
done_testing();
