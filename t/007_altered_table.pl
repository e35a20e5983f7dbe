# Whatever a superuser does to the table, every function gives a right answer or
# an error, and the server goes on.  Once it is mended, so do connections that
# have met the broken table.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;

$node->safe_psql('postgres', 'CREATE EXTENSION pgcrypto');
# One check for each thing a function does; the file tells what they answer.
$node->safe_psql('postgres', slurp_file('t/lib/probe.sql'));

my $admin = $node->background_psql('postgres');
my $same = $node->background_psql('postgres', on_error_stop => 0);
$_->query_safe('SET client_min_messages = error') foreach ($admin, $same);
my $same_pid = $same->query_safe('SELECT pg_backend_pid()');
my $log_start = -s $node->logfile;

sub seed
{
	$admin->query_safe(
		q{
		SELECT narvik_save_session(narvik_session_id('due'), 'u', now() + interval '10 days', '{"n": 1}');
		SELECT narvik_save_session(narvik_session_id('fresh'), 'u', now() + interval '29 days', '{"n": 1}');
		SELECT narvik_save_session(narvik_session_id('old'), 'u', now() - interval '1 day', '{"n": 1}');
		UPDATE narvik_sessions SET replaced_ids = ARRAY[sha256('replaced')], replaced_at = ARRAY[now()] WHERE id = decode(narvik_session_id('fresh'), 'hex');
	});
	return;
}

sub fresh_extension
{
	$admin->query_safe(
		'DROP EXTENSION IF EXISTS narvik CASCADE; DROP SCHEMA IF EXISTS other CASCADE;
		DROP TABLE IF EXISTS narvik_sessions, narvik_events, elsewhere, refers, users CASCADE; CREATE EXTENSION narvik');
	seed();
	return;
}

# Outcomes of all checks in the connection that knew the table before.
sub probe_same { return split /\n/, $same->query_safe('SELECT * FROM probe.all_checks()') }

# And in one that has not seen it.
sub probe_new
{
	return split /\n/, $node->safe_psql('postgres', 'SELECT * FROM probe.all_checks()');
}

# The outcomes that are no success, as one text.
sub failures
{
	return join("\n", grep { !/^\w+ ok$/ } @_);
}

sub all_work
{
	my ($how) = @_;
	is(failures(probe_same()), '', "$how: every function works, in a connection that has known the table");
	is(failures(probe_new()), '', "$how: every function works, in a new connection");
	return;
}

fresh_extension();
all_work('as installed');

# What is done to the table, and how it is undone where it is.  "may" matches
# what else than 'ok' and an error is right.
my $refused = qr/^\w+ refused$/;                                  # the table swallows writes
my $validation_refused = qr/^(validate\w*|replaced) refused$/;    # validation answers without the write
my $anything = qr/./;                                             # it holds nonsense, only a crash would be wrong
my $no_content = qr/^(?!\w+ WRONG: [({])/;                        # sessions may be lost, not be made up
my $t = 'ALTER TABLE narvik_sessions';
my @cases;

push @cases, { do => "ALTER EXTENSION narvik DROP SEQUENCE narvik_sessions_seq_seq; $t DROP COLUMN seq CASCADE" };
push @cases, { do => "$t DROP COLUMN $_ CASCADE" }
  foreach qw(id user_id created_at expires_at ends_at authenticated_at active_at lifetime sliding data purge_hour replaced_ids replaced_at);
push @cases,
  { do => "$t RENAME COLUMN $_ TO renamed", undo => "$t RENAME COLUMN renamed TO $_" }
  foreach
  qw(seq id user_id created_at expires_at ends_at authenticated_at active_at lifetime sliding data purge_hour replaced_ids replaced_at);

# Retyped: some of these hold the same values in other bytes, some are read
# without an error if nobody looks at the type.
foreach (
	[ 'seq', 'integer' ], [ 'seq', 'smallint' ],
	[ 'user_id', 'varchar(100)', 'text COLLATE "C"' ], [ 'user_id', q{bytea USING convert_to(user_id, 'UTF8')} ],
	[ 'user_id', 'name' ], [ 'user_id', 'text COLLATE "de-x-icu"' ],
	[ 'created_at', 'timestamp' ], [ 'created_at', 'date' ], [ 'created_at', 'text' ],
	[ 'expires_at', 'timestamp' ], [ 'expires_at', 'text' ],
	[ 'expires_at', 'bigint USING extract(epoch FROM expires_at)' ], [ 'expires_at', 'timestamptz(0)' ],
	[ 'lifetime', 'text' ], [ 'lifetime', 'bigint USING NULL' ],
	[ 'sliding', 'text' ], [ 'sliding', 'integer USING sliding::integer' ],
	[ 'data', 'json', 'jsonb USING data::jsonb' ], [ 'data', 'text' ],
	[ 'data', 'integer USING 1' ],
	[ 'active_at', 'timestamp' ], [ 'active_at', 'text' ], [ 'authenticated_at', 'date' ],
	[ 'replaced_ids', 'text[]' ], [ 'replaced_at', 'timestamp[]' ],
	[ 'purge_hour', 'bigint' ], [ 'purge_hour', 'smallint USING 1' ], [ 'purge_hour', 'text' ])
{
	my ($column, $type, $back) = @$_;
	push @cases, {
		do => "$t ALTER COLUMN $column TYPE $type",
		undo => $back ? "$t ALTER COLUMN $column TYPE $back" : undef };
}
push @cases, { do => "$t DROP CONSTRAINT narvik_sessions_id_excl; $t ALTER COLUMN id TYPE $_" }
  foreach q{text USING encode(id, 'hex')}, q{uuid USING encode(substring(id, 1, 16), 'hex')::uuid};
push @cases, { do => "$t ALTER COLUMN id TYPE text USING encode(id, 'hex')" };

# Dropped and put back at the end: other attribute numbers.
push @cases, {
	do => "$t DROP COLUMN sliding, DROP COLUMN lifetime; $t ADD COLUMN lifetime interval,
		   ADD COLUMN sliding boolean NOT NULL DEFAULT true"
};
push @cases, {
	do => "CREATE TABLE elsewhere AS TABLE narvik_sessions;
		   $t DROP COLUMN id, DROP COLUMN data; $t ADD COLUMN data jsonb, ADD COLUMN id bytea;
		   UPDATE narvik_sessions AS s SET id = e.id, data = e.data FROM elsewhere AS e WHERE e.seq = s.seq;
		   $t ADD CONSTRAINT narvik_sessions_id_excl EXCLUDE USING hash (id WITH =)"
};
push @cases, { do => "$t ADD COLUMN more text" }, { do => "$t ADD COLUMN more integer NOT NULL DEFAULT 7" },
  { do => "$t ADD COLUMN more text GENERATED ALWAYS AS (upper(user_id)) STORED" },
  { do => "$t ADD COLUMN more integer; UPDATE narvik_sessions SET more = 1; $t ALTER COLUMN more SET NOT NULL",
	undo => "$t DROP COLUMN more" };

# NULL where none should be, and values that no function of narvik's stores.
push @cases, { do => "$t ALTER COLUMN $_ DROP NOT NULL; UPDATE narvik_sessions SET $_ = NULL", may => $no_content }
  foreach qw(id created_at expires_at sliding data purge_hour);
push @cases, { do => "UPDATE narvik_sessions SET $_", may => $anything }
  foreach q{data = '[1, 2]'}, q{data = '"text"'}, q{data = 'null'}, q{expires_at = 'infinity'},
  q{expires_at = '-infinity'}, q{created_at = 'infinity'}, q{created_at = '-infinity'},
  q{created_at = '294276-12-31'}, q{lifetime = '-1 day'}, q{lifetime = '0'},
  q{lifetime = '178000000 years'}, q{lifetime = '2147483647 days'}, q{purge_hour = -2147483648},
  q{user_id = ''}, q{user_id = repeat('u', 2000)};
push @cases,
  { do => "UPDATE narvik_sessions SET id = substring(id, 1, 1) || seq::text::bytea", may => $no_content },
  { do => "UPDATE narvik_sessions SET id = id || repeat('x', 4000)::bytea", may => $no_content };

push @cases,
  { do => "UPDATE narvik_sessions SET $_", may => qr/^replaced refused$/ }
  foreach q{active_at = 'infinity'}, q{active_at = '-infinity'}, q{authenticated_at = 'infinity'}, q{active_at = '294276-12-31'},
  q{replaced_ids = ARRAY[NULL, '', sha256('replaced')], replaced_at = ARRAY[now()]}, q{replaced_ids = '{}', replaced_at = '{}'},
  q{replaced_ids = ARRAY[ARRAY[sha256('replaced')], ARRAY[sha256('x')]], replaced_at = NULL},
  q{replaced_ids = ARRAY[sha256('replaced')], replaced_at = ARRAY['infinity'::timestamptz]},
  q{replaced_ids = array_fill('x'::bytea, ARRAY[3], ARRAY[-5]), replaced_at = array_fill(now(), ARRAY[3], ARRAY[-5])};

# Indexes and constraints.
push @cases,
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl",
	undo => "$t ADD CONSTRAINT narvik_sessions_id_excl EXCLUDE USING hash (id WITH =)" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl; $t ADD UNIQUE (id)" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl;
		   $t ADD CONSTRAINT narvik_sessions_id_excl EXCLUDE USING hash (id WITH =) WHERE (NOT sliding)" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl;
		   CREATE INDEX narvik_sessions_id_excl ON narvik_sessions USING hash (id)" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl;
		   CREATE INDEX narvik_sessions_id_excl ON narvik_sessions USING hash (user_id)" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl;
		   CREATE INDEX narvik_sessions_id_excl ON narvik_sessions USING hash ((id || 'x'))" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl;
		   CREATE INDEX narvik_sessions_id_excl ON narvik_sessions USING btree (id)" },
  { do => "$t DROP CONSTRAINT narvik_sessions_id_excl;
		   CREATE TABLE elsewhere (id bytea, EXCLUDE USING hash (id WITH =));
		   ALTER INDEX elsewhere_id_excl RENAME TO narvik_sessions_id_excl" },
  # as a CREATE INDEX CONCURRENTLY that failed leaves one: not kept up to date
  { do => "UPDATE pg_index SET indisvalid = false, indisready = false
		   WHERE indexrelid = 'narvik_sessions_id_excl'::regclass; $t SET (fillfactor = 90)",
	undo => "UPDATE pg_index SET indisvalid = true, indisready = true
			 WHERE indexrelid = 'narvik_sessions_id_excl'::regclass; $t SET (fillfactor = 91)" },
  { do => "$t RENAME CONSTRAINT narvik_sessions_id_excl TO renamed",
	undo => "$t RENAME CONSTRAINT renamed TO narvik_sessions_id_excl" },
  { do => "$t DROP CONSTRAINT narvik_sessions_pkey" },
  { do => 'DROP INDEX narvik_sessions_user_id_idx' },
  { do => 'DROP INDEX narvik_sessions_purge_hour_idx' },
  { do => 'DROP INDEX narvik_sessions_replaced_ids_idx' },
  { do => "UPDATE pg_index SET indisvalid = false, indisready = false
		   WHERE indexrelid = 'narvik_sessions_replaced_ids_idx'::regclass; $t SET (fillfactor = 90)" },
  { do => 'DROP INDEX narvik_events_user_id_idx' },
  { do => 'CREATE INDEX ON narvik_sessions (expires_at); CREATE INDEX ON narvik_sessions USING hash (id)' },
  { do => "$t ADD CHECK (user_id <> 'w')" },
  { do => "ALTER EXTENSION narvik DROP SEQUENCE narvik_sessions_seq_seq;
		   $t ALTER COLUMN seq DROP IDENTITY" },
  { do => "CREATE TABLE refers (s bigint REFERENCES narvik_sessions);
		   INSERT INTO refers SELECT seq FROM narvik_sessions",
	undo => 'DROP TABLE refers', may => $validation_refused },
  { do => "CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('u');
		   $t ADD FOREIGN KEY (user_id) REFERENCES users" };

# Where it is and what it is.
push @cases,
  { do => "$t RENAME TO elsewhere", undo => 'ALTER TABLE elsewhere RENAME TO narvik_sessions' },
  { do => "CREATE SCHEMA other; $t SET SCHEMA other",
	undo => 'ALTER TABLE other.narvik_sessions SET SCHEMA public; DROP SCHEMA other' },
  { do => 'ALTER EXTENSION narvik DROP TABLE narvik_sessions',
	undo => 'ALTER EXTENSION narvik ADD TABLE narvik_sessions' },
  { do => 'ALTER EXTENSION narvik DROP TABLE narvik_sessions;
		   ALTER EXTENSION narvik DROP SEQUENCE narvik_sessions_seq_seq; DROP TABLE narvik_sessions' },
  { do => "ALTER EXTENSION narvik DROP TABLE narvik_sessions; $t RENAME TO elsewhere;
		   CREATE VIEW narvik_sessions AS TABLE elsewhere; ALTER EXTENSION narvik ADD VIEW narvik_sessions" },
  { do => "ALTER EXTENSION narvik DROP TABLE narvik_sessions; $t RENAME TO elsewhere;
		   CREATE TABLE narvik_sessions (LIKE elsewhere INCLUDING IDENTITY) PARTITION BY HASH (user_id);
		   ALTER EXTENSION narvik ADD TABLE narvik_sessions" },
  { do => "ALTER EXTENSION narvik DROP TABLE narvik_sessions; $t RENAME TO elsewhere;
		   CREATE SEQUENCE narvik_sessions; ALTER EXTENSION narvik ADD SEQUENCE narvik_sessions" },
  { do => "CREATE TABLE refers () INHERITS (narvik_sessions)" },
  { do => "$t SET UNLOGGED", undo => "$t SET LOGGED" },
  { do => "$t SET (fillfactor = 10)" },
  { do => "$t ALTER COLUMN data SET STORAGE EXTERNAL, ALTER COLUMN user_id SET STORAGE PLAIN" };

# The table of events.
my $e = 'ALTER TABLE narvik_events';
push @cases,
  { do => "$e RENAME TO elsewhere", undo => 'ALTER TABLE elsewhere RENAME TO narvik_events' },
  { do => "CREATE SCHEMA other; $e SET SCHEMA other",
	undo => 'ALTER TABLE other.narvik_events SET SCHEMA public; DROP SCHEMA other' },
  { do => 'ALTER EXTENSION narvik DROP TABLE narvik_events', undo => 'ALTER EXTENSION narvik ADD TABLE narvik_events' },
  { do => "ALTER EXTENSION narvik DROP TABLE narvik_events; $e RENAME TO elsewhere;
		   CREATE TABLE narvik_events (LIKE elsewhere INCLUDING IDENTITY) PARTITION BY HASH (user_id);
		   ALTER EXTENSION narvik ADD TABLE narvik_events",
	undo => 'ALTER EXTENSION narvik DROP TABLE narvik_events; DROP TABLE narvik_events;
		   ALTER TABLE elsewhere RENAME TO narvik_events; ALTER EXTENSION narvik ADD TABLE narvik_events' },
  { do => "ALTER EXTENSION narvik DROP TABLE narvik_events; $e RENAME TO elsewhere;
		   CREATE VIEW narvik_events AS TABLE elsewhere; ALTER EXTENSION narvik ADD VIEW narvik_events" },
  { do => "$e SET UNLOGGED", undo => "$e SET LOGGED" },
  { do => "CREATE TABLE refers () INHERITS (narvik_events)" },
  { do => "$e ADD COLUMN more integer NOT NULL DEFAULT 7" },
  { do => "$e ADD COLUMN more text; $e ADD COLUMN when_written timestamptz GENERATED ALWAYS AS (at) STORED" },
  { do => "$e ADD COLUMN more integer NOT NULL", undo => "$e DROP COLUMN more" },
  { do => "$e DROP CONSTRAINT narvik_events_pkey" },
  { do => "$e ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
	undo => "$e NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY" },
  { do => "ALTER EXTENSION narvik DROP SEQUENCE narvik_events_seq_seq; $e ALTER COLUMN seq DROP IDENTITY" };
push @cases, { do => "ALTER EXTENSION narvik DROP SEQUENCE narvik_events_seq_seq; $e DROP COLUMN seq CASCADE" };
push @cases, { do => "$e DROP COLUMN $_ CASCADE" } foreach qw(at kind reason session_id user_id detail);
push @cases, { do => "$e RENAME COLUMN $_ TO renamed", undo => "$e RENAME COLUMN renamed TO $_" }
  foreach qw(seq at kind reason session_id user_id detail);

push @cases, { do => "$e ALTER COLUMN $_" }
  foreach 'seq TYPE integer', 'at TYPE timestamp', 'at TYPE timestamptz(0)', 'kind TYPE varchar(20)', 'reason TYPE name',
  'user_id TYPE text COLLATE "default"', q{session_id TYPE text USING encode(session_id, 'hex')}, 'detail TYPE json', 'detail TYPE text';
# Dropped and put back at the end: other attribute numbers.
push @cases, { do => "$e DROP COLUMN at; $e ADD COLUMN at timestamptz NOT NULL" };

# A column that is not what it was is one error, whoever would notice first.
foreach (@cases)
{
	$_->{state} = 55000
	  if $_->{do} =~ /^(ALTER EXTENSION \w+ DROP SEQUENCE \w+; )?(\Q$t\E|\Q$e\E) (DROP|RENAME|ALTER) COLUMN \w+( (CASCADE|TO|TYPE)\b|, |;)/;
}

# Row-level security, triggers and rules.
push @cases,
  { do => "$t ENABLE ROW LEVEL SECURITY", undo => "$t DISABLE ROW LEVEL SECURITY" },
  { do => "$t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
	undo => "$t NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY" };
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION probe.refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'refused by a trigger' USING ERRCODE = 'RF000'; END $$;
	CREATE FUNCTION probe.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
	CREATE FUNCTION probe.pass() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$;
});
foreach my $op ('INSERT', 'UPDATE', 'DELETE')
{
	push @cases,
	  { do => "CREATE TRIGGER a BEFORE $op ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION probe.refuse()",
		undo => 'DROP TRIGGER a ON narvik_sessions', may => $validation_refused },
	  { do => "CREATE TRIGGER a BEFORE $op ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION probe.swallow()",
		undo => 'DROP TRIGGER a ON narvik_sessions', may => $refused },
	  { do => "CREATE TRIGGER a BEFORE $op ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION probe.pass()" },
	  { do => "CREATE RULE a AS ON $op TO narvik_sessions DO INSTEAD NOTHING",
		undo => 'DROP RULE a ON narvik_sessions', may => $refused },
	  { do => "CREATE RULE a AS ON $op TO narvik_sessions DO ALSO SELECT 1",
		undo => 'DROP RULE a ON narvik_sessions' };
}

foreach my $case (@cases)
{
	my $how = $case->{do} =~ s/\s+/ /gr;
	$how =~ s/ALTER TABLE narvik_sessions /ALTER TABLE /g;
	fresh_extension();
	# Plans are made and caches filled before the change.
	is(failures(probe_same()), '', "before: $how");

	$admin->query_safe($case->{do});

	foreach ([ 'known', probe_same() ], [ 'new', probe_new() ])
	{
		my ($which, @outcomes) = @$_;
		# An internal error says that narvik was surprised, not that it looked.
		my @bad = grep { !/^\w+ ok$/ && !/^\w+ error (?!XX)/ } @outcomes;
		@bad = grep { /^\w+ error/ || $_ !~ $case->{may} } @bad if $case->{may};
		push @bad, grep { /^\w+ error (?!$case->{state})/ } @outcomes if $case->{state};
		is(scalar @outcomes, 21, "all checks ran ($which connection)");
		is(join("\n", @bad), '', "right answers or errors ($which connection): $how");
		note(join("\n", @outcomes));
	}
	if ($case->{undo})
	{
		$admin->query_safe($case->{undo});
		all_work("undone: $how");
	}
}

# -- what a superuser may do at any time without breaking anything

fresh_extension();
foreach my $sql (
	'REINDEX INDEX narvik_sessions_id_excl',
	'REINDEX TABLE narvik_sessions',
	'REINDEX TABLE CONCURRENTLY narvik_sessions',
	'VACUUM FULL narvik_sessions',
	'CLUSTER narvik_sessions USING narvik_sessions_pkey',
	'ANALYZE narvik_sessions',
	"$t SET (autovacuum_enabled = off)",
	"$t SET LOGGED",
	'CREATE ROLE keeper',
	"$t OWNER TO keeper; $e OWNER TO keeper",
	"$t OWNER TO postgres; $e OWNER TO postgres",
	'REINDEX TABLE narvik_events',
	'VACUUM FULL narvik_events',
	'CREATE SCHEMA other; ALTER EXTENSION narvik SET SCHEMA other',
	'ALTER EXTENSION pgcrypto SET SCHEMA other',
	'ALTER SCHEMA other RENAME TO another')
{
	$admin->query_safe($sql);
	my $schema = $sql =~ /another/ ? 'another' : 'other';
	$same->query_safe("SET search_path = public, $schema");
	is(failures(probe_same()), '', "in the same connection after: $sql");
	is( failures(
			split /\n/,
			$node->safe_psql(
				'postgres',
				"SET search_path = public, $schema; SELECT * FROM probe.all_checks()")),
		'',
		"in a new connection after: $sql");
}
$admin->query_safe('TRUNCATE another.narvik_sessions; SET search_path = public, another');
seed();
is(failures(probe_same()), '', 'in the same connection after TRUNCATE');
$admin->query_safe('SET search_path = public');

# Dropped and created elsewhere, all in one connection.
$admin->query_safe('DROP EXTENSION narvik; ALTER EXTENSION pgcrypto SET SCHEMA public');
like((probe_same())[0], qr/^create error 42883/, 'without the extension there are no functions');
foreach my $schema ('another', 'public', 'third')
{
	$same->query_safe("CREATE SCHEMA IF NOT EXISTS $schema; CREATE EXTENSION narvik SCHEMA $schema; SET search_path = public, $schema");
	$admin->query_safe("SET search_path = public, $schema");
	seed();
	is( failures(probe_same()), '',
		"dropped and created in schema $schema in one connection");
	$same->query_safe('DROP EXTENSION narvik');
}

# The same within a transaction, and undone with it.
$same->query_safe('SET search_path = public');
$admin->query_safe('SET search_path = public; CREATE EXTENSION narvik');
seed();
$same->query_safe('BEGIN; DROP EXTENSION narvik; CREATE EXTENSION narvik');
is( $same->query_safe(q{SELECT count(*) FROM narvik_validate_session('fresh')}), '0',
	'dropped and created within a transaction: a new table');
$same->query_safe('ROLLBACK');
is( $same->query_safe(q{SELECT count(*) FROM narvik_validate_session('fresh')}), '1',
	'after ROLLBACK: the old one');

# Altered within a transaction and undone with it.
$same->query_safe("BEGIN; $t RENAME COLUMN data TO renamed; SELECT * FROM probe.all_checks(); ROLLBACK");
all_work('altered within a transaction that was rolled back');

# -- the extension comes and goes while others use it

# Logging in can meet a deadlock with DROP EXTENSION, as any INSERT into a table
# with a sequence can.  Validation cannot.
my %busy;
my %work = (
	validates => q{SELECT extended FROM narvik_validate_session('fresh');},
	'logs in' => q{SELECT count(*) FROM narvik_create_session('busy');});
foreach my $what (sort keys %work)
{
	$busy{$what} = $node->background_psql('postgres', on_error_stop => 0);
	$busy{$what}->query_safe("\\set VERBOSITY sqlstate\nSET deadlock_timeout = '50ms'");
}
$admin->query_safe("\\set ON_ERROR_STOP 0\nSET deadlock_timeout = '10s'");

# Keeps them at work for a while.
sub let_work
{
	foreach (1 .. 10)
	{
		foreach my $what (keys %busy)
		{
			my $busy = $busy{$what};
			$busy->{stdin} .= "$work{$what}\n" x 50 if $busy->{stdin} eq '';
			$busy->{run}->pump_nb;
		}
		select(undef, undef, undef, 0.001);
	}
	return;
}

foreach (1 .. 40)
{
	let_work();
	$admin->query_safe('DROP EXTENSION narvik');
	let_work();
	$admin->query_safe('CREATE EXTENSION narvik');
	seed();
}
foreach my $what (sort keys %busy)
{
	my $busy = $busy{$what};
	# Errors come by another pipe than answers; this reads both to the end.
	$busy->query('');
	my %states = map { $_ => 1 } $busy->{stderr} =~ /ERROR:\s+(\w{5})/g;
	note("errors met by the connection that $what: " . join(' ', sort keys %states));
	ok($states{'42883'}, "the connection that $what met the absence of the extension");
	ok(!$states{'40P01'}, 'and no deadlock') if $what eq 'validates';
	$busy->{stderr} = '';
	is( $busy->query_safe(q{SELECT count(*) FROM narvik_validate_session('fresh')}),
		'1', 'and goes on working');
	$busy->quit;
}
fresh_extension();
all_work('in the end');

is($same->query_safe('SELECT pg_backend_pid()'), $same_pid, 'the connection has lived through all of it');
ok( !$node->log_contains('terminated by signal|server process .* exited|PANIC:|TRAP:', $log_start),
	'no server process crashed');

$admin->quit;
$same->quit;
$node->stop;
done_testing();
