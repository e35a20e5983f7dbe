# What the tests of the set-up with PL/Proxy share: shards and routers, made by
# the scripts in examples/plproxy, as databases of one server.

package PlproxyTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(sharded_server address add_shard add_router run_script move_partitions outcome partition_of shard_of);

my $examples = dirname(abs_path($0)) . '/../examples/plproxy';

sub sharded_server
{
	my ($shards, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');
	$node->init;
	$node->append_conf('postgresql.conf', join("\n", 'max_connections = 100', @settings));
	$node->start;
	add_shard($node, $_, $shards) foreach 0 .. $shards - 1;
	add_router($node, 'router', $shards);
	return $node;
}

# As routers are told of a database.
sub address
{
	my ($node, $database) = @_;
	return join ' ', 'host=' . $node->host, 'port=' . $node->port, "dbname=$database";
}

# Its standard error, empty if all went well.
sub run_script
{
	my ($node, $database, $script, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[ 'psql', '-XAtq', '-d', $node->connstr($database), '-f', "$examples/$script.sql", @arguments ],
		'>', \$out, '2>', \$err);
	return $err;
}

# The number-th of so many; without that, one that is empty.
sub add_shard
{
	my ($node, $number, $of) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE shard$number");
	my $err = run_script($node, "shard$number", 'shard', defined $of ? ('-v', "shards=$of", '-v', "shard=$number") : ());
	die $err if $err;
	return;
}

sub add_router
{
	my ($node, $database, $shards) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my $err = run_script(
		$node, $database, 'router',
		'-v', 'shards={' . join(',', map { '"' . address($node, "shard$_") . '"' } 0 .. $shards - 1) . '}');
	die $err if $err;
	$node->safe_psql('postgres', "ALTER DATABASE $database SET search_path = public, narvik");
	return;
}

# Its standard output and error.
sub move_partitions
{
	my ($node, $target, $routers, @partitions) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[ "$examples/move-partitions", address($node, $target), join(',', map { address($node, $_) } @$routers), @partitions ],
		'>', \$out, '2>', \$err);
	return ($out, $err);
}

# What a script answers, errors as SQLSTATEs, notices left out.
sub outcome
{
	my ($node, $database, $sql, @options) = @_;
	my ($out, $err) = ('', '');
	my $script = "\\set VERBOSITY sqlstate\nSET client_min_messages = error;\n$sql";
	IPC::Run::run(
		[ 'psql', '-XAtq', '-d', $node->connstr($database), @options, '-f', '-' ],
		'<', \$script, '>', \$out, '2>&1');
	$out =~ s/^psql:\S+: //mg;
	chomp $out;
	return $out;
}

sub partition_of
{
	my ($node, $token) = @_;
	return $node->safe_psql('router', "SELECT narvik_router.partition_of_token('$token')");
}

# The shards that hold a row of this token.
sub shard_of
{
	my ($node, $token, @shards) = @_;
	return join ' ', grep {
		$node->safe_psql($_, "SELECT count(*) FROM narvik.narvik_sessions WHERE id = decode(narvik.narvik_session_id('$token'), 'hex')")
	} @shards;
}

1;
