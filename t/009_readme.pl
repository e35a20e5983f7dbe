# README's function reference runs as it stands, and with the tables of settings
# and errors it says what the extension really has.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file(dirname(abs_path($0)) . '/../README.md');

# A section of the second level, without its heading.
sub section
{
	my ($title) = @_;
	$readme =~ /^## \Q$title\E\n(.*?)(?=^## |\z)/ms
	  or BAIL_OUT("README has no section \"$title\"");
	return $1;
}

my $reference = section('Function reference');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'");
$node->start;

# ---- installation -----------------------------------------------------------

my @install = section('Install') =~ /^```sql\n(.*?)^```/msg;
is(scalar @install, 2, 'the installation has its two pieces of SQL');
$node->safe_psql('postgres', 'CREATE DATABASE webapp_db');
$node->psql('webapp_db', join("\n", @install), on_error_die => 1);
is( $node->safe_psql(
		'webapp_db',
		"SELECT count(*) FROM narvik_create_session('alice') AS s, narvik_validate_session(s.token)",
		extra_params => [ '-U', 'webapp' ]),
	'1',
	'after it the application role works without naming the schema');

my ($rc, $out, $err) = $node->psql('webapp_db', 'SELECT * FROM narvik.narvik_sessions',
	extra_params => [ '-U', 'webapp' ]);
like($err, qr/permission denied/, 'and may not read the table');

# ---- the reference ----------------------------------------------------------

$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');

my @blocks = $reference =~ /^```sql\n(.*?)^```/msg;
my $script = '';
my $statements = 0;
foreach my $line (map { split /\n/ } @blocks)
{
	$statements++ if $line =~ /(;|\\gset)$/;
	$script .= "$line\n\\echo statement $statements: :ROW_COUNT\n";
}
($rc, $out, $err) = $node->psql('postgres', $script);
is($err, '', 'the reference runs without an error');
is($rc, 0, 'to its end');

my %rows = $out =~ /^statement (\d+): (\d+)$/mg;
is(scalar keys %rows, $statements, "all $statements statements were run");
is_deeply([ grep { $rows{$_} == 0 } sort keys %rows ], [], 'each of them returns a row');

# ---- nothing missing, nothing too much --------------------------------------

sub catalog
{
	return join("\n", sort split /\n/, $node->safe_psql('postgres', shift));
}

sub documented
{
	return join("\n", sort @_);
}

is( documented($reference =~ /^#### (narvik_\w+\(.*\)) → /mg),
	catalog(
		q{SELECT format('%s(%s)', proname, replace(regexp_replace(pg_get_function_arguments(p.oid),
				'::(text|jsonb|interval|boolean|name)|(, )?\mOUT [^,]*', '', 'g'), 'timestamp with time zone', 'timestamptz'))
		  FROM pg_proc AS p JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
		  JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		  WHERE d.deptype = 'e' AND e.extname = 'narvik'}),
	'the reference has every function, with its arguments');

my @settings = section('Settings') =~ /^\| `(narvik\.\w+)` \| `?([^`|]*?)`? \|/mg;
my %default = map { $_ eq "''" ? '' : $_ } @settings;
is( documented(keys %default),
	catalog(q{SELECT name FROM pg_settings WHERE name LIKE 'narvik.%'}),
	'every setting is in the table');
is( catalog(
		q{SELECT name FROM pg_settings WHERE name LIKE 'narvik.%' AND context <> 'superuser'}),
	'',
	'and only superusers may change them');
foreach my $name (sort keys %default)
{
	is($node->safe_psql('postgres', "SHOW $name"), $default{$name}, "default of $name");
}

foreach my $row (section('Errors') =~ /^\| .* \| (\w{5} \| \w+) \|$/mg)
{
	my ($sqlstate, $condition) = split / \| /, $row;
	$node->safe_psql('postgres',
		"DO \$\$ BEGIN RAISE SQLSTATE '$sqlstate'; EXCEPTION WHEN $condition THEN NULL; END \$\$");
	pass("$sqlstate is $condition");
}

$node->stop;
done_testing();
