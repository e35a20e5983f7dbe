# A purge that cannot free what it deleted, because of an old snapshot, does not look at it
# again and again.  And a purge is no flood: it keeps narvik.purge_rate.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = purging_server('main', 'narvik.purge_rate = 0');
my $filling = start_million($node);
add_database($node, 'paced', 'narvik.purge = off');
finish_million($filling);
$node->safe_psql('million', 'VACUUM narvik_sessions');

# Entries of the index that visits have read.
sub entries_read
{
	my ($database) = @_;
	return $node->safe_psql(
		$database,
		q{SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'narvik_sessions_purge_hour_idx'});
}

sub saved_in
{
	my ($database, $hours) = @_;
	$node->safe_psql(
		$database,
		qq{SELECT narvik_save_session(narvik_session_id(random()::text), 'expired', now() - interval '$hours hours')
		   FROM generate_series(1, 10)});
	return;
}

# ---- an old snapshot --------------------------------------------------------

# For each entry that it passed a look is followed by a pause of 50 microseconds.
my $many = 300_000;
my $pause_s = $many * 50e-6;
add_database($node, 'old', 'narvik.purge = off');
$node->safe_psql('old', insert_expired($many));
$node->safe_psql('old', q{SELECT narvik_create_session('live') FROM generate_series(1, 10)});
my $reader = $node->background_psql('old');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM narvik_sessions');
$node->safe_psql('postgres', 'ALTER DATABASE old RESET narvik.purge');
ok(wait_until_purged($node, 'old'), 'with an old snapshot all of them are purged');
wait_for_visits($node, 'old', 2);
sleep 1.5;    # until what they read is counted

my $read = entries_read('old');
my $runs = purge_stats($node, 'old', 'purge_runs');
my $since = time();
ok($node->poll_query_until('old', "SELECT purge_runs >= $runs + 5 FROM narvik_stats"), 'visits go on');
my $more = purge_stats($node, 'old', 'purge_runs') - $runs;
my $took = time() - $since;
cmp_ok($more, '<=', $took + 2, 'one an interval');
# One more look at all of them is permitted: what others had locked would be found.  A look
# reads each entry once or twice.
cmp_ok(
	entries_read('old') - $read, '<=', 2 * $many * (1 + int($took / $pause_s)) + 100,
	'and do not read again and again what they have deleted');

saved_in('old', 1);
ok(wait_until_purged($node, 'old'), 'what expires later is purged');
$node->safe_psql(
	'old', q{
	BEGIN; SELECT narvik_save_session(narvik_session_id('early'), 'expired', now() - interval '9 hours');
	SELECT narvik_save_session(narvik_session_id('late'), 'expired', date_trunc('hour', now(), 'UTC') - interval '1 s'); COMMIT});
ok( $node->poll_query_until(
		'old',
		q{SELECT count(*) = 0 FROM narvik_sessions WHERE id = decode(narvik_session_id('early'), 'hex')}),
	'and in the end what came with an early expiry');
ok(wait_until_purged($node, 'old'), 'and what did not');
is( $node->safe_psql('old', q{SELECT count(*) FROM narvik_fetch_sessions_for_user('live')}),
	'10', 'what is live is still there');
sleep 1.5;

$node->safe_psql('old', 'VACUUM narvik_sessions');
saved_in('old', 2);
$node->restart;
ok(wait_until_purged($node, 'old'), 'a restart begins at the beginning');
$reader->quit;
$node->safe_psql('postgres', 'ALTER DATABASE old SET narvik.purge = off');
$node->safe_psql(
	'old', q{
	TRUNCATE narvik_sessions;
	SELECT narvik_save_session(narvik_session_id('a'), 'expired', now() - interval '9 hours')});
$node->safe_psql('postgres', 'ALTER DATABASE old RESET narvik.purge');
ok(wait_until_purged($node, 'old'), 'and so does another file of the table, at once');

# ---- the rate ---------------------------------------------------------------

# Rows a second that go, from the first to the last of so many.
sub rate_of
{
	my ($database, $rows, @settings) = @_;
	$node->safe_psql('postgres', "ALTER DATABASE $database SET $_") foreach @settings;
	my $before = purge_stats($node, $database, 'purged');
	$node->safe_psql('postgres', "ALTER DATABASE $database RESET narvik.purge");
	$node->reload;
	$node->poll_query_until($database, "SELECT purged > $before FROM narvik_stats") or die 'no visit';
	my $began = time();
	my $first = purge_stats($node, $database, 'purged');
	$node->poll_query_until($database, "SELECT purged - $first >= $rows FROM narvik_stats") or die 'too slow';
	my $rate = (purge_stats($node, $database, 'purged') - $first) / (time() - $began);
	$node->safe_psql('postgres', "ALTER DATABASE $database SET narvik.purge = off");
	$node->poll_query_until(
		'postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'narvik purge worker'");
	return $rate;
}

# Rows a second while the worker is there: how long it is not is the machine's affair.
sub rate_of_visits
{
	my ($database, $offset) = @_;
	my ($rows, $ms) = (0, 0);
	foreach (log_lines($node, qr/"$database" in/, $offset))
	{
		my ($n, $took) = /purged (\d+) expired .* in (\d+) ms/ or next;
		$rows += $n;
		$ms   += $took;
	}
	return $rows / $ms * 1000;
}

is( $node->safe_psql('postgres', q{SELECT boot_val || ' ' || context FROM pg_settings WHERE name = 'narvik.purge_rate'}),
	'20000 superuser', 'the rate has a limit if nobody sets one');
save_expired($node, 'paced', 2000);
my $offset = -s $node->logfile;
my $rate = rate_of('paced', 600, 'narvik.purge_rate = 100');
cmp_ok($rate, '<=', 130, 'a rate is kept');
cmp_ok(rate_of_visits('paced', $offset), '>=', 70, 'and reached, while the worker is there');
$rate = rate_of('paced', 4, 'narvik.purge_rate = 1');
cmp_ok($rate, '<=', 1.6, 'a low one, too');

$node->safe_psql('postgres', 'CREATE DATABASE fast TEMPLATE million STRATEGY file_copy');
$offset = -s $node->logfile;
$rate = rate_of('fast', 200000, 'narvik.purge_rate = 20000');
cmp_ok($rate, '<=', 21500, 'a high one');
$rate = rate_of_visits('fast', $offset);

# Without one the worker never waits.  It is no quicker than the machine, which the high
# rate need not be, either.
$node->safe_psql('postgres', 'ALTER DATABASE fast SET narvik.purge_rate = 0');
my $first = purge_stats($node, 'fast', 'purged');
my $last = $first + expired_left($node, 'fast');
$node->safe_psql('postgres', 'ALTER DATABASE fast RESET narvik.purge');
$node->reload;
$node->poll_query_until('fast', "SELECT purged > $first FROM narvik_stats") or die 'no visit';
my ($began, $waits) = (time(), 0);
$first = purge_stats($node, 'fast', 'purged');

while (purge_stats($node, 'fast', 'purged') < $last)
{
	$waits += $node->safe_psql(
		'fast', q{
		SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'narvik purge worker' AND datname = 'fast' AND wait_event IN ('Extension', 'NarvikPurgeRate')});
}
is($waits, 0, 'without one there is no limit');
my $without = ($last - $first) / (time() - $began);
cmp_ok(
	$rate, '>=', $without / 2 < 17500 ? $without / 2 : 17500,
	"and reached, too, if anything is ($rate, $without)");

# Whoever wants the database does not wait for the rate.
$node->safe_psql('postgres', 'ALTER DATABASE paced SET narvik.purge_rate = 10');
$node->safe_psql('postgres', 'ALTER DATABASE paced RESET narvik.purge');
$node->reload;
foreach my $statement ('CREATE DATABASE copy TEMPLATE paced STRATEGY file_copy', 'DROP DATABASE paced')
{
	wait_for_worker($node, 'paced');
	my ($rc, $out, $err) = $node->psql('postgres', $statement);
	is($err, '', $statement =~ s/ .*//r . ' DATABASE succeeds while a purge is paced');
}

$node->stop;
done_testing();
