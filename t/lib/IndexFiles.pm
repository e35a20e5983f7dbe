# Which indexes of narvik_sessions have been rebuilt.

package IndexFiles;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(index_files rebuilt);

# The file of each, by name.
sub index_files
{
	my ($node) = @_;
	return {
		map { split /\|/ } split /\n/,
		$node->safe_psql(
			'postgres',
			q{SELECT indexrelid::regclass, pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = 'narvik_sessions'::regclass}) };
}

# The names of those that have another file than before.
sub rebuilt
{
	my ($node, $before) = @_;
	my $now = index_files($node);
	return join ' ', grep { $now->{$_} ne $before->{$_} } sort keys %$now;
}

1;
