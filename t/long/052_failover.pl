# A promotion loses nothing that was acknowledged: primary and synchronous
# standby, load on the primary from 8 clients, validation on the standby at the
# same time; the primary is killed, the standby promoted, and the clients'
# journal compared with it.  Measured too: how long a revocation takes to reach
# the standby.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ServerProcesses;
use SessionJournal;
use SessionLoad;
use Test::More;
use Time::HiRes qw(sleep time);

my $rounds = 3;
my $journal = SessionJournal->new(events => 1);
my $readers_stop = PostgreSQL::Test::Utils::tempdir() . '/stop';

sub sync_with
{
	my ($primary, $names) = @_;
	$primary->append_conf('postgresql.conf', "synchronous_standby_names = '$names'");
	$primary->reload;
	return $primary->poll_query_until(
		'postgres',
		"SELECT current_setting('synchronous_standby_names') = '$names'"
		  . ($names ? q{ AND EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')} : ''));
}

sub new_standby
{
	my ($primary, $name) = @_;
	$primary->backup($name);
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$standby->start;
	return $standby;
}

# ---- validation on the standby ----------------------------------------------

# Sessions that are due, so that only the standby keeps them from being extended.
sub save_due
{
	my ($primary) = @_;
	my $dbh = SessionJournal::connect_to($primary->connstr('postgres'));
	my %due;
	foreach my $n (1 .. 20)
	{
		my $token = SessionLoad::new_token();
		my $session = { id => sha256_hex($token), token => $token, n => 0, expires => (int(time) + 10 * 86_400) * 1_000_000 };
		SessionLoad::do_save($dbh, "due-$n", $session);
		$due{"due-$n"} = $session;
	}
	$dbh->disconnect;
	$journal->apply(\%due);
	return map { $_->{token} } values %due;
}

# Validates until it is told to stop, and often enough; writes down how often, and what was wrong.
sub start_reader
{
	my ($standby, $path, @tokens) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	my ($count, %wrong) = (0);
	eval {
		my $dbh = SessionJournal::connect_to($standby->connstr('postgres'));
		until (-e $readers_stop && $count > 100)
		{
			my $answer = $dbh->selectrow_arrayref('SELECT extended FROM narvik_validate_session(?)', {}, $tokens[ rand @tokens ]);
			$wrong{'no row'}++ unless $answer;
			$wrong{'extended'}++ if $answer && $answer->[0];
			$count++;
		}
	};
	$wrong{$@}++ if $@;
	append_to_file($path, join("\n", $count, map { "$wrong{$_} times $_" } sort keys %wrong));
	POSIX::_exit(0);
}

sub finish_reader
{
	my ($pid, $path) = @_;
	append_to_file($readers_stop, '');
	waitpid($pid, 0);
	unlink $readers_stop;
	my ($count, @wrong) = split /\n/, slurp_file($path);
	return $count, @wrong;
}

# Milliseconds from the acknowledged revocation to the first answer of the
# standby that knows it, and how many answers did not.
sub revocation_lag
{
	my ($primary, $standby, $commit) = @_;
	my ($write, $read) = map { SessionJournal::connect_to($_->connstr('postgres')) } ($primary, $standby);
	my $valid = sub { ($read->selectrow_array('SELECT count(*) FROM narvik_validate_session(?)', {}, $_[0]))[0] };
	my (@ms, $stale);
	$stale = 0;
	$write->do("SET synchronous_commit = $commit");
	foreach (1 .. 200)
	{
		my $token = SessionLoad::new_token();
		my $session = { id => sha256_hex($token), expires => (int(time) + 20 * 86_400) * 1_000_000 };
		SessionLoad::do_save($write, 'lag', $session);
		my $until = time + $PostgreSQL::Test::Utils::timeout_default;
		while (!$valid->($token)) { die 'does not arrive' if time > $until }
		$write->do('SELECT narvik_invalidate_session(?)', {}, $session->{id});
		my $start = time;
		while ($valid->($token)) { $stale++; die 'does not arrive' if time > $until }
		push @ms, 1000 * (time - $start);
	}
	$_->disconnect foreach ($write, $read);
	@ms = sort { $a <=> $b } @ms;
	return $stale, sprintf 'median %.1f ms, 95 %% within %.1f ms, longest %.1f ms', @ms[ $#ms / 2, $#ms * 0.95, $#ms ];
}

# ---- rounds -----------------------------------------------------------------

my $primary = PostgreSQL::Test::Cluster->new('server0');
$primary->init(allows_streaming => 1);
$primary->append_conf(
	'postgresql.conf', q{
fsync = on
shared_preload_libraries = 'narvik'
log_min_messages = warning
narvik.events = on
narvik.activity_interval = 1s
});
$primary->start;
$primary->safe_psql(
	'postgres',
	'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
my @due = save_due($primary);
my $validated = 0;

foreach my $round (1 .. $rounds)
{
	my $standby = new_standby($primary, "server$round");
	ok(sync_with($primary, '*'), "round $round: the standby is synchronous");
	my $path = PostgreSQL::Test::Utils::tempdir() . '/reader';
	my $load = SessionLoad::start($journal, connstr => $primary->connstr('postgres'));
	my $reader = start_reader($standby, $path, @due);
	$load->wait_for(500);
	if ($round == 1)
	{
		my ($stale, $lag) = revocation_lag($primary, $standby, 'on');
		ok(1, "synchronous_commit = on, a revocation reaches the standby under load: $lag");
		($stale, $lag) = revocation_lag($primary, $standby, 'remote_apply');
		is($stale, 0, 'synchronous_commit = remote_apply: an acknowledged revocation is known on the standby at once');
	}
	sleep rand 2;

	my ($count, @wrong) = finish_reader($reader, $path);
	is_deeply(\@wrong, [], "round $round: validation on the standby met no error and extended nothing");
	cmp_ok($count, '>', 100, "round $round: it took place");
	$validated += $count;

	kill_server($primary);
	$load->finish;
	$standby->promote;
	my $dbh = SessionJournal::connect_to($standby->connstr('postgres'));
	is_deeply([ $journal->check($dbh) ], [], "round $round: after promotion nothing is wrong");
	is( $dbh->selectrow_array('SELECT count(*) FROM unnest($1::text[]) AS t, narvik_validate_session(t) WHERE extended', {}, \@due),
		scalar @due, "round $round: the new primary extends");
	foreach my $session (map { $journal->{sessions}{$_} } grep { /^due/ } keys %{ $journal->{sessions} })
	{
		$dbh->do('SELECT narvik_update_session_expiry(?, to_timestamp(?))', {}, $session->{id}, $session->{expires} / 1_000_000);
	}
	$dbh->disconnect;
	$primary = $standby;
}
ok(1, "$rounds promotions: " . $journal->summary . "; $validated validations on the standby");

# ---- what happens without -----------------------------------------------------

# A standby that is not waited for, and is behind.
my $standby = new_standby($primary, 'behind');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->append_conf('postgresql.conf', q{primary_conninfo = ''});
$standby->reload;
$standby->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)') or die 'still connected';
my $load = SessionLoad::start($journal, connstr => $primary->connstr('postgres'));
$load->wait_for(200);
kill_server($primary);
$load->finish;
$standby->promote;
my $dbh = SessionJournal::connect_to($standby->connstr('postgres'));
my @lost = $journal->check($dbh);
like("@lost", qr/ is lost/, 'without a synchronous standby losses are found');
$dbh->disconnect;

$standby->stop;
done_testing();
