# pg_dump in each format, and pg_dumpall for what belongs to the cluster, carry
# narvik's settings together with sessions, link and grants: on the restored
# server sessions live as long, cookies look the same and the same roles may
# change the same settings.  Taken under load, a dump is a moment of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use SessionLoad;
use Test::More;

my $source = PostgreSQL::Test::Cluster->new('source');
$source->init;
$source->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'");
$source->start;
$source->safe_psql(
	'postgres', q{
	CREATE ROLE app LOGIN;
	CREATE ROLE admin_tool LOGIN;
	CREATE DATABASE shop;
	ALTER DATABASE shop SET narvik.session_expires_in = '7d';
	ALTER DATABASE shop SET narvik.session_max_age = '90d';
	ALTER DATABASE shop SET narvik.cookie_name = '__Host-shop';
	ALTER DATABASE shop SET narvik.max_sessions_per_user = 3;
	ALTER ROLE admin_tool SET narvik.session_expires_in = '1h';
	ALTER ROLE admin_tool IN DATABASE shop SET narvik.cookie_same_site = 'strict';
	GRANT SET ON PARAMETER narvik.session_expires_in TO app});
$source->safe_psql(
	'shop', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE people (id text PRIMARY KEY);
	INSERT INTO people VALUES ('alice'), ('bob');
	SELECT narvik_link_users('people');
	SELECT narvik_grant('app'), narvik_grant('admin_tool');
	SELECT narvik_save_session(narvik_session_id('token-' || id), id, now() + interval '6 days', '{"n": 0}') FROM people});

my $settings = q{
	SELECT d.datname, r.rolname, s.setconfig FROM pg_db_role_setting AS s
	LEFT JOIN pg_database AS d ON d.oid = setdatabase LEFT JOIN pg_roles AS r ON r.oid = setrole ORDER BY 1, 2};
my $rows = 'SELECT seq, id, user_id, created_at, expires_at, lifetime, sliding, data, purge_hour FROM narvik_sessions ORDER BY seq';

# What a role is answered, or the SQLSTATE.
sub as_role
{
	my ($node, $role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('shop', "\\set VERBOSITY sqlstate\n$sql", connstr => $node->connstr('shop') . " user=$role");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $out;
}

my $login = "SELECT round(extract(epoch FROM expires_at - created_at)) FROM narvik_create_session('%s')";

sub check_all
{
	my ($node, $what) = @_;
	is($node->safe_psql('postgres', $settings), $source->safe_psql('postgres', $settings), "$what: the same settings");
	like(
		as_role($node, 'app', q{SELECT narvik_create_cookie('x')}), qr/^__Host-shop=x; Max-Age=604800; .*SameSite=Lax/,
		"$what: the cookie is the database's");
	like(
		as_role($node, 'admin_tool', q{SELECT narvik_create_cookie('x')}), qr/^__Host-shop=x; Max-Age=3600; .*SameSite=Strict/,
		"$what: that of a role with settings of its own too");
	is(as_role($node, 'app', sprintf $login, 'alice'), 7 * 86_400, "$what: a session lives as long");
	is(as_role($node, 'admin_tool', sprintf $login, 'alice'), 3600, "$what: that of the other role too");
	is(as_role($node, 'app', sprintf $login, 'nobody'), '23503', "$what: users are linked");
	is(as_role($node, 'app', q{SELECT user_id FROM narvik_validate_session('token-bob')}), 'bob', "$what: a session is valid");
	is( as_role($node, 'app', "SET narvik.session_expires_in = '1d'; " . sprintf $login, 'bob'), 86_400,
		"$what: a role that may change a setting may");
	is( as_role($node, 'admin_tool', "SELECT narvik_cookie_name(); SET narvik.session_expires_in = '1d'"), '42501',
		"$what: one that may not may not");
	is( $node->safe_psql(
			'shop',
			sprintf($login, 'alice') . ';' . sprintf($login, 'alice') . q{;SELECT count(*) FROM narvik_fetch_sessions_for_user('alice')}),
		"604800\n604800\n3",
		"$what: a user has as many sessions as he may");
	return;
}

my $dir = PostgreSQL::Test::Utils::tempdir();
my %formats = (plain => [], custom => ['-Fc'], directory => [ '-Fd', '-j2' ], tar => ['-Ft']);
foreach my $format (sort keys %formats)
{
	$source->command_ok(
		[ 'pg_dump', '-d', $source->connstr('shop'), '--create', @{ $formats{$format} }, '-f', "$dir/$format" ],
		"$format: pg_dump");
}
$source->command_ok(
	[ 'pg_dumpall', '-d', $source->connstr('postgres'), '--globals-only', '-f', "$dir/globals" ],
	'pg_dumpall --globals-only');
$source->command_ok([ 'pg_dumpall', '-d', $source->connstr('postgres'), '-f', "$dir/all" ], 'pg_dumpall');
my $rows_before = $source->safe_psql('shop', $rows);

my $target = PostgreSQL::Test::Cluster->new('target');
$target->init;
# Its library is not preloaded, so the settings are there before somebody knows
# what they are.
$target->start;
sub psql_file { my ($file) = @_; return [ 'psql', '-Xq', '-d', $target->connstr('postgres'), '-f', $file ] }
$target->safe_psql('postgres', 'CREATE ROLE app LOGIN');    # so that a repeated role is no surprise
$target->command_ok(psql_file("$dir/globals"), 'globals: restored');
foreach my $format ('all', sort keys %formats)
{
	$target->safe_psql('postgres', 'DROP DATABASE IF EXISTS shop');
	my @psql = @{ psql_file("$dir/$format") };
	my @command =
		$format =~ /all|plain/
	  ? @psql
	  : ('pg_restore', '--exit-on-error', '--create', '-d', $target->connstr('postgres'), "$dir/$format");
	splice @command, 1, 0, '-v', 'ON_ERROR_STOP=1' if $format eq 'plain';
	$target->command_ok(\@command, "$format: restored");
	is($target->safe_psql('shop', $rows), $rows_before, "$format: every session as it was");
	check_all($target, $format);
}
check_all($source, 'the source itself');
is( as_role($target, 'admin_tool', "SET narvik.session_expires_in = '1d'; " . sprintf $login, 'bob'), 3600,
	'nor before the library is loaded, when the server does not know better');
$target->stop;

# ---- under load -------------------------------------------------------------

$source->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');
my $journal = SessionJournal->new;
my $load = SessionLoad::start($journal, connstr => $source->connstr('postgres'), clients => 4);
$load->wait_for(500);
$source->command_ok([ 'pg_dump', '-d', $source->connstr('postgres'), '-Fd', '-j2', '-f', "$dir/load" ], 'under load: pg_dump');
$load->wait_for($journal->size + 500);
$load->finish;
$source->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$source->command_ok([ 'pg_restore', '--exit-on-error', '-d', $source->connstr('restored'), "$dir/load" ], 'under load: restored');
is( $source->safe_psql('restored', q{SELECT count(*) > 0, count(*) = count(DISTINCT user_id) FROM narvik_sessions}), 't|t',
	'under load: each user has the one session he had at a moment');
$source->safe_psql('restored', 'CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
my $dbh = SessionJournal::connect_to($source->connstr('restored'));
$dbh->begin_work;
is_deeply([ SessionJournal::index_violations($dbh) ], [], 'under load: table and indexes agree');
$dbh->rollback;
$dbh->disconnect;
is($source->safe_psql('restored', q{SELECT count(*) FROM narvik_create_session('somebody')}), '1', 'under load: and somebody can log in');

$source->stop;
done_testing();
