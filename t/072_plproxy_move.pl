# A fourth shard joins three, as docs/scaling.md has it.  While partitions move to
# it, no session is lost, no dead one comes back, no extension is undone, and
# what cannot be answered is an error that asks to repeat.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use IPC::Run;
use PlproxyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = sharded_server(3);
add_router($node, 'router2', 3);
add_shard($node, 3);
my @shards = map { "shard$_" } 0 .. 3;

# A token in this partition, kept on the router: no statement shows it.
$node->safe_psql('router', 'CREATE TABLE tokens (name text PRIMARY KEY, token text)');
$node->safe_psql('router2', 'CREATE TABLE tokens (name text PRIMARY KEY, token text)');

sub log_in
{
	my ($name, $partition) = @_;
	my $token = $node->safe_psql(
		'router', qq{
		SET client_min_messages = warning;
		DO \$\$
		DECLARE
			created record;
		BEGIN
			LOOP
				SELECT * INTO created FROM narvik_create_session('$name');
				EXIT WHEN narvik_router.partition_of_id(created.id) = $partition;
				PERFORM narvik_delete_session(created.id);
			END LOOP;
			INSERT INTO tokens VALUES ('$name', created.token);
		END \$\$;
		SELECT token FROM tokens WHERE name = '$name'});
	$node->safe_psql('router2', "INSERT INTO tokens VALUES ('$name', '$token')");
	return;
}

# The answer or the SQLSTATE; in what, "token" is the token of that name.
sub ask
{
	my ($router, $name, $what) = @_;
	return outcome($node, $router, "SELECT $what FROM tokens WHERE name = '$name'") =~ s/^ERROR:  //r;
}

sub valid { return ask($_[0], $_[1], '(SELECT count(*) FROM narvik_validate_session(token))') }

sub where_is
{
	my ($partition) = @_;
	return join ' ', map {
		$node->safe_psql($_, "SELECT current_database() FROM narvik_shard.partitions WHERE partition = $partition AND moved_to IS NULL")
		  || ()
	} @shards;
}

my $log_out = 'narvik_invalidate_session(narvik_session_id(token))';
my $make_due = q{narvik_update_session_expiry(narvik_session_id(token), now() + interval '10 days')};
my $extended = '(SELECT extended FROM narvik_validate_session(token))';

# ---- step by step -----------------------------------------------------------

log_in('stays', 6);
log_in('leaves', 6);
log_in('everywhere', 6);
log_in('due', 6);
log_in('other', 9);
is(ask('router', 'due', $make_due), 't', 'a session is due for an extension');
is(where_is(6), 'shard0', 'partition 6 is in the first shard');

my $source = $node->background_psql('shard0');
$source->query_safe(q{BEGIN; SELECT narvik_shard.stop_writers(6, 'target')});
is(valid('router', 'stays'), '1', 'while its partition is copied a session is valid');
is(ask('router', 'due', $extended), 'f', 'not extended');
is(ask('router2', 'due', $extended), 'f', 'for nobody');
is(ask('router', 'other', $log_out), 't', 'other partitions are written');
is(ask('router', 'stays', q{(SELECT count(*) FROM narvik_fetch_sessions_for_user('stays'))}), '1', 'a user sees his sessions');

# Who writes waits.
sub begin
{
	my ($sql) = @_;
	my $run = { out => '' };
	$run->{handle} = IPC::Run::start(
		[   'psql', '-XAtq', '-d', $node->connstr('router'),
			map { ('-c', $_) } ('\\set VERBOSITY sqlstate', 'SET client_min_messages = error', $sql) ],
		'<',
		\undef,
		'>',
		\$run->{out},
		'2>&1');
	return $run;
}

sub outcome_of
{
	my ($run) = @_;
	$run->{handle}->finish;
	chomp $run->{out};
	return $run->{out};
}

my @waiting = map { begin($_) } (
	"SELECT $log_out FROM tokens WHERE name = 'leaves'",
	"SELECT narvik_rotate_session(token) FROM tokens WHERE name = 'stays'",
	q{SELECT narvik_delete_sessions_for_user('everywhere')});
ok( $node->poll_query_until(
		'postgres',
		q{SELECT count(*) = 3 FROM pg_stat_activity WHERE datname = 'shard0' AND wait_event = 'advisory'}),
	'log-out, rotation and log-out everywhere wait');
$source->query_safe('ROLLBACK');
is(outcome_of($waiting[0]), 't', 'given up: the log-out is made');
like(outcome_of($waiting[1]), qr/^\([a-z2-7]{32},/, 'and the rotation');
is(outcome_of($waiting[2]), '1', 'and the log-out everywhere');
is(valid('router', 'stays'), '0', 'the rotated token is dead');
is(ask('router', 'due', $extended), 't', 'and the extension is due as before');

# Now for good, seen from the middle: the source has forgotten, no router knows.
log_in('leaves2', 6);
$source->query_safe(q{BEGIN; SELECT narvik_shard.stop_writers(6, 'target')});
@waiting = map { begin($_) } (
	"SELECT $log_out FROM tokens WHERE name = 'leaves2'",
	q{SELECT narvik_delete_sessions_for_user('leaves2')});
ok( $node->poll_query_until(
		'postgres',
		q{SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = 'shard0' AND wait_event = 'advisory'}),
	'again they wait');
$source->query_safe(q{SELECT narvik_shard.give_away(6, 'target'); COMMIT});
is(outcome_of($_), 'ERROR:  40001', 'who waited for a partition that left is asked to repeat') foreach @waiting;
is(valid('router', 'due'), '40001', 'as is who validates');
is(ask('router', 'due', q{narvik_delete_sessions_for_user('due')}), '40001', 'and who logs out everywhere, as that was not everywhere');
is(ask('router', 'due', q{(SELECT count(*) FROM narvik_fetch_sessions_for_user('due'))}), '40001', 'and who lists');
is(where_is(6), '', 'nobody has it');
my ($out, $err) = move_partitions($node, 'shard3', ['router'], 6);
like($err, qr/has gone elsewhere/, 'it is not moved to another place than it has gone to');
# It was never copied here; the rest needs it back.
$node->safe_psql('shard0', 'UPDATE narvik_shard.partitions SET moved_to = NULL WHERE partition = 6');
$source->quit;

# ---- by the script, step by step --------------------------------------------

log_in($_, 12) foreach qw(a b c grace reused);
ask('router', 'a', $make_due);
# Two were rotated: one token is in its grace, one was replaced long ago.
$node->safe_psql('postgres', "ALTER DATABASE $_ SET narvik.rotation_grace = '1h'; ALTER DATABASE $_ SET narvik.detect_reuse = on")
  foreach @shards;
$node->safe_psql(
	'router',
	"INSERT INTO tokens SELECT name || ' new', r.token FROM tokens, narvik_rotate_session(token) AS r WHERE name IN ('grace', 'reused')");
$node->safe_psql('shard0', q{UPDATE narvik.narvik_sessions SET replaced_at = ARRAY[now() - interval '2 hours'] WHERE user_id = 'reused'});
is(valid('router', $_), '1', "the session of $_ is valid") foreach 'grace', 'grace new', 'reused new';
my $before = $node->safe_psql(
	'shard0',
	q{SELECT id, user_id, created_at, expires_at, ends_at, authenticated_at, active_at, lifetime, sliding, data, purge_hour, replaced_ids, replaced_at
	FROM narvik_shard.rows_of(12) ORDER BY id});

# What an attempt that failed has left.
$node->safe_psql(
	'shard3', q{SELECT narvik.narvik_save_session(encode(sha256('left over'), 'hex'), 'left over', now() + interval '1 day');
	UPDATE narvik.narvik_sessions SET id = set_byte(id, 31, 12)});
# Rows of a table that inherits from the table of sessions are none.
my $archive = 'SELECT count(*) FROM narvik.archive';
my %archived = map {
	$_ => $node->safe_psql(
		$_, qq{CREATE TABLE narvik.archive () INHERITS (narvik.narvik_sessions);
		INSERT INTO narvik.archive SELECT * FROM narvik_shard.rows_of(12); $archive})
} ('shard0', 'shard3');
is("$archived{shard0} $archived{shard3}", '5 1', 'rows of the partition are in other tables, too');
$node->safe_psql('router2', q{ALTER SERVER narvik RENAME TO gone});
($out, $err) = move_partitions($node, 'shard3', [ 'router', 'router2' ], 12);
like($err, qr/server "narvik" does not exist/, 'a move stops halfway');
is(where_is(12), 'shard3', 'the partition has moved');
is(valid('router', 'c'), '1', 'the first router knows');
$node->safe_psql('router2', q{ALTER SERVER gone RENAME TO narvik});
is(valid('router2', 'c'), '40001', 'the second does not, and takes no session for invalid');
($out, $err) = move_partitions($node, 'shard3', [ 'router', 'router2' ], 12);
is($err, '', 'called again');
is(valid($_, 'b'), '1', "now $_ knows") foreach ('router', 'router2');
is( $node->safe_psql(
		'shard3',
		q{SELECT id, user_id, created_at, expires_at, ends_at, authenticated_at, active_at, lifetime, sliding, data, purge_hour, replaced_ids, replaced_at
		FROM narvik_shard.rows_of(12) ORDER BY id}),
	$before,
	'the rows are the same, and no others');
is($node->safe_psql('shard0', 'SELECT count(*) FROM narvik_shard.rows_of(12)'), '0', 'the source has none');
foreach (sort keys %archived)
{
	is($node->safe_psql($_, $archive), $archived{$_}, "those of other tables are left alone in $_");
	$node->safe_psql($_, 'DROP TABLE narvik.archive');
}
is(ask('router2', 'a', $extended), 't', 'sessions are extended in the new place');
is(valid('router', 'grace'), '1', 'a replaced token is still in its grace');
is(ask('router', 'grace', '(SELECT count(*) FROM narvik_rotate_session(token))'), '0', 'and makes no second chain');
is(valid('router', 'reused new'), '1', 'a session whose token was replaced long ago is valid');
is(valid('router', 'reused'), '0', 'until that is seen again');
is(valid('router', 'reused new'), '0', 'then it ends');
$node->safe_psql('postgres', "ALTER DATABASE $_ RESET narvik.rotation_grace; ALTER DATABASE $_ RESET narvik.detect_reuse") foreach @shards;
is(ask('router', 'b', $log_out), 't', 'and end there');
is(valid('router2', 'b'), '0', 'for everybody');
($out, $err) = move_partitions($node, 'shard3', [ 'router', 'router2' ], 12);
is($out . $err, "partition 12: 0 sessions\n", 'once more changes nothing');
is(valid('router', 'c'), '1', 'nothing');
isnt((move_partitions($node, 'shard3', ['router'], $_))[1], '', "partition $_ is refused") foreach (64, '1;', '-1');

# The source is interrupted: all is as it was.
log_in('d', 15);
$node->safe_psql('shard3', 'ALTER TABLE narvik.narvik_sessions ADD CONSTRAINT none CHECK (false) NOT VALID');
isnt((move_partitions($node, 'shard3', ['router'], 15))[1], '', 'a copy that fails');
is(where_is(15), 'shard0', 'leaves the partition where it was');
is(valid('router', 'd'), '1', 'with its sessions');
$node->safe_psql('shard3', 'ALTER TABLE narvik.narvik_sessions DROP CONSTRAINT none');

# ---- under load -------------------------------------------------------------

# Four clients with sessions of their own, each on both routers in turn.  What was
# acknowledged is written down, and held against what is answered later.
foreach my $router ('router', 'router2')
{
	$node->safe_psql(
		$router, q{
		CREATE TABLE journal (client int, token text PRIMARY KEY, state text, expires_at timestamptz);
		-- One request of a client, by this number: the same one if it is repeated.
		CREATE FUNCTION step(client int, number int) RETURNS void LANGUAGE plpgsql AS $$
		#variable_conflict use_column
		DECLARE
			what text := (ARRAY['create', 'create', 'live', 'live', 'live', 'live', 'dead', 'extend', 'rotate', 'log out', 'list',
								CASE WHEN $2 % 97 = 0 THEN 'everywhere' ELSE 'create' END])[1 + $2 % 12];
			who text := current_database() || '-' || $1;
			mine journal; s record; n bigint;
		BEGIN
			PERFORM setseed($2 / 1e6);
			SELECT * INTO mine FROM journal
			WHERE client = $1 AND state = CASE what WHEN 'dead' THEN 'dead' ELSE 'live' END ORDER BY random() LIMIT 1;
			IF mine.token IS NULL THEN
				what := 'create';
			END IF;
			CASE what
			WHEN 'create' THEN
				SELECT * INTO s FROM narvik_create_session(who);
				INSERT INTO journal VALUES ($1, s.token, 'live', s.expires_at);
			WHEN 'live', 'extend' THEN
				IF what = 'extend' THEN
					IF NOT narvik_update_session_expiry(narvik_session_id(mine.token), now() + interval '10 days') THEN
						RAISE 'LOST: not there to be made due';
					END IF;
					mine.expires_at := now() + interval '10 days';
				END IF;
				SELECT * INTO s FROM narvik_validate_session(mine.token);
				IF NOT FOUND THEN
					RAISE 'LOST: a live session is invalid';
				ELSIF s.expires_at < mine.expires_at THEN
					RAISE 'UNDONE: an extension';
				END IF;
				UPDATE journal SET expires_at = s.expires_at WHERE token = mine.token;
			WHEN 'dead' THEN
				IF EXISTS (SELECT FROM narvik_validate_session(mine.token)) THEN
					RAISE 'RISEN: a dead session is valid';
				END IF;
			WHEN 'rotate' THEN
				SELECT * INTO s FROM narvik_rotate_session(mine.token);
				IF NOT FOUND THEN
					RAISE 'LOST: not there to be rotated';
				END IF;
				UPDATE journal SET state = 'dead' WHERE token = mine.token;
				INSERT INTO journal VALUES ($1, s.token, 'live', s.expires_at);
			WHEN 'log out' THEN
				IF NOT narvik_invalidate_session(narvik_session_id(mine.token)) THEN
					RAISE 'LOST: not there to be ended';
				END IF;
				UPDATE journal SET state = 'dead' WHERE token = mine.token;
			WHEN 'everywhere' THEN
				PERFORM narvik_delete_sessions_for_user(who);
				UPDATE journal SET state = 'dead' WHERE client = $1;
			WHEN 'list' THEN
				SELECT count(*) INTO n FROM narvik_fetch_sessions_for_user(who);
				IF n <> (SELECT count(*) FROM journal WHERE client = $1 AND state = 'live') THEN
					RAISE 'LIST: % sessions instead of %', n, (SELECT count(*) FROM journal WHERE client = $1 AND state = 'live');
				END IF;
			END CASE;
		END $$;
	});
}
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/step.sql", "\\set number random(0, 999999)\nSELECT step(:client_id, :number);\n");
my $log_start = -s $node->logfile;
my @load;
foreach my $router ('router', 'router2')
{
	my $load = { router => $router, out => '' };
	$load->{handle} = IPC::Run::start(
		# What fails with serialization_failure is repeated, in a new transaction.
		[   'pgbench', '-n', '-c', '2', '-j', '1', '-T', '3600', '--max-tries=100000', '-f', "$dir/step.sql",
			$node->connstr($router) . ' options=-cclient_min_messages=error' ],
		'>',
		\$load->{out},
		'2>&1');
	push @load, $load;
}

# Until each client has done some more.
sub let_work
{
	my ($count) = @_;
	foreach my $router ('router', 'router2')
	{
		my $seen = $node->safe_psql('postgres', "SELECT xact_commit FROM pg_stat_database WHERE datname = '$router'");
		$node->poll_query_until(
			'postgres',
			"SELECT xact_commit > $seen + $count OR count(*) FILTER (WHERE query ~ 'step') = 0 FROM pg_stat_database AS d
			 LEFT JOIN pg_stat_activity AS a ON a.datname = d.datname WHERE d.datname = '$router' GROUP BY xact_commit");
	}
	return;
}
let_work(300);
my @moving = grep { $_ % 4 == 3 } 0 .. 63;
my $sessions = 0;
foreach my $partition (@moving)
{
	($out, $err) = move_partitions($node, 'shard3', [ 'router', 'router2' ], $partition);
	is($err, '', "partition $partition moves to the fourth shard");
	$sessions += $1 if $out =~ /: (\d+) sessions/;
	let_work(20);
}
let_work(300);
foreach my $load (@load)
{
	# Not INT: who runs in the background of a shell may ignore it.
	$load->{handle}->signal('TERM');
	$load->{handle}->finish;
	unlike($load->{out}, qr/ERROR|LOST|RISEN|UNDONE|LIST|STUCK|aborted/, "clients of $load->{router}: no session lost, risen or forgotten")
	  or diag($load->{out});
}
cmp_ok($sessions, '>', 0, "$sessions sessions were moved");
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'pgbench'});

my ($live, $dead) = (0, 0);
foreach my $router ('router', 'router2')
{
	my $other = $router eq 'router' ? 'router2' : 'router';
	$node->safe_psql($other, 'DROP TABLE IF EXISTS check_journal; CREATE TABLE check_journal (LIKE journal)');
	my $rows = $node->safe_psql($router, 'COPY journal TO STDOUT');
	$node->safe_psql($other, "COPY check_journal FROM STDIN;\n$rows\n\\.\n");
	is( $node->safe_psql(
			$other, q{
			SELECT count(*) FROM check_journal AS j
			WHERE (state = 'live') <> EXISTS (SELECT FROM narvik_validate_session(j.token))}),
		'0',
		"$other finds alive and dead what clients of $router were told");
	$live += $node->safe_psql($router, q{SELECT count(*) FROM journal WHERE state = 'live'});
	$dead += $node->safe_psql($router, q{SELECT count(*) FROM journal WHERE state = 'dead'});
}
cmp_ok($live, '>', 0, "$live sessions are alive");
cmp_ok($dead, '>', 0, "$dead have ended");
note(scalar(() = slurp_file($node->logfile, $log_start) =~ /ERROR:  partition/g) . ' times a request had to be repeated');
is(join(' ', map { where_is($_) } @moving), join(' ', ('shard3') x @moving), 'a quarter of the partitions is in the fourth shard');
is( $node->safe_psql(
		$_, q{SELECT count(*) FROM narvik.narvik_sessions
		WHERE NOT EXISTS (SELECT FROM narvik_shard.partitions WHERE partition = narvik_shard.partition_of(id) AND moved_to IS NULL)}),
	'0',
	"$_ holds no session of others") foreach @shards;

# The checker itself: planted violations are found.
sub violation
{
	my ($number, $sql) = @_;
	$node->safe_psql('router', "DELETE FROM journal; $sql");
	return outcome(
		$node, 'router', qq{\\set VERBOSITY terse
		SELECT step(99, $number)}) =~ /ERROR:  (\w+):/ ? $1 : 'none';
}
is(violation(2, q{INSERT INTO journal VALUES (99, 'never was', 'live', now())}), 'LOST', 'the check sees a session that is lost');
is(violation(6, q{INSERT INTO journal SELECT 99, token, 'dead', now() FROM narvik_create_session('x')}), 'RISEN', 'and one that has risen');
is( violation(2, q{INSERT INTO journal SELECT 99, token, 'live', now() + interval '1 year' FROM narvik_create_session('x')}), 'UNDONE',
	'and an extension undone');
is( violation(10, q{INSERT INTO journal SELECT 99, token, 'live', now() FROM narvik_create_session('x')}), 'LIST',
	'and a list that is not complete');

$node->stop;
done_testing();
