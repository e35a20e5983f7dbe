# The worker finds by itself every database that has narvik, and purges what
# expired in the hours wholly past, and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server('main', 'narvik.purge = off');

# "last" is the one that shows that a round has gone by.
my @ordinary = ('first', 'elsewhere', 'read only', 'odd settings', 'last');

add_database($node, 'first');
$node->safe_psql('postgres', 'CREATE DATABASE plain');

# Its owner lost a privilege.
add_database($node, 'poor');
$node->safe_psql(
	'poor', q{
	CREATE ROLE landlord;
	CREATE ROLE nobody;
	ALTER TABLE narvik_sessions OWNER TO landlord;
	REVOKE DELETE ON narvik_sessions FROM landlord;
});

add_database($node, 'closed');

$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('postgres', q{ALTER DATABASE elsewhere SET search_path = public, "Odd; schema"});
$node->safe_psql(
	'elsewhere', q{
	CREATE SCHEMA "Odd; schema";
	CREATE EXTENSION pgcrypto;
	CREATE EXTENSION narvik SCHEMA "Odd; schema"});

add_database($node, 'read only');
add_database($node, 'odd settings');
$node->safe_psql('odd settings', 'ALTER TABLE narvik_sessions FORCE ROW LEVEL SECURITY');
add_database($node, 'excepted', 'narvik.purge = off');
add_database($node, 'last');

# One that cannot be deleted, and is the first to be tried.
$node->safe_psql(
	'odd settings', q{
	CREATE TABLE refers (seq bigint REFERENCES narvik_sessions);
	SELECT narvik_save_session(narvik_session_id('referred'), 'referred', now() - interval '1 day');
	INSERT INTO refers SELECT seq FROM narvik_sessions WHERE user_id = 'referred'});

foreach my $database (@ordinary, 'poor', 'closed', 'excepted')
{
	save_expired($node, $database, 5);
	$node->safe_psql($database, q{SELECT FROM narvik_create_session('live')});
}

# What would keep a client from deleting; this client says otherwise.
$ENV{PGOPTIONS} = '-c default_transaction_read_only=off -c statement_timeout=0 -c role=none';
$node->safe_psql(
	'postgres', q{
	ALTER DATABASE "read only" SET default_transaction_read_only = on;
	ALTER DATABASE "odd settings" SET default_transaction_isolation = serializable;
	ALTER DATABASE "odd settings" SET default_transaction_deferrable = on;
	ALTER DATABASE "odd settings" SET search_path = nowhere, public;
	ALTER DATABASE "odd settings" SET statement_timeout = '1ms';
	ALTER DATABASE "odd settings" SET enable_indexscan = off;
	ALTER DATABASE "odd settings" SET enable_tidscan = off;
	ALTER DATABASE "odd settings" SET row_security = off;
	ALTER DATABASE "odd settings" SET role = nobody;
	ALTER DATABASE "odd settings" SET exit_on_error = on;
});
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');

sub live
{
	my ($database) = @_;
	return $node->safe_psql(
		$database,
		q{SELECT count(*) FROM narvik_fetch_sessions_for_user('live')});
}

# ---- every database ---------------------------------------------------------

set_by_reload($node, 'narvik.purge = on');

foreach my $database (@ordinary)
{
	ok(wait_until_purged($node, $database), "database \"$database\" is purged");
	is(live($database), '1', 'its live session is not');
}
wait_for_visits($node, 'last', 1);
is(expired_left($node, 'excepted'), '5', 'a database where narvik.purge is off is not');
ok( !log_lines($node, qr/plain|closed|not currently accepting/),
	'no complaint about a database without narvik, nor about one that allows no connections');

# ---- one that fails ---------------------------------------------------------

is(expired_left($node, 'poor'), '5', 'where the owner may not delete nothing is purged');
my $denied = 'permission denied for table narvik_sessions';
ok(log_lines($node, qr/narvik purge worker ERROR:  $denied/), 'an error is logged');
ok(log_lines($node, qr/narvik purge worker CONTEXT:.*poor|^\t.*poor/), 'which tells the database');
is(purge_stats($node, 'poor', 'last_purge_error'), $denied, 'and shown in narvik_stats');
is(purge_stats($node, 'poor', 'purge_runs'), '0', 'as no visit that ended well');
is(purge_stats($node, 'last', 'last_purge_error IS NULL'), 't', 'but not in another database');

save_expired($node, $_, 1) foreach @ordinary;
foreach my $database (@ordinary)
{
	ok(wait_until_purged($node, $database), "\"$database\" is purged again after the failure");
}

$node->safe_psql('poor', 'GRANT DELETE ON narvik_sessions TO landlord');
ok(wait_until_purged($node, 'poor'), 'it is purged once the owner may delete');
$node->poll_query_until('poor', 'SELECT purge_runs > 0 FROM narvik_stats');
is(purge_stats($node, 'poor', 'last_purge_error IS NULL, purged'), 't|5', 'and the error is gone');
is(live('poor'), '1', 'its live session stayed');

# ---- those left out, once they are not --------------------------------------

$node->safe_psql(
	'postgres', q{
	ALTER DATABASE closed SET narvik.purge = off;
	ALTER DATABASE closed ALLOW_CONNECTIONS true});
is(expired_left($node, 'closed'), '5', 'nothing was purged where no connection was allowed');
$node->safe_psql(
	'postgres', q{
	ALTER DATABASE closed RESET narvik.purge;
	ALTER DATABASE excepted RESET narvik.purge});
ok(wait_until_purged($node, 'closed'), 'a database that allows connections again is purged');
ok(wait_until_purged($node, 'excepted'), 'one where narvik.purge is on again is purged');

add_database($node, 'new');
save_expired($node, 'new', 5);
ok(wait_until_purged($node, 'new'), 'a new database is found');

# ---- what is purged ---------------------------------------------------------

# By the worker: what ended before this hour began.  By the function: all that
# has ended.  If a new hour begins meanwhile the question is asked again.
my ($before, $after, $left, $deleted, $left_then);
do
{
	$node->safe_psql('first', 'TRUNCATE narvik_sessions');
	$before = $node->safe_psql(
		'first', q{
		SELECT date_part('hour', now());
		SELECT narvik_save_session(narvik_session_id(name), name, at)
		FROM date_trunc('hour', now(), 'UTC') AS hour,
			 LATERAL (VALUES ('last moment of the last hour', hour - interval '1 microsecond'),
							 ('years ago', hour - interval '60 years'),
							 ('first moment of this hour', hour),
							 ('live', hour + interval '1 hour'),
							 ('live, its hour is wrong', hour + interval '2 hours')) AS t (name, at);
		UPDATE narvik_sessions SET purge_hour = 0 WHERE user_id = 'live, its hour is wrong'});
	wait_for_visits($node, 'first', 1);
	$left = $node->safe_psql('first', 'SELECT user_id FROM narvik_sessions ORDER BY seq');
	$deleted = $node->safe_psql('first', 'SELECT narvik_delete_all_expired_sessions()');
	$left_then = $node->safe_psql('first', 'SELECT user_id FROM narvik_sessions ORDER BY seq');
	$after = $node->safe_psql('first', q{SELECT date_part('hour', now())});
	$before =~ s/\s//g;
} while ($before ne $after);

is( $left, "first moment of this hour\nlive\nlive, its hour is wrong",
	'the worker leaves what expired in this hour, and what lives whatever its hour says');
is($deleted, '1', 'narvik_delete_all_expired_sessions() deletes what expired in this hour');
is($left_then, "live\nlive, its hour is wrong", 'and no live session either');

# ---- the server's own settings ----------------------------------------------

# The launcher reads, and has nothing to wait for.
my $writer = $node->background_psql('first');
$writer->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE; SELECT count(*) FROM pg_class');
set_by_reload($node, map { "default_transaction_$_" } 'isolation = serializable', 'read_only = on', 'deferrable = on');
my $runs = purge_stats($node, 'first', 'purge_runs') + 3;
ok( $node->poll_query_until('first', "SELECT purge_runs >= $runs FROM narvik_stats"),
	'the launcher does not wait for a writer, whatever transactions the server makes by default');
$writer->query_safe('COMMIT');
$writer->quit;

is_deeply(
	[ log_lines($node, qr/narvik (?:launcher|purge worker) (?:ERROR|FATAL|PANIC):  (?!$denied)/) ],
	[], 'the worker met no other error');

$node->stop;
done_testing();
