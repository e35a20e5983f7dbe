# The counters of a database that is made while the launcher works are its own and
# stay; those of a database that was dropped go.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;
use Time::HiRes qw(usleep);

my $library = build_delay();
my $node = purging_server('main', "shared_preload_libraries = 'narvik, $library'");
my $control = $node->data_dir . '/delay';

sub wait_until
{
	my ($what, $condition) = @_;
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $condition->();
		usleep(10_000);
	}
	die "timed out: $what";
}

sub count_rejected
{
	my ($psql, $n) = @_;
	$psql->query_safe("SELECT count(narvik_authenticate('x')) FROM generate_series(1, $n)");
	return;
}

# The launcher has read the list of databases and does not go on.
append_to_file($control, '');
wait_until('the launcher waits', sub { -e "${control}ed" });
add_database($node, 'new');
my $new = $node->background_psql('new');
count_rejected($new, 3);

# It goes on, to the end of its work.
unlink $control or die;
wait_for_visits($node, 'new', 1);
count_rejected($new, 3);
is(purge_stats($node, 'new', 'rejected'), '6', 'what a new database counted meanwhile is kept');

# Whether an entry is gone shows when its OID comes again.
my $oid = $node->safe_psql('new', q{SELECT oid FROM pg_database WHERE datname = 'new'});
$new->quit;
add_database($node, 'other');

sub drop_and_create
{
	my ($wait) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE new');
	$wait->();
	$node->safe_psql('postgres', "CREATE DATABASE new OID $oid");
	$node->safe_psql('new', 'SET client_min_messages = warning; CREATE EXTENSION narvik CASCADE');
	return purge_stats($node, 'new', 'rejected');
}
is(drop_and_create(sub { wait_for_visits($node, 'other', 1) }), '0', 'what a database counted goes with it');

$node->safe_psql('new', q{SELECT narvik_authenticate('x')});
stop_purging($node, 'other');
# What the launcher says each time it has looked; the first time it may have looked before.
my $looks = sub {
	for (1 .. 2)
	{
		$node->safe_psql('other', 'SELECT narvik_reset_stats()');
		$node->poll_query_until('other', 'SELECT last_purge_error IS NOT NULL FROM narvik_stats') or die 'no look';
	}
};
is(drop_and_create($looks), '0', 'also while nothing is purged');

$node->stop;
done_testing();
