# A backend does not grow, however often it calls.  Every function of the catalog
# is called again and again in one connection.  After the first tenth of the
# calls neither a memory context that lives as long as the connection nor the
# private memory of the process (RssAnon) grows with the calls.
#
# What reads is called 300,000 times, what writes 50,000 times; CALLS=1000000 is
# for both, and takes a quarter of an hour.  Always fewer: extensions, whose dead
# rows nobody vacuums here; and what changes the catalog.

use strict;
use warnings;

use IPC::Run;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $reads = $ENV{CALLS} // 300_000;
my $writes = $ENV{CALLS} // 50_000;
my $walking = 10_000;
my $changes = 2_000;
# What the C library's allocator may keep more or less, and where the catalog changes:
# once it was 280 kB of 2000 calls, of which 8000 alone kept nothing.
my $rss_slack_kb = 128;
my $rss_slack_of_changes_kb = 512;
# PostgreSQL's caches come and go with what happens in other databases, by some
# kB.  What each call leaves has 16 bytes at least, and makes more than this.
my $context_slack_kb = 64;
my $context_slack_a_call = 8;

# In one loop: what is called how often, with "turn" counting.  The functions in
# the text are the ones that are tried; 1,000 sessions t0 .. t999 are there.
my $token = q{'t' || turn % 1000};
my $id = q{narvik_session_id('t' || turn % 1000)};
my $new_id = q{lpad(to_hex(turn), 64, '0')};
my $failing = sub {
	my ($statement) = @_;
	return "BEGIN $statement; RAISE 'no error'; EXCEPTION WHEN raise_exception THEN RAISE; WHEN OTHERS THEN NULL; END";
};
my @loops = (
	[   'without a session', $reads,
		q{PERFORM narvik_generate_token(), narvik_cookie_name(), narvik_create_cookie('abc', '1 day'), narvik_create_blank_cookie(),
		  narvik_read_cookie('a=b; narvik_session=c'), narvik_session_id('abc'), narvik_current_user_id(), narvik_current_session_id()} ],
	[   'reading', $reads,
		qq{PERFORM FROM narvik_validate_session($token);
		   PERFORM FROM narvik_validate_session('nobody');
		   PERFORM narvik_authenticate($token), narvik_current_user_id(), narvik_current_session_id(), narvik_current_data(), narvik_is_fresh('1 hour');
		   PERFORM FROM narvik_fetch_session($id)} ],
	[   'requests', $reads,
		qq{PERFORM FROM narvik_authenticate_cookie('a=b; narvik_session=' || $token);
		   PERFORM FROM narvik_authenticate_cookie(convert_to('narvik_session=nobody; narvik_session=' || $token, 'UTF8'))} ],
	[ 'reading several', $reads, q{PERFORM FROM narvik_fetch_sessions_for_user('u' || turn % 333)} ],
	[   'extending', $walking,
		qq{PERFORM narvik_update_session_expiry($id, now() + interval '1 hour');
		   PERFORM FROM narvik_validate_session($token)} ],
	[ 'data', $writes, qq{PERFORM narvik_update_session_data($id, jsonb_build_object('a', turn, 'b', NULL))} ],
	[   'logging in and out', $writes,
		q{PERFORM narvik_invalidate_session((narvik_create_session('v' || turn)).id)} ],
	[   'guests who log in', $writes,
		q{PERFORM narvik_invalidate_session((narvik_promote_session((narvik_create_guest_session()).token, 'v' || turn)).id)} ],
	[   'putting and changing ids', $writes,
		qq{PERFORM narvik_put_session($new_id, NULL, now() + interval '1 day', '{}');
		   PERFORM narvik_put_session($new_id, 'v' || turn, now() + interval '1 day', '{}', true);
		   PERFORM narvik_change_session_id($new_id, lpad(to_hex(turn), 64, 'f'));
		   PERFORM narvik_delete_session(lpad(to_hex(turn), 64, 'f'))} ],
	[   'saving and deleting', $writes,
		qq{PERFORM narvik_save_session($new_id, 'v' || turn, now() + interval '1 day');
		   PERFORM narvik_delete_session($new_id)} ],
	[   'logging out everywhere', $writes,
		qq{PERFORM narvik_save_session($new_id, 'w' || turn, now() + interval '1 day');
		   PERFORM narvik_delete_sessions_for_user('w' || turn)} ],
	[   'rotating', $writes, q{SELECT token INTO STRICT kept FROM narvik_rotate_session(kept)},
		q{kept text := (narvik_create_session('u')).token} ],
	[   'events', $writes,
		q{SELECT token INTO STRICT kept FROM narvik_reauthenticate_session(kept);
		  PERFORM FROM narvik_fetch_events_for_user('u');
		  PERFORM narvik_invalidate_session((narvik_create_session('v' || turn)).id)},
		q{kept text := (narvik_create_session('u')).token},
		q{SET narvik.events = on; SET narvik.event_claims = 'a'; SET narvik.detect_reuse = on} ],
	[   'expired when seen', $writes,
		qq{PERFORM narvik_save_session($new_id, 'v' || turn, now() - interval '1 day');
		   PERFORM FROM narvik_validate_session('') UNION ALL SELECT FROM narvik_fetch_session($new_id);
		   PERFORM narvik_delete_session($new_id)} ],
	[   'purging', $walking,
		qq{PERFORM narvik_save_session($new_id, 'v' || turn, now() - interval '1 day');
		   PERFORM narvik_delete_all_expired_sessions()} ],
	[ 'a limit of sessions', $writes, q{PERFORM narvik_create_session('x' || turn / 10)}, '', q{SET narvik.max_sessions_per_user = 2} ],
	[ 'counters', $reads, q{PERFORM FROM narvik_stats(); PERFORM narvik_reset_stats()} ],
	[   'users', $walking,
		q{INSERT INTO people VALUES (turn);
		  PERFORM FROM narvik_validate_user((narvik_create_session(turn::text)).token, NULL::people);
		  UPDATE people SET id = -turn WHERE id = turn;
		  DELETE FROM people WHERE id = -turn;
		  IF turn % 100 = 0 THEN TRUNCATE people; END IF},
		'', q{DELETE FROM narvik_sessions; SELECT narvik_link_users('people')}, 'narvik_users_changed' ],
	[   'linking', $changes,
		q{PERFORM narvik_link_users('people'); PERFORM FROM narvik_linked_users(); PERFORM narvik_unlink_users()},
		'', q{DELETE FROM narvik_sessions} ],
	[ 'granting', $changes, q{PERFORM narvik_grant('app'); PERFORM narvik_revoke('app')} ],
	[   'errors', $writes,
		join(
			';', map { $failing->($_) }
			  q{PERFORM narvik_create_session(NULL)}, q{PERFORM narvik_create_session('u', '[]')},
			q{PERFORM narvik_save_session(narvik_session_id('t1'), 'u', now())},
			q{PERFORM narvik_change_session_id(narvik_session_id('t1'), narvik_session_id('t2'))},
			q{PERFORM narvik_update_session_data(NULL, NULL)}, q{PERFORM narvik_update_session_expiry(NULL, 'infinity')},
			q{PERFORM narvik_fetch_sessions_for_user('')}, q{PERFORM narvik_create_cookie(';')},
			q{PERFORM narvik_users_changed()}, q{PERFORM narvik_unlink_users()}, q{PERFORM narvik_link_users('app_view')},
			q{PERFORM narvik_grant(NULL)}) ],
	[   'in savepoints', $writes,
		qq{BEGIN PERFORM narvik_authenticate($token);
		   PERFORM narvik_update_session_data($id, '{"a": 1}');
		   PERFORM 1 / (turn % 2);
		   EXCEPTION WHEN division_by_zero THEN NULL; END} ],
	[ 'planted', $changes, q{EXECUTE format('PREPARE p%s AS SELECT 1', turn)} ]);

# ---- measuring --------------------------------------------------------------

# What lives as long as the connection: all but what belongs to the statement
# and to the transaction.  Several contexts of a name are taken together.  Since
# 18 the view tells a context's whole path in place of its parent's name.
my $roots = q{('MessageContext', 'TopPortalContext', 'TopTransactionContext', 'ErrorContext', 'RowDescriptionContext')};
my $contexts_until_17 = qq{
	WITH RECURSIVE passing AS (
		SELECT name FROM pg_backend_memory_contexts WHERE name IN $roots
		UNION SELECT c.name FROM pg_backend_memory_contexts AS c JOIN passing AS p ON c.parent = p.name
	)
	SELECT concat_ws(' ', name, left(ident, 60)), sum(used_bytes)
	FROM pg_backend_memory_contexts
	WHERE name NOT IN (SELECT name FROM passing)
	GROUP BY 1 ORDER BY 1;};
my $contexts_since_18 = qq{
	WITH contexts AS MATERIALIZED (SELECT * FROM pg_backend_memory_contexts)
	SELECT concat_ws(' ', name, left(ident, 60)), sum(used_bytes)
	FROM contexts AS c
	WHERE NOT EXISTS (SELECT FROM contexts AS r WHERE r.name IN $roots AND r.path[r.level] = ANY (c.path))
	GROUP BY 1 ORDER BY 1;};
my $contexts;
my $rss = q{SELECT 'RssAnon', substring(pg_read_file('/proc/self/status', 0, 8192) FROM 'RssAnon:\s*(\d+)');};

sub script
{
	my ($calls, $statements, $variables, $before) = @_;
	# One statement each: a procedure that commits lets PL/pgSQL pile up some bytes
	# a transaction until it ends, whatever it calls.
	my $tenth = $calls / 10;
	my @tenths = map { sprintf 'CALL again(%d, %d);', $_ * $tenth + 1, ($_ + 1) * $tenth } 0 .. 9;
	my $warm_up = shift @tenths;
	my $sql =
		"CREATE PROCEDURE again(first bigint, last bigint) LANGUAGE plpgsql AS \$\$\n"
	  . "DECLARE "
	  . ($variables ? "$variables;" : '')
	  . "\nBEGIN\n"
	  . "FOR turn IN first .. last LOOP\n$statements;\nIF turn % 10 = 0 THEN COMMIT; END IF;\nEND LOOP;\nEND\$\$;\n";
	$sql .= "\\o /dev/null\n";
	$sql .= "$before;\n" if $before;
	$sql .= "$contexts\n$rss\n$contexts\n$rss\n$warm_up\n$contexts\n$rss\n";
	$sql .= "\\o\n$contexts\n$rss\n\\echo then\n\\o /dev/null\n@tenths\n\\o\n";
	return "$sql$contexts\n$rss\n";
}

sub parse
{
	return map { /^(.*)\|(\d+)$/ ? ($1 => $2) : die "unexpected: $_" } split /\n/, $_[0];
}

# Growth of the process, in bytes, and the contexts that have grown by more than
# so many.
sub growth
{
	my ($output, $slack) = @_;
	my ($first, $second) = map {
		{ parse($_) }
	} split /^then\n/m, $output;
	my $rss = 1024 * (delete($second->{RssAnon}) - delete($first->{RssAnon}));
	my %grown = map { $_ => ($second->{$_} // 0) - ($first->{$_} // 0) } keys %$first, keys %$second;
	return ($rss, map { "$_: $grown{$_}" } grep { $grown{$_} > $slack } sort keys %grown);
}

# ---- the calls --------------------------------------------------------------

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
	shared_preload_libraries = 'narvik'
	narvik.purge = off
	autovacuum = off
	log_statement = none
	fsync = off
	max_wal_size = 4GB
	wal_level = minimal
	max_wal_senders = 0
});
$node->start;
$contexts = $node->safe_psql('postgres', q{SHOW server_version_num}) < 180000 ? $contexts_until_17 : $contexts_since_18;
$node->safe_psql('postgres', 'CREATE ROLE app');
$node->safe_psql(
	'template1', q{
	SET client_min_messages = warning;
	CREATE EXTENSION narvik CASCADE;
	SELECT narvik_save_session(narvik_session_id('t' || i), 'u' || i % 333, now() + interval '29 days')
	FROM generate_series(0, 999) AS i;
	CREATE TABLE people (id int PRIMARY KEY);
	CREATE VIEW app_view AS SELECT 1 AS id;
});

my $called = join(',', map { "'$_'" } join(' ', map { $_->[2] . ' ' . ($_->[5] // '') } @loops) =~ /(narvik_\w+)/g);
is( $node->safe_psql(
		'template1', qq{
		SELECT string_agg(proname, ' ') FROM pg_proc AS p
		JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		WHERE extname = 'narvik' AND proname NOT IN ($called)}),
	'',
	'every function of the extension is called here');

sub database_of { return 'db_' . ($_[0][0] =~ s/\W/_/gr); }

sub start_loop
{
	my ($name, $calls, $statements, $variables, $before) = @{ $_[0] };
	my $database = database_of($_[0]);
	my $files = PostgreSQL::Test::Utils::tempdir() . "/$database";
	my $one = { name => $name, calls => $calls, database => $database, files => $files };
	append_to_file("$files.sql", script($calls, $statements, $variables, $before));
	# Files, not pipes: those would move only while this process looks after them.
	$one->{handle} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database), '-f', "$files.sql" ],
		'<', '/dev/null', '>', "$files.out", '2>', "$files.err");
	$one->{began} = time;
	return $one;
}

sub judge_loop
{
	my ($one) = @_;
	my ($name, $calls) = @$one{qw(name calls)};
	my $error = slurp_file("$one->{files}.err");
	is($error, '', "$name: no error");
	my $slack = min($context_slack_kb * 1024, $context_slack_a_call * $calls);
	my ($rss, @grown) = $error eq '' ? growth(slurp_file("$one->{files}.out"), $slack) : (0);
	note(sprintf('%s: %d calls, %d s, RssAnon %+d kB', $name, $calls, $one->{ended} - $one->{began}, $rss / 1024));
	if ($name eq 'planted')
	{
		cmp_ok(scalar @grown, '>', 0, 'a leak that was planted is found in a context');
		cmp_ok($rss, '>', $rss_slack_kb * 1024, 'and in the process');
	}
	else
	{
		is(join("\n", @grown), '', "$name: $calls calls leave nothing in a context of the connection");
		cmp_ok($rss, '<=', ($calls > $changes ? $rss_slack_kb : $rss_slack_of_changes_kb) * 1024, 'and the process has not grown');
	}
	return;
}

# Two at a time.  Databases come and go only between them, because every
# connection hears of it and loads its caches anew.
while (my @pair = splice(@loops, 0, 2))
{
	$node->safe_psql('postgres', 'CREATE DATABASE ' . database_of($_) . ' TEMPLATE template1') foreach @pair;
	my @running = map { start_loop($_) } @pair;
	foreach my $one (@running)
	{
		$one->{handle}->finish;
		$one->{ended} = time;
	}
	judge_loop($_) foreach @running;
	$node->safe_psql('postgres', "DROP DATABASE $_->{database}") foreach @running;
}

$node->stop;
done_testing();
