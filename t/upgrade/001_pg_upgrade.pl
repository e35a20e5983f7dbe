# pg_upgrade carries everything: sessions, the link to the users, grants,
# policies by identity and settings.  scripts/test --upgrade runs it; OLD_INSTALL
# is the folder of the old version's programs, with the narvik built for it.
#
# Tokens that this test makes up are shorter than real ones: the logs of all
# tests are searched for those.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use LinkTest;
use NextVersion;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = PostgreSQL::Test::Cluster->new('old', install_path => $ENV{OLD_INSTALL});
my $new = PostgreSQL::Test::Cluster->new('new');
# This one gets the next version of narvik at the same time.
my $postgresql = copy_of_postgresql();
install_next_version($postgresql);
my $next = PostgreSQL::Test::Cluster->new('next', install_path => $postgresql);

sub major_of
{
	my ($node) = @_;
	return int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
}

# They all purge every second, whenever they are allowed to.
foreach my $node ($old, $new, $next)
{
	# Checksums, which 18 has by default, have to be the same.
	$node->init($node->{_pg_version} >= 18 ? (extra => ['--no-data-checksums']) : ());
	$node->append_conf(
		'postgresql.conf', q{
shared_preload_libraries = 'narvik'
narvik.purge_interval = 1s
log_line_prefix = '%m [%p] %b '
log_statement = none
});
}

# ---- the old cluster --------------------------------------------------------

$old->append_conf('postgresql.conf', 'narvik.purge = off');
$old->start;
my $old_major = major_of($old);
make_roles($old);
make_linked_database($old, $_) foreach linked_databases();

# A database with sessions of every kind, and with settings.
$old->safe_psql(
	'postgres', q{
	CREATE DATABASE shop;
	CREATE ROLE admin LOGIN;
	ALTER DATABASE shop SET search_path = public, narvik;
	ALTER DATABASE shop SET narvik.session_expires_in = '10d';
	ALTER DATABASE shop SET narvik.cookie_name = '__Host-shop';
	ALTER ROLE app IN DATABASE shop SET narvik.session_max_age = '90d';
	ALTER ROLE admin SET narvik.cookie_same_site = 'strict';
	GRANT SET ON PARAMETER narvik.max_sessions_per_user TO admin});
$old->safe_psql(
	'shop', q{
	CREATE SCHEMA crypto; CREATE EXTENSION pgcrypto SCHEMA crypto;
	CREATE SCHEMA narvik; CREATE EXTENSION narvik SCHEMA narvik;
	SELECT narvik_grant('app'), narvik_grant('admin')});
my %tokens;
my $created = $old->safe_psql(
	'shop', q{
	SELECT user_id, token FROM narvik_create_session('alice', '{"cart": [1, 2], "name": "Ålice"}');
	SELECT user_id, token FROM narvik_create_session('bob', '{}', '2 hours', false);
	SELECT user_id, token FROM narvik_create_session('carol', expires_in => '1 month 3 days');
	SELECT user_id, token FROM narvik_create_session('dave', jsonb_build_object('big',
		(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) AS i)));
	SELECT user_id, token FROM narvik_rotate_session(
		(SELECT token FROM narvik_create_session('erin', '{"rotated": true}')))});
foreach (split /\n/, $created)
{
	my ($user, $token) = split /\|/;
	$tokens{$user} = $token;
}
$old->safe_psql(
	'shop', q{
	SELECT narvik_save_session(narvik_session_id('due'), 'frank', now() + interval '2 days');
	SELECT narvik_save_session(narvik_session_id('expired-' || n), 'expired', now() - interval '3 hours')
	FROM generate_series(1, 500) AS n;
	SELECT narvik_save_session(narvik_session_id('many-' || n), 'user-' || n, now() + interval '9 days')
	FROM generate_series(1, 5000) AS n});

# What has to be the same before and after.
my %same = (
	'sessions, column by column' => q{SELECT * FROM narvik_sessions ORDER BY seq},
	'the numbering' => q{SELECT last_value, is_called FROM narvik_sessions_seq_seq},
	'members of the extension' => q{
		SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'narvik')
		  AND classid <> 'pg_type'::regclass ORDER BY 1},
	'the extension' => q{
		SELECT extname, extversion, extnamespace::regnamespace FROM pg_extension
		WHERE extname IN ('narvik', 'pgcrypto') ORDER BY 1},
	'what pg_dump is to dump' => q{
		SELECT c::regclass, extcondition FROM pg_extension,
			unnest(extconfig) AS c WHERE extname = 'narvik' ORDER BY c::regclass::text},
	'constraints and indexes' => q{
		SELECT pg_get_constraintdef(oid) FROM pg_constraint
		WHERE conrelid = 'narvik_sessions'::regclass AND contype <> 'n'
		UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index
		WHERE indrelid = 'narvik_sessions'::regclass ORDER BY 1},
	# Of others than the owner, who has one privilege more from PostgreSQL 17 on.
	'privileges of tables' => q{
		SELECT relname, relowner::regrole, reloptions,
			ARRAY(SELECT a::text FROM aclexplode(relacl) AS a WHERE a.grantee <> relowner ORDER BY 1)
		FROM pg_class WHERE relname ~ '^narvik_' ORDER BY 1},
	'policies' => q{SELECT * FROM pg_policies ORDER BY 1, 2, 3},
	'settings' => q{
		SELECT coalesce(datname, ''), coalesce(rolname, ''), setconfig FROM pg_db_role_setting
		LEFT JOIN pg_database AS d ON d.oid = setdatabase LEFT JOIN pg_roles AS r ON r.oid = setrole
		ORDER BY 1, 2},
	'who may change settings' => q{SELECT parname, paracl FROM pg_parameter_acl ORDER BY 1});
my @databases = (linked_databases(), 'shop');
my %before;
foreach my $db (@databases)
{
	$before{$db}{$_} = $old->safe_psql($db, $same{$_}) foreach keys %same;
	$before{$db}{grants} = grants_of($old, $db);
	$before{$db}{triggers} = triggers_of($old, $db);
}
is($old->safe_psql('shop', 'SELECT count(*) FROM narvik_sessions'), '5506', 'there are sessions to carry');
like($before{shop}{$_}, qr/narvik/, "there is something to carry: $_")
  foreach (
	'members of the extension', 'what pg_dump is to dump', 'privileges of tables', 'grants',
	'settings', 'who may change settings');
like($before{plain}{$_}, qr/narvik/, "there is something to carry: $_") foreach ('policies', 'triggers');
my $answer = q{SELECT id, user_id, data, created_at, expires_at, extended FROM narvik_validate_session('%s')};
my %answers = map { $_ => $old->safe_psql('shop', sprintf($answer, $tokens{$_})) } keys %tokens;
$old->stop;

# ---- the upgrade ------------------------------------------------------------

# From here on both may purge: they must not while pg_upgrade runs them.
$old->append_conf('postgresql.conf', 'narvik.purge = on');
chdir $PostgreSQL::Test::Utils::tmp_check or die;
foreach my $node ($new, $next)
{
	my @upgrade = (
		'pg_upgrade', '--no-sync', '--retain',
		'-d', $old->data_dir, '-D', $node->data_dir,
		'-b', $old->config_data('--bindir'), '-B', $node->config_data('--bindir'),
		'-s', $node->host, '-p', $old->port, '-P', $node->port);
	$node->command_ok([ @upgrade, '--check' ], 'pg_upgrade --check finds nothing wrong') if $node == $new;
	$node->command_ok(\@upgrade, 'pg_upgrade');
}

# ---- the new cluster --------------------------------------------------------

$new->append_conf('postgresql.conf', 'narvik.purge = off');
$new->start;
cmp_ok(major_of($new), '>', $old_major, "from PostgreSQL $old_major to " . major_of($new));

foreach my $db (@databases)
{
	is($new->safe_psql($db, $same{$_}), $before{$db}{$_}, "$db: $_") foreach sort keys %same;
	is(grants_of($new, $db), $before{$db}{grants}, "$db: grants");
	is(triggers_of($new, $db), $before{$db}{triggers}, "$db: triggers");
	is( $new->safe_psql($db, 'SELECT created, validated, purged FROM narvik_stats'), '0|0|0',
		"$db: counters start anew");
}
check_link($new, $_, $_, $_) foreach linked_databases();

foreach my $user (sort keys %tokens)
{
	is( $new->safe_psql('shop', sprintf($answer, $tokens{$user})),
		$answers{$user}, "the token of $user answers as before");
	like($answers{$user}, qr/\|$user\|/, 'which is that user');
}
is( $new->safe_psql(
		'shop', q{SELECT count(*) FROM generate_series(1, 5000) AS n,
		narvik_validate_session('many-' || n) AS s WHERE s.user_id = 'user-' || n}),
	'5000',
	'every token is found by the index');
is( $new->safe_psql(
		'shop', q{SELECT extended, expires_at - now() > interval '9 days 23 hours'
		FROM narvik_validate_session('due')}),
	't|t',
	'a session that is due is extended by the lifetime that was set');
is( $new->safe_psql('shop', q{SELECT count(*) FROM narvik_validate_session('expired-1')}),
	'0', 'an expired session stays expired');
is(as_app($new, 'shop', q{SELECT count(*) FROM narvik_create_session('grace')}), '1', 'the application logs somebody in');
is( $new->safe_psql('shop', q{SELECT max(seq) = (SELECT seq FROM narvik_sessions WHERE user_id = 'grace') FROM narvik_sessions}),
	't', 'the numbering goes on');
is(as_app($new, 'shop', 'SHOW narvik.session_max_age'), '90d', 'a setting of a role in a database');
like(as_app($new, 'shop', q{SELECT narvik_create_cookie('x')}), qr/^__Host-shop=x; Max-Age=864000;/, 'settings of a database');
is(as_app($new, 'shop', q{SHOW narvik.cookie_same_site}, 'admin'), 'strict', 'a setting of a role');
is( as_app($new, 'shop', q{SET narvik.max_sessions_per_user = 3; SHOW narvik.max_sessions_per_user}, 'admin'), '3',
	'who was allowed to change a setting still is');
is(as_app($new, 'shop', q{SET narvik.max_sessions_per_user = 3}), '42501', 'and nobody else');

# A dump of the upgraded database is whole.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/shop';
$new->command_ok([ 'pg_dump', '-Fc', '-d', $new->connstr('shop'), '-f', $dump ], 'pg_dump afterwards');
$new->safe_psql(
	'postgres', 'CREATE DATABASE restored TEMPLATE template0;
	ALTER DATABASE restored SET search_path = public, narvik');
$new->command_ok([ 'pg_restore', '--exit-on-error', '-d', $new->connstr('restored'), $dump ], 'pg_restore afterwards');
is( $new->safe_psql('restored', $same{'sessions, column by column'}),
	$new->safe_psql('shop', $same{'sessions, column by column'}), 'has every session');
is(grants_of($new, 'restored'), $before{shop}{grants}, 'and the grants');
is(as_app($new, 'restored', 'SELECT count(*) FROM narvik_sessions'), '42501', 'and a table that is closed');

# The worker is back at work.
my $expired = q{SELECT count(*) FROM narvik_sessions WHERE user_id = 'expired'};
is($new->safe_psql('shop', $expired), '499', 'nothing was purged by now');
$new->append_conf('postgresql.conf', 'narvik.purge = on');
$new->reload;
ok($new->poll_query_until('shop', $expired, '0'), 'the purge goes on in the new cluster');

$new->stop;

# ---- with the next version of narvik ----------------------------------------

$next->append_conf('postgresql.conf', 'narvik.purge = off');
$next->start;

sub tokens_answer
{
	my ($when) = @_;
	is($next->safe_psql('shop', sprintf($answer, $tokens{$_})), $answers{$_}, "$when: the token of $_ answers as before")
	  foreach sort keys %tokens;
	return;
}

foreach my $db (@databases)
{
	is($next->safe_psql($db, $same{$_}), $before{$db}{$_}, "next version, $db: $_") foreach sort keys %same;
}
tokens_answer('next version');
foreach my $db (@databases)
{
	$next->safe_psql($db, 'ALTER EXTENSION narvik UPDATE');
	like(
		$next->safe_psql($db, 'SELECT extversion, narvik_library() FROM pg_extension WHERE extname = \'narvik\''),
		qr/^(.*)\|\1\.0$/, "$db: is updated");
	is(grants_of($next, $db) =~ s/^narvik_library\|.*\n//mr, $before{$db}{grants}, "$db: with its grants");
}
check_link($next, $_, $_, "updated $_") foreach linked_databases();
tokens_answer('updated');
is(as_app($next, 'shop', q{SELECT count(*) FROM narvik_create_session('grace')}), '1', 'updated: the application logs somebody in');
$next->stop;

done_testing();
