# pg_repack rebuilds the table and its indexes while sessions are made, used and ended:
# what docs/operations.md says.
#
# Needs the extension pg_repack.

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
	CREATE EXTENSION pg_repack;
	CREATE ROLE app LOGIN;
	SELECT narvik_grant('app')});

# A client that makes, uses and ends sessions, and notices one that is lost, until it
# is told to stop.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE stop ();
	CREATE TABLE found (rounds int, wrong int);
	GRANT SELECT ON stop TO app; GRANT INSERT ON found TO app;
	CREATE PROCEDURE use_sessions() LANGUAGE plpgsql AS $$
	DECLARE
		made narvik_created_session;
		rounds int := 0;
		wrong int := 0;
		n int;
	BEGIN
		WHILE to_regclass('stop') IS NOT NULL LOOP
			made := narvik_create_session('bob', expires_in => '1 hour');
			COMMIT;
			PERFORM narvik_update_session_expiry(made.id, clock_timestamp() + interval '1 minute');
			COMMIT;
			-- While pg_repack has the table, the extension is left for later.
			SELECT count(*) INTO n FROM narvik_validate_session(made.token) WHERE extended OR due;
			COMMIT;
			wrong := wrong + (n <> 1)::int + (NOT narvik_invalidate_session(made.id))::int;
			COMMIT;
			SELECT count(*) INTO n FROM narvik_validate_session(made.token);
			wrong := wrong + n;
			COMMIT;
			rounds := rounds + 1;
		END LOOP;
		INSERT INTO found VALUES (rounds, wrong);
	END $$});
$node->safe_psql(
	'postgres', q{SELECT count(narvik_save_session(narvik_session_id('t' || i), 'u' || i, now() + interval '29 days'))
	FROM generate_series(1, 20000) AS i;
	DELETE FROM narvik_sessions WHERE seq % 4 > 0 AND user_id LIKE 'u%'});
# A hash index is built for as many rows as the table is known to have.
$node->safe_psql('postgres', 'VACUUM ANALYZE narvik_sessions');
my $kept =
  $node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 20000) AS i, narvik_fetch_session(narvik_session_id('t' || i))});
my @clients = map { $node->background_psql('postgres', extra_params => [ '-U', 'app' ]) } 1 .. 2;
$_->query_until(qr/begun/, "\\echo begun\nCALL use_sessions();\n") foreach @clients;

my $size = sub { return $node->safe_psql('postgres', q{SELECT pg_relation_size('narvik_sessions_id_excl')}) };
my $large = $size->();
foreach my $what (['--only-indexes'], [])
{
	my $before = index_files($node);
	$node->command_ok(
		[ 'pg_repack', '-d', $node->connstr('postgres'), '-t', 'narvik_sessions', @$what ],
		"pg_repack @$what works while sessions are used");
	is( rebuilt($node, $before),
		'narvik_sessions_id_excl narvik_sessions_pkey narvik_sessions_purge_hour_idx narvik_sessions_replaced_ids_idx narvik_sessions_user_id_idx',
		'and rebuilds all indexes, that on the id too');
}
cmp_ok($size->(), '<', $large, 'which is smaller then');

$node->safe_psql('postgres', 'DROP TABLE stop');
$_->quit foreach @clients;
is( $node->safe_psql('postgres', 'SELECT count(*), sum(wrong), bool_and(rounds > 10) FROM found'), '2|0|t',
	'no session was lost or came back meanwhile');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 20000) AS i, narvik_validate_session('t' || i)}), $kept,
	'all others are found');
isnt($kept, '0', 'of which there are some');
is( $node->safe_psql('postgres', q{SELECT conname FROM pg_constraint WHERE conrelid = 'narvik_sessions'::regclass AND contype = 'x'}),
	'narvik_sessions_id_excl', 'ids are unique still');

$node->stop;
done_testing();
