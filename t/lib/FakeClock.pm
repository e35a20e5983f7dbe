# A clock for servers that a test sets: libfaketime's.

package FakeClock;

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;

sub new
{
	my ($class) = @_;
	my ($library) = glob '/usr/lib/*/faketime/libfaketime.so.1';
	die 'libfaketime is not installed' unless $library;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	system_or_bail('gcc', '-shared', '-fPIC', '-o', "$folder/plain_select.so", "$FindBin::RealBin/data/plain_select.c");
	return bless { file => "$folder/clock", preload => "$folder/plain_select.so $library" }, $class;
}

# Seconds since 1970, with a fraction or not, or an offset as libfaketime reads it.
# By renaming: a process that reads half a time ends.
sub set
{
	my ($self, $text) = @_;
	my $file = $self->{file};
	open my $new, '>', "$file.new" or die "$file.new: $!";
	print $new "$text\n";
	close $new or die "$file.new: $!";
	rename "$file.new", $file or die "$file: $!";
	return;
}

# For the environment in which a server starts.
sub environment
{
	my ($self) = @_;
	return (
		LD_PRELOAD => $self->{preload},
		FAKETIME_TIMESTAMP_FILE => $self->{file},
		FAKETIME_NO_CACHE => 1,
		FAKETIME_FMT => '%s',
		FAKETIME_DONT_FAKE_MONOTONIC => 1,
		TZ => 'UTC');
}

1;
