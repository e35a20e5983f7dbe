# A full disk: what needs room fails with a clear error and does nothing by
# half, the rest goes on, and so does everything once there is room again.  If
# it is the disk of the WAL the server stops, and has lost nothing.
#
# The disk is played by a library that answers ENOSPC to whatever lets a file
# grow (fault.c), for no mount is needed then.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use Fault;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ServerProcesses;
use SessionJournal;
use SessionLoad;
use Test::More;
use Time::HiRes qw(sleep time);

build_fault();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf(
	'postgresql.conf', q{
autovacuum = off
restart_after_crash = off
min_wal_size = 2MB
wal_recycle = off
log_min_messages = warning
narvik.events = on
narvik.activity_interval = 1s
});
start_with_fault($node);
$node->safe_psql(
	'postgres',
	'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect');
my $connstr = $node->connstr('postgres');

sub check
{
	my ($journal) = @_;
	my $dbh = SessionJournal::connect_to($connstr);
	my @wrong = $journal->check($dbh);
	$dbh->disconnect;
	return \@wrong;
}

# ---- one connection ---------------------------------------------------------

my $dbh = SessionJournal::connect_to($connstr);
# An event needs room: with it a log-out fails as well.
$dbh->do('SET narvik.events = off');
my $create = q{SELECT token, id FROM narvik_create_session('alice', '{"n": 0}')};
my @sessions = map { $dbh->selectrow_hashref($create) } 1 .. 50;
$dbh->do(
	q{SELECT narvik_save_session(narvik_session_id('due ' || n), 'due', now() + interval '10 days') FROM generate_series(1, 500) AS n});
# Its maps of the table have to be there already.
$dbh->do('VACUUM narvik_sessions');
fill_disk('/base/');
while (@sessions < 100_000)
{
	my $session = eval { $dbh->selectrow_hashref($create) } or last;
	push @sessions, $session;
}
is($dbh->state, '53100', 'creating ends with disk_full');
like($dbh->errstr, qr/could not extend file .*: No space left on device\nHINT:  Check free disk space\./, 'the message says what to do');
unlike($dbh->errstr, qr/[a-z2-7]{32}/, 'and has no token');
cmp_ok(scalar @sessions, '>=', 50, 'after ' . @sessions . ' sessions');

my $count = sub { ($dbh->selectrow_array('SELECT count(*) FROM narvik_sessions'))[0] };
my $valid = sub {
	($dbh->selectrow_array('SELECT count(*) FROM unnest($1::text[]) AS t, narvik_validate_session(t)', {}, [ map { $_->{token} } @_ ]))[0];
};
is($count->(), 500 + @sessions, 'as many rows as were acknowledged');
is($valid->(@sessions), scalar @sessions, 'while it is full every session is valid');
is_deeply(
	$dbh->selectrow_arrayref(
		q{
		SELECT count(*), bool_and(extended <> due), bool_or(due) FROM generate_series(1, 500) AS n, narvik_validate_session('due ' || n)}),
	[ 500, 1, 1 ],
	'also those that are due, as far as there is no room to extend them');
$dbh->do(q{DELETE FROM narvik_sessions WHERE user_id = 'due'});
my @revoked = splice @sessions, 0, @sessions / 2;
is( $dbh->selectrow_array(
		'SELECT count(*) FILTER (WHERE narvik_invalidate_session(i)) FROM unnest($1::text[]) AS i', {}, [ map { $_->{id} } @revoked ]),
	scalar @revoked,
	'sessions can be revoked');
is($valid->(@revoked), 0, 'and are dead');
$dbh->do('VACUUM narvik_sessions');
ok($dbh->selectrow_hashref($create), 'once VACUUM was there, their room serves new sessions');
empty_disk();
ok($dbh->selectrow_hashref($create), 'with room on the disk sessions can be created') for 1 .. 3;
is($count->(), @sessions + 4, 'and nothing else is there');
$dbh->do('TRUNCATE narvik_sessions');
$dbh->disconnect;

# ---- many -------------------------------------------------------------------

my $journal = SessionJournal->new(events => 1);
my $load = SessionLoad::start($journal, connstr => $connstr, clients => 4, allow => ['53100'], contended => 1);
$load->wait_for(300);
fill_disk('/base/');
$load->wait_for(30, 'fail');
empty_disk();
$load->wait_for($journal->size + 300);
$load->finish;
is_deeply(check($journal), [], 'under load nothing is half done: ' . $journal->summary);

# ---- the WAL ----------------------------------------------------------------

my $log = -s $node->logfile;
my $postmaster = $node->{_pid};
$load = SessionLoad::start($journal, connstr => $connstr, clients => 4);
$load->wait_for(300);
fill_disk('/pg_wal/');
my $until = time + $PostgreSQL::Test::Utils::timeout_default;
while (kill 0, $postmaster)
{
	die 'the server goes on' if time > $until;
	# The WAL's next file.
	eval { $node->psql('postgres', 'SELECT pg_switch_wal()', stderr => \my $ignored) };
}
$load->finish;
like(slurp_file($node->logfile, $log), qr/PANIC: .*pg_wal.*No space left on device/, 'no room for WAL: the server stops, and says why');
empty_disk();
$node->{_pid} = undef;
start_again($node);
is_deeply(check($journal), [], 'with room again it has lost nothing: ' . $journal->summary);
$load = SessionLoad::start($journal, connstr => $connstr, clients => 4);
$load->wait_for(300);
$load->finish;
is_deeply(check($journal), [], 'and goes on');

$node->stop;
done_testing();
