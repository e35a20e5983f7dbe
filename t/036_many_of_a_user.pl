# One statement may meet any number of users and of sessions: locks are bounded,
# and memory does not grow.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_buffers = 8MB\nfsync = off\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');

# ---- locks ----------------------------------------------------------------------

my ($rc, $out, $err) = $node->psql(
	'postgres', q{
	SET narvik.max_sessions_per_user = 1;
	BEGIN;
	SELECT count(*) FROM generate_series(1, 14000) AS n, narvik_create_session('user ' || n % 7000);
	SELECT count(*) < 1100 FROM pg_locks;
	COMMIT;
	SELECT count(*) FROM narvik_sessions});
is($out, "14000\nt\n7000", 'users whose sessions are limited, in one statement');
is($err, '', 'without an error');
$node->safe_psql('postgres', 'TRUNCATE narvik_sessions');

# ---- memory ---------------------------------------------------------------------

my $sessions = 100_000;
my $data = q{jsonb_build_object('name', repeat('x', 1000))};
$node->safe_psql(
	'postgres', qq{
	INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
	SELECT int8send(i) || int8send(0) || int8send(0) || int8send(0), 'alice', h - i * interval '1 second', h + interval '1 day', true, $data, extract(epoch FROM h + interval '1 day') / 3600
	FROM date_trunc('hour', now(), 'UTC') AS h, generate_series(1, $sessions) AS i;
	ANALYZE narvik_sessions});

# The most memory, in MB, that a connection had in these statements, and what the last
# of them answered.
sub memory_of
{
	my (@statements) = @_;
	my $psql = $node->background_psql('postgres');
	my $pid = $psql->query_safe('SELECT pg_backend_pid()');
	my $answer;
	$answer = $psql->query_safe($_) foreach @statements;
	my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB$/m;
	$psql->quit;
	return ($peak / 1024, $answer);
}

my $list = q{SELECT count(*), count(data) FROM narvik_fetch_sessions_for_user('alice')};
my ($little) = memory_of(q{SELECT count(*), count(data) FROM narvik_fetch_sessions_for_user('bob')});
my ($peak, $answer) = memory_of($list);
is($answer, "$sessions|$sessions", 'all sessions of a user who has many are listed');
cmp_ok($peak, '<', $little + 40, 'their number does not count in memory: ' . int($peak) . " MB, $little MB for none");
($peak, $answer) = memory_of(q{SELECT narvik_delete_sessions_for_user('alice')});
is($answer, $sessions, 'and ended');
cmp_ok($peak, '<', $little + 40, 'nor does it there: ' . int($peak) . ' MB');

$node->stop;
done_testing();
