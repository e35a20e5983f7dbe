# Whatever a function is called with, by whomever and in whatever state of a
# transaction: the server lives, and the SQLSTATE is one that the function may
# raise.  None is internal (XX), none leaves another role, setting or identity
# behind, and the table is sound in the end.
#
# The functions are those of the catalog.  One that this test does not know, or
# an argument of a type that it does not know, fails it.  SEED=n repeats a run,
# CALLS=n makes it longer.

use strict;
use warnings;

use IPC::Run;
use List::Util qw(uniq);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} // 1;
my $calls = $ENV{CALLS} // 50000;
my $sessions_at_once = 3;
my $statements_in_session = 500;
srand($seed);
note("SEED=$seed CALLS=$calls");

sub one_of { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }

# ---- what may be answered ---------------------------------------------------

# Of any statement: in an aborted transaction, or out of time.
my @always = qw(25P02 57014);
# Of what somebody may be forbidden to call.
my @gated = (@always, '42501');
# Of what reads and locks rows, when others do.
my @locking = (@gated, qw(40001 40P01 55P03));
my @writing = (@locking, '25006');

my %allowed = (
	narvik_create_session => [ @writing, qw(22004 22023 23503 53400) ],
	# Neither token, lock nor concurrency is an error here.
	narvik_validate_session => [ @gated, '40001' ],
	narvik_authenticate => [ @gated, '40001' ],
	narvik_authenticate_cookie => [ @gated, '40001', '22023' ],
	narvik_create_guest_session => [ @writing, qw(22004 22023) ],
	narvik_promote_session => [ @writing, qw(22004 22023 23503 53400) ],
	narvik_put_session => [ @writing, qw(22004 22023 23503 53400) ],
	narvik_change_session_id => [ @writing, qw(22004 22023 23505) ],
	narvik_invalidate_session => [ @writing, '22023' ],
	narvik_rotate_session => \@writing,
	narvik_reauthenticate_session => [ @writing, qw(22004 22023) ],
	narvik_fetch_events_for_user => [ @gated, qw(22004 22023 40001) ],
	narvik_fetch_sessions_for_user => [ @gated, qw(22004 22023 40001) ],
	narvik_delete_sessions_for_user => [ @writing, qw(22004 22023) ],
	narvik_delete_all_expired_sessions => \@writing,
	narvik_update_session_data => [ @writing, qw(22004 22023) ],
	narvik_save_session => [ @writing, qw(22004 22023 23503 23505 53400) ],
	narvik_fetch_session => [ @gated, '40001' ],
	narvik_update_session_expiry => [ @writing, qw(22004 22023) ],
	narvik_delete_session => \@writing,
	narvik_generate_token => \@always,
	narvik_session_id => \@always,
	narvik_cookie_name => \@always,
	narvik_create_cookie => [ @always, '22023' ],
	narvik_create_blank_cookie => [ @always, '22023' ],
	narvik_read_cookie => \@always,
	narvik_current_user_id => \@always,
	narvik_current_session_id => \@always,
	narvik_current_data => \@always,
	narvik_is_fresh => [ @always, '22023' ],
	narvik_link_users => [ @writing, qw(22004 42P01 42809 42P16 42703 42830 0A000 55006 23503) ],
	narvik_unlink_users => [ @writing, qw(55000 55006) ],
	# That triggers are not to be called PostgreSQL says in most places itself.
	narvik_users_changed => [ @gated, qw(39P01 42804 0A000) ],
	narvik_validate_user => [ @locking, qw(55000 42804 42601) ],
	narvik_grant => [ @writing, qw(22004 42704) ],
	narvik_revoke => [ @writing, qw(22004 42704) ],
	narvik_linked_users => \@gated,
	narvik_stats => \@gated,
	narvik_reset_stats => \@gated,
	# Not functions: what is done to the linked users, and the settings.
	users => [ @writing, qw(42703 22001 22P02 22003 22023 23505 23514 0A000 39P01 55000 55006) ],
	settings => [ @always, qw(22021 22023 42501 42602) ]);

# What PostgreSQL says of arguments that fit no function, or are no value of
# the type that they are taken for.
my @wrong_type = qw(22021 42883 42725 42804 42846 42P18 22P02 22P03 22007 22008 22003 22023 42602 42P01 42704 42703 0A000);

# ---- arguments --------------------------------------------------------------

# Tokens of sessions that there may be.
sub token { return one_of('', 'due') . 't' . int(rand(60)); }

sub quoted
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	$text =~ s/\\/\\\\/g;
	return "E'$text'";
}

# The last character of the database's encoding.
my $last_character = 0x10ffff;

# Without NUL and surrogates.
sub any_text
{
	my $most = one_of(0x7f, 0xff, 0xffff, 0x10ffff);
	my $text = join '', map { sprintf('\\U%08X', one_character($most)) } 1 .. int(exp(rand(6)));
	return "E'$text'";
}

sub one_character
{
	my ($most) = @_;
	for (;;)
	{
		my $c = 1 + int(rand($most < $last_character ? $most : $last_character));
		return $c if $c < 0xd800 || $c > 0xdfff;
	}
	return;
}

sub text
{
	my $id = "narvik_session_id('" . token() . "')";
	return one_of(
		'NULL::text', q{''}, (map { quoted(token()) } 1 .. 4), ($id) x 4, "upper($id)", "$id || '0'", "left($id, 63)",
		(map { "'" . int(rand(12)) . "'" } 1 .. 4), q{repeat('x', 1024)}, q{repeat('x', 1025)}, q{repeat(chr(233), 512)},
		q{repeat('x', 1000000)}, q{repeat('g', 64)}, q{repeat('a=b; ', 100000) || 'narvik_session=t'},
		"repeat(chr(" . ($last_character > 8364 ? 8364 : 255) . '), 1024)', q{repeat(';', 100000)}, q{repeat('narvik_session', 5000)},
		quoted('narvik_session=' . token() . '; x=y'), q{E'a\r\nSet-Cookie: b=c'}, q{E'\x01\x7f'}, q{'%s%n%1$s'},
		q{'; DROP TABLE narvik_sessions; --'}, map { any_text() } 1 .. 5);
}

sub number { return one_of('', '-') . int(exp(rand(30))); }

my %value = (
	text => \&text,
	bytea => sub {
		my $header = quoted('narvik_session=' . token() . '; x=y');
		return one_of(
			'NULL::bytea', q{'\\x'::bytea}, "convert_to($header, 'UTF8')", q{'\\xff003b'::bytea || } . "convert_to($header, 'UTF8')",
			q{decode(repeat('3b', 2000000), 'hex')}, q{sha256('')});
	},
	boolean => sub { one_of('NULL::boolean', 'true', 'false') },
	jsonb => sub {
		one_of(
			'NULL::jsonb',
			map({ "'$_'::jsonb" } '{}', '{"a": 1}', '{"a": null}', '{"": ""}', '{"b": {"a": [null]}}',
				'[]', '1', 'null', '"x"', '[{}]'),
			q{jsonb_build_object('k', repeat('x', 1000000))},
			q{jsonb_build_object(repeat('k', 100000), NULL)},
			q{(repeat('[', 2000) || repeat(']', 2000))::jsonb},
			q{(SELECT jsonb_object_agg(i, NULLIF(i % 2, 0)) FROM generate_series(1, 2000) AS i)},
			"jsonb_build_object(" . any_text() . ", " . any_text() . ")");
	},
	bigint => sub { one_of('NULL::bigint', '0', '1', '-1', '9223372036854775807', '(-9223372036854775807)') },
	integer => sub { one_of('NULL::integer', '0', '1', '-1', '2147483647', '(-2147483648)') },
	interval => sub {
		one_of(
			'NULL::interval',
			map({ "'$_'::interval" } '0', '1 microsecond', '-1 day', '30 days', '400 days',
				'400 days 1 microsecond', '1 month -30 days', '-1 month 31 days', '178000000 years', '-178000000 years',
				'2147483647 days', '-2147483648 days', '2562047788:00:54.775807', '1 hour', '292000 years'),
			map { "make_interval(months => $_->[0], days => $_->[1], secs => $_->[2])" }[ int(rand(2**31)), int(rand(2**31)), rand(1e12) ],
			[ int(rand(13)), -int(rand(400)), rand(1e6) ]);
	},
	'timestamp with time zone' => sub {
		one_of(
			'NULL::timestamptz',
			'now()',
			map({ "'$_'::timestamptz" } 'infinity', '-infinity', 'epoch',
				'4714-11-24 00:00:00+00 BC', '294276-12-31 23:59:59.999999+00', '2000-01-01'),
			map { 'now() + interval \'' . int(rand(2e9) - 1e9) . " $_'" } 'microseconds',
			'seconds',
			'seconds');
	},
	regclass => sub {
		one_of(
			'NULL::regclass',
			map({ "'$_'::regclass" } 'users_text', 'users_int', 'users_uuid', 'users_parted', 'users_parted_1',
				'users_float', 'users_unlogged', 'not_unique', 'a_view', 'users_text_pkey', 'a_sequence', 'narvik_sessions',
				'narvik_stats', 'pg_class'),
			# By name it may be refused, whatever it is passed to.
			"(SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'pg_proc'::regclass)",
			'0::regclass',
			'4294967295::regclass',
			int(rand(100000)) . '::regclass');
	},
	name => sub {
		one_of(
			'NULL::name', map({ "'$_'::name" } 'id', 'id', 'id', '', 'ID', 'nope', 'ctid', 'tableoid', 'note', 'seq', 'x' x 70),
			any_text() . '::name');
	},
	anyelement => sub {
		one_of(
			map({ "NULL::$_" } 'users_text', 'users_int', 'users_uuid', 'users_parted', 'narvik_session', 'int', 'text', 'int[]',
				'a_view', 'regclass', 'interval', 'a_domain', 'int4range'),
			'ROW(1, NULL)',
			"ROW('1', 'x')::users_text",
			'ARRAY[1]');
	},
	regrole => sub {
		one_of(
			'NULL::regrole', map({ "'$_'::regrole" } 'app', 'app', 'admin', 'pg_monitor'),
			'0::regrole', '4294967295::regrole', 'current_user::regrole');
	});
my @types = sort keys %value;

# ---- statements -------------------------------------------------------------

my @functions;
my $made = 0;    # statements, for names that are theirs alone

# An argument list of the right types.
sub call
{
	my ($function) = @_;
	my $given = @{ $function->{types} };
	$given-- while $given > $function->{required} && chance(0.3);
	return "$function->{name}(" . join(', ', map { $value{$_}->() } @{ $function->{types} }[ 0 .. $given - 1 ]) . ')';
}

sub wrong_call
{
	my ($function) = @_;
	my @arguments = map {
		one_of(
			$value{ one_of(@types) }->(), 'NULL', quoted(token()), '42', '1.5', q{'\\x00ff'::bytea}, 'ARRAY[1]', 'now()::date',
			q{'1,2'::point}, 'true', "'" . one_of('', '{', 'x', '-1', 'infinity', '1 day', 'users_text', 'app', 'on') . "'",
			number(), 'random()', '(SELECT relname FROM pg_class LIMIT 0)', 'ROW()', q{'a=>b'})
	} 1 .. int(rand(@{ $function->{types} } + 2));
	return "$function->{name}(" . join(', ', @arguments) . ')';
}

# One or more statements that call a function.
sub statements
{
	my ($function, $call) = @_;
	my $n = ++$made;
	my @ways = (
		"SELECT $call", "SELECT $call", "SELECT $call", "SELECT * FROM $call AS r", "SELECT * FROM $call AS r",
		"SELECT $call FROM generate_series(1, 3)", "SELECT $call, generate_series(1, 2)",
		"SELECT g, r FROM generate_series(1, 3) AS g LEFT JOIN LATERAL $call AS r ON true",
		"WITH x AS MATERIALIZED (SELECT $call) SELECT count(*) FROM x, x AS y", "SELECT $call LIMIT " . int(rand(2)),
		"EXPLAIN (ANALYZE, VERBOSE) SELECT $call", "SELECT (SELECT $call LIMIT 1)", "SELECT count(*) FROM $call AS r WHERE r IS NOT NULL",
		[ "PREPARE p$n AS SELECT $call", "EXECUTE p$n", "EXECUTE p$n" ],
		"DO \$\$BEGIN PERFORM $call; EXCEPTION WHEN division_by_zero THEN NULL; END\$\$",
		"DO \$\$BEGIN FOR turn IN 1 .. 7 LOOP PERFORM $call; END LOOP; END\$\$",
		[ "DECLARE c$n CURSOR WITH HOLD FOR SELECT $call, generate_series(1, 2)", "FETCH c$n", "FETCH c$n" ]);
	push @ways, "SELECT CASE WHEN random() < 0.5 THEN $call END", "SELECT coalesce($call)", "SELECT 1 WHERE $call IS NULL",
	  "SELECT format('%s', $call)", "VALUES ($call), ($call)"
	  unless $function->{set};
	my $way = one_of(@ways);
	return ref $way ? @$way : $way;
}

# What an application does to its users; and a trigger where none should be.
sub on_users
{
	my $users = one_of('users_text', 'users_text', 'users_int', 'users_uuid', 'users_parted', 'users_parted_1', 'not_users');
	my $id = one_of(map({ "'$_'" } 0 .. 11), 'gen_random_uuid()::text', q{''}, q{repeat('x', 1025)}, 'id::text');
	my %type = (users_int => 'int', users_uuid => 'uuid', users_parted => 'int', users_parted_1 => 'int');
	$id = "($id)::text::$type{$users}" if $type{$users};
	return one_of(
		"INSERT INTO $users (id) VALUES ($id)", "INSERT INTO $users (id) VALUES ($id) ON CONFLICT DO NOTHING",
		"UPDATE $users SET id = $id WHERE id::text = (SELECT min(id::text) FROM $users)",
		"DELETE FROM $users WHERE id::text = '" . int(rand(12)) . "'", "TRUNCATE $users",
		"UPDATE $users SET note = 'x'");
}

sub set
{
	my %settings = (
		session_expires_in => [ qw(1 30d 2147483647 0 -1 x), '1 day' ],
		guest_expires_in => [qw(1 1d 0)],
		session_max_age => [qw(0 1 1h 2147483647 -1)],
		max_sessions_action => [qw(evict refuse x)],
		activity_interval => [qw(0 1 5min 2147483647 -1)],
		rotation_grace => [qw(0 1 1h 2h -1)],
		detect_reuse => [qw(on off x)],
		events => [qw(on off x)],
		event_claims => [ '', 'a', 'a, "b "', '1', 'a,,b', '"', "\x{e9}" ],
		events_retention => [qw(0 1 90d -1)],
		notify => [qw(on off x)],
		max_sessions_per_user => [qw(0 1 3 2147483647 -1)],
		cookie_name => [ qw(a __Host-x __Secure-y narvik_session), '', 'a b', 'x' x 5000, "\x{e9}" ],
		cookie_domain => [ qw(example.com .x a..b), '' ],
		cookie_path => [ qw(/ /app x), '/;', '/ ' ],
		cookie_expires_in => [qw(-1 0 1 400d 401d)],
		cookie_same_site => [qw(lax strict none x)],
		cookie_secure => [qw(on off)],
		cookie_partitioned => [qw(on off)],
		nothing => [qw(1)]);
	my $name = one_of(sort keys %settings);
	return one_of('SET', 'SET LOCAL', 'SET') . " narvik.$name = " . quoted(one_of(@{ $settings{$name} })) if chance(0.8);
	return one_of(
		"SET DateStyle = " . one_of('German', 'SQL', 'ISO'), "SET TimeZone = " . one_of("'UTC'", "'Asia/Kathmandu'", "'<x>-167'"),
		"SET IntervalStyle = " . one_of('iso_8601', 'sql_standard'), 'SET jit_above_cost = ' . one_of(0, -1),
		"SET plan_cache_mode = " . one_of('force_generic_plan', 'force_custom_plan'), 'SET work_mem = ' . one_of(64, 4096),
		"SET standard_conforming_strings = " . one_of('on', 'on', 'off'), 'SET enable_indexscan = ' . one_of('on', 'off'),
		'DISCARD ' . one_of('PLANS', 'SEQUENCES', 'TEMP'), 'SET session_replication_role = ' . one_of('replica', 'origin'));
}

# A list of [what it is judged by, statement].  Only one session at a time makes
# grants: PostgreSQL itself says XX000 when two change the same function.
sub some_statements
{
	my ($alone) = @_;
	return [ 'users', on_users() ] if chance(0.05);
	return [ 'settings', set() ] if chance(0.05);
	my $function;
	do { $function = one_of(@functions) } while (!$alone && $function->{name} =~ /^narvik_(grant|revoke)$/);
	my $wrong = chance(0.15);
	my $call = $wrong ? wrong_call($function) : call($function);
	return map { [ ($wrong ? 'wrong ' : '') . $function->{name}, $_ ] } statements($function, $call);
}

# Statements that are not judged, but that none of them is XX.
sub other { return [ '', $_[0] ]; }

sub transaction
{
	my ($alone) = @_;
	return some_statements($alone) if chance(0.5);
	my @list =
	  other('BEGIN'
		  . one_of('', '', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE')
		  . one_of('', '', ' READ ONLY', ' READ WRITE')
		  . one_of('', '', ' DEFERRABLE'));
	my $prepared = 'x' . ++$made;
	foreach (1 .. 1 + int(rand(5)))
	{
		push @list, other(
			one_of(
				'ROLLBACK TO s', 'RELEASE s', 'SELECT 1/0', 'SET LOCAL transaction_read_only = on',
				'SET CONSTRAINTS ALL IMMEDIATE')) if chance(0.1);
		push @list, [ 'narvik_authenticate', "SELECT narvik_authenticate('" . token() . "')" ] if chance(0.2);
		my $savepoint = chance(0.7);
		push @list, other('SAVEPOINT s') if $savepoint;
		push @list, some_statements($alone);
		push @list, other(one_of('ROLLBACK TO s', 'ROLLBACK TO s', 'RELEASE s')) if $savepoint;
	}
	return (@list, map { other($_) } one_of('COMMIT', 'ROLLBACK', 'COMMIT AND CHAIN'), 'ROLLBACK') if chance(0.9);
	return (@list, map { other($_) } "PREPARE TRANSACTION '$prepared'", one_of('COMMIT', 'ROLLBACK') . " PREPARED '$prepared'", 'ROLLBACK');
}

# ---- running them -----------------------------------------------------------

my %seen;     # what was answered: judged by, SQLSTATE => how often
my @wrong;    # what must not be
my $judged = 0;

# After each transaction: the role and the settings that narvik changes for a
# while are as before, and nobody is authenticated.
my $state = q{SELECT concat_ws(' ', current_user = :'role', current_setting('enable_seqscan'), current_setting('search_path'),
	narvik_current_user_id(), narvik_current_session_id()) AS state \gset};
my $undisturbed = 't on "$user", public';

# What a session refills: some sessions that are due to be extended, some fresh.
my $refill = q{SELECT narvik_save_session(narvik_session_id(t || i), (i % 12)::text,
	now() + CASE t WHEN 'duet' THEN interval '1 hour' ELSE interval '29 days' END)
	FROM generate_series(0, 59) AS i, (VALUES ('t'), ('duet')) AS v (t)
	WHERE NOT EXISTS (SELECT FROM narvik_fetch_session(narvik_session_id(t || i)));};

# A psql script, and what each of its lines of output is about.
sub make_session
{
	my ($role, $alone) = @_;
	my (@list, @about);
	my $script =
		"\\set ON_ERROR_STOP 0\n\\o /dev/null\n$refill\nSET SESSION AUTHORIZATION $role;\n\\set role $role\n"
	  . "SET client_min_messages = error;\nSET lock_timeout = "
	  . one_of(20, 200) . ";\n";
	$script .= "SET statement_timeout = " . (5 + int(rand(50))) . ";\n" if chance(0.2);
	$script .= "SET force_parallel_mode = on;\n" if chance(0.2);
	while (@about < $statements_in_session)
	{
		foreach (transaction($alone))
		{
			my ($judge, $statement) = @$_;
			$script .= "$statement\n;\n\\echo :SQLSTATE\n";
			push @about, [ $judge, $statement ];
		}
		$script .= "\\unset state\n$state\n\\echo :SQLSTATE :state\n";
		push @about, ['state'];
	}
	return ($script, \@about);
}

sub judge
{
	my ($name, $answers, $about) = @_;
	push @wrong, "$name: " . @$answers . ' answers to ' . @$about . ' statements: the connection was lost'
	  if @$answers != @$about;
	foreach my $i (0 .. $#$answers)
	{
		my ($sqlstate, $rest) = split / /, $answers->[$i], 2;
		my ($judge, $statement) = @{ $about->[$i] };
		my $context = "$name, statement $i: $sqlstate, " . substr($statement // '', 0, 300);
		if ($judge eq 'state')
		{
			push @wrong, "$context left behind: $rest" if $sqlstate eq '00000' && $rest ne $undisturbed;
			next;
		}
		$seen{$judge}{$sqlstate}++;
		push @wrong, $context if $sqlstate =~ /^XX/;
		next if $judge eq '' || $sqlstate eq '00000';
		my $function = $judge =~ s/^wrong //r;
		my @may = (@{ $allowed{$function} }, $judge =~ /^wrong / ? @wrong_type : ());
		# A statement that follows one that failed misses its name.
		push @may, '26000', '34000' if $statement =~ /^(EXECUTE|FETCH) /;
		# Since 19.
		push @may, '0A000' if $statement eq 'SET standard_conforming_strings = off';
		push @wrong, "$context: not allowed for $function" unless grep { $_ eq $sqlstate } @may;
	}
	$judged += grep { $_->[0] ne '' && $_->[0] ne 'state' } @$about;
	return;
}

sub run_sessions
{
	my ($node, $database) = @_;
	my @running;
	$last_character = $database eq 'latin1' ? 0xff : 0x10ffff;
	foreach my $i (1 .. $sessions_at_once)
	{
		my $role = one_of('postgres', 'app', 'app', 'admin', 'nobody');
		my ($script, $about) = make_session($role, $i == 1);
		my $files = PostgreSQL::Test::Utils::tempdir() . '/session';
		my $session = { name => "session $i of $role in $database", about => $about, files => $files };
		append_to_file("$files.sql", $script);
		# Files, not pipes: those would move only while this process looks after them.
		$session->{handle} = IPC::Run::start(
			[ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr($database), '-f', "$files.sql" ],
			'<', '/dev/null', '>', "$files.out", '2>', "$files.err",
			IPC::Run::timeout(10 * $PostgreSQL::Test::Utils::timeout_default));
		push @running, $session;
	}
	foreach (@running)
	{
		$_->{handle}->finish;
		judge($_->{name}, [ split /\n/, slurp_file("$_->{files}.out") ], $_->{about});
	}
	return;
}

# ---- the server -------------------------------------------------------------

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
	shared_preload_libraries = 'narvik'
	narvik.purge_interval = 1s
	max_prepared_transactions = 20
	restart_after_crash = off
	log_min_messages = warning
	log_statement = none
	log_min_error_statement = panic
	deadlock_timeout = 100ms
	autovacuum_naptime = 1s
	fsync = off
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app; CREATE ROLE nobody; CREATE ROLE admin');
$node->safe_psql('postgres', q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
foreach my $database ('postgres', 'latin1')
{
	$node->safe_psql(
		$database, q{
		SET client_min_messages = warning;
		CREATE EXTENSION narvik CASCADE;
		CREATE EXTENSION amcheck;
		SELECT narvik_grant('app');
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO admin;
		CREATE TABLE users_text (id text PRIMARY KEY, note text);
		CREATE TABLE users_int (id int PRIMARY KEY, note text);
		CREATE TABLE users_uuid (id uuid PRIMARY KEY, note text);
		CREATE TABLE users_float (id float8 PRIMARY KEY, note text);
		CREATE UNLOGGED TABLE users_unlogged (id int PRIMARY KEY);
		CREATE TABLE not_unique (id int);
		CREATE TABLE users_parted (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
		CREATE TABLE users_parted_1 PARTITION OF users_parted FOR VALUES FROM (MINVALUE) TO (5);
		CREATE TABLE users_parted_2 PARTITION OF users_parted FOR VALUES FROM (5) TO (MAXVALUE);
		CREATE TABLE not_users (id text PRIMARY KEY, note text);
		CREATE TRIGGER t AFTER UPDATE OR DELETE ON not_users FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
		CREATE TRIGGER b BEFORE INSERT ON not_users FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
		CREATE VIEW a_view AS SELECT * FROM users_text;
		CREATE SEQUENCE a_sequence;
		CREATE DOMAIN a_domain AS text CHECK (VALUE <> 'x');
		INSERT INTO users_text SELECT i FROM generate_series(0, 11) AS i;
		INSERT INTO users_int SELECT i FROM generate_series(0, 11) AS i;
		INSERT INTO users_parted SELECT i FROM generate_series(0, 11) AS i;
		GRANT ALL ON ALL TABLES IN SCHEMA public TO app, admin;
		REVOKE ALL ON narvik_sessions, narvik_stats FROM app, admin;
		ALTER TABLE users_int OWNER TO admin;
	});
}

my $catalog = $node->safe_psql(
	'postgres', q{
	SELECT proname, proretset, pronargs - pronargdefaults,
		   array_to_string(array(SELECT format_type(t, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n), ',')
	FROM pg_proc AS p JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	WHERE extname = 'narvik' ORDER BY proname COLLATE "C"});
foreach (split /\n/, $catalog)
{
	my ($name, $set, $required, $types) = split /\|/, $_, -1;
	push @functions, { name => $name, set => $set eq 't', required => $required, types => [ split /,/, $types ] };
}
is( join(' ', uniq map { $_->{name} } @functions),
	join(' ', sort grep { /^narvik_/ } keys %allowed),
	'this test knows every function of the extension');
my %of_type = map { $_ => 1 } map { @{ $_->{types} } } @functions;
is(join(' ', grep { !$value{$_} } sort keys %of_type), '', 'and every type of an argument');
die 'nothing to call' unless @functions;

# Arguments of the right type are such: else a mistake here hides what it tests.
my ($values, $value_errors);
my $literals = join '', map {
	my $type = $_;
	map { "SELECT " . $value{$type}->() . ";\n" } 1 .. 60
} @types;
is( (   IPC::Run::run(
			[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ],
			'<', \$literals, '>', \$values, '2>', \$value_errors),
		$value_errors)[1],
	'',
	'every argument is a value of its type');

# ---- that it would notice ---------------------------------------------------

judge(
	'planted', [ 'XX000', '22012', '00000 f on "$user", public', '00000' ],
	[ [ '', 'BEGIN' ], [ 'narvik_validate_session', 'SELECT 1/0' ], ['state'], [ 'narvik_cookie_name', 'SELECT 1' ], ['state'] ]);
is(scalar @wrong, 4, 'an internal error, one that is not allowed, another role and a lost connection are noticed');
@wrong = ();
%seen = ();
$judged = 0;

# ---- the calls --------------------------------------------------------------

my $log_start = -s $node->logfile;
while ($judged < $calls && !@wrong)
{
	run_sessions($node, chance(0.15) ? 'latin1' : 'postgres');
	$node->psql('postgres', q{SELECT narvik_grant('app'); SELECT narvik_revoke('pg_monitor')});
}
is(scalar @wrong, 0, "$judged calls, each answered as it may be (SEED=$seed)") or diag(join "\n", @wrong);
die 'no use in going on' if @wrong;
foreach my $function (uniq map { $_->{name} } @functions)
{
	my %answers = %{ $seen{$function} // {} };
	my $sum = 0;
	$sum += $_ foreach values %answers;
	note("$function: " . join(' ', map { "$_=$answers{$_}" } sort keys %answers));
	cmp_ok($sum, '>', $calls / @functions / 20, "$function was called often");
	cmp_ok($answers{ $function eq 'narvik_users_changed' ? '39P01' : '00000' } // 0, '>', 0, 'and came to its end');
}
note("users: " . join(' ', map { "$_=$seen{users}{$_}" } sort keys %{ $seen{users} }));

# ---- afterwards -------------------------------------------------------------

ok( !$node->log_contains('(terminated by signal|TRAP|PANIC|[Ll]eak|XX[0-9]{3}|still referenced|not closed)', $log_start),
	'no crash, no failed assertion and no leaked resource in the log');
foreach my $database ('postgres', 'latin1')
{
	is($node->safe_psql($database, 'SELECT count(*) FROM pg_prepared_xacts'), '0', "$database: no transaction is left over");
	is( $node->safe_psql(
			$database, q{
			SELECT count(*) FROM narvik_sessions
			WHERE NOT (octet_length(id) = 32 AND coalesce(octet_length(user_id), 1) BETWEEN 1 AND 1024
				AND coalesce(expires_at <= ends_at, true)
				AND jsonb_typeof(data) = 'object' AND isfinite(expires_at) AND isfinite(created_at)
				AND purge_hour = least(2147483647, greatest(-2147483648, floor(extract(epoch FROM expires_at) / 3600))))}),
		'0',
		'every row is as narvik writes them');
	is( $node->safe_psql(
			$database, q{
			SELECT count(*) FROM narvik_sessions AS s
			WHERE NOT EXISTS (SELECT FROM narvik_fetch_session(encode(s.id, 'hex')) AS f WHERE f.user_id IS NOT DISTINCT FROM s.user_id)}),
		'0',
		'and is found by its id');
	is( $node->safe_psql(
			$database, q{
			SELECT count(bt_index_check(indexrelid, true)) FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
			JOIN pg_am AS am ON am.oid = relam WHERE indrelid = 'narvik_sessions'::regclass AND amname = 'btree'}),
		'3',
		'its btree indexes are whole');
	is($node->safe_psql($database, q{SELECT * FROM verify_heapam('narvik_sessions')}), '', 'and so is the table');
}

$node->stop;
done_testing();
