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
	CREATE TABLE puts (n int, done boolean);
	CREATE TABLE gone (n int);
	CREATE TABLE promotions (n int, cart boolean, token text);
	CREATE FUNCTION try_save(n int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM narvik_save_session(narvik_session_id('save' || n), 'u', now() + interval '1 day');
		RETURN '00000';
	EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE;
	END $$;
	CREATE FUNCTION put(name text, who text, existing boolean) RETURNS boolean LANGUAGE sql AS $$
		SELECT narvik_put_session(narvik_session_id(name), who, now() + interval '10 days', '{"cart": 1}', existing) $$;
	CREATE FUNCTION try_change(old text, new text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		RETURN narvik_change_session_id(narvik_session_id(old), narvik_session_id(new));
	EXCEPTION WHEN unique_violation THEN RETURN NULL;
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
	CREATE TABLE sliding AS SELECT token, expires_at FROM narvik_create_session('u', '{}', '6 seconds');
});
my $validate = q{
	INSERT INTO answers
	SELECT :client_id, statement_timestamp(), v.extended, v.expires_at
	FROM sliding AS s, narvik_validate_session(s.token) AS v};
run_clients(
	'validation',
	'--time=14',
	'008_read_committed@3' => "$validate;",
	'008_repeatable_read@1' => "BEGIN ISOLATION LEVEL REPEATABLE READ; $validate; COMMIT;");
my $extensions = $node->safe_psql('postgres', 'SELECT count(*) FROM answers WHERE extended');
cmp_ok($extensions, '>=', 3, 'the session was extended again and again');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM (
			SELECT expires_at - lag(expires_at) OVER (ORDER BY expires_at) AS step
			FROM answers WHERE extended) AS s
		WHERE step < interval '3 seconds'}),
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
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM narvik_sessions JOIN generate_series(1, 200) AS i ON id = decode(narvik_session_id('old' || i), 'hex')}),
	'0',
	'all of them are deleted');

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

# -- one id put by all

my $put_new = q{INSERT INTO puts VALUES (:n, put('put' || :n, 'u' || :client_id, false))};
run_clients(
	'putting',
	'--transactions=300',
	'008_put_new@2' => "\\set n random(1, 300)\n$put_new;",
	'008_put_new_rr@1' => "\\set n random(1, 300)\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM puts;\n$put_new;\nCOMMIT;");
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM (SELECT FROM puts GROUP BY n HAVING count(*) FILTER (WHERE done) <> 1) AS wrong}),
	'0',
	'each id was put once as a new one');
is( $node->safe_psql(
		'postgres',
		q{SELECT count(DISTINCT n) - count(DISTINCT f.id) FROM puts LEFT JOIN narvik_fetch_session(narvik_session_id('put' || n)) AS f ON true}
	),
	'0',
	'and none is lost');
run_clients(
	'putting anew',
	'--transactions=400',
	'008_put@2' => q{
	\set n random(1, 2)
	SELECT 1 / put('again' || :n, 'u' || :client_id, NULL)::int;
	},
	'008_put_rr@2' => q{
	\set n random(1, 2)
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT count(*) FROM puts;
	SELECT 1 / put('again' || :n, 'u' || :client_id, NULL)::int;
	COMMIT;
	},
	'008_out@2' => q{
	\set n random(1, 2)
	SELECT narvik_invalidate_session(narvik_session_id('again' || :n));
	});

# -- what is logged out stays it

$node->safe_psql('postgres', q{SELECT put('out' || n, 'u', NULL) FROM generate_series(1, 400) AS n; TRUNCATE puts});
my $put_existing = "INSERT INTO puts VALUES (:n, put('out' || :n, 'u', true))";
run_clients(
	'saving after a request',
	'--transactions=200 --max-tries=100',
	'008_log_out@2' => q{
	\set n random(1, 200)
	BEGIN;
	SELECT narvik_invalidate_session(narvik_session_id('out' || :n));
	INSERT INTO gone VALUES (:n);
	COMMIT;
	},
	map {
		("008_existing_$_\@1" =>
			  "\\set n random(1, 400)\nBEGIN ISOLATION LEVEL @{[ s/_/ /r ]};\nSELECT count(*) FROM puts;\n$put_existing;\nCOMMIT;")
	} 'read_committed',
	'repeatable_read',
	'serializable');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM gone, narvik_fetch_session(narvik_session_id('out' || n))}),
	'0', 'nothing that was logged out is back');
is( $node->safe_psql(
		'postgres', q{SELECT count(*) FROM generate_series(201, 400) AS n, narvik_fetch_session(narvik_session_id('out' || n))}),
	'200',
	'and nobody else is gone');
is( $node->safe_psql('postgres', q{SELECT DISTINCT done FROM puts WHERE n <= 200 ORDER BY 1}),
	"f\nt", 'though both came first');

# -- one guest promoted by all

$node->safe_psql('postgres', q{SELECT put('guest' || n, NULL, NULL) FROM generate_series(1, 100) AS n});
my $promote = q{INSERT INTO promotions SELECT :n, data ? 'cart', token FROM narvik_promote_session('guest' || :n, 'u' || :client_id)};
run_clients(
	'promotion',
	'--transactions=200',
	'008_promote@2' => "\\set n random(1, 100)\n$promote;",
	'008_promote_rr@1' => "\\set n random(1, 100)\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM puts;\n$promote;\nCOMMIT;");
is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM promotions WHERE cart'),
	'100|100', q{each guest's data went to one log-in});
is( $node->safe_psql('postgres', 'SELECT count(*) FROM promotions AS p WHERE NOT EXISTS (SELECT FROM narvik_validate_session(p.token))'),
	'0', 'everybody is logged in');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 100) AS n, narvik_validate_session('guest' || n)}),
	'0', q{and no guest's token is});

# -- ids changed for each other

$node->safe_psql('postgres', q{SELECT put('id' || n, 'owner' || n, NULL) FROM generate_series(1, 4) AS n});
run_clients(
	'changing ids',
	'--transactions=400',
	'008_change@1' => q{
	\set old random(1, 6)
	\set new random(1, 6)
	SELECT try_change('id' || :old, 'id' || :new);
	});
is( $node->safe_psql(
		'postgres',
		q{SELECT string_agg(f.user_id, ' ' ORDER BY f.user_id) FROM generate_series(1, 6) AS n, narvik_fetch_session(narvik_session_id('id' || n)) AS f}
	),
	'owner1 owner2 owner3 owner4',
	'each session has one of the ids');

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

# -- ids put for one user and another, with a limit

run_clients(
	'changing users',
	'--transactions=400',
	'008_put_limited@2' => q{
	\set n random(1, 4)
	\set u random(1, 3)
	SELECT put('shared' || :n, 'sharer' || :u, NULL);
	},
	'008_save_limited@1' => q{
	\set n random(1, 4)
	\set u random(1, 3)
	SELECT narvik_put_session(narvik_session_id('shared' || :n), 'sharer' || :u, now() - interval '1 second', '{}');
	},
	'008_put_guest_limited@1' => q{
	\set n random(1, 4)
	SELECT put('shared' || :n, NULL, NULL);
	},
	'008_promote_limited@1' => q{
	\set n random(1, 4)
	\set u random(1, 3)
	SELECT count(*) FROM narvik_promote_session('shared' || :n, 'sharer' || :u);
	},
	'008_out_limited@1' => q{
	\set n random(1, 4)
	SELECT narvik_invalidate_session(narvik_session_id('shared' || :n));
	});
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM (SELECT FROM narvik_sessions WHERE user_id LIKE 'sharer%' AND expires_at > now() GROUP BY user_id HAVING count(*) > 3) AS over}
	),
	'0',
	'the limit was kept');

ok( !$node->log_contains('deadlock detected|could not serialize access due to concurrent|terminated by signal'),
	'no deadlock, no serialization failure, no crash');

$node->stop;
done_testing();
