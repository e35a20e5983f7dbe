# Memory that runs out: for every function, in a backend that has not called any
# yet, each of its allocations in turn fails.  The caller gets out_of_memory,
# nothing is half done, and the same backend does the same call right afterwards.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use DBI;
use Fault;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessionJournal;
use Test::More;

my $library = build_fault();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# Preloaded, because PostgreSQL cannot load a library again whose loading failed
# half-way.  Without JIT, because LLVM ends a process that is out of memory.
# Without track_counts, because of PostgreSQL's pgstat_get_entry_ref_cached():
# without memory it leaves an entry behind that ends the process when it exits.
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'narvik'
narvik.purge = off
autovacuum = off
jit = off
track_counts = off
log_min_messages = warning
log_min_error_statement = panic
});
start_with_fault($node);
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION narvik CASCADE;
	CREATE FUNCTION fault_malloc(int) RETURNS int AS '$library' LANGUAGE C VOLATILE;
	CREATE ROLE app LOGIN;
	CREATE TABLE people (id text PRIMARY KEY);
	INSERT INTO people VALUES ('alice'), ('bob');
	SELECT narvik_link_users('people');
	SELECT narvik_save_session(narvik_session_id('live'), 'alice', now() + interval '20 days', jsonb_build_object('big', repeat('x', 20000)));
	SELECT narvik_save_session(narvik_session_id('due'), 'alice', now() + interval '10 days');
	SELECT narvik_save_session(narvik_session_id('expired'), 'alice', now() - interval '1 day')});
my $connstr = $node->connstr('postgres');
my $watcher = SessionJournal::connect_to($connstr);

my %calls = (
	narvik_create_session => q{SELECT narvik_create_session('alice', '{"a": 1}')},
	'narvik_create_session#limit' => q{SET LOCAL narvik.max_sessions_per_user = 2; SELECT narvik_create_session('alice')},
	narvik_validate_session => q{SELECT * FROM narvik_validate_session('live')},
	'narvik_validate_session#due' => q{SELECT * FROM narvik_validate_session('due')},
	'narvik_validate_session#expired' => q{SELECT * FROM narvik_validate_session('expired')},
	narvik_authenticate => q{SELECT narvik_authenticate('due')},
	narvik_authenticate_cookie => q{SELECT * FROM narvik_authenticate_cookie('x=y; narvik_session=due')},
	narvik_create_guest_session => q{SELECT * FROM narvik_create_guest_session('{"a": 1}')},
	narvik_promote_session => q{SELECT * FROM narvik_promote_session('live', 'alice')},
	narvik_put_session => q{SELECT narvik_put_session(narvik_session_id('live'), 'alice', now() + interval '1 day', '{}')},
	narvik_change_session_id => q{SELECT narvik_change_session_id(narvik_session_id('live'), narvik_session_id('new'))},
	narvik_validate_user => q{SELECT * FROM narvik_validate_user('due', NULL::people)},
	narvik_invalidate_session => q{SELECT narvik_invalidate_session(narvik_session_id('live'))},
	narvik_reauthenticate_session => q{SELECT * FROM narvik_reauthenticate_session('live', '{"a": 1}')},
	narvik_rotate_session => q{SELECT * FROM narvik_rotate_session('live')},
	narvik_fetch_sessions_for_user => q{SELECT * FROM narvik_fetch_sessions_for_user('alice')},
	narvik_fetch_events_for_user => q{SELECT * FROM narvik_fetch_events_for_user('alice')},
	narvik_delete_sessions_for_user => q{SELECT narvik_delete_sessions_for_user('alice')},
	narvik_delete_all_expired_sessions => q{SELECT narvik_delete_all_expired_sessions()},
	narvik_update_session_data => q{SELECT narvik_update_session_data(narvik_session_id('live'), '{"a": 1, "big": null}')},
	narvik_save_session => q{SELECT narvik_save_session(narvik_session_id('new'), 'alice', now() + interval '1 day')},
	narvik_fetch_session => q{SELECT * FROM narvik_fetch_session(narvik_session_id('live'))},
	narvik_update_session_expiry => q{SELECT narvik_update_session_expiry(narvik_session_id('live'), now() + interval '1 day')},
	narvik_delete_session => q{SELECT narvik_delete_session(narvik_session_id('live'))},
	narvik_link_users => q{SELECT narvik_unlink_users(), narvik_link_users('people')},
	narvik_linked_users => q{SELECT * FROM narvik_linked_users()},
	narvik_unlink_users => q{SELECT narvik_unlink_users()},
	narvik_users_changed => q{DELETE FROM people WHERE id = 'alice'},
	'narvik_users_changed#update' => q{UPDATE people SET id = 'alison' WHERE id = 'alice'},
	'narvik_users_changed#truncate' => q{TRUNCATE people},
	narvik_grant => q{SELECT narvik_grant('app')},
	narvik_revoke => q{SELECT narvik_revoke('app')},
	narvik_generate_token => q{SELECT narvik_generate_token()},
	narvik_session_id => q{SELECT narvik_session_id('x')},
	narvik_cookie_name => q{SELECT narvik_cookie_name()},
	narvik_create_cookie => q{SELECT narvik_create_cookie('x')},
	narvik_create_blank_cookie => q{SELECT narvik_create_blank_cookie()},
	narvik_read_cookie => q{SELECT narvik_read_cookie('a=b; narvik_session=x')},
	narvik_current_user_id => q{SELECT narvik_current_user_id()},
	narvik_current_session_id => q{SELECT narvik_current_session_id()},
	narvik_current_data => q{SELECT narvik_authenticate('live'), narvik_current_data()},
	narvik_is_fresh => q{SELECT narvik_is_fresh('1 hour')},
	narvik_stats => q{SELECT * FROM narvik_stats()},
	narvik_reset_stats => q{SELECT narvik_reset_stats()});

is( $node->safe_psql(
		'postgres', q{
		SELECT string_agg(DISTINCT proname::text COLLATE "C", ' ' ORDER BY proname::text COLLATE "C") FROM pg_proc
		JOIN pg_depend AS d ON d.objid = pg_proc.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'}),
	join(' ', sort grep { !/#/ } keys %calls),
	'every function is tried here');

my $contents = q{
	SELECT md5(string_agg(x::text, ';' ORDER BY x::text)) FROM (
		SELECT s::text FROM narvik_sessions AS s UNION ALL SELECT p::text FROM people AS p
		UNION ALL SELECT tgname || tgrelid FROM pg_trigger UNION ALL SELECT proacl::text FROM pg_proc WHERE proname ~ '^narvik') AS t (x)};
my $before = $watcher->selectrow_array($contents);

# The n-th allocation fails.  False once there are fewer than n; what was wrong
# is added to the list.
sub allocation_fails
{
	my ($call, $n, $wrong) = @_;
	my $dbh = SessionJournal::connect_to($connstr);
	my @setup = split /(?<=\d); (?=SELECT)/, $call;
	my $statement = pop @setup;
	my $left = 0;
	# PostgreSQL's lookup_type_cache() goes on with half of its tables if its first call fails
	# half-way; 18 has an assertion against that.
	$dbh->do(q{SELECT '{1}'::int[] = '{1}'});
	$dbh->begin_work;
	$dbh->do($_) foreach @setup;
	$dbh->do("SELECT fault_malloc($n)");
	my $done = eval { $dbh->do($statement); 1 };
	my ($state, $message) = ($dbh->state, $dbh->errstr // '');
	# Since 17 PostgreSQL ends a connection where a subtransaction cannot begin: see
	# BeginInternalSubTransaction() in xact.c.
	my $refused = $dbh->{pg_server_version} >= 170000 && $message =~ /^FATAL:  out of memory/;
	push @$wrong, "allocation $n: $state $message" unless $done || $state eq '53200'
	  # The loader and OpenSSL have no better words for it.
	  || $message =~ /could not load library .*pgcrypto|^ERROR:  could not compute SHA-256/
	  || $refused;
	# Of the transaction that goes on, everything may happen but an end of the process.
	$left = eval { $dbh->selectrow_array('SELECT fault_malloc(0)') } // 0 if $done;
	return 1 if $refused;
	eval { $dbh->rollback };
	eval {
		$dbh->begin_work;
		$dbh->do($_) foreach @setup;
		$dbh->do($statement);
		$dbh->rollback;
		1;
	} or push @$wrong, "after allocation $n: " . $dbh->errstr;
	$dbh->disconnect;
	return $left == 0;
}

my $all = 0;
foreach my $name (sort keys %calls)
{
	my ($n, $tried, @wrong) = (1, 0);
	# Every one at first, then fewer: the later ones are PostgreSQL's own catalogs.
	while (allocation_fails($calls{$name}, $n, \@wrong))
	{
		$tried++;
		$n += 1 + int($n / 25);
	}
	push @wrong, 'something changed' if $watcher->selectrow_array($contents) ne $before;
	push @wrong, 'no allocation failed' if !$tried;
	is_deeply(\@wrong, [], "$name: $tried of its allocations fail");
	$all += $tried;
}
ok(!$node->log_contains('PANIC|terminated by signal'), 'no crash');
ok(1, "$all failed allocations in " . keys(%calls) . ' calls');

$watcher->disconnect;
$node->stop;
done_testing();
