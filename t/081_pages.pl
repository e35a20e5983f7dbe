# The pages of docs/ that tell a story: what they say is typed, and what they say
# is answered.  One server, the pages in their order.
#
# docs/recipes.md has its own test, 040_recipes; docs/reference.md is compared
# with the catalogs by 080_documentation.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Pages;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $docs = "$FindBin::RealBin/../docs";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;

# As Debian sets its servers up.
$node->append_conf('postgresql.conf', "listen_addresses = 'localhost'");
unlink $node->data_dir . '/pg_hba.conf';
$node->append_conf('pg_hba.conf', "local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256");
$node->start;
is($node->psql('postgres', 'SELECT 1', extra_params => [ '-U', 'webapp' ], stderr => \my $refusal), 2, 'the server trusts nobody');
like($refusal, qr/Peer authentication failed/, 'on its socket');

run_page($node, "$docs/quick-start.md");
run_page($node, "$docs/log-in.md", database => 'shop');
{
	my ($page, $examples) = (slurp_file("$docs/log-in.md"), "$docs/../examples/log-in");
	my ($setup) = $page =~ /^```sql\n(.*?)^```/ms;
	my ($app) = $page =~ /^```python\n(.*?)^```/ms;
	is($setup, slurp_file("$examples/setup.sql"), 'log-in.md shows setup.sql');
	is($app, slurp_file("$examples/app.py"), 'and app.py');
}
run_page($node, "$docs/concepts.md", database => 'shop');
run_page($node, "$docs/troubleshooting.md", database => 'shop');
run_page($node, "$docs/purge-worker.md", database => 'shop');

my ($orphans) = slurp_file("$docs/architecture.md") =~ /^```sql\n(.*?)^```/ms;
is_deeply(
	[ $node->psql('shop', $orphans) ], [ 0, '', '' ],
	'docs/architecture.md: the search for sessions without a user runs');

run_page($node, "$docs/operations.md", database => 'shop');

$node->stop;

# ---- docs/operations.md: pg_upgrade carries the sessions --------------------

my ($old, $new) = map { PostgreSQL::Test::Cluster->new($_) } 'old', 'new';
foreach ($old, $new)
{
	$_->init;
	$_->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'");
}
$old->start;
$old->safe_psql(
	'postgres', q{CREATE SCHEMA narvik; CREATE EXTENSION narvik SCHEMA narvik CASCADE;
	CREATE TABLE app_users (id bigint PRIMARY KEY); INSERT INTO app_users VALUES (1);
	CREATE ROLE webapp LOGIN; SELECT narvik.narvik_grant('webapp'); SELECT narvik.narvik_link_users('app_users');
	SELECT narvik.narvik_save_session(narvik.narvik_session_id('x'), '1', now() + interval '1 day')});
$old->stop;
my $bin = $new->config_data('--bindir');
command_ok(
	[   'pg_upgrade', '-b', $bin, '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade does not stumble over narvik');
$new->start;
my @as_webapp = (extra_params => [ '-U', 'webapp' ]);
is( $new->safe_psql('postgres', q{SELECT user_id FROM narvik.narvik_validate_session('x')}, @as_webapp),
	'1', 'the session is valid, and the role may ask');
isnt(
	$new->psql('postgres', q{SELECT narvik.narvik_create_session('2')}, @as_webapp),
	0, 'the users are linked');
$new->stop;
done_testing();
