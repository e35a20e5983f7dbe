# Every interleaving of two operations on one session, beside a server, in
# several databases at once: what they answer and leave behind is compared with
# what they do one after the other.
#
# Each operation is a transaction of its own, on a connection of its own: its
# statements, then COMMIT, ROLLBACK, or PREPARE TRANSACTION and one of these.  In
# REPEATABLE READ both snapshots are taken before anything else happens.  A
# statement that has to wait is left waiting while the other transaction goes on.
#
# The oracle is the same two transactions in READ COMMITTED, A before B and B
# before A.  What else is allowed stands in explained(), with the reason.  Every
# run has a token of its own.
#
# Events are compared, too.  And whatever the oracle says, they must add up to the
# sessions that are left: no event without its act, no act without its event.

package Interleave;

use strict;
use warnings;

use DBD::Pg;
use DBI;
use Exporter 'import';
use JSON::PP qw(decode_json encode_json);
use POSIX    ();

our @EXPORT = qw(interleave operations_alone);

# ---- operations -------------------------------------------------------------

# TOKEN is the session's, SIDE is A or B.  An answer is one text, none if there is
# no row; beside it, a new token.
my $id = q{narvik_session_id('TOKEN')};
my $session = 'user_id, data, life(expires_at)';
my $create = qq{SELECT concat_ws(' ', 'created', $session), token FROM narvik_create_session('alice', '{"by": "SIDE"}')};
my $validate = qq{SELECT concat_ws(' ', $session, CASE WHEN extended THEN 'extended' END) FROM narvik_validate_session('TOKEN')};
my $rotate = qq{SELECT concat_ws(' ', 'rotated', $session), token FROM narvik_rotate_session('TOKEN')};
my $reauthenticate =
  qq{SELECT concat_ws(' ', 'reauthenticated', $session), token FROM narvik_reauthenticate_session('TOKEN', '{"by": "SIDE"}')};
my $save = qq{SELECT 'saved' FROM narvik_save_session($id, 'alice', now() + interval '29 days', '{"by": "SIDE"}')};
my $put = qq{narvik_put_session($id, 'alice', now() + interval '29 days', '{"by": "SIDE"}'};
my @ops = (
	[ create => $create ],
	[ create_evicting => $create ],
	[ validate => $validate ],
	[ authenticate => q{SELECT coalesce(narvik_authenticate('TOKEN'), 'NULL')} ],
	[ validate_user => q{SELECT u::text FROM narvik_validate_user('TOKEN', NULL::app_users) AS u} ],
	[ rotate => $rotate ],
	[ reauthenticate => $reauthenticate ],
	[ invalidate => qq{SELECT narvik_invalidate_session($id)::text} ],
	[ delete => qq{SELECT narvik_delete_session($id)::text} ],
	[ delete_for_user => q{SELECT narvik_delete_sessions_for_user('alice')::text} ],
	[ delete_for_user_except => qq{SELECT narvik_delete_sessions_for_user('alice', $id)::text} ],
	[ update_data => qq{SELECT coalesce(narvik_update_session_data($id, '{"SIDE": 1, "last": "SIDE"}')::text, 'NULL')} ],
	[ update_expiry_later => qq{SELECT narvik_update_session_expiry($id, now() + interval '60 days')::text} ],
	[ update_expiry_past => qq{SELECT narvik_update_session_expiry($id, now() - interval '1 hour')::text} ],
	[ save => $save ],
	[ fetch => qq{SELECT concat_ws(' ', $session) FROM narvik_fetch_session($id)} ],
	[   fetch_for_user => qq{SELECT coalesce(string_agg(concat_ws(' ', $session), ', ' ORDER BY data), 'nothing')
		FROM narvik_fetch_sessions_for_user('alice')} ],
	[ delete_all_expired => q{SELECT narvik_delete_all_expired_sessions()::text} ],
	[ delete_user => q{DELETE FROM app_users WHERE id = 'alice' RETURNING 'deleted'} ],
	[ rename_user => q{UPDATE app_users SET id = 'alicia' WHERE id = 'alice' RETURNING 'renamed'} ],
	[ promote => qq{SELECT concat_ws(' ', 'promoted', $session), token FROM narvik_promote_session('TOKEN', 'alice', '{"by": "SIDE"}')} ],
	[ put => "SELECT $put)::text" ],
	[ put_existing => "SELECT $put, true)::text" ],
	[ put_new => "SELECT $put, false)::text" ],
	[   change_id => qq{SELECT changed::text, CASE WHEN changed THEN 'TOKEN-SIDE' END
		FROM narvik_change_session_id($id, narvik_session_id('TOKEN-SIDE')) AS changed} ],
	[ log_in_again => qq{SELECT narvik_invalidate_session($id)::text}, $create ],
	[ delete_and_save => qq{SELECT narvik_delete_session($id)::text}, $save ],
	# With the token that replaced the session's.
	[ next_validate => $validate =~ s/TOKEN/TOKEN-next/r ],
	[ next_rotate => $rotate =~ s/TOKEN/TOKEN-next/r ],
	[ next_reauthenticate => $reauthenticate =~ s/TOKEN/TOKEN-next/r ],
	[ next_update_data => q{SELECT coalesce(narvik_update_session_data(narvik_session_id('TOKEN-next'), '{"SIDE": 1}')::text, 'NULL')} ]);
my %settings = (
	create_evicting => 'SET LOCAL narvik.max_sessions_per_user = 1',
	in_grace => q{SET LOCAL narvik.rotation_grace = '1h'},
	reused => 'SET LOCAL narvik.detect_reuse = on');

# A validation extends the session, or removes it if it has expired, only if
# nobody else has the row and its snapshot shows the newest state.
my %writes_if_free = map { $_ => 1 } qw(validate authenticate validate_user next_validate);
# They never wait, and keep to their snapshot; all others work on the newest state.
my %reads = (%writes_if_free, fetch => 1, fetch_for_user => 1);
my %changes_user = map { $_ => 1 } qw(delete_user rename_user);
my %locks_user =
  map { $_ => 1 } qw(create create_evicting save promote put put_existing put_new log_in_again delete_and_save delete_user rename_user);
my %saves = map { $_ => 1 } qw(save put put_new delete_and_save);
# Of a guest's session they make another one than of a user's.
my %meets_guest = map { $_ => 1 } qw(promote put put_existing change_id);
# Of a replaced token's session they make something, or its present token does.
my %meets_replaced = map { $_ => 1 }
  qw(validate rotate reauthenticate invalidate delete_for_user promote next_validate next_rotate next_reauthenticate next_update_data);

my ($rc, $rr) = ('READ COMMITTED', 'REPEATABLE READ');
my @commit = ('COMMIT');
my @rollback = ('ROLLBACK');
my @prepare = ('PREPARE TRANSACTION', 'COMMIT PREPARED');
my @prepare_in_vain = ('PREPARE TRANSACTION', 'ROLLBACK PREPARED');

# How two transactions run and end.
my @hows = (
	[ [ $rc, @commit ], [ $rc, @commit ] ],
	[ [ $rc, @rollback ], [ $rc, @commit ] ],
	[ [ $rc, @commit ], [ $rc, @prepare_in_vain ] ],
	[ [ $rr, @commit ], [ $rr, @commit ] ],
	[ [ $rr, @commit ], [ $rc, @rollback ] ],
	[ [ $rc, @prepare ], [ $rc, @commit ] ],
	[ [ $rc, @commit ], [ $rr, @commit ] ],
	[ [ $rr, @commit ], [ $rc, @prepare ] ]);

# What the session is like when it begins.  In the last two its token was replaced a
# minute ago, by TOKEN-next, and is in its grace or must not be seen again.
my @states = qw(due fresh expired absent guest in_grace reused);
my %is_replaced = map { $_ => 1 } qw(in_grace reused);

# ---- the databases ----------------------------------------------------------

# For each run: one session S, which is like its state says, and another of the
# same user.  Names of what is left: A and B for what these two created.
my $setup = q{
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE app_users (id text PRIMARY KEY);
	SELECT narvik_link_users('app_users');

	CREATE FUNCTION life(expires_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
		SELECT CASE WHEN expires_at <= now() THEN 'expired'
					WHEN expires_at < now() + interval '15 days' THEN 'due'
					WHEN expires_at < now() + interval '29.5 days' THEN 'fresh'
					WHEN expires_at < now() + interval '30.5 days' THEN 'full'
					ELSE 'later' END
	$$;

	CREATE FUNCTION begin_run(state text, token text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		DELETE FROM narvik_sessions;
		DELETE FROM narvik_events;
		DELETE FROM app_users;
		INSERT INTO app_users VALUES ('alice');
		PERFORM set_config('narvik.rotation_grace', CASE state WHEN 'in_grace' THEN '1h' ELSE '0' END, false);
		INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
		SELECT decode(narvik_session_id(t), 'hex'), CASE WHEN state <> 'guest' OR t <> token THEN 'alice' END, now() - age, now() + rest, true, data::jsonb,
			floor(extract(epoch FROM now() + rest) / 3600)
		FROM (VALUES
			(CASE WHEN state IN ('in_grace', 'reused') THEN token || '-next' ELSE token END, interval '20 days',
				CASE WHEN state IN ('due', 'in_grace', 'reused') THEN interval '10 days' WHEN state = 'expired' THEN interval '-2 hours'
				WHEN state <> 'absent' THEN interval '29 days' END, '{"s": 1}'),
			(token || '-other', interval '1 day', interval '29 days', '{"other": 1}')) AS v (t, age, rest, data)
		WHERE rest IS NOT NULL;
		UPDATE narvik_sessions SET replaced_ids = ARRAY[decode(narvik_session_id(token), 'hex')], replaced_at = ARRAY[now() - interval '1 minute']
		WHERE id = decode(narvik_session_id(token || '-next'), 'hex');
		INSERT INTO narvik_events (at, kind, session_id, user_id, detail) SELECT now(), 'was there', id, user_id, '{}' FROM narvik_sessions;
	END $$;

	-- Whether the events tell how the sessions came to be these.  A life of an id begins
	-- with an event and ends with one, or because a later event is of its new id.
	CREATE FUNCTION adds_up() RETURNS boolean LANGUAGE sql STABLE AS $$
		WITH ids AS (SELECT session_id, array_agg(seq ORDER BY seq) FILTER (WHERE kind <> 'ended') AS begun,
						count(*) FILTER (WHERE kind = 'ended') AS ended, (array_agg(kind ORDER BY seq DESC))[1] AS last
					FROM narvik_events GROUP BY session_id),
			lives AS (SELECT begun, coalesce(cardinality(begun), 0) - ended - EXISTS (SELECT FROM narvik_sessions WHERE id = session_id)::int AS renamed FROM ids),
			renamed AS (SELECT seq FROM lives, unnest(begun[:renamed]) AS seq)
		SELECT (SELECT count(*) FILTER (WHERE kind IN ('was there', 'created')) - count(*) FILTER (WHERE kind = 'ended') FROM narvik_events)
				= (SELECT count(*) FROM narvik_sessions)
			AND NOT EXISTS (SELECT FROM narvik_sessions LEFT JOIN ids ON session_id = id WHERE coalesce(last, 'ended') = 'ended')
			AND NOT EXISTS (SELECT FROM lives WHERE renamed < 0)
			AND NOT EXISTS (SELECT FROM renamed AS r WHERE (SELECT count(*) FROM renamed WHERE seq >= r.seq)
				> (SELECT count(*) FROM narvik_events WHERE seq > r.seq AND kind IN ('promoted', 'rotated', 'reauthenticated')))
	$$;

	CREATE FUNCTION end_run(token text, a text, b text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		SET LOCAL transaction_read_only = on;
		RETURN (WITH tokens (name, token) AS (VALUES ('S', token), ('next', token || '-next'), ('other', token || '-other'), ('A', a), ('B', b))
		SELECT concat(
			'rows: ', (SELECT string_agg(concat_ws(' ', coalesce(name, 'unknown'), user_id, data, life(expires_at),
						CASE WHEN purge_hour <> floor(extract(epoch FROM expires_at) / 3600) THEN 'wrong hour' END), ', ' ORDER BY name)
					FROM narvik_sessions LEFT JOIN tokens ON decode(narvik_session_id(tokens.token), 'hex') = id),
			'; valid: ', (SELECT string_agg(name, ' ' ORDER BY name) FROM tokens, narvik_validate_session(tokens.token)),
			'; users: ', (SELECT coalesce(string_agg(id, ' '), 'none') FROM app_users),
			'; events: ', (SELECT coalesce(string_agg(event, ', ' ORDER BY event), 'none')
					FROM (SELECT concat_ws(' ', kind, reason, coalesce(name, 'unknown'), user_id) AS event
						  FROM narvik_events LEFT JOIN tokens ON decode(narvik_session_id(tokens.token), 'hex') = session_id
						  WHERE kind <> 'was there') AS e),
			CASE WHEN NOT adds_up() THEN ' THAT DO NOT ADD UP' END));
	END $$;
};

sub make_databases
{
	my ($node, $parts, $plant) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS model');
	$node->safe_psql('postgres', 'CREATE DATABASE model');
	$node->safe_psql('model', $setup . ($plant // ''));
	foreach my $part (0 .. $parts - 1)
	{
		$node->safe_psql('postgres', "DROP DATABASE IF EXISTS part$part");
		$node->safe_psql('postgres', "CREATE DATABASE part$part TEMPLATE model");
	}
	return;
}

# ---- a run ------------------------------------------------------------------

my ($part, $control, @conns);
my $number = 0;
my %count;

sub connect_part
{
	my ($node) = @_;
	my $dsn = 'dbi:Pg:' . join(';', split ' ', $node->connstr("part$part") =~ s/'//gr);
	($control, @conns) = map { DBI->connect($dsn, '', '', { RaiseError => 1, PrintError => 0, PrintWarn => 0 }) } 1 .. 3;
	# The users go without their sessions' triggers.
	$control->do('SET session_replication_role = replica');
	$_->do('SET narvik.events = on') foreach @conns;
	return;
}

# A run: state; side, two of op, how, read_only; first, of a serial run; absent,
# who has no part in it.
sub begin_side
{
	my ($run, $who) = @_;
	my $side = $run->{side}[$who];
	if (($run->{absent} // -1) == $who)
	{
		$side->{over} = 1;    # and has answered what it did
		return;
	}
	my ($level, @end) = @{ $side->{how} };
	my ($name, @statements) = @{ $side->{op} };
	s/TOKEN/s-$number/g, s/SIDE/('A', 'B')[$who]/ge foreach @statements;
	s/(TRANSACTION|PREPARED)$/$1 'part$part-$number-$who'/ foreach @end;
	@{$side}{qw(conn todo statements)} = ($conns[$who], [ @statements, @end ], scalar @statements);
	@{$side}{qw(answers token state waits over began began_late waited_first waited_wrongly)} = ([]);
	$side->{conn}->do("BEGIN ISOLATION LEVEL $level" . ($side->{read_only} ? ' READ ONLY' : ''));
	$side->{conn}->do($_) foreach grep { $_ } @settings{ $name, $run->{state} };
	$side->{conn}->do('SELECT 1') if $level eq $rr;
	return;
}

# What would make the run a serial one is left out.
sub may_step
{
	my ($run, $who) = @_;
	my ($side, $other) = @{ $run->{side} }[ $who, 1 - $who ];
	return 0 if $side->{over} || $side->{waits};
	return $who == $run->{first} || $other->{over} if defined $run->{first};
	return @{ $side->{todo} } > 1 || $other->{began} || $other->{how}[0] eq $rr;
}

sub send_step
{
	my ($run, $who) = @_;
	my $side = $run->{side}[$who];
	my $sql = shift @{ $side->{todo} };
	$side->{began_late} = 1 if !$side->{began} && $run->{side}[ 1 - $who ]{over};
	$side->{began} = 1;
	$run->{trace} .= "\n    " . ('A', 'B')[$who] . '  ' . ($sql =~ /^(COMMIT|ROLLBACK|PREPARE)/ ? $sql =~ s/ '.*//r : $side->{op}[0]);
	$side->{step} = $side->{conn}->prepare($sql, { pg_async => DBD::Pg::PG_ASYNC, pg_server_prepare => 0 });
	$side->{step}->execute;
	return;
}

sub finish_step
{
	my ($run, $who) = @_;
	my $side = $run->{side}[$who];
	my $answer;
	if (!eval { $side->{conn}->pg_result })
	{
		$side->{state} = $side->{conn}->state;
		$answer = "error $side->{state}";
		# Nothing is left to do, but for the end of the transaction.
		$side->{todo} = $side->{statements} > 0 ? ['ROLLBACK'] : [];
	}
	elsif ($side->{statements} > 0)
	{
		($answer, my $token) = $side->{step}->fetchrow_array;
		$answer //= 'none';
		$side->{token} = $token if $token;
	}
	$side->{step}->finish;
	if (defined $answer)
	{
		push @{ $side->{answers} }, $answer;
		$run->{trace} .= ($side->{waits} ? ' ... goes on' : '') . " -> $answer";
	}
	$side->{statements} = $side->{state} ? 0 : $side->{statements} - 1;
	$side->{waits} = 0;
	$side->{over} = !@{ $side->{todo} };
	return;
}

# Until the answer is there, or the statement waits for a lock.
sub await_step
{
	my ($run, $who) = @_;
	my $side = $run->{side}[$who];
	until ($side->{conn}->pg_ready)
	{
		vec(my $ready = '', $side->{conn}{pg_socket}, 1) = 1;
		next if select($ready, undef, undef, $side->{waits} ? 0.0005 : 0.002);
		my ($blocked) = $control->selectrow_array(
			$control->prepare_cached(q{SELECT pg_blocking_pids(?) <> '{}'}),
			{}, $side->{conn}{pg_pid});
		next unless $blocked;
		if (!$side->{waits})
		{
			$run->{trace} .= ' ... waits';
			$side->{waited_wrongly} = 1 if $reads{ $side->{op}[0] } && $side->{statements} > 0;
			$side->{waited_first} = 1 unless @{ $side->{answers} };
			$count{waits}++;
		}
		$side->{waits} = 1;
		return;
	}
	$run->{trace} .= "\n    " . ('A', 'B')[$who] . ' ' if $side->{waits};
	finish_step($run, $who);
	return;
}

# Who takes each step is chosen as wanted, for as long as that goes, else A first.
# Returns the choices that were made: [who, could it have been the other].
sub execute
{
	my ($run, @wanted) = @_;
	my @choices;
	my $sides = $run->{side};
	++$number;
	$control->do('VACUUM narvik_sessions, narvik_events, app_users') if $number % 200 == 0;
	$control->selectrow_array($control->prepare_cached('SELECT begin_run(?, ?)'), {}, $run->{state}, "s-$number");
	$run->{trace} = '';
	begin_side($run, $_) foreach 0, 1;

	until ($sides->[0]{over} && $sides->[1]{over})
	{
		if (my @may = grep { may_step($run, $_) } 0, 1)
		{
			my $who = @may > 1 ? $wanted[@choices] // 0 : $may[0];
			push @choices, [ $who, @may > 1 ];
			send_step($run, $who);
			await_step($run, $who);
		}
		await_step($run, $_) foreach grep { $sides->[$_]{waits} } 0, 1;
	}
	my ($left) = $control->selectrow_array(
		$control->prepare_cached('SELECT end_run(?, ?, ?)'),
		{}, "s-$number", map { $_->{token} // '' } @$sides);
	$run->{outcome} = sprintf 'A: %s; B: %s; %s', (map { join ', ', @{ $_->{answers} } } @$sides), $left;
	return @choices;
}

# ---- the oracle -------------------------------------------------------------

my %serial;    # outcomes, kept for as long as state and operations stay the same

sub rolls_back { return $_[0]{how}[-1] =~ /^ROLLBACK/ }

# What a serial run answers and leaves behind.
sub serial_outcome
{
	my ($run, $first, $absent, @read_only) = @_;
	my @sides = @{ $run->{side} };
	my $key = join ' ', $first, $absent // '-', @read_only, map { rolls_back($_) ? 1 : 0 } @sides;
	return $serial{$key} if defined $serial{$key} && !defined $absent;
	my %serial_run = (
		state => $run->{state}, first => $first, absent => $absent,
		side => [
			map {
				{ %{ $sides[$_] }, read_only => $read_only[$_], how => [ $rc, rolls_back($sides[$_]) ? @rollback : @commit ] }
			} 0,
			1 ]);
	execute(\%serial_run);
	$count{'serial runs'}++;
	return $serial{$key} = $serial_run{outcome};
}

# May it have failed, as if it had not taken place?
sub may_fail
{
	my ($run, $who) = @_;
	my ($side, $other) = @{ $run->{side} }[ $who, 1 - $who ];
	my ($op, $other_op) = map { $_->{op}[0] } $side, $other;

	# PostgreSQL's own rule for those that lock or change a user who was changed
	# since their snapshot.  Nothing that ends or changes sessions is among them; the
	# first of two statements does.
	return
		 $side->{how}[0] eq $rr
	  && @{ $side->{answers} } == @{ $side->{op} } - 1
	  && $locks_user{$op}
	  && $changes_user{$other_op}
	  if ($side->{state} // '') eq '40001';

	# A transaction that has ended a session and then locks the user takes the
	# locks in the other order than one that changes the user.
	return @{ $side->{op} } + @{ $other->{op} } > 4 && ($changes_user{$op} || $changes_user{$other_op})
	  if ($side->{state} // '') eq '40P01';

	# Where there is no row there is nothing to lock, nor to wait for: another one
	# is saved between the two statements.
	return $op eq 'delete_and_save' && $side->{answers}[0] eq 'false' && !$side->{waited_first} && $saves{$other_op}
	  if ($side->{state} // '') eq '23505';
	return 0;
}

sub explained
{
	my ($run) = @_;
	my @sides = @{ $run->{side} };
	foreach my $first (0, 1)
	{
		# What came second when the other was over did not come first; but its
		# snapshot may be older.
		next if $sides[$first]{began_late} && !($sides[$first]{how}[0] eq $rr && $reads{ $sides[$first]{op}[0] });
		foreach my $read_only ([ 0, 0 ], [ 1, 0 ], [ 0, 1 ], [ 1, 1 ])
		{
			next if grep { $read_only->[$_] && !$writes_if_free{ $sides[$_]{op}[0] } } 0, 1;
			return 1 if $run->{outcome} eq serial_outcome($run, $first, undef, @$read_only);
		}
	}
	foreach my $who (0, 1)
	{
		next unless may_fail($run, $who) && $run->{outcome} eq serial_outcome($run, 1 - $who, $who, 0, 0);
		$count{ $run->{side}[$who]{state} }++;
		return 1;
	}
	return 0;
}

# ---- all of it --------------------------------------------------------------

my %violations;    # one for each kind and pair: the first that was met
my @titles;

sub report
{
	my ($run, $kind) = @_;
	my @sides = @{ $run->{side} };
	my $title = "$kind: " . join(', ', map { $_->{op}[0] } @sides);
	push @titles, $title unless $violations{$title};
	$violations{$title}{text} //= join '', "  session $run->{state}; ",
	  join('; ', map { ('A', 'B')[$_] . ' ' . join(', ', @{ $sides[$_]{how} }) } 0, 1), "$run->{trace}\n    left: $run->{outcome}\n",
	  map { '    ' . ('A, B', 'B, A')[$_] . ': ' . serial_outcome($run, $_, undef, 0, 0) . "\n" } 0, 1;
	$violations{$title}{times}++;
	return;
}

sub run_pair
{
	my ($state, @pair) = @_;
	%serial = ();
	foreach my $how (@hows)
	{
		my @wanted;
		while (1)
		{
			my %run = (state => $state, side => [ map { { op => $pair[$_], how => $how->[$_] } } 0, 1 ]);
			my @choices = execute(\%run, @wanted);
			$count{schedules}++;
			report(\%run, 'events') if $run{outcome} =~ /DO NOT ADD UP/;
			report(\%run, 'waits') if grep { $_->{waited_wrongly} } @{ $run{side} };
			report(\%run, (grep { ($_->{state} // '') =~ /^4/ } @{ $run{side} }) ? 'fails' : 'in no order') unless explained(\%run);

			# The next one: the last step that A took and B could have.
			pop @choices while @choices && !($choices[-1][1] && $choices[-1][0] == 0);
			last unless @choices;
			@wanted = ((map { $_->[0] } @choices[ 0 .. $#choices - 1 ]), 1);
		}
	}
	return;
}

# Ids that are not there matter to what saves.
sub matters
{
	my ($state, @names) = @_;
	return @names == grep { $meets_replaced{$_} } @names if $is_replaced{$state};
	return 0 if grep { /^next_/ } @names;
	return grep { $saves{$_} } @names if $state eq 'absent';
	return grep { $meets_guest{$_} } @names if $state eq 'guest';
	return 1;
}

sub run_part
{
	my ($parts, $chosen) = @_;
	my @chosen = grep { !$chosen || ",$chosen," =~ /,$_->[0],/ } @ops;
	my $pair = 0;
	foreach my $i (0 .. $#chosen)
	{
		foreach my $j ($i .. $#chosen)
		{
			next if $pair++ % $parts != $part;
			foreach my $state (@states)
			{
				run_pair($state, $chosen[$i], $chosen[$j]) if matters($state, map { $_->[0] } @chosen[ $i, $j ]);
			}
		}
	}
	print "$_ ($violations{$_}{times} times)\n$violations{$_}{text}" foreach @titles;
	print encode_json(\%count), "\n";
	return;
}

# What a process prints that runs this code beside a database of its own.
sub in_part
{
	my ($node, $n, $code) = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";
	return $out if $pid;
	# None of the END blocks of the test is ours.
	eval { $part = $n; connect_part($node); $code->(); 1 } or print STDERR "interleave: $@";
	STDOUT->flush;
	POSIX::_exit($@ ? 1 : 0);
}

# interleave($node, operations => 'a,b' (else all), parts => n, plant => SQL)
# returns the texts of the violations, and how many there were of what; of the
# failures that are allowed by SQLSTATE.
sub interleave
{
	my ($node, %how) = @_;
	my $parts = $how{parts} // 4;
	make_databases($node, $parts, $how{plant});
	my @outs = map {
		in_part($node, $_, sub { run_part($parts, $how{operations}) })
	} 0 .. $parts - 1;
	my (@violations, %total);
	foreach my $out (@outs)
	{
		my @texts = split /^(?=\S)/m, join '', <$out>;
		close $out or die 'interleave: a part failed';
		my $counted = decode_json(pop @texts);
		$total{$_} += $counted->{$_} foreach keys %$counted;
		push @violations, @texts;
	}
	return (\@violations, \%total);
}

# What each operation does in each state when it is alone, a line for each: the
# oracle's own ground.
sub operations_alone
{
	my ($node, %how) = @_;
	make_databases($node, 1, $how{plant});
	my $out = in_part(
		$node, 0,
		sub {
			foreach my $op (@ops)
			{
				foreach my $state (@states)
				{
					next if ($is_replaced{$state} || $op->[0] =~ /^next_/) && !matters($state, $op->[0]);
					my %run = (
						state => $state, first => 0, absent => 1,
						side => [ { op => $op, how => [ $rc, @commit ] }, { answers => [] } ]);
					execute(\%run);
					print "$op->[0], $state: ", $run{outcome} =~ s/^A: (.*); B: ; /$1; /r, "\n";
				}
			}
		});
	my $text = join '', <$out>;
	close $out or die 'interleave: it failed';
	return $text;
}

1;
