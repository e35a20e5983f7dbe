# Clients that log in, validate, extend, rotate, change and log out, each on its
# own sessions, and keep a SessionJournal of it.

package SessionLoad;

use strict;
use warnings;

use Digest::SHA             qw(sha256_hex);
use POSIX                   ();
use PostgreSQL::Test::Utils ();
use SessionJournal;
use Time::HiRes qw(sleep time);

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
		%how },
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
	PostgreSQL::Test::Utils::append_to_file($self->{stop}, '');
	foreach my $pid (splice @{ $self->{pids} })
	{
		waitpid($pid, 0);
		die 'a client died' if $?;
	}
	$self->{journal}->collect;
	return;
}

# ---- one client -------------------------------------------------------------

sub run
{
	my ($self, $client) = @_;
	my $file = $self->{journal}->open_for_client($client);
	my $known = $self->{journal}{sessions};
	# Its sessions are those whose token is known.
	my $c = {
		%$self,
		client => $client,
		dead => [],
		sessions => { map { $_ => $known->{$_} } grep { /^c$client-/ && $known->{$_}{token} } keys %$known } };
	my ($dbh, $n);
	srand();
	until (-e $self->{stop})
	{
		$dbh //= $self->connected;
		if (!$dbh)
		{
			last unless $self->{reconnect};
			sleep 0.02;
			next;
		}
		my ($op, $guess, $do) = next_op($c);
		my %id = (n => ++$n, op => $op);
		SessionJournal::note($file, 'begin', %id, changes => $guess);
		my ($changes, @dead) = eval { $do->($dbh) };
		my ($error, $state) = ($@, $dbh->state);
		# DBD::Pg keeps to itself with which state a commit failed.
		$state = '57014' if !$changes && $error =~ /^DBD::Pg::db commit failed: ERROR:  canceling statement due to/;
		if ($changes)
		{
			SessionJournal::note($file, 'ack', %id, changes => $changes, dead => \@dead);
			SessionJournal::change($c->{sessions}, $changes);
			push @{ $c->{dead} }, @dead;
		}
		elsif ($state && $state ne '00000' && ($state =~ /^(08|57P|S8006|22000)/ || !$dbh->ping))
		{
			# Nobody knows what became of them.
			delete @{ $c->{sessions} }{ keys %$guess };
			eval { $dbh->disconnect };
			undef $dbh;
			last unless $self->{reconnect};
		}
		else
		{
			# Without a state the error is not the server's, but that of its answer.
			my $told = $state && $state ne '00000';
			eval { $dbh->rollback } unless $dbh->{AutoCommit};
			SessionJournal::note($file, 'fail', %id, state => $state) if $told;
			SessionJournal::note($file, 'wrong', text => "$op: $state $error") unless $told && grep { $_ eq $state } @{ $self->{allow} };
			delete @{ $c->{sessions} }{ keys %$guess } unless $told;
		}
	}
	return;
}

sub connected
{
	my ($self) = @_;
	my $dbh = eval { SessionJournal::connect_to($self->{connstr}, $self->{pooled}) } or return;
	return (eval { $dbh->do($_) foreach @{ $self->{settings} }; 1 }) ? $dbh : undef;
}

# ---- operations -------------------------------------------------------------
#
# Each takes a client and a user of its own, and returns what it may change until
# the answer is there, and how it is done: by a function that returns what it did
# change and which tokens it ended, or dies.

my %share = (
	create => 10, save => 10, validate => 15, validate_dead => 5, extend => 20, make_due => 8,
	rotate => 12, invalidate => 10, logout => 4, change_data => 6, swap => 6, roll_back => 4);
my @shares = map { ($_) x $share{$_} } sort keys %share;

# Its name, and what it returned.
sub next_op
{
	my ($c) = @_;
	my @users = keys %{ $c->{sessions} };
	my $op = $shares[ rand @shares ];
	$op = 'create' if @users < 5 && $op ne 'save' || $op eq 'validate_dead' && !@{ $c->{dead} };
	$op = 'invalidate' if @users > 60 && $op =~ /^(create|save)$/;
	if ($op eq 'extend' || $op eq 'validate')
	{
		# A session is due once half of its thirty days are over.
		my %due = map { $_ => $c->{sessions}{$_}{expires} < (time + 15 * 86_400) * 1_000_000 } @users;
		@users = grep { $op eq 'extend' ? $due{$_} : !$due{$_} } @users;
		$op = 'save' unless @users;
	}
	my $user = @users ? $users[ rand @users ] : undef;
	return ($op, __PACKAGE__->can($op)->($c, $user, $user && $c->{sessions}{$user}));
}

sub new_user
{
	my ($c) = @_;
	return sprintf 'c%d-%d-%d', $c->{client}, $c->{load}, ++$c->{users};
}

sub new_token
{
	return join '', map { ('a' .. 'z', '2' .. '7')[ rand 32 ] } 1 .. 32;
}

sub soon
{
	return (int(time) + 10 * 86_400) * 1_000_000;
}

# A session's row, or death: of this user and no other.
sub the_row
{
	my ($dbh, $user, $call, @values) = @_;
	my $rows = $dbh->selectall_arrayref(
		$dbh->prepare_cached("SELECT *, (extract(epoch FROM expires_at) * 1000000)::bigint AS expires FROM narvik_$call"),
		{ Slice => {} }, @values);
	die @$rows . " rows for $user\n" if @$rows != 1;
	die "the session of another for $user\n" if $rows->[0]{user_id} ne $user;
	return $rows->[0];
}

# All is known before but whether the server says yes.
sub told
{
	my ($changes, $dead, $sql, @values) = @_;
	return (
		$changes,
		sub {
			my ($dbh) = @_;
			my ($answer) = $dbh->selectrow_array($dbh->prepare_cached("SELECT $sql"), {}, @values);
			die join(' ', keys %$changes) . ": answered no\n" unless $answer;
			return ($changes, @$dead);
		});
}

# A new token, that only the server knows before.
sub created
{
	my ($user, $expires, $n, $old, @call) = @_;
	return (
		{ $user => { id => '?', expires => $expires, n => $n } },
		sub {
			my $row = the_row($_[0], $user, @call);
			return ({ $user => { n => $n, map { $_ => $row->{$_} } qw(token id expires) } }, $old ? $old->{token} : ());
		});
}

sub create
{
	my $user = new_user($_[0]);
	return created($user, '?', 0, undef, 'create_session(?, ?)', $user, '{"n": 0}');
}

sub rotate
{
	my ($c, $user, $old) = @_;
	return created($user, $old->{expires}, $old->{n}, $old, 'rotate_session(?)', $old->{token});
}

# The client sees the new token, which never comes to life.
sub roll_back
{
	my ($c, $user, $old) = @_;
	return (
		{},
		sub {
			my ($dbh) = @_;
			$dbh->begin_work;
			my $row = the_row($dbh, $user, 'rotate_session(?)', $old->{token});
			$dbh->rollback;
			return ({}, $row->{token});
		});
}

# Due from the beginning.
sub save_as
{
	my ($user, $session) = @_;
	return told(
		{ $user => $session }, [],
		q{narvik_save_session(?, ?, to_timestamp(?), '{"n": 0}') IS NOT NULL},
		$session->{id}, $user, $session->{expires} / 1_000_000);
}

sub do_save
{
	my ($dbh, $user, $session) = @_;
	return (save_as($user, $session))[1]->($dbh);
}

sub save
{
	my $token = new_token();
	return save_as(new_user($_[0]), { token => $token, id => sha256_hex($token), n => 0, expires => soon() });
}

sub validate
{
	my ($c, $user, $old) = @_;
	return (
		{},
		sub {
			my $row = the_row($_[0], $user, 'validate_session(?)', $old->{token});
			die "$user: other than it was\n" if $row->{extended} || $row->{id} ne $old->{id} || $row->{expires} != $old->{expires};
			return {};
		});
}

sub extend
{
	my ($c, $user, $old) = @_;
	return (
		{ $user => { %$old, expires => '?' } },
		sub {
			my $row = the_row($_[0], $user, 'validate_session(?)', $old->{token});
			return {} if $c->{contended} && $row->{due} && !$row->{extended} && $row->{expires} == $old->{expires};
			die "$user: not extended\n" unless $row->{extended} && $row->{expires} > $old->{expires};
			return { $user => { %$old, expires => $row->{expires} } };
		});
}

sub validate_dead
{
	my ($c) = @_;
	my $token = $c->{dead}[ rand @{ $c->{dead} } ];
	return told({}, [], 'NOT EXISTS (SELECT FROM narvik_validate_session(?))', $token);
}

sub make_due
{
	my ($c, $user, $old) = @_;
	my $expires = soon();
	return told(
		{ $user => { %$old, expires => $expires } }, [],
		'narvik_update_session_expiry(?, to_timestamp(?))', $old->{id}, $expires / 1_000_000);
}

sub invalidate
{
	my ($c, $user, $old) = @_;
	return told({ $user => undef }, [ $old->{token} ], 'narvik_invalidate_session(?)', $old->{id});
}

sub logout
{
	my ($c, $user, $old) = @_;
	return told({ $user => undef }, [ $old->{token} ], 'narvik_delete_sessions_for_user(?) = 1', $user);
}

sub change_data
{
	my ($c, $user, $old) = @_;
	my $n = $old->{n} + 1;
	return told({ $user => { %$old, n => $n } }, [], q{(narvik_update_session_data(?, ?))->>'n' = ?}, $old->{id}, qq({"n": $n}), $n);
}

# One session ends and another begins, in one transaction.
sub swap
{
	my ($ends, $end, $begins, $begin) = (invalidate(@_), save(@_));
	my %changes = (%$ends, %$begins);
	return (
		\%changes,
		sub {
			my ($dbh) = @_;
			$dbh->begin_work;
			my (undef, @dead) = $end->($dbh);
			$begin->($dbh);
			$dbh->commit;
			return (\%changes, @dead);
		});
}

1;
