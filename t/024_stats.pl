# The counters of narvik_stats count what their comments say, in each database
# for itself, from the last reset, restart or crash on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my @counters = qw(created validated rejected expired extended invalidated rotated promoted purged purge_runs);
my $node = purging_server('main', 'narvik.purge = off');
add_database($node, $_) foreach 'shop', 'other';

sub counts
{
	my ($database) = @_;
	my %counts;
	@counts{@counters} = split /\|/, purge_stats($node, $database, join(', ', @counters));
	return %counts;
}

# What the statements count, and nothing besides.
sub counts_for
{
	my ($name, $sql, %expected) = @_;
	my %before = counts('shop');
	$node->psql('shop', $sql, on_error_stop => 0);
	my %after = counts('shop');
	my %counted = map { $_ => $after{$_} - $before{$_} } grep { $after{$_} != $before{$_} } @counters;
	is_deeply(\%counted, \%expected, $name);
	return;
}

sub save
{
	my ($token, $distance, $user) = @_;
	$user //= 'alice';
	return "SELECT narvik_save_session(narvik_session_id('$token'), '$user', now() + interval '$distance');";
}

is_deeply({ counts('shop') }, { map { $_ => 0 } @counters }, 'all counters begin at zero');

# ---- what is counted --------------------------------------------------------

counts_for('created', q{SELECT narvik_create_session('alice') FROM generate_series(1, 3)}, created => 3);
counts_for('saved', save('fresh', '29 days') . save('due', '10 days') . save('expired', '-1 second'), created => 3);
counts_for('saved twice', save('fresh', '29 days'));
counts_for('not stored', q{SELECT narvik_create_session(''); SELECT narvik_create_session('alice', '[]');});
counts_for(
	'created, one over the limit',
	q{SET narvik.max_sessions_per_user = 1;
	  SELECT narvik_create_session('limited'); SELECT narvik_create_session('limited');},
	created => 2);

counts_for('valid', q{SELECT narvik_validate_session('fresh');}, validated => 1);
counts_for('valid and due', q{SELECT narvik_validate_session('due');}, validated => 1, extended => 1);
counts_for('then it is not', q{SELECT narvik_validate_session('due');}, validated => 1);
counts_for('no such session', q{SELECT narvik_validate_session('unknown');}, rejected => 1);
counts_for(
	'what cannot be a token', q{
	SELECT narvik_validate_session(t)
	FROM (VALUES ('é'), ('two words'), (repeat('x', 1024)), (repeat('x', 1025)), (E'\r\n'), (' ')) AS v (t)},
	rejected => 6);
counts_for(
	'no token at all is not rejected', q{
	SELECT narvik_validate_session(t), narvik_authenticate(t) FROM (VALUES (NULL), ('')) AS v (t)});
counts_for(
	'a request without a cookie is not rejected', q{
	SELECT narvik_authenticate_cookie(h) FROM (VALUES (NULL), (''), ('x=y'), ('narvik_session=')) AS v (h)});
counts_for(
	'a request with several is rejected once', q{SELECT narvik_authenticate_cookie('narvik_session=a b; narvik_session=unknown');},
	rejected => 1);
counts_for(
	'and not if one is valid', q{SELECT narvik_authenticate_cookie('narvik_session=unknown; narvik_session=fresh');},
	validated => 1);
counts_for(
	'it has expired if one has',
	save('old', '-1 second') . q{SELECT narvik_authenticate_cookie('narvik_session=old; narvik_session=unknown');},
	created => 1, expired => 1);
counts_for('expired', q{SELECT narvik_validate_session('expired');}, expired => 1);
counts_for('then there is no row any more', q{SELECT narvik_validate_session('expired');}, rejected => 1);
counts_for(
	'past narvik.session_max_age',
	save('aged', '29 days', 'aged') . q{
	UPDATE narvik_sessions SET created_at = now() - interval '2 days' WHERE user_id = 'aged';
	SET narvik.session_max_age = '1d';
	SELECT narvik_validate_session('aged');},
	created => 1, expired => 1);

$node->safe_psql('shop', save('due again', '10 days') . save('expired again', '-1 second'));
counts_for(
	'in a read-only transaction nothing is extended or deleted', q{
	BEGIN READ ONLY;
	SELECT narvik_validate_session('due again'), narvik_validate_session('due again');
	SELECT narvik_validate_session('expired again'), narvik_validate_session('expired again');
	SELECT narvik_validate_session('unknown');
	COMMIT},
	validated => 2, expired => 2, rejected => 1);

my $locker = $node->background_psql('shop');
$locker->query_safe('BEGIN; SELECT FROM narvik_sessions FOR UPDATE');
counts_for('a locked session is not extended', q{SELECT narvik_validate_session('due again');}, validated => 1);
$locker->query_safe('ROLLBACK');
$locker->quit;

counts_for('rotated', q{SELECT narvik_rotate_session('fresh');}, rotated => 1);
counts_for(
	'the old token is unknown',
	q{SELECT narvik_rotate_session('fresh'); SELECT narvik_validate_session('fresh'); SELECT narvik_rotate_session('');},
	rejected => 1);

counts_for(
	'invalidated', save('a', '1 day') . q{SELECT narvik_invalidate_session(narvik_session_id('a'));},
	created => 1, invalidated => 1);
counts_for(
	'deleted', save('a', '1 day') . q{SELECT narvik_delete_session(narvik_session_id('a'));},
	created => 1, invalidated => 1);
counts_for(
	'nothing to invalidate', q{
	SELECT narvik_invalidate_session(narvik_session_id('a')), narvik_delete_session(narvik_session_id('a')),
		   narvik_invalidate_session('no id'), narvik_delete_session(NULL), narvik_delete_sessions_for_user('nobody')});
counts_for(
	'deleted by user',
	save('a', '1 day', 'bob')
	  . save('b', '1 day', 'bob')
	  . save('c', '1 day', 'bob')
	  . q{SELECT narvik_delete_sessions_for_user('bob', narvik_session_id('b'));},
	created => 3, invalidated => 2);

counts_for(
	'deleted after it expired',
	save('k', '-1 second', 'carol')
	  . save('l', '-1 second', 'carol')
	  . save('m', '-1 second', 'carol')
	  . q{SELECT narvik_invalidate_session(narvik_session_id('k'));
		  SELECT narvik_delete_session(narvik_session_id('l'));
		  SELECT narvik_delete_sessions_for_user('carol');},
	created => 3, invalidated => 3);

my $put = q{SELECT narvik_put_session(narvik_session_id('g'), %s, now() + interval '1 day', '{}');};
counts_for(
	'a guest who becomes a user, by promote or by put',
	q{SELECT count(narvik_promote_session(token, 'dave')) FROM narvik_create_guest_session();}
	  . sprintf("$put $put $put $put", 'NULL', 'NULL', "'dave'", "'dave'"),
	created => 2, promoted => 2);
counts_for(
	'promoted with the token of a session',
	save('u', '1 day') . q{SELECT count(narvik_promote_session('u', 'dave'));},
	created => 2, invalidated => 1);
counts_for(
	'... that had expired',
	save('u', '-1 second') . q{SELECT count(narvik_promote_session('u', 'dave'));},
	created => 2);

counts_for(
	'what does none of it', q{
	SELECT narvik_fetch_session(narvik_session_id('b')), narvik_fetch_sessions_for_user('bob'),
		   narvik_update_session_data(narvik_session_id('b'), '{"a": 1}'),
		   narvik_update_session_expiry(narvik_session_id('b'), now() + interval '1 hour'),
		   narvik_generate_token(), narvik_create_cookie('a');});

counts_for(
	'what a transaction did that was rolled back',
	'BEGIN;' . save('x', '10 days') . q{SELECT narvik_validate_session('x'); ROLLBACK},
	created => 1, validated => 1, extended => 1);

$node->safe_psql('shop', 'DELETE FROM narvik_sessions');
counts_for(
		'purged by hand', save('x', '-1 day')
	  . save('y', '-1 day')
	  . save('z', '1 day')
	  . 'SELECT narvik_delete_all_expired_sessions(); SELECT narvik_delete_all_expired_sessions();',
	created => 3, purged => 2);

# ---- the worker's part ------------------------------------------------------

is( purge_stats($node, 'shop', 'last_purge_at, last_purge_rows, last_purge_ms, last_purge_error'),
	'|||"narvik.purge" is off', 'as long as no worker came nothing is known of one, and the view says why');
save_expired($node, 'shop', 5);
my %before = counts('shop');
my $since = $node->safe_psql('shop', 'SELECT clock_timestamp()');
set_by_reload($node, 'narvik.purge_interval = 1h', 'narvik.purge = on');
$node->poll_query_until('shop', 'SELECT purge_runs > 0 FROM narvik_stats') or die 'no visit';
is( purge_stats(
		$node, 'shop', "last_purge_rows, last_purge_ms BETWEEN 0 AND 1000 * extract(epoch FROM clock_timestamp() - '$since'),
		last_purge_error IS NULL, last_purge_at BETWEEN '$since' AND clock_timestamp()"),
	'5|t|t|t',
	'a visit: rows, milliseconds, when, no error');
my %after = counts('shop');
is($after{purged} - $before{purged}, 5, 'what the worker purged is counted');
is($after{purge_runs} - $before{purge_runs}, 1, 'and the visit');
$node->poll_query_until('other', 'SELECT purge_runs = 1 FROM narvik_stats') or die 'no visit';
is_deeply(
	{ counts('other') }, { (map { $_ => 0 } @counters), purge_runs => 1 },
	'another database has counters of its own');

# A message that is too long is cut, between two characters.
$node->safe_psql('postgres', q{CREATE DATABASE words TEMPLATE template0 ENCODING 'UTF8'});
$node->safe_psql(
	'words', q{
	SET client_min_messages = warning;
	CREATE EXTENSION narvik CASCADE;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION '%', repeat(chr(228), 300);
	END $$;
	CREATE TRIGGER refuse BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION refuse()});
save_expired($node, 'words', 1);
$node->reload;
$node->poll_query_until('words', 'SELECT last_purge_error IS NOT NULL FROM narvik_stats') or die 'no visit';
my ($failed, $message, $error) = $node->psql('words', q{SET client_encoding = 'LATIN1'; SELECT last_purge_error FROM narvik_stats});
is($error, '', 'a message that was cut can be read under another client encoding');
my ($cut) = $message =~ /^session with seq 1 could not be purged: (\xe4+)$/;
cmp_ok(length($message) + length($cut), '>=', 254, 'it has as many whole characters as there is room for');

# ---- adding up --------------------------------------------------------------

set_by_reload($node, 'narvik.purge = off');
$node->safe_psql('shop', save('valid', '29 days'));
%before = counts('shop');
$node->pgbench(
	'--no-vacuum --client=6 --jobs=2 --transactions=500', 0, [qr/3000\/3000/], [qr/^(?!.*ERROR)/s],
	'six connections at once',
	{   '024_count' => q{
		SELECT narvik_validate_session('valid');
		SELECT narvik_validate_session('unknown');
		SELECT narvik_create_session('alice');
	} },
	'shop');
%after = counts('shop');
is_deeply(
	[ map { $after{$_} - $before{$_} } 'validated', 'rejected', 'created' ],
	[ 3000, 3000, 3000 ], 'what they count adds up');

# ---- who may ----------------------------------------------------------------

$node->safe_psql(
	'shop', q{
	CREATE ROLE stranger;
	CREATE ROLE monitor IN ROLE pg_read_all_stats;
	CREATE ROLE landlord;
	ALTER FUNCTION narvik_reset_stats() OWNER TO landlord;
});
my %may = (
	stranger => [ 'no', 'no', 'no' ],
	monitor => [ 'yes', 'yes', 'no' ],
	landlord => [ 'no', 'no', 'yes' ],
	postgres => [ 'yes', 'yes', 'yes' ]);
foreach my $role (sort keys %may)
{
	my @may;
	foreach my $from ('narvik_stats', 'narvik_stats()', 'narvik_reset_stats()')
	{
		my ($rc, $out, $err) = $node->psql('shop', "SET ROLE $role; SELECT count(*) FROM $from");
		push @may, $err eq '' && $out eq '1' ? 'yes' : $err =~ /permission denied/ ? 'no' : "$out $err";
	}
	is_deeply(\@may, $may{$role}, "view, function and reset: $role");
}

# ---- back to zero -----------------------------------------------------------

$node->safe_psql('shop', q{SELECT narvik_create_session('alice')});
$node->safe_psql('other', q{SELECT narvik_create_session('alice')});
my $other = purge_stats($node, 'other', '*');
$since = $node->safe_psql('shop', 'SELECT narvik_reset_stats(); SELECT clock_timestamp()');
$since =~ s/^\s+//;
is_deeply({ counts('shop') }, { map { $_ => 0 } @counters }, 'a reset makes all counters zero');
is( purge_stats(
		$node, 'shop',
		"last_purge_at IS NULL, last_purge_rows IS NULL, last_purge_ms IS NULL, '$since' - stats_reset BETWEEN '0' AND '5 seconds'"),
	't|t|t|t',
	'and says when');
is(purge_stats($node, 'other', '*'), $other, 'in this database only');

my $reset = purge_stats($node, 'other', 'stats_reset');
$node->stop('immediate');
$node->start;
is_deeply({ counts('other') }, { map { $_ => 0 } @counters }, 'a crash makes all counters zero');
is(purge_stats($node, 'other', "stats_reset > '$reset'"), 't', 'and they say since when');

$node->safe_psql('other', q{SELECT narvik_create_session('alice')});
$node->safe_psql('postgres', 'DROP DATABASE other');
add_database($node, 'other');
is_deeply(
	{ counts('other') }, { map { $_ => 0 } @counters },
	'a new database of the same name begins at zero');

# ---- without preloading -----------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my ($rc, $out, $err) = $node->psql('shop', 'SELECT * FROM narvik_stats');
is("$rc$out", '0', 'without preloading there is no row');
like(
	$err, qr/^\S+ NOTICE:  nothing is counted because narvik is not in "shared_preload_libraries"$/,
	'and a notice tells why');
is( $node->safe_psql(
		'shop', q{
		SELECT narvik_reset_stats();
		SELECT count(v.id) FROM narvik_create_session('alice') AS c, narvik_validate_session(c.token) AS v}),
	"\n1",
	'everything else works');

$node->stop;
done_testing();
