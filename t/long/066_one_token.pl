# Clients that all have the same few tokens, directly and behind a pooler in
# transaction mode, while connections are cancelled and terminated and the table
# is rewritten.  Each token's history is checked: whatever was answered must have
# been true at a moment between question and answer.
#
# Each time that a session is saved it gets a label in its data.  So a life of a
# token is known by its label: it was alive, for sure, from the first answer that
# shows it until the last question that got one; then nothing may have found the
# token dead meanwhile, or have ended it.  One that follows another without a gap,
# because it was rotated to or saved again in one transaction, counts from when that
# one was known.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use JSON::PP;
use List::Util qw(max min);
use POSIX      ();
use Pooler;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use Test::More;
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

my $clients = 8;
my @tokens = qw(one two);
my $json = JSON::PP->new->canonical;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
fsync = off
deadlock_timeout = 100ms
log_min_messages = fatal
log_min_error_statement = panic
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE DATABASE sound; CREATE DATABASE unsound');
$node->safe_psql($_, q{CREATE EXTENSION narvik CASCADE; SELECT narvik_grant('app')}) foreach qw(sound unsound);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $pooler = Pooler->new($node, 'default_pool_size = 3', 'server_login_retry = 0');

# ---- clients ----------------------------------------------------------------

# A line for each operation: from, to (when), op, token, and what is known of it:
# answer, unless there was none; done, if its transaction was committed; lost, if
# nobody knows; state, if it failed.  A client knows the tokens it rotated to.
my %sql = (
	validate => 'SELECT data FROM narvik_validate_session(?)',
	authenticate => 'SELECT narvik_authenticate(?)',
	rotate => 'SELECT data, token FROM narvik_rotate_session(?)',
	invalidate => 'SELECT narvik_invalidate_session(narvik_session_id(?))',
	update => 'SELECT narvik_update_session_data(narvik_session_id(?), ?)',
	look => q{SELECT narvik_update_session_data(narvik_session_id(?), '{}')},
	save => q{SELECT true FROM narvik_save_session(narvik_session_id(?), 'alice', now() + interval '10 days', ?)},
	logout => q{SELECT narvik_delete_sessions_for_user('alice')},
	logout_but => q{SELECT narvik_delete_sessions_for_user('alice', narvik_session_id(?))});
my %share =
  (validate => 30, authenticate => 5, rotate => 8, invalidate => 5, again => 5, update => 12, save => 20, logout => 4, logout_but => 4);
my @shares = map { ($_) x $share{$_} } sort keys %share;

sub act
{
	my ($dbh, $event, @patch) = @_;
	# What is saved again is locked first, by a change that is none: so its label is known.
	my @ops = $event->{op} eq 'again' ? qw(look invalidate save) : $event->{op};
	foreach my $op (@ops)
	{
		my @values = ($op eq 'logout' ? () : $event->{token}, $op eq 'save' || $op eq 'update' ? @patch : ());
		my @row = $dbh->selectrow_array($sql{$op}, {}, @values);
		push @{ $event->{answers} }, [ map { defined && /^\{/ ? $json->decode($_) : $_ } @row ];
	}
	return;
}

sub client
{
	my ($n, $connstr, $operations) = @_;
	my ($dbh, @own);
	my $pooled = $connstr =~ /\Q$pooler->{dir}\E/;
	srand;
	open my $file, '>', "$dir/history-$n" or die "history: $!";
	foreach my $k (1 .. $operations)
	{
		$dbh = eval { SessionJournal::connect_to($connstr, $pooled) } // sleep 0.02 && undef until $dbh;
		my $op = $shares[ rand @shares ];
		my $token = @own && rand() < 0.3 ? $own[ rand @own ] : $tokens[ rand @tokens ];
		$token = $tokens[ rand @tokens ] if $op eq 'save' || $op eq 'again';
		my %event = (op => $op, token => $token, answers => [], client => $n, n => $k, from => clock_gettime(CLOCK_MONOTONIC));
		my $way = rand;
		eval {
			$dbh->begin_work;
			if ($way < 0.2)
			{
				$dbh->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
				$dbh->do('SELECT 1');
				sleep rand 0.003;
			}
			act($dbh, \%event, $op eq 'update' ? qq({"$n": $k}) : qq({"life": "$n-$k"}));
			sleep rand 0.003 if $way < 0.4;
			$way > 0.3 && $way < 0.4 ? $dbh->rollback : ($dbh->commit, $event{done} = 1);
		};
		my ($error, $state) = ($@, $dbh->state);
		$event{to} = clock_gettime(CLOCK_MONOTONIC);
		if ($error)
		{
			eval { $dbh->rollback };
			# DBD::Pg keeps to itself with which state a commit failed.
			$state = '57014' if $error =~ /canceling statement due to user request/;
			$event{state} = $state;
			if ($state =~ /^(08|57P|S8006|22000)/ || !$dbh->ping)
			{
				eval { $dbh->disconnect };
				undef $dbh;
				$event{lost} = 1;
			}
		}
		push @own, $event{answers}[0][1] if $op eq 'rotate' && $event{done} && $event{answers}[0][1];
		shift @own if @own > 3;
		print $file $json->encode(\%event), "\n" or die "history: $!";
	}
	return;
}

# A history of so many operations by each client; $disturb->() is called all the while.
sub history
{
	my ($database, $operations, $disturb) = @_;
	my %running;
	foreach my $n (1 .. $clients)
	{
		my $connstr = $n % 2 ? $pooler->connstr($database) : $node->connstr($database) . ' user=app';
		my $pid = fork() // die "fork: $!";
		$running{$pid} = 1;
		next if $pid;
		# None of the END blocks of the test is ours.
		eval { client($n, $connstr, $operations); 1 } or print STDERR "client $n: $@";
		POSIX::_exit($@ ? 1 : 0);
	}
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (%running)
	{
		$disturb->();
		sleep rand 0.04;
		while ((my $pid = waitpid(-1, POSIX::WNOHANG)) > 0)
		{
			die 'a client died' if delete $running{$pid} && $?;
		}
		die 'the clients do not get on' if time > $until;
	}
	return map {
		map { $json->decode($_) } split /\n/,
		  slurp_file("$dir/history-$_")
	} 1 .. $clients;
}

# ---- the check --------------------------------------------------------------

# Everything that is wrong with a history, as text.
sub violations
{
	my ($events) = @_;
	my (%lives, %labels, %undone, %dead, @everywhere, @found_alive, %ends, %births, @wrong);
	my $life = sub { $lives{"$_[0] $_[1]"} //= { token => $_[0], label => $_[1], seen => [], rotated => 0, began => 9**9 } };
	my $show = sub {
		join ', ', map { sprintf '%s %s %.4f to %.4f', @{$_}{qw(client op from to)} } @_;
	};

	foreach my $event (@$events)
	{
		my ($op, $token, $done) = @{$event}{qw(op token done)};
		my ($first, $new_token) = @{ $event->{answers}[0] // [] };
		my $taken = ($event->{state} // '') eq '23505';
		my $may_be_done = $done || $event->{lost};
		if (ref $first)
		{
			push @{ $life->($token, $first->{life})->{seen} }, $event;
			push @{ $labels{ $first->{life} }{seen} }, [ $event, $first ];
		}
		if ($op eq 'update' && $may_be_done)
		{
			# Which life a lost one changed is not known.
			$labels{ $_->{life} }{updates}{ $event->{client} }{ $event->{n} } = $event foreach grep { ref } $first;
		}
		$undone{"$event->{client}-$event->{n}"} = $event if $op eq 'update' && !$may_be_done;
		if ($op eq 'rotate' && $done && ref $first)
		{
			$life->($token, $first->{life})->{rotated}++;
			my $new = $life->($new_token, $first->{life});
			push @{ $new->{seen} }, $event;
			@{$new}{qw(began after)} = ($event->{from}, $life->($token, $first->{life}));
			$births{$new_token}++;
		}
		if (($op eq 'save' || $op eq 'again') && $may_be_done)
		{
			my $new = $life->($token, "$event->{client}-$event->{n}");
			$new->{began} = $event->{from};
			push @{ $new->{seen} }, $event if $done;
			$births{$token}++;
			if ($op eq 'again' && $done && ref $first)
			{
				$new->{after} = $life->($token, $first->{life});
				push @{ $new->{after}{replaced} }, $event;
				push @wrong, 'gone though it was locked: ' . $show->($event) unless $event->{answers}[1][0];
			}
		}
		my $says_dead = @{ $event->{answers} } && !$first && $op =~ /^(validate|authenticate|rotate|invalidate|again|update)$/;
		push @{ $dead{$token} }, $event if $says_dead || $done && $op =~ /^(rotate|invalidate)$/;
		$ends{$token}++ if $done && $first && $op =~ /^(rotate|invalidate|again)$/;
		push @everywhere, $event if $done && $op =~ /^logout/;
		push @found_alive, $event if $taken && $op eq 'save' || $first && !ref $first && $op =~ /^(authenticate|invalidate)$/;
	}

	# From when on, and until when, a life is known to have been there; and when it
	# was over.
	foreach my $life (values %lives)
	{
		$life->{since} = min(9**9, map { $_->{to} } @{ $life->{seen} });
		$life->{still} = max(0, map { $_->{from} } @{ $life->{seen} });
	}
	foreach my $life (sort { $a->{since} <=> $b->{since} } values %lives)
	{
		my ($token_since, $session_since) = ($life->{since}) x 2;
		for (my $before = $life->{after}; $before; $before = $before->{after})
		{
			$session_since = min($session_since, $before->{since});
			$token_since = $session_since if $before->{token} eq $life->{token};
		}
		my @ends = (
			@{ $life->{replaced} // [] },
			(grep { $_->{from} > $token_since } @{ $dead{ $life->{token} } // [] }),
			(   grep { $_->{op} eq 'logout' ? $_->{from} > $session_since : $_->{from} > $token_since && $_->{token} ne $life->{token} }
				  @everywhere));
		my ($end) = sort { $a->{to} <=> $b->{to} } @ends;
		$life->{over} = $end ? $end->{to} : 9**9;
		my ($first) = grep { $_->{to} == $life->{since} } @{ $life->{seen} };
		my ($last) = grep { $_->{from} == $life->{still} } @{ $life->{seen} };
		push @wrong, 'valid after its end: ' . $show->($first, $end, $last) if $life->{over} < $life->{still};
		push @wrong, "rotated $life->{rotated} times" if $life->{rotated} > 1;
		push @wrong, 'valid before it was saved, or it never was: ' . $show->($first) if $life->{since} < $life->{began};
	}
	foreach my $token (sort keys %ends)
	{
		push @wrong, "more ends than sessions of $token: $ends{$token}" if $ends{$token} > ($births{$token} // 0);
		my @lives = sort { $a->{since} <=> $b->{since} } grep { $_->{token} eq $token && $_->{since} < $_->{still} } values %lives;
		push @wrong, "two sessions of $token at once" if grep { $lives[$_]{since} < $lives[ $_ - 1 ]{still} } 1 .. $#lives;
	}
	foreach my $event (@found_alive)
	{
		push @wrong, 'nothing to find: ' . $show->($event)
		  unless grep { $_->{token} eq $event->{token} && $_->{began} < $event->{to} && $_->{over} > $event->{from} } values %lives;
	}
	foreach my $label (values %labels)
	{
		foreach my $seen (@{ $label->{seen} })
		{
			my ($event, $data) = @$seen;
			my @undone = grep { $_ && $_ != $event } map { $undone{"$_-$data->{$_}"} } grep { /^\d/ } keys %$data;
			push @wrong, 'a change of data that was undone: ' . $show->($event, @undone) if @undone;
		}
		foreach my $client (keys %{ $label->{updates} })
		{
			my $updates = $label->{updates}{$client};
			foreach my $seen (@{ $label->{seen} })
			{
				my ($event, $data) = @$seen;
				my $least = max(0, grep { $updates->{$_}{done} && $updates->{$_}{to} < $event->{from} } keys %$updates);
				push @wrong, 'a change of data is lost: ' . $show->($event, $updates->{$least}) if ($data->{$client} // 0) < $least;
			}
		}
	}
	return @wrong;
}

# ---- narvik -----------------------------------------------------------------

my $watcher = SessionJournal::connect_to($node->connstr('sound'));
my %fired;
my $hit =
  q{SELECT %s(pid) FROM pg_stat_activity WHERE usename = 'app' AND datname = 'sound' AND state = 'active' ORDER BY random() LIMIT 1};
my %fire = (
	cancel => sub { return $watcher->selectrow_array(sprintf $hit, 'pg_cancel_backend') },
	terminate => sub { return $watcher->selectrow_array(sprintf $hit, 'pg_terminate_backend') },
	'VACUUM FULL' => sub { return $watcher->do('VACUUM FULL narvik_sessions') });
my @shots = (('cancel') x 6, ('terminate') x 2, 'VACUUM FULL');
my $disturb = sub {
	my $shot = $shots[ rand @shots ];
	$fired{$shot}++ if $fire{$shot}->();
};

my @events = history('sound', 2000, $disturb);
my @wrong = violations(\@events);
is(join("\n", @wrong), '', scalar(@events) . ' operations on ' . @tokens . ' tokens and those that they were rotated to');
my (%count, %failed, %unexpected);
foreach my $event (@events)
{
	$count{ $event->{op} }++ if $event->{done};
	$count{ $event->{lost} ? 'lost' : 'failed' }++ if $event->{state};
	next if !$event->{state} || $event->{lost};
	$failed{ $event->{state} }++;
	# Nothing but what saves may fail because of what others did, and only there; and
	# two log-outs may deadlock if an older session is committed between them.
	$unexpected{"$event->{op}: $event->{state}"}++
	  unless $event->{state} eq '57014'
	  || $event->{state} eq '40P01' && $event->{op} !~ /^(validate|authenticate)$/
	  || $event->{state} =~ /^(23505|40001)$/ && $event->{op} eq (@{ $event->{answers} } ? 'again' : 'save');
}
is( scalar(grep { ($count{$_} // 0) > 100 } keys %share), scalar(keys %share),
	'everything there is was done: ' . join(', ', map { "$_ $count{$_}" } sort keys %count));
is(join(', ', sort keys %unexpected), '', 'failed: ' . join(', ', map { "$_ $failed{$_}" } sort keys %failed));
cmp_ok(min(map { $fired{$_} // 0 } keys %fire), '>', 10, 'fired: ' . join(', ', map { "$_ $fired{$_}" } sort keys %fired));
ok($count{lost}, 'connections broke');
cmp_ok($failed{'40P01'} // 0, '<', 0.01 * ($count{logout} + $count{logout_but}), 'deadlocks are rare');

# ---- planted faults ---------------------------------------------------------

my @plants = (
	{   what => 'a log-out that deletes the sessions that it saw when it began',
		violation => qr/^valid after its end/m,
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_delete_sessions_for_user(user_id text, except_session_id text DEFAULT NULL, reason text DEFAULT NULL)
			RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
			DECLARE
				ids bytea[] := ARRAY(SELECT id FROM narvik_sessions AS s WHERE s.user_id = $1 AND encode(id, 'hex') IS DISTINCT FROM $2);
				n bigint;
			BEGIN
				DELETE FROM narvik_sessions WHERE id = ANY (ids);
				GET DIAGNOSTICS n = ROW_COUNT;
				RETURN n;
			END $$}
	},
	{   what => 'an invalidation that does not wait',
		violation => qr/^valid after its end/m,
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_invalidate_session(session_id text, reason text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
			BEGIN
				DELETE FROM narvik_sessions WHERE ctid IN (
					SELECT ctid FROM narvik_sessions WHERE id = decode(session_id, 'hex') FOR UPDATE SKIP LOCKED);
				RETURN FOUND;
			END $$}
	},
	{   what => 'a rotation that stores the session again',
		violation => qr/^rotated 2 times/m,
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_rotate_session(token text) RETURNS SETOF narvik_created_session LANGUAGE plpgsql SECURITY DEFINER AS $$
			DECLARE
				s narvik_sessions;
			BEGIN
				SELECT * INTO s FROM narvik_sessions WHERE id = decode(narvik_session_id($1), 'hex');
				IF s IS NULL THEN
					RETURN;
				END IF;
				token := narvik_generate_token();
				DELETE FROM narvik_sessions WHERE id = s.id;
				INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
				VALUES (decode(narvik_session_id(token), 'hex'), s.user_id, s.created_at, s.expires_at, s.sliding, s.data, s.purge_hour);
				RETURN QUERY SELECT token, narvik_session_id(token), s.user_id, s.created_at, s.expires_at,
					s.authenticated_at, s.active_at, s.data, true, false;
			END $$}
	},
	{   what => 'a change of data that reads first and writes then',
		violation => qr/^a change of data is lost/m,
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_update_session_data(session_id text, patch jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
			DECLARE
				new_data jsonb := (SELECT data || patch FROM narvik_sessions WHERE id = decode(session_id, 'hex'));
			BEGIN
				UPDATE narvik_sessions SET data = new_data WHERE id = decode(session_id, 'hex');
				RETURN new_data;
			END $$}
	});
foreach my $plant (@plants)
{
	$node->safe_psql('unsound', 'DROP EXTENSION narvik; CREATE EXTENSION narvik');
	$node->safe_psql('unsound', q{SELECT narvik_grant('app')});
	$node->safe_psql('unsound', $plant->{sql});
	my $found = '';
	foreach (1 .. 10)
	{
		$found = join "\n", violations([ history('unsound', 200, sub { }) ]);
		last if $found =~ $plant->{violation};
	}
	like($found, $plant->{violation}, "found: $plant->{what}");
}

$watcher->disconnect;
$pooler->stop;
$node->stop;
done_testing();
