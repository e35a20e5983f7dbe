# What the owners of the two tables, an application's role and a monitoring role
# can and cannot do, as far as no other test says so.  docs/security.md has it in a
# table; a line of the table that names this test is the name of a test here.

use strict;
use warnings;

use FindBin;

use DBI;
use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/..";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'\nnarvik.purge = off");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE ROLE sessions_owner LOGIN;
	CREATE ROLE users_owner LOGIN;
	CREATE ROLE part_owner LOGIN;
	CREATE ROLE app LOGIN;
	CREATE ROLE visitor LOGIN;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	GRANT CREATE ON SCHEMA public TO sessions_owner, users_owner, part_owner, visitor;
	ALTER TABLE narvik_sessions OWNER TO sessions_owner;
	CREATE TABLE people (id text PRIMARY KEY, name text) PARTITION BY HASH (id);
	CREATE TABLE people_1 PARTITION OF people FOR VALUES WITH (MODULUS 1, REMAINDER 0);
	ALTER TABLE people OWNER TO users_owner;
	ALTER TABLE people_1 OWNER TO part_owner;
	GRANT SELECT ON people TO app;
	INSERT INTO people VALUES ('alice'), ('bob'), ('mallory');
	SELECT narvik_link_users('people');
	SELECT narvik_grant('app');
	SELECT narvik_save_session(narvik_session_id('token-' || u), u, now() + interval '29 days', '{"k": 1}')
	FROM unnest('{alice,bob,mallory}'::text[]) AS u;
	-- Says as whom it runs, where expressions have to be immutable.
	CREATE FUNCTION says_who(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
		$$ BEGIN RAISE WARNING 'ran as %', current_user; RETURN true; END $$;
	CREATE FUNCTION says_who() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE WARNING 'ran as %', current_user; RETURN coalesce(NEW, OLD); END $$});

# What roles do, one after the other, in a transaction that leads nowhere: the last
# answer; or the SQLSTATE of the first error; or what code said on the way.
sub try
{
	my ($how, @steps) = @_;
	my $script = "\\set VERBOSITY verbose\n\\set ON_ERROR_STOP on\nBEGIN;\n";
	while (my ($role, $sql) = splice @steps, 0, 2)
	{
		$script .= "SET SESSION AUTHORIZATION $role;\n$sql;\n";
	}
	my ($rc, $out, $err) = $node->psql('postgres', "$script ROLLBACK;");
	return $1 if $err =~ /ERROR:\s+(\w{5})\b/;
	return join ' ', sort keys %{ { map { $_ => 1 } $err =~ /ran as (\w+)/g } } if $how eq 'said';
	return (split /\n/, $out)[-1] // '';
}

my %tested;

# A line of the table, and what shows it: answers and what is expected.
sub line
{
	my ($role, $line, @checks) = @_;
	$tested{"$role | $line"} = 1;
	is_deeply([ map { $_->[0] } @checks ], [ map { $_->[1] } @checks ], "$role: $line");
	return;
}

sub answer { return try('answer', @_) }

my $mine = sha256_hex('my own');
my $store = qq{INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
	VALUES ('\\x$mine', 'alice', now(), now() + interval '29 days', true, '{}', 1000000)};
my $owner = 'owner of `narvik_sessions`';

line(
	$owner, 'can read the id, the user and the data of every session',
	[   answer(sessions_owner => q{SELECT string_agg(user_id || data, ' ' ORDER BY user_id) FROM narvik_sessions}),
		'alice{"k": 1} bob{"k": 1} mallory{"k": 1}' ]);
line(
	$owner, 'can be anybody, by storing the hash of a token of their own',
	[   answer(
			sessions_owner => $store,
			app => q{SELECT narvik_authenticate('my own')}),
		'alice' ]);
line(
	$owner, 'can end and prolong every session',
	[   answer(
			sessions_owner => q{UPDATE narvik_sessions SET expires_at = now() WHERE user_id = 'alice'},
			app => q{SELECT count(*) FROM narvik_validate_session('token-alice')}),
		'0' ],
	[   answer(
			sessions_owner => q{UPDATE narvik_sessions SET expires_at = '2999-01-01' WHERE user_id = 'alice'},
			app => q{SELECT extract(year FROM expires_at) FROM narvik_validate_session('token-alice')}),
		'2999' ]);
my @watch = (
	sessions_owner => q{
	CREATE TABLE seen (query text);
	CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.seen VALUES (current_query()); RETURN NEW; END $$;
	CREATE TRIGGER watch AFTER UPDATE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION watch()});
my $seen = q{SELECT string_agg(query, '') FROM seen};
my $rotate = 'SELECT count(*) FROM narvik_rotate_session';
my $dbh = DBI->connect('dbi:Pg:' . $node->connstr('postgres') =~ s/ /;/gr, '', '', { RaiseError => 1, AutoCommit => 0 });
$dbh->do($_) foreach 'SET SESSION AUTHORIZATION sessions_owner', $watch[1], 'SET SESSION AUTHORIZATION app';
$dbh->selectrow_array("$rotate(?)", undef, 'token-alice');
$dbh->do('SET SESSION AUTHORIZATION sessions_owner');
my ($bound) = $dbh->selectrow_array($seen);
$dbh->rollback;
$dbh->disconnect;
line(
	$owner, 'can read a token that stands in the text of a statement; not one that is bound',
	[ answer(@watch, app => "$rotate('token-alice')", sessions_owner => $seen), "$rotate('token-alice');" ],
	[ $bound, "$rotate(\$1)" ]);
line(
	$owner, 'cannot call a function that touches sessions, without EXECUTE',
	[ answer(sessions_owner => q{SELECT narvik_create_session('alice')}), '42501' ],
	[ answer(sessions_owner => q{SELECT narvik_delete_all_expired_sessions()}), '42501' ]);
line(
	$owner, 'cannot change a setting of narvik',
	[ answer(sessions_owner => q{SET narvik.session_max_age = 0}), '42501' ],
	[ answer(sessions_owner => q{ALTER ROLE sessions_owner SET narvik.session_expires_in = '300d'}), '42501' ]);
line(
	$owner, 'cannot drop the table or the extension',
	[ answer(sessions_owner => 'DROP TABLE narvik_sessions CASCADE'), '2BP01' ],
	[ answer(sessions_owner => 'DROP EXTENSION narvik CASCADE'), '42501' ]);
my $open = 'GRANT ALL ON ALL TABLES IN SCHEMA public TO visitor';
line(
	q{role with `GRANT ALL ON ALL TABLES` in narvik's schema}, 'can be anybody, by storing the hash of a token of their own',
	[ answer(postgres => $open, visitor => $store, app => q{SELECT narvik_authenticate('my own')}), 'alice' ],
	[ answer(postgres => "$open; REVOKE ALL ON ALL TABLES IN SCHEMA public FROM visitor", visitor => $store), '42501' ]);
line(
	'role with TRIGGER on `narvik_sessions`', 'can run code with the rights of its owner',
	[   try('said', sessions_owner => 'GRANT TRIGGER ON narvik_sessions TO visitor',
			visitor => 'CREATE TRIGGER t BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION says_who()',
			app => q{SELECT narvik_invalidate_session(narvik_session_id('token-alice'))}),
		'sessions_owner' ]);

$owner = 'owner of the linked users';
line(
	$owner, 'can be anybody, by giving the user of a session of their own another key',
	[   answer(
			users_owner => q{DELETE FROM people WHERE id = 'alice'; UPDATE people SET id = 'alice' WHERE id = 'mallory'},
			app => q{SELECT narvik_authenticate('token-mallory')}),
		'alice' ]);
line(
	$owner, 'can end the sessions of every user',
	[   answer(
			users_owner => q{DELETE FROM people WHERE id = 'alice'},
			app => q{SELECT count(*) FROM narvik_validate_session('token-alice')}),
		'0' ],
	[ answer(users_owner => q{TRUNCATE people}, app => q{SELECT count(*) FROM narvik_validate_session('token-bob')}), '0' ]);
line(
	$owner, 'can undo or disable the link',
	[   answer(
			users_owner => 'DROP TRIGGER narvik_users_changed ON people',
			app => q{SELECT user_id FROM narvik_create_session('nobody')}),
		'nobody' ],
	[   answer(
			users_owner => q{ALTER TABLE people DISABLE TRIGGER ALL; DELETE FROM people},
			app => q{SELECT narvik_authenticate('token-alice')}),
		'alice' ]);
line(
	$owner, 'can run policies with the rights of a caller of `narvik_validate_user` to whom they apply, as in any SELECT',
	[   try('said', users_owner => q{CREATE POLICY p ON people USING (says_who(name)); ALTER TABLE people ENABLE ROW LEVEL SECURITY},
			app => q{SELECT FROM narvik_validate_user('token-alice', NULL::people)}),
		'app' ]);
line(
	$owner, 'cannot read or write `narvik_sessions`',
	map { [ answer(users_owner => $_), '42501' ] } 'TABLE narvik_sessions', 'DELETE FROM narvik_sessions');
line(
	$owner, 'cannot call a function that touches sessions, without EXECUTE',
	[ answer(users_owner => q{SELECT narvik_create_session('alice')}), '42501' ],
	[ answer(users_owner => q{SELECT narvik_link_users('people')}), '42501' ]);
line(
	'owner of a partition of the users', 'can run code with the rights of the owner of the whole, as in any SELECT',
	[   try('said', part_owner => q{CREATE INDEX ON people_1 (id) WHERE says_who('x')},
			app => q{SET LOCAL client_min_messages = warning; SELECT FROM narvik_validate_user('token-alice', NULL::people)}),
		'part_owner users_owner' ]);

line(
	'monitoring role', 'cannot read or write `narvik_sessions`',
	map { [ answer(monitor => $_), '42501' ] } 'TABLE narvik_sessions', 'DELETE FROM narvik_sessions',
	'TABLE narvik_sessions_seq_seq');
line(
	'monitoring role', 'cannot call a function that touches sessions',
	[   $node->safe_psql(
			'postgres', q{
			SELECT string_agg(proname, ' ' ORDER BY proname COLLATE "C") FROM pg_proc AS p
			JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'
			WHERE has_function_privilege('monitor', p.oid, 'EXECUTE') AND NOT has_function_privilege('visitor', p.oid, 'EXECUTE')}),
		'narvik_linked_users narvik_stats' ]);

# ---- the table --------------------------------------------------------------

my ($section) = slurp_file("$root/docs/security.md") =~ /^## What each role can do\n(.*?)(?=^## |\z)/ms;
my %named;
foreach (($section // '') =~ /^\| (?!who \|)([^|-].*?) \|$/mg)
{
	my ($role, $line, $tests) = split / \| /;
	my @tests = $tests =~ /`((?:t|sql)\/\w+\.\w+)`/g;
	ok(@tests && !(grep { !-e "$root/$_" } @tests), "has a test that is there: $role $line");
	$named{"$role | $line"} = 1 if grep { $_ eq 't/013_roles.pl' } @tests;
}
is( join("\n", sort keys %named), join("\n", sort keys %tested),
	'the lines of docs/security.md that name this test are the ones that it has');

$node->stop;
done_testing();
