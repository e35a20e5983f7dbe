# README's installation leads to an application's role that works, and its
# statements about using it run.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file(dirname(abs_path($0)) . '/../README.md');

# A section of the second level, without its heading.
sub section
{
	my ($title) = @_;
	$readme =~ /^## \Q$title\E\n(.*?)(?=^## |\z)/ms
	  or BAIL_OUT("README has no section \"$title\"");
	return $1;
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my $install = section('Install');

my ($preload, @install) = $install =~ /^```sql\n(.*?)^```/msg;
is(scalar @install, 2, 'the installation has its three pieces of SQL');
$node->safe_psql('postgres', $preload);
$node->restart;

$node->psql('postgres', join("\n", @install), on_error_die => 1);
is( $node->safe_psql(
		'myapp',
		"SELECT count(*) FROM narvik_create_session('alice') AS s, narvik_validate_session(s.token)",
		extra_params => [ '-U', 'myapp' ]),
	'1',
	'after it the application role works without naming the schema');
is($node->safe_psql('myapp', 'SELECT created FROM narvik.narvik_stats'), '1', 'and it is preloaded');

my ($rc, $out, $err) = $node->psql(
	'myapp', 'SELECT * FROM narvik.narvik_sessions',
	extra_params => [ '-U', 'myapp' ]);
like($err, qr/permission denied/, 'and may not read the table');

my ($policies) = section('Row-level security in one call') =~ /^```sql\n(.*?)^```/ms;
is($node->safe_psql('myapp', $policies), "\nalice\nalice|buy milk", 'the first example answers in the database of the installation');

foreach my $sql (section('Using it') =~ /^```sql\n(.*?)^```/msg)
{
	($rc, $out, $err) = $node->psql('myapp', $sql, extra_params => [ '-U', 'myapp' ]);
	is("$rc$err", '0', 'it runs: ' . ($sql =~ s/\n.*//sr));
}

$node->stop;
done_testing();
