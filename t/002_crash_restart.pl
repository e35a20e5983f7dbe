# What was committed survives a crash of the server, in the table and in its
# indexes; what was not committed is as if it had never happened.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "narvik.events = on\nnarvik.activity_interval = 1min");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION amcheck; CHECKPOINT');

sub valid
{
	my ($token) = @_;
	return $node->safe_psql(
		'postgres',
		"SELECT user_id FROM narvik_validate_session('$token')");
}

# Enough rows to split hash buckets, so that more than one page has to come back.
my @tokens = split /\n/, $node->safe_psql(
	'postgres', q{
	SELECT s.token FROM generate_series(1, 2000) AS i
	CROSS JOIN LATERAL narvik_create_session('user' || i, jsonb_build_object('i', i)) AS s});
is(scalar @tokens, 2000, 'sessions made');

my $revoked = shift @tokens;
$node->safe_psql(
	'postgres',
	"SELECT narvik_invalidate_session(narvik_session_id('$revoked'))");
my $old = shift @tokens;
my $new = $node->safe_psql(
	'postgres',
	"SELECT token FROM narvik_rotate_session('$old')");
$node->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('due'), 'due', now() + interval '10 days');
	UPDATE narvik_sessions SET created_at = now() - interval '1 hour' WHERE user_id = 'due'});
is( $node->safe_psql('postgres', q{SELECT extended FROM narvik_validate_session('due')}),
	't', 'a session is extended');

# Caught by the crash in the middle of a transaction.
my $open = $node->background_psql('postgres');
$open->query_safe(
	qq{
	BEGIN;
	SELECT narvik_invalidate_session(narvik_session_id('$tokens[0]'));
	SELECT narvik_save_session(narvik_session_id('uncommitted'), 'nobody', now() + interval '1 day');
	SELECT count(*) FROM narvik_rotate_session('$tokens[1]');
});

my $before = $node->safe_psql('postgres', 'TABLE narvik_sessions ORDER BY seq');
my $events_before = $node->safe_psql('postgres', 'TABLE narvik_events ORDER BY seq');
my $log_start = -s $node->logfile;
$node->stop('immediate');
$open->quit;
$node->start;
ok( $node->log_contains('automatic recovery in progress', $log_start),
	'the server recovered from a crash');

is( $node->safe_psql('postgres', 'TABLE narvik_sessions ORDER BY seq'),
	$before, 'every committed row is back and no other');
is($node->safe_psql('postgres', 'TABLE narvik_events ORDER BY seq'), $events_before, 'and so is every event');
is( $node->safe_psql('postgres', 'SELECT kind, reason, count(*) FROM narvik_events GROUP BY kind, reason ORDER BY kind'),
	"created||2001\nended|logout|1\nrotated||1", 'of all that was committed');
is($node->safe_psql('postgres', q{SELECT active_at IS NOT NULL FROM narvik_sessions WHERE user_id = 'due'}), 't', 'and the note of a use');

# Validation goes through the hash index: each token is found by it alone.
my $found = $node->safe_psql(
	'postgres',
	"SELECT count(*) FROM unnest(ARRAY[" . join(',', map { "'$_'" } @tokens) . "]) AS t, narvik_validate_session(t)");
is($found, scalar @tokens, 'every session is found through the hash index');

is(valid($revoked), '', 'a revoked session stays dead');
is(valid($old), '', 'a rotated token stays dead');
is(valid($new), 'user2', 'the token it was rotated to is valid');
is(valid($tokens[0]), 'user3', 'an uncommitted revocation is undone');
is(valid($tokens[1]), 'user4', 'an uncommitted rotation is undone');
is(valid('uncommitted'), '', 'an uncommitted session does not exist');
is( $node->safe_psql(
		'postgres', q{
		SELECT extended, expires_at > now() + interval '29 days'
		FROM narvik_validate_session('due')}),
	'f|t',
	'an extension survives');

is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM verify_heapam('narvik_sessions', check_toast => true)}),
	'0',
	'amcheck finds nothing wrong with the table');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(bt_index_check(indexrelid, true)) FROM pg_index
		JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_am AS a ON a.oid = c.relam
		WHERE indrelid = 'narvik_sessions'::regclass AND amname = 'btree'}),
	'3',
	'amcheck finds nothing wrong with the btree indexes');

# The hash index still refuses a second row with the same id.  The statement fails
# and is logged, so the token must not stand in it.
my $id = sha256_hex($tokens[2]);
my ($rc, $out, $err) = $node->psql(
	'postgres',
	"\\set VERBOSITY sqlstate\nSELECT narvik_save_session('$id', 'x', now() + interval '1 day')");
like($err, qr/ERROR:\s+23505/, 'an id that was saved before the crash is refused');

is( $node->safe_psql('postgres', q{SELECT count(*) FROM narvik_create_session('late') AS s, narvik_sessions}),
	scalar(split /\n/, $before),
	'a new session can be made');
is( $node->safe_psql('postgres', 'SELECT count(*) = count(DISTINCT seq) FROM narvik_sessions'),
	't', 'and gets a number of its own');

$node->stop;
done_testing();
