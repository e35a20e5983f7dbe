# A server that is killed loses nothing it acknowledged: 8 clients create,
# validate, extend, rotate and invalidate sessions, the postmaster is killed with
# -9 at a random moment, and after the restart their journal is compared with
# the table, its indexes and the log of events.  In every other round all server processes are
# killed at once; else the backends notice by themselves, after what they do.
#
# fsync is on, but a killed process does not lose what the kernel holds for it:
# this tests the order of writing and recovery, not the loss of power.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use SessionLoad;
use ServerProcesses;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = 20;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
fsync = on
shared_preload_libraries = 'narvik'
log_min_messages = warning
narvik.events = on
narvik.activity_interval = 1s
});
$node->start;
$node->safe_psql(
	'postgres',
	'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
my $connstr = $node->connstr('postgres');
is($node->safe_psql('postgres', 'SHOW fsync'), 'on', 'fsync is on');

# Checkpoints and VACUUM go on meanwhile, so that recovery begins in the midst
# of things and finds rows and index entries that were just removed.
sub housekeeping
{
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	eval {
		my $dbh = SessionJournal::connect_to($connstr);
		while (1)
		{
			$dbh->do('VACUUM (INDEX_CLEANUP on) narvik_sessions');
			sleep rand 0.3;
			$dbh->do('CHECKPOINT') if rand() < 0.3;
		}
	};
	POSIX::_exit(0);
}

# A round: load, death, restart, check.
sub crash
{
	my ($journal, $kill) = @_;
	my $log = -s $node->logfile;
	my $load = SessionLoad::start($journal, connstr => $connstr);
	my $housekeeper = housekeeping();
	$load->wait_for(200);
	sleep rand 1.5;
	$kill->($node);
	$load->finish;
	waitpid($housekeeper, 0);
	start_again($node);
	die 'no recovery' unless $node->log_contains('automatic recovery in progress', $log);
	my $dbh = SessionJournal::connect_to($connstr);
	my @wrong = $journal->check($dbh);
	$dbh->disconnect;
	return @wrong;
}

my $journal = SessionJournal->new(events => 1);
foreach my $round (1 .. $rounds)
{
	my ($kill, $what) = $round % 2 ? (\&kill_postmaster, 'the postmaster') : (\&kill_server, 'every process');
	is_deeply([ crash($journal, $kill) ], [], "round $round, $what killed: nothing is wrong");
}
cmp_ok($journal->{happened} + $journal->{vanished}, '>=', $rounds, 'operations were under way when it happened');
ok(1, "$rounds rounds: " . $journal->summary);

# A server that acknowledges before it writes: the journal tells.
$node->append_conf(
	'postgresql.conf', q{
synchronous_commit = off
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
});
$node->restart;
my @lost;
for (1 .. 10)
{
	last if @lost = crash($journal, \&kill_server);
}
like("@lost", qr/ (is lost|is back|another id|another expiry|other data)/, 'with synchronous_commit = off losses are found')
  or diag("@lost");

$node->stop;
done_testing();
