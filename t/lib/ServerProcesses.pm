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
	my $postmaster = $node->{_pid};
	my @pids;
	foreach my $path (glob '/proc/[0-9]*/stat')
	{
		open my $file, '<', $path or next;
		my $stat = <$file> // next;
		push @pids, $1 if $stat =~ /^(\d+) \(.*\) \S (\d+) /s && $2 == $postmaster;
	}
	return @pids;
}

# The others notice, end what they do and exit.
sub kill_postmaster
{
	my ($node) = @_;
	my @children = processes_of($node);
	$node->kill9;
	wait_for_end(@children);
	return;
}

sub kill_server
{
	my ($node) = @_;
	my @children = processes_of($node);
	$node->kill9;
	kill 'KILL', @children;
	wait_for_end(@children);
	return;
}

sub wait_for_end
{
	my @pids = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (grep { kill 0, $_ } @pids)
	{
		die "processes stay: @pids" if time > $until;
		sleep 0.02;
	}
	return;
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
