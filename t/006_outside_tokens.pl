# Tokens made by another program are valid here, and narvik's own tokens have
# the same form: 20 random bytes as base32, the id their SHA-256.
#
# Base32 and the id are computed here, not by narvik.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @alphabet = ('a' .. 'z', '2' .. '7');
my %value_of = map { $alphabet[$_] => $_ } 0 .. 31;

# RFC 4648 section 6, lower case, no padding.
sub base32
{
	my ($bytes) = @_;
	my $bits = unpack('B*', $bytes);
	$bits .= '0' x (-length($bits) % 5);
	return join('', map { $alphabet[ oct("0b$_") ] } $bits =~ /(.{5})/g);
}

sub from_base32
{
	my ($text) = @_;
	my $bits = join('', map { sprintf('%05b', $value_of{$_}) } split(//, $text));
	return pack('B*', substr($bits, 0, 8 * int(length($bits) / 8)));
}

# RFC 4648 section 10, so that an error here is not taken for one in narvik.
is(base32('foobar'), 'mzxw6ytboi', 'base32 of this test');
is(from_base32('mzxw6ytboi'), 'foobar', 'and back');
is( sha256_hex(''),
	'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
	'SHA-256 of this test');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');

open my $random, '<:raw', '/dev/urandom' or die "/dev/urandom: $!";
my @outside;
foreach my $i (1 .. 200)
{
	read($random, my $bytes, 20) == 20 or die 'short read';
	push @outside, base32($bytes);
}
close $random;

my $sql = '';
foreach my $i (0 .. $#outside)
{
	my $id = sha256_hex($outside[$i]);
	$sql .= qq{SELECT narvik_save_session('$id', 'user$i', now() + interval '29 days', '{"i": $i}');\n};
}
$node->safe_psql('postgres', $sql);

my $list = join(',', map { "($_, '$outside[$_]')" } 0 .. $#outside);
my @valid = split /\n/, $node->safe_psql(
	'postgres', qq{
	SELECT i, v.id, v.user_id, v.data->>'i'
	FROM (VALUES $list) AS o (i, token), narvik_validate_session(token) AS v ORDER BY i});
my @want = map { join('|', $_, sha256_hex($outside[$_]), "user$_", $_) } 0 .. $#outside;
is_deeply(\@valid, \@want, '200 tokens made outside are valid');
is( $node->safe_psql(
		'postgres',
		qq{SELECT count(*) FROM (VALUES $list) AS o (i, token)
		   WHERE narvik_session_id(token) = encode(sha256(token::bytea), 'hex')}),
	'200',
	'and their ids are what the server computes too');

my @made = split /\n/, $node->safe_psql(
	'postgres', q{
	SELECT s.token, s.id FROM generate_series(1, 200) AS i
	CROSS JOIN LATERAL narvik_create_session('user' || i) AS s});
push @made, map { "$_|" . sha256_hex($_) } split /\n/,
  $node->safe_psql('postgres', 'SELECT narvik_generate_token() FROM generate_series(1, 200)');
is(scalar @made, 400, 'tokens made by narvik');

my (%seen, @wrong);
my @ones = (0) x 160;
foreach (@made)
{
	my ($token, $id) = split /\|/;
	my $bytes = from_base32($token);

	push @wrong, $_
	  unless $token =~ /^[a-z2-7]{32}$/
	  && length($bytes) == 20
	  && base32($bytes) eq $token
	  && $id eq sha256_hex($token);
	$seen{$token}++;
	my @bits = split(//, unpack('B*', $bytes));
	$ones[$_] += $bits[$_] for 0 .. 159;
}
is(scalar @wrong, 0, 'each is 32 characters of base32, 20 bytes, and its id is its SHA-256');
is(scalar keys %seen, 400, 'no two are equal');

# 400 fair coins a bit: 100 or 300 heads are ten standard deviations away.
is(scalar(grep { $_ < 100 || $_ > 300 } @ones), 0, 'no bit of them is fixed or biased');

$node->stop;
done_testing();
