# Many connections at once on the same few sessions: what holds for two of them
# step by step (specs/) holds for eight at full speed.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE answers (client int, at timestamptz, extended boolean, expires_at timestamptz);
	CREATE TABLE saves (id int, sqlstate text);
	CREATE TABLE rotations (n int, token text);
	CREATE TABLE keys (key text);
	CREATE FUNCTION try_save(n int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM narvik_save_session(narvik_session_id('save' || n), 'u', now() + interval '1 day');
		RETURN '00000';
	EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE;
	END $$;
});

# A pgbench client that meets an error stops and pgbench fails, but for deadlocks
# and serialization failures, which it counts.
sub run_clients
{
	my ($name, $options, %scripts) = @_;
	$node->pgbench(
		"--no-vacuum --client=8 --jobs=2 $options",
		0, [qr/^number of failed transactions: 0 /m],
		[qr/^(?!.*(?:ERROR|aborted))/s], "$name: no connection met an error", \%scripts);
	return;
}

# -- one extension for each time the session becomes due

$node->safe_psql(
	'postgres', q{
	CREATE TABLE sliding AS SELECT token, expires_at FROM narvik_create_session('u', '{}', '3 seconds');
});
my $validate = q{
	INSERT INTO answers
	SELECT :client_id, statement_timestamp(), v.extended, v.expires_at
	FROM sliding AS s, narvik_validate_session(s.token) AS v};
run_clients(
	'validation',
	'--time=8',
	'008_read_committed@3' => "$validate;",
	'008_repeatable_read@1' => "BEGIN ISOLATION LEVEL REPEATABLE READ; $validate; COMMIT;");
my $extensions = $node->safe_psql('postgres', 'SELECT count(*) FROM answers WHERE extended');
cmp_ok($extensions, '>=', 3, 'the session was extended again and again');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM (
			SELECT expires_at - lag(expires_at) OVER (ORDER BY expires_at) AS step
			FROM answers WHERE extended) AS s
		WHERE step < interval '1.5 seconds'}),
	'0',
	'never twice for the same half life');
is( $node->safe_psql(
		'postgres', q{
		SELECT (SELECT max(expires_at) FROM answers WHERE extended)
			   = (SELECT f.expires_at FROM sliding, narvik_fetch_session(narvik_session_id(token)) AS f)}),
	't',
	'the last extension is what is stored');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM (
			SELECT expires_at FROM answers WHERE NOT extended
			EXCEPT SELECT expires_at FROM answers WHERE extended
			EXCEPT SELECT expires_at FROM sliding) AS made_up}),
	'0',
	'no answer shows an expiry that never was');
is( $node->safe_psql('postgres', 'SELECT count(*) FROM answers WHERE at >= expires_at'),
	'0', 'no answer is an expired session');

# -- expired sessions, deleted by whoever comes first

$node->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('old' || i), 'u', now() - interval '1 second')
	FROM generate_series(1, 200) AS i});
run_clients(
	'expired sessions',
	'--transactions=200',
	'008_expired' => q{
	\set n random(1, 200)
	SELECT 1 / (count(*) = 0)::int FROM narvik_validate_session('old' || :n);
	});
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM generate_series(1, 200) AS i, narvik_validate_session('old' || i)}),
	'0',
	'none of them is valid');
is( $node->safe_psql('postgres', 'SELECT count(*) FROM narvik_sessions WHERE expires_at < now() - interval \'10 minutes\''),
	'0', 'all of them are deleted');

# -- one id saved by all

run_clients(
	'saving',
	'--transactions=300',
	'008_save' => q{
	\set n random(1, 300)
	INSERT INTO saves VALUES (:n, try_save(:n));
	});
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM (SELECT FROM saves GROUP BY id
							  HAVING count(*) FILTER (WHERE sqlstate = '00000') <> 1) AS wrong}),
	'0',
	'each id was saved once');
is( $node->safe_psql('postgres', q{SELECT DISTINCT sqlstate FROM saves ORDER BY 1}),
	"00000\n23505", 'every other save was a unique_violation');
is( $node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT id) FROM narvik_sessions'),
	'0', 'and there is one row for each id');

# -- one token rotated by all

$node->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('turn' || i), 'u', now() + interval '29 days')
	FROM generate_series(1, 100) AS i});
run_clients(
	'rotation',
	'--transactions=200',
	'008_rotate' => q{
	\set n random(1, 100)
	INSERT INTO rotations SELECT :n, token FROM narvik_rotate_session('turn' || :n);
	});
is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM rotations'),
	'100|100', 'each token was rotated once');
is( $node->safe_psql('postgres', 'SELECT count(v.id) FROM rotations AS r, narvik_validate_session(r.token) AS v'),
	'100', 'every new token is valid');

# -- data merged by all

$node->safe_psql(
	'postgres',
	q{SELECT narvik_save_session(narvik_session_id('shared'), 'u', now() + interval '10 days')});
run_clients(
	'data',
	'--transactions=100',
	'008_data@4' => q{
	\set n random(1, 50)
	BEGIN;
	INSERT INTO keys VALUES (:client_id || '_' || :n);
	SELECT narvik_update_session_data(narvik_session_id('shared'),
									  jsonb_build_object(:client_id || '_' || :n, :n));
	COMMIT;
	},
	'008_slide@1' => q{SELECT * FROM narvik_validate_session('shared');});
is( $node->safe_psql(
		'postgres', q{
		SELECT array_agg(k ORDER BY k) = (SELECT array_agg(DISTINCT key ORDER BY key) FROM keys)
		FROM narvik_fetch_session(narvik_session_id('shared')) AS f, jsonb_object_keys(f.data) AS k}),
	't',
	'no key was lost and none made up');
# -- one user logging in everywhere

$node->safe_psql('postgres', 'ALTER DATABASE postgres SET narvik.max_sessions_per_user = 3');
run_clients(
	'logging in',
	'--transactions=100',
	'008_login@3' => q{SELECT narvik_create_session('busy');},
	'008_login_rr@1' => q{
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) FROM narvik_fetch_sessions_for_user('busy');
	SELECT narvik_create_session('busy');
	COMMIT;
	},
	'008_look@1' => q{
	SELECT 1 / (count(*) <= 3)::int FROM narvik_fetch_sessions_for_user('busy');
	});
is( $node->safe_psql('postgres', q{SELECT count(*) FROM narvik_sessions WHERE user_id = 'busy'}),
	'3', 'the limit was kept');

ok( !$node->log_contains('deadlock detected|could not serialize|terminated by signal'),
	'no deadlock, no serialization failure, no crash');

$node->stop;
done_testing();
