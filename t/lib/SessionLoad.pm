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
		# DBD::Pg keeps to itself with which state a commit or a rollback failed.
		$state = '57014' if !$changes && $error =~ /^DBD::Pg::db (commit|rollback) failed: ERROR:  canceling statement due to/;
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
			# A rollback can be cancelled, too, and leaves the transaction as it is.
			if (!$dbh->{AutoCommit} && !eval { $dbh->rollback; 1 })
			{
				eval { $dbh->disconnect };
				undef $dbh;
			}
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
# Each is on a session of the client's own: how many in a hundred, a statement that
# answers one row if it is done, and what the session is then, if another: '?' is what
# only the server knows before, and nothing at all means that it is gone.

my $times = join ', ', map { "(extract(epoch FROM ${_}_at) * 1000000)::bigint AS $_" } 'expires', 'active';
my $validate = "SELECT *, $times FROM narvik_validate_session(:token)";
my $rotate = "SELECT *, $times FROM narvik_rotate_session(:token)";
my $invalidate = 'SELECT true WHERE narvik_invalidate_session(:id)';
my $save = q{SELECT narvik_save_session(:new_id, :new_user, to_timestamp(:soon / 1000000.0), '{"n": 0}')};
my %operations = (
	create => [
		10, qq{SELECT *, $times FROM narvik_create_session(:new_user, '{"n": 0}')},
		sub { return (id => '?', token => '?', expires => '?', active => '?', n => 0) } ],
	save => [ 10, $save, sub { return saved(@_) } ],
	# Its use may be noted.
	validate => [ 15, "$validate WHERE NOT extended", sub { return (%{ $_[0] }, active => '?') } ],
	validate_dead => [ 5, 'SELECT true WHERE NOT EXISTS (SELECT FROM narvik_validate_session(:dead))' ],
	extend => [ 20, "$validate WHERE extended OR due", sub { return (%{ $_[0] }, expires => '?', active => '?') } ],
	# Noted if that is later than before.
	make_due => [
		8, 'SELECT true WHERE narvik_update_session_expiry(:id, to_timestamp(:soon / 1000000.0))',
		sub { return (%{ $_[0] }, expires => $_[1]{soon}, active => '?') } ],
	rotate => [ 12, $rotate, sub { return (%{ $_[0] }, id => '?', token => '?') } ],
	invalidate => [ 10, $invalidate, sub { return } ],
	logout => [ 4, 'SELECT true WHERE narvik_delete_sessions_for_user(:user) = 1', sub { return } ],
	change_data => [
		6, q{SELECT true WHERE narvik_update_session_data(:id, jsonb_build_object('n', :n::int + 1))->>'n' = (:n::int + 1)::text},
		sub { return (%{ $_[0] }, n => $_[0]{n} + 1) } ],
	# One session ends and another begins, in one transaction.
	swap => [ 6, $invalidate, sub { return }, $save ],
	# The client sees the new token, which never comes to life.
	roll_back => [ 4, $rotate ]);
my @shares = map { ($_) x $operations{$_}[0] } sort keys %operations;

# Its name, what it may change until the answer is there, and how it is done: by a
# function that returns what it did change and which tokens it ended, or dies.
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
	my (undef, $sql, $becomes, $then) = @{ $operations{$op} };
	my $token = new_token();
	my %value = (
		new_user => sprintf('c%d-%d-%d', $c->{client}, $c->{load}, ++$c->{users}),
		new_token => $token, new_id => sha256_hex($token),
		soon => (int(time) + 10 * 86_400) * 1_000_000,
		dead => $c->{dead}[ rand @{ $c->{dead} } ]);
	my $user = $sql =~ /:new_user/ ? $value{new_user} : $users[ rand @users ];
	my $old = $c->{sessions}{$user};
	%value = (%value, user => $user, %{ $old // {} });
	my %session = $becomes ? $becomes->($old, \%value) : ();
	my %changes = $becomes ? ($user => %session ? \%session : undef) : ();
	$changes{ $value{new_user} } = { saved($old, \%value) } if $then;

	return (
		$op,
		\%changes,
		sub {
			my ($dbh) = @_;
			$dbh->begin_work if $then || $op eq 'roll_back';
			my $row = one_row($dbh, $user, $sql, \%value);
			one_row($dbh, $value{new_user}, $then, \%value) if $then;
			return ({}, $row->{token}) if $op eq 'roll_back' && $dbh->rollback;
			$dbh->commit if $then;
			die "$user: another session\n" if $op =~ /^(validate|extend)$/ && $row->{id} ne $old->{id};
			die "$user: other than it was\n" if $op eq 'validate' && $row->{expires} != $old->{expires};

			if ($op eq 'extend')
			{
				return {} if $c->{contended} && $row->{due} && !$row->{extended} && $row->{expires} == $old->{expires};
				die "$user: not extended\n" unless $row->{extended} && $row->{expires} > $old->{expires};
			}
			return {} unless $becomes;
			my $now = %session ? { map { $_ => $session{$_} eq '?' ? $row->{$_} // '?' : $session{$_} } keys %session } : undef;
			my $ended = $old && !($now && $now->{token} eq $old->{token});
			return ({ %changes, $user => $now }, $ended ? $old->{token} : ());
		});
}

# Due from the beginning.
sub saved
{
	my ($old, $value) = @_;
	return (token => $value->{new_token}, id => $value->{new_id}, n => 0, expires => $value->{soon}, active => '?');
}

sub do_save
{
	my ($dbh, $user, $session) = @_;
	return one_row($dbh, $user, $save, { new_id => $session->{id}, new_user => $user, soon => $session->{expires} });
}

sub new_token
{
	return join '', map { ('a' .. 'z', '2' .. '7')[ rand 32 ] } 1 .. 32;
}

# The row, of this user and no other, or death.  The names in the statement stand for values.
sub one_row
{
	my ($dbh, $user, $sql, $value) = @_;
	my @values;
	$sql =~ s/(?<!:):(\w+)/push @values, $value->{$1}; '?'/ge;
	my $rows = $dbh->selectall_arrayref($dbh->prepare_cached($sql), { Slice => {} }, @values);
	die @$rows . " rows for $user\n" if @$rows != 1;
	die "the session of another for $user\n" if exists $rows->[0]{user_id} && $rows->[0]{user_id} ne $user;
	return $rows->[0];
}

1;
