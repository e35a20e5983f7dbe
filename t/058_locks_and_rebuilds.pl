# What keeps a validation waiting, and how indexes are rebuilt while sessions are used:
# what docs/operations.md and docs/troubleshooting.md say.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use IndexFiles;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	SELECT narvik_save_session(narvik_session_id('fresh'), 'alice', now() + interval '29 days')});

# Whether a validation waits for a lock.
sub waits
{
	my ($rc, $out, $err) = $node->psql(
		'postgres', q{
		\set VERBOSITY sqlstate
		SET lock_timeout = '500ms';
		SELECT user_id FROM narvik_validate_session('fresh')});
	return $err =~ /ERROR:  55P03/ ? 'waits' : $out;
}

my $admin = $node->background_psql('postgres', on_error_stop => 0);

# ---- locks --------------------------------------------------------------------

# The lock of each command stays until its transaction ends.
foreach (
	[ 'REINDEX INDEX narvik_sessions_id_excl', 'waits' ],
	[ 'REINDEX TABLE narvik_sessions', 'waits' ],
	[ 'ALTER INDEX narvik_sessions_id_excl SET (fillfactor = 80)', 'alice' ],
	[ 'CREATE INDEX ON narvik_sessions (created_at)', 'alice' ],
	[ 'ALTER TABLE narvik_sessions SET (autovacuum_vacuum_scale_factor = 0.1)', 'alice' ],
	[ 'ALTER TABLE narvik_sessions SET (autovacuum_enabled = on)', 'alice' ],
	[ 'TRUNCATE narvik_sessions', 'waits' ],
	[ 'CLUSTER narvik_sessions USING narvik_sessions_pkey', 'waits' ],
	[ 'LOCK TABLE narvik_sessions', 'waits' ],
	[ 'LOCK TABLE narvik_sessions IN EXCLUSIVE MODE', 'alice' ])
{
	my ($command, $expected) = @$_;
	$admin->query_safe("BEGIN; $command");
	is(waits(), $expected, "validation beside $command: $expected");
	$admin->query_safe('ROLLBACK');
}

# What an extension or the end of a session would wait for, beside its row and table:
# not longer than a moment, and then it is left for the next validation.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE cart (seq bigint REFERENCES narvik_sessions ON DELETE CASCADE);
	CREATE TABLE log (seq bigint REFERENCES narvik_sessions);
	ALTER DATABASE postgres SET narvik.events = on});
foreach (
	[ 'expired', 'UPDATE cart SET seq = seq', 'cart' ],
	[ 'expired', 'DELETE FROM log', 'log' ],
	[ 'expired', 'ALTER SEQUENCE narvik_events_seq_seq CACHE 10' ],
	[ 'expired', 'ALTER INDEX narvik_events_user_id_idx SET TABLESPACE pg_default' ],
	[ 'due', 'ALTER INDEX narvik_sessions_user_id_idx SET TABLESPACE pg_default' ],
	[ 'due', 'LOCK TABLE narvik_sessions IN SHARE MODE' ])
{
	my ($token, $command, $refers) = @$_;
	my $look = q{SELECT user_id, extended FROM narvik_validate_session('TOKEN')} =~ s/TOKEN/$token/r;
	$node->safe_psql(
		'postgres', q{
		DELETE FROM cart; DELETE FROM log; DELETE FROM narvik_sessions WHERE user_id = 'bob';
		SELECT narvik_save_session(narvik_session_id('expired'), 'bob', now()),
			   narvik_save_session(narvik_session_id('due'), 'bob', now() + interval '10 days')}
		  . (defined $refers ? "; INSERT INTO $refers SELECT seq FROM narvik_sessions WHERE id = sha256('expired')" : ''));
	$admin->query_safe("BEGIN; $command");
	is( $node->safe_psql('postgres', "SET statement_timeout = '60s'; $look"),
		$token eq 'due' ? 'bob|f' : '', "validation of what is $token beside $command");
	$admin->query_safe('COMMIT');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM narvik_sessions WHERE user_id = 'bob'}), '2', 'which is left');
	is($node->safe_psql('postgres', $look), $token eq 'due' ? 'bob|t' : '', 'and written afterwards');
	is( $node->safe_psql('postgres', q{SELECT count(*) FROM narvik_sessions WHERE user_id = 'bob'}),
		$token eq 'due' ? '2' : '1', 'as it should be');
}
$node->safe_psql('postgres', q{DROP TABLE cart, log; ALTER DATABASE postgres RESET narvik.events});

# Who waits for a reader keeps all others waiting behind.
my $reader = $node->background_psql('postgres', on_error_stop => 0);
$reader->query_safe('BEGIN; SELECT count(*) FROM narvik_sessions');
is(waits(), 'alice', 'a long reader does not keep a validation waiting');
$admin->query_until(qr/begun/, "\\echo begun\nTRUNCATE narvik_sessions;\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
is(waits(), 'waits', 'a TRUNCATE that waits for that reader does');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
is(waits(), 'alice', 'until it gives up');
is( $node->psql('postgres', q{SET lock_timeout = '100ms'; TRUNCATE narvik_sessions}), 3,
	'with a lock_timeout it gives up by itself') or diag waits();
is(waits(), 'alice', 'and nobody waits');
$reader->query_safe('COMMIT');
$reader->quit;

# ---- REINDEX CONCURRENTLY ------------------------------------------------------

my $others = 'narvik_sessions_pkey narvik_sessions_purge_hour_idx narvik_sessions_replaced_ids_idx narvik_sessions_user_id_idx';
my $before = index_files($node);
my ($rc, $out, $err) = $node->psql('postgres', 'REINDEX TABLE CONCURRENTLY narvik_sessions');
is($rc, 0, 'REINDEX TABLE CONCURRENTLY works');
like(
	$err, qr/WARNING:  cannot reindex exclusion constraint index "public.narvik_sessions_id_excl" concurrently, skipping/,
	'says what it leaves out');
is(rebuilt($node, $before), $others, 'and rebuilds all indexes but that on the id');
($rc, $out, $err) = $node->psql('postgres', 'REINDEX INDEX CONCURRENTLY narvik_sessions_id_excl');
like(
	$err, qr/ERROR:  concurrent index creation for exclusion constraints is not supported/,
	'REINDEX INDEX CONCURRENTLY refuses that one');

$admin->quit;
$node->stop;
done_testing();
