# Known random bytes make the tokens that the JavaScript library Narvik makes of them.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

my $here = dirname(abs_path($0));
my (@bytes, @tokens);
foreach my $line (split /\n/, slurp_file("$here/data/tokens.tsv"))
{
	next if $line =~ /^#/;
	my ($hex, $token) = split /\t/, $line;
	push @bytes, $hex;
	push @tokens, $token;
}
is(scalar @tokens, 12, 'there are vectors');

my $program = PostgreSQL::Test::Utils::tempdir() . '/print_tokens';
system_or_bail(
	'cc', '-Wall', '-Wextra', '-Werror', "-I$here/../src", '-o', $program,
	"$here/data/print_tokens.c", "$here/../src/encoding.c");

my $input = join("\n", @bytes);
my ($output, $errors);
ok( IPC::Run::run([$program], '<', \$input, '>', \$output, '2>', \$errors),
	'the encoder runs');
is_deeply([ split /\n/, $output ], \@tokens, 'each vector gives its token');

done_testing();
