# The launcher and its workers as processes: what an operator sees of them, that
# they come back whatever ends them, that they do as the settings say.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;
use Time::HiRes qw(time);

my $node = purging_server('main', 'restart_after_crash = on', 'log_min_messages = log');
my $started = qr/narvik launcher LOG:  narvik launcher started/;
my $purged = qr/narvik purge worker LOG:  purged/;
ok($node->wait_for_log($started), 'the start of the launcher is logged');

add_database($node, 'quick');

# Here each deletion takes a while, and is recorded.  That of the tenth session shows a
# lock, and goes on when "go" has a row.
add_database($node, 'slow', 'narvik.purge_batch_size = 3');
$node->safe_psql(
	'slow', q{
	CREATE TABLE go ();
	CREATE TABLE deletions (transaction bigint);
	CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.deletions VALUES (txid_current());
		PERFORM pg_sleep(0.03);
		WHILE OLD.seq = 10 AND NOT EXISTS (SELECT FROM public.go) LOOP
			BEGIN
				PERFORM pg_advisory_xact_lock(10);
				PERFORM pg_sleep(0.1);
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
		RETURN OLD;
	END $$;
	CREATE TRIGGER slow BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION be_slow();
});
my $filling = start_million($node);

# ---- the log ----------------------------------------------------------------

my $offset = -s $node->logfile;
wait_for_visits($node, 'quick', 1);
is_deeply([ log_lines($node, $purged, $offset) ], [], 'visits that find nothing are not logged');
save_expired($node, 'quick', 7);
ok(wait_until_purged($node, 'quick'), 'what expired is purged');
wait_for_visits($node, 'quick', 1);
my @lines = log_lines($node, $purged, $offset);
is(scalar @lines, 1, 'a visit that found something is logged, once');
like(
	$lines[0], qr/purged 7 expired sessions of database "quick" in \d+ ms, 0 left$/,
	'with database, rows, time and what is left');

# ---- pg_stat_activity -------------------------------------------------------

my $look = q{SELECT backend_type, coalesce(datname, '-'), state, query FROM pg_stat_activity WHERE backend_type LIKE 'narvik%' ORDER BY 1};
save_expired($node, 'slow', 60);
ok($node->poll_query_until('slow', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 10}), 'a worker purges');
is( $node->safe_psql('postgres', $look),
	"narvik launcher|-|active|visiting databases\n" . 'narvik purge worker|slow|active|purging expired sessions',
	'both processes show what they do');

# Since 17 an extension's waits have names.
sub waits
{
	my ($process, $name) = @_;
	my $event = $node->pg_version >= 17 ? $name : 'Extension';
	return $node->poll_query_until(
		'postgres',
		"SELECT wait_event_type || '.' || wait_event FROM pg_stat_activity WHERE backend_type = '$process'",
		"Extension.$event");
}
ok(waits('narvik launcher', 'NarvikPurgeWorker'), 'the launcher shows that it waits for a worker');

# ---- a worker is terminated -------------------------------------------------

$offset = -s $node->logfile;
terminate_worker($node, 'slow');
ok($node->wait_for_log(qr/narvik purge worker FATAL:  terminating/, $offset), 'the worker is terminated');
cmp_ok(expired_left($node, 'slow'), '>', 50, 'with much left');
$node->safe_psql('slow', 'INSERT INTO go DEFAULT VALUES');
ok(wait_until_purged($node, 'slow'), 'the next goes on');
ok( $node->poll_query_until('slow', 'SELECT purged = 60 FROM narvik_stats'),
	'narvik_stats counts what both have purged');
is( $node->safe_psql('slow', q{SELECT max(n) FROM (SELECT count(*) AS n FROM deletions GROUP BY transaction) AS t}),
	'3', 'no transaction took more than narvik.purge_batch_size');

# ---- the launcher is terminated ---------------------------------------------

my $launcher = launcher_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
ok( $node->poll_query_until(
		'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'narvik launcher' AND pid <> $launcher"),
	'the launcher comes back');
save_expired($node, 'quick', 1);
ok(wait_until_purged($node, 'quick'), 'and has expired sessions purged');
$launcher = launcher_pid($node);

# ---- reload -----------------------------------------------------------------

# A day between the visits: what happens then is due to the reload.
set_by_reload($node, 'narvik.purge_interval = 1d');
my ($runs, $runs_before) = (0, -1);
for (1 .. 5)
{
	last if $runs == $runs_before;
	$runs_before = purge_stats($node, 'quick', 'purge_runs');
	sleep 2;
	$runs = purge_stats($node, 'quick', 'purge_runs');
}
is($runs, $runs_before, 'after a reload with a longer interval no worker comes');
ok( $node->poll_query_until('postgres', $look, 'narvik launcher|-|idle|visiting databases'),
	'and between visits there is none');
ok(waits('narvik launcher', 'NarvikLauncherMain'), 'the launcher shows that it waits for the next visit');
save_expired($node, 'quick', 1);
set_by_reload($node, '# nothing new');
ok(wait_until_purged($node, 'quick'), 'a reload makes the launcher look at once');

set_by_reload($node, 'narvik.purge_batch_size = 2');
$node->safe_psql('postgres', 'ALTER DATABASE slow RESET narvik.purge_batch_size');
$node->safe_psql('slow', 'TRUNCATE deletions');
save_expired($node, 'slow', 50);
$node->reload;
ok(wait_until_purged($node, 'slow'), 'after a reload with another batch size');
# One that takes long on a busy machine makes the next smaller, for a while.
is( $node->safe_psql('slow', q{SELECT max(n) FROM (SELECT count(*) AS n FROM deletions GROUP BY transaction) AS t}),
	'2', 'batches have that size');

set_by_reload($node, 'narvik.purge_interval = 1s');
stop_purging($node, 'quick');
save_expired($node, 'quick', 1);
sleep 2;
is(expired_left($node, 'quick'), '1', 'with narvik.purge off nothing is purged');
set_by_reload($node, 'narvik.purge = on');
ok(wait_until_purged($node, 'quick'), 'with narvik.purge on again it is');
save_expired($node, 'quick', 1);
ok(wait_until_purged($node, 'quick'), 'again and again, as the interval is short');
is(launcher_pid($node), $launcher, 'by the same launcher');

$node->safe_psql('postgres', 'ALTER DATABASE quick SET narvik.purge_rate = 4');
save_expired($node, 'quick', 200);
ok(waits('narvik purge worker', 'NarvikPurgeRate'), 'a worker shows that narvik.purge_rate makes it wait');
$node->safe_psql('postgres', 'ALTER DATABASE quick RESET narvik.purge_rate');
ok(wait_until_purged($node, 'quick'), 'and goes on');

# ---- shutdown, kill ---------------------------------------------------------

finish_million($filling);
set_by_reload($node, 'narvik.purge_batch_size = 10', 'narvik.purge_rate = 2000');
$node->safe_psql('postgres', 'CREATE DATABASE much TEMPLATE million STRATEGY file_copy');
wait_for_worker($node, 'much');
my $began = time();
$node->stop('fast');
cmp_ok(time() - $began, '<', 30, 'a fast shutdown while a million sessions are purged is fast');

$node->start;
my $left = expired_left($node, 'much');
cmp_ok($left, '>', 500000, 'much is left after the start');

$offset = -s $node->logfile;
# It may be gone between the look and the kill.
my $worker;
do { $worker = wait_for_worker($node, 'much') } until kill 'KILL', $worker;
ok($node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset), 'the purge goes on, and a worker is killed');
$node->poll_query_until('much', 'SELECT true') or die 'no server';
wait_for_worker($node, 'much');
is(scalar log_lines($node, $started, $offset), 1, 'the launcher is back after the crash');
$left = expired_left($node, 'much');
ok( $node->poll_query_until('much', "SELECT count(*) < $left FROM narvik_sessions"),
	'and the purge goes on');
$node->safe_psql('postgres', 'DROP DATABASE much');

# ---- no free slot -----------------------------------------------------------

# Three slots: one for the launcher of logical replication, one for ours, and
# the third can be taken by a parallel query.
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
my $no_slot = qr/narvik launcher LOG:  no background worker slot is free/;
my $hog = $node->background_psql('postgres', on_error_stop => 0);
my $hog_pid = $hog->query_safe('SELECT pg_backend_pid()');
$hog->query_safe(
	q{SELECT set_config(name, 'on', false) FROM pg_settings
	WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});

sub give_slot
{
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($hog_pid)");
	$hog->query('SELECT true');
	$hog->{stderr} = '';
	return;
}

# If a worker of ours has the slot at the moment, the query runs without.
sub take_slot
{
	for (;;)
	{
		$hog->query_until(qr/hogging/, "\\echo hogging\nSELECT pg_sleep(1000);\n");
		$node->poll_query_until(
			'postgres',
			q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}) or die;
		return if $node->safe_psql(
			'postgres',
			q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'});
		give_slot();
	}
}

foreach my $episode ('first', 'second')
{
	$offset = -s $node->logfile;
	take_slot();
	save_expired($node, 'quick', 1);
	ok($node->wait_for_log($no_slot, $offset), "$episode time: it is logged that no slot is free");
	sleep 2;
	is(scalar log_lines($node, $no_slot, $offset), 1, 'once, though it is tried every second');
	is(expired_left($node, 'quick'), 1, 'nothing is purged');
	is( purge_stats($node, 'quick', 'last_purge_error'),
		'no background worker slot is free to purge expired sessions', 'narvik_stats says why');
	give_slot();
	ok(wait_until_purged($node, 'quick'), 'it is when a slot is free');
	ok( $node->poll_query_until('quick', 'SELECT last_purge_error IS NULL FROM narvik_stats'),
		'and narvik_stats has nothing to complain of');
}
$hog->quit;

# ---- no launcher ------------------------------------------------------------

my $no_launcher = 'narvik launcher is not running';
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . launcher_pid($node) . ')');
ok( $node->poll_query_until('quick', 'SELECT last_purge_error FROM narvik_stats', $no_launcher),
	'if the launcher is gone narvik_stats says so');
ok($node->poll_query_until('quick', 'SELECT last_purge_error IS NULL FROM narvik_stats'), 'until it is back');

# The one slot is for the launcher of logical replication.
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
is(purge_stats($node, 'quick', 'last_purge_error'), $no_launcher, 'and if it never came');

ok(!log_lines($node, qr/PANIC|signal 11|signal 6/), 'nothing crashed but what was killed');
$node->stop;
done_testing();
