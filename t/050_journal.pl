# The check that the tests of crashes and failover rely on (SessionJournal.pm)
# finds nothing after a load that nobody disturbed, and finds each kind of
# violation that is planted.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use SessionLoad;
use Storable qw(dclone);
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "narvik.events = on\nnarvik.activity_interval = 1s\nautovacuum = off");
$node->start;
$node->safe_psql(
	'postgres',
	'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
my $connstr = $node->connstr('postgres');

my $journal = SessionJournal->new(events => 1);
my $load = SessionLoad::start($journal, connstr => $connstr, clients => 4);
$load->wait_for(2000);
$load->finish;
my $dbh = SessionJournal::connect_to($connstr);
is_deeply([ $journal->check($dbh) ], [], 'an undisturbed load: nothing is wrong');
note($journal->summary);
is( scalar(
		grep { $_ } @{ $journal->{acknowledged} }{
			qw(create save validate validate_dead extend make_due rotate invalidate
			  logout change_data swap roll_back) }),
	12,
	'it did everything there is to do');
is($journal->{happened} + $journal->{vanished}, 0, 'every operation was acknowledged');

is($dbh->selectrow_array('SELECT count(*) > 0 FROM narvik_sessions WHERE active_at IS NOT NULL'), 1, 'the use of sessions was noted');

# ---- planted in the server --------------------------------------------------

my @users = sort grep { $journal->{sessions}{$_}{token} && $journal->{sessions}{$_}{active} ne '?' } keys %{ $journal->{sessions} };
my ($user, $other) = @users;
my ($dead) = sort keys %{ $journal->{dead} };
my ($ended) = sort grep { !$journal->{sessions}{$_} } keys %{ $journal->{ended} };
my $columns = 'id, user_id, created_at, expires_at, lifetime, sliding, data, purge_hour';
my $change = "UPDATE narvik_sessions SET %s WHERE user_id = '$user'";
my $insert = "INSERT INTO narvik_sessions ($columns) SELECT %s, '%s', created_at, expires_at, lifetime, sliding, data, purge_hour"
  . " FROM narvik_sessions WHERE user_id = '$user'";
my $ready = q{UPDATE pg_index SET indisready = false WHERE indexrelid = 'narvik_sessions_%s'::regclass};

# Within a transaction that is rolled back.
sub planted
{
	my ($what, $expected, @sql) = @_;
	my $copy = dclone($journal);
	$dbh->begin_work;
	$dbh->do($_) foreach @sql;
	my @found = $copy->check($dbh);
	$dbh->rollback;
	like(join("\n", @found), $expected, "found: $what") or diag("found: @found");
	return;
}

planted('an acknowledged session that is lost', qr/^the session of $user is lost$/m, "DELETE FROM narvik_sessions WHERE user_id = '$user'");
planted('its token, not valid', qr/^the token of $user is not valid$/m, "DELETE FROM narvik_sessions WHERE user_id = '$user'");
planted('a revoked session that is back', qr/^the session of $ended is back$/m, sprintf($insert, "sha256('x')", $ended));
planted('a session that nobody made', qr/^the session of nobody is nobody's$/m, sprintf($insert, "sha256('x')", 'nobody'));
planted('a dead token that is valid', qr/^a dead token is valid, of $user$/m, sprintf($insert, "sha256('$dead')", $user));
planted('two sessions of one', qr/^the session of $user is there 2 times$/m, sprintf($insert, "sha256('x')", $user));
planted('a rotation that is undone', qr/^the session of $user has another id$/m, sprintf($change, "id = sha256('x')"));
planted(
	'a token that finds the session of another', qr/^the token of $other finds another session$/m,
	"DELETE FROM narvik_sessions WHERE user_id = '$other'", sprintf($change, "id = sha256('$journal->{sessions}{$other}{token}')"));
planted(
	'an extension that is lost', qr/^the session of $user has another expiry$/m,
	sprintf($change, "expires_at = expires_at - interval '1 microsecond'"));
planted(
	'a note of use that is lost', qr/^the session of $user has another activity$/m,
	sprintf($change, q{active_at = coalesce(active_at, created_at) - interval '1 microsecond'}));
planted('half an extension', qr/^the session of $user has half an expiry$/m, sprintf($change, 'purge_hour = purge_hour - 1'));
planted('changed data', qr/^the session of $user has other data$/m, sprintf($change, q{data = '{"n": -1}'}));
planted(
	'a row that the hash index lacks', qr/^1 rows that the hash index does not find$/m,
	sprintf($ready, 'id_excl'), sprintf($change, "user_id = '$user', id = id || '', purge_hour = purge_hour + 1"));
planted(
	"a row that $_ lacks", qr/^amcheck, narvik_sessions_$_: .*lacks matching index tuple/m,
	sprintf($ready, $_), sprintf($insert, "sha256('x')", 'nobody')) foreach 'pkey', 'user_id_idx', 'purge_hour_idx';
planted('an act without its event', qr/^no event of an id that a session had$/m, "DELETE FROM narvik_events WHERE user_id = '$user'");
planted(
	'an event without its act', qr/^an event of $user of what did not happen$/m,
	"INSERT INTO narvik_events (at, kind, session_id, user_id, detail) SELECT now(), 'rotated', sha256('x'), '$user', '{}'");
planted(
	'an end that is not noted', qr/^the events of $ended are: created( rotated)*$/m,
	"DELETE FROM narvik_events WHERE user_id = '$ended' AND kind = 'ended'");
planted(
	'one that did not take place', qr/^the events of $user are: .*ended$/m,
	"INSERT INTO narvik_events (at, kind, session_id, user_id, detail) SELECT now(), 'ended', id, user_id, '{}' FROM narvik_sessions WHERE user_id = '$user'"
);
planted('an id that is there twice', qr/^1 ids that are there twice$/m, sprintf($ready, 'id_excl'), sprintf($insert, 'id', 'nobody'));

# ---- planted in the journal -------------------------------------------------

sub planted_in_journal
{
	my ($what, $expected, $plant) = @_;
	my $copy = dclone($journal);
	$plant->($copy);
	my @found = $copy->check($dbh);
	is_deeply(\@found, $expected, $what);
	return $copy;
}

my $session = $journal->{sessions}{$user};
my %is = map { $_ => $session->{$_} } qw(id expires n);
my $pending = sub {
	my ($op, $changes, %before) = @_;
	return sub {
		my ($copy) = @_;
		$copy->{events} = 0;
		push @{ $copy->{pending} }, { op => $op, changes => $changes };
		foreach my $name (keys %before)
		{
			if ($before{$name}) { $copy->{sessions}{$name} = $before{$name} }
			else { delete $copy->{sessions}{$name} }
		}
	};
};
my $settled;
planted_in_journal('a wrong answer is reported', ['some text'], sub { push @{ $_[0]{wrong} }, 'some text' });
$settled = planted_in_journal('under way and not done: allowed', [], $pending->('save', { new => {%is} }));
is($settled->{vanished}, 1, 'and counted as such');
$settled = planted_in_journal(
	'under way and done: allowed',
	[], $pending->('create', { $user => { id => '?', expires => '?', n => $is{n} } }, $user => undef));
is($settled->{happened}, 1, 'and counted as such');
$settled = planted_in_journal(
	'a rotation whose answer got lost: allowed',
	[], $pending->('rotate', { $user => { %is, id => '?' } }, $user => { %is, id => 'old', token => 'old' }));
ok($settled->{dead}{old}, 'and the old token has to be dead from then on');
planted_in_journal(
	'a rotation and another change: not allowed', ["half done: rotate for $user"],
	$pending->('rotate', { $user => { %is, id => '?', n => -1 } }, $user => { %is, id => 'old', token => 'old' }));
planted_in_journal(
	'an extension whose answer got lost: allowed',
	[], $pending->('extend', { $user => { %is, expires => '?' } }, $user => { %$session, expires => $is{expires} - 1 }));
planted_in_journal(
	'one that went backwards: not allowed', ["half done: extend for $user"],
	$pending->('extend', { $user => { %is, expires => '?' } }, $user => { %$session, expires => $is{expires} + 1 }));
planted_in_journal(
	'a note of use whose answer got lost: allowed',
	[], $pending->('validate', { $user => { %$session, active => '?' } }, $user => { %$session, active => $session->{active} - 1 }));
planted_in_journal(
	'one that went backwards: not allowed', ["half done: validate for $user"],
	$pending->('validate', { $user => { %$session, active => '?' } }, $user => { %$session, active => $session->{active} + 1 }));
planted_in_journal(
	'a transaction of which one half is there: not allowed', ["half done: swap for $user new"],
	$pending->('swap', { $user => undef, new => {%is} }, $user => undef, new => { %is, id => 'old' }));
planted_in_journal(
	'settled once, it stays so: a session that appears later', ["the session of $user is back"],
	sub { delete $_[0]{sessions}{$user}; $_[0]{ended}{$user} = 1 });

# ---- an index entry without a row -------------------------------------------

# Last, because it stays: VACUUM does not see the index, and frees the row.  The pages stay,
# or a dead token whose entry leads beyond the end would be an error instead of an answer.
$dbh->do("DELETE FROM narvik_sessions WHERE user_id = '$user'");
$dbh->do(sprintf($ready, 'id_excl'));
$dbh->do('VACUUM (INDEX_CLEANUP on, TRUNCATE off) narvik_sessions');
$dbh->do(sprintf($ready, 'id_excl') =~ s/false/true/r);
like(join("\n", $journal->check($dbh)), qr/^\d+ entries of the hash index without a row$/m, 'found: an index entry without a row');

$dbh->disconnect;
$node->stop;
done_testing();
