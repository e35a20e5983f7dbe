# Validation answers when it cannot write: a session that is due stays as it is, an
# expired one stays in the table.  The transaction goes on, with the roles and
# settings it had, and the log says so once.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE webapp; CREATE ROLE keeper; CREATE EXTENSION pgcrypto');

# A database where "due" can be extended and "dead" removed, but for what $sql
# does to it.
sub make_database
{
	my ($name, $sql) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql(
		$name, q{
		SET client_min_messages = warning;
		CREATE SCHEMA auth;
		CREATE EXTENSION narvik SCHEMA auth CASCADE;
		SET search_path = auth, public;
		GRANT USAGE ON SCHEMA auth TO webapp;
		SELECT narvik_grant('webapp');
		SELECT narvik_save_session(narvik_session_id('due'), 'alice', now() + interval '3 days');
		SELECT narvik_save_session(narvik_session_id('dead'), 'alice', now() - interval '3 days')});
	$node->safe_psql($name, "SET search_path = auth, public; $sql");
	return;
}

sub query
{
	my ($database, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($database, "SET search_path = auth, public; SET ROLE webapp; $sql");
	return ($out, $err);
}

my $validate = q{SELECT user_id, extended, due FROM narvik_validate_session};
my %obstacles = (
	'nothing' => '',
	'a trigger that raises' => q{
		CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table'; END $$;
		CREATE TRIGGER t BEFORE UPDATE OR DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION raise()},
	'a trigger that raises afterwards' => q{
		CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table'; END $$;
		CREATE TRIGGER t AFTER UPDATE OR DELETE ON narvik_sessions FOR EACH STATEMENT EXECUTE FUNCTION raise()},
	'a deferred trigger' => q{
		CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table'; END $$;
		CREATE CONSTRAINT TRIGGER t AFTER UPDATE OR DELETE ON narvik_sessions
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raise()},
	'a trigger with an error of its own' => q{
		CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / 0; RETURN NULL; END $$;
		CREATE TRIGGER t BEFORE UPDATE OR DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION raise()},
	'a trigger that sets and then raises' => q{
		CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN SET search_path = nowhere; SET work_mem = 64; CREATE TABLE left_behind (); RAISE 'not in my table'; END $$;
		CREATE TRIGGER t BEFORE UPDATE OR DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION raise()},
	'a constraint' => q{
		ALTER TABLE narvik_sessions ADD CHECK (expires_at < statement_timestamp() + interval '20 days');
		CREATE TABLE refers (seq bigint REFERENCES narvik_sessions (seq));
		INSERT INTO refers SELECT seq FROM narvik_sessions},
	'a key of another table that refers to the row' => q{
		CREATE TABLE refers (seq bigint REFERENCES narvik_sessions (seq), expires_at timestamptz);
		INSERT INTO refers SELECT seq FROM narvik_sessions;
		CREATE UNIQUE INDEX ON narvik_sessions (seq, expires_at);
		INSERT INTO refers SELECT seq, expires_at FROM narvik_sessions;
		ALTER TABLE refers ADD FOREIGN KEY (seq, expires_at) REFERENCES narvik_sessions (seq, expires_at)},
	'an owner without rights' => q{ALTER TABLE narvik_sessions OWNER TO keeper},
	'an index that cannot take the row' => q{
		CREATE FUNCTION raise(timestamptz, text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
			BEGIN IF $1 > '2020-01-01' AND current_setting('my.ready', true) IS NULL THEN RAISE 'not in my index'; END IF; RETURN 1; END $$;
		SET my.ready = 1;
		CREATE INDEX ON narvik_sessions (raise(expires_at, user_id));
		CREATE TABLE refers (seq bigint REFERENCES narvik_sessions (seq));
		INSERT INTO refers SELECT seq FROM narvik_sessions});

foreach my $obstacle (sort keys %obstacles)
{
	my $free = $obstacle eq 'nothing';
	my $db = $obstacle =~ s/\W/_/gr;
	my $expected = $free ? "alice|t|f" : "alice|f|t";
	make_database($db, $obstacles{$obstacle});
	my $rows = "SELECT string_agg(expires_at::text, ' ' ORDER BY seq) FROM auth.narvik_sessions";
	my $before = $node->safe_psql($db, $rows);
	my $log = -s $node->logfile;

	my ($out, $err) = query(
		$db, qq{
		SET client_min_messages = error;
		BEGIN;
		$validate('due');
		SELECT count(*) FROM narvik_validate_session('dead');
		SELECT current_user, current_setting('search_path'), current_setting('work_mem');
		COMMIT});
	is($out, "$expected\n0\nwebapp|auth, public|4MB", "$obstacle: the session is valid, the expired one is not");
	is($err, '', "$obstacle: and the transaction goes on");
	my $changed = $node->safe_psql($db, $rows) ne $before;
	is($changed, $free, "$obstacle: rows are " . ($free ? 'written' : 'as they were'));
	next if $free;
	is($node->safe_psql($db, q{SELECT count(*) FROM pg_class WHERE relname = 'left_behind'}), '0', "$obstacle: nothing stays of it");

	($out, $err) = query(
		$db, qq{
		SET client_min_messages = error;
		SELECT narvik_authenticate('due');
		BEGIN;
		SELECT narvik_authenticate('due');
		SAVEPOINT s;
		$validate('due');
		SELECT count(*) FROM narvik_validate_session('dead');
		SELECT narvik_current_user_id();
		ROLLBACK TO s;
		SELECT narvik_current_user_id();
		DO \$\$ BEGIN PERFORM narvik_validate_session('due'); EXCEPTION WHEN OTHERS THEN RAISE; END \$\$;
		COMMIT;
		BEGIN ISOLATION LEVEL REPEATABLE READ; $validate('due'); COMMIT;
		BEGIN ISOLATION LEVEL SERIALIZABLE; $validate('due'); COMMIT});
	is( "$err$out", "alice\nalice\nalice|f|t\n0\nalice\nalice\nalice|f|t\nalice|f|t",
		"$obstacle: the identity stays, in every kind of transaction");
	my @warnings = slurp_file($node->logfile, $log) =~ /WARNING:  validation could not write to the table of sessions/g;
	is(scalar @warnings, 2, "$obstacle: each connection tells the log once");
}

my $log = slurp_file($node->logfile);
like($log, qr/WARNING:  validation could not write.*\n.*DETAIL:  not in my table\n/, 'and why');
unlike($log, qr/WARNING:  [^\n]*dead/, 'not for which token');

# ---- events that cannot be written ---------------------------------------------

# What has no event is written, what would have one is left: an expired session, and
# one whose replaced token is seen again.
my %without_events = (
	'their table has a trigger that raises' => q{
		CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my log'; END $$;
		CREATE TRIGGER t BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION raise()},
	'their table has a constraint' => 'ALTER TABLE narvik_events ADD CHECK (at < now()) NOT VALID',
	'their table has another column' => 'ALTER TABLE narvik_events ADD COLUMN more text NOT NULL',
	'their table has lost a column' => 'ALTER TABLE narvik_events DROP COLUMN detail',
	'their table is not there' => 'ALTER EXTENSION narvik DROP TABLE narvik_events',
	'their table has another owner' => 'ALTER TABLE narvik_events OWNER TO keeper',
	'their numbers are used up' => q{SELECT setval('narvik_events_seq_seq', 9223372036854775807)});
foreach my $how (sort keys %without_events)
{
	my $db = $how =~ s/\W/_/gr;
	make_database(
		$db, qq{
		SET narvik.detect_reuse = on;
		SELECT narvik_save_session(narvik_session_id('replaced'), 'bob', now() + interval '29 days');
		SELECT FROM narvik_rotate_session('replaced');
		$without_events{$how};
		ALTER DATABASE $db SET narvik.detect_reuse = on;
		ALTER DATABASE $db SET narvik.events = on});
	my $log = -s $node->logfile;
	my ($out, $err) = query(
		$db, qq{
		SET client_min_messages = error;
		BEGIN;
		$validate('due');
		SELECT count(*) FROM narvik_validate_session('dead');
		SELECT count(*) FROM narvik_validate_session('replaced');
		SELECT narvik_authenticate('due');
		COMMIT});
	is("$err$out", "alice|t|f\n0\n0\nalice", "$how: validation answers, and extends");
	is( $node->safe_psql($db, 'SELECT user_id, count(*) FROM auth.narvik_sessions GROUP BY user_id ORDER BY user_id'),
		"alice|2\nbob|1", "$how: what would have an event is left");
	like(slurp_file($node->logfile, $log), qr/WARNING:  validation could not write to the table of sessions/, "$how: the log says so");
	$node->safe_psql(
		$db, q{
		SET narvik.events = off;
		SET search_path = auth, public;
		SELECT narvik_validate_session('dead'), narvik_validate_session('replaced')});
	is( $node->safe_psql($db, 'SELECT user_id, count(*) FROM auth.narvik_sessions GROUP BY user_id ORDER BY user_id'),
		'alice|1', "$how: and goes without one");
}

# ---- what has to end the statement ---------------------------------------------

make_database(
	'slow', q{
	CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100); RETURN NEW; END $$;
	CREATE TRIGGER t BEFORE UPDATE OR DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION wait()});
foreach my $token ('due', 'dead')
{
	my ($out, $err) = query(
		'slow',
		"\\set ON_ERROR_STOP 0\nSET statement_timeout = '500ms'; $validate('$token'); SET statement_timeout = 0; SELECT 'goes on'");
	like($err, qr/canceling statement due to statement timeout/, "$token: a cancel of the statement stays one");
	is($out, 'goes on', "$token: and ends its transaction");
	my $psql = $node->background_psql('slow', on_error_stop => 0);
	$psql->query_until(qr/go/, "\\echo go\nSELECT auth.narvik_validate_session('$token');\n");
	ok( $node->poll_query_until(
			'postgres', q{
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'slow' AND wait_event = 'PgSleep'}),
		"$token: terminated");
	ok( $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'slow'}),
		"$token: a termination stays one");
	eval { $psql->quit };
}

make_database(
	'conflict', q{
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE USING ERRCODE = CASE OLD.user_id WHEN 'memory' THEN 'out_of_memory' ELSE 'serialization_failure' END; END $$;
	CREATE TRIGGER t BEFORE UPDATE OR DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION fail();
	SELECT narvik_save_session(narvik_session_id('memory'), 'memory', now() + interval '1 day')});
foreach my $case ([ 'due', '40001' ], [ 'memory', '53200' ])
{
	my ($out, $err) = query('conflict', "\\set ON_ERROR_STOP 0\n\\set VERBOSITY sqlstate\n$validate('$case->[0]'); SELECT 'goes on'");
	is($out, 'goes on', "SQLSTATE $case->[1] ends its transaction");
	like($err, qr/ERROR:  $case->[1]/, "SQLSTATE $case->[1] stays an error");
}

# ---- no transaction IDs left -----------------------------------------------------

make_database('exhausted', '');
$node->append_conf('postgresql.conf', 'autovacuum_max_workers = 1');
$node->stop;
my $next_xid = 2**31 - 1_000_000;
my $segment = sprintf '%s/pg_xact/%04X', $node->data_dir, $next_xid >> 20;
append_to_file($segment, "\0" x (32 * 8192));
command_ok([ 'pg_resetwal', '--pgdata', $node->data_dir, '--next-transaction-id', $next_xid ], 'the transaction IDs run out');
$node->start;
(undef, my $err) = query(
	'exhausted', q{\set VERBOSITY sqlstate
	SELECT narvik_create_session('alice')});
like($err, qr/ERROR:  54000/, 'nothing can be written');
my ($out, $complaint) = query('exhausted', qq{$validate('due'); SELECT count(*) FROM narvik_validate_session('dead')});
is($out, "alice|f|t\n0", 'the session is valid, the expired one is not');
like($complaint, qr/DETAIL:  database is not accepting commands/, 'and the warning says why');

$node->stop;
done_testing();
