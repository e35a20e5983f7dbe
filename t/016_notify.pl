# narvik.notify: what another connection that listens is told, and when.  One
# notification for each session that was ended, one for all of a user's; none
# before the commit, none of what was rolled back or just ran out of time.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use DBI;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server('main', 'narvik.purge = off', 'narvik.notify = on', 'narvik.events = on', 'max_prepared_transactions = 2');
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE people (id text PRIMARY KEY)});

my $dsn = 'dbi:Pg:' . join(';', split ' ', $node->connstr('postgres') =~ s/'//gr);
my ($listener, $dbh) = map { DBI->connect($dsn, '', '', { RaiseError => 1, PrintError => 0, PrintWarn => 0, pg_enable_utf8 => 0 }) } 1, 2;
$listener->do('LISTEN narvik');
my @payloads;

# What has come, in the order of sending.  A message of our own is the last: they
# come in the order of the commits.
sub heard
{
	$dbh->do(q{NOTIFY narvik, 'end'});
	my @heard;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (time < $until)
	{
		my $notify = $listener->pg_notifies;
		if (!$notify)
		{
			$listener->do('SELECT 1');
			next;
		}
		if ($notify->[2] eq 'end')
		{
			push @payloads, @heard;
			return map { decode_json($_) } @heard;
		}
		push @heard, $notify->[2];
	}
	die 'nothing was heard';
}

sub create
{
	my ($user) = @_;
	return $dbh->selectrow_array('SELECT token, id FROM narvik_create_session(?)', {}, $user);
}

sub told
{
	my ($what, @expected) = @_;
	is_deeply([ heard() ], \@expected, $what);
	return;
}

# ---- one session, all of a user ---------------------------------------------

my ($token, $id) = create('alice');
$dbh->selectrow_array('SELECT count(*) FROM narvik_validate_session(?)', {}, $token);
$dbh->selectrow_array('SELECT narvik_update_session_data(?, ?)', {}, $id, '{"a": 1}');
($token, $id) = $dbh->selectrow_array('SELECT token, id FROM narvik_rotate_session(?)', {}, $token);
($token, $id) = $dbh->selectrow_array('SELECT token, id FROM narvik_reauthenticate_session(?)', {}, $token);
told('nothing of what ends no session');
$dbh->selectrow_array('SELECT narvik_invalidate_session(?)', {}, $id);
told('a log-out', { kind => 'ended', reason => 'logout', session_id => $id, user_id => 'alice' });
$dbh->selectrow_array('SELECT narvik_invalidate_session(?)', {}, $id);
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('alice')});
told('nothing if there was nothing to end');

create('alice') foreach 1 .. 5;
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('alice', NULL, 'stolen "phone"')});
told('one for all of a user', { kind => 'ended', reason => 'stolen "phone"', user_id => 'alice' });
(undef, $id) = create('alice');
create('alice') foreach 1 .. 5;
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('alice', ?)}, {}, $id);
told('which names the one that stays', { kind => 'ended', reason => 'revoked', user_id => 'alice', except_session_id => $id });

my @ids = map { (create('bob'))[1] } 1 .. 3;
$dbh->do('SET narvik.max_sessions_per_user = 2');
create('bob');
$dbh->do('RESET narvik.max_sessions_per_user');
is_deeply(
	[ sort { $a->{session_id} cmp $b->{session_id} } heard() ],
	[ map { { kind => 'ended', reason => 'limit', session_id => $_, user_id => 'bob' } } sort @ids[ 0, 1 ] ],
	'one for each that had to make way');

# ---- other ends -------------------------------------------------------------

($token, $id) = create('carol');
$dbh->selectrow_array(q{SELECT user_id FROM narvik_promote_session(?, 'carol')}, {}, $token);
told('a log-in over a session', { kind => 'ended', reason => 'replaced', session_id => $id, user_id => 'carol' });
($token, $id) = create('dave');
$dbh->selectrow_array(q{SELECT narvik_put_session(?, 'erin', now() + interval '1 day', '{}')}, {}, $id);
told('another user in its place', { kind => 'ended', reason => 'replaced', session_id => $id, user_id => 'dave' });
$dbh->do('SET narvik.detect_reuse = on');
($token) = create('frank');
(undef, $id) = $dbh->selectrow_array('SELECT token, id FROM narvik_rotate_session(?)', {}, $token);
$dbh->selectrow_array('SELECT count(*) FROM narvik_validate_session(?)', {}, $token);
$dbh->do('RESET narvik.detect_reuse');
told('a replaced token that was seen again', { kind => 'ended', reason => 'reuse', session_id => $id, user_id => 'frank' });
($token) = $dbh->selectrow_array('SELECT token FROM narvik_create_guest_session()');
$dbh->selectrow_array(q{SELECT user_id FROM narvik_promote_session(?, 'gina')}, {}, $token);
told('nothing of a guest who logs in');

$dbh->do(q{DELETE FROM narvik_sessions});
$dbh->do(q{INSERT INTO people VALUES ('hana'), ('ivan'), ('jo')});
$dbh->selectrow_array(q{SELECT narvik_link_users('people')});
create($_) foreach 'hana', 'hana', 'ivan', 'jo';
$dbh->do(q{DELETE FROM people WHERE id = 'hana'});
told('a user who is deleted', { kind => 'ended', reason => 'user_deleted', user_id => 'hana' });
$dbh->do('TRUNCATE people');
told('all who are', { kind => 'ended', reason => 'user_deleted' });
$dbh->selectrow_array('SELECT narvik_unlink_users()');

# ---- not before the commit, not without it ----------------------------------

(undef, $id) = create('kim');
$dbh->begin_work;
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('kim')});
$listener->do('SELECT 1');
ok(!$listener->pg_notifies, 'nothing before the commit');
$dbh->rollback;
told('nothing of what was rolled back');
$dbh->begin_work;
$dbh->do('SAVEPOINT s');
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('kim')});
$dbh->do('ROLLBACK TO s');
$dbh->commit;
told('nor to a savepoint');
$dbh->begin_work;
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('kim')});
ok(!eval { $dbh->do(q{PREPARE TRANSACTION 'x'}); 1 }, 'such a transaction cannot be prepared');
is($dbh->state, '0A000', 'as PostgreSQL says of any with NOTIFY');
$dbh->rollback;
told('and is rolled back');

# Without a notification one can, and has its events when it commits.
my $log =
  q{SELECT coalesce(string_agg(concat_ws(' ', kind, reason), ', ' ORDER BY seq), 'nothing') FROM narvik_events WHERE user_id = 'lea'};
(undef, $id) = create('lea');
is($dbh->selectrow_array($log), 'created', 'a session is created');
foreach my $case ([ ROLLBACK => 'created' ], [ COMMIT => 'created, created, ended prepared' ])
{
	my ($end, $events) = @$case;
	$dbh->do('SET narvik.notify = off');
	$dbh->begin_work;
	create('lea');
	$dbh->selectrow_array(q{SELECT narvik_invalidate_session(?, 'prepared')}, {}, $id);
	$dbh->do(q{PREPARE TRANSACTION 'x'});
	$dbh->commit;
	is($dbh->selectrow_array($log), 'created', 'what is prepared is not in the log');
	$dbh->do(qq{$end PREPARED 'x'});
	is($dbh->selectrow_array($log), $events, "$end PREPARED: the log tells what happened");
	is($dbh->selectrow_array(q{SELECT count(*) FROM narvik_fetch_sessions_for_user('lea')}), 1, 'and one session is left');
	$dbh->do('RESET narvik.notify');
}
told('without a notification');
# What ends no session does not notify either.
$dbh->begin_work;
create('lea');
$dbh->do(q{PREPARE TRANSACTION 'x'});
$dbh->commit;
$dbh->do(q{COMMIT PREPARED 'x'});
is($dbh->selectrow_array($log), 'created, created, ended prepared, created', 'a log-in can be prepared while narvik.notify is on');
$dbh->do('SET narvik.notify = off');
$dbh->selectrow_array(q{SELECT narvik_delete_sessions_for_user('kim')});
$dbh->do('RESET narvik.notify');
told('off: nothing');

# ---- what just ran out of time ----------------------------------------------

my $end = q{now() - interval '2 hours'};
my $save = "SELECT narvik_save_session(narvik_session_id('old' || i), 'expired', $end) FROM generate_series(1, 3) AS i";
$dbh->do($save);
$dbh->selectrow_array(q{SELECT count(*) FROM narvik_validate_session('old1')});
$dbh->selectrow_array('SELECT narvik_delete_all_expired_sessions()');
$dbh->do($save);
set_by_reload($node, 'narvik.purge = on');
ok(wait_until_purged($node, 'postgres'), 'the worker has been here');
set_by_reload($node, 'narvik.purge = off');
told('nothing of expired sessions, whoever removes them');
my $events = q{SELECT count(*) FROM narvik_events WHERE reason = 'expired'};
is($dbh->selectrow_array($events), 6, 'of which there are events');

# ---- any user, any reason ---------------------------------------------------

# The longest that JSON can make of a user id and a reason, and what is odd in it.
my %odd = (
	'control characters' => "\x01", 'quotes' => '"', 'backslashes' => '\\', 'line ends' => "\n",
	'letters of two bytes' => "\xc3\xa9", 'of four' => "\xf0\x9f\x98\x80", 'braces' => '{}', 'DEL' => "\x7f");
foreach my $what (sort keys %odd)
{
	my $user = substr($odd{$what} x 1024, 0, 1024);
	my $reason = substr($odd{$what} x 64, 0, 64);
	(undef, $id) = create($user);
	my (undef, $other) = create($user);
	$dbh->selectrow_array('SELECT narvik_invalidate_session(?, ?)', {}, $id, $reason);
	$dbh->selectrow_array('SELECT narvik_delete_sessions_for_user(?, ?, ?)', {}, $user, $id, $reason);
	my ($text_user, $text_reason) = map { my $text = $_; utf8::decode($text); $text } $user, $reason;
	told(
		"1024 bytes of $what", { kind => 'ended', reason => $text_reason, session_id => $id, user_id => $text_user },
		{ kind => 'ended', reason => $text_reason, except_session_id => $id, user_id => $text_user });
}
cmp_ok((sort { $b <=> $a } map { length } @payloads)[0], '>', 6000, 'the longest payload was long');

ok(!(grep { /(?<![A-Za-z0-9])[a-z2-7]{32}(?![A-Za-z0-9])/ } @payloads), 'no payload holds a token');
ok(!$node->log_contains('payload string too long'), 'none was too long');

$_->disconnect foreach $listener, $dbh;
$node->stop;
done_testing();
