# pg_dump carries the sessions: after a restore the same tokens are valid, with
# the same data and flags, the same roles may call, and new sessions can be made.  A
# server that purges can be restored into.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = PostgreSQL::Test::Cluster->new('source');
$source->init;
$source->start;

# Restored into: the same cluster, and one that has never seen narvik.
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;

$_->safe_psql('postgres', 'CREATE ROLE app LOGIN') for ($source, $other);

# One database with everything in public, one with narvik and pgcrypto in
# schemas of their own.
$source->safe_psql('postgres', 'CREATE DATABASE plain_schema');
$source->safe_psql('plain_schema', 'CREATE EXTENSION narvik CASCADE');
$source->safe_psql('postgres', 'CREATE DATABASE own_schema');
$source->safe_psql(
	'own_schema', q{
	CREATE SCHEMA crypto; CREATE EXTENSION pgcrypto SCHEMA crypto;
	CREATE SCHEMA auth; CREATE EXTENSION narvik SCHEMA auth;
	GRANT USAGE ON SCHEMA auth TO app;
	ALTER DATABASE own_schema SET search_path = auth, public;
});

# Every column as it stands in the table.
my $all_rows = q{
	SELECT s.*, round(extract(epoch FROM expires_at - created_at))
	FROM narvik_sessions AS s ORDER BY seq};

my $all_events = 'SELECT * FROM narvik_events ORDER BY seq';

# Who may call what; the app role's grants are what a restore could lose.
my $all_grants = q{
	SELECT p.proname, a.grantee::regrole, a.privilege_type
	FROM pg_proc AS p
	JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
		 AND d.deptype = 'e'
	JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'narvik'
	CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	ORDER BY p.oid::regprocedure::text, a.grantee::regrole::text};

sub make_sessions
{
	my ($db) = @_;

	$source->safe_psql(
		$db, q{
		GRANT EXECUTE ON FUNCTION narvik_validate_session(text),
			narvik_create_session(text, jsonb, interval, boolean, interval) TO app;
	});
	return split /\n/, $source->safe_psql(
		$db, q{
		SET narvik.events = on;
		SET narvik.event_claims = 'cart';
		SELECT (narvik_create_session('alice', '{"cart": [1, 2], "name": "Ålice"}')).token;
		SELECT (narvik_create_session('bob', '{}', '2 hours', false)).token;
		SELECT (narvik_create_session('carol', expires_in => '1 month 3 days')).token;
		SELECT (narvik_create_session('dave', jsonb_build_object('big', repeat('x', 100000)))).token;
		SELECT token FROM narvik_create_session('gina') \gset
		SET narvik.rotation_grace = '1h';
		SELECT token FROM narvik_rotate_session(:'token');
		SELECT token FROM narvik_create_session('hana') \gset
		SELECT token FROM narvik_reauthenticate_session(:'token', '{"cart": [3]}');
		UPDATE narvik_sessions SET active_at = now() + interval '1 second' WHERE user_id = 'alice';
		SELECT FROM narvik_delete_sessions_for_user('nobody');
		DO $$ BEGIN
			PERFORM narvik_save_session(narvik_session_id('expired'), 'erin', now() - interval '1 day');
		END $$;
	});
}

# What validation answers, times included: none of these sessions is due.
my $describe = q{SELECT user_id, data, new, extended, created_at, expires_at
	FROM narvik_validate_session('%s')};

sub check_restored
{
	my ($db, $node, $restored, $how, @tokens) = @_;

	is( $node->safe_psql($restored, $all_rows),
		$source->safe_psql($db, $all_rows),
		"$how: every row is back, column by column");
	is( $node->safe_psql($restored, $all_events),
		$source->safe_psql($db, $all_events),
		"$how: and every event");
	is( $node->safe_psql($restored, $all_grants),
		$source->safe_psql($db, $all_grants),
		"$how: the same roles may call the same functions");
	foreach my $token (@tokens)
	{
		my $answer = $node->safe_psql($restored, sprintf($describe, $token));
		isnt($answer, '', "$how: a token is valid");
		is( $answer, $source->safe_psql($db, sprintf($describe, $token)),
			"$how: its session has the same user, data and times");
	}
	is( $node->safe_psql($restored, q{SELECT count(*) FROM narvik_validate_session('expired')}),
		'0',
		"$how: an expired session stays expired");

	# As the application would, with the grants that were restored.
	my $app = $node->connstr($restored) . ' user=app';
	is( $node->safe_psql(
			$restored,
			"SELECT user_id FROM narvik_validate_session('$tokens[0]')",
			connstr => $app),
		'alice',
		"$how: the application role validates");
	my ($rc, $out, $err) = $node->psql(
		$restored,
		q{SELECT count((narvik_create_session('frank')).token) FROM generate_series(1, 3)},
		connstr => $app);
	is("$out$err", '3', "$how: the application role logs somebody in");
	is( $node->safe_psql(
			$restored, q{
			SELECT count(DISTINCT seq) = count(*)
				   AND min(seq) FILTER (WHERE user_id = 'frank')
					   > max(seq) FILTER (WHERE user_id <> 'frank')
			FROM narvik_sessions}),
		't',
		"$how: the numbering goes on where it stood");
	is( $node->safe_psql(
			$restored, q{
			SET narvik.events = on;
			SELECT count(narvik_create_session('ivan'));
			SELECT min(seq) FILTER (WHERE user_id = 'ivan') > max(seq) FILTER (WHERE user_id <> 'ivan') FROM narvik_events}),
		"1\nt",
		"$how: that of the events, too");
	is( $node->psql(
			$restored, 'TABLE narvik_sessions', connstr => $app,
			stderr => \my $ignored),
		3,
		"$how: the application role still cannot read the table");
	return;
}

foreach my $db ('plain_schema', 'own_schema')
{
	my @tokens = make_sessions($db);
	is(scalar @tokens, 6, "$db: sessions made");

	my $dir = PostgreSQL::Test::Utils::tempdir();
	$source->command_ok(
		[ 'pg_dump', '-d', $source->connstr($db), '--create', '-f', "$dir/create.sql" ],
		"$db: pg_dump --create");
	$source->command_ok(
		[ 'pg_dump', '-d', $source->connstr($db), '-f', "$dir/plain.sql" ],
		"$db: pg_dump");
	$source->command_ok(
		[ 'pg_dump', '-d', $source->connstr($db), '--column-inserts', '-f', "$dir/inserts.sql" ],
		"$db: pg_dump --column-inserts");
	$source->command_ok(
		[ 'pg_dump', '-d', $source->connstr($db), '-Fc', '-f', "$dir/custom" ],
		"$db: pg_dump -Fc");

	foreach my $node ($source, $other)
	{
		foreach my $format ('plain.sql', 'inserts.sql', 'custom')
		{
			my $restored = "${db}_" . ($format =~ s/\W/_/r);
			my $how = join(' ', $db, $format, 'into', $node->name);
			my @restore =
			  $format eq 'custom'
			  ? ('pg_restore', '--exit-on-error', '-d')
			  : ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$format", '-d');

			$node->safe_psql('postgres', "CREATE DATABASE $restored TEMPLATE template0");
			$node->safe_psql(
				'postgres',
				"ALTER DATABASE $restored SET search_path = auth, public");
			$node->command_ok(
				[   @restore, $node->connstr($restored),
					$format eq 'custom' ? "$dir/custom" : () ],
				"$how: restored without an error");
			check_restored($db, $node, $restored, $how, @tokens);
		}
	}

	# With the database and its settings, as a move to another server is done.
	$other->command_ok(
		[   'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $other->connstr('postgres'),
			'-f', "$dir/create.sql" ],
		"$db --create into other: restored without an error");
	check_restored($db, $other, $db, "$db --create into other", @tokens);
}

# ---- into a server that purges ----------------------------------------------

# Between the sessions and the foreign key that refers to them there is time for visits.
my $purging = PostgreSQL::Test::Cluster->new('purging');
$purging->init;
$purging->append_conf('postgresql.conf', join "\n", q{shared_preload_libraries = 'narvik'}, 'narvik.purge_interval = 1s', 'test.nap = 5');
$purging->start;
$source->safe_psql('postgres', 'CREATE DATABASE shop');
$source->safe_psql(
	'shop', q{
	CREATE EXTENSION narvik CASCADE;
	SELECT narvik_save_session(narvik_session_id(i::text), 'gone', now() - interval '1 day') FROM generate_series(1, 50) AS i;
	CREATE TABLE carts (session bigint REFERENCES narvik_sessions ON DELETE CASCADE);
	INSERT INTO carts SELECT seq FROM narvik_sessions;
	CREATE FUNCTION nap() RETURNS boolean LANGUAGE sql AS
		$$ SELECT pg_catalog.pg_sleep(coalesce(pg_catalog.current_setting('test.nap', true), '0')::float8) IS NOT NULL $$;
	CREATE TABLE slow (i integer CHECK (nap()));
	INSERT INTO slow VALUES (1)});
my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop';
$source->command_ok([ 'pg_dump', '-d', $source->connstr('shop'), '-Fc', '-f', $dump ], 'shop: pg_dump');

my $purged = q{SELECT count(*) = 0 FROM narvik_sessions UNION SELECT count(*) = 0 FROM carts};
$purging->safe_psql('postgres', 'CREATE DATABASE atomic TEMPLATE template0');
$purging->command_ok(
	[ 'pg_restore', '--single-transaction', '-d', $purging->connstr('atomic'), $dump ],
	'shop in one transaction: restored without an error');
ok($purging->poll_query_until('atomic', $purged), 'shop in one transaction: purged afterwards');

$purging->safe_psql('postgres', 'ALTER SYSTEM SET narvik.purge = off');
$purging->reload;
$purging->command_ok(
	[ 'pg_restore', '--exit-on-error', '--create', '-d', $purging->connstr('postgres'), $dump ],
	'shop with narvik.purge off: restored without an error');
is( $purging->safe_psql('shop', 'SELECT count(*) FROM narvik_sessions NATURAL JOIN (SELECT session AS seq FROM carts) AS c'), '50',
	'shop with narvik.purge off: every row is back');
$purging->safe_psql('postgres', 'ALTER SYSTEM RESET narvik.purge');
$purging->reload;
ok($purging->poll_query_until('shop', $purged), 'shop with narvik.purge off: purged afterwards');

done_testing();
