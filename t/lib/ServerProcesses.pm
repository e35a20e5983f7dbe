# Killing servers, for the tests of crashes and failover.

package ServerProcesses;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(processes_of kill_postmaster kill_server start_again);

# All children of a postmaster.
sub processes_of
{
	my ($node) = @_;
	my @stats = map {
		eval { slurp_file($_) }
		  // ()
	} glob '/proc/[0-9]*/stat';
	return map { /^(\d+) \(.*\) \S $node->{_pid} /s ? $1 : () } @stats;
}

# The others notice, end what they do and exit.
sub kill_postmaster
{
	my ($node, $signal) = @_;
	my @children = processes_of($node);
	$node->kill9;
	kill 'KILL', @children if $signal;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (grep { kill 0, $_ } @children)
	{
		die "processes stay: @children" if time > $until;
		sleep 0.02;
	}
	return;
}

sub kill_server
{
	return kill_postmaster(@_, 'KILL');
}

# A process that was forked in the moment of death may still hold the shared
# memory for an instant.
sub start_again
{
	my ($node) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($node->start(fail_ok => 1))
	{
		die 'does not start' if time > $until;
		sleep 0.1;
	}
	return;
}

1;
