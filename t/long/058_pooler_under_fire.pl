# Clients behind a pooler in transaction mode while everything goes wrong:
# server connections are cancelled and terminated at random, statements meet
# statement_timeout and lock_timeout, others lock the table, the pooler is
# reloaded and paused.  What was acknowledged is there, what failed is not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Pooler;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use SessionLoad;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf',
	"shared_preload_libraries = 'narvik'\nnarvik.events = on\nnarvik.activity_interval = 1s\nlog_min_messages = error\nlog_min_error_statement = panic"
);
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE EXTENSION amcheck;
	CREATE EXTENSION pageinspect;
	CREATE ROLE app LOGIN;
	SELECT narvik_grant('app');
	ALTER ROLE app SET statement_timeout = '40ms'});

my $pooler = Pooler->new($node, 'admin_users = admin', 'default_pool_size = 4', 'server_login_retry = 0');

my $journal = SessionJournal->new(events => 1);
my $load = SessionLoad::start(
	$journal, connstr => $pooler->connstr('postgres'), reconnect => 1, pooled => 1, contended => 1,
	allow => [qw(57014 55P03)]);

my $watcher = SessionJournal::connect_to($node->connstr('postgres'));
my %fired = (pooler => 0);
my %fire = (
	SIGINT => sub { kill 'INT', $_[0] },
	SIGTERM => sub { kill 'TERM', $_[0] },
	lock => sub {
		lock_table('SHARE ROW EXCLUSIVE', 0.03);
	},
	'table lock' => sub {
		lock_table('ACCESS EXCLUSIVE', 0.08);
	},
	# Every other time new server connections wait for locks but shortly.
	pooler => sub {
		$watcher->do('ALTER ROLE app ' . ($fired{pooler} % 2 ? q{RESET lock_timeout} : q{SET lock_timeout = '10ms'}));
		run_log([ 'psql', '-XAtq', '-d', $pooler->connstr('pgbouncer', 'admin'), '-c', $_ ])
		  or die 'the pooler does not obey'
		  foreach ('RELOAD', 'RECONNECT', 'PAUSE', 'RESUME');
	});

# And hit one who waits.
sub lock_table
{
	my ($mode, $seconds) = @_;
	$watcher->begin_work;
	$watcher->do("LOCK TABLE narvik_sessions IN $mode MODE");
	sleep $seconds / 2;
	my $pid = $watcher->selectrow_array(q{SELECT pid FROM pg_locks WHERE NOT granted LIMIT 1});
	if ($pid)
	{
		my $signal = rand() < 0.7 ? 'INT' : 'TERM';
		kill $signal, $pid;
		$fired{"SIG$signal"}++;
	}
	sleep $seconds / 2;
	$watcher->rollback;
	return;
}

my @shots = (('SIGINT') x 40, ('SIGTERM') x 20, ('lock') x 10, ('table lock') x 5, 'pooler');
my $busy = q{
	SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND (state <> 'idle' OR random() < 0.05) ORDER BY random() LIMIT 1};

# Until enough of everything has hit; a slow machine needs longer.
sub enough
{
	foreach my $shot (keys %fire)
	{
		return 0 if ($fired{$shot} // 0) < ($shot eq 'pooler' ? 3 : 50);
	}
	return $journal->size >= 3000 && $journal->size('fail') >= 100;
}
my $until = time + $PostgreSQL::Test::Utils::timeout_default;
my $shots = 0;
until (++$shots % 50 == 0 && enough())
{
	die 'not enough happens: ' . join(', ', map { "$_ $fired{$_}" } sort keys %fired) if time > $until;
	my $shot = $shots[ rand @shots ];
	my $pid = $watcher->selectrow_array($busy);
	$fire{$shot}->($pid) if $pid || $shot !~ /^SIG/;
	$fired{$shot}++ if $pid;
	sleep rand 0.04;
}
$load->finish;

$node->safe_psql('postgres', 'ALTER ROLE app RESET ALL');
my @wrong = $journal->check($watcher);
is_deeply(\@wrong, [], 'nothing is half done: ' . $journal->summary);
ok($journal->{failed}{'57014'}, 'statements were cancelled');
ok($journal->{failed}{'55P03'}, 'locks were not to be had in time');
cmp_ok($journal->{happened} + $journal->{vanished}, '>', 0, 'connections broke');
# An autovacuum has one for a while.
ok( $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_locks WHERE relation = 'narvik_sessions'::regclass}),
	'no lock is left');
ok(!$node->log_contains('PANIC|terminated by signal'), 'no crash');
ok(1, 'fired: ' . join(', ', map { "$_ $fired{$_}" } sort keys %fired));

$watcher->disconnect;
$pooler->stop;
$node->stop;
done_testing();
