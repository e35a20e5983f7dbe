# Databases dumped and restored by their owner, who is no superuser: what needs which
# rights; and a link that a restore lost is noticed and made again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use LinkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
make_roles($node);
$node->safe_psql(
	'postgres',
	'CREATE ROLE dba LOGIN CREATEDB; CREATE ROLE reader LOGIN IN ROLE pg_read_all_data; ALTER ROLE reader BYPASSRLS');

sub as_role
{
	my ($role, $db) = @_;
	return ('-d', $node->connstr($db) . " user=$role");
}

my $linked = 'SELECT users, id_column, whole FROM narvik_linked_users()';

foreach my $db ('own_schema', 'partitioned')
{
	make_linked_database($node, $db);
	is($node->safe_psql($db, $linked), '"App Users"|Id|t', "$db: the link is whole");
	my $triggers = triggers_of($node, $db);
	my $grants = grants_of($node, $db);
	$node->safe_psql($db, q{SET narvik.events = on; SELECT narvik_invalidate_session(id) FROM narvik_create_guest_session()});
	my $events = 'SELECT seq, kind, reason FROM narvik_events ORDER BY seq';
	my $sessions = 'SELECT id, user_id FROM narvik_sessions ORDER BY id';
	$node->safe_psql('postgres', "ALTER DATABASE $db OWNER TO dba");
	$node->safe_psql(
		$db, q{
		ALTER TABLE "App Users" OWNER TO dba;
		ALTER TABLE notes OWNER TO dba});
	$node->safe_psql($db, 'ALTER TABLE low OWNER TO dba; ALTER TABLE high OWNER TO dba') if $db eq 'partitioned';

	# ---- dump -----------------------------------------------------------------

	my $dir = PostgreSQL::Test::Utils::tempdir();
	my @dump = ('pg_dump', as_role('dba', $db));
	$node->command_fails_like(
		[ @dump, '-f', "$dir/none" ], qr/permission denied for (schema|sequence|table)|may lack SELECT privilege on the sequence/,
		"$db: the database's owner cannot dump the sessions");
	$node->command_ok(
		[ @dump, '--exclude-table-data=auth.narvik_*', '-f', "$dir/without" ],
		"$db: but all the rest");
	$node->command_ok([ 'pg_dump', as_role('reader', $db), '-f', "$dir/reader" ], "$db: pg_read_all_data dumps all");
	$node->safe_psql($db, 'GRANT USAGE ON SCHEMA auth TO dba; GRANT SELECT ON narvik_sessions, narvik_events TO dba');
	$node->command_fails_like(
		[ @dump, '-f', "$dir/none" ], qr/permission denied for sequence|may lack SELECT privilege on the sequence/,
		"$db: the tables alone are not enough");
	$node->safe_psql($db, 'GRANT SELECT ON narvik_sessions_seq_seq, narvik_events_seq_seq TO dba');
	$node->command_ok([ @dump, '-Fc', '-f', "$dir/custom" ], "$db: with SELECT on tables and sequences the owner can");

	# ---- restore --------------------------------------------------------------

	my $restore = sub {
		my ($copy, $before) = @_;
		$node->safe_psql(
			'postgres', "CREATE DATABASE $copy OWNER dba TEMPLATE template0;
			ALTER DATABASE $copy SET search_path = public, auth");
		$node->safe_psql($copy, "CREATE SCHEMA auth; CREATE EXTENSION narvik SCHEMA auth CASCADE; $before");
		$node->command_fails_like(
			[ 'pg_restore', '--no-owner', as_role('dba', $copy), "$dir/custom" ],
			qr/must be owner of extension narvik/, "$copy: restored, with errors");
	};

	# Nobody thought of narvik.
	my $lost = "${db}_lost";
	$restore->($lost, '');
	is($node->safe_psql($lost, $linked), '', "$lost: the link is lost");
	is($node->safe_psql($lost, $sessions), '', "$lost: so are the sessions");
	is( $node->safe_psql(
			$lost, q{SELECT count(polname), bool_and(relrowsecurity) FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid
			WHERE relname = 'notes'}),
		'0|t',
		"$lost: and policies by identity, so that nobody sees a row");
	$node->safe_psql(
		$lost, q{
		CREATE POLICY own ON notes USING (user_id = (SELECT narvik_current_user_id()));
		SELECT narvik_link_users('"App Users"', 'Id');
		SELECT narvik_grant('app'), narvik_grant('"Odd ""App"""'), narvik_grant('former');
		SELECT narvik_revoke('former')});
	is($node->safe_psql($lost, $linked), '"App Users"|Id|t', "$lost: made again it is whole");
	is(triggers_of($node, $lost), $triggers, "$lost: with all triggers");
	$node->safe_psql(
		$lost,
		sprintf q{SELECT narvik_save_session(narvik_session_id('token-' || n), %s, now() + interval '29 days')
		FROM generate_series(1, 2) AS n}, $db eq 'own_schema' ? q{'00000000-0000-0000-0000-00000000000' || n} : 'n::text');
	check_link($node, $lost, $db, $lost);

	# Somebody did.
	my $prepared = "${db}_prepared";
	$restore->(
		$prepared, 'GRANT USAGE ON SCHEMA auth TO dba; GRANT INSERT ON narvik_sessions, narvik_events TO dba;
		GRANT UPDATE ON narvik_sessions_seq_seq, narvik_events_seq_seq TO dba; GRANT EXECUTE ON FUNCTION narvik_users_changed() TO dba');
	is($node->safe_psql($prepared, $linked), '"App Users"|Id|t', "$prepared: the link is whole");
	is($node->safe_psql($prepared, $sessions), $node->safe_psql($db, $sessions), "$prepared: the sessions are there");
	is($node->safe_psql($prepared, $events), "1|created|\n2|ended|logout", "$prepared: the events, too");
	$node->safe_psql(
		$prepared, q{
		REVOKE ALL ON narvik_sessions, narvik_sessions_seq_seq, narvik_events, narvik_events_seq_seq FROM dba;
		REVOKE ALL ON FUNCTION narvik_users_changed() FROM dba;
		SELECT narvik_grant('app'), narvik_grant('"Odd ""App"""'), narvik_grant('former');
		SELECT narvik_revoke('former')});
	is(grants_of($node, $prepared), $grants, "$prepared: the grants are made again");
	is(as_app($node, $prepared, 'TABLE narvik_sessions', 'dba'), '42501', "$prepared: what was given is taken back");
	check_link($node, $prepared, $db, $prepared);
}

$node->stop;
done_testing();
