# A backend is cancelled, terminated, or meets a timeout, inside of every
# function: the caller gets the SQLSTATE of that, nothing is half done, and the
# connection, if there still is one, is as it was.
#
# A function that comes to the table is caught where another transaction makes it
# wait: at the table's lock, and deep in a statement, at the lock of a row.  Those
# that never wait are caught in a statement that calls them without end.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DBD::Pg qw(:async);
use DBI;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'\nnarvik.purge = off\nautovacuum = off");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE ROLE app LOGIN;
	CREATE ROLE other;
	CREATE TABLE people (id text PRIMARY KEY);
	INSERT INTO people VALUES ('alice'), ('bob'), ('me');
	SELECT narvik_link_users('people');
	SELECT narvik_save_session(narvik_session_id('live'), 'alice', now() + interval '20 days');
	SELECT narvik_save_session(narvik_session_id('due'), 'alice', now() + interval '10 days');
	SELECT narvik_save_session(narvik_session_id('expired'), 'alice', now() - interval '1 day');
	SELECT narvik_save_session(narvik_session_id('mine'), 'me', now() + interval '20 days')});

sub connection
{
	my $dsn = 'dbi:Pg:' . join(';', split ' ', $node->connstr('postgres') =~ s/'//gr);
	return DBI->connect($dsn, '', '', { RaiseError => 1, PrintError => 0, PrintWarn => 0 });
}
my $blocker = connection();
my $watcher = connection();

# ---- what is called, and where it waits -------------------------------------

# The kinds of waiting, each a statement of another transaction's.
my %wait = (
	table => 'LOCK TABLE narvik_sessions IN ACCESS EXCLUSIVE MODE',
	rows => 'SELECT id FROM narvik_sessions FOR UPDATE',
	user => q{SELECT id FROM people WHERE id = 'alice' FOR UPDATE},
	newcomer => q{SELECT narvik_save_session(narvik_session_id('new'), 'bob', now() + interval '1 day')},
	# Serialised per user: two at once would both find room.
	limit => q{SET narvik.max_sessions_per_user = 1; SELECT narvik_create_session('bob')},
	users => 'LOCK TABLE people IN ACCESS EXCLUSIVE MODE',
	grants => q{SELECT narvik_grant('other')});

# name => [ call, where it waits... ]; what follows a # tells calls apart.
my %calls = (
	narvik_create_session => [ q{narvik_create_session('alice')}, qw(table user) ],
	'narvik_create_session#limit' => [ q{narvik_create_session('bob')}, qw(limit) ],
	narvik_validate_session => [ q{narvik_validate_session('live')}, qw(table) ],
	'narvik_validate_session#due' => [ q{narvik_validate_session('due')}, qw(table) ],
	'narvik_validate_session#expired' => [ q{narvik_validate_session('expired')}, qw(table) ],
	narvik_authenticate => [ q{narvik_authenticate('due')}, qw(table) ],
	narvik_authenticate_cookie => [ q{narvik_authenticate_cookie('narvik_session=due')}, qw(table) ],
	narvik_create_guest_session => [ q{narvik_create_guest_session()}, qw(table) ],
	narvik_promote_session => [ q{narvik_promote_session('live', 'alice')}, qw(table user rows) ],
	narvik_put_session => [ q{narvik_put_session(narvik_session_id('live'), 'alice', now() + interval '1 day', '{}')}, qw(table rows) ],
	narvik_change_session_id =>
	  [ q{narvik_change_session_id(narvik_session_id('live'), narvik_session_id('new'))}, qw(table rows newcomer) ],
	narvik_validate_user => [ q{narvik_validate_user('due', NULL::people)}, qw(table users) ],
	narvik_invalidate_session => [ q{narvik_invalidate_session(narvik_session_id('live'))}, qw(table rows) ],
	narvik_reauthenticate_session => [ q{narvik_reauthenticate_session('live')}, qw(table rows) ],
	narvik_rotate_session => [ q{narvik_rotate_session('live')}, qw(table rows) ],
	narvik_fetch_sessions_for_user => [ q{narvik_fetch_sessions_for_user('alice')}, qw(table) ],
	narvik_fetch_events_for_user => [ q{narvik_fetch_events_for_user('alice')}, 'endless' ],
	narvik_delete_sessions_for_user => [ q{narvik_delete_sessions_for_user('alice')}, qw(table rows) ],
	narvik_delete_all_expired_sessions => [ q{narvik_delete_all_expired_sessions()}, qw(table rows) ],
	narvik_update_session_data => [ q{narvik_update_session_data(narvik_session_id('live'), '{"a": 1}')}, qw(table rows) ],
	narvik_save_session => [ q{narvik_save_session(narvik_session_id('new'), 'alice', now() + interval '1 day')}, qw(table user newcomer) ],
	narvik_fetch_session => [ q{narvik_fetch_session(narvik_session_id('live'))}, qw(table) ],
	narvik_update_session_expiry =>
	  [ q{narvik_update_session_expiry(narvik_session_id('live'), now() + interval '1 day')}, qw(table rows) ],
	narvik_delete_session => [ q{narvik_delete_session(narvik_session_id('live'))}, qw(table rows) ],
	narvik_link_users => [ q{narvik_link_users('people')}, qw(table users) ],
	narvik_unlink_users => [ q{narvik_unlink_users()}, qw(table users) ],
	narvik_users_changed => [ q{DELETE FROM people WHERE id = 'alice'}, qw(table rows) ],
	'narvik_users_changed#update' => [ q{UPDATE people SET id = 'alison' WHERE id = 'alice'}, qw(table rows) ],
	'narvik_users_changed#truncate' => [ q{TRUNCATE people}, qw(table) ],
	narvik_grant => [ q{narvik_grant('app')}, qw(grants) ],
	narvik_revoke => [ q{narvik_revoke('app')}, qw(grants) ],
	narvik_generate_token => [ 'narvik_generate_token()', 'endless' ],
	narvik_session_id => [ 'narvik_session_id(i::text)', 'endless' ],
	narvik_cookie_name => [ 'narvik_cookie_name()', 'endless' ],
	narvik_create_cookie => [ q{narvik_create_cookie(i::text)}, 'endless' ],
	narvik_create_blank_cookie => [ 'narvik_create_blank_cookie()', 'endless' ],
	narvik_read_cookie => [ q{narvik_read_cookie('a=b; narvik_session=' || i)}, 'endless' ],
	narvik_current_user_id => [ 'narvik_current_user_id()', 'endless' ],
	narvik_current_session_id => [ 'narvik_current_session_id()', 'endless' ],
	narvik_current_data => [ 'narvik_current_data()', 'endless' ],
	narvik_is_fresh => [ q{narvik_is_fresh('1 hour')}, 'endless' ],
	narvik_linked_users => [ 'narvik_linked_users()', 'endless' ],
	narvik_stats => [ 'narvik_stats()', 'endless' ],
	narvik_reset_stats => [ 'narvik_reset_stats()', 'endless' ],
	'narvik_validate_session#endless' => [ q{narvik_validate_session('live')}, 'endless' ],
	'narvik_authenticate#endless' => [ q{narvik_authenticate('mine')}, 'endless' ],
	'narvik_rotate_session#endless' => [ q{narvik_rotate_session('unknown')}, 'endless' ],
	'narvik_create_session#endless' => [ q{narvik_create_session('bob')}, 'endless' ],
	'narvik_update_session_data#endless' =>
	  [ q{narvik_update_session_data(narvik_session_id('live'), jsonb_build_object('i', i))}, 'endless' ]);

is( $node->safe_psql(
		'postgres', q{
		SELECT string_agg(DISTINCT proname::text COLLATE "C", ' ' ORDER BY proname::text COLLATE "C") FROM pg_proc
		JOIN pg_depend AS d ON d.objid = pg_proc.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'}),
	join(' ', sort grep { !/#/ } keys %calls),
	'every function is tried here');

sub statement
{
	my ($call, $where) = @_;
	return $call if $call !~ /^narvik/;
	return "SELECT $call" if $where ne 'endless';
	return "SELECT count(x) FROM generate_series(1, 1000000000) AS i, LATERAL (SELECT $call AS x, i OFFSET 0) AS s";
}

# ---- interrupting it --------------------------------------------------------

# What comes, and what is answered.
my %interrupts = (
	SIGINT => [ '57014', '' ],
	SIGTERM => [ '57P01', '' ],
	'statement_timeout' => [ '57014', q{SET LOCAL statement_timeout = '60ms'} ],
	'lock_timeout' => [ '55P03', q{SET LOCAL lock_timeout = '30ms'} ]);

my $contents = q{
	SELECT md5(string_agg(x::text, ';' ORDER BY x::text)) FROM (
		SELECT s::text FROM narvik_sessions AS s UNION ALL SELECT p::text FROM people AS p
		UNION ALL SELECT tgname || tgrelid FROM pg_trigger UNION ALL SELECT proacl::text FROM pg_proc WHERE proname ~ '^narvik') AS t (x)};
my $state = q{
	SELECT current_user, session_user, current_setting('search_path'), current_setting('enable_seqscan'),
		narvik_current_user_id(), narvik_current_session_id()};
# Of the connection, once its transaction is over.
my $leftovers = q{
	SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype <> 'virtualxid'
		AND NOT (pid = pg_backend_pid() AND relation = 'pg_locks'::regclass)};

sub wait_until
{
	my ($what, $condition) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->()) { die "waited in vain: $what" if time > $until; sleep 0.005 }
	return;
}

my $victim;

# One call, one interruption; what was wrong about it.  Its transaction has an
# identity, and a savepoint before the call; but reading the table, which the
# identity needs, would wait for its lock as well.
sub interrupted
{
	my ($call, $where, $interrupt) = @_;
	my ($sqlstate, $setting) = @{ $interrupts{$interrupt} };
	my @wrong;
	$victim //= connection();
	my $pid = $victim->{pg_pid};

	my $before = $watcher->selectrow_array($contents);
	$blocker->begin_work;
	$blocker->do($wait{$where}) if $where ne 'endless';
	$victim->begin_work;
	$victim->do('SET LOCAL narvik.max_sessions_per_user = 1') if $where eq 'limit';
	$victim->do(q{SELECT narvik_authenticate('mine')}) if $where =~ /rows|user|newcomer|limit|endless/;
	my @state = $victim->selectrow_array($state);
	$victim->do('SAVEPOINT here');
	$victim->do($setting) if $setting;
	my $sth = $victim->prepare(statement($call, $where), { pg_async => PG_ASYNC });
	$sth->execute;

	if ($interrupt =~ /^SIG(.*)/)
	{
		my $signal = $1;
		my $event = $where eq 'endless' ? q{state = 'active' AND wait_event IS NULL} : q{wait_event_type = 'Lock'};
		wait_until("$call at $where", sub { $watcher->selectrow_array("SELECT $event FROM pg_stat_activity WHERE pid = $pid") });
		sleep rand 0.02 if $where eq 'endless';
		kill $signal, $pid;
	}
	wait_until("$interrupt in $call at $where", sub { $victim->pg_ready });
	# Whether it dies of an error depends on the version of the driver.
	eval { $sth->pg_result };
	my $got = $sth->state || 'of success';
	# All that is left of a connection is its last message.
	$got = '57P01' if $got =~ /^08/ && $sth->errstr =~ /terminating connection due to administrator command/;
	push @wrong, "SQLSTATE $got" if $got ne $sqlstate;

	if ($interrupt eq 'SIGTERM')
	{
		wait_until('it ends', sub { !$watcher->selectrow_array("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") });
		eval { $victim->disconnect };
		undef $victim;
	}
	else
	{
		$victim->do('ROLLBACK TO here');
		my @after = $victim->selectrow_array($state);
		push @wrong, "state: @{[map { $_ // 'NULL' } @after]}" if "@{[map { $_ // 'NULL' } @after]}" ne "@{[map { $_ // 'NULL' } @state]}";
		$victim->commit;
	}
	$blocker->rollback;
	push @wrong, 'locks are left' if $watcher->selectrow_array($leftovers, {}, $pid);
	push @wrong, 'something changed' if $watcher->selectrow_array($contents) ne $before;
	if ($victim && $where ne 'endless')
	{
		# The same connection does it now that nobody is in the way.
		$victim->begin_work;
		eval { $victim->do(statement($call, $where)); 1 } or push @wrong, "afterwards: $@" unless $call =~ /link_users/;
		$victim->rollback;
	}
	return @wrong;
}

my ($cases, %count) = (0);
foreach my $name (sort keys %calls)
{
	my ($call, @places) = @{ $calls{$name} };
	my @wrong;
	foreach my $where (@places)
	{
		foreach my $interrupt (sort keys %interrupts)
		{
			next if $where eq 'endless' && $interrupt eq 'lock_timeout';
			push @wrong, map { "$interrupt at $where: $_" } interrupted($call, $where, $interrupt);
			$count{$interrupt}++;
			$cases++;
		}
	}
	is_deeply(\@wrong, [], "$name: @places");
}
ok(!$node->log_contains('PANIC|terminated by signal'), 'no crash');
ok(1, "$cases interruptions (" . join(', ', map { "$_ $count{$_}" } sort keys %count) . ')');

$_->disconnect foreach grep { $_ } ($victim, $blocker, $watcher);
$node->stop;
done_testing();
