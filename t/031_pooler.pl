# Behind a pooler in transaction mode one server connection serves many clients
# in turn.  None of them sees the identity of the one before, nor a row of his.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Pooler;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

my $clients = 8;
my $transactions = 10_000;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE ROLE app LOGIN;
	SELECT narvik_grant('app');
	SELECT narvik_save_session(narvik_session_id('token-' || u), u, now() + interval '29 days')
	FROM unnest('{alice,bob}'::text[]) AS u;
	CREATE TABLE notes (user_id text, n int);
	INSERT INTO notes SELECT u, n FROM unnest('{alice,bob}'::text[]) AS u, generate_series(1, 10) AS n;
	CREATE TABLE notes_initplan AS TABLE notes;
	CREATE TABLE served (user_id text, pid int, client int, rows int);
	GRANT SELECT ON notes, notes_initplan TO app;
	GRANT INSERT ON served TO app;
	ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
	ALTER TABLE notes_initplan ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON notes USING (user_id = narvik_current_user_id());
	CREATE POLICY own ON notes_initplan USING (user_id = (SELECT narvik_current_user_id()));

	-- Fails unless just this user's rows are there, all of them; for NULL, none.
	CREATE FUNCTION check_rows(who text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		own bigint; other bigint;
		expected bigint := CASE WHEN who IS NULL THEN 0 ELSE 20 END;
	BEGIN
		SELECT count(*) FILTER (WHERE user_id = who), count(*) FILTER (WHERE user_id IS DISTINCT FROM who)
		INTO own, other FROM (TABLE notes UNION ALL TABLE notes_initplan) AS n;
		IF other <> 0 OR own <> expected
		   OR narvik_current_user_id() IS DISTINCT FROM who
		   OR (narvik_current_session_id() IS DISTINCT FROM narvik_session_id('token-' || who)) THEN
			RAISE EXCEPTION 'other rows: for % there were % own rows, % others, identity %',
				who, own, other, narvik_current_user_id();
		END IF;
		RETURN own;
	END $$;
});

# -- the pooler, on a socket of its own

my $pooler = Pooler->new($node, 'default_pool_size = 2', 'max_client_conn = 100');
my $pooled = $pooler->connstr('postgres');

sub through_pooler
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	run_log([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $pooled ], '<', \$sql, '>', \$out, '2>', \$err)
	  or return "failed: $err";
	chomp $out;
	return $out;
}

is(through_pooler('SELECT current_user'), 'app', 'the pooler is there');
is( through_pooler(q{BEGIN; SELECT narvik_authenticate('token-alice'); SELECT check_rows('alice'); COMMIT}),
	"alice\n20", 'a client has its rows');
like(
	through_pooler(q{BEGIN; SELECT narvik_authenticate('token-alice'); SELECT check_rows('bob'); COMMIT}),
	qr/other rows: for bob there were 0 own rows, 20 others, identity alice/, 'the check sees rows of another');
like(
	through_pooler(q{BEGIN; SELECT narvik_authenticate('token-alice'); SELECT check_rows(NULL); COMMIT}),
	qr/other rows: for <NULL> there were 0 own rows, 20 others, identity alice/, 'and an identity that should not be');
is( through_pooler(q{SELECT narvik_authenticate('token-alice'); SELECT check_rows(NULL)}), "alice\n0",
	'outside of a transaction the next statement has no identity');

# -- all at once

# Ends as transactions of an application do: committed, rolled back, failed; with
# statements outside of a transaction in between, where there must be nobody.
sub script
{
	my ($user) = @_;
	return qq{
	\\set way random(1, 10)
	SELECT check_rows(NULL);
	BEGIN;
	SELECT narvik_authenticate('token-$user');
	SELECT check_rows('$user');
	\\if :way = 1
		SAVEPOINT a;
		SELECT narvik_authenticate('token-none');
		SELECT check_rows(NULL);
		ROLLBACK TO a;
		SELECT check_rows('$user');
	\\endif
	INSERT INTO served SELECT '$user', pg_backend_pid(), :client_id, check_rows('$user');
	\\if :way = 2
		SELECT narvik_authenticate('token-none');
		SELECT check_rows(NULL);
	\\endif
	COMMIT;
	SELECT check_rows(NULL);
	\\if :way = 3
		BEGIN;
		SELECT narvik_authenticate('token-$user');
		ROLLBACK;
		SELECT check_rows(NULL);
	\\endif
	\\if :way = 4
		SELECT narvik_authenticate('token-$user');
		SELECT check_rows(NULL);
	\\endif
	};
}
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/$_.sql", script($_)) foreach ('alice', 'bob');
my ($out, $err) = ('', '');
ok( run_log(
		[   'pgbench', '--no-vacuum', "--client=$clients", '--jobs=2', '--transactions=' . ($transactions / $clients),
			'--file', "$dir/alice.sql", '--file', "$dir/bob.sql", $pooled ],
		'>',
		\$out,
		'2>',
		\$err),
	'no client met an error') or diag($err);
unlike($err, qr/other rows|ERROR|aborted/, 'no row of another, no identity left over') or diag($err);
like($out, qr{actually processed: $transactions/$transactions\b}, "$transactions transactions were made");
is( $node->safe_psql('postgres', 'SELECT count(*), sum(rows) FROM served'),
	$transactions . '|' . 20 * $transactions, 'all of them were committed, with all their rows');
is( $node->safe_psql('postgres', 'SELECT count(DISTINCT pid), count(DISTINCT client) FROM served'),
	"2|$clients", "$clients clients shared two server connections");
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) > 1000 FROM (
			SELECT user_id <> lag(user_id) OVER (PARTITION BY pid ORDER BY ctid) AS changed FROM served) AS s
		WHERE changed}),
	't',
	'each connection went from user to user');

# -- clients that fail or vanish in mid-transaction

is( through_pooler(
		q{
	\set ON_ERROR_STOP 0
	BEGIN; SELECT narvik_authenticate('token-alice'); SELECT 1 / 0; COMMIT;
	SELECT check_rows(NULL)}),
	"alice\n0",
	'after an error there is nobody');
foreach (1 .. 5)
{
	my ($in, $o, $e) = ("BEGIN; SELECT narvik_authenticate('token-alice');\n", '', '');
	my $client = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $pooled ], '<', \$in, '>', \$o, '2>', \$e,
		my $timer = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$client->pump until $o =~ /alice/;
	$client->kill_kill;
}
is(through_pooler('SELECT check_rows(NULL);' x 4), "0\n0\n0\n0", 'after clients that vanished there is nobody');

ok(!$node->log_contains('terminated by signal|PANIC'), 'no crash');
$pooler->stop;
$node->stop;
done_testing();
