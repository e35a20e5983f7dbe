# pg_dump carries the link to the users, narvik_grant()'s grants and policies by
# identity: after a restore they work as before.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use LinkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
make_roles($node);

foreach my $db (linked_databases())
{
	make_linked_database($node, $db);

	my $dir = PostgreSQL::Test::Utils::tempdir();
	$node->command_ok([ 'pg_dump', '-d', $node->connstr($db), '-f', "$dir/plain" ], "$db: pg_dump");
	$node->command_ok([ 'pg_dump', '-d', $node->connstr($db), '-Fc', '-f', "$dir/custom" ], "$db: pg_dump -Fc");
	my ($grants, $triggers) = (grants_of($node, $db), triggers_of($node, $db));
	like($triggers, qr/narvik_users_changed.*narvik_users_truncated/s, "$db: the link is there before");

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
		is(grants_of($node, $restored), $grants, "$restored: the same roles may call the same functions");
		is(triggers_of($node, $restored), $triggers, "$restored: the same triggers");
		check_link($node, $restored, $db, $restored);
	}

	# Over what is there, as a backup is put back.  PostgreSQL 15 itself cannot with
	# partitions: it refuses to drop their keys.
	next if $db eq 'partitioned';
	$node->command_ok(
		[ 'pg_restore', '--exit-on-error', '--clean', '--if-exists', '-d', $node->connstr($db), "$dir/custom" ],
		"$db --clean: restored without an error");
	is(triggers_of($node, $db), $triggers, "$db --clean: the same triggers");
	check_link($node, $db, $db, "$db --clean");
}

$node->stop;
done_testing();
