# Default privileges open nothing: whatever ALTER DEFAULT PRIVILEGES gives away,
# after CREATE EXTENSION nobody but its owner has a right on anything that touches
# sessions.  Where they take away, an application's role has what it needs from
# narvik_grant().  A dump carries both.

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
	CREATE ROLE installer SUPERUSER LOGIN;
	CREATE ROLE "Odd ""Role""; x" LOGIN;
	CREATE ROLE app LOGIN});
my $odd = '"Odd ""Role""; x"';

# Rights of others than the owner on what is a member of the extension.
my $rights = q{
	SELECT o.what, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS who,
		string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type) AS may
	FROM pg_extension AS e
	JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
	CROSS JOIN LATERAL (
		SELECT relname, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
		FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid
		UNION ALL
		SELECT relname || '.' || attname, relowner, attacl FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
		WHERE d.classid = 'pg_class'::regclass AND attrelid = d.objid
		UNION ALL
		SELECT proname || '()', proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
		WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid
		UNION ALL
		-- From PostgreSQL 17 on the row type of a table is a member as well.
		SELECT 'type ' || typname, typowner, coalesce(typacl, acldefault('T', typowner))
		FROM pg_type JOIN pg_class ON pg_class.oid = typrelid
		WHERE CASE relkind WHEN 'c' THEN d.classid = 'pg_type'::regclass AND pg_type.oid = d.objid
			ELSE d.classid = 'pg_class'::regclass AND typrelid = d.objid END
	) AS o (what, owner, acl)
	CROSS JOIN aclexplode(o.acl) AS a
	WHERE e.extname = 'narvik' AND a.grantee <> o.owner
	GROUP BY 1, 2};
my @open = qw(narvik_cookie_name narvik_create_blank_cookie narvik_create_cookie
  narvik_current_data narvik_current_session_id narvik_current_user_id narvik_generate_token narvik_is_fresh
  narvik_read_cookie narvik_session_id);
my $is_open = "what IN ('" . join("', '", map { "$_()" } @open) . "') OR what LIKE 'type %'";
my $monitors =
  "narvik_linked_users()|pg_read_all_stats|EXECUTE\nnarvik_stats|pg_read_all_stats|SELECT\nnarvik_stats()|pg_read_all_stats|EXECUTE";

sub rights_of
{
	my ($database, $which) = @_;
	return $node->safe_psql(
		$database,
		"SET search_path = pg_catalog; SELECT * FROM ($rights) AS r WHERE $which ORDER BY what COLLATE \"C\", who COLLATE \"C\"");
}

sub make_database
{
	my ($database, @defaults) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	$node->safe_psql(
		$database, qq{
		SET client_min_messages = warning;
		CREATE EXTENSION pgcrypto;
		CREATE SCHEMA "Narvik; s";
		GRANT USAGE ON SCHEMA "Narvik; s" TO PUBLIC;
		ALTER DATABASE $database SET search_path = public, "Narvik; s"});
	$node->safe_psql($database, "ALTER DEFAULT PRIVILEGES FOR ROLE installer $_") foreach @defaults;
	return;
}

# The error, or the search path that is left in the transaction.
sub create_extension
{
	my ($database) = @_;
	my ($rc, $out, $err) = $node->psql(
		$database, 'BEGIN; CREATE EXTENSION narvik SCHEMA "Narvik; s"; SHOW search_path; COMMIT',
		connstr => $node->connstr($database) . ' user=installer');
	return "$out$err";
}
my $created = 'public, "Narvik; s"';

# What a role is answered, or the SQLSTATE.
sub as
{
	my ($role, $database, $sql) = @_;
	my ($rc, $out, $err) = $node->psql(
		$database, "\\set VERBOSITY sqlstate\n$sql",
		connstr => $node->connstr($database) . " user='$role'");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $out;
}

# Dumped and restored in either format; the names of the two.
sub copies_of
{
	my ($database) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	foreach my $format ('p', 'c')
	{
		my $copy = "${database}_$format";
		$node->command_ok([ 'pg_dump', '-d', $node->connstr($database), "-F$format", '-f', "$dir/$format" ], "$copy: dumped");
		$node->safe_psql(
			'postgres',
			qq{CREATE DATABASE $copy TEMPLATE template0; ALTER DATABASE $copy SET search_path = public, "Narvik; s"});
		$node->command_ok(
			$format eq 'p'
			? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($copy), '-f', "$dir/p" ]
			: [ 'pg_restore', '--exit-on-error', '-d', $node->connstr($copy), "$dir/c" ],
			"$copy: restored");
	}
	return ("${database}_p", "${database}_c");
}

# ---- what is given away -----------------------------------------------------

my @closed = (
	'TABLE narvik_sessions', 'TABLE narvik_stats', 'DELETE FROM narvik_sessions', 'TRUNCATE narvik_sessions',
	q{SELECT nextval('narvik_sessions_seq_seq')}, 'TABLE narvik_sessions_seq_seq',
	q{SELECT narvik_create_session('alice')}, q{SELECT narvik_validate_session('x')}, 'SELECT narvik_reset_stats()',
	q{SELECT narvik_grant('app')},
	'CREATE TEMP TABLE t (); CREATE TRIGGER t AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION narvik_users_changed()');

foreach my $where ('global', 'schema')
{
	foreach my $to ('role', 'grantable', 'public')
	{
		my $database = "${where}_$to";
		my $who = $to eq 'public' ? 'PUBLIC' : $odd;
		my $star = $to eq 'grantable' ? '*' : '';
		make_database(
			$database,
			map {
					($where eq 'schema' ? 'IN SCHEMA "Narvik; s" ' : '')
				  . "GRANT ALL ON $_ TO $who, pg_read_all_stats"
				  . ($star ? ' WITH GRANT OPTION' : '')
			} qw(TABLES SEQUENCES FUNCTIONS TYPES));
		is(create_extension($database), $created, "$database: created");
		is( rights_of($database, "NOT ($is_open)"), $monitors,
			"$database: nobody has a right on what touches sessions, and monitors on the view and the link only");
		is( rights_of($database, "($is_open) AND what LIKE 'narvik_c%' AND who LIKE '%Odd%'"),
			join("\n", map { "$_()|$odd|EXECUTE$star" } grep { /^narvik_c/ } @open),
			"$database: of what touches none the defaults decide") if $who eq $odd;
		is(as('Odd "Role"; x', $database, $_), '42501', "$database: refused: $_") foreach @closed;

		my $acl = rights_of($database, 'true');
		is(rights_of($_, 'true'), $acl, "$_: the same rights") foreach copies_of($database);
	}
}

# ---- what is taken away -----------------------------------------------------

make_database('taken', 'REVOKE ALL ON FUNCTIONS FROM PUBLIC', 'REVOKE ALL ON TYPES FROM PUBLIC');
is(create_extension('taken'), $created, 'taken: created');
# Defaults for types are not for the row type that a table brings, whoever made it.
is( $node->safe_psql(
		'taken', q{
		CREATE TABLE any_table ();
		SELECT a.grantee = 0, a.privilege_type FROM pg_type, aclexplode(coalesce(typacl, acldefault('T', typowner))) AS a
		WHERE typrelid = 'any_table'::regclass AND a.grantee <> typowner},
		connstr => $node->connstr('taken') . ' user=installer'),
	't|USAGE',
	'taken: the row type of any table stays open');
my $taken = "$monitors\ntype narvik_events|PUBLIC|USAGE\ntype narvik_sessions|PUBLIC|USAGE\ntype narvik_stats|PUBLIC|USAGE";
is(rights_of('taken', 'true'), $taken, 'taken: nobody has any right');
$node->safe_psql(
	'taken', q{
	SELECT narvik_save_session(narvik_session_id('secret'), 'alice', now() + interval '29 days');
	CREATE TABLE notes (user_id text);
	INSERT INTO notes VALUES ('alice'), ('bob');
	GRANT SELECT ON notes TO app;
	ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON notes USING (user_id = narvik_current_user_id())});
my $own_notes = q{BEGIN; SELECT narvik_authenticate('secret'); SELECT user_id FROM notes};
my $uses = q{
	SELECT c.user_id FROM narvik_create_session('carol') AS c, narvik_validate_session(c.token);
	SELECT narvik_current_user_id(), narvik_current_session_id();
	SELECT length(narvik_generate_token()), length(narvik_session_id('x')), narvik_cookie_name(),
		length(narvik_create_cookie('x')) > 0, length(narvik_create_blank_cookie()) > 0, narvik_read_cookie('narvik_session=x')};
my $used = "carol\n|\n32|64|narvik_session|t|t|x";
is(as('app', 'taken', 'TABLE notes'), '42501', 'taken: a policy by identity cannot be evaluated');
$node->safe_psql('taken', q{SELECT narvik_grant('app')});
is(as('app', 'taken', $own_notes), "alice\nalice", 'taken: with narvik_grant() it can');
is(as('app', 'taken', $uses), $used, 'taken: and all else that an application needs');
my $acl = rights_of('taken', 'true');

foreach my $copy (copies_of('taken'))
{
	is(rights_of($copy, 'true'), $acl, "$copy: the same rights");
	is(as('app', $copy, $own_notes), "alice\nalice", "$copy: the policy works");
}
$node->safe_psql('taken', q{SELECT narvik_revoke('app')});
is(rights_of('taken', 'true'), $taken, 'taken: narvik_revoke() takes all of it back');

# ---- an extension that is restored where defaults are -----------------------

make_database('plain');
is(create_extension('plain'), $created, 'plain: created');
is(rights_of('plain', "NOT ($is_open)"), $monitors, 'plain: the same without defaults');
$node->safe_psql('plain', q{SELECT narvik_grant('app')});
$acl = rights_of('plain', 'true');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/plain';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('plain'), '-Fc', '-f', $dump ], 'plain: dumped');
make_database('defaults', map { "GRANT ALL ON $_ TO $odd" } qw(TABLES SEQUENCES FUNCTIONS));
$node->safe_psql('defaults', 'DROP EXTENSION pgcrypto; DROP SCHEMA "Narvik; s"');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('defaults') . ' user=installer', $dump ],
	'plain: restored by a role that has default privileges');
is(rights_of('defaults', "NOT ($is_open)"), rights_of('plain', "NOT ($is_open)"), 'plain: with the same rights');

# ---- a schema full of traps -------------------------------------------------

# Functions and operators that fit better than the ones of pg_catalog, in the
# schema that narvik comes to.  A superuser calls whatever the script calls.
make_database('traps', map { "GRANT ALL ON $_ TO $odd" } qw(TABLES SEQUENCES FUNCTIONS));
$node->safe_psql(
	'traps', qq{
	ALTER SCHEMA "Narvik; s" OWNER TO $odd;
	SET ROLE $odd;
	} . q{
	CREATE FUNCTION pg_temp.trap(signature text, result text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		EXECUTE format('CREATE FUNCTION "Narvik; s".%s RETURNS %s LANGUAGE plpgsql AS %L', signature, result,
			'BEGIN RAISE EXCEPTION ''sprung as %'', current_user; END');
	END $$;
	CREATE FUNCTION pg_temp.trap(operator text, l regtype, r regtype, result regtype) RETURNS void LANGUAGE plpgsql
	SET search_path = pg_catalog AS $$
	DECLARE
		name text := 'op_' || md5(concat(operator, l, r));
	BEGIN
		PERFORM pg_temp.trap(format('%s(%s, %s)', name, l, r), result::text);
		EXECUTE format('CREATE OPERATOR "Narvik; s".%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = "Narvik; s".%s)', operator, l, r, name);
	END $$;
	SELECT pg_temp.trap('format(text, text, text)', 'text');
	SELECT pg_temp.trap('acldefault(text, oid)', 'aclitem[]');
	SELECT pg_temp.trap(o, l, r, 'boolean')
	FROM unnest('{=,<>}'::text[]) AS o, (VALUES ('oid'::regtype, 'int4'::regtype), ('oid', 'regclass'), ('"char"', 'text'), ('name', 'varchar')) AS v (l, r);
	SELECT pg_temp.trap('||', 'text', r, 'text') FROM unnest('{regclass,regprocedure}'::regtype[]) AS r;
	CREATE TABLE "Narvik; s".pg_depend (); CREATE DOMAIN "Narvik; s".name AS int});
my ($rc, $out, $err) = $node->psql('traps', q{SET search_path = "Narvik; s"; SELECT 0::oid = 0});
like($err, qr/sprung as /, 'traps: one can be sprung');
is(create_extension('traps'), $created, 'traps: created');
is(rights_of('traps', "NOT ($is_open)"), $monitors, 'traps: nobody has a right on what touches sessions');

# ---- without PL/pgSQL -------------------------------------------------------

make_database('bare');
$node->safe_psql('bare', 'DROP EXTENSION plpgsql');
like(create_extension('bare'), qr/ERROR:  language "plpgsql" does not exist/, 'bare: nothing is created that could not be closed');
is($node->safe_psql('bare', q{SELECT count(*) FROM pg_proc WHERE proname ~ '^narvik'}), '0', 'bare: and nothing is left');

$node->stop;
done_testing();
