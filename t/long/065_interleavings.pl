use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/..";

use Interleave;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

build_interleave();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
autovacuum = off
max_prepared_transactions = 10
deadlock_timeout = 20ms
log_min_messages = fatal
log_min_error_statement = panic
});
$node->start;

my ($violations, $ends) = interleave($node);
is_deeply($violations, [], "every interleaving");
diag $_ foreach @$ends;
$node->stop;
done_testing();
