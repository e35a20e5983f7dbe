# META.json is what PGXN's specification 1.0.0 asks for, and every place that
# says which version this is says the same.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP       ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(abs_path($0)) . '/..';
my $json = JSON::PP->new->utf8;
my $text = slurp_file("$root/META.json");

# ---- the specification ------------------------------------------------------

my $semver = qr/\A(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([A-Za-z][0-9A-Za-z-]*)?\z/;
# A term: at least two characters, none of them a space, slash or control.
my $term = qr/\A[^\s\/\\\p{Cc}]{2,}\z/;
my %licenses = map { $_ => 1 } qw(agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd
  gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5
  postgresql qpl_1_0 ssleay sun zlib open_source restricted unrestricted unknown);
my %keys = map { $_ => 1 } qw(abstract description generated_by license maintainer meta-spec name
  no_index prereqs provides release_status resources tags version);

sub is_text { return defined $_[0] && !ref $_[0] && $_[0] =~ /\S/ }

# What is wrong with this metadata.
sub problems
{
	my ($meta) = @_;
	my @problems;
	my $expect = sub { push @problems, $_[0] unless $_[1] };

	$expect->("unknown key $_", $keys{$_} || /\Ax_/i) foreach sort keys %$meta;
	$expect->("no $_", is_text($meta->{$_})) foreach qw(abstract maintainer);
	$expect->('name', ($meta->{name} // '') =~ $term);
	$expect->('version', ($meta->{version} // '') =~ $semver);
	$expect->('license', $licenses{ $meta->{license} // '' });
	$expect->('meta-spec version', ($meta->{'meta-spec'}{version} // '') eq '1.0.0');
	$expect->('meta-spec url', ($meta->{'meta-spec'}{url} // '') =~ m{\Ahttps?://pgxn\.org/meta/spec\.txt\z});
	$expect->('release_status', ($meta->{release_status} // 'stable') =~ /\A(stable|testing|unstable)\z/);
	$expect->('tag', is_text($_) && length($_) < 256 && !m{[/\\]}) foreach @{ $meta->{tags} // [] };

	$expect->('provides nothing', scalar %{ $meta->{provides} // {} });
	while (my ($name, $provided) = each %{ $meta->{provides} // {} })
	{
		$expect->('name of an extension', $name =~ $term);
		$expect->("version of $name", ($provided->{version} // '') =~ $semver);
		foreach my $key (qw(file docfile))
		{
			my $file = $provided->{$key};
			$expect->("no file of $name", $key ne 'file' || defined $file);
			$expect->("$key of $name", !defined $file || -f "$root/$file");
		}
	}
	foreach my $phase (sort keys %{ $meta->{prereqs} // {} })
	{
		$expect->("phase $phase", $phase =~ /\A(configure|build|test|runtime|develop)\z/);
		while (my ($relation, $needed) = each %{ $meta->{prereqs}{$phase} })
		{
			$expect->("relation $relation", $relation =~ /\A(requires|recommends|suggests|conflicts)\z/);
			$expect->('version needed', $_ eq '0' || /$semver/) foreach values %$needed;
		}
	}
	return @problems;
}

my $meta = $json->decode($text);
is_deeply([ problems($meta) ], [], 'META.json is valid');

# ... and would be found invalid if it were.
my %broken = (
	'no abstract' => sub { delete $_[0]{abstract} },
	'no maintainer' => sub { $_[0]{maintainer} = ' ' },
	'unknown key licence' => sub { $_[0]{licence} = 'postgresql' },
	'name' => sub { $_[0]{name} = 'nar/vik' },
	'version' => sub { $_[0]{version} = '1.0' },
	'license' => sub { $_[0]{license} = 'PostgreSQL' },
	'meta-spec version' => sub { delete $_[0]{'meta-spec'}{version} },
	'meta-spec url' => sub { $_[0]{'meta-spec'}{url} = 'https://example.org' },
	'release_status' => sub { $_[0]{release_status} = 'done' },
	'tag' => sub { push @{ $_[0]{tags} }, 'and/or' },
	'provides nothing' => sub { $_[0]{provides} = {} },
	'version of narvik' => sub { $_[0]{provides}{narvik}{version} = 'v1' },
	'no file of narvik' => sub { delete $_[0]{provides}{narvik}{file} },
	'docfile of narvik' => sub { $_[0]{provides}{narvik}{docfile} = 'README' },
	'phase always' => sub { $_[0]{prereqs}{always} = {} },
	'relation needs' => sub { $_[0]{prereqs}{runtime}{needs} = {} },
	'version needed' => sub { $_[0]{prereqs}{runtime}{requires}{PostgreSQL} = '15' },
);
foreach my $problem (sort keys %broken)
{
	my $copy = $json->decode($text);
	$broken{$problem}->($copy);
	is(join(', ', problems($copy)), $problem, "found invalid: $problem");
}

# ---- one version everywhere -------------------------------------------------

my $version = $meta->{version};

sub first_match
{
	my ($file, $pattern) = @_;
	return slurp_file("$root/$file") =~ $pattern ? $1 : undef;
}

my $control = first_match('narvik.control', qr/^default_version = '(.*)'$/m);
is($version =~ s/\.\d+\z//r, $control, 'narvik.control');
is($meta->{provides}{narvik}{version}, $version, 'META.json, provides');
like($meta->{provides}{narvik}{file}, qr/^narvik--\d+\.\d+\.sql$/, 'the file that it names is that of a first version');
is(first_match('CHANGELOG.md', qr/^## (\S+)/m), $version, 'CHANGELOG.md');
is(first_match('packaging/narvik.spec', qr/^Version: +(\S+)$/m), $version, 'packaging/narvik.spec');
is(first_match("integrations/$_", qr/^[ "]*(?:spec\.)?version"? *[:=] *["'](.*?)["']/m), $version, "integrations/$_")
  foreach qw(django/pyproject.toml express-session/package.json rack/narvik-rack.gemspec);
# The archive of make dist is without debian/.
if (-d "$root/debian")
{
	is(first_match('debian/changelog', qr/\Anarvik \((.*)-[^-]+\)/), $version, 'debian/changelog');
	is(first_match('debian/changelog', qr/^ -- (.*?)  /m), $meta->{maintainer}, 'debian/changelog: the maintainer');
	foreach my $file ('debian/control', 'debian/control.in')
	{
		is(first_match($file, qr/^Maintainer: (.*)$/m), $meta->{maintainer}, "$file: the maintainer");
		is(first_match($file, qr/^Homepage: (.*)$/m), $meta->{resources}{homepage}, "$file: the homepage");
		is(first_match($file, qr/^Vcs-Git: (.*)$/m), $meta->{resources}{repository}{url}, "$file: the repository");
	}
}
# Since 18 the module says it, too.
my $node = PostgreSQL::Test::Cluster->new('main');
if ($node->pg_version >= 18)
{
	$node->init;
	$node->start;
	is( $node->safe_psql(
			'postgres', q{SET client_min_messages = warning;
			CREATE EXTENSION narvik CASCADE; LOAD 'narvik';
			SELECT version FROM pg_get_loaded_modules() WHERE module_name = 'narvik'}),
		$version,
		'pg_get_loaded_modules()');
}
# The library is built anew with another version, as all of it is with another header.
delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
my %needed_by = `make -pq -C '$root' with_llvm=yes` =~ /^(src\/\S+): (.*)$/mg;
foreach my $kind (qw(o bc))
{
	like($needed_by{"src/narvik.$kind"}, qr/ META\.json/, "make: narvik.$kind needs META.json");
	like($needed_by{"src/token.$kind"}, qr/ src\/token\.h/, "make: token.$kind needs the headers");
}
is_deeply(
	[ sort keys %{ $meta->{prereqs}{runtime}{requires} } ],
	[ sort('PostgreSQL', split /, */, first_match('narvik.control', qr/^requires = '(.*)'$/m)) ],
	'what META.json needs is what narvik.control needs');

done_testing();
