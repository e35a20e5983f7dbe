# Logical replication carries the sessions to another cluster: what is there
# already, and then every insert, extension, rotation and delete; and the events.  The other
# cluster validates read-only and purges nothing by itself, and can take over once its
# counter is set.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use SessionLoad;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf(
	'postgresql.conf', join "\n", q{shared_preload_libraries = 'narvik'}, 'narvik.purge_interval = 1s',
	'narvik.events = on');
$subscriber->start;
$subscriber->safe_psql('postgres', 'ALTER DATABASE postgres SET narvik.purge = off');

foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql(
		'postgres', q{
		CREATE EXTENSION narvik CASCADE;
		CREATE EXTENSION amcheck;
		CREATE EXTENSION pageinspect;
		CREATE DATABASE linked});
	$node->safe_psql(
		'linked', q{
		CREATE EXTENSION narvik CASCADE;
		CREATE TABLE people (id text PRIMARY KEY);
		SELECT narvik_link_users('people')});
}

sub subscribe
{
	my ($db, $tables) = @_;
	$publisher->safe_psql($db, "CREATE PUBLICATION sessions FOR TABLE $tables");
	my $connection = $publisher->connstr($db) =~ s/'/''/gr;
	$subscriber->safe_psql(
		$db,
		"CREATE SUBSCRIPTION ${db}_sessions CONNECTION '$connection' PUBLICATION sessions");
	$subscriber->wait_for_subscription_sync($publisher, "${db}_sessions", $db);
	return;
}

sub caught_up
{
	my ($db) = @_;
	$publisher->wait_for_catchup("${db}_sessions");
	return;
}

sub load
{
	my ($journal, $node, $operations) = @_;
	my $load = SessionLoad::start(
		$journal, connstr => $node->connstr('postgres'), clients => 4,
		settings => [ 'SET narvik.events = on', q{SET narvik.activity_interval = '1s'} ]);
	$load->wait_for($operations);
	$load->finish;
	return;
}

sub check
{
	my ($journal, $node) = @_;
	my $dbh = SessionJournal::connect_to($node->connstr('postgres'));
	my @wrong = $journal->check($dbh);
	$dbh->disconnect;
	return \@wrong;
}

# ---- it arrives -------------------------------------------------------------

my $journal = SessionJournal->new(events => 1);
load($journal, $publisher, 500);
subscribe('postgres', 'narvik_sessions, narvik_events');
is_deeply(check($journal, $subscriber), [], 'sessions made before are copied');
load($journal, $publisher, 1500);
caught_up('postgres');
is_deeply(check($journal, $subscriber), [], 'what is done later arrives: ' . $journal->summary);
is_deeply(check($journal, $publisher), [], 'and is so on the publisher');
my $log = q{SELECT count(*) > 1000, md5(string_agg(e::text, ' ' ORDER BY seq)) FROM narvik_events AS e};
is($subscriber->safe_psql('postgres', $log), $publisher->safe_psql('postgres', $log), 'the log of events, too');
like($publisher->safe_psql('postgres', $log), qr/^t/, 'which is long');

# What an UPDATE does not touch is not sent if it is stored out of line.
my $token = $publisher->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('big'), 'big', now() + interval '10 days',
		(SELECT jsonb_object_agg(i, sha512(i::text::bytea)) FROM generate_series(1, 1000) AS i));
	SELECT extended FROM narvik_validate_session('big');
	SELECT token FROM narvik_rotate_session('big')});
like($token, qr/^\nt\n[a-z2-7]{32}$/, 'a session with much data is extended and rotated');
$token =~ s/.*\n//s;
caught_up('postgres');
my $answer = "SELECT md5(data::text), length(data::text) > 100000, expires_at, created_at FROM narvik_validate_session('$token')";
my $there = $publisher->safe_psql('postgres', $answer);
like($there, qr/\|t\|/, 'it is valid on the publisher');
is($subscriber->safe_psql('postgres', "BEGIN READ ONLY; $answer; COMMIT"), $there, 'and on the subscriber, with all its data');
is($subscriber->safe_psql('postgres', q{SELECT count(*) FROM narvik_validate_session('big')}), '0', 'where the old token is dead');
$publisher->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user('big')});

# ---- the subscriber's own writing -------------------------------------------

my $due = q{SELECT extended FROM narvik_validate_session('due')};
$publisher->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('due'), 'due', now() + interval '10 days');
	SELECT narvik_save_session(narvik_session_id('expired'), 'due', now() - interval '10 days')});
caught_up('postgres');
is( $subscriber->safe_psql('postgres', "SET default_transaction_read_only = on; $due"), 'f',
	'a subscriber that is read-only validates and leaves the row alone');
is($subscriber->safe_psql('postgres', "SET narvik.events = off; $due"), 't', 'one that is not extends its own row');
is($subscriber->safe_psql('postgres', 'SET narvik.events = off; SELECT narvik_delete_all_expired_sessions()'), '1', 'and purges it');
is($publisher->safe_psql('postgres', 'SELECT narvik_delete_all_expired_sessions()'), '1', 'as the publisher does');
$publisher->safe_psql('postgres', q{SELECT token FROM narvik_rotate_session('due')});
caught_up('postgres');
my $sessions =
  q{SELECT seq, id, user_id, created_at, expires_at, ends_at, authenticated_at, active_at, lifetime, sliding, data, purge_hour, replaced_ids, replaced_at FROM narvik_sessions ORDER BY seq};
is( $subscriber->safe_psql('postgres', $sessions), $publisher->safe_psql('postgres', $sessions),
	'neither stops replication, and the publisher has the last word');
$publisher->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user('due')});

# It hears late of an extension, and of what comes after.  Its counter has been set, so its
# events would be in the way.  A visit of the worker shows whether it purges or not; the
# first may have begun before.
$publisher->safe_psql('postgres', q{SELECT narvik_save_session(narvik_session_id('late'), 'late', now() - interval '1 day')});
caught_up('postgres');
$subscriber->safe_psql(
	'postgres', q{
	SELECT setval('narvik_events_seq_seq', max(seq)) FROM narvik_events;
	ALTER SUBSCRIPTION postgres_sessions DISABLE});
$publisher->safe_psql(
	'postgres', q{
	UPDATE narvik_sessions SET expires_at = h, purge_hour = extract(epoch FROM h) / 3600
	FROM date_trunc('hour', now() + interval '10 days') AS h WHERE user_id = 'late';
	SET narvik.events = on;
	SELECT narvik_create_session('next')});
for (1 .. 2)
{
	$subscriber->safe_psql('postgres', 'SELECT narvik_reset_stats()');
	$subscriber->poll_query_until(
		'postgres',
		'SELECT last_purge_error IS NOT NULL OR last_purge_at IS NOT NULL FROM narvik_stats') or die 'no visit';
}
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION postgres_sessions ENABLE');
caught_up('postgres');
is( $subscriber->safe_psql('postgres', $sessions), $publisher->safe_psql('postgres', $sessions),
	'a subscriber that does not purge misses no extension');
is($subscriber->safe_psql('postgres', $log), $publisher->safe_psql('postgres', $log), 'and no event');
$publisher->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user(u) FROM unnest('{late,next}'::text[]) AS u});

# ---- the users it is linked to ----------------------------------------------

$publisher->safe_psql('linked', q{INSERT INTO people VALUES ('alice'), ('bob'), ('carol')});
subscribe('linked', 'narvik_sessions, people');
$publisher->safe_psql(
	'linked', q{
	SELECT narvik_save_session(narvik_session_id('token-' || id), id, now() + interval '29 days') FROM people;
	DELETE FROM people WHERE id = 'alice';
	UPDATE people SET id = 'robert' WHERE id = 'bob'});
caught_up('linked');
is( $subscriber->safe_psql(
		'linked', q{
		SELECT t, u.id FROM unnest('{alice,bob,carol}'::text[]) AS t, narvik_validate_user('token-' || t, NULL::people) AS u}),
	"bob|robert\ncarol|carol",
	'sessions follow their users');
$publisher->safe_psql('linked', 'TRUNCATE people');
caught_up('linked');
is($subscriber->safe_psql('linked', 'SELECT count(*) FROM narvik_sessions'), '0', 'and go with them');

# ---- taking over ------------------------------------------------------------

caught_up('postgres');
$publisher->stop;
$subscriber->safe_psql(
	$_,
	"ALTER SUBSCRIPTION ${_}_sessions DISABLE; ALTER SUBSCRIPTION ${_}_sessions SET (slot_name = NONE);"
	  . "DROP SUBSCRIPTION ${_}_sessions") foreach ('postgres', 'linked');
my ($rc, $out, $err) = $subscriber->psql(
	'postgres',
	"\\set VERBOSITY sqlstate\nSELECT narvik_create_session('dave') FROM generate_series(1, (SELECT max(seq) FROM narvik_sessions))");
like($err, qr/23505/, 'counters are not replicated, so new sessions meet old ones at first');
$subscriber->safe_psql('postgres', qq{SELECT setval('${_}_seq_seq', max(seq)) FROM $_}) foreach 'narvik_sessions', 'narvik_events';
load($journal, $subscriber, 500);
is_deeply(check($journal, $subscriber), [], 'with its counter set the subscriber takes over');
$subscriber->safe_psql(
	'postgres', q{
	SELECT narvik_save_session(narvik_session_id('late'), 'late', now() - interval '1 day');
	ALTER DATABASE postgres RESET narvik.purge});
ok( $subscriber->poll_query_until('postgres', q{SELECT count(*) = 0 FROM narvik_sessions WHERE user_id = 'late'}),
	'and purges');
ok(!$subscriber->log_contains('PANIC|terminated by signal'), 'no crash');

$subscriber->stop;
done_testing();
