# A read-only transaction, on a hot standby too, gets its answers and writes
# nothing; functions that have to write refuse with read_only_sql_transaction.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
# All that validation may write is due.
$primary->append_conf(
	'postgresql.conf', q{
autovacuum = off
narvik.activity_interval = 1s
narvik.events = on
narvik.notify = on
narvik.detect_reuse = on
});
$primary->start;
$primary->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE EXTENSION pageinspect;
	SELECT narvik_save_session(narvik_session_id('due'), 'alice', now() + interval '10 days',
							   jsonb_build_object('big', repeat('x', 100000)));
	SELECT narvik_save_session(narvik_session_id('fresh'), 'alice', now() + interval '29 days');
	SELECT narvik_save_session(narvik_session_id('expired'), 'alice', now() - interval '1 day');
	SELECT narvik_save_session(narvik_session_id('replaced'), 'alice', now() + interval '29 days');
	SELECT FROM narvik_rotate_session('replaced');
	UPDATE narvik_sessions SET created_at = created_at - interval '1 hour';
	CREATE TABLE people (id text PRIMARY KEY);
	INSERT INTO people VALUES ('alice');
	SELECT narvik_link_users('people');
});

# Hint bits are set and nothing is left to prune, so that only a write of
# narvik's could change a page.
$primary->safe_psql('postgres', 'VACUUM (FREEZE) narvik_sessions, narvik_events; CHECKPOINT');

# What each function that has to write is called with.  The catalog is asked
# below whether one is missing.
my %mutating = (
	narvik_create_session => q{narvik_create_session('bob')},
	narvik_create_guest_session => q{narvik_create_guest_session()},
	narvik_promote_session => q{narvik_promote_session('x', 'bob')},
	narvik_invalidate_session => q{narvik_invalidate_session(narvik_session_id('fresh'))},
	narvik_rotate_session => q{narvik_rotate_session('fresh')},
	narvik_reauthenticate_session => q{narvik_reauthenticate_session('fresh')},
	narvik_delete_sessions_for_user => q{narvik_delete_sessions_for_user('alice')},
	narvik_delete_all_expired_sessions => q{narvik_delete_all_expired_sessions()},
	narvik_update_session_data => q{narvik_update_session_data(narvik_session_id('fresh'), '{"a": 1}')},
	narvik_save_session => q{narvik_save_session(narvik_session_id('new'), 'bob', now() + interval '1 day')},
	narvik_update_session_expiry => q{narvik_update_session_expiry(narvik_session_id('fresh'), now() + interval '1 day')},
	narvik_put_session => q{narvik_put_session(narvik_session_id('new'), 'bob', now() + interval '1 day', '{}')},
	narvik_change_session_id => q{narvik_change_session_id(narvik_session_id('fresh'), narvik_session_id('new'))},
	narvik_delete_session => q{narvik_delete_session(narvik_session_id('fresh'))},
	narvik_link_users => q{narvik_link_users('people')},
	narvik_unlink_users => q{narvik_unlink_users()},
	narvik_grant => q{narvik_grant(current_user::regrole)},
	narvik_revoke => q{narvik_revoke(current_user::regrole)});
# These answer without writing; the trigger function belongs to statements that are
# refused themselves.
my @others = qw(narvik_validate_session narvik_authenticate narvik_authenticate_cookie
  narvik_authenticate_cookie narvik_validate_user narvik_generate_token
  narvik_stats narvik_reset_stats narvik_users_changed);

is( $primary->safe_psql(
		'postgres', q{
		SELECT string_agg(proname, ' ' ORDER BY proname COLLATE "C") FROM pg_proc
		JOIN pg_depend AS d ON d.objid = pg_proc.oid AND d.classid = 'pg_proc'::regclass
			 AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'
		WHERE provolatile = 'v'}),
	join(' ', sort @others, keys %mutating),
	'every function that has to write is tried here');

sub sqlstate
{
	my ($node, $begin, $call) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$begin;\nSELECT $call;");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : "no error, answer '$out'";
}

# What a connection sees, errors included.
sub output
{
	my ($node, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	return $out . $err;
}

# Every byte of the table and of its indexes, page headers (LSN) included.
sub pages
{
	return $primary->safe_psql(
		'postgres', q{
		SELECT c.relname, block, md5(get_raw_page(c.oid::regclass::text, 'main', block))
		FROM (SELECT oid FROM pg_class WHERE relname IN ('narvik_sessions', 'narvik_events')
			  UNION ALL SELECT reltoastrelid FROM pg_class WHERE relname IN ('narvik_sessions', 'narvik_events')
			  UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid IN ('narvik_sessions'::regclass, 'narvik_events'::regclass)) AS o
		JOIN pg_class AS c USING (oid)
		CROSS JOIN LATERAL generate_series(0, pg_relation_size(c.oid) / current_setting('block_size')::int - 1) AS block
		ORDER BY 1, 2});
}

my $rows = q{SELECT ctid, xmin, xmax, s.* FROM narvik_sessions AS s ORDER BY seq};
my $answers = q{
	SELECT user_id, length(data->>'big'), new, extended, expires_at < now() + interval '11 days'
	FROM narvik_validate_session('due');
	SELECT user_id, new, extended FROM narvik_validate_session('fresh');
	SELECT user_id FROM narvik_validate_session('expired');
	SELECT user_id FROM narvik_validate_session('unknown');
	SELECT user_id FROM narvik_validate_session('replaced');
	SELECT who, narvik_current_user_id() FROM narvik_authenticate('due') AS who;
	SELECT narvik_authenticate('expired') IS NULL, narvik_current_user_id() IS NULL;
	SELECT id FROM narvik_validate_user('due', NULL::people);
	SELECT id FROM narvik_validate_user('expired', NULL::people);
	SELECT user_id, expires_at < now() FROM narvik_fetch_session(narvik_session_id('expired'));
	SELECT count(*) FROM narvik_fetch_sessions_for_user('alice');
	SELECT kind FROM narvik_fetch_events_for_user('alice', max_rows => 1);
};
my $expected = "alice|100000|f|f|t\nalice|f|f\nalice|alice\nt|t\nalice\nalice|t\n3\nrotated";

my $rows_before = $primary->safe_psql('postgres', $rows);
my $pages_before = pages();

foreach my $begin (
	'BEGIN READ ONLY',
	'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
	'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY',
	'SET default_transaction_read_only = on; BEGIN',
	'BEGIN; SET LOCAL transaction_read_only = on')
{
	is( output(
			$primary,
			"$begin; $answers SELECT pg_current_xact_id_if_assigned() IS NULL; COMMIT"),
		"$expected\nt",
		"$begin: answers, unextended, and takes no transaction id");
	is(sqlstate($primary, $begin, $mutating{$_}), '25006', "$begin: $_ refuses") foreach sort keys %mutating;
}

is( $primary->safe_psql('postgres', $rows),
	$rows_before, 'no row was written, locked or deleted');
is(pages(), $pages_before, 'no page of the table or of its indexes was changed');

# A subtransaction can be read-only within one that is not.
is( $primary->safe_psql(
		'postgres', q{
		BEGIN;
		SAVEPOINT a;
		SET LOCAL transaction_read_only = on;
		SELECT extended FROM narvik_validate_session('due');
		ROLLBACK TO a;
		SELECT extended FROM narvik_validate_session('due');
		ROLLBACK}),
	"f\nt",
	'a savepoint made read-only is not written, the transaction around it is');

# Hot standby.
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my $log_start = -s $standby->logfile;
is( output($standby, $answers),
	$expected, 'a hot standby answers, unextended');
is( output(
		$standby,
		"BEGIN ISOLATION LEVEL REPEATABLE READ; $answers COMMIT"),
	$expected,
	'and under REPEATABLE READ');
ok( !$standby->log_contains('(ERROR|WARNING|FATAL|PANIC):', $log_start),
	'without an error in its log');
is(sqlstate($standby, 'BEGIN', $mutating{$_}), '25006', "hot standby: $_ refuses") foreach sort keys %mutating;
like(
	$standby->safe_psql(
		'postgres',
		q{SELECT narvik_create_cookie(narvik_generate_token())}),
	qr/^narvik_session=[a-z2-7]{32}; /,
	'tokens and cookies can be made on a hot standby');

$primary->safe_psql(
	'postgres',
	q{SELECT narvik_invalidate_session(narvik_session_id('fresh'))});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is( $standby->safe_psql('postgres', q{SELECT count(*) FROM narvik_validate_session('fresh')}),
	'0', 'a revocation reaches the standby');

# The same backend, before and after promotion.
my $open = $standby->background_psql('postgres');
is( $open->query_safe(q{SELECT extended FROM narvik_validate_session('due')}),
	'f', 'before promotion the standby does not extend');
$standby->promote;
is( $open->query_safe(q{SELECT extended FROM narvik_validate_session('due')}),
	't', 'after promotion it does, in the same connection');
is( $open->query_safe(q{SELECT count(*) FROM narvik_validate_session('expired')}),
	'0',
	'and the expired session is no more valid than before');
is( $open->query_safe(q{SELECT count(*) FROM narvik_sessions}),
	'2', 'but deleted');
is(     $open->query_safe(q{SELECT count(*) FROM narvik_validate_session('replaced')})
	  . $open->query_safe(q{SELECT count(*) FROM narvik_sessions}),
	'01', 'and a replaced token that is seen again ends its session');
is( $open->query_safe(q{SELECT string_agg(reason, ' ' ORDER BY seq) FROM narvik_events WHERE kind = 'ended'}),
	'logout expired reuse', 'all of which the log tells');
$open->quit;

$standby->stop;
$primary->stop;
done_testing();
