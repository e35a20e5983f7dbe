# Standbys that are gone, and standbys in the way: what docs/troubleshooting.md says.
# With a synchronous standby gone a validation that extends waits at its commit; and a
# client of a standby meets recovery conflicts, as an error or as a closed connection.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', 'autovacuum = off');
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE; CREATE ROLE app LOGIN; SELECT narvik_grant(\'app\')');
$primary->backup('base');

# ---- a synchronous standby that is gone --------------------------------------

$primary->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id(t), 'alice', now() + interval '1 day') FROM unnest('{due,due_too}'::text[]) AS t;
	SELECT narvik_save_session(narvik_session_id('fresh'), 'alice', now() + interval '29 days')});
$primary->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'gone'; SELECT pg_reload_conf()});
$primary->poll_query_until('postgres', q{SELECT setting = 'gone' FROM pg_settings WHERE name = 'synchronous_standby_names'});
# It is the checkpointer that tells all others to wait.
$primary->safe_psql('postgres', 'CHECKPOINT');

my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'};
is( $primary->safe_psql('postgres', q{SELECT extended FROM narvik_validate_session('fresh')}, timeout => 60),
	'f', 'a validation that writes nothing answers');

my $client = $primary->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
$client->query_safe(q{SELECT FROM narvik_validate_session('fresh'); SET statement_timeout = '1s'});
$client->query_until(qr/begun/, "\\echo begun\nSELECT extended FROM narvik_validate_session('due');\n");
ok($primary->poll_query_until('postgres', $waits, '1'), 'one that extends waits for the standby');
sleep 2;
is($primary->safe_psql('postgres', $waits), '1', 'and statement_timeout does not end that');
$primary->safe_psql('postgres', q{SET synchronous_commit = local; ALTER ROLE app SET synchronous_commit = local});
is( $primary->safe_psql(
		'postgres', q{SHOW synchronous_commit; SELECT extended FROM narvik_validate_session('due_too')},
		extra_params => [ '-U', 'app' ], timeout => 60),
	"local\nt",
	'with synchronous_commit = local it extends and does not wait');
is($primary->safe_psql('postgres', q{SELECT extended FROM narvik_validate_session('due')}), 'f', 'what waits is done already');
$primary->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
ok($primary->poll_query_until('postgres', $waits, '0'), 'a cancel ends the wait');
like($client->query('SELECT 1'), qr/^t$/m, 'and the client has its answer, extended');
$client->quit;

$primary->safe_psql('postgres', q{SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});

# ---- recovery conflicts -------------------------------------------------------

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = 100ms');
$standby->start;

sub caught_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}
caught_up();

# A conflict of either kind, with a statement that runs, and with a transaction that
# does nothing at the moment.
foreach (
	[   'rows that VACUUM removed', 'BEGIN ISOLATION LEVEL REPEATABLE READ',
		q{DELETE FROM narvik_sessions WHERE user_id = 'bob'}, 'VACUUM narvik_sessions' ],
	[ 'a lock on the whole table', 'BEGIN', 'TRUNCATE narvik_sessions' ])
{
	my ($what, $begin, @changes) = @$_;
	foreach my $how ('running', 'idle')
	{
		$primary->safe_psql(
			'postgres', q{
			SELECT narvik_save_session(narvik_session_id('t' || random()), 'bob', now() + interval '29 days') FROM generate_series(1, 100)});
		caught_up();
		my $reader = $standby->background_psql('postgres', on_error_stop => 0);
		$reader->query_safe("\\set VERBOSITY verbose\n$begin");
		$reader->query_safe(q{SELECT count(*) FROM narvik_validate_session('fresh')});
		$reader->query_until(qr/begun/, "\\echo begun\nSELECT pg_sleep(300);\n") if $how eq 'running';
		my $log = -s $standby->logfile;
		$primary->safe_psql('postgres', $_) foreach @changes;
		caught_up();
		my $log_text = slurp_file($standby->logfile, $log);

		if ($how eq 'running')
		{
			like($log_text, qr/ERROR:  canceling statement due to conflict with recovery/, "$what: a running statement fails");
			$reader->query('SELECT 1');
			like($reader->{stderr}, qr/ERROR:  40001: canceling statement due to conflict with recovery/, "$what: with 40001");
			$reader->query('ROLLBACK');
			$reader->{stderr} = '';
			like(
				$reader->query(q{SELECT count(*) FROM narvik_validate_session('fresh')}), qr/^\d$/,
				"$what: the connection is usable, once rolled back");
			$reader->quit;
		}
		else
		{
			like(
				$log_text, qr/FATAL:  terminating connection due to conflict with recovery/,
				"$what: an idle transaction loses its connection");
			eval { $reader->quit };
			like(
				$standby->safe_psql('postgres', q{SELECT count(*) FROM narvik_validate_session('fresh')}), qr/^\d$/,
				"$what: a new connection works");
		}
	}
}

$_->stop foreach $standby, $primary;
done_testing();
