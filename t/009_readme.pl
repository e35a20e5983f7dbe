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

my ($preload) = $install =~ /^(shared_preload_libraries = .*)$/m;
$node->append_conf('postgresql.conf', $preload // BAIL_OUT('README does not say how to preload'));
$node->restart;

my @install = $install =~ /^```sql\n(.*?)^```/msg;
is(scalar @install, 2, 'the installation has its two pieces of SQL');
$node->safe_psql('postgres', 'CREATE DATABASE webapp_db');
$node->psql('webapp_db', join("\n", @install), on_error_die => 1);
is( $node->safe_psql(
		'webapp_db',
		"SELECT count(*) FROM narvik_create_session('alice') AS s, narvik_validate_session(s.token)",
		extra_params => [ '-U', 'webapp' ]),
	'1',
	'after it the application role works without naming the schema');
is($node->safe_psql('webapp_db', 'SELECT created FROM narvik.narvik_stats'), '1', 'and it is preloaded');

my ($rc, $out, $err) = $node->psql(
	'webapp_db', 'SELECT * FROM narvik.narvik_sessions',
	extra_params => [ '-U', 'webapp' ]);
like($err, qr/permission denied/, 'and may not read the table');

foreach my $sql (section('Using it') =~ /^```sql\n(.*?)^```/msg)
{
	($rc, $out, $err) = $node->psql('webapp_db', $sql, extra_params => [ '-U', 'webapp' ]);
	is("$rc$err", '0', 'it runs: ' . ($sql =~ s/\n.*//sr));
}

$node->stop;
done_testing();
