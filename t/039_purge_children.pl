# The worker purges the table of sessions alone.  Rows of tables that inherit
# from it stay, expired as they are, though they are at the places of expired
# sessions: with and without triggers, which decide how the worker deletes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server('main', 'narvik.purge_batch_size = 7');
my %triggers = (
	'no trigger' => '',
	'a trigger' => 'CREATE TRIGGER pass BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION pass();',
	'triggers on the children too' => join(
		'',
		map { "CREATE TRIGGER pass BEFORE DELETE ON $_ FOR EACH ROW EXECUTE FUNCTION pass();" } qw(narvik_sessions archive grandchild)));

foreach my $how (sort keys %triggers)
{
	my $db = $how =~ tr/ /_/r;
	add_database($node, $db, 'narvik.purge = off');
	save_expired($node, $db, 50);
	$node->safe_psql(
		$db, qq{
		CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
		CREATE TABLE archive () INHERITS (narvik_sessions);
		CREATE TABLE grandchild () INHERITS (archive);
		INSERT INTO archive SELECT * FROM ONLY narvik_sessions ORDER BY ctid;
		INSERT INTO grandchild SELECT * FROM ONLY narvik_sessions ORDER BY ctid;
		CREATE TABLE before AS SELECT tableoid AS child, ctid AS place, * FROM archive;
		SELECT narvik_save_session(narvik_session_id('live'), 'live', now() + interval '1 day');
		$triggers{$how}});
	is( $node->safe_psql($db, 'SELECT count(*) FROM ONLY narvik_sessions AS s JOIN archive AS a ON (a.ctid, a.id) = (s.ctid, s.id)'),
		'100', "$how: the children have rows at the places of the sessions");

	$node->safe_psql('postgres', qq{ALTER DATABASE "$db" RESET narvik.purge});
	ok($node->poll_query_until($db, 'SELECT count(*) FROM ONLY narvik_sessions', '1'), "$how: the sessions are purged");
	wait_for_visits($node, $db, 1);
	is( $node->safe_psql(
			$db, q{
			SELECT count(*) FROM (TABLE before EXCEPT SELECT tableoid, ctid, * FROM archive) AS gone;
			SELECT count(*) FROM archive;
			SELECT user_id FROM ONLY narvik_sessions}),
		"0\n100\nlive",
		"$how: no row of the children was touched, nor a live session");
	is(purge_stats($node, $db, 'purged'), '50', "$how: none of them was counted");
}

$node->stop;
done_testing();
