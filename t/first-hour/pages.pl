# Pages of docs/ with their answers, on Debian's own server, for t/first-hour/newcomer.
#
#   pages.pl <page>...

use strict;
use warnings;

use FindBin;
use Pages;
use Test::More;

# As much of PostgreSQL::Test::Cluster as Pages needs.
package DebiansServer;
sub connstr { return "dbname=$_[1]" }
sub host { return '/var/run/postgresql' }
sub port { return 5432 }
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
