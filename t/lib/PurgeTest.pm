# What the tests of the purge worker share: a server that purges every second,
# sessions that have expired, and ways to wait for the worker.

package PurgeTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  purging_server build_delay set_by_reload stop_purging add_database save_expired expired_left
  wait_until_purged wait_for_visits wait_for_worker terminate_worker pids_of
  purge_stats stats_between_visits
  log_lines launcher_pid insert_expired start_million finish_million
);

# Log lines begin with the kind of process that wrote them.  The settings may
# begin with a reference to what init() is to be told.
sub purging_server
{
	my ($name, @settings) = @_;
	my %init = ref $settings[0] ? %{ shift @settings } : ();
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%init);
	$node->append_conf(
		'postgresql.conf',
		join(
			"\n",
			"shared_preload_libraries = 'narvik'",
			"narvik.purge_interval = 1s",
			"log_line_prefix = '%m [%p] %b '",
			"log_statement = none",
			"max_wal_size = 4GB",
			"autovacuum = off",
			@settings));
	$node->start;
	return $node;
}

# A library to preload, which makes the processes wait on demand: delay.c.
sub build_delay
{
	my $library = PostgreSQL::Test::Utils::tempdir() . '/delay.so';
	chomp(my $headers = `pg_config --includedir-server`);
	system_or_bail(
		'cc', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-O1', '-isystem', $headers,
		dirname(__FILE__) . '/delay.c', '-o', $library);
	return $library;
}

sub set_by_reload
{
	my ($node, @settings) = @_;
	$node->append_conf('postgresql.conf', join("\n", @settings));
	$node->reload;
	return;
}

# After a reload a worker that was sent before may still purge.  What the launcher
# says of this setting, it says when there is none.
sub stop_purging
{
	my ($node, $database) = @_;
	my $off = q{'"narvik.purge" is off'};
	$node->poll_query_until($database, "SELECT last_purge_error IS DISTINCT FROM $off FROM narvik_stats") or die 'no purge';
	set_by_reload($node, 'narvik.purge = off');
	$node->poll_query_until($database, "SELECT last_purge_error = $off FROM narvik_stats") or die 'no end of it';
	return;
}

# A database with narvik.  Settings for it are made before the worker can come.
sub add_database
{
	my ($node, $database, @settings) = @_;
	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	$node->safe_psql('postgres', qq{ALTER DATABASE "$database" SET $_}) foreach @settings;
	$node->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION narvik CASCADE');
	return;
}

# Sessions of user "expired", which ended in the last moment of the last hour.
sub save_expired
{
	my ($node, $database, $count) = @_;
	$node->safe_psql(
		$database, qq{
		SELECT narvik_save_session(narvik_session_id(random()::text), 'expired',
								   date_trunc('hour', now(), 'UTC') - interval '1 microsecond')
		FROM generate_series(1, $count)});
	return;
}

my $count_expired = q{SELECT count(*) FROM narvik_sessions WHERE user_id = 'expired'};

sub expired_left
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, $count_expired);
}

sub wait_until_purged
{
	my ($node, $database) = @_;
	return $node->poll_query_until($database, $count_expired, '0');
}

sub purge_stats
{
	my ($node, $database, $columns) = @_;
	return $node->safe_psql($database, "SELECT $columns FROM narvik_stats");
}

# What a visit says of rows that failed grows while it goes on, so this is what
# the statistics say while there is none.
sub stats_between_visits
{
	my ($node, $database, $columns) = @_;
	my $workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'narvik purge worker' AND datname = current_database();";
	my $visits = 'SELECT purge_runs FROM narvik_stats;';
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my ($workers_before, $before, $stats, $workers_after, $after) =
		  split /\n/, $node->safe_psql($database, "$workers $visits SELECT $columns FROM narvik_stats; $workers $visits");
		return $stats if $workers_before + $workers_after == 0 && $before == $after;
		usleep(100_000);
	}
	die "visits to $database without end";
}

# Until the worker has made whole visits that began after the call: the first
# to end may have begun before.  A reload makes it come at once.
sub wait_for_visits
{
	my ($node, $database, $visits) = @_;
	my $runs = purge_stats($node, $database, 'purge_runs') + 1 + $visits;
	$node->poll_query_until(
		$database,
		"SELECT purge_runs >= $runs OR NOT pg_reload_conf() FROM narvik_stats") or die "no visit to $database";
	return;
}

sub pids_of
{
	my ($node, $backend_type) = @_;
	return split /\n/, $node->safe_psql(
		'postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = '$backend_type'");
}

sub launcher_pid
{
	my ($node) = @_;
	$node->poll_query_until(
		'postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'narvik launcher'") or die 'no launcher';
	return (pids_of($node, 'narvik launcher'))[0];
}

# Until a worker purges in this database; its pid.
sub wait_for_worker
{
	my ($node, $database) = @_;
	my $condition = "backend_type = 'narvik purge worker' AND datname = '$database'" . " AND query = 'purging expired sessions'";
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $condition");
		return $pid if $pid;
	}
	die "no worker in $database";
}

# When it is seen in one statement and terminated in another, it can be gone in between.
sub terminate_worker
{
	my ($node, $database) = @_;
	$node->poll_query_until(
		'postgres', qq{
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'narvik purge worker' AND datname = '$database' AND query = 'purging expired sessions'}
	) or die "no worker in $database";
	return;
}

# Lines of the server log from an offset on.
sub log_lines
{
	my ($node, $pattern, $offset) = @_;
	return grep { /$pattern/ } split /\n/, slurp_file($node->logfile, $offset // 0);
}

# A statement that makes many expired sessions, past narvik's functions.
sub insert_expired
{
	my ($count) = @_;
	return qq{
		INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
		SELECT int8send(i), 'expired', h, h, true, '{}', extract(epoch FROM h) / 3600
		FROM date_trunc('hour', now() - interval '3 hours', 'UTC') AS h, generate_series(1, $count) AS i;
	};
}

# A million expired sessions, in a database that the worker leaves alone: copies
# of it are made in no time.  Filled in the background, as it takes a while.
sub start_million
{
	my ($node) = @_;
	add_database($node, 'million', 'narvik.purge = off');
	my $psql = $node->background_psql('million');
	$psql->query_until(qr/filling/, "\\echo filling\n" . insert_expired(1000000));
	return $psql;
}

sub finish_million
{
	my ($psql) = @_;
	die 'not a million' if $psql->query_safe('SELECT count(*) FROM narvik_sessions') != 1000000;
	$psql->quit;
	return;
}

1;
