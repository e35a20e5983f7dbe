# Clients that log in, validate, extend, rotate, change and log out, each on its
# own sessions, and keep a SessionJournal of it.

package SessionLoad;

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use POSIX ();
use PostgreSQL::Test::Utils ();
use SessionJournal;
use Time::HiRes qw(sleep time);

my $day = 86_400 * 1_000_000;

# start($journal, connstr => ..., options):
#	clients		how many, 8
#	settings	SQL that every connection begins with
#	reconnect	a client whose connection broke makes another; else it ends
#	allow		SQLSTATEs that an operation may fail with
#	pooled		connections go through a pooler
#	contended	others lock the table, or cannot write, so that an extension is left for later
sub start
{
	my ($journal, %how) = @_;
	my $self = bless {
		journal => $journal,
		load => ++$journal->{loads},
		stop => PostgreSQL::Test::Utils::tempdir() . '/stop',
		settings => [],
		allow => [],
		clients => 8,
		%how
	  },
	  __PACKAGE__;
	foreach my $client (1 .. $self->{clients})
	{
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			# None of the END blocks of the test, nor of its modules, is ours.
			eval { $self->run($client); 1 } or print STDERR "client $client: $@";
			POSIX::_exit($@ ? 1 : 0);
		}
		push @{ $self->{pids} }, $pid;
	}
	return $self;
}

# Until this many operations have been acknowledged in this load, or failed.
sub wait_for
{
	my ($self, $operations, $kind) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while ($self->{journal}->size($kind) < $operations)
	{
		die 'the clients do not get on' if time > $until;
		sleep 0.05;
	}
	return;
}

# Wait for the clients' end, and read their journals.
sub finish
{
	my ($self) = @_;
	open my $file, '>', $self->{stop} or die "$self->{stop}: $!";
	close $file;
	my $bad = 0;
	foreach my $pid (splice @{ $self->{pids} })
	{
		waitpid($pid, 0);
		$bad++ if $?;
	}
	die "$bad clients died" if $bad;
	$self->{journal}->collect;
	return;
}

# ---- one client -------------------------------------------------------------

sub run
{
	my ($self, $client) = @_;
	my $journal = $self->{journal};
	srand();
	my $file = $journal->open_for_client($client);
	my $known = $journal->{sessions};
	my $c = {
		client => $client,
		load => $self->{load},
		contended => $self->{contended},
		n => 0,
		# Those whose token is known.
		sessions => { map { $_ => $known->{$_} } grep { /^c$client-/ && $known->{$_}{token} } keys %$known },
		dead => []
	};
	my $dbh;
	until (-e $self->{stop})
	{
		$dbh //= $self->connected;
		if (!$dbh)
		{
			last unless $self->{reconnect};
			sleep 0.02;
			next;
		}
		my $op = next_op($c);
		my %id = (n => ++$c->{n}, op => $op->{op});
		SessionJournal::note($file, 'begin', %id, changes => $op->{guess});
		my $answer = eval { $op->{run}->($dbh) };
		my ($error, $state) = ($@, $dbh->state);
		# DBD::Pg keeps to itself with which state a commit failed.
		$state = '57014' if !$answer && $error =~ /^DBD::Pg::db commit failed: ERROR:  canceling statement due to/;
		if ($answer)
		{
			SessionJournal::note($file, 'ack', %id, %$answer);
			remember($c, $answer);
		}
		elsif (!$state || $state eq '00000')
		{
			# Not the server's error, but that of its answer.
			eval { $dbh->rollback } unless $dbh->{AutoCommit};
			SessionJournal::note($file, 'wrong', text => "$id{op}: $error");
			set_aside($c, $op);
		}
		elsif ($state =~ /^(08|57P|S8006|22000)/ || !$dbh->ping)
		{
			eval { $dbh->disconnect };
			undef $dbh;
			set_aside($c, $op);
			last unless $self->{reconnect};
		}
		else
		{
			eval { $dbh->rollback } unless $dbh->{AutoCommit};
			SessionJournal::note($file, 'fail', %id, state => $state);
			SessionJournal::note($file, 'wrong', text => "$id{op}: $state $error") unless grep { $_ eq $state } @{ $self->{allow} };
		}
	}
	return;
}

sub connected
{
	my ($self) = @_;
	my $dbh = eval { SessionJournal::connect_to($self->{connstr}, $self->{pooled}) } or return;
	foreach my $setting (@{ $self->{settings} })
	{
		eval { $dbh->do($setting) } or return;
	}
	return $dbh;
}

sub remember
{
	my ($c, $answer) = @_;
	my $changes = $answer->{changes};
	foreach my $user (keys %$changes)
	{
		if ($changes->{$user}) { $c->{sessions}{$user} = $changes->{$user} }
		else { delete $c->{sessions}{$user} }
	}
	push @{ $c->{dead} }, @{ $answer->{dead} // [] };
	return;
}

# Nobody knows what became of them.
sub set_aside
{
	my ($c, $op) = @_;
	delete $c->{sessions}{$_} foreach keys %{ $op->{guess} };
	return;
}

# ---- operations -------------------------------------------------------------
#
# Each is its name, what it may change until the answer is there, and how it is
# done: by a function that returns what it did change and which tokens it ended,
# or dies.

my %share = (
	create => 10, save => 10, validate => 15, validate_dead => 5, extend => 20, make_due => 8,
	rotate => 12, invalidate => 10, logout => 4, change_data => 6, swap => 6, roll_back => 4);
my @shares = map { ($_) x $share{$_} } sort keys %share;
my %needs_no_session = map { $_ => 1 } qw(create save);

sub next_op
{
	my ($c) = @_;
	my @users = keys %{ $c->{sessions} };
	my $op = $shares[ rand @shares ];
	$op = 'create' if @users < 5 && !$needs_no_session{$op};
	$op = 'invalidate' if @users > 60 && $needs_no_session{$op};
	my $user = $users[ rand @users ] if @users;
	if ($op eq 'extend' || $op eq 'validate')
	{
		# A session is due once half of its thirty days are over.
		my @due = grep { $c->{sessions}{$_}{expires} < (time + 14 * 86_400) * 1_000_000 } @users;
		$op = 'save' if $op eq 'extend' && !@due;
		$user = $due[ rand @due ] if $op eq 'extend';
		return validate($c, $user) if $op eq 'validate';
	}
	$op = 'create' if $op eq 'validate_dead' && !@{ $c->{dead} };
	my $make = __PACKAGE__->can($op);
	return $make->($c, $user);
}

sub new_user
{
	my ($c) = @_;
	return sprintf 'c%d-%d-%d', $c->{client}, $c->{load}, ++$c->{users};
}

sub new_token
{
	my @letters = ('a' .. 'z', '2' .. '7');
	return join '', map { $letters[ rand @letters ] } 1 .. 32;
}

# A session's row, or death: of this user and no other.
sub the_row
{
	my ($dbh, $user, $sql, @values) = @_;
	my $rows = $dbh->selectall_arrayref($dbh->prepare_cached($sql), { Slice => {} }, @values);
	die @$rows . " rows for $user\n" if @$rows != 1;
	die "the session of another for $user\n" if $rows->[0]{user_id} ne $user;
	return $rows->[0];
}

my $columns = 'id, user_id, extended, (extract(epoch FROM expires_at) * 1000000)::bigint AS expires';

sub create
{
	my ($c) = @_;
	my $user = new_user($c);
	return {
		op => 'create',
		guess => { $user => { id => '?', expires => '?', n => 0 } },
		run => sub {
			my $row = the_row($_[0], $user, "SELECT token, $columns FROM narvik_create_session(?, ?)", $user, '{"n": 0}');
			return { changes => { $user => { n => 0, map { $_ => $row->{$_} } qw(token id expires) } } };
		}
	};
}

# Due from the beginning.
sub saved_session
{
	my $token = new_token();
	return { token => $token, id => sha256_hex($token), n => 0, expires => (int(time) + 10 * 86_400) * 1_000_000 };
}

sub do_save
{
	my ($dbh, $user, $session) = @_;
	$dbh->selectrow_array($dbh->prepare_cached('SELECT narvik_save_session(?, ?, to_timestamp(?), ?)'),
		{}, $session->{id}, $user, $session->{expires} / 1_000_000, '{"n": 0}');
	return;
}

sub save
{
	my ($c) = @_;
	my $user = new_user($c);
	my $session = saved_session();
	my $changes = { $user => $session };
	return { op => 'save', guess => $changes, run => sub { do_save($_[0], $user, $session); return { changes => $changes } } };
}

sub validate
{
	my ($c, $user) = @_;
	my $old = $c->{sessions}{$user};
	return extend($c, $user) if $old->{expires} < (time + 16 * 86_400) * 1_000_000;
	return {
		op => 'validate',
		guess => {},
		run => sub {
			my $row = the_row($_[0], $user, "SELECT $columns FROM narvik_validate_session(?)", $old->{token});
			die "$user: other than it was\n" if $row->{extended} || $row->{id} ne $old->{id} || $row->{expires} != $old->{expires};
			return { changes => {} };
		}
	};
}

sub extend
{
	my ($c, $user) = @_;
	my $old = $c->{sessions}{$user};
	return {
		op => 'extend',
		guess => { $user => { %$old, expires => '?' } },
		run => sub {
			my $row = the_row($_[0], $user, "SELECT $columns, due FROM narvik_validate_session(?)", $old->{token});
			return { changes => {} } if $c->{contended} && $row->{due} && !$row->{extended} && $row->{expires} == $old->{expires};
			die "$user: not extended\n" unless $row->{extended} && $row->{expires} > $old->{expires};
			return { changes => { $user => { %$old, expires => $row->{expires} } } };
		}
	};
}

sub validate_dead
{
	my ($c) = @_;
	my $token = $c->{dead}[ rand @{ $c->{dead} } ];
	return {
		op => 'validate_dead',
		guess => {},
		run => sub {
			my $rows = $_[0]->selectall_arrayref($_[0]->prepare_cached('SELECT user_id FROM narvik_validate_session(?)'), {}, $token);
			die "a dead token is valid, of $rows->[0][0]\n" if @$rows;
			return { changes => {} };
		}
	};
}

sub must_be_true
{
	my ($dbh, $what, $sql, @values) = @_;
	my ($answer) = $dbh->selectrow_array($dbh->prepare_cached($sql), {}, @values);
	die "$what: answered no\n" unless $answer;
	return;
}

sub make_due
{
	my ($c, $user) = @_;
	my $changes = { $user => { %{ $c->{sessions}{$user} }, expires => (int(time) + 10 * 86_400) * 1_000_000 } };
	my $new = $changes->{$user};
	return {
		op => 'make_due',
		guess => $changes,
		run => sub {
			must_be_true($_[0], $user, 'SELECT narvik_update_session_expiry(?, to_timestamp(?))', $new->{id}, $new->{expires} / 1_000_000);
			return { changes => $changes };
		}
	};
}

my $rotate_sql = "SELECT token, $columns FROM narvik_rotate_session(?)";

sub rotate
{
	my ($c, $user) = @_;
	my $old = $c->{sessions}{$user};
	return {
		op => 'rotate',
		guess => { $user => { id => '?', expires => $old->{expires}, n => $old->{n} } },
		run => sub {
			my $row = the_row($_[0], $user, $rotate_sql, $old->{token});
			return {
				changes => { $user => { n => $old->{n}, map { $_ => $row->{$_} } qw(token id expires) } },
				dead => [ $old->{token} ]
			};
		}
	};
}

sub invalidate
{
	my ($c, $user) = @_;
	my $old = $c->{sessions}{$user};
	my %answer = (changes => { $user => undef }, dead => [ $old->{token} ]);
	return {
		op => 'invalidate',
		guess => $answer{changes},
		run => sub {
			must_be_true($_[0], $user, 'SELECT narvik_invalidate_session(?)', $old->{id});
			return \%answer;
		}
	};
}

sub logout
{
	my ($c, $user) = @_;
	my $op = invalidate($c, $user);
	my $token = $c->{sessions}{$user}{token};
	$op->{op} = 'logout';
	$op->{run} = sub {
		must_be_true($_[0], $user, 'SELECT narvik_delete_sessions_for_user(?) = 1', $user);
		return { changes => $op->{guess}, dead => [$token] };
	};
	return $op;
}

sub change_data
{
	my ($c, $user) = @_;
	my $old = $c->{sessions}{$user};
	my $n = $old->{n} + 1;
	my $changes = { $user => { %$old, n => $n } };
	return {
		op => 'change_data',
		guess => $changes,
		run => sub {
			must_be_true($_[0], $user, q{SELECT (narvik_update_session_data(?, ?))->>'n' = ?}, $old->{id}, qq({"n": $n}), $n);
			return { changes => $changes };
		}
	};
}

# One session ends and another begins, in one transaction.
sub swap
{
	my ($c, $user) = @_;
	my $end = invalidate($c, $user);
	my $begin = save($c);
	my $changes = { %{ $end->{guess} }, %{ $begin->{guess} } };
	return {
		op => 'swap',
		guess => $changes,
		run => sub {
			my ($dbh) = @_;
			$dbh->begin_work;
			my $answer = $end->{run}->($dbh);
			$begin->{run}->($dbh);
			$dbh->commit;
			return { changes => $changes, dead => $answer->{dead} };
		}
	};
}

# The client sees the new token, which never comes to life.
sub roll_back
{
	my ($c, $user) = @_;
	my $old = $c->{sessions}{$user};
	return {
		op => 'roll_back',
		guess => {},
		run => sub {
			my ($dbh) = @_;
			$dbh->begin_work;
			my $row = the_row($dbh, $user, $rotate_sql, $old->{token});
			$dbh->rollback;
			return { changes => {}, dead => [ $row->{token} ] };
		}
	};
}

1;
