# Validation on read replicas, as docs/scaling.md has it: with remote_apply a
# session that was created or ended is so on every replica at once, without it
# after a lag; replicas extend nothing, and can tell what the primary has to.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = 100;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');
$primary->backup('base');
my @replicas;
foreach my $name ('one', 'two')
{
	my $replica = PostgreSQL::Test::Cluster->new($name);
	$replica->init_from_backup($primary, 'base', has_streaming => 1);
	$replica->start;
	push @replicas, $replica;
}

sub caught_up
{
	$primary->wait_for_catchup($_[0], 'replay', $primary->lsn('insert'));
	return;
}

# ---- remote_apply: nothing is late ------------------------------------------

$primary->safe_psql(
	'postgres', q{
	ALTER SYSTEM SET synchronous_standby_names = 'FIRST 2 (one, two)';
	ALTER SYSTEM SET synchronous_commit = 'remote_apply';
	SELECT pg_reload_conf()});
$primary->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'sync'});
# It is the checkpointer that tells all others to wait.
$primary->safe_psql('postgres', 'CHECKPOINT');

my $writer = $primary->background_psql('postgres');
my @readers = map { $_->background_psql('postgres') } @replicas;
my ($late, $alive, $stale) = (0, 0, 0);
my $valid = sub { return $_[0]->query_safe("SELECT count(*) FROM narvik_validate_session('$_[1]')") };
foreach my $round (1 .. $rounds)
{
	my ($token, $id) = split /\|/, $writer->query_safe(q{SELECT token, id FROM narvik_create_session('alice')});
	$late += !$valid->($_, $token) foreach @readers;
	my $new = $writer->query_safe("SELECT token FROM narvik_rotate_session('$token')");
	$alive += $valid->($_, $token) foreach @readers;
	$late  += !$valid->($_, $new)  foreach @readers;
	$writer->query_safe("SELECT narvik_invalidate_session(narvik_session_id('$new'))");
	$alive += $valid->($_, $new) foreach @readers;
}
is($late, 0, "remote_apply: $rounds sessions, created and rotated, were valid on both replicas at once");
is($alive, 0, 'and after rotation and log-out invalid at once');

# ---- without it: late, and not for ever -------------------------------------

$primary->safe_psql(
	'postgres', q{
	ALTER SYSTEM RESET synchronous_standby_names; ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf()});
$primary->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'async'});
my $token = $primary->safe_psql('postgres', q{SELECT token FROM narvik_create_session('bob')});
caught_up($_) foreach @replicas;
$replicas[0]->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$replicas[0]->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'});
$primary->safe_psql('postgres', "SELECT narvik_invalidate_session(narvik_session_id('$token'))");
caught_up($replicas[1]);
is($valid->($readers[0], $token), '1', 'a replica that lags still takes a session for valid that has ended');
is($valid->($readers[1], $token), '0', 'one that does not lag does not');
is( $replicas[0]->safe_psql(
		'postgres', q{SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
		OR '} . $primary->lsn('insert') . q{' > pg_last_wal_replay_lsn()}),
	't',
	'the lag can be seen');
$replicas[0]->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
caught_up($replicas[0]);
is($valid->($readers[0], $token), '0', 'when it has caught up the session has ended there');

# ---- extensions are the primary's part --------------------------------------

my $page = slurp_file('docs/scaling.md');
my ($due) = $page =~ /<!-- due -->\n```sql\n(.*?);?\n```/s or BAIL_OUT('docs/scaling.md does not tell how to see what is due');
my %token;
foreach my $days (10, 20)
{
	$token{$days} = $primary->safe_psql('postgres', q{SELECT token FROM narvik_create_session('carol')});
	$primary->safe_psql(
		'postgres',
		"SELECT narvik_update_session_expiry(narvik_session_id('$token{$days}'), now() + interval '$days days')");
}
caught_up($_) foreach @replicas;
# The page's statement, and what it answers besides the session.
my $ask = sub {
	my ($node, $sql) = ($_[0], "PREPARE p(text) AS $due; EXECUTE p('narvik_session=$token{$_[1]}')");
	return $node->safe_psql('postgres', $sql) =~ s/.*\|(?=[tf]\|[tf]$)//sr;
};
is($ask->($replicas[0], 20), 'f|f', 'a replica says that a session is not extended and not due');
is($ask->($replicas[0], 10), 'f|t', 'and of another that it is due');
is($ask->($primary, 10), 't|f', 'asked then, the primary extends it');
caught_up($_) foreach @replicas;
is($ask->($_, 10), 'f|f', 'and @{[$_->name]} sees that') foreach @replicas;

# ---- where a connection ends up ---------------------------------------------

my $both = sprintf 'host=%s,%s port=%s,%s dbname=postgres', map {
	my $m = $_;
	map { $_->$m } ($primary, $replicas[0])
} qw(host port);
is( $primary->safe_psql('postgres', 'SELECT pg_is_in_recovery()', connstr => "$both target_session_attrs=prefer-standby"),
	't', 'libpq takes who only validates to a replica');
is( $primary->safe_psql('postgres', 'SELECT pg_is_in_recovery()', connstr => "$both target_session_attrs=read-write"),
	'f', 'and who logs in to the primary');

$_->quit foreach ($writer, @readers);
$_->stop foreach (@replicas, $primary);
done_testing();
