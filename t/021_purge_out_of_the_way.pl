# The worker is in nobody's way: databases it purges can be dropped and copied,
# the extension can be dropped, locked rows are left alone.  And what others put
# in its way, triggers for one, gets no more rights than they have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;
use Time::HiRes qw(time);

# The smallest batches, so that a million sessions take much longer than the 5 s that
# DROP DATABASE waits.
my $node = purging_server('main', 'narvik.purge_batch_size = 1', 'narvik.purge_rate = 0');
add_database($node, 'bystander');
my $filling = start_million($node);

# ---- a locked row -----------------------------------------------------------

add_database($node, 'locked', 'narvik.purge_batch_size = 2', 'narvik.purge = off');
save_expired($node, 'locked', 5);

# The oldest is what the worker would take first.
my $locker = $node->background_psql('locked');
my $locked_rows = $locker->query_safe(q{BEGIN; SELECT count(*) FROM (SELECT FROM narvik_sessions ORDER BY seq LIMIT 1 FOR UPDATE) AS t});
is($locked_rows, '1', 'a transaction locks a row');
$node->safe_psql('postgres', 'ALTER DATABASE locked RESET narvik.purge');
ok( $node->poll_query_until('locked', 'SELECT count(*) FROM narvik_sessions', '1'),
	'all others are purged');
wait_for_visits($node, 'locked', 1);
is(expired_left($node, 'locked'), '1', 'it stays while it is locked');
is(purge_stats($node, 'locked', 'last_purge_error'), '', 'and the visits do not wait, which would be an error after a second');
$locker->query_safe('COMMIT');
$locker->quit;
ok(wait_until_purged($node, 'locked'), 'it is purged once it is not');

# ---- a locked table ---------------------------------------------------------

$node->safe_psql('postgres', 'ALTER DATABASE locked SET narvik.purge = off');
wait_for_visits($node, 'bystander', 1);
save_expired($node, 'locked', 5);
$locker = $node->background_psql('locked');
$locker->query_safe('BEGIN; LOCK TABLE narvik_sessions IN SHARE MODE');
$node->safe_psql('postgres', 'ALTER DATABASE locked RESET narvik.purge');
my $began = time();
wait_for_visits($node, 'bystander', 2);
cmp_ok(time() - $began, '<', 60, 'a locked table does not hold up other databases for long');
is( purge_stats($node, 'locked', 'last_purge_error'),
	'canceling statement due to lock timeout', 'as a visit waits for it no longer than its lock timeout');
$locker->query_safe('COMMIT');
$locker->quit;
ok(wait_until_purged($node, 'locked'), 'and its own database is purged again afterwards');

# ---- planted triggers -------------------------------------------------------

# What the owner of the table might try on a process with all rights.
add_database($node, 'planted');
$node->safe_psql(
	'planted', q{
	CREATE ROLE planter LOGIN;
	ALTER TABLE narvik_sessions OWNER TO planter;
	GRANT CREATE ON SCHEMA public TO planter;
});
my $as_planter = [ extra_params => [ '-U', 'planter' ] ];
$node->safe_psql(
	'planted', q{
	CREATE TABLE public.attempts (as_user name, attempt text, outcome text);
	CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		attempt text;
	BEGIN
		FOREACH attempt IN ARRAY ARRAY[
			'ALTER ROLE planter SUPERUSER', 'CREATE ROLE booty SUPERUSER',
			'GRANT pg_execute_server_program TO planter',
			'SET ROLE postgres', 'RESET ROLE', 'RESET SESSION AUTHORIZATION',
			'SET SESSION AUTHORIZATION postgres',
			'CREATE TEMP TABLE narvik_sessions ()',
			'COPY public.attempts TO PROGRAM ''true''']
		LOOP
			BEGIN
				EXECUTE attempt;
				INSERT INTO public.attempts VALUES (current_user, attempt, 'allowed');
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO public.attempts VALUES (current_user, attempt, SQLSTATE);
			END;
		END LOOP;
		RETURN OLD;
	END $$;
}, @$as_planter);

sub plant
{
	my ($trigger) = @_;
	$node->safe_psql('planted', "$trigger FOR EACH ROW EXECUTE FUNCTION try()", @$as_planter);
	return;
}

sub rights_gained
{
	return $node->safe_psql(
		'planted', q{
		SELECT rolname FROM pg_roles
		WHERE rolsuper AND rolname <> 'postgres'
		   OR pg_has_role(oid, 'pg_execute_server_program', 'member')
			  AND NOT rolsuper AND rolname <> 'pg_execute_server_program'});
}

plant('CREATE TRIGGER before BEFORE DELETE ON narvik_sessions');
plant('CREATE TRIGGER after AFTER DELETE ON narvik_sessions');
save_expired($node, 'planted', 1);
ok(wait_until_purged($node, 'planted'), 'triggers are run');
is( $node->safe_psql('planted', 'SELECT as_user, count(*) FROM attempts GROUP BY as_user'),
	'planter|18', 'as the owner of the table');
is( $node->safe_psql('planted', q{SELECT DISTINCT attempt FROM attempts WHERE outcome = 'allowed'}),
	'', 'nothing they tried was allowed');
is(rights_gained(), '', 'and nobody gained rights');

# Deferred triggers run when the transaction ends, outside of any such frame.
$node->safe_psql(
	'planted', 'DROP TRIGGER before ON narvik_sessions; DROP TRIGGER after ON narvik_sessions; TRUNCATE attempts',
	@$as_planter);
plant('CREATE CONSTRAINT TRIGGER deferred AFTER DELETE ON narvik_sessions DEFERRABLE INITIALLY DEFERRED');
save_expired($node, 'planted', 1);
my $refused = q{SELECT last_purge_error LIKE 'session with seq % could not be purged: }
  . q{cannot fire deferred trigger within security-restricted operation' FROM narvik_stats};
ok( $node->poll_query_until('planted', $refused),
	'a deferred trigger keeps the session from being purged, and narvik_stats says so');
is($node->safe_psql('planted', 'SELECT count(*) FROM attempts'), '0', 'it is never run');

# Made immediate, then deferred by another trigger on the way.  In one transaction, as
# a worker that comes in between would find nothing that keeps the session.
$node->safe_psql(
	'planted', q{
	BEGIN;
	DROP TRIGGER deferred ON narvik_sessions;
	CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN OLD; END $$;
	CREATE TRIGGER defer BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION defer();
	CREATE CONSTRAINT TRIGGER later AFTER DELETE ON narvik_sessions DEFERRABLE FOR EACH ROW EXECUTE FUNCTION try();
	COMMIT;
}, @$as_planter);
$node->safe_psql('planted', 'SELECT narvik_reset_stats()');
ok( $node->poll_query_until('planted', $refused),
	'nor one that another trigger deferred');
is($node->safe_psql('planted', 'SELECT count(*) FROM attempts'), '0', 'it is not run either');
is(rights_gained(), '', 'and nobody gained rights');

$node->safe_psql(
	'planted', 'DROP TRIGGER later ON narvik_sessions; DROP TRIGGER defer ON narvik_sessions',
	@$as_planter);
ok(wait_until_purged($node, 'planted'), 'without them the session is purged');

# ---- one purger for a database ----------------------------------------------

# One batch takes longer than the launcher needs to come back: until "go" has a row.
add_database($node, 'slow');
$node->safe_psql(
	'slow', q{
	CREATE TABLE go ();
	CREATE TABLE deletions (pid int, at timestamptz);
	CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.deletions VALUES (pg_backend_pid(), clock_timestamp());
		WHILE NOT EXISTS (SELECT FROM public.go) LOOP
			BEGIN
				PERFORM pg_sleep(0.1);
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
		PERFORM pg_sleep(0.5);
		INSERT INTO public.deletions VALUES (pg_backend_pid(), clock_timestamp());
		RETURN OLD;
	END $$;
	CREATE TRIGGER slow BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION be_slow();
});
save_expired($node, 'slow', 4);
my $worker = wait_for_worker($node, 'slow');
my $launcher = launcher_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
$node->poll_query_until(
	'postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'narvik launcher' AND pid <> $launcher");
wait_for_visits($node, 'bystander', 1);
is( $node->safe_psql('postgres', "SELECT state FROM pg_stat_activity WHERE pid = $worker"),
	'active', 'the launcher is back and sends workers, while the old one still purges');
$node->safe_psql('slow', 'INSERT INTO go DEFAULT VALUES');
ok(wait_until_purged($node, 'slow'), 'all is purged in the end');
is( $node->safe_psql(
		'slow', q{
		SELECT count(DISTINCT pid) > 1, count(*) FROM deletions}),
	't|8',
	'by more than one worker');
is( $node->safe_psql(
		'slow', q{
		WITH workers AS (SELECT pid, tstzrange(min(at), max(at)) AS period FROM deletions GROUP BY pid)
		SELECT count(*) FROM workers AS a JOIN workers AS b ON a.pid < b.pid AND a.period && b.period}),
	'0',
	'but never by two at a time');

# ---- DROP DATABASE, CREATE DATABASE -----------------------------------------

finish_million($filling);
$launcher = launcher_pid($node);
# So slowly that on no machine a million are purged before this is over.
set_by_reload($node, 'narvik.purge_batch_size = 10', 'narvik.purge_rate = 2000');

sub copy_million
{
	my ($name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE million STRATEGY file_copy");
	wait_for_worker($node, $name);
	return;
}

sub succeeds_in
{
	my ($database, $sql, $name) = @_;
	my ($rc, $out, $err) = $node->psql($database, $sql);
	return is($err, '', $name);
}

copy_million('copy0');
# Without wait_for_visits(), whose reloads are a reason to look at all of them.
my $enough = 2 + purge_stats($node, 'bystander', 'purge_runs');
ok( $node->poll_query_until('bystander', "SELECT purge_runs >= $enough FROM narvik_stats"),
	'others are visited while much is purged in one database');
cmp_ok(expired_left($node, 'copy0'), '>', 300000, 'long before that is done');
foreach my $i (1 .. 2)
{
	my ($old, $new) = ('copy' . ($i - 1), "copy$i");
	wait_for_worker($node, $old);
	succeeds_in(
		'postgres', "CREATE DATABASE $new TEMPLATE $old STRATEGY file_copy",
		"a database can be copied while it is purged ($i)");
	cmp_ok(expired_left($node, $new), '>', 100000, 'with much to purge in it');
	wait_for_worker($node, $old);
	succeeds_in('postgres', "DROP DATABASE $old", "a database can be dropped while it is purged ($i)");
}

# ---- DROP EXTENSION ---------------------------------------------------------

# Who waits for the extension for more than a second has met nothing of note.
my $complaints = qr{narvik purge worker (?:ERROR|FATAL):  (?!database \d+ does not exist|canceling statement due to lock timeout)};
my $offset = -s $node->logfile;
wait_for_worker($node, 'copy2');
cmp_ok(expired_left($node, 'copy2'), '>', 100000, 'much is left to purge');
succeeds_in('copy2', 'DROP EXTENSION narvik', 'the extension can be dropped meanwhile');
wait_for_visits($node, 'bystander', 1);
is_deeply([ log_lines($node, $complaints, $offset) ], [], 'without a complaint of the worker');

# The worker comes while the extension is being dropped.
$offset = -s $node->logfile;
my $dropper = $node->background_psql('locked');
$dropper->query_safe('BEGIN; DROP EXTENSION narvik');
$node->poll_query_until(
	'postgres', q{
	SELECT wait_event_type = 'Lock' FROM pg_stat_activity
	WHERE backend_type = 'narvik purge worker' AND datname = 'locked'}) or die 'no worker';
$dropper->query_safe('COMMIT');
$dropper->quit;
wait_for_visits($node, 'bystander', 1);
is_deeply([ log_lines($node, $complaints, $offset) ], [], 'nor of one that comes while the extension is being dropped');

is(launcher_pid($node), $launcher, 'all that time the launcher was there');
ok(!log_lines($node, qr/PANIC|was terminated by signal/), 'and nothing crashed');

$node->stop;
done_testing();
