# Clocks.  Sessions end to the microsecond, through changes of daylight saving
# time, from 1970 to the last second that timestamps have; and when the server's
# clock is stepped, no session outlives its expiry by more than the step, and
# none ends earlier than by the step.
#
# The server's clock is libfaketime's: it stands still at the microsecond that
# this test writes into a file, or runs with an offset.  A random walk compares
# narvik with a model; SEED=n repeats one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use FakeClock;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;
use Time::Local qw(timegm);

use constant {
	SECOND => 1_000_000,
	MINUTE => 60_000_000,
	HOUR => 3_600_000_000,
	DAY => 86_400_000_000,
};

# ---- the clock --------------------------------------------------------------

my $clock = FakeClock->new;
my $now;    # microseconds since 2000, as PostgreSQL counts
my $epoch = timegm(0, 0, 0, 1, 0, 2000);

# The half of a microsecond keeps libfaketime from rounding to the one before.
sub set_clock
{
	($now) = @_;
	my $fraction = $now % SECOND;
	$clock->set(sprintf('%d.%06d5', $epoch + ($now - $fraction) / SECOND, $fraction));
	return;
}

# A time in UTC.
sub utc
{
	my ($year, $month, $day, $hour, $minute, $second, $usec) = @_;
	return (timegm($second // 0, $minute // 0, $hour // 0, $day, $month - 1, $year) - $epoch) * SECOND + ($usec // 0);
}

set_clock(utc(2026, 3, 1));
local %ENV = (%ENV, $clock->environment);
my $node = purging_server('main', 'narvik.purge = off', 'max_worker_processes = 16');
delete @ENV{qw(LD_PRELOAD FAKETIME_TIMESTAMP_FILE)};

my $psql = $node->background_psql('postgres', on_error_stop => 0);

sub ask
{
	my ($sql) = @_;
	return $psql->query_safe($sql);
}

sub sqlstate
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : "no error, answer '$out'";
}

# A moment in SQL as microseconds since 2000, exactly: an interval's epoch is
# not rounded where that of a timestamp is.
sub usecs
{
	my ($expression) = @_;
	return "(extract(epoch FROM $expression - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint";
}

ask(q{SET client_min_messages = warning;
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE people (id text PRIMARY KEY);
	INSERT INTO people SELECT 'u' || i FROM generate_series(0, 99) AS i;
	SELECT narvik_link_users('people')});

is(ask('SELECT ' . usecs('now()')), $now, "the server's clock is the test's");
set_clock($now + 1);
is(ask('SELECT ' . usecs('now()')), $now, 'to the microsecond');
is($node->safe_psql('postgres', 'SELECT ' . usecs('clock_timestamp()')), $now, 'in every process');

# The token, of a session that a moment later is what the arguments say.
sub create
{
	my ($user, $microseconds, $sliding) = @_;
	return ask("SELECT token FROM narvik_create_session('$user', '{}', $microseconds * interval '1 microsecond', $sliding)");
}

sub is_valid
{
	my ($token) = @_;
	return ask("SELECT count(*) FROM narvik_validate_session('$token')");
}

# ---- exactly at the end -----------------------------------------------------

# Whether a session is alive, as each function sees it that looks.
my %alive = (
	narvik_validate_session => sub { "SELECT count(*) FROM narvik_validate_session('$_[0]')" },
	narvik_authenticate => sub { "SELECT (narvik_authenticate('$_[0]') IS NOT NULL)::int" },
	narvik_validate_user => sub { "SELECT count(*) FROM narvik_validate_user('$_[0]', NULL::people)" },
	narvik_rotate_session => sub { "SELECT count(*) FROM narvik_rotate_session('$_[0]')" },
	narvik_update_session_data => sub { "SELECT (narvik_update_session_data(narvik_session_id('$_[0]'), '{}') IS NOT NULL)::int" },
	narvik_fetch_sessions_for_user =>
	  sub { "SELECT count(*) FROM narvik_fetch_sessions_for_user('u1') WHERE id = narvik_session_id('$_[0]')" },
	narvik_delete_all_expired_sessions => sub { "SELECT 1 - narvik_delete_all_expired_sessions()" });

foreach my $function (sort keys %alive)
{
	foreach my $sliding ('true', 'false')
	{
		my @seen;
		foreach my $before (1, 0)
		{
			my $start = $now;
			my $token = create('u1', HOUR, $sliding);
			set_clock($start + HOUR - $before);
			push @seen, ask($alive{$function}->($token));
			ask(q{SELECT narvik_delete_sessions_for_user('u1')});
		}
		is("@seen", '1 0', "$function: alive in the last microsecond, dead at expires_at (sliding $sliding)");
	}

	# Its row may be there, its age alone says no.
	my @seen;
	ask(q{SET narvik.session_max_age = '2h'});
	foreach my $before (1, 0)
	{
		my $start = $now;
		my $token = create('u1', 30 * DAY, 'true');
		ask('UPDATE narvik_sessions SET expires_at = expires_at + interval \'1 day\'');
		set_clock($start + 2 * HOUR - $before);
		push @seen, ask($alive{$function}->($token));
		ask(q{SELECT narvik_delete_sessions_for_user('u1')});
	}
	ask('RESET narvik.session_max_age');
	is("@seen", '1 0', "$function: alive in the last microsecond of session_max_age, dead at its end");
}

foreach my $lifetime (2, 3, SECOND, HOUR + 1, 30 * DAY)
{
	my $start = $now;
	my $half = int($lifetime / 2);
	my $token = create('u2', $lifetime, 'true');
	my $validate = "SELECT extended, " . usecs('expires_at') . " FROM narvik_validate_session('$token')";
	set_clock($start + $lifetime - $half - 1);
	my $early = ask($validate);
	set_clock($start + $lifetime - $half);
	my $due = ask($validate);
	is( "$early $due", 'f|' . ($start + $lifetime) . ' t|' . ($now + $lifetime),
		"a life of $lifetime us is extended at its half, not a microsecond earlier");
}
ask(q{SELECT narvik_delete_sessions_for_user('u2')});

# ---- daylight saving time ---------------------------------------------------

# Some hours before clocks there are changed; in Lord Howe by half an hour, in
# Apia a whole day was left out.
my @changes = (
	[ 'Europe/Berlin', utc(2026, 3, 28, 12) ], [ 'Europe/Berlin', utc(2026, 10, 24, 12) ],
	[ 'America/New_York', utc(2026, 3, 7, 20) ], [ 'America/New_York', utc(2026, 10, 31, 20) ],
	[ 'Australia/Lord_Howe', utc(2026, 4, 4, 6) ], [ 'Australia/Lord_Howe', utc(2026, 10, 3, 6) ],
	[ 'Pacific/Apia', utc(2011, 12, 29, 22) ]);
foreach (@changes)
{
	my ($zone, $start) = @$_;
	set_clock($start);
	ask("SET TimeZone = '$zone'");
	is( ask(q{SELECT now() + interval '2 days' = now() + interval '48 hours'}),
		'f', "in $zone two days are not 48 hours");
	ask(q{SET narvik.session_expires_in = '1d'});
	my %tokens = map {
		my $how = $_;
		$how => ask("SELECT token FROM narvik_create_session('u3', '{}', $how)");
	} q{NULL}, q{'1 day'}, q{'24 hours'}, q{'1 day -24 hours +86400 seconds'};

	set_clock($start + DAY / 2 - 1);
	is( ask(join ' UNION ALL ', map { "SELECT extended FROM narvik_validate_session('$tokens{$_}')" } sort keys %tokens),
		"f\nf\nf\nf", 'not extended before the half of 24 hours');
	set_clock($start + DAY / 2);
	is( ask(join ' UNION ALL ',
			map { "SELECT extended, " . usecs('expires_at') . " FROM narvik_validate_session('$tokens{$_}')" }
			  sort keys %tokens),
		join("\n", ('t|' . ($now + DAY)) x 4),
		'at the half extended to 24 hours from then');
	set_clock($now + DAY - 1);
	is(ask(q{SELECT count(*) FROM narvik_fetch_sessions_for_user('u3')}), '4', 'alive to the last microsecond');
	set_clock($now + 1);
	is(ask(q{SELECT count(*) FROM narvik_fetch_sessions_for_user('u3')}), '0', 'and not longer');
	is(ask('SELECT narvik_delete_all_expired_sessions()'), '4', 'as the purge sees it, too');
	ask('RESET TimeZone; RESET narvik.session_expires_in');
}

# ---- far away ---------------------------------------------------------------

# Moments in Unix time where something may overflow or change its sign.
my %eras = (
	'1970' => 10,
	'2000, zero for PostgreSQL' => $epoch,
	'29 February 2028' => timegm(0, 0, 12, 29, 1, 2028),
	'2038, 31 bits' => 2**31 - 1,
	'2106, 32 bits' => 2**32 - 1,
	'the last second of 9999' => 253402300799,
	'245000, an hour that 31 bits still hold' => 7730941132800 - 7200,
	'245000, an hour that they do not' => 7730941132800 - 600,
	'six hours before the end of time' => 9224318016000 - 6 * 3600);

foreach my $era (sort { $eras{$a} <=> $eras{$b} } keys %eras)
{
	my $start = ($eras{$era} - $epoch) * SECOND - 1;
	set_clock($start);
	my $token = create('u4', HOUR, 'true');
	my @seen =
	  ask(  'SELECT '
		  . usecs('created_at') . ', '
		  . usecs('expires_at')
		  . ", purge_hour = least(2147483647, div(extract(epoch FROM expires_at), 3600)) FROM narvik_sessions");
	set_clock($start + HOUR / 2);
	push @seen, ask('SELECT extended, ' . usecs('expires_at') . " FROM narvik_validate_session('$token')");
	push @seen, ask('SELECT narvik_delete_all_expired_sessions()');
	set_clock($now + HOUR - 1);
	push @seen, ask(q{SELECT count(*) FROM narvik_fetch_sessions_for_user('u4')});
	set_clock($now + 1);
	push @seen, ask(q{SELECT count(*) FROM narvik_fetch_sessions_for_user('u4')});
	push @seen, ask('SELECT narvik_delete_all_expired_sessions()');
	is( "@seen", join(' ', "$start|" . ($start + HOUR) . '|t', 't|' . ($start + HOUR / 2 + HOUR), 0, 1, 0, 1),
		"$era: created, extended, valid to its end, purged");
}
is(sqlstate(q{SELECT narvik_create_session('u4')}), '22023', 'at the end of time a session of 30 days is refused');
is(sqlstate(q{SELECT narvik_create_cookie('t', '30 days')}), '22023', 'and so is its cookie');
ask(q{SELECT narvik_save_session(narvik_session_id('last'), 'u4', '294276-12-31 23:59:59.999999+00')});
is( ask(q{SELECT extended FROM narvik_validate_session('last')}),
	'f', 'a session that could only be extended beyond it is not');
is(ask(q{SELECT narvik_delete_sessions_for_user('u4')}), '1', 'and can be deleted');

set_clock(utc(2026, 6, 1));
foreach my $endless ('infinity', '-infinity')
{
	is( sqlstate("SELECT narvik_save_session(repeat('0', 64), 'u5', '$endless')"),
		'22023', "$endless is no expiry to save");
	is(sqlstate("SELECT narvik_update_session_expiry(repeat('0', 64), '$endless')"), '22023', 'or to set');
}

# Rows that the table's owner wrote: every column at both its ends.
ask(q{INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, lifetime, sliding, data, purge_hour)
	SELECT decode(narvik_session_id(format('%s %s %s', c, e, l)), 'hex'), 'u6', c, e, l, true, '{}',
		   CASE WHEN e < now() THEN -2147483648 ELSE 2147483647 END
	FROM unnest('{-infinity,4713-11-24 BC,2026-05-31,294276-12-31 23:59:59.999999+00,infinity}'::timestamptz[]) AS c,
		 unnest('{-infinity,4713-11-24 BC,2026-06-01 00:00:00.000001+00,294276-12-31 23:59:59.999999+00,infinity}'::timestamptz[]) AS e,
		 unnest('{NULL,0,-1 day,1 microsecond,178000000 years,-178000000 years,2147483647 days}'::interval[]) AS l});
my $validate_all = q{
	SELECT count(*), count(v.id), count(v.id) FILTER (WHERE s.e <= now()), count(*) FILTER (WHERE v.id IS NULL AND s.e > now())
	FROM (SELECT format('%s %s %s', c, e, l) AS token, e
		  FROM (SELECT created_at AS c, expires_at AS e, lifetime AS l FROM narvik_sessions WHERE user_id = 'u6') AS r) AS s
	LEFT JOIN LATERAL narvik_validate_session(s.token) AS v ON true};
ask(q{SET narvik.session_max_age = '24855d'});
is( ask(    'SELECT count(*) > 0 AND count(*) = count(v.id) FROM (SELECT 1) AS one LEFT JOIN LATERAL'
		  . q{ narvik_validate_session('-infinity infinity ') AS v ON true}),
	't',
	'under session_max_age a row without beginning or end is no error');
ask('RESET narvik.session_max_age');
is(ask($validate_all), '175|105|0|0', 'no planted row is an error; valid are those that end later than now');
is( ask('SELECT narvik_delete_all_expired_sessions() || \' \' || (SELECT count(*) FROM narvik_sessions WHERE expires_at <= now())'),
	'0 0', 'and the others were deleted when seen');
ask(q{SELECT narvik_delete_sessions_for_user('u6')});

# ---- a clock that is stepped ------------------------------------------------

# True time goes on; the clock shows it with an offset that changes now and
# then.  The model says what narvik must answer, knowing the clock; and what
# happens to each session in true time is held against the steps since.
my $seed = $ENV{SEED} // 1;
srand($seed);
note("SEED=$seed");

my $max_age;
my %live;    # token => what the model knows
my ($true, $offset, $stepped) = (utc(2026, 7, 1), 0, 0);
my (%count, @wrong);

sub differs
{
	my ($what, $got, $wanted) = @_;
	$count{$what}++;
	push @wrong, "$what: got $got, wanted $wanted" if $got ne $wanted;
	return;
}

sub least
{
	my ($a, $b) = @_;
	return $a < $b ? $a : $b;
}

# Until when it can be extended at most.
sub limit
{
	my ($created_at) = @_;
	return $max_age ? $created_at + $max_age : ~0 >> 1;
}

# Between the last time that its expiry was set and now, in true time.
sub check_in_true_time
{
	my ($s, $valid) = @_;
	my $lived = $true - $s->{set_at};
	my $slack = $stepped - $s->{stepped};
	push @wrong, "a session outlived its lifetime by more than the steps" if $valid && $lived >= $s->{lives} + $slack;
	push @wrong, "a session was lost earlier than by the steps" if !$valid && $lived < $s->{lives} - $slack;
	$count{"ended while the clock was never stepped"}++ if !$valid && $slack == 0;
	$count{"outlived its lifetime, because of a step back"}++ if $valid && $lived >= $s->{lives};
	$count{"lost early, because of a step forward"}++ if !$valid && $lived < $s->{lives};
	return;
}

sub some_time
{
	my ($most) = @_;
	return 1 + int($most**rand());
}

sub walk_create
{
	my $lifetime = some_time(20 * DAY);
	my $sliding = rand() < 0.6 ? 'true' : 'false';
	my ($token, $expires_at) = split /\|/,
	  ask(
		'SELECT token, ' . usecs('expires_at') . " FROM narvik_create_session('u7', '{}', $lifetime * interval '1 microsecond', $sliding)");
	differs('create', $expires_at, least($now + $lifetime, limit($now)));
	$live{$token} = {
		lifetime => $lifetime,
		lives => $expires_at - $now,
		sliding => $sliding eq 'true',
		created_at => $now,
		expires_at => $expires_at,
		set_at => $true,
		stepped => $stepped };
	return;
}

sub walk_validate
{
	my ($token) = @_;
	my $s = $live{$token};
	my $valid = $now < $s->{expires_at};
	my $due = $valid && $s->{sliding} && $now >= $s->{expires_at} - int($s->{lifetime} / 2);
	my $expires_at = $due ? least($now + $s->{lifetime}, limit($s->{created_at})) : $s->{expires_at};
	my $extended = $due && $expires_at > $s->{expires_at};
	$expires_at = $s->{expires_at} unless $extended;
	my $answer = ask('SELECT extended, ' . usecs('expires_at') . " FROM narvik_validate_session('$token')");
	differs(
		$extended ? 'extend' : $valid ? 'validate' : 'expire',
		$answer, $valid ? ($extended ? 't' : 'f') . "|$expires_at" : '');
	check_in_true_time($s, $valid);
	if ($extended)
	{
		@$s{qw(expires_at lives set_at stepped)} = ($expires_at, $expires_at - $now, $true, $stepped);
	}
	delete $live{$token} unless $valid;
	return;
}

sub walk_purge
{
	my @gone = grep { $live{$_}{expires_at} <= $now } keys %live;
	check_in_true_time($live{$_}, 0) foreach @gone;
	differs('purge', ask('SELECT narvik_delete_all_expired_sessions()'), scalar @gone);
	delete @live{@gone};
	return;
}

# Half of the steps of this walk are small, and half of them are taken back.
sub walk_clock
{
	$true += some_time(3 * DAY);
	if (rand() < 0.3)
	{
		my $step = $offset != 0 && rand() < 0.5 ? -$offset : some_time(40 * DAY) * (rand() < 0.5 ? -1 : 1);
		$offset  += $step;
		$stepped += abs($step);
		$count{ $step < 0 ? 'step back' : 'step forward' }++;
	}
	set_clock($true + $offset);
	return;
}

foreach my $step (1 .. 2500)
{
	if ($step == 1000)
	{
		$max_age = 5 * DAY;
		ask(q{SET narvik.session_max_age = '5d'; SELECT narvik_delete_sessions_for_user('u7')});
		%live = ();
	}
	walk_clock();
	walk_create() if keys %live < 3 || rand() < 0.35;
	my @tokens = sort keys %live;
	walk_validate($tokens[ rand @tokens ]);
	walk_purge() if rand() < 0.03;
	differs(
		'list', ask(q{SELECT count(*) FROM narvik_fetch_sessions_for_user('u7')}),
		scalar grep { $_->{expires_at} > $now } values %live) if rand() < 0.1;
}
is(scalar @wrong, 0, "2500 steps of a random walk go as the model says (SEED=$seed)")
  or diag(join "\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
cmp_ok($count{$_} // 0, '>', 10, "it met enough of: $_ (" . ($count{$_} // 0) . ')')
  foreach 'create', 'validate', 'extend', 'expire', 'purge', 'list', 'step back', 'step forward',
  'ended while the clock was never stepped', 'outlived its lifetime, because of a step back',
  'lost early, because of a step forward';
$psql->quit;

# ---- the purge worker -------------------------------------------------------

# From here on the clock runs, with an offset in seconds.
sub save_and_wait
{
	my ($what) = @_;
	save_expired($node, 'postgres', 3);
	ok(wait_until_purged($node, 'postgres'), $what);
	return;
}

$clock->set('+0');
set_by_reload($node, 'narvik.purge = on');
$node->safe_psql('postgres', 'SELECT narvik_unlink_users()');
my $pid = launcher_pid($node);
is( $node->safe_psql(
		'postgres',
		q{SELECT backend_start = '2026-03-01' FROM pg_stat_activity WHERE backend_type = 'narvik launcher'}),
	't',
	"the launcher's clock is the test's");
save_and_wait('the purge worker works by a clock that runs');
foreach (
	[ -1, 'a second back' ], [ -365 * 86400, 'a year back' ],
	[ 86400, 'a year and a day forward' ], [ 0, 'a day back, to the truth' ])
{
	my ($seconds, $name) = @$_;
	$clock->set(sprintf('%+d', $seconds));
	save_and_wait("the purge goes on when the clock is stepped: $name");
}
is(launcher_pid($node), $pid, 'in the same launcher');
is(scalar(log_lines($node, qr/narvik .*(ERROR|FATAL|PANIC|WARNING):/)), 0, 'and without an error');

# A clock that stands still stands for any that is slower than it should be.
set_clock(utc(2027, 1, 1, 12));
save_and_wait('the purge goes on by a clock that stands still');

$node->stop;
done_testing();
