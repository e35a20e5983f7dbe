# narvik over three databases with PL/Proxy, as docs/scaling.md has it: the
# router's functions answer as narvik's, and what they cannot do is as the page
# says.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PlproxyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @shards = map { "shard$_" } 0 .. 2;
my $node = sharded_server(3, "shared_preload_libraries = 'narvik'");
$node->safe_psql('router', q{CREATE ROLE app LOGIN; SELECT narvik_grant('app')});

# One database with narvik, for comparison.
$node->safe_psql('postgres', 'CREATE DATABASE alone');
$node->safe_psql(
	'alone', q{CREATE SCHEMA narvik; CREATE EXTENSION narvik SCHEMA narvik CASCADE;
	SELECT narvik.narvik_grant('app'); ALTER DATABASE alone SET search_path = public, narvik});

# ---- names, signatures, privileges ------------------------------------------

my $page = slurp_file("$FindBin::RealBin/../docs/scaling.md");
my ($missing) = $page =~ /^#+ Not on a router\n(.*?)(?=^#)/ms or BAIL_OUT('docs/scaling.md has no section "Not on a router"');
my @missing = sort map { /(\w+)/g } map { /^\| (`.*?) \|/ ? $1 : () } split /\n/, $missing;

my $functions = q{
	SELECT proname, replace(pg_get_function_arguments(oid), 'narvik_local.', 'narvik.'),
		replace(pg_get_function_result(oid), 'narvik_local.', 'narvik.'), proisstrict
	FROM pg_proc WHERE pronamespace = 'narvik'::regnamespace %s ORDER BY proname};
is( $node->safe_psql('router', 'SET search_path = pg_catalog;' . sprintf($functions, '')),
	$node->safe_psql(
		'alone',
		'SET search_path = pg_catalog;' . sprintf(
			$functions,
			"AND proname LIKE 'narvik%' AND proname <> ALL ('{" . join(',', @missing) . "}')")),
	"the router has narvik's functions, but those that the page names");

my $executable = q{
	SELECT proname FROM pg_proc WHERE pronamespace = 'narvik'::regnamespace AND proname LIKE 'narvik%%'
		AND has_function_privilege('%s', oid, 'EXECUTE') AND proname <> ALL ('{%s}') ORDER BY 1};
foreach my $role ('app', 'pg_monitor')
{
	is( $node->safe_psql('router', sprintf($executable, $role, '')),
		$node->safe_psql('alone', sprintf($executable, $role, join(',', @missing))),
		"$role may execute the same as in one database");
}
is( $node->safe_psql(
		'router', q{
		SELECT string_agg(proname, ' ') FROM pg_proc
		WHERE pronamespace IN ('narvik_router'::regnamespace, 'narvik_local'::regnamespace)
			AND has_schema_privilege('app', pronamespace, 'USAGE') AND has_function_privilege('app', oid, 'EXECUTE')}),
	'',
	"an application reaches nothing behind the router's functions");
is(outcome($node, 'router', q{SELECT umoptions FROM pg_user_mappings}, '-U', 'app'), '', 'nor sees how the router logs in');
is( $node->safe_psql(
		'shard0', q{
		SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc
		WHERE pronamespace = 'narvik_shard'::regnamespace AND has_function_privilege('narvik_router', oid, 'EXECUTE')}),
	'create_guest_session create_session delete_all_expired_sessions delete_sessions_of_user narvik_delete_session narvik_fetch_session '
	  . 'narvik_invalidate_session narvik_put_session narvik_save_session narvik_stats narvik_update_session_data narvik_update_session_expiry '
	  . 'narvik_validate_session promote_session reauthenticate_session reset_stats rotate_session sessions_of_user',
	'a router may execute what it needs on a shard');
foreach my $sql (
	'TABLE narvik.narvik_sessions', 'TABLE narvik_shard.partitions', q{SELECT narvik.narvik_create_session('x')},
	'SELECT narvik_shard.stop_writers(0, NULL)')
{
	is(outcome($node, 'shard0', $sql, '-U', 'narvik_router'), 'ERROR:  42501', "and no more: $sql");
}
$node->safe_psql('router', q{SELECT narvik_revoke('app')});
is(outcome($node, 'router', q{SELECT narvik_create_session('x')}, '-U', 'app'), 'ERROR:  42501', 'what was revoked is');
$node->safe_psql('router', q{SELECT narvik_grant('app')});

# ---- the same answers -------------------------------------------------------

my $lifecycle = q{
	-- log in
	SELECT * FROM narvik_create_session('alice', '{"device": "laptop"}') \gset
	SELECT length(:'token'), :'id' = narvik_session_id(:'token'), :'user_id', :'data', :'new', :'extended',
		:'created_at'::timestamptz BETWEEN now() - interval '1 minute' AND now() + interval '1 minute',
		:'expires_at'::timestamptz - :'created_at'::timestamptz = interval '720 hours';
	SELECT id = :'id', user_id, data, created_at = :'created_at', expires_at = :'expires_at', new, extended
	FROM narvik_validate_session(:'token');
	SELECT token, id FROM narvik_create_session('alice', expires_in => '90 minutes 0.5 seconds', sliding => false) \gset short_
	SELECT expires_at - created_at FROM narvik_fetch_session(:'short_id');
	SELECT token, id FROM narvik_create_session('alice', expires_in => '1 mon 2 days') \gset month_
	SELECT expires_at = (created_at AT TIME ZONE 'UTC' + interval '1 mon 2 days') AT TIME ZONE 'UTC'
	FROM narvik_validate_session(:'month_token');
	SELECT count(*) FROM (SELECT narvik_create_session('bob') FROM generate_series(1, 20)) AS s;
	-- both kinds extend or not
	SELECT narvik_update_session_expiry(:'id', now() + interval '10 days'),
		narvik_update_session_expiry(:'short_id', now() + interval '10 minutes'),
		narvik_update_session_expiry(:'month_id', now() + interval '10 days');
	SELECT extended, round(extract(epoch FROM expires_at - now()) / 86400) FROM narvik_validate_session(:'token');
	SELECT extended, round(extract(epoch FROM expires_at - now()) / 60) FROM narvik_validate_session(:'short_token');
	SELECT extended, expires_at > now() + interval '29 days' FROM narvik_validate_session(:'month_token');
	-- data
	SELECT narvik_update_session_data(:'id', '{"theme": "dark", "device": null}');
	SELECT narvik_update_session_data(narvik_session_id('nobody'), '{}') IS NULL;
	SELECT data FROM narvik_validate_session(:'token');
	-- rotation
	SELECT token, id FROM narvik_rotate_session(:'token') \gset rotated_
	SELECT count(*) FROM narvik_validate_session(:'token');
	SELECT count(*) FROM narvik_rotate_session(:'token');
	SELECT id = :'rotated_id', user_id, data, created_at = :'created_at', new FROM narvik_validate_session(:'rotated_token');
	SELECT new, extended, user_id FROM narvik_rotate_session(:'month_token');
	SELECT token, id, data, authenticated_at = created_at AS old FROM narvik_reauthenticate_session(:'rotated_token', '{"level": 2}') \gset rotated_
	SELECT :'rotated_data', :'rotated_old', :'rotated_id' = narvik_session_id(:'rotated_token');
	SELECT count(*) FROM narvik_validate_session(:'rotated_token');
	SELECT count(*) FROM unnest(ARRAY[NULL, '', 'x']) AS t, narvik_reauthenticate_session(t);
	SELECT new, extended, user_id, expires_at < now() + interval '1 hour' FROM narvik_rotate_session(:'short_token');
	-- a user's sessions
	SELECT count(*), min(user_id), array_agg(id ORDER BY created_at DESC) = array_agg(id) FROM narvik_fetch_sessions_for_user('alice');
	SELECT count(*), array_agg(id ORDER BY created_at DESC) = array_agg(id) FROM narvik_fetch_sessions_for_user('bob');
	SELECT * FROM narvik_fetch_sessions_for_user('carol');
	SELECT count(*), max(created_at) < now() + interval '1 s' FROM narvik_fetch_sessions_for_user('alice', 1, now() + interval '1 day');
	SELECT count(*) FROM narvik_fetch_sessions_for_user('alice', 0);
	SELECT count(*) FROM narvik_fetch_sessions_for_user('alice', created_before => now() - interval '1 day');
	SELECT narvik_delete_sessions_for_user('alice', upper(:'rotated_id'));
	SELECT array_agg(id) = ARRAY[:'rotated_id'] FROM narvik_fetch_sessions_for_user('alice');
	SELECT narvik_delete_sessions_for_user('bob', NULL, 'stolen'), narvik_delete_sessions_for_user('bob');
	-- log out
	SELECT narvik_invalidate_session(upper(:'rotated_id'), 'tidied'), narvik_invalidate_session(:'rotated_id');
	SELECT count(*) FROM narvik_validate_session(:'rotated_token');
	-- storage callbacks
	SELECT narvik_save_session(narvik_session_id('t' || i), 'carol', now() + (i - 3) * interval '1 hour', '{"i": 1}')
	FROM generate_series(1, 9) AS i;
	SELECT user_id, data, expires_at < now() FROM narvik_fetch_session(narvik_session_id('t1'));
	SELECT user_id, data, expires_at < now() FROM narvik_fetch_session(narvik_session_id('t9'));
	SELECT count(*) FROM narvik_fetch_sessions_for_user('carol');
	SELECT narvik_delete_session(narvik_session_id('t9')), narvik_delete_session(narvik_session_id('t9'));
	SELECT count(*) FROM narvik_validate_session('t2');
	SELECT narvik_delete_sessions_for_user('carol');
	SELECT narvik_put_session(narvik_session_id('put'), NULL, now() + interval '1 hour', '{}', true),
		narvik_put_session(narvik_session_id('put'), NULL, now() + interval '1 hour', '{"i": 2}', false),
		narvik_put_session(narvik_session_id('put'), 'carol', now() + interval '1 hour', '{"i": 3}');
	SELECT user_id, data FROM narvik_fetch_session(narvik_session_id('put'));
	SELECT narvik_delete_sessions_for_user('carol');
	-- guests
	SELECT token, user_id IS NULL AS nobody, expires_at - created_at AS lives, authenticated_at IS NULL AS never
	FROM narvik_create_guest_session('{"cart": 1}') \gset guest_
	SELECT :'guest_nobody', :'guest_lives', :'guest_never';
	SELECT token, id, user_id, data, authenticated_at = created_at AS now FROM narvik_promote_session(:'guest_token', 'alice', '{"i": 4}') \gset promoted_
	SELECT :'promoted_id' = narvik_session_id(:'promoted_token'), :'promoted_user_id', :'promoted_data', :'promoted_now';
	SELECT count(*) FROM narvik_validate_session(:'guest_token');
	SELECT user_id, data FROM narvik_validate_session(:'promoted_token');
	SELECT user_id, data FROM narvik_promote_session(:'promoted_token', 'bob', max_age => '1 hour');
	SELECT count(*) FROM narvik_validate_session(:'promoted_token');
	SELECT user_id, data FROM unnest(ARRAY[NULL, '', 'x', repeat('x', 2000)]) AS t, narvik_promote_session(t, 'bob');
	SELECT count(*), max(expires_at - created_at) FROM narvik_fetch_sessions_for_user('bob') WHERE expires_at < now() + interval '1 day';
	SELECT narvik_delete_sessions_for_user('bob'), narvik_delete_sessions_for_user('alice');
	-- cookies
	SELECT narvik_cookie_name(), narvik_create_cookie('x'), narvik_create_cookie('x', '1 hour'), narvik_create_blank_cookie(),
		narvik_read_cookie('a=b; narvik_session=c');
	SELECT length(narvik_generate_token());
};
my %refused = (
	'a NULL or bad user' => q{
		SELECT narvik_create_session(NULL); SELECT narvik_create_session(''); SELECT narvik_create_session(repeat('x', 1025));
		SELECT narvik_fetch_sessions_for_user(NULL); SELECT narvik_fetch_sessions_for_user('alice', -1); SELECT narvik_delete_sessions_for_user(NULL);
		SELECT narvik_save_session(narvik_session_id('x'), NULL, now())},
	'bad data' => q{
		SELECT narvik_create_session('x', NULL); SELECT narvik_create_session('x', '[]');
		SELECT narvik_update_session_data(narvik_session_id('x'), NULL); SELECT narvik_update_session_data(narvik_session_id('x'), '1')},
	'bad times' => q{
		SELECT narvik_create_session('x', expires_in => '0'); SELECT narvik_create_session('x', expires_in => '-1 day 02:00');
		SELECT narvik_create_session('x', expires_in => '100000000 years'); SELECT narvik_create_session('x', sliding => NULL);
		SELECT narvik_save_session(narvik_session_id('x'), 'x', NULL); SELECT narvik_save_session(narvik_session_id('x'), 'x', 'infinity');
		SELECT narvik_update_session_expiry(narvik_session_id('x'), NULL); SELECT narvik_update_session_expiry(NULL, '-infinity')},
	'bad session ids' => q{
		SELECT narvik_save_session(NULL, 'x', now()); SELECT narvik_save_session('x', 'x', now());
		SELECT narvik_save_session(narvik_session_id('x') || E'\n', 'x', now());
		SELECT narvik_invalidate_session(i), narvik_delete_session(i), narvik_update_session_data(i, '{}'),
			narvik_update_session_expiry(i, now()), (SELECT count(*) FROM narvik_fetch_session(i))
		FROM unnest(ARRAY[NULL, '', 'x', repeat('x', 64), repeat('0', 63), repeat('0', 65), repeat('0', 64) || E'\n', repeat('é', 64)]) AS i},
	'any token' => q{
		SELECT (SELECT count(*) FROM narvik_validate_session(t)), (SELECT count(*) FROM narvik_rotate_session(t))
		FROM unnest(ARRAY[NULL, '', 'x', 'é', '\x', E'\x01', ''';--', repeat('x', 1024), repeat('x', 1025), repeat('x', 1000000)]) AS t});
my %settings = (
	'plain' => '',
	'odd settings' => q{SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Kathmandu';
		SET bytea_output = 'escape'; SET extra_float_digits = -5;} . ($node->pg_version < 19 ? 'SET standard_conforming_strings = off;' : ''),
	'other odd settings' => q{SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SET timezone = 'America/St_Johns';},
	'in a transaction' => 'BEGIN;',
	'in LATIN1' => q{SET client_encoding = 'LATIN1';});

foreach my $how (sort keys %settings)
{
	my $expected = outcome($node, 'alone', $settings{$how} . $lifecycle, '-U', 'app');
	is(outcome($node, 'router', $settings{$how} . $lifecycle, '-U', 'app'), $expected, "$how: a session's whole life as in one database");
	unlike($expected, qr/ERROR/, "$how: without an error");
}
my $expired = q{
	SELECT narvik_delete_all_expired_sessions() >= 0;
	SELECT narvik_save_session(narvik_session_id('t' || i), 'carol', now() - interval '1 hour') FROM generate_series(1, 30) AS i;
	SELECT narvik_delete_all_expired_sessions();
	SELECT narvik_save_session(narvik_session_id('twice'), 'carol', now() + interval '1 hour');
	SELECT narvik_save_session(narvik_session_id('twice'), 'carol', now() + interval '1 hour');
	SELECT narvik_create_cookie('a b');
	SELECT narvik_grant(NULL);
	SELECT narvik_delete_session(narvik_session_id('twice'))};
is(outcome($node, 'router', $expired), outcome($node, 'alone', $expired), 'expired sessions, a second one of an id, a bad cookie');
my %before = map { $_ => $node->safe_psql($_, 'SELECT count(*) FROM narvik.narvik_sessions') } @shards;
foreach my $what (sort keys %refused)
{
	my $expected = outcome($node, 'alone', $refused{$what});
	is(outcome($node, 'router', $refused{$what}), $expected, "$what: refused or ignored as in one database");
	note($expected);
}
is($node->safe_psql($_, 'SELECT count(*) FROM narvik.narvik_sessions'), $before{$_}, "$_ stored nothing of that") foreach @shards;

# ---- where sessions are -----------------------------------------------------

my @tokens = split /\n/, $node->safe_psql(
	'router',
	q{SELECT s.token FROM generate_series(1, 60) AS i, narvik_create_session('erin' || i % 2) AS s});
is(scalar @tokens, 60, 'sixty sessions');
my %count;
foreach my $token (@tokens)
{
	my $shard = shard_of($node, $token, @shards);
	$count{$shard}++;
	$count{wrong}++ if $shard ne 'shard' . partition_of($node, $token) % 3;
}
is(join(' ', sort keys %count), join(' ', @shards), 'each is in one shard, that of its partition, and every shard has some');
is($node->safe_psql('router', 'SELECT count(*) FROM narvik_local.narvik_sessions'), '0', 'the router stores none');
is( $node->safe_psql(
		'router', q{SELECT string_agg(n::text, ' ') FROM (
		SELECT count(*) AS n FROM narvik_fetch_sessions_for_user('erin0') UNION ALL SELECT narvik_delete_sessions_for_user('erin0')) AS s}),
	'30 30',
	"a user's sessions are found in all of them");
is( $node->safe_psql('router', q{SELECT sum(created) >= 60, count(*) FROM narvik_stats}),
	't|3', 'narvik_stats has a row for each shard');
$node->safe_psql('router', 'SELECT narvik_reset_stats()');
is($node->safe_psql('router', q{SELECT sum(created) FROM narvik_stats}), '0', 'and is reset in all');

my $stays = 0;
foreach (1 .. 20)
{
	my ($old, $new) = split /\|/, $node->safe_psql(
		'router', q{
		SELECT c.token, r.token FROM narvik_create_session('frank') AS c, narvik_rotate_session(c.token) AS r});
	$stays++
	  if partition_of($node, $old) == partition_of($node, $new)
	  && shard_of($node, $old, @shards) eq ''
	  && shard_of($node, $new, @shards) eq 'shard' . partition_of($node, $new) % 3;
}
is($stays, 20, 'a rotated session stays in its partition');

# ---- events -----------------------------------------------------------------

$node->safe_psql('postgres', "ALTER DATABASE $_ SET narvik.events = on") foreach @shards;
my ($first, $second, $third) = split /\|/, $node->safe_psql(
	'router', q{
	SELECT c.id, r.id, a.id FROM narvik_create_session('gina') AS c, narvik_rotate_session(c.token) AS r, narvik_reauthenticate_session(r.token) AS a}
);
$node->safe_psql('router', qq{SELECT narvik_invalidate_session('$third', 'tidied')});
is( join(
		' ',
		map {
			$node->safe_psql(
				$_,
				q{SELECT string_agg(concat_ws(' ', kind, reason, session_id), ', ' ORDER BY seq) FROM narvik.narvik_fetch_events_for_user('gina')}
			)
		} @shards) =~ s/^ *| *$//gr,
	"created $first, rotated $second, reauthenticated $third, ended tidied $third",
	'the shard of a session tells what happened to it, by the ids that the router chose');
$node->safe_psql('postgres', "ALTER DATABASE $_ RESET narvik.events") foreach @shards;

# ---- settings of the shards -------------------------------------------------

$node->safe_psql('postgres', "ALTER DATABASE $_ SET narvik.session_max_age = '1d'")    foreach @shards;
$node->safe_psql('postgres', "ALTER DATABASE $_ SET narvik.max_sessions_per_user = 1") foreach @shards;
is( $node->safe_psql(
		'router',
		q{SELECT bool_and(expires_at = created_at + interval '24 hours') FROM generate_series(1, 40) AS i, narvik_create_session(left('grace', 4 + i))}
	),
	't',
	'the maximal age that shards set holds');
is( $node->safe_psql('router', q{SELECT count(*) FROM narvik_fetch_sessions_for_user('grace')}),
	'3', 'the limit of sessions per user is one per shard');
$node->safe_psql('postgres', "ALTER DATABASE $_ RESET narvik.session_max_age")       foreach @shards;
$node->safe_psql('postgres', "ALTER DATABASE $_ RESET narvik.max_sessions_per_user") foreach @shards;

# ---- what does not hold through a router ------------------------------------

my $token = $node->safe_psql('router', q{SELECT token FROM narvik_create_session('heidi')});
is( $node->safe_psql(
		'router', qq{
		BEGIN; SELECT narvik_invalidate_session(narvik_session_id('$token')); ROLLBACK;
		SELECT count(*) FROM narvik_validate_session('$token')}),
	"t\n0",
	'a log-out is not undone by ROLLBACK');
is( $node->safe_psql(
		'router', q{
		BEGIN; SELECT count(*) FROM narvik_create_session('heidi'); ROLLBACK;
		SELECT count(*) FROM narvik_fetch_sessions_for_user('heidi')}),
	"1\n1",
	'nor is a log-in');
is( outcome($node, 'router', q{BEGIN READ ONLY; SELECT narvik_delete_sessions_for_user('heidi')}),
	'1', 'READ ONLY does not keep shards from writing');
is(outcome($node, 'router', "SELECT narvik.$_(NULL)"), 'ERROR:  42883', "$_ is not there") foreach @missing;

# ---- trouble ----------------------------------------------------------------

my %token_in;
while (keys %token_in < 3)
{
	my $new = $node->safe_psql('router', q{SELECT token FROM narvik_create_session('ivan')});
	$token_in{ shard_of($node, $new, @shards) } = $new;
}
my $client = $node->background_psql('router', on_error_stop => 0);
$client->query_safe("\\set VERBOSITY sqlstate\nSET client_min_messages = error");
my $ask = sub {
	my ($sql) = @_;
	$client->{stderr} = '';
	my $out = $client->query($sql);
	return $client->{stderr} =~ /ERROR:\s+(\w{5})/ ? $1 : $out;
};
# By table, so that no statement that fails has a token in its text.
$node->safe_psql(
	'router',
	'CREATE TABLE tokens (shard text, token text); INSERT INTO tokens VALUES ' . join(', ', map { "('$_', '$token_in{$_}')" } @shards));
my $validate = sub { return $ask->("SELECT user_id FROM tokens, narvik_validate_session(token) WHERE shard = '$_[0]'") };
is($validate->($_), 'ivan', "$_ answers") foreach @shards;

$node->safe_psql(
	'postgres', q{ALTER DATABASE shard1 ALLOW_CONNECTIONS false;
	SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = 'shard1'});
my $state = $validate->('shard1');
like($state, qr/^[0-9A-Z]{5}$/, "a shard is down: its sessions are an error ($state), not invalid");
is($validate->($_), 'ivan', "those of $_ are valid") foreach ('shard0', 'shard2');
like($ask->(q{SELECT narvik_delete_sessions_for_user('ivan')}), qr/^[0-9A-Z]{5}$/, 'who logs out everywhere is told that it failed');
$node->safe_psql('postgres', q{ALTER DATABASE shard1 ALLOW_CONNECTIONS true});
is($validate->('shard1'), 'ivan', 'the shard is back: so are its sessions, in the same connection');

# A statement that takes too long is ended on the shard as well.
my $blocker = $node->background_psql('shard1');
$blocker->query_safe('BEGIN; LOCK TABLE narvik.narvik_sessions IN ACCESS EXCLUSIVE MODE');
$ask->(q{SET statement_timeout = '300ms'});
is($validate->('shard1'), '57014', 'statement_timeout holds while a shard is waited for');
ok( $node->poll_query_until(
		'postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'narvik_router' AND wait_event_type = 'Lock'}),
	'and the shard waits no longer');
$blocker->query_safe('COMMIT');
$blocker->quit;
is($ask->('RESET statement_timeout'), '', 'the connection goes on');
is($validate->('shard1'), 'ivan', 'and so does the session');

# A shard knows what it has: a router with a wrong map is told so.
$node->safe_psql('router', "SELECT narvik_router.place(@{[partition_of($node, $token_in{shard1})]}, '@{[address($node, 'shard2')]}')");
is($validate->('shard1'), '40001', 'asked in the wrong place, a session is an error, not invalid');
is($ask->("SELECT $_(narvik_session_id(token)) FROM tokens WHERE shard = 'shard1'"), '40001', "$_: the same")
  foreach ('narvik_invalidate_session', 'narvik_fetch_session');
is($ask->("SELECT narvik_rotate_session(token) FROM tokens WHERE shard = 'shard1'"), '40001', 'narvik_rotate_session: the same');
$node->safe_psql('router', "SELECT narvik_router.place(@{[partition_of($node, $token_in{shard1})]}, '@{[address($node, 'shard1')]}')");
is($validate->('shard1'), 'ivan', 'in the right one it is valid');
$client->quit;

# ---- the scripts again ------------------------------------------------------

my $map = $node->safe_psql('router', 'SELECT * FROM narvik_router.map ORDER BY 1');
is(run_script($node, 'router', 'router', '-v', 'shards={"dbname=elsewhere"}'), '', 'a router can be made again');
is($node->safe_psql('router', 'SELECT * FROM narvik_router.map ORDER BY 1'), $map, 'with its map');
is(run_script($node, 'shard0', 'shard', '-v', 'shards=1', '-v', 'shard=0'), '', 'and a shard');
is($node->safe_psql('shard0', 'SELECT count(*) FROM narvik_shard.partitions'), '22', 'with its partitions');
is(outcome($node, 'router', q{SELECT user_id FROM narvik_create_session('judy')}, '-U', 'app'), 'judy', 'and all rights');

$node->safe_psql(
	'router', q{
	CREATE FUNCTION narvik_local.narvik_something_new() RETURNS int LANGUAGE sql RETURN 1;
	ALTER EXTENSION narvik ADD FUNCTION narvik_local.narvik_something_new()});
like(
	run_script($node, 'router', 'router', '-v', 'shards={}'),
	qr/narvik has other functions than these scripts know: narvik_something_new/,
	'a function of narvik that they do not know is not passed over');

$node->stop;
done_testing();
