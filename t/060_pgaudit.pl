# pgaudit sees the sessions that are made and purged, though narvik does either without a
# statement where nobody else looks.
#
# Needs the extension pgaudit.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server(
	'main', "shared_preload_libraries = 'narvik, pgaudit'", "pgaudit.log = 'write'",
	'pgaudit.log_relation = on');
add_database($node, 'audited', 'narvik.purge = off');
my $seen = -s $node->logfile;

sub audited
{
	my ($command) = @_;
	return slurp_file($node->logfile, $seen) =~ /AUDIT: SESSION,\d+,\d+,WRITE,$command,TABLE,public\.narvik_sessions,/;
}

$node->safe_psql('audited', q{SELECT narvik_create_session('alice') \g /dev/null});
ok(audited('INSERT'), 'a new session');
save_expired($node, 'audited', 1);
ok(!audited('DELETE'), 'no session was ended yet');
$node->safe_psql('audited', 'ALTER DATABASE audited RESET narvik.purge');
ok(wait_until_purged($node, 'audited'), 'the expired session is purged');
ok(audited('DELETE'), 'and that was seen');

done_testing();
