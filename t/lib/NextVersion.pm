# A version of narvik that comes next, made up: the library says its number, and the
# script adds a function and a column.  It is installed into a copy of PostgreSQL, as
# whoever installs a package does, over the version that is there.

package NextVersion;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

our @EXPORT = qw(copy_of_postgresql install_next_version this_version next_version);

my $sources = dirname(abs_path(__FILE__)) . '/../..';
my ($major, $minor) = slurp_file("$sources/narvik.control") =~ /^default_version = '(\d+)\.(\d+)'$/m;

sub this_version { return "$major.$minor" }
sub next_version { return "$major." . ($minor + 1) }

# With the narvik that is tested; the folder above its bin.
sub copy_of_postgresql
{
	my $copy = PostgreSQL::Test::Utils::tempdir();
	my ($root, $version) = `pg_config --bindir` =~ m{^(.*)/usr/lib/postgresql/(\d+)/bin$};
	# pg_config finds what belongs to it as long as the folders are named alike.
	my @folders = map { "usr/$_" } "lib/postgresql/$version", "share/postgresql/$version", 'include/postgresql';
	system_or_bail('env', '-C', "$root/", 'cp', '-a', '--parents', @folders, $copy);
	return "$copy/usr/lib/postgresql/$version";
}

my $code = q{
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(narvik_library);

Datum
narvik_library(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(NARVIK_VERSION));
}
};

my $script = q{
CREATE FUNCTION narvik_library() RETURNS text
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'narvik_library';
REVOKE ALL ON FUNCTION narvik_library() FROM PUBLIC;
COMMENT ON FUNCTION narvik_library() IS 'version of the library';
ALTER TABLE narvik_sessions ADD COLUMN label text;
COMMENT ON COLUMN narvik_sessions.label IS 'what a user calls the session';
};

# Only what has changed is compiled.
sub install_next_version
{
	my ($postgresql) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my ($this, $next) = (this_version(), next_version());
	my $update = "narvik--$this--$next.sql";

	system_or_bail(
		'cp', '-a', (map { "$sources/$_" } 'src', 'Makefile', 'META.json', 'narvik.control'),
		(glob "$sources/narvik{--*.sql,.so}"), $dir);
	append_to_file("$dir/src/narvik.c", $code);
	append_to_file("$dir/$update", $script);
	system_or_bail('sed', '-i', "s/\\(^ *\"version\": \"\\)$this\\..*\"/\\1$next.0\"/", "$dir/META.json");
	system_or_bail('sed', '-i', "s/^default_version = .*/default_version = '$next'/", "$dir/narvik.control");
	system_or_bail('sed', '-i', "s/^DATA = .*/& $update/", "$dir/Makefile");
	delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
	system_or_bail('make', '-s', '-C', $dir, 'with_llvm=no', "PG_CONFIG=$postgresql/bin/pg_config", 'all', 'install');
	return;
}

1;
