# Pages of docs/ with their answers, on Debian's own server, for t/first-hour/newcomer.
#
#   pages.pl <page>...

use strict;
use warnings;

# PostgreSQL's modules take it away.
my $port;
BEGIN { $port = $ENV{PGPORT} }

use FindBin;
use Pages;
use Test::More;

# As much of PostgreSQL::Test::Cluster as Pages needs.
package DebiansServer;
sub connstr { return "port=$port dbname=$_[1]" }
sub host { return '/var/run/postgresql' }
sub port { return $port }
sub data_dir { return (glob('/var/lib/postgresql/*/main'))[0] }

package main;

foreach my $page (@ARGV)
{
	run_page(
		bless({}, 'DebiansServer'),
		"$FindBin::RealBin/../../docs/$page.md",
		database => $page eq 'quick-start' ? 'postgres' : 'shop');
}
done_testing();
