# A visit of the purge worker knows rows by their places in the table.  Whatever
# happens to the table meanwhile, the visit takes no place of the old table for one
# of the new: nothing live is deleted, nothing is read that is not there, and what
# has expired goes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server('main', 'narvik.purge_batch_size = 1');
my $expired = 10000;

# Rows expired and live, over a few hundred pages; a row is deleted every now and then.
sub busy_database
{
	my ($database, @settings) = @_;
	add_database($node, $database, @settings);
	$node->safe_psql(
		$database, q{
		CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep(0.005);
			RETURN OLD;
		END $$;
		CREATE TRIGGER slow BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION be_slow();
		BEGIN;
		INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
		SELECT int8send(i), 'expired', h, h, true, jsonb_build_object('pad', repeat('x', 200)),
			   extract(epoch FROM h) / 3600
		FROM date_trunc('hour', now() - interval '3 hours', 'UTC') AS h, generate_series(1, } . $expired . q{) AS i;
		SELECT narvik_create_session('live') FROM generate_series(1, 10);
		COMMIT});
	return;
}

# During a visit: to be seen in the middle of it, it has deleted some.
sub wait_for_deletions
{
	my ($database) = @_;
	my $deleted = purge_stats($node, $database, 'purged');
	$node->poll_query_until($database, "SELECT purged > $deleted + 3 FROM narvik_stats")
	  or die 'no visit';
	return;
}

my $is_slow = q{SELECT count(*) FROM pg_trigger WHERE tgname = 'slow'};

sub changed_meanwhile
{
	my ($name, $change, %option) = @_;
	my $database = "db $name";
	busy_database($database, @{ $option{settings} // [] });
	my $offset = -s $node->logfile;
	wait_for_deletions($database);
	$node->safe_psql($database, $change);
	ok( $node->poll_query_until($database, q{VACUUM narvik_sessions; SELECT pg_relation_size('narvik_sessions')}, "VACUUM\n0"),
		"$name: it is cut") if $option{cut};
	wait_for_visits($node, $database, 1);
	# But that of one who waits for more than a second, on a busy machine.
	my $timeout = 'canceling statement due to lock timeout';
	is_deeply(
		[ log_lines($node, qr/narvik purge worker (?:ERROR|WARNING|FATAL):  (?!$timeout)/, $offset) ],
		[], "$name: the visit meets no error");
	like(purge_stats($node, $database, 'last_purge_error'), qr/^(?:$timeout)?$/, "$name: and reports none");
	$node->safe_psql($database, 'DROP TRIGGER slow ON narvik_sessions')
	  if $node->safe_psql($database, $is_slow) > 0;
	$node->safe_psql($database, q{ALTER DATABASE "} . $database . q{" SET narvik.purge_batch_size = 1000});
	ok(wait_until_purged($node, $database), "$name: what has expired is purged");
	is( $node->safe_psql($database, q{SELECT count(*) FROM narvik_fetch_sessions_for_user('live')}),
		$option{live} // 10, "$name: what is live is not");
	$node->safe_psql('postgres', qq{DROP DATABASE "$database"});
	return;
}

my $refill = q{
	SELECT narvik_create_session('live') FROM generate_series(1, 3000);
	SELECT narvik_save_session(narvik_session_id('new' || i), 'expired', now() - interval '5 hours')
	FROM generate_series(1, 5) AS i};

changed_meanwhile('TRUNCATE', 'TRUNCATE narvik_sessions', live => 0);
changed_meanwhile(
	'TRUNCATE, and others in the same places',
	"BEGIN; TRUNCATE narvik_sessions; $refill; COMMIT", live => 3000);
# It gets shorter than the place where the worker is, or soon will be.
my $thin_out = q{SET session_replication_role = replica;
	DELETE FROM narvik_sessions WHERE user_id = 'expired' AND ctid > '(0,20)'};
changed_meanwhile('VACUUM FULL', "$thin_out; VACUUM FULL narvik_sessions");
changed_meanwhile('CLUSTER', "$thin_out; CLUSTER narvik_sessions USING narvik_sessions_purge_hour_idx");
changed_meanwhile('SET UNLOGGED', "$thin_out; ALTER TABLE narvik_sessions SET UNLOGGED");
changed_meanwhile('REINDEX', 'REINDEX TABLE narvik_sessions');
changed_meanwhile('another table', "DROP EXTENSION narvik; CREATE EXTENSION narvik; $refill", live => 3000);

# VACUUM cuts the end off when nobody has the table locked, or a snapshot.  So the worker
# waits half a second after each row, and if it is in the way all the same, VACUUM comes
# again.
changed_meanwhile(
	'VACUUM', q{
	SET session_replication_role = replica;
	DELETE FROM narvik_sessions},
	cut => 1, live => 0, settings => ['narvik.purge_rate = 2']);

$node->stop;
done_testing();
