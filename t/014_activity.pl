# What noting activity costs: one write an interval, and HOT, for lives of minutes
# and of days.  The clock is libfaketime's, so that hours go by.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use FakeClock;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeClock->new;
my $clock = 1_772_323_200;

sub wait_seconds
{
	my ($seconds) = @_;
	$clock += $seconds;
	$fake->set($clock);
	return;
}

wait_seconds(0);
local %ENV = (%ENV, $fake->environment);
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'\nnarvik.purge = off\nautovacuum = off");
$node->start;
delete @ENV{qw(LD_PRELOAD FAKETIME_TIMESTAMP_FILE)};

my %lives = (minutes => '15 minutes', days => '30 days', 'with an index' => '30 days');
my $sessions = 300;
foreach my $db (sort keys %lives)
{
	$node->safe_psql('postgres', qq{CREATE DATABASE "$db"});
	$node->safe_psql($db, 'CREATE EXTENSION narvik CASCADE; CREATE TABLE tokens (token text)');
}
$node->safe_psql('with an index', 'CREATE INDEX ON narvik_sessions (active_at)');

sub log_in
{
	my ($count) = @_;
	$node->safe_psql(
		$_, qq{INSERT INTO tokens SELECT token FROM generate_series(1, $count) AS i,
		narvik_create_session('u' || i, '{"device": "laptop", "cart": [1, 2, 3]}', '$lives{$_}')}) foreach sort keys %lives;
	return;
}

# Everybody makes a request, a transaction each; how many were valid.
sub request
{
	my ($db, $interval) = @_;
	return $node->safe_psql(
		$db, qq{SET narvik.activity_interval = '$interval';
		DO \$\$
		DECLARE t text; n integer := 0;
		BEGIN
			FOR t IN SELECT token FROM tokens LOOP
				n := n + (narvik_authenticate(t) IS NOT NULL)::integer;
				COMMIT;
			END LOOP;
			PERFORM set_config('test.valid', n::text, false);
		END \$\$;
		SELECT current_setting('test.valid');
		SELECT FROM pg_stat_force_next_flush()});
}

# Updates so far, and how many of them were HOT.
sub updates
{
	my ($db) = @_;
	return split /\|/, $node->safe_psql($db, q{SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'narvik_sessions'});
}

# Log-ins at different minutes of the hour.
foreach (1 .. 10)
{
	log_in($sessions / 10);
	wait_seconds(67);
	request($_, '5min') foreach sort keys %lives;
}

# ---- an hour, with a request of everybody each minute -----------------------

my %before = map { $_ => [ updates($_) ] } keys %lives;
my $minutes = 60;
foreach (1 .. $minutes)
{
	wait_seconds(60);
	request($_, '5min') foreach 'minutes', 'days';
	request('with an index', '5min') if $_ <= 20;
}
my %after = map { $_ => [ updates($_) ] } keys %lives;
my (%made, %hot);
foreach my $db (sort keys %lives)
{
	($made{$db}, $hot{$db}) = map { $after{$db}[$_] - $before{$db}[$_] } 0, 1;
	note(sprintf '%s: %d updates in %d validations, %.1f %% HOT', $db, $made{$db}, $sessions * $minutes, 100 * $hot{$db} / $made{$db});
}
my $intervals = $sessions * $minutes / 5;
cmp_ok($made{days}, '<=', $intervals, 'a life of 30 days: not more than one write an interval');
cmp_ok($made{days}, '>', 0.9 * $intervals, 'and not less');
cmp_ok($hot{days}, '>', 0.99 * $made{days}, 'all of them HOT');
cmp_ok($made{minutes}, '<', 1.5 * $intervals, 'a life of 15 minutes: hardly more, with its extensions');
cmp_ok($hot{minutes}, '>', 0.85 * $made{minutes}, 'nearly all of them HOT');
is($hot{'with an index'}, 0, 'an index on active_at would end that');
is(request('minutes', '5min'), $sessions, 'nobody was logged out');

# ---- what it notes ----------------------------------------------------------

my $late = q{SELECT count(*) FILTER (WHERE active_at < now() - interval '5 minutes'), count(active_at) FROM narvik_sessions};
is($node->safe_psql('days', $late), "0|$sessions", 'everybody who is here was noted within the interval');
wait_seconds(299);
is( $node->safe_psql('days', q{SELECT count(*) FILTER (WHERE active_at > now() - interval '10 minutes') FROM narvik_sessions}),
	$sessions, 'a window above the interval counts them all, whenever one looks');

# Off: no write at all.
wait_seconds(3600);
my @idle = updates('days');
is(request('days', '0'), $sessions, 'without an interval all are valid');
is_deeply([ updates('days') ], \@idle, 'and nothing is written');

$node->stop;
done_testing();
