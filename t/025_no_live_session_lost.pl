# No purge takes a live session.  Clients create, extend, put and validate
# sessions while the worker purges in small batches, and write down each session
# that should be valid and is not: also while the table is rewritten under the
# worker, and while batches fail.  That they would notice one is seen, too.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server('main', 'narvik.purge_batch_size = 10', "narvik.session_expires_in = '4s'");
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE SEQUENCE n;
	CREATE SEQUENCE pairs;
	CREATE TABLE known (n bigint PRIMARY KEY, token text, expires_at timestamptz);
	CREATE TABLE answers (there boolean);
	CREATE TABLE lost (token text);
});
# Work for the worker all the time.
save_expired($node, 'postgres', 50000);

# An expiry is only ever moved forward, so a session is valid at least until the
# expiry that is known of it.
my %scripts = (
	'025_create@2' => q{
	INSERT INTO known SELECT nextval('n'), token, expires_at FROM narvik_create_session('live');
	},
	'025_create_long@1' => q{
	INSERT INTO known SELECT nextval('n'), token, expires_at FROM narvik_create_session('live', '{}', '1 hour');
	},
	'025_validate@10' => q{
	SELECT last_value AS last FROM n \gset
	\set k random(greatest(1, :last - 300), :last)
	INSERT INTO lost SELECT token FROM known
	WHERE n = :k AND expires_at > statement_timestamp()
		  AND NOT EXISTS (SELECT FROM narvik_validate_session(token));
	},
	'025_extend@2' => q{
	SELECT last_value AS last FROM n \gset
	\set k random(greatest(1, :last - 300), :last)
	UPDATE known SET expires_at = greatest(known.expires_at, v.expires_at)
	FROM (SELECT k.n, v.expires_at FROM known AS k, narvik_validate_session(k.token) AS v WHERE k.n = :k) AS v
	WHERE known.n = v.n;
	},
	# Saved by one client, expired, and put by another some tenths of a second later.
	# The worker may be there before; either way it lives, and whoever put it may rely
	# on that.
	'025_put@5' => q{
	SELECT 2 * nextval('pairs') AS new \gset
	\set a greatest(0, :new - 2 * 200)
	SELECT narvik_save_session(narvik_session_id('put' || t), 'expired', now() - interval '3 days')
	FROM unnest(ARRAY[:new, :new + 1]) AS t;
	BEGIN;
	INSERT INTO answers SELECT EXISTS (SELECT FROM narvik_fetch_session(narvik_session_id('put' || t)))
	FROM unnest(ARRAY[:a, :a + 1]) AS t WHERE :a > 0;
	SELECT narvik_put_session(narvik_session_id('put' || :a), 'put', now() + interval '1 hour', '{}');
	\sleep 1 ms
	SELECT narvik_put_session(narvik_session_id('put' || :a + 1), 'put', now() + interval '1 hour', '{}');
	INSERT INTO known SELECT nextval('n'), 'put' || t, now() + interval '1 hour' FROM unnest(ARRAY[:a, :a + 1]) AS t;
	COMMIT;
	});

# How many sessions the clients, or a look at all of them at the end, found lost.
sub lost_after
{
	my ($name, $seconds, %others) = @_;
	my %all = (%scripts, %others);
	$node->safe_psql('postgres', 'TRUNCATE lost');
	$node->pgbench(
		"--no-vacuum --client=8 --jobs=2 --time=$seconds",
		0, [qr/number of transactions actually processed/], [qr/^(?!.*(?:ERROR|aborted))/s],
		"$name: no client met an error", { map { s/025/025_$name/r => $all{$_} } keys %all });
	return $node->safe_psql(
		'postgres', q{
		INSERT INTO lost SELECT token FROM known
		WHERE expires_at > statement_timestamp() AND NOT EXISTS (SELECT FROM narvik_validate_session(token));
		SELECT count(DISTINCT token) FROM lost});
}

# On a busy machine there is less of everything in so many seconds: again, until there
# was enough for a check.
sub none_is_lost
{
	my ($what, $name, $seconds, $enough, %others) = @_;
	foreach my $run (1 .. 10)
	{
		is(lost_after("$name$run", $seconds, %others), '0', $what);
		return if $enough->();
	}
	return;
}

# ---- the check --------------------------------------------------------------

my $purged = purge_stats($node, 'postgres', 'purged');
my ($put, $put_anew, $ended, $extended, $gone);
my $met = sub {
	($put, $put_anew, $ended, $extended, $gone) = split /\|/, $node->safe_psql(
		'postgres', q{
		SELECT (SELECT count(*) FROM answers WHERE there), (SELECT count(*) FROM answers WHERE NOT there),
			   (SELECT count(*) FROM known WHERE expires_at < now()), extended, purged FROM narvik_stats});
	return $put > 10 && $put_anew > 10 && $ended > 100 && $extended > 10 && $gone - $purged > 1000;
};
none_is_lost('no live session was lost', 'check', 5, $met);

# ---- it was one -------------------------------------------------------------

cmp_ok($gone - $purged, '>', 1000, 'while many were purged');
cmp_ok($put, '>', 10, 'expired sessions were put');
cmp_ok($put_anew, '>', 10, 'and others after they were purged');
cmp_ok($ended, '>', 100, 'live sessions ended meanwhile');
cmp_ok($extended, '>', 10, 'and were extended');

# ---- with whatever makes the purge harder --------------------------------------

# Rows that cannot be deleted are among the others, so batches are divided.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE refers (seq bigint REFERENCES narvik_sessions (seq));
	WITH saved AS (SELECT narvik_save_session(narvik_session_id('stuck' || i), 'stuck', now() - interval '1 hour' * (1 + i % 5))
				   FROM generate_series(1, 20) AS i)
	SELECT count(*) FROM saved});
$node->safe_psql('postgres', q{INSERT INTO refers SELECT seq FROM narvik_sessions WHERE user_id = 'stuck'});
save_expired($node, 'postgres', 50000);
$purged = purge_stats($node, 'postgres', 'purged');
my $file = $node->safe_psql('postgres', q{SELECT pg_relation_filenode('narvik_sessions')});
none_is_lost(
	'no live session was lost while the table was rewritten and batches failed',
	'changed', 8,
	sub { return purge_stats($node, 'postgres', 'purged') - $purged > 1000 },
	'025_rewrite@1' => "VACUUM FULL narvik_sessions;\n\\sleep 100 ms\n");
cmp_ok(purge_stats($node, 'postgres', 'purged') - $purged, '>', 1000, 'while many were purged');
isnt($node->safe_psql('postgres', q{SELECT pg_relation_filenode('narvik_sessions')}), $file, 'it was rewritten');
wait_for_visits($node, 'postgres', 2);
like(
	stats_between_visits($node, 'postgres', 'last_purge_error'),
	qr/^20 sessions could not be purged, .* "refers_seq_fkey"/, 'and they did, each counted once');

# A purge gone wrong: it takes three live sessions.
$node->safe_psql(
	'postgres', q{
	DELETE FROM narvik_sessions WHERE id IN (
		SELECT decode(narvik_session_id(token), 'hex') FROM known
		WHERE expires_at > now() + interval '30 minutes' ORDER BY n DESC LIMIT 3)});
is(lost_after('planted', 1), '3', 'three sessions taken on purpose are found lost');

$node->stop;
done_testing();
