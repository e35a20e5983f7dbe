# EXECUTE is the gate.  Who has it can use the functions and still not touch the
# table; who has it not gets nothing.  The caller stays the caller, whatever
# happens inside, and cannot lengthen sessions by a setting.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE ROLE app LOGIN;
	CREATE ROLE colleague;
	GRANT colleague TO app;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE keeper;
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE people (id text PRIMARY KEY);
	INSERT INTO people VALUES ('alice'), ('carol'), ('dora'), ('fay'), ('mallory');
	SELECT narvik_link_users('people');
	GRANT SELECT, UPDATE, DELETE ON people TO app;
	CREATE VIEW members AS
		SELECT p.* FROM pg_proc AS p
		JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
			 AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik';
	DO $$
	DECLARE f text;
	BEGIN
		FOR f IN SELECT oid::regprocedure FROM members LOOP
			EXECUTE 'GRANT EXECUTE ON FUNCTION ' || f || ' TO app';
		END LOOP;
	END $$;
	CREATE SCHEMA workshop AUTHORIZATION app;
});

# Runs SQL as a role; returns the answer, or the SQLSTATE of the error.
sub as
{
	my ($role, $sql, $options) = @_;
	my $connstr = $node->connstr('postgres') . " user=$role";
	$connstr .= " options='$options'" if defined $options;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", connstr => $connstr);
	return $1 if $err =~ /ERROR:\s+(\w{5})\b/;
	return "failed: $err" if $rc != 0;
	return $out;
}

my %id = map { $_ => sha256_hex("token-$_") } 'a' .. 'f';

sub seed
{
	$node->safe_psql(
		'postgres', qq{
		DELETE FROM narvik_sessions;
		SELECT narvik_save_session('$id{a}', 'alice', now() + interval '10 days');
		SELECT narvik_save_session('$id{b}', 'alice', now() + interval '29 days');
		SELECT narvik_save_session('$id{d}', 'dora', now() - interval '1 day');
		SELECT narvik_save_session('$id{e}', 'dora', now() - interval '1 day')});
	return;
}

# Every function once and more, with nothing in the calls that a search_path
# could turn into something else.
my @calls = (
	[ "count(token) FROM public.narvik_create_session('alice')", '1' ],
	[ "user_id, extended FROM public.narvik_validate_session('token-a')", 'alice|t' ],
	[ "user_id FROM public.narvik_validate_session('token-d')", '' ],
	[ "who, public.narvik_current_user_id() FROM public.narvik_authenticate('token-b') AS who", 'alice|alice' ],
	[ "public.narvik_current_user_id()", '' ],
	[ "public.narvik_current_session_id()", '' ],
	[ "public.narvik_current_data()", '' ],
	[ "public.narvik_is_fresh('1 hour')", 'f' ],
	[ "count(seq) FROM public.narvik_fetch_events_for_user('alice')", '0' ],
	[ "id FROM public.narvik_validate_user('token-b', NULL::public.people)", 'alice' ],
	[ "count(id) FROM public.narvik_fetch_sessions_for_user('alice')", '3' ],
	[ "public.narvik_update_session_data('$id{a}', '{\"k\": 1}')", '{"k": 1}' ],
	[ "public.narvik_save_session('$id{c}', 'carol', '2099-01-01 00:00+00')", '' ],
	[ "user_id FROM public.narvik_fetch_session('$id{c}')", 'carol' ],
	[ "public.narvik_update_session_expiry('$id{c}', '2098-01-01 00:00+00')", 't' ],
	[ "user_id FROM public.narvik_rotate_session('token-b')", 'alice' ],
	[ "user_id FROM public.narvik_validate_session('token-b')", '' ],
	[ "user_id FROM public.narvik_reauthenticate_session('token-c', '{\"k\": 1}')", 'carol' ],
	[ "public.narvik_change_session_id(id, '$id{c}') FROM public.narvik_fetch_sessions_for_user('carol')", 't' ],
	[ "user_id IS NULL FROM public.narvik_create_guest_session()", 't' ],
	[ "user_id FROM public.narvik_promote_session('unknown', 'fay')", 'fay' ],
	[ "user_id FROM public.narvik_authenticate_cookie('a=b')", '' ],
	[ "user_id FROM public.narvik_authenticate_cookie('a=b'::pg_catalog.bytea)", '' ],
	[ "public.narvik_put_session('$id{c}', 'carol', '2099-01-01 00:00+00', '{}', true)", 't' ],
	[ "public.narvik_change_session_id(pg_catalog.repeat('0', 64), '$id{c}')", 'f' ],
	[ "public.narvik_invalidate_session('$id{a}')", 't' ],
	[ "user_id FROM public.narvik_validate_session('token-a')", '' ],
	[ "public.narvik_delete_session('$id{c}')", 't' ],
	[ "public.narvik_delete_sessions_for_user('alice')", '2' ],
	[ "public.narvik_delete_all_expired_sessions()", '1' ],
	[ "pg_catalog.length(public.narvik_generate_token())", '32' ],
	[ "public.narvik_session_id('token-a')", $id{a} ],
	[ "public.narvik_cookie_name()", 'narvik_session' ],
	[ "public.narvik_read_cookie('narvik_session=t')", 't' ],
	[   "public.narvik_create_blank_cookie()",
		'narvik_session=; Max-Age=0; Path=/; SameSite=Lax; Secure; HttpOnly' ],
	[ "users, id_column, whole FROM public.narvik_linked_users()", 'people|id|t' ],
	[ "created FROM public.narvik_stats()", '' ],
	[ "public.narvik_reset_stats()", '' ],
	[   "public.narvik_create_cookie('t')",
		'narvik_session=t; Max-Age=2592000; Path=/; SameSite=Lax; Secure; HttpOnly' ]);

# These do what the caller may do by itself, so EXECUTE alone gives nothing.  The
# last two say so in a warning, as GRANT does; that nothing was granted or revoked
# is seen by the tests that follow.
my @administration = (
	[ "public.narvik_link_users('workshop.own')", '55006' ],
	[ "public.narvik_unlink_users()", '42501' ],
	[ "public.narvik_users_changed()", '39P01' ],
	[ "public.narvik_grant('stranger')", '' ],
	[ "public.narvik_revoke('app')", '' ]);

sub every_call_works
{
	my ($how, $before) = @_;

	seed();
	my $sql = "SET client_min_messages = warning;\n" . ($before // '');
	$sql .= "\\echo == $_\nSELECT $calls[$_]->[0];\n" foreach 0 .. $#calls;
	my ($rc, $out, $err) = $node->psql(
		'postgres', $sql,
		connstr => $node->connstr('postgres') . ' user=app',
		on_error_stop => 0);
	my (undef, @answers) = split(/^== \d+\n?/m, $out);
	# A void answer is a line without anything on it.
	chomp(@answers);
	is_deeply(
		[ map { "$calls[$_]->[0]: " . ($answers[$_] // 'not reached') } 0 .. $#calls ],
		[ map { "$_->[0]: $_->[1]" } @calls ],
		"$how: every function can be used");
	is($err, '', "$how: without an error");
	return;
}

is( $node->safe_psql('postgres', 'SELECT proname FROM members GROUP BY proname ORDER BY proname COLLATE "C"'),
	join("\n", sort keys %{ { map { $_ => 1 } map { $_->[0] =~ /(narvik_\w+)\(/g } @calls, @administration } }),
	'every function of the extension is tried here');

# -- who may call

is( $node->safe_psql(
		'postgres', q{
		SELECT proname FROM members
		WHERE EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))
					  WHERE grantee = 0 AND privilege_type = 'EXECUTE')
		ORDER BY proname COLLATE "C"}),
	join(
		"\n", qw(narvik_cookie_name narvik_create_blank_cookie narvik_create_cookie
		  narvik_current_data narvik_current_session_id narvik_current_user_id narvik_generate_token narvik_is_fresh
		  narvik_read_cookie narvik_session_id)),
	'PUBLIC may call the functions that touch no session, and no other');

every_call_works('application role');

$node->safe_psql('postgres', 'CREATE TABLE workshop.own (id text PRIMARY KEY); ALTER TABLE workshop.own OWNER TO app');
is(as('app', "SELECT $_->[0]"), $_->[1], "with EXECUTE alone: $_->[0]") foreach @administration;
{
	my ($rc, $out, $err) = $node->psql(
		'postgres', q{
		\set VERBOSITY sqlstate
		BEGIN;
		SELECT narvik_unlink_users();
		SET LOCAL ROLE app;
		SELECT narvik_link_users('workshop.own')});
	like($err, qr/ERROR:  42501/, 'nor a link to a table of its own');
}

foreach (
	split /\n/,
	$node->safe_psql(
		'postgres', q{
		SELECT proname, 'SELECT ' || proname || '(' ||
			   coalesce((SELECT string_agg('NULL::' || replace(format_type(t, NULL), 'anyelement', 'int'), ', ' ORDER BY n)
						 FROM unnest(proargtypes) WITH ORDINALITY AS a (t, n)), '') || ')',
			   EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))
					   WHERE grantee = 0)
		FROM members ORDER BY 1}))
{
	my ($name, $call, $open) = split /\|/;
	if ($open eq 't')
	{
		isnt(as('stranger', $call), '42501', "a role without grants may call $name");
	}
	else
	{
		is(as('stranger', $call), '42501', "a role without grants may not call $name");
	}
}

# -- the table

foreach my $role ('app', 'stranger')
{
	foreach my $sql (
		'TABLE narvik_sessions',
		'SELECT count(*) FROM narvik_sessions',
		'SELECT user_id FROM narvik_sessions FOR UPDATE',
		q{INSERT INTO narvik_sessions (id) VALUES ('x')},
		q{UPDATE narvik_sessions SET expires_at = 'infinity'},
		'DELETE FROM narvik_sessions',
		'TRUNCATE narvik_sessions',
		'COPY narvik_sessions TO STDOUT',
		'BEGIN; LOCK TABLE narvik_sessions IN ACCESS SHARE MODE',
		'CREATE TABLE workshop.x (seq bigint REFERENCES narvik_sessions)',
		'TABLE narvik_sessions_seq_seq',
		q{SELECT nextval('narvik_sessions_seq_seq')},
		q{SELECT currval('narvik_sessions_seq_seq')},
		q{SELECT setval('narvik_sessions_seq_seq', 1)})
	{
		is(as($role, $sql), '42501', "$role is denied: $sql");
	}
}
is( $node->safe_psql(
		'postgres', q{
		SELECT relname, a.grantee::regrole, a.privilege_type
		FROM pg_class AS c
		JOIN pg_depend AS d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
			 AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'
		CROSS JOIN aclexplode(coalesce(c.relacl, acldefault(
			CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS a
		WHERE a.grantee <> c.relowner}),
	'narvik_stats|pg_read_all_stats|SELECT',
	'nobody but its owner has a privilege on a table or sequence of narvik, and only monitors on its view');

# -- settings

my @settings = split /\n/, $node->safe_psql(
	'postgres',
	q{SELECT narvik_cookie_name() \g /dev/null
	SELECT name FROM pg_settings WHERE name LIKE 'narvik.%' ORDER BY name COLLATE "C"});
is( join(' ', grep { !/^narvik\.purge/ } @settings),
	join(
		' ',
		map { "narvik.$_" } qw(activity_interval cookie_domain cookie_expires_in cookie_name cookie_partitioned cookie_path
		  cookie_same_site cookie_secure detect_reuse event_claims events events_retention guest_expires_in
		  max_sessions_action max_sessions_per_user notify rotation_grace session_expires_in session_max_age)),
	'the settings are the ones of the manual');
is( $node->safe_psql(
		'postgres', q{
		SELECT narvik_cookie_name() \g /dev/null
		SELECT DISTINCT context FROM pg_settings WHERE name LIKE 'narvik.%'}),
	'superuser',
	'all of them are for superusers');
foreach my $name (@settings)
{
	my $load = "SELECT narvik_cookie_name() \\g /dev/null\n";
	my $value = $node->safe_psql('postgres', "$load SHOW $name");
	is( as('app', "$load SET $name = '$value'"), '42501',
		"the application role may not set $name");
	is( as('app', "$load SELECT set_config('$name', '$value', true)"), '42501',
		"nor with set_config");
}
is( as( 'app', 'SELECT narvik_cookie_name() \g /dev/null
		SET narvik.no_such_setting = 1'),
	'42602',
	'a misspelt setting is refused');

# Whatever is tried, the session lives as long as the superuser said.  Before
# the library is loaded a setting is a mere placeholder that anybody may set.
my $lived = q{SELECT expires_at - created_at FROM narvik_create_session('mallory');};
my $name = 'narvik.session_expires_in';
my $load = "SELECT narvik_cookie_name() \\g /dev/null\n";
foreach my $try (
	[ 'SET before the library is loaded', "SET $name = '300d';" ],
	[ 'SET LOCAL before the library is loaded', "BEGIN; SET LOCAL $name = '300d';" ],
	[ 'set_config before the library is loaded', "SELECT set_config('$name', '300d', false) \\g /dev/null\n" ],
	[ 'SET after the library is loaded', "${load}SET $name = '300d';" ],
	[ 'ALTER ROLE on itself', "ALTER ROLE app SET $name = '300d'; \\c\n" ],
	[ 'ALTER ROLE on itself after the library is loaded', "${load}ALTER ROLE app SET $name = '300d'; \\c\n" ],
	[ 'ALTER DATABASE', "ALTER DATABASE postgres SET $name = '300d'; \\c\n" ])
{
	my ($how, $sql) = @$try;
	my ($rc, $out, $err) = $node->psql(
		'postgres', "$sql\n$lived",
		connstr => $node->connstr('postgres') . ' user=app', on_error_stop => 0);
	# Within a transaction the refusal ends it and no session is made at all.
	ok( $out eq '30 days' || ($out eq '' && $err =~ /permission denied/),
		"$how does not lengthen a session") or diag("answer '$out', error '$err'");
}
{
	my $made = as('app', $lived, "-c $name=300d");
	ok( $made eq '30 days' || $made =~ /permission denied/,
		'connection options do not lengthen a session') or diag($made);

	foreach my $loaded ('', $load)
	{
		my ($rc, $out, $err) = $node->psql(
			'postgres', qq{$loaded
			CREATE FUNCTION workshop.longer() RETURNS interval LANGUAGE sql SET $name = '300d'
			AS \$\$ SELECT expires_at - created_at FROM narvik_create_session('mallory') \$\$;
			SELECT workshop.longer()},
			connstr => $node->connstr('postgres') . ' user=app', on_error_stop => 0);
		ok( $out eq '30 days' || $out eq '',
			'a function with a SET clause does not lengthen a session') or diag("answer '$out', error '$err'");
		$node->safe_psql('postgres', 'DROP FUNCTION IF EXISTS workshop.longer()');
	}
}
is( $node->safe_psql('postgres', 'SELECT count(*) FROM pg_db_role_setting'),
	'0', 'and nothing of that was stored');

# The control: the same ways, used by a superuser, do work.
$node->safe_psql('postgres', "ALTER ROLE app SET $name = '7d'");
is(as('app', $lived), '7 days', 'what a superuser sets for a role holds');
$node->safe_psql('postgres', "ALTER ROLE app RESET $name");
is( $node->safe_psql('postgres', "SET $name = '300d'; $lived"),
	'300 days', 'a superuser may set it before the library is loaded');

# -- the caller stays the caller

$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'refused' USING ERRCODE = 'RF000';
	END $$;
	CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON narvik_sessions
		FOR EACH ROW EXECUTE FUNCTION refuse();
	ALTER TABLE narvik_sessions DISABLE TRIGGER refuse});
seed();
$node->safe_psql('postgres', 'ALTER TABLE narvik_sessions ENABLE TRIGGER refuse');

# Each of these raises an error while the table is being written.
my @failing = (
	q{SELECT narvik_create_session('alice')},
	q{SELECT narvik_validate_session('token-a')},
	q{SELECT narvik_validate_session('token-d')},
	qq{SELECT narvik_invalidate_session('$id{a}')},
	q{SELECT narvik_rotate_session('token-a')},
	q{SELECT narvik_delete_sessions_for_user('alice')},
	q{SELECT narvik_delete_all_expired_sessions()},
	qq{SELECT narvik_update_session_data('$id{a}', '{"k": 1}')},
	qq{SELECT narvik_save_session('$id{f}', 'fay', '2099-01-01')},
	qq{SELECT narvik_update_session_expiry('$id{a}', '2099-01-01')},
	qq{SELECT narvik_delete_session('$id{a}')},
	q{SELECT narvik_authenticate('token-a')},
	q{SELECT narvik_validate_user('token-a', NULL::public.people)},
	q{UPDATE people SET id = 'alicia' WHERE id = 'alice'},
	q{DELETE FROM people WHERE id = 'alice'});

# What only the caller itself can do, and what it cannot.
my $identity = q{
	SELECT current_user, session_user;
	SET ROLE colleague; SELECT current_user; RESET ROLE;
	SELECT has_table_privilege('public.narvik_sessions', 'SELECT');
	SELECT current_setting('search_path'), current_setting('enable_seqscan');
	CREATE TABLE workshop.mine (); SELECT tableowner FROM pg_tables WHERE tablename = 'mine';
	DROP TABLE workshop.mine;
};
my $caller = "app|app\ncolleague\nf\n\"\$user\", public|on\napp";

foreach my $call (@failing)
{
	my ($rc, $out, $err) = $node->psql(
		'postgres', "\\set VERBOSITY sqlstate
		$call;
		$identity
		BEGIN; SAVEPOINT a; $call; ROLLBACK TO a;
		$identity
		COMMIT;
		TABLE narvik_sessions;",
		connstr => $node->connstr('postgres') . ' user=app', on_error_stop => 0);
	$out =~ s/^(alice|\(.*\))\n//mg;                             # what validation answered
	is($out, "$caller\n$caller", "the caller is itself again after an error in: $call");
	my $may_fail = $call =~ /narvik_(validate|authenticate)/;    # validation answers without the write
	is( join(' ', $err =~ /(?:ERROR|WARNING):\s+(\w{5})/g), $may_fail ? 'RF000 42501' : 'RF000 RF000 42501',
		'the error was raised by the trigger');
}

$node->safe_psql('postgres', 'ALTER TABLE narvik_sessions DISABLE TRIGGER refuse');

# And after success, in the middle of a transaction.
seed();
foreach my $call (@calls)
{
	is( as('app', "BEGIN;\nSELECT $call->[0] \\g /dev/null\n$identity ROLLBACK"), $caller,
		"the caller is itself again after: $call->[0]");
}

# The same when the statement is cancelled while it waits for a row.
{
	my $open = $node->background_psql('postgres');
	$open->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM narvik_sessions FOR UPDATE) AS s');
	foreach my $call (grep { !/validate|authenticate|create|save|expired/ } @failing)
	{
		my ($rc, $out, $err) = $node->psql(
			'postgres', "\\set VERBOSITY sqlstate
			BEGIN; SET LOCAL lock_timeout = '50ms'; SAVEPOINT a; $call; ROLLBACK TO a;
			$identity
			COMMIT;",
			connstr => $node->connstr('postgres') . ' user=app', on_error_stop => 0);
		is($out, $caller, "the caller is itself again after a lock timeout in: $call");
		is(join(' ', $err =~ /ERROR:\s+(\w{5})/g), '55P03', 'it was a lock timeout');
	}
	$open->query_safe('ROLLBACK');
	$open->quit;
}
is( as( 'app', qq{
	DO \$\$
	DECLARE call text;
	BEGIN
		FOR i IN 1 .. 3 LOOP
			BEGIN
				PERFORM narvik_create_session('');
			EXCEPTION WHEN invalid_parameter_value THEN
				ASSERT current_user = 'app';
			END;
			BEGIN
				PERFORM narvik_save_session('$id{a}', 'alice', '2099-01-01');
			EXCEPTION WHEN unique_violation THEN
				ASSERT current_user = 'app';
			END;
		END LOOP;
	END \$\$;
	$identity}),
	$caller,
	'the caller is itself again after errors caught in PL/pgSQL');

# Writing is done as the table's owner, not as a superuser and not as the caller.
$node->safe_psql(
	'postgres', q{
	DROP TRIGGER refuse ON narvik_sessions;
	ALTER TABLE narvik_sessions OWNER TO keeper;
	CREATE TABLE writers (op text, who name);
	GRANT INSERT ON writers TO PUBLIC;
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.writers VALUES (TG_OP, current_user);
		RETURN NULL;
	END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON narvik_sessions
		FOR EACH ROW EXECUTE FUNCTION note()});
seed();
$node->safe_psql('postgres', 'TRUNCATE writers');
every_call_works('table owned by a role that is no superuser');
is( $node->safe_psql(
		'postgres', q{
		SELECT DISTINCT op, who FROM writers
		WHERE NOT (op IN ('DELETE', 'INSERT') AND who = 'postgres') ORDER BY 1}),
	"DELETE|keeper\nINSERT|keeper\nUPDATE|keeper",
	'sessions are written as the owner of the table');
$node->safe_psql('postgres', 'DROP TRIGGER note ON narvik_sessions');

# -- row-level security on the table itself

$node->safe_psql('postgres', 'ALTER TABLE narvik_sessions ENABLE ROW LEVEL SECURITY');
every_call_works('row-level security on the table');
every_call_works(
	'row-level security on the table, row_security off',
	"SET row_security = off;\n");
$node->safe_psql(
	'postgres', 'ALTER TABLE narvik_sessions FORCE ROW LEVEL SECURITY;
	CREATE POLICY all_rows ON narvik_sessions TO keeper USING (true)');
every_call_works('forced row-level security with a policy for the owner');

# Without a policy the owner sees nothing, by itself.  Logging out must not answer that
# there was no session while the session goes on.
seed();
$node->safe_psql('postgres', 'DROP POLICY all_rows ON narvik_sessions');
foreach my $call (
	[ "SELECT narvik_invalidate_session('$id{b}')", 't' ],
	[ "SELECT narvik_delete_session('$id{b}')", 't' ],
	[ "SELECT narvik_delete_sessions_for_user('alice')", '2' ],
	[ "SELECT count(*) FROM narvik_rotate_session('token-b')", '1' ],
	[ "SELECT narvik_update_session_expiry('$id{b}', '2099-01-01')", 't' ],
	[ "SELECT narvik_update_session_data('$id{b}', '{}')", '{}' ],
	[ "SELECT narvik_delete_all_expired_sessions()", '2' ],
	[ "SELECT count(*) FROM narvik_fetch_sessions_for_user('alice')", '2' ])
{
	my ($sql, $works) = @$call;
	my $answer = as('app', "BEGIN; $sql; ROLLBACK");
	ok( $answer eq $works || $answer =~ /^[0-9A-Z]{5}$/,
		"forced row-level security without a policy: works or refuses: $sql") or diag("answered '$answer'");
}
$node->safe_psql(
	'postgres', q{
	ALTER TABLE narvik_sessions NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
	ALTER TABLE narvik_sessions OWNER TO postgres;
	ALTER TABLE narvik_sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY});
every_call_works('forced row-level security, owner a superuser');
$node->safe_psql(
	'postgres', q{
	ALTER TABLE narvik_sessions NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY});

# -- a caller that sets traps

# Functions and operators in front of the ones of pg_catalog, for every type a
# session is made of; types and a table in the temporary schema.  Sprung, a trap
# would run as the owner of the table.
my $set = $node->safe_psql(
	'postgres', q{
	CREATE SCHEMA trap AUTHORIZATION app;
	SET ROLE app;
	CREATE FUNCTION pg_temp.set_traps() RETURNS bigint LANGUAGE plpgsql
	SET search_path = pg_catalog AS $$
	DECLARE
		kinds oid[] := ARRAY['bytea', 'text', 'timestamptz', 'interval', 'jsonb', 'int4', 'int8',
							 'bool', 'text[]', 'regclass', 'float8', 'numeric']::regtype[]::oid[];
		f record;
		body text := $x$ LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''sprung as %'', current_user; END' $x$;
		n bigint := 0;
	BEGIN
		FOR f IN SELECT p.oid, proname, pg_get_function_identity_arguments(p.oid) AS args,
						format_type(prorettype, NULL) AS result
				 FROM pg_proc AS p
				 WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
					   AND prorettype = ANY (kinds) AND NOT proretset AND provariadic = 0
					   AND (SELECT bool_and(t = ANY (kinds)) FROM unnest(proargtypes) AS t) IS NOT FALSE
		LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s', f.proname,
							   (SELECT string_agg(format_type(t, NULL), ',' ORDER BY i)
								FROM pg_proc, unnest(proargtypes) WITH ORDINALITY AS a (t, i)
								WHERE pg_proc.oid = f.oid), f.result) || body;
				n := n + 1;
			EXCEPTION WHEN duplicate_function OR invalid_function_definition THEN NULL;
			END;
		END LOOP;
		FOR f IN SELECT row_number() OVER () AS i, oprname, format_type(oprleft, NULL) AS l,
						format_type(oprright, NULL) AS r, format_type(oprresult, NULL) AS result
				 FROM pg_operator WHERE oprleft = ANY (kinds) AND oprright = ANY (kinds)
		LOOP
			EXECUTE format('CREATE FUNCTION trap.op%s(%s, %s) RETURNS %s', f.i, f.l, f.r, f.result) || body;
			EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap.op%s)',
						   f.oprname, f.l, f.r, f.i);
			n := n + 1;
		END LOOP;
		RETURN n;
	END $$;
	SELECT pg_temp.set_traps();
	CREATE TABLE trap.narvik_sessions ();
	CREATE FUNCTION trap.narvik_session_id(text) RETURNS text LANGUAGE plpgsql
	AS 'BEGIN RAISE EXCEPTION ''sprung as %'', current_user; END'});
cmp_ok($set, '>', 400, 'functions and operators that are traps');
my $traps = q{
	CREATE DOMAIN pg_temp.bytea AS pg_catalog.int4;
	CREATE DOMAIN pg_temp.text AS pg_catalog.int4;
	CREATE DOMAIN pg_temp.timestamptz AS pg_catalog.int4;
	CREATE DOMAIN pg_temp.jsonb AS pg_catalog.int4;
	CREATE TEMP TABLE narvik_sessions (LIKE public.narvik_sessions_shape);
	CREATE TEMP SEQUENCE narvik_sessions_seq_seq;
	SET search_path = pg_temp, trap, pg_catalog, public;
};
$node->safe_psql(
	'postgres', q{
	CREATE TABLE narvik_sessions_shape AS TABLE narvik_sessions WITH NO DATA;
	GRANT SELECT ON narvik_sessions_shape TO PUBLIC;
	ALTER ROLE app SET narvik.max_sessions_per_user = 100;
	ALTER ROLE app SET narvik.session_max_age = '300d'});
my ($rc, $out, $err) = $node->psql(
	'postgres',
	"$traps SELECT 'a'::pg_catalog.text || 'b'::pg_catalog.text",
	connstr => $node->connstr('postgres') . ' user=app');
like($err, qr/sprung as app/, 'a trap can be sprung');
every_call_works('a search_path full of traps', $traps);

$node->stop;
done_testing();
