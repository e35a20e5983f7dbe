# Whoever may rename a schema can give the name of narvik's tables, or of the linked
# users, to tables and views of their own, while a statement that uses narvik is under
# way.  Nothing of theirs runs with the rights of the owner of the tables, and narvik
# goes on with the tables it had.

use strict;
use warnings;

use DBD::Pg;
use DBI;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'\nnarvik.purge = off");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');

sub connect_to
{
	my ($db, $role) = @_;
	return DBI->connect(
		'dbi:Pg:' . $node->connstr($db) . " user=$role", undef, undef,
		{ RaiseError => 1, PrintError => 0, pg_server_prepare => 0 });
}

# The owner of the database owns schema public, and so may rename it.
my $n = 0;

sub make_database
{
	my $db = 'shop' . ++$n;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER app");
	$node->safe_psql(
		$db, q{
		CREATE EXTENSION narvik CASCADE;
		CREATE TABLE users (id text PRIMARY KEY);
		INSERT INTO users VALUES ('alice');
		GRANT SELECT ON users TO app;
		SELECT narvik_grant('app'), narvik_link_users('users');
		SELECT narvik_save_session(narvik_session_id(t), 'alice', now() + interval '29 days')
		FROM unnest('{first,second}'::text[]) AS t;
		SET ROLE app;
		CREATE SCHEMA fake;
		CREATE FUNCTION fake.deed(what text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
		BEGIN
			RAISE LOG 'planted: % ran as %', what, current_user;
			RETURN what;
		END $$;
		CREATE FUNCTION fake.fire() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM public.deed(TG_TABLE_NAME);
			RETURN NULL;
		END $$});
	return $db;
}

# In one statement: a call, for which everything is found and planned, another
# connection's renaming, and a second call.
sub rename_between
{
	my ($what, $planted, $first, $second, $answer) = @_;
	my $db = make_database();
	my $other = connect_to($db, 'app');
	my $caller = connect_to($db, 'app');
	my $log_offset = -s $node->logfile;

	$other->do($planted);
	$other->do('SELECT pg_advisory_lock(1)');
	my $call = $caller->prepare("SELECT ($first), pg_advisory_lock(1), ($second)", { pg_async => PG_ASYNC });
	$call->execute;
	$node->poll_query_until($db, q{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)})
	  or die 'the call does not wait';
	$other->do('BEGIN; ALTER SCHEMA public RENAME TO old; ALTER SCHEMA fake RENAME TO public; COMMIT');
	$other->do('SELECT pg_advisory_unlock(1)');
	my $got = eval { $call->pg_result; ($call->fetchrow_array)[2] } // $caller->state;
	is($got, $answer, "$what: the right table");
	is(join("\n", slurp_file($node->logfile, $log_offset) =~ /planted: .*/g), '', "$what: nothing planted ran");
	$other->disconnect;
	$caller->disconnect;
	return $db;
}

my $update = q{SELECT narvik_update_session_data(narvik_session_id('first'), '{"a": 1}')};
my $delete = q{SELECT narvik_delete_session(narvik_session_id('second'))};
my $sessions = q{
	CREATE TABLE fake.narvik_sessions (a int);
	CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON fake.narvik_sessions EXECUTE FUNCTION fake.fire()};
my $db = rename_between('table of sessions', $sessions, $update, $delete, 1);
is($node->safe_psql($db, 'SELECT count(*) FROM old.narvik_sessions'), '1', 'table of sessions: the log-out is one');

rename_between(
	'view of sessions', q{CREATE VIEW fake.narvik_sessions AS SELECT '(0,1)'::tid AS ctid, fake.deed('view')},
	$update, $delete, 1);

# Only a superuser sets narvik.events.
$node->safe_psql('postgres', "ALTER SYSTEM SET narvik.events = on; SELECT pg_reload_conf()");
$db = rename_between(
	'table of events', q{
	CREATE TABLE fake.narvik_events (at timestamptz, kind text, reason text, session_id bytea, user_id text, detail jsonb);
	CREATE TRIGGER t BEFORE INSERT ON fake.narvik_events EXECUTE FUNCTION fake.fire()},
	q{SELECT narvik_delete_session(narvik_session_id('first'))}, $delete, 1);
is($node->safe_psql($db, q{SELECT count(*) FROM old.narvik_events WHERE kind = 'ended'}), '2', 'table of events: both log-outs are noted');

my $user = q{SELECT count(*) FROM narvik_validate_user('second', NULL::users)};
my $users = q{CREATE VIEW fake.users AS SELECT fake.deed('users') AS id};
rename_between('view of users', $users, $user, $user, 1);
my $create = q{SELECT user_id FROM narvik_create_session('alice')};
rename_between('user of a log-in', $users, $create, $create, 'alice');

# What is left is the moment between writing a name down and parsing it: a statement
# begins with the OIDs of the tables it may name.
my $app = connect_to(make_database(), 'app');
$app->do(q{SELECT narvik_session_id('loads the library')});
my ($class, $type) =
  map { "/* narvik $_ */" } $app->selectrow_array(q{SELECT 'pg_class'::regclass::oid, 'pg_type'::regclass::oid});
foreach my $case (
	[ 'its table', 'SELECT count(*) FROM pg_class', undef ],
	[ 'both its tables', "$type SELECT count(*) FROM pg_class, pg_type", undef ],
	[ 'another table', 'SELECT count(*) FROM pg_class, pg_type', '55006' ],
	[ 'another in a sub-select', 'SELECT count(*) FROM pg_class WHERE oid IN (SELECT oid FROM pg_type)', '55006' ],
	[ 'another in a CTE', 'WITH t AS (SELECT oid FROM pg_type) SELECT count(*) FROM pg_class, t', '55006' ],
	[ 'another that is changed', 'DELETE FROM pg_type', '55006' ],
	[ 'its table, after another comment', '/* narvik x*/ SELECT count(*) FROM pg_class', undef ],
	[ 'a view', 'SELECT count(*) FROM pg_tables', '55006' ])
{
	my ($what, $sql, $error) = @$case;
	is(eval { $app->do("$class $sql"); 1 } // $app->state, $error // 1, "a statement names $what");
}
$app->disconnect;
done_testing();
