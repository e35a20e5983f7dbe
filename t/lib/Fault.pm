# Servers that run out of memory or disk on demand: fault.c, built and preloaded.

package Fault;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

our @EXPORT = qw(build_fault start_with_fault fill_disk empty_disk);

my ($library, $control);

sub build_fault
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	$library = "$dir/fault.so";
	$control = "$dir/full";
	chomp(my $headers = `pg_config --includedir-server`);
	system_or_bail(
		'cc', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-O1', '-isystem', $headers,
		dirname(__FILE__) . '/fault.c', '-o', $library);
	return $library;
}

sub start_with_fault
{
	my ($node) = @_;
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{FAULT_DISK} = $control;
	$node->start;
	return;
}

# No file grows any more whose path has this part.
sub fill_disk
{
	append_to_file("$control.new", $_[0]);
	rename "$control.new", $control or die "$control: $!";
	return;
}

sub empty_disk
{
	unlink $control or die "$control: $!";
	return;
}

1;
