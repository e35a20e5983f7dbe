# The identity where it needs a server of its own: prepared transactions, the
# counters, a connection that is used again, other connections.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
	shared_preload_libraries = 'narvik'
	max_prepared_transactions = 5
	narvik.purge = off
});
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	SELECT narvik_save_session(narvik_session_id('token-' || u), u, now() + interval '29 days')
	FROM unnest('{alice,bob}'::text[]) AS u;
	CREATE TABLE notes (user_id text, note text);
	INSERT INTO notes VALUES ('alice', 'of alice'), ('bob', 'of bob');
	CREATE ROLE app LOGIN;
	SELECT narvik_grant('app');
	GRANT SELECT, INSERT ON notes TO app;
	ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON notes USING (user_id = narvik_current_user_id());
});

my $who = q{SELECT coalesce(narvik_current_user_id(), 'nobody');};

sub answers
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql(
		'postgres', $sql,
		connstr => $node->connstr('postgres') . ' user=app', on_error_stop => 0);
	$out .= "\n$1" while $err =~ /(ERROR:.*)/g;
	return $out;
}

# -- PREPARE TRANSACTION: not refused, and the identity ends with it

is( answers(
		qq{
	BEGIN; SELECT narvik_authenticate('token-alice'); INSERT INTO notes VALUES ('alice', 'prepared');
	PREPARE TRANSACTION 'one';
	$who SELECT count(*) FROM notes;
	BEGIN; $who SELECT narvik_authenticate('token-bob'); SELECT note FROM notes; ROLLBACK;
	COMMIT PREPARED 'one';
	$who SELECT count(*) FROM notes;}),
	"alice\nnobody\n0\nnobody\nbob\nof bob\nnobody\n0",
	'the identity ends at PREPARE TRANSACTION and does not come back at COMMIT PREPARED');
is( answers(
		qq{
	BEGIN; SELECT narvik_authenticate('token-alice'); SAVEPOINT a; SELECT narvik_authenticate('token-bob');
	SAVEPOINT b; SELECT narvik_authenticate('token-alice');
	INSERT INTO notes VALUES ('alice', 'prepared');
	PREPARE TRANSACTION 'two'; $who
	BEGIN; SELECT narvik_authenticate('token-bob'); ROLLBACK PREPARED 'two'; ROLLBACK;
	BEGIN; SELECT narvik_authenticate('token-bob'); $who COMMIT;
	ROLLBACK PREPARED 'two'; $who}),
	"alice\nbob\nalice\nnobody\nbob\nbob\nbob\nnobody\nERROR:  ROLLBACK PREPARED cannot run inside a transaction block",
	'nor at ROLLBACK PREPARED, with savepoints');
is( answers(
		qq{
	BEGIN; SELECT narvik_authenticate('token-alice'); PREPARE TRANSACTION 'three'; $who})
	  . "\n"
	  . answers("BEGIN; SELECT narvik_authenticate('token-bob'); COMMIT; COMMIT PREPARED 'three'; $who"),
	"alice\nnobody\nbob\nnobody",
	'nor in the connection that commits it');
is( answers(
		qq{
	BEGIN; SELECT narvik_authenticate('token-alice'); CREATE TEMP TABLE t ();
	PREPARE TRANSACTION 'four'; $who}),
	"alice\nnobody\nERROR:  cannot PREPARE a transaction that has operated on temporary objects",
	'nor if PREPARE TRANSACTION fails');
is( $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0',
	'no prepared transaction is left');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM notes WHERE note = 'prepared'}), '1',
	'the one that was committed is there');

# -- a failing COMMIT, a cancelled statement, a lost connection

$node->safe_psql(
	'postgres', q{
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
	GRANT ALL ON parents, children TO app});
is( answers(
		qq{
	BEGIN; SELECT narvik_authenticate('token-alice'); INSERT INTO children VALUES (1); COMMIT; $who}),
	qq{alice\nnobody\nERROR:  insert or update on table "children" violates foreign key constraint "children_id_fkey"},
	'a COMMIT that fails ends it');
is( answers(
		qq{
	SET statement_timeout = '500ms';
	SELECT pg_sleep(1000) FROM narvik_authenticate('token-alice');
	SET statement_timeout = 0; $who
	BEGIN; SELECT narvik_authenticate('token-alice'); SET LOCAL statement_timeout = '500ms'; SELECT pg_sleep(1000); ROLLBACK; $who}),
	"nobody\nalice\nnobody\nERROR:  canceling statement due to statement timeout\nERROR:  canceling statement due to statement timeout",
	'a cancelled statement ends it with its transaction');

# -- two connections, and one connection used again

{
	my $one = $node->background_psql('postgres');
	my $two = $node->background_psql('postgres');
	$one->query_safe(q{BEGIN; SELECT narvik_authenticate('token-alice')});
	is($two->query_safe($who), 'nobody', 'another connection has no part in it');
	$two->query_safe(q{BEGIN; SELECT narvik_authenticate('token-bob')});
	is($one->query_safe($who) . $two->query_safe($who), 'alicebob', 'two connections, two identities');
	is( $two->query_safe(q{SELECT narvik_invalidate_session(narvik_session_id('token-alice'))}),
		't', 'the other one logs it out');
	$two->query_safe('COMMIT');
	is($one->query_safe($who), 'alice', 'what others do does not change who asked');
	is($one->query_safe(q{SELECT narvik_authenticate('token-alice') IS NULL}), 't', 'a revoked token does not authenticate');
	is($one->query_safe($who), 'nobody', 'and leaves nobody');
	$_->quit foreach ($one, $two);
}
is( answers(
		qq{
	BEGIN; SELECT narvik_authenticate('token-bob'); COMMIT; DISCARD ALL; $who
	BEGIN; SELECT narvik_authenticate('token-bob');
	\\c
	$who}),
	"bob\nnobody\nbob\nnobody",
	'nothing is left for the next user of a connection');

# -- counted as validations

$node->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('token-old'), 'old', now() - interval '1 day');
	SELECT narvik_save_session(narvik_session_id('token-due'), 'due', now() + interval '1 day');
	SELECT narvik_reset_stats()});
answers(
	q{
	SELECT narvik_authenticate('token-bob');
	SELECT narvik_authenticate('token-due');
	SELECT narvik_authenticate('token-due');
	SELECT narvik_authenticate('token-none');
	SELECT narvik_authenticate(NULL);
	SELECT narvik_authenticate('token-old');
	BEGIN READ ONLY; SELECT narvik_authenticate('token-bob'); COMMIT});
is( $node->safe_psql('postgres', 'SELECT validated, extended, rejected, expired FROM narvik_stats'),
	'4|1|1|1', 'authentications are counted as validations');
is( $node->safe_psql(
		'postgres', q{SELECT expires_at > now() + interval '29 days' FROM narvik_fetch_session(narvik_session_id('token-due'))}),
	't',
	'and extend the session');

# -- what ends with its user is counted as invalidated

$node->safe_psql(
	'postgres', q{
	CREATE TABLE gone_users (id text PRIMARY KEY);
	INSERT INTO gone_users SELECT DISTINCT user_id FROM narvik_sessions;
	SELECT narvik_link_users('gone_users');
	SELECT narvik_save_session(narvik_session_id('again-' || id), id, now() + interval '1 day') FROM gone_users;
	SELECT narvik_reset_stats()});
my $invalidated = sub {
	return $node->safe_psql(
		'postgres', 'SELECT narvik_reset_stats() \g /dev/null
		' . shift . '; SELECT invalidated FROM narvik_stats');
};
is( $invalidated->(q{BEGIN; DELETE FROM gone_users WHERE id = 'bob'; ROLLBACK}), '2',
	'sessions that end with their user are counted');
is( $invalidated->(q{BEGIN; TRUNCATE gone_users; ROLLBACK}),
	$node->safe_psql('postgres', 'SELECT count(*) FROM narvik_sessions'), 'with TRUNCATE too');
is($invalidated->(q{BEGIN; UPDATE gone_users SET id = id || 'x'; ROLLBACK}), '0', 'those that follow are not');
$node->safe_psql('postgres', q{DROP TABLE gone_users; DELETE FROM narvik_sessions WHERE expires_at < now() + interval '2 days'});

# -- a standby answers, and writes nothing

$node->safe_psql(
	'postgres', q{
	CREATE TABLE app_users (id text PRIMARY KEY, name text);
	INSERT INTO app_users SELECT DISTINCT user_id, upper(user_id) FROM narvik_sessions;
	GRANT SELECT ON app_users TO app;
	SELECT narvik_link_users('app_users')});
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is( $standby->safe_psql(
		'postgres', "BEGIN; SELECT narvik_authenticate('token-bob'); SELECT note FROM notes; COMMIT; $who",
		connstr => $standby->connstr('postgres') . ' user=app'),
	"bob\nof bob\nnobody",
	'a hot standby authenticates');
is( $standby->safe_psql(
		'postgres', q{SELECT name FROM narvik_validate_user('token-bob', NULL::app_users)},
		connstr => $standby->connstr('postgres') . ' user=app'),
	'BOB',
	'and finds the user');
$standby->stop;

$node->stop;
done_testing();
