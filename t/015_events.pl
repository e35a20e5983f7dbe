# The purge and narvik_events: what has expired goes in batches, with an event for
# each that went and for no other; events past narvik.events_retention go after
# the sessions, at narvik.purge_rate.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;
use Time::HiRes qw(time);

my $node = purging_server('main', 'narvik.purge = off', 'narvik.events = on', q{narvik.event_claims = 'device'});
my $db = 'main';
add_database($node, $db);
sub ask { return $node->safe_psql($db, $_[0]) }

# ---- what has expired -------------------------------------------------------

my $hour = q{date_trunc('hour', now(), 'UTC')};
ask(qq{
	SELECT narvik_save_session(narvik_session_id('expired' || i), 'expired', $hour - interval '1 minute', '{"device": "d", "secret": 1}')
	FROM generate_series(1, 3000) AS i;
	SELECT count(narvik_create_session('aged', '{}', NULL, true, '1 day')) FROM generate_series(1, 500);
	UPDATE narvik_sessions SET expires_at = $hour - interval '2 minutes', ends_at = $hour - interval '2 minutes',
		purge_hour = extract(epoch FROM $hour - interval '2 minutes')::bigint / 3600 WHERE user_id = 'aged';
	SELECT count(narvik_create_session('live')) FROM generate_series(1, 500);
	SELECT narvik_save_session(narvik_session_id('locked'), 'expired', $hour - interval '1 minute');
	CREATE TABLE were AS TABLE narvik_sessions;
	ANALYZE narvik_sessions;
	DELETE FROM narvik_events});
my $holder = $node->background_psql($db);
$holder->query_safe(q{BEGIN; SELECT FROM narvik_sessions WHERE id = decode(narvik_session_id('locked'), 'hex') FOR UPDATE});
set_by_reload($node, 'narvik.purge = on');
ok($node->poll_query_until($db, q{SELECT count(*) FROM narvik_sessions WHERE user_id <> 'live'}, '1'), 'the worker purges with events on');

is( ask(q{SELECT kind, reason, user_id, detail, count(*) FROM narvik_events GROUP BY 1, 2, 3, 4 ORDER BY 2}),
	qq{ended|expired|expired|{"device": "d"}|3000\nended|max_age|aged|{}|500},
	'an event for each: what ran out, and what came to the end of its age');
is( ask(q{
		SELECT count(*) FROM (SELECT id, user_id FROM were EXCEPT SELECT id, user_id FROM narvik_sessions) AS gone (id, user_id)
		FULL JOIN narvik_events AS e ON e.session_id = gone.id AND e.user_id = gone.user_id
		WHERE e.seq IS NULL OR gone.id IS NULL}),
	'0',
	'of those that went and of no other');
cmp_ok(ask('SELECT count(DISTINCT xmin::text) FROM narvik_events'), '>=', 4, 'in batches of narvik.purge_batch_size at most');
is( ask(q{SELECT max(n) <= 1000 FROM (SELECT count(*) AS n FROM narvik_events GROUP BY xmin::text) AS batch}), 't',
	'each with the events of its rows');
is(ask(q{SELECT count(*) FROM narvik_sessions WHERE user_id = 'live'}), '500', 'nothing live goes');
is(purge_stats($node, $db, 'purged'), '3500', 'and the counter says so');
is( ask(q{SELECT count(*) FROM narvik_events WHERE session_id = decode(narvik_session_id('locked'), 'hex')}), '0',
	'what somebody has locked stays, without an event');
$holder->query_safe('COMMIT');
$holder->quit;
ok(wait_until_purged($node, $db), 'until it is free');
is(ask(q{SELECT reason FROM narvik_events WHERE session_id = decode(narvik_session_id('locked'), 'hex')}), 'expired', 'then with one');

# ---- a table that cannot be written -------------------------------------------

# Nothing that the rows are to blame for: they are not left one by one.
stop_purging($node, $db);
my $log_start = -s $node->logfile;
foreach my $case (
	[ 'somebody else holds it', 'BEGIN; TRUNCATE narvik_events', 'ROLLBACK', 'lock timeout' ],
	[   'it was altered',
		'ALTER TABLE narvik_events RENAME COLUMN kind TO what',
		'ALTER TABLE narvik_events RENAME COLUMN what TO kind',
		'"narvik_events" is not as extension "narvik" made it' ])
{
	my ($what, $do, $undo, $expected) = @$case;
	$holder = $node->background_psql($db);
	save_expired($node, $db, 100);
	$holder->query_safe($do);
	set_by_reload($node, 'narvik.purge = on');
	ok( $node->poll_query_until($db, "SELECT last_purge_error ~ '$expected' FROM narvik_stats"),
		"$what: the purge cannot go on, and says why");
	is(expired_left($node, $db), '100', 'nothing goes without its event');
	$holder->query_safe($undo);
	$holder->quit;
	ok(wait_until_purged($node, $db), 'afterwards all go');
	stop_purging($node, $db);
}
ok(!$node->log_contains('could not be purged', $log_start), 'no row is said to be the reason');
set_by_reload($node, 'narvik.purge = on');

# ---- retention --------------------------------------------------------------

# "Old" ones were written first, as they are.
ask(q{
	TRUNCATE narvik_events RESTART IDENTITY;
	INSERT INTO narvik_events (at, kind, session_id, user_id, detail)
	SELECT now() - d * interval '1 day' - interval '1 minute', 'created', int8send(d), 'old', '{}'
	FROM generate_series(200, 1, -1) AS d});
my $left = 'SELECT count(*) FROM narvik_events';
wait_for_visits($node, $db, 1);
is(ask("$left WHERE at < now() - interval '90 days'"), '0', 'events past 90 days go');
is(ask($left), '89', 'the others stay');
set_by_reload($node, q{narvik.events_retention = '0'});
wait_for_visits($node, $db, 1);
ask(q{INSERT INTO narvik_events (at, kind, session_id, user_id, detail) VALUES (now() - interval '20 years', 'created', '', 'old', '{}')});
wait_for_visits($node, $db, 2);
is(ask($left), '90', 'with a retention of 0 all stay');
# Of what could go, one is locked.
$holder = $node->background_psql($db);
$holder->query_safe('BEGIN; SELECT FROM narvik_events WHERE seq = (SELECT min(seq) FROM narvik_events) FOR UPDATE');
set_by_reload($node, q{narvik.events_retention = '60d'});
wait_for_visits($node, $db, 1);
is(ask("$left WHERE at < now() - interval '60 days'"), '1', 'what somebody has locked stays, and nothing else does');
is(purge_stats($node, $db, 'last_purge_error IS NULL'), 't', 'which is no error');
$holder->query_safe('COMMIT');
$holder->quit;
wait_for_visits($node, $db, 1);
is(ask("$left WHERE at < now() - interval '60 days'"), '0', 'until it is free');
# One cannot go at all; sessions do, also one that was locked when a visit came by.
ask(q{CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept as evidence'; END $$;
	CREATE TRIGGER keep BEFORE DELETE ON narvik_events FOR EACH ROW EXECUTE FUNCTION keep()});
stop_purging($node, $db);
save_expired($node, $db, 10);
$holder = $node->background_psql($db);
$holder->query_safe(q{BEGIN; SELECT FROM narvik_sessions WHERE user_id = 'expired' LIMIT 1 FOR UPDATE});
$log_start = -s $node->logfile;
# Time to look at a visit before the next.
set_by_reload($node, q{narvik.events_retention = '50d'}, q{narvik.purge_interval = '5s'}, 'narvik.purge = on');
ok( $node->poll_query_until($db, q{SELECT last_purge_error ~ 'kept as evidence' FROM narvik_stats}),
	'an event that cannot go keeps the others, and the statistics say so');
$node->wait_for_log(qr/kept as evidence.*kept as evidence/s, $log_start);
is(expired_left($node, $db), '1', 'sessions are purged');
$holder->query_safe('COMMIT');
$holder->quit;
ok(wait_until_purged($node, $db), 'and the one that was locked is, once it is free');
ok($node->poll_query_until($db, 'SELECT last_purge_rows = 1 FROM narvik_stats'), 'the statistics count it');
is( purge_stats($node, $db, 'last_purge_error'),
	'events past their retention could not be deleted: kept as evidence', 'and say what is wrong with the events');
ok($node->log_contains(qr/purged 1 expired sessions of database "main"/, $log_start), 'so does the log');
ask('DROP FUNCTION keep CASCADE');
set_by_reload($node, q{narvik.purge_interval = '1s'});
set_by_reload($node, q{narvik.events_retention = '0'});
set_by_reload($node, q{narvik.events_retention = '50d'}, 'narvik.events = off');
wait_for_visits($node, $db, 1);
is(ask("$left WHERE at >= now() - interval '50 days'"), ask($left), 'they go by another retention, also while none are written');

stop_purging($node, $db);
ask(q{
	TRUNCATE narvik_events;
	INSERT INTO narvik_events (at, kind, session_id, user_id, detail)
	SELECT now() - interval '100 days', 'created', int8send(i), 'old', '{}' FROM generate_series(1, 6000) AS i;
	SELECT count(narvik_create_session('live')) FROM generate_series(1, 10)});
my $began = time;
set_by_reload($node, 'narvik.purge_rate = 2000', 'narvik.purge = on');
ok($node->poll_query_until($db, $left, '0'), 'more than a visit may delete go in several');
my $seconds = time - $began;
cmp_ok($seconds, '>=', 1.5, 'at narvik.purge_rate');
note("$seconds s");
is(purge_stats($node, $db, 'last_purge_error IS NULL'), 't', 'without an error');
is(ask('SELECT count(*) FROM narvik_sessions'), '510', 'sessions stay');

# Much to forget does not keep sessions from being purged.
ask(q{
	INSERT INTO narvik_events (at, kind, session_id, user_id, detail)
	SELECT now() - interval '100 days', 'created', int8send(i), 'old', '{}' FROM generate_series(1, 30000) AS i});
save_expired($node, $db, 10);
ok(wait_until_purged($node, $db), 'sessions are purged meanwhile');
cmp_ok(ask($left), '>', 0, 'indeed');

# ---- a low rate ---------------------------------------------------------------

my $insert = 'INSERT INTO narvik_events (at, kind, session_id, user_id, detail)';
stop_purging($node, $db);
ask(qq{
	TRUNCATE narvik_events;
	$insert SELECT now() - interval '100 days', 'created', int8send(i), 'old', '{}' FROM generate_series(1, 3000) AS i});
set_by_reload($node, 'narvik.purge_rate = 20', 'narvik.purge = on');
$node->poll_query_until($db, "SELECT count(*) < 3000 FROM narvik_events") or die 'no visit';
my ($many, $since) = (ask($left), time);
cmp_ok($many, '>', 2500, 'events go in small batches at a low rate');
save_expired($node, $db, 10);
ok(wait_until_purged($node, $db), 'sessions are purged meanwhile');
my $waited = time - $since;
cmp_ok($waited, '<', 20, 'without much of a wait');
sleep 1 while time < $since + 5;
my $gone = $many - ask($left);
$seconds = time - $since;
cmp_ok($gone, '>=', 20, 'events, too');
cmp_ok($gone / $seconds, '<=', 30, 'at that rate');
note("$gone in $seconds s; sessions had gone after $waited s");
set_by_reload($node, 'narvik.purge_rate = 0');
ok($node->poll_query_until($db, $left, '0'), 'until none is left');

# Each visit is busy with the only session that is left, which cannot go.
ask(qq{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(2.2); RAISE 'slow'; END \$\$;
	CREATE TRIGGER slow BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION slow();
	$insert SELECT now() - interval '100 days', 'created', int8send(i), 'old', '{}' FROM generate_series(1, 10) AS i});
save_expired($node, $db, 1);
ok($node->poll_query_until($db, $left, '0'), 'events go though sessions take all the time of a visit');
ask('DROP FUNCTION slow CASCADE');
ok(wait_until_purged($node, $db), 'and the sessions then');

# ---- events that stay -----------------------------------------------------------

# A clock was ahead for a while.
ask(qq{
	TRUNCATE narvik_events;
	$insert SELECT now() + interval '1 year', 'created', int8send(i), 'ahead', '{}' FROM generate_series(1, 1200) AS i;
	$insert SELECT now() - interval '100 days', 'created', int8send(i), 'old', '{}' FROM generate_series(1, 5000) AS i});
my $of_whom = q{SELECT string_agg(DISTINCT user_id, ' ' ORDER BY user_id) FROM narvik_events};
ok($node->poll_query_until($db, $of_whom, 'ahead'), 'events go that are behind many from the future');
is(ask($left), '1200', 'which stay');

# More are kept than a visit looks at.
ask(qq{
	TRUNCATE narvik_events;
	CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RETURN CASE WHEN OLD.user_id <> 'kept' THEN OLD END; END \$\$;
	CREATE TRIGGER keep BEFORE DELETE ON narvik_events FOR EACH ROW EXECUTE FUNCTION keep();
	$insert SELECT now() - interval '100 days', 'created', int8send(i), CASE WHEN i <= 12000 THEN 'kept' ELSE 'old' END, '{}'
	FROM generate_series(1, 13000) AS i});
ok($node->poll_query_until($db, $of_whom, 'kept'), 'events go that are behind many that a trigger keeps');
is(ask($left), '12000', 'which stay');
is(purge_stats($node, $db, 'last_purge_error IS NULL'), 't', 'and this is no error');

# What is young is most of the log, and not read at each visit.
stop_purging($node, $db);
ask(qq{
	TRUNCATE narvik_events; DROP FUNCTION keep CASCADE;
	$insert SELECT now() - interval '100 days', 'created', int8send(i), 'old', '{}' FROM generate_series(1, 100) AS i;
	$insert SELECT now() - interval '1 day', 'created', int8send(i), 'young', '{}' FROM generate_series(1, 50000) AS i;
	VACUUM ANALYZE narvik_events});
set_by_reload($node, 'narvik.purge = on');
wait_for_visits($node, $db, 1);
is(ask($of_whom), 'young', 'before many young ones old ones go');
sub entries_read { return ask(q{SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'narvik_events_pkey'}) }
sleep 2;
my ($runs, $read) = (purge_stats($node, $db, 'purge_runs'), entries_read());
wait_for_visits($node, $db, 2);
sleep 2;
$read = entries_read() - $read;
$runs = purge_stats($node, $db, 'purge_runs') - $runs;
cmp_ok($read, '<=', 11000 * ($runs + 1), "few of the others are read by $runs visits");

$node->stop;
done_testing();
