# PgBouncer in transaction mode, on a socket of its own, before a server's role app.

package Pooler;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

my @running;

# Settings beside these are lines of its configuration.
sub new
{
	my ($class, $node, @settings) = @_;
	my $pgbouncer = (grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin')[0]
	  or die "pgbouncer is not installed\n";
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file(
		"$dir/pgbouncer.ini", join "\n",
		'[databases]', "* = host=@{[$node->host]} port=@{[$node->port]} user=app",
		'[pgbouncer]', 'listen_addr =', "listen_port = $port", "unix_socket_dir = $dir", 'auth_type = any',
		'pool_mode = transaction', 'server_reset_query =', "logfile = $dir/pgbouncer.log", "pidfile = $dir/pgbouncer.pid",
		@settings, '');
	my $self = bless { dir => $dir, port => $port, pid => $$ }, $class;
	$self->{process} = IPC::Run::start([ $pgbouncer, '-q', "$dir/pgbouncer.ini" ], '<', \undef, '>', "$dir/out", '2>', "$dir/err");
	push @running, $self;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	until (run_log([ 'psql', '-XAtq', '-d', $self->connstr('postgres'), '-c', 'SELECT 1' ], '>', \my $out, '2>', \my $err))
	{
		die 'no pooler' if time > $until;
		sleep 0.1;
	}
	return $self;
}

sub connstr
{
	my ($self, $database, $user) = @_;
	$user //= 'app';
	return "host=$self->{dir} port=$self->{port} dbname=$database user=$user";
}

sub stop
{
	my ($self) = @_;
	$self->{process}->signal('INT');
	$self->{process}->finish;
	delete $self->{process};
	return;
}

# Not those of a process that the test forked.
END
{
	local $?;
	$_->{process}->kill_kill(grace => 5) foreach grep { $_->{process} && $_->{pid} == $$ } @running;
}

1;
