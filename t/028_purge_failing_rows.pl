# What stands in the way of one row, or takes long for each, does not keep the others
# from being purged: rows that cannot be deleted are left, counted and named, batches
# are as large as their time permits, and a worker that ends without a word is reported.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $library = build_delay();
my $node = purging_server('main', "shared_preload_libraries = 'narvik, $library'");

# A database whose worker comes once its rows are there.
sub prepared
{
	my ($database, $count, $sql) = @_;
	add_database($node, $database, 'narvik.purge = off');
	save_expired($node, $database, $count);
	$node->safe_psql($database, q{SELECT narvik_create_session('live') FROM generate_series(1, 5)});
	$node->safe_psql($database, $sql) if $sql;
	return;
}

sub purge
{
	my ($database) = @_;
	$node->safe_psql('postgres', qq{ALTER DATABASE "$database" RESET narvik.purge});
	$node->reload;
	return;
}

sub trigger
{
	my ($body) = @_;
	return qq{
	CREATE FUNCTION on_delete() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $body RETURN OLD; END \$\$;
	CREATE TRIGGER on_delete BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION on_delete();};
}

sub left
{
	my ($database) = @_;
	return $node->safe_psql(
		$database,
		q{SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM narvik_sessions WHERE user_id = 'expired'});
}

# Purges the database until only those with these seqs are left of the expired.
sub leaves
{
	my ($name, $database, $seqs, $error) = @_;
	my $count = 1 + ($seqs =~ tr, ,,);
	purge($database);
	ok( $node->poll_query_until(
			$database,
			"SELECT count(*) = $count FROM narvik_sessions WHERE user_id = 'expired'"),
		"$name: the others are purged");
	wait_for_visits($node, $database, 1);
	is(left($database), $seqs, "$name: they are left");
	like(stats_between_visits($node, $database, 'last_purge_error'), $error, "$name: and named");
	is( $node->safe_psql($database, q{SELECT count(*) FROM narvik_fetch_sessions_for_user('live')}),
		'5', "$name: live ones are not touched");
	return;
}

# ---- rows that cannot be deleted --------------------------------------------

my $refers = 'CREATE TABLE refers (seq bigint REFERENCES narvik_sessions (seq)%s);';
my $on_refers = 'update or delete on table "narvik_sessions" violates foreign key constraint "refers_seq_fkey" on table "refers"';

prepared('referred', 3000, sprintf($refers, '') . 'INSERT INTO refers VALUES (17)');
leaves(
	'one that a foreign key refers to', 'referred', '17',
	qr/^session with seq 17 could not be purged: \Q$on_refers\E$/);
is(purge_stats($node, 'referred', 'purged'), '2999', 'such visits end well');

# A batch that failed is done again with fewer rows, and finds them all.
prepared('updated', 8, 'UPDATE narvik_sessions SET active_at = now();' . sprintf($refers, '') . 'INSERT INTO refers VALUES (5)');
is( $node->safe_psql('updated', q{SELECT n_tup_hot_upd > 0 FROM pg_stat_user_tables WHERE relname = 'narvik_sessions'}),
	't', 'rows whose newest version is not where the index leads');
leaves('one of rows that were updated', 'updated', '5', qr/^session with seq 5 could not be purged: \Q$on_refers\E$/);
my @warnings = log_lines($node, qr/WARNING:  session with seq 17 could not be purged: \Q$on_refers\E/);
cmp_ok(scalar @warnings, '>', 0, 'the log names it, too');
$node->safe_psql('referred', 'TRUNCATE refers');
ok(wait_until_purged($node, 'referred'), 'it is purged once nothing refers to it');
ok( $node->poll_query_until('referred', 'SELECT last_purge_error IS NULL FROM narvik_stats'),
	'and the error is gone');

prepared('several', 3000, sprintf($refers, '') . 'INSERT INTO refers VALUES (1), (2), (1000), (1001), (1500), (3000)');
leaves(
	'several', 'several', '1 2 1000 1001 1500 3000',
	qr/^6 sessions could not be purged, the last of them with seq 3000: \Q$on_refers\E$/);

prepared('more', 20, sprintf($refers, '') . 'INSERT INTO refers SELECT seq FROM narvik_sessions');
save_expired($node, 'more', 5);
leaves(
	'more than others', 'more', join(' ', 1 .. 20),
	qr/^20 sessions could not be purged, the last of them with seq 20: \Q$on_refers\E$/);

# Something else is wrong meanwhile.  The rest of the round takes several visits.
prepared('meanwhile', 200, 'ALTER DATABASE meanwhile SET narvik.purge_rate = 10;' . sprintf($refers, '') . 'INSERT INTO refers VALUES (1)');
purge('meanwhile');
my $failed_row = "session with seq 1 could not be purged: $on_refers";
ok($node->poll_query_until('meanwhile', 'SELECT last_purge_error FROM narvik_stats', $failed_row), 'one fails at the beginning of a round');
stop_purging($node, 'meanwhile');
my $runs_until = purge_stats($node, 'meanwhile', 'purge_runs') + 1;
set_by_reload($node, 'narvik.purge = on');
ok($node->poll_query_until('meanwhile', "SELECT purge_runs >= $runs_until FROM narvik_stats"), 'the round goes on after another error');
my ($error, $still) = split /\n/,
  $node->safe_psql(
	'meanwhile',
	q{SELECT last_purge_error FROM narvik_stats; SELECT count(*) > 1 FROM narvik_sessions WHERE user_id = 'expired'});
is("$still $error", "t $failed_row", 'and names the row again');
$node->safe_psql('postgres', 'ALTER DATABASE meanwhile SET narvik.purge = off');

# Each costs a transaction.
prepared('hopeless', 10000, trigger(q{PERFORM pg_sleep(0.002); RAISE EXCEPTION 'not %', OLD.seq;}));
set_by_reload($node, 'narvik.purge_interval = 1h');
purge('hopeless');
ok($node->poll_query_until('hopeless', 'SELECT purge_runs > 0 FROM narvik_stats'), 'if none can be deleted a visit ends well');
like(
	purge_stats($node, 'hopeless', 'last_purge_error'),
	qr/^\d+ sessions could not be purged, the last of them with seq \d+: not \d+$/, 'and says so');
# Reloads may have caused two visits.
my ($runs, $runs_before) = (0, -1);
for (1 .. 4)
{
	last if $runs == $runs_before;
	$runs_before = purge_stats($node, 'hopeless', 'purge_runs');
	sleep 5;
	$runs = purge_stats($node, 'hopeless', 'purge_runs');
}
is($runs, $runs_before, 'the next is not at once');
cmp_ok(purge_stats($node, 'hopeless', q{substring(last_purge_error from '^\d+')}), '<', 10000, 'though some were not tried yet');
$node->safe_psql('hopeless', 'DROP TRIGGER on_delete ON narvik_sessions; VACUUM FULL narvik_sessions');
set_by_reload($node, 'narvik.purge_interval = 1s');
ok(wait_until_purged($node, 'hopeless'), 'all are purged once they can be');

prepared('raises', 2000, trigger(q{IF OLD.seq IN (1, 999) THEN RAISE EXCEPTION 'not %', OLD.seq; END IF;}));
leaves(
	'one for which a trigger raises an error', 'raises', '1 999',
	qr/^2 sessions could not be purged, the last of them with seq 999: not 999$/);

prepared('locks', 300, sprintf($refers, ' ON DELETE CASCADE') . 'INSERT INTO refers VALUES (7)');
my $locker = $node->background_psql('locks');
$locker->query_safe('BEGIN; UPDATE refers SET seq = seq');
leaves(
	'one that waits for a lock', 'locks', '7',
	qr/^session with seq 7 could not be purged: canceling statement due to lock timeout$/);
$locker->query_safe('COMMIT');
$locker->quit;
# The next round waits until this one's lost time is a fraction; a new file does not.
$node->safe_psql('locks', 'VACUUM FULL narvik_sessions');
ok(wait_until_purged($node, 'locks'), 'it is purged once it need not wait');

# The table itself is locked, between two batches.  No row is to blame.
prepared('table', 300, 'ALTER DATABASE "table" SET narvik.purge_rate = 10; ' . sprintf($refers, ''));
purge('table');
$node->poll_query_until('table', 'SELECT purged > 1 FROM narvik_stats') or die 'no visit';
$locker = $node->background_psql('table');
$locker->query_safe('BEGIN; LOCK TABLE narvik_sessions IN ACCESS EXCLUSIVE MODE');
my $lock_timeout = 'canceling statement due to lock timeout';
ok( $node->poll_query_until('table', 'SELECT last_purge_error FROM narvik_stats', $lock_timeout),
	'a visit that waits for the table fails') or diag(purge_stats($node, 'table', '*'));
$locker->query_safe('COMMIT');
$locker->quit;
$node->safe_psql('postgres', 'ALTER DATABASE "table" RESET narvik.purge_rate');
ok(wait_until_purged($node, 'table'), 'and the next does not');

# ---- slow ones --------------------------------------------------------------

# 12 ms each: a thousand take longer than the launcher waits for a worker to connect.
prepared(
	'slow', 1500,
	'CREATE TABLE batches (transaction bigint);' . trigger('INSERT INTO public.batches VALUES (txid_current()); PERFORM pg_sleep(0.012);'));
set_by_reload($node, 'narvik.purge_interval = 1h');
purge('slow');
ok(wait_until_purged($node, 'slow'), 'rows with a slow trigger are purged, in one visit after the other without a pause');
set_by_reload($node, 'narvik.purge_interval = 1s');
cmp_ok(
	$node->safe_psql('slow', 'SELECT max(n) FROM (SELECT count(*) AS n FROM batches GROUP BY transaction) AS t'),
	'<=', 30, 'in batches that do not take long');
is(purge_stats($node, 'slow', 'last_purge_error'), '', 'there was no error');

# Clients' time limits are not meant for the worker, nor for those who look here.
my ($limits, $none) = split /\|/, $node->safe_psql(
	'postgres', q{
	SELECT string_agg(format('ALTER DATABASE hurried SET %I = 20;', name), ' '), string_agg(format('-c %s=0', name), ' ') FROM pg_settings
	WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
				   'idle_session_timeout', 'transaction_timeout')});
prepared('hurried', 100, trigger('PERFORM pg_sleep(0.03);'));
$node->safe_psql('postgres', $limits);
purge('hurried');
{
	local $ENV{PGOPTIONS} = $none;
	ok(wait_until_purged($node, 'hurried'), 'rows are purged that take longer than a time limit of the database');
	is(purge_stats($node, 'hurried', 'last_purge_error'), '', 'without an error');
}

# One that takes longer than any batch may.
prepared('endless', 300, trigger('IF OLD.seq = 1 THEN PERFORM pg_sleep(1000); END IF;'));
leaves(
	'one that takes for ever', 'endless', '1',
	qr/^session with seq 1 could not be purged: canceling statement due to statement timeout$/);

# One whose time runs out when it is done.
prepared('late', 300);
my $late = $node->data_dir . $node->safe_psql('late', q{SELECT '/base/' || oid || '/late' FROM pg_database WHERE datname = 'late'});
append_to_file($late, '');
my $late_from = -s $node->logfile;
purge('late');
ok(wait_until_purged($node, 'late'), 'a batch may be done when its time runs out');
wait_for_visits($node, 'late', 1);
ok(!-e $late, 'as this one was');
is_deeply([ log_lines($node, qr/purge worker ERROR/, $late_from) ], [], 'and nothing else is cancelled');

# ---- a worker that ends without a word --------------------------------------

my $gone = 'the purge worker ended without a report';
prepared('killed', 300, trigger('PERFORM pg_sleep(0.1);'));
# Nothing is counted yet, and nobody looks.
$node->restart;
purge('killed');
terminate_worker($node, 'killed');
set_by_reload($node, 'narvik.purge_interval = 1h');
ok( $node->poll_query_until('killed', 'SELECT last_purge_error FROM narvik_stats', $gone),
	'a worker that is terminated is reported') or diag(purge_stats($node, 'killed', '*'));
set_by_reload($node, 'narvik.purge_interval = 1s');
ok( $node->poll_query_until('killed', 'SELECT last_purge_error IS NULL FROM narvik_stats'),
	'until another one has done its work');

# Nobody gets into this database for a while.  The next visit, which can be at once, has
# work for two seconds before it can say that all is well again.
save_expired($node, 'killed', 300);
my $offset = -s $node->logfile;
$locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; ALTER DATABASE killed RENAME TO locked');
set_by_reload($node, 'narvik.purge_interval = 1h');
ok( $node->wait_for_log(qr/narvik purge worker FATAL:  terminating/, $offset),
	'a worker that cannot connect is terminated');
$locker->query_safe('ROLLBACK');
$locker->quit;
ok( $node->poll_query_until(
		'killed', 'SELECT last_purge_error FROM narvik_stats',
		'the purge worker could not connect to the database'),
	'and reported');

ok(!log_lines($node, qr/PANIC|was terminated by signal/), 'nothing crashed');
$node->stop;
done_testing();
