# The way to a next version: its files are installed, the server restarts, and each
# database updates its extension, while clients use sessions.  Nothing is lost, and a
# database that is not updated yet is served by the new library.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use NextVersion;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use SessionLoad;
use Test::More;

my ($this, $next) = (this_version(), next_version());
my $postgresql = copy_of_postgresql();
my $node = PostgreSQL::Test::Cluster->new('main', install_path => $postgresql);
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'narvik'
narvik.purge_interval = 1s
narvik.events = on
});
$node->start;

sub make_database
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
	return;
}

# The version of the extension there, and of the library that serves it.
sub versions
{
	my ($db) = @_;
	my ($rc, $out, $err) = $node->psql(
		$db, q{
		SELECT extversion FROM pg_extension WHERE extname = 'narvik';
		CREATE FUNCTION pg_temp.library() RETURNS text LANGUAGE c AS '$libdir/narvik', 'narvik_library';
		SELECT pg_temp.library()});
	return $out . ($err =~ /could not find function/ ? ' old' : $err) =~ s/\n//r;
}

make_database($_) foreach qw(updated late);
is(versions('updated'), "$this old", "before: $this");

# ---- all that happens while clients work ------------------------------------

my $journal = SessionJournal->new(events => 1);
my $load = SessionLoad::start($journal, connstr => $node->connstr('updated'), clients => 4, reconnect => 1, contended => 1);
my $done = 0;
sub let_work { return $load->wait_for($done = $journal->size + 300) }

let_work();
install_next_version($postgresql);
my ($rc, $out, $err) = $node->psql('updated', 'ALTER EXTENSION narvik UPDATE');
like($err, qr/could not find function "narvik_library"/, 'who updates before the restart is refused');
is(versions('updated'), "$this old", 'and nothing has changed');
let_work();

$node->restart;
is(versions('updated'), "$this\n$next.0", "after the restart the new library serves the database of $this");
let_work();

is($node->safe_psql('updated', 'ALTER EXTENSION narvik UPDATE'), '', 'ALTER EXTENSION narvik UPDATE');
is(versions('updated'), "$next\n$next.0", 'makes it new');
let_work();
$load->finish;

my $dbh = SessionJournal::connect_to($node->connstr('updated'));
is_deeply([ $journal->check($dbh) ], [], 'no session is lost, none came back, and no call failed but by the restart');
note($journal->summary);
cmp_ok(scalar keys %{ $journal->{sessions} }, '>', 0, 'there are sessions');
$dbh->disconnect;

# ---- a database that nobody has updated -------------------------------------

is(versions('late'), "$this\n$next.0", 'another database is still as it was');
is( $node->safe_psql(
		'late', q{
		CREATE ROLE webapp;
		SELECT narvik_grant('webapp');
		CREATE TABLE users (id int PRIMARY KEY);
		INSERT INTO users VALUES (1), (2);
		SELECT narvik_link_users('users', 'id');
		SET ROLE webapp;
		CREATE TEMPORARY TABLE old AS SELECT token FROM narvik_create_session('1');
		CREATE TEMPORARY TABLE new AS SELECT r.token FROM old, narvik_rotate_session(token) AS r;
		SELECT count(*) FROM old, narvik_validate_session(token);
		SELECT narvik_authenticate(token) FROM new;
		SELECT narvik_save_session(narvik_session_id('due'), '2', now() + interval '10 days');
		SELECT extended FROM narvik_validate_session('due');
		RESET ROLE;
		DELETE FROM users WHERE id = 2;
		SELECT user_id FROM narvik_fetch_session(narvik_session_id('due'));
		SELECT narvik_save_session(narvik_session_id('expired'), '1', now() - interval '1 day')}) =~ s/\n+/ /gr,
	' 0 1 t ',
	'which works all the same');
ok($node->poll_query_until('late', 'SELECT purged = 1 FROM narvik_stats'), 'and is purged');
is($node->safe_psql('late', q{SELECT count(*) FROM narvik_sessions}), '1', 'of what has expired');

# ---- updated is as new ------------------------------------------------------

make_database('fresh');
is(versions('fresh'), "$next\n$next.0", 'CREATE EXTENSION makes the new version');
my $objects = q{
	SELECT pg_describe_object(classid, objid, objsubid), p.proacl, p.prosrc, c.relacl,
		(SELECT array_agg(concat_ws(' ', attname, atttypid::regtype, d.description) ORDER BY attnum)
		 FROM pg_attribute LEFT JOIN pg_description AS d ON d.objoid = attrelid AND d.objsubid = attnum
		 WHERE attrelid = c.oid AND attnum > 0)
	FROM pg_depend
	LEFT JOIN pg_proc AS p ON p.oid = objid AND classid = 'pg_proc'::regclass
	LEFT JOIN pg_class AS c ON c.oid = objid AND classid = 'pg_class'::regclass
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik') ORDER BY 1};
my $fresh = $node->safe_psql('fresh', $objects);
like($fresh, qr/label text what a user calls the session/, 'with what is new');
is($node->safe_psql('updated', $objects), $fresh, 'an updated database is the same');

$node->stop;
done_testing();
