# Whoever owns narvik's tables, or the linked table of users, can plant code in them
# that PostgreSQL evaluates whenever somebody else uses the table.  Whatever the
# purge worker does, and whatever function of narvik's a superuser calls, that code
# runs with its owner's rights, and leaves nothing behind in the superuser's
# connection.
#
# Two owners, neither of them a superuser, so that the code of one is not run with
# the rights of the other either.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $node = purging_server('main', "log_line_prefix = '%b|%a|'", 'log_error_verbosity = terse');

# ---- the owners' code -------------------------------------------------------

# Everything planted ends in deed(): it writes down as whom it runs, in the server
# log because that survives a rollback, and then tries to become more, and to leave
# something in the connection for the superuser to fall into.
my $arsenal = q{
	RESET ROLE;
	DROP SCHEMA IF EXISTS OWNER CASCADE;
	CREATE SCHEMA OWNER AUTHORIZATION OWNER;
	GRANT CREATE ON SCHEMA public TO OWNER;
	GRANT USAGE ON SCHEMA OWNER TO PUBLIC;
	SET ROLE OWNER;
	CREATE FUNCTION OWNER.note(plant text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		RAISE LOG 'planted: % ran as %', plant, current_user;
		RETURN true;
	END $$;
	CREATE FUNCTION OWNER.deed(plant text) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE
		attempts text[] := ARRAY[
			'RESET ROLE', 'SET ROLE postgres', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION postgres',
			'ALTER ROLE OWNER SUPERUSER', 'SET CONSTRAINTS ALL DEFERRED', 'SET search_path = OWNER, pg_catalog',
			'SET row_security = off', 'SET work_mem = 64', 'CREATE DOMAIN pg_temp.left_behind AS text', 'LISTEN left_behind', 'PREPARE left_behind AS SELECT 1',
			'CREATE TEMP VIEW narvik_stats AS SELECT OWNER.note(''' || plant || ''')',
			'DECLARE left_behind CURSOR WITH HOLD FOR SELECT OWNER.note(''' || plant || ''')'];
	BEGIN
		PERFORM OWNER.note(plant);
		FOR i IN 1 .. cardinality(attempts) LOOP
			BEGIN
				EXECUTE attempts[i];
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
		RETURN OWNER.note(plant);
	END $$;
	-- Where PostgreSQL wants an immutable function.  With constants it is evaluated
	-- when the expression is read or planned, with a column for each row.
	CREATE FUNCTION OWNER.evil(plant text, value text DEFAULT '') RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
	BEGIN
		RETURN OWNER.deed(plant);
	END $$;
	CREATE FUNCTION OWNER.evil_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM OWNER.deed(TG_ARGV[0]);
		RETURN coalesce(NEW, OLD);
	END $$;
};
$node->safe_psql(
	'postgres', 'ALTER DATABASE postgres SET narvik.purge = off; CREATE EXTENSION narvik CASCADE;
	CREATE ROLE sessions_owner LOGIN; CREATE ROLE users_owner LOGIN; CREATE ROLE app');

# ---- where it is planted ----------------------------------------------------

# A table of plants, name => SQL, that are tried together.  EVIL(column) is an
# expression that is evaluated both ways, TRIGGER the end of CREATE TRIGGER.
# "refused" matches what else than the right answer a call may give.
my $T = 'ALTER TABLE public.narvik_sessions';
my $U = 'ALTER TABLE users_owner.users';
my $E = 'ALTER TABLE public.narvik_events';
my $on_events = 'INSERT OR UPDATE OR DELETE ON public.narvik_events';
my $ID = 'ADD CONSTRAINT narvik_sessions_id_excl EXCLUDE USING hash (id WITH =)';
my $any = 'INSERT OR UPDATE OR DELETE ON public.narvik_sessions';

my @rounds = (
	{   on => 'sessions',
		plants => {
			# In front of narvik's own, which it takes when it comes to it.
			'predicate of an exclusion constraint on id' => "$T DROP CONSTRAINT narvik_sessions_id_excl;
			   $T ADD CONSTRAINT first EXCLUDE USING hash (id WITH =) WHERE (EVIL(user_id)); $T $ID",
			'predicate of an index on purge_hour' => 'DROP INDEX public.narvik_sessions_purge_hour_idx;
			   CREATE INDEX ON public.narvik_sessions (purge_hour) WHERE EVIL(user_id);
			   CREATE INDEX ON public.narvik_sessions (purge_hour)',
			'predicate of a hash index on id' => 'CREATE INDEX ON public.narvik_sessions USING hash (id) WHERE EVIL(user_id)',
			'predicate of an index on user_id' => 'CREATE INDEX ON public.narvik_sessions (user_id) WHERE EVIL(user_id)',
			'predicate of an index on data' => 'CREATE INDEX ON public.narvik_sessions USING gin (data) WHERE EVIL(user_id)',
			'index on an expression' => 'CREATE INDEX ON public.narvik_sessions ((EVIL(user_id)))',
			'expression behind purge_hour' => 'CREATE INDEX ON public.narvik_sessions (purge_hour, (EVIL(user_id)))',
			'exclusion constraint on an expression' => "$T ADD EXCLUDE ((EVIL(user_id)) WITH =, seq WITH =)",
			'statistics on an expression' => 'CREATE STATISTICS sessions_owner.s ON (EVIL(user_id)), seq FROM public.narvik_sessions',
			'check constraint' => "$T ADD CHECK (EVIL(user_id))",
			'default' => "$T ADD more1 boolean, ALTER more1 SET DEFAULT EVIL(now()::text)",
			'generated column' => "$T ADD more2 boolean GENERATED ALWAYS AS (EVIL(user_id)) STORED",
			'domain' => "CREATE DOMAIN sessions_owner.d AS text CHECK (EVIL(VALUE));
				$T ADD more3 sessions_owner.d DEFAULT 'x'",
			'policy' => "CREATE POLICY p ON public.narvik_sessions USING (EVIL(user_id)) WITH CHECK (EVIL(user_id));
				$T ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
			'table that inherits from sessions' => q{
				CREATE TABLE sessions_owner.child (CHECK (EVIL(user_id))) INHERITS (public.narvik_sessions);
				INSERT INTO sessions_owner.child (seq, id, user_id, created_at, expires_at, sliding, data, purge_hour)
					SELECT seq, id, user_id, created_at, expires_at, sliding, data, purge_hour FROM public.narvik_sessions;
				CREATE INDEX ON sessions_owner.child (purge_hour) WHERE EVIL(user_id);
				CREATE TRIGGER t BEFORE UPDATE OR DELETE ON sessions_owner.child FOR EACH ROW TRIGGER}
		} },
	{   on => 'sessions',
		plants => {
			'row trigger before' => "CREATE TRIGGER t1 BEFORE $any FOR EACH ROW TRIGGER",
			'row trigger after' => "CREATE TRIGGER t2 AFTER $any FOR EACH ROW TRIGGER",
			'statement trigger before' => "CREATE TRIGGER t3 BEFORE $any TRIGGER",
			'statement trigger after' => "CREATE TRIGGER t4 AFTER $any TRIGGER",
			'condition of a trigger' => q{
				CREATE FUNCTION sessions_owner.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
				CREATE TRIGGER t5 AFTER UPDATE ON public.narvik_sessions FOR EACH ROW
					WHEN (EVIL(NEW.user_id)) EXECUTE FUNCTION sessions_owner.nothing();
				CREATE TRIGGER t6 AFTER DELETE ON public.narvik_sessions FOR EACH ROW
					WHEN (EVIL(OLD.user_id)) EXECUTE FUNCTION sessions_owner.nothing()},
			'table that refers to sessions' => q{
				CREATE TABLE sessions_owner.refers (seq bigint REFERENCES public.narvik_sessions ON DELETE CASCADE);
				INSERT INTO sessions_owner.refers SELECT seq FROM public.narvik_sessions;
				CREATE TRIGGER t BEFORE DELETE ON sessions_owner.refers FOR EACH ROW TRIGGER;
				CREATE INDEX ON sessions_owner.refers (seq) WHERE EVIL(seq::text)},
			'table that sessions refer to' => qq{
				CREATE TABLE sessions_owner.people AS SELECT DISTINCT user_id AS id FROM public.narvik_sessions;
				ALTER TABLE sessions_owner.people ADD PRIMARY KEY (id);
				INSERT INTO sessions_owner.people VALUES ('new'), ('worker');
				$T ADD FOREIGN KEY (user_id) REFERENCES sessions_owner.people;
				CREATE INDEX ON sessions_owner.people (id) WHERE EVIL(id)},
			# From 17 on it would have to be without the identity column.
			$node->pg_version >= 17 ? () : (
				'key of a partitioned table that sessions are attached to' => q{
				CREATE TABLE sessions_owner.parent (LIKE public.narvik_sessions) PARTITION BY LIST ((EVIL(user_id)));
				ALTER TABLE sessions_owner.parent ATTACH PARTITION public.narvik_sessions FOR VALUES IN (true)}) } },
	{   on => 'events',
		plants => {
			'trigger on events before' => "CREATE TRIGGER t1 BEFORE $on_events FOR EACH ROW TRIGGER",
			'trigger on events after' => "CREATE TRIGGER t2 AFTER $on_events FOR EACH ROW TRIGGER",
			'statement trigger on events' => "CREATE TRIGGER t3 AFTER $on_events TRIGGER",
			'predicate of an index on events' => 'CREATE INDEX ON public.narvik_events (at) WHERE EVIL(user_id)',
			'index of events on an expression' => 'CREATE INDEX ON public.narvik_events ((EVIL(user_id)))',
			'statistics of events on an expression' =>
			  'CREATE STATISTICS sessions_owner.s ON (EVIL(user_id)), seq FROM public.narvik_events',
			'check constraint of events' => "$E ADD CHECK (EVIL(user_id))",
			'default of events' => "$E ADD more1 boolean, ALTER more1 SET DEFAULT EVIL(now()::text)",
			'default of a column of events' => "$E ALTER reason SET DEFAULT EVIL(now()::text)::text",
			'generated column of events' => "$E ADD more2 boolean GENERATED ALWAYS AS (EVIL(user_id)) STORED",
			'policy of events' => "CREATE POLICY p ON public.narvik_events USING (EVIL(user_id)) WITH CHECK (EVIL(user_id));
				$E ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY" } },
	# What would fire at commit, when the owner's rights are gone, is refused.
	{   on => 'sessions', refused => qr/^42501$|^alice\|f$/,
		plants => { 'deferred trigger' => "CREATE CONSTRAINT TRIGGER t AFTER $any DEFERRABLE INITIALLY DEFERRED FOR EACH ROW TRIGGER" } },
	{   on => 'sessions', refused => qr/^42501$|^alice\|f$/,
		plants => {
			'trigger deferred by a trigger' => "CREATE TRIGGER a BEFORE $any FOR EACH ROW TRIGGER;
			CREATE CONSTRAINT TRIGGER t AFTER $any DEFERRABLE FOR EACH ROW TRIGGER" } },
	{   on => 'sessions', refused => qr/^42501$|^alice\|f$/,
		plants => {
			'deferred trigger of another table' => "
			CREATE TABLE sessions_owner.other (id text);
			CREATE CONSTRAINT TRIGGER t AFTER INSERT ON sessions_owner.other
				DEFERRABLE INITIALLY DEFERRED FOR EACH ROW TRIGGER;
			CREATE FUNCTION sessions_owner.elsewhere() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN INSERT INTO sessions_owner.other VALUES (1); RETURN NULL; END';
			CREATE TRIGGER t AFTER $any FOR EACH ROW EXECUTE FUNCTION sessions_owner.elsewhere()" } },
	{   on => 'sessions', refused => qr/^55000$/,
		plants => { 'rule' => 'CREATE RULE r AS ON DELETE TO public.narvik_sessions DO ALSO SELECT EVIL(OLD.user_id)' } },
	{   on => 'users',
		plants => {
			'predicate of a unique index' => 'CREATE UNIQUE INDEX ON users_owner.users (id) WHERE EVIL(id)',
			'index on an expression' => 'CREATE INDEX ON users_owner.users (id, (EVIL(id)))',
			'statistics on an expression' => 'CREATE STATISTICS users_owner.s ON (EVIL(id)), id FROM users_owner.users',
			'check constraint' => "$U ADD CHECK (EVIL(id))",
			'default' => "$U ADD more1 boolean, ALTER more1 SET DEFAULT EVIL(now()::text)",
			'generated column' => "$U ADD more2 boolean GENERATED ALWAYS AS (EVIL(id)) STORED",
			'row trigger' => 'CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON users_owner.users FOR EACH ROW TRIGGER',
			'policy' => "CREATE POLICY p ON users_owner.users USING (EVIL(id));
				$U ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
			'table that inherits from users' => 'CREATE TABLE users_owner.child (CHECK (EVIL(id))) INHERITS (users_owner.users);
				CREATE UNIQUE INDEX ON users_owner.child (id) WHERE EVIL(id)'
		} },
	{   on => 'users',
		users => 'CREATE DOMAIN users_owner.key AS text; CREATE TABLE users_owner.users (id users_owner.key PRIMARY KEY)',
		plants => { 'constraint of the type of the key' => 'ALTER DOMAIN users_owner.key ADD CHECK (EVIL(VALUE))' } },
	# A type of somebody else's than the users': a user id is turned into a key
	# without its checks.
	{   on => 'sessions', judge_users => 0,
		users => 'CREATE DOMAIN users_owner.key AS text; RESET ROLE;
			ALTER DOMAIN users_owner.key OWNER TO sessions_owner; SET ROLE users_owner;
			CREATE TABLE users_owner.users (id users_owner.key PRIMARY KEY)',
		plants =>
		  { "constraint of the type of the key, which is somebody else's" => 'ALTER DOMAIN users_owner.key ADD CHECK (EVIL(VALUE))' },
		control => q{SELECT 'x'::users_owner.key} },
	{   on => 'users',
		users => q{CREATE TYPE users_owner.key AS ENUM ('alice', 'bob', 'many', 'deleted', 'renamed', 'new', 'worker');
			CREATE TABLE users_owner.users (id users_owner.key PRIMARY KEY)},
		plants => {
			'cast of the type of the key' => q{
			CREATE FUNCTION users_owner.to_text(users_owner.key) RETURNS text LANGUAGE plpgsql AS
				$$ BEGIN PERFORM DEED(); RETURN enum_out($1); END $$;
			CREATE CAST (users_owner.key AS text) WITH FUNCTION users_owner.to_text AS ASSIGNMENT} },
		control => 'SELECT id::text FROM users_owner.users' },
	{   on => 'users',
		users => 'CREATE TABLE users_owner.users (id text PRIMARY KEY) PARTITION BY HASH (id);
			CREATE TABLE users_owner.part PARTITION OF users_owner.users FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
		plants => {
			'index of a partition' => 'CREATE UNIQUE INDEX ON users_owner.part (id) WHERE EVIL(id)',
			'check constraint of a partition' => 'ALTER TABLE users_owner.part ADD CHECK (EVIL(id))' } },
	# What cannot be linked is looked at, too.
	{   on => 'users', link => '42830',
		plants => {
			'only index of a table to link' => 'CREATE TABLE users_owner.other (id text);
			CREATE UNIQUE INDEX ON users_owner.other (id) WHERE EVIL(id)' } },
	{   on => 'users', link => '42830',
		plants => {
			'partition key of a table to link' => 'CREATE TABLE users_owner.other (id text) PARTITION BY LIST ((EVIL(id)));
			 CREATE TABLE users_owner.part PARTITION OF users_owner.other DEFAULT' } },
	{   on => 'users', link => '42809',
		plants => { 'view to link' => 'CREATE VIEW users_owner.other AS SELECT id FROM users_owner.users WHERE EVIL(id)' } });

# ---- what is called ---------------------------------------------------------

# The statement, its answer or SQLSTATE, and what comes before it in a transaction.
# Each in a connection that has not seen the tables yet.
my @calls = (
	[ q{SELECT user_id FROM narvik_create_session('alice')}, 'alice' ],
	[ q{SELECT user_id FROM narvik_create_session('bob')}, 'bob', 'SET LOCAL narvik.max_sessions_per_user = 1' ],
	[ q{SELECT user_id, extended FROM narvik_validate_session('due')}, 'alice|t' ],
	[ q{SELECT user_id, extended FROM narvik_validate_session('fresh')}, 'alice|f' ],
	[ q{SELECT user_id FROM narvik_validate_session('expired')}, '' ],
	[ q{SELECT narvik_authenticate('fresh')}, 'alice' ],
	[   q{SELECT narvik_current_user_id(), narvik_current_session_id() = narvik_session_id('fresh')}, 'alice|t',
		q{SELECT narvik_authenticate('fresh') \g /dev/null} ],
	[ q{SELECT id FROM narvik_validate_user('fresh', NULL::users_owner.users)}, 'alice' ],
	[ q{SELECT count(*) FROM narvik_fetch_sessions_for_user('many')}, '2' ],
	[ q{SELECT narvik_save_session(narvik_session_id('saved'), 'alice', now() + interval '1 day')}, '' ],
	[ q{SELECT user_id IS NULL FROM narvik_create_guest_session()}, 't' ],
	[   q{SELECT p.user_id, p.data FROM narvik_create_guest_session('{"k": 1}') AS c, narvik_promote_session(c.token, 'alice') AS p},
		'alice|{"k": 1}' ],
	[   q{SELECT narvik_put_session(narvik_session_id('put'), 'alice', now() + interval '1 day', '{}'),
		narvik_put_session(narvik_session_id('put'), NULL, now() + interval '1 day', '{}', true),
		narvik_change_session_id(narvik_session_id('put'), narvik_session_id('changed'))}, 't|t|t' ],
	[   q{SELECT user_id FROM narvik_authenticate_cookie('narvik_session=fresh')
		UNION ALL SELECT user_id FROM narvik_authenticate_cookie('x=y'::bytea)}, 'alice' ],
	[ q{SELECT user_id FROM narvik_fetch_session(narvik_session_id('fresh'))}, 'alice' ],
	[ q{SELECT narvik_update_session_data(narvik_session_id('data'), '{"k": 1}')}, '{"k": 1}' ],
	[ q{SELECT user_id FROM narvik_rotate_session('rotate')}, 'alice' ],
	[ q{SELECT user_id FROM narvik_reauthenticate_session('reauthenticate')}, 'alice' ],
	[ q{SELECT narvik_current_data(), narvik_is_fresh('0')}, '{}|f', q{SELECT narvik_authenticate('fresh') \g /dev/null} ],
	[ q{SELECT count(*) >= 0 FROM narvik_fetch_events_for_user('alice')}, 't' ],
	[ q{SELECT narvik_invalidate_session(narvik_session_id('invalidate'))}, 't' ],
	[ q{SELECT narvik_delete_session(narvik_session_id('delete'))}, 't' ],
	[ q{SELECT narvik_delete_sessions_for_user('many')}, '2' ],
	[ q{SELECT narvik_update_session_expiry(narvik_session_id('expiry'), now())}, 't' ],
	[ q{SELECT narvik_delete_all_expired_sessions()}, '1', q{SET LOCAL narvik.session_max_age = '3650d'} ],
	[   q{SELECT length(narvik_generate_token()), narvik_cookie_name(), narvik_create_cookie('t') <> '',
		narvik_create_blank_cookie() <> '', narvik_read_cookie('narvik_session=t')}, '32|narvik_session|t|t|t' ],
	[ q{SELECT narvik_grant('app')}, '' ],
	[ q{SELECT narvik_revoke('app')}, '' ],
	[ q{SELECT created >= 0 FROM narvik_stats()}, 't' ],
	[ q{SELECT narvik_reset_stats()}, '' ],
	[ q{SELECT narvik_users_changed()}, '39P01' ],
	[ q{SELECT narvik_link_users('users_owner.users')}, '' ],
	[ q{SELECT id_column, whole FROM narvik_linked_users()}, 'id|t' ],
	[ q{SELECT narvik_unlink_users()}, '' ],
	[ q{SELECT narvik_link_users('users_owner.users')}, '' ]);

# Here PostgreSQL itself evaluates what the owner of the users planted, as in every
# statement of a superuser on somebody else's table.  So that is only compared with
# what happens without narvik's triggers; what is planted in narvik_sessions is judged.
my @on_the_users = (
	[ q{DELETE FROM users_owner.users WHERE id = 'deleted' RETURNING id}, 'deleted' ],
	[ q{UPDATE users_owner.users SET id = 'new' WHERE id = 'renamed' RETURNING id}, 'new' ],
	[ q{TRUNCATE users_owner.users}, '' ]);

is( $node->safe_psql(
		'postgres', q{
		SELECT proname FROM pg_proc AS p
		JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'
		GROUP BY proname ORDER BY proname COLLATE "C"}),
	join("\n", sort keys %{ { map { $_ => 1 } map { $_->[0] =~ /(narvik_\w+)\(/g } @calls } }),
	'every function of the extension is called here');

# A server with assertions ends by itself when it loads a domain whose check has a
# constant call of such code: "in_progress_offset + 1 == in_progress_list_len" in
# typcache.c.
my $assertions = $node->safe_psql('postgres', 'SHOW debug_assertions') eq 'on';

# Some minor releases of PostgreSQL let such code leave types in
# pg_temp, also in a superuser's ANALYZE.  Where ANALYZE leaves some, those of
# narvik's calls are not judged.
$node->safe_psql('postgres', $arsenal =~ s/OWNER/users_owner/gr);
$node->safe_psql(
	'postgres', q{
	CREATE TABLE users_owner.other AS SELECT 'x' AS id;
	CREATE INDEX ON users_owner.other (users_owner.evil('ANALYZE', id))},
	connstr => $node->connstr('postgres') . ' user=users_owner');
my $types = '(SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace = pg_catalog.pg_my_temp_schema())';
if ($node->safe_psql('postgres', "ANALYZE users_owner.other; SELECT $types"))
{
	note('this PostgreSQL lets ANALYZE leave types behind');
	$types = '0';
}

# In the superuser's connection afterwards: who they are, what was set, temporary
# objects, prepared statements, cursors, channels.
my $left_behind = qq{
	SELECT current_user, session_user,
		   (SELECT string_agg(name, ' ') FROM pg_catalog.pg_settings WHERE source = 'session' AND name <> 'application_name'),
		   (SELECT count(*) FROM pg_catalog.pg_class WHERE relpersistence = 't'),
		   $types,
		   (SELECT count(*) FROM pg_catalog.pg_prepared_statements),
		   (SELECT count(*) FROM pg_catalog.pg_cursors WHERE is_holdable),
		   (SELECT count(*) FROM pg_catalog.pg_listening_channels())};
my $nothing = 'postgres|postgres||0|0|0|0|0';

# ---- a round ----------------------------------------------------------------

my $log_offset;

sub run_as
{
	my ($role, $what, $sql) = @_;
	return $node->psql(
		'postgres', "SET application_name = '$what';\n$sql",
		connstr => $node->connstr('postgres') . " user=$role", on_error_stop => 0);
}

# The tables, their owners, users and sessions.
sub settle
{
	my ($users_sql) = @_;
	$node->safe_psql(
		'postgres', 'SET client_min_messages = error; DROP EXTENSION narvik CASCADE;'
		  . join('', map { $arsenal =~ s/OWNER/$_/gr } 'sessions_owner', 'users_owner') . q{
		RESET ROLE;
		ALTER ROLE sessions_owner NOSUPERUSER;
		ALTER ROLE users_owner NOSUPERUSER;
		CREATE EXTENSION narvik;
		SELECT narvik_reset_stats();
		ALTER TABLE narvik_sessions OWNER TO sessions_owner;
		ALTER TABLE narvik_events OWNER TO sessions_owner;
		SET ROLE users_owner;
		} . $users_sql . q{;
		INSERT INTO users_owner.users VALUES ('alice'), ('bob'), ('many'), ('deleted'), ('renamed'), ('worker');
		RESET ROLE;
		SELECT narvik_link_users('users_owner.users');
		SELECT narvik_save_session(narvik_session_id(t), 'alice', now() + interval '29 days')
		FROM unnest('{fresh,data,rotate,reauthenticate,invalidate,delete,expiry}'::text[]) AS t;
		SELECT narvik_save_session(narvik_session_id('due'), 'alice', now() + interval '10 days');
		SELECT narvik_save_session(narvik_session_id('expired'), 'alice', now());
		SELECT narvik_save_session(narvik_session_id(u || n), u, now() + interval '29 days')
		FROM unnest('{bob,many,deleted,renamed}'::text[]) AS u, generate_series(1, 2) AS n});
	return;
}

# What the log says of planted code: [the statement or process, the plant, the role].
sub planted_ran
{
	return
	  map { /^([^|]*)\|([^|]*)\|.*planted: (.*) ran as (\w+)$/ ? [ $1 eq 'client backend' ? $2 : $1, $3, $4 ] : () }
	  log_lines($node, 'planted: ', $log_offset);
}

# Answers of calls, and what is left behind.
sub call_all
{
	my (@wanted) = @_;
	my $script = '\set VERBOSITY sqlstate' . "\n";
	foreach my $n (0 .. $#wanted)
	{
		my ($sql, undef, $before) = @{ $wanted[$n] };
		$script .= "\\c\nSET application_name = 'call $n';\n\\echo == call\n";
		$script .= "BEGIN; $before;\n\\echo -- :SQLSTATE\n" if defined $before;
		$script .= "$sql;\n\\echo -- :SQLSTATE\n";
		$script .= "COMMIT;\n\\echo -- :SQLSTATE\n" if defined $before;
		$script .= "$left_behind;\n";
	}
	my (undef, $out) = $node->psql('postgres', $script, on_error_stop => 0);
	my (undef, @parts) = split /^== call\n/m, $out . "\n";
	my @answers;
	foreach my $n (0 .. $#wanted)
	{
		my $part = $parts[$n] // "not reached\n";
		my ($error) = grep { $_ ne '00000' } $part =~ /^-- (\w+)$/mg;
		my @lines = grep { !/^-- / } split /\n/, $part;
		my $left = pop @lines;
		push @answers, { answer => $error // join("\n", @lines), left => $left };
	}
	return @answers;
}

# One visit; how it ended.
sub let_worker_in
{
	$node->safe_psql(
		'postgres', 'SELECT public.narvik_reset_stats();
		ALTER DATABASE postgres SET narvik.purge = on');
	$node->reload;
	$node->poll_query_until(
		'postgres',
		'SELECT purge_runs > 0 OR last_purge_error IS NOT NULL FROM public.narvik_stats()') or die 'no visit';
	return $node->safe_psql(
		'postgres', q{
		ALTER DATABASE postgres SET narvik.purge = off;
		SELECT coalesce(last_purge_error, purged || ' purged') FROM public.narvik_stats()});
}

# What PostgreSQL evaluates in a superuser's statements on the users table, with the
# link's triggers or without.
sub evaluated_on_the_users
{
	my ($triggers) = @_;
	$node->safe_psql(
		'postgres', join ';',
		map { "ALTER TABLE users_owner.users $triggers TRIGGER narvik_users_$_" } qw(changed rekeyed truncated));
	$log_offset = -s $node->logfile;
	call_all(map { [ "$_->[0]; ROLLBACK; BEGIN", undef, "SELECT" ] } @on_the_users);
	return [ map { join ' ', @$_ } planted_ran() ];
}

# All plants of a round on a table, all calls, and a visit of the worker.
sub try_round
{
	my (%round) = @_;
	my $owner = $round{on} eq 'users' ? 'users_owner' : 'sessions_owner';
	my $events = $round{on} eq 'events' ? 'on' : 'off';
	my %plants = %{ $round{plants} };
	my $name = "on $round{on}: " . (sort keys %plants)[0] . (keys %plants > 1 ? ' and others' : '');
	my $may_refuse = $round{refused} // qr/(?!)/;
	my @wanted = @calls;
	splice @wanted, -1, 0, [ q{SELECT narvik_link_users('users_owner.other')}, $round{link} ] if $round{link};
	push @wanted, @on_the_users if $round{on} eq 'sessions' && ($round{judge_users} // 1);

	$node->safe_psql('postgres', "ALTER DATABASE postgres SET narvik.events = $events");
	settle($round{users} // 'CREATE TABLE users_owner.users (id text PRIMARY KEY)');
	foreach my $plant (sort keys %plants)
	{
		my $sql = $plants{$plant};
		my $name = $plant =~ s/'/''/gr;
		$sql =~ s/EVIL\(VALUE\)/$owner.evil('$name', VALUE)/g if $assertions;
		$sql =~ s/DEED\(\)/$owner.deed('$name')/g;
		$sql =~ s/EVIL\(\)/$owner.evil('$name')/g;
		$sql =~ s/EVIL\(((?:[^()]|\(\))*)\)/($owner.evil('$name') AND $owner.evil('$name', $1))/g;
		$sql =~ s/\bTRIGGER(?=;|\s*\z)/EXECUTE FUNCTION $owner.evil_trigger('$name')/g;
		my (undef, undef, $err) = run_as($owner, 'setup', "SET client_min_messages = error;\n$sql");
		BAIL_OUT("cannot plant '$plant': $err") if $err;
	}
	$log_offset = -s $node->logfile;

	my @answers = call_all(@wanted);

	# Sessions for the worker, from their owner.
	run_as(
		'sessions_owner', 'setup', q{
		INSERT INTO public.narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
		SELECT int8send(i), 'worker', h, h, true, '{}', extract(epoch FROM h) / 3600
		FROM date_trunc('hour', now() - interval '3 hours', 'UTC') AS h, generate_series(1, 3) AS i});
	my $visit = let_worker_in();

	# That plants go off at all: where their owner uses the tables.
	my @tables = split /\n/, $node->safe_psql(
		'postgres', qq{
		SELECT oid::regclass FROM pg_class
		WHERE relnamespace = '$owner'::regnamespace AND relkind IN ('r', 'p', 'v')});
	my $use = $round{on} eq 'sessions'
	  ? q{
		INSERT INTO public.narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
			VALUES ('control', 'worker', now(), now(), true, '{}', 0);
		UPDATE public.narvik_sessions SET sliding = false;
		DELETE FROM public.narvik_sessions}
	  : $round{on} eq 'events' ? q{
		INSERT INTO public.narvik_events (at, kind, session_id, user_id, detail) VALUES (now(), 'created', 'control', 'worker', '{}');
		UPDATE public.narvik_events SET kind = 'ended';
		DELETE FROM public.narvik_events}
	  : q{INSERT INTO users_owner.users VALUES ('new')};
	push @tables, "public.narvik_$round{on}" if $round{on} ne 'users';
	run_as(
		$owner, 'control', join ';', map { "BEGIN; $_; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK" }
		  $use, $round{control} // (), map { ("TABLE $_", "DELETE FROM $_") } @tables);

	my @ran = planted_ran();
	my %wrong = map { ($_->[0] =~ /^call (\d+)$/ ? $wanted[$1]->[0] : $_->[0]) . ": $_->[1] as $_->[2]" => 1 }
	  grep { $_->[2] ne $owner } @ran;
	is(join("\n", sort keys %wrong), '', "$name: run as the owner of the table and nobody else");
	is_deeply(
		[ sort keys %{ { map { $_->[1] => 1 } grep { $_->[0] eq 'control' } @ran } } ],
		[ sort keys %plants ], "$name: go off");
	is( $node->safe_psql('postgres', q{SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname ~ 'owner$' AND rolsuper}),
		'', "$name: make nobody a superuser");
	is( join("\n", map { "$wanted[$_]->[0]: $answers[$_]->{answer}" } 0 .. $#wanted),
		join(
			"\n",
			map {
				my $got = $answers[$_]->{answer};
				"$wanted[$_]->[0]: " . ($got =~ $may_refuse ? $got : $wanted[$_]->[1])
			} 0 .. $#wanted),
		"$name: every function answers");
	is( join(
			"\n", map { "$wanted[$_]->[0]: $answers[$_]->{left}" }
			  grep { $answers[$_]->{left} ne $nothing } 0 .. $#wanted),
		'',
		"$name: leave nothing behind in the superuser's connection");
	is_deeply(
		evaluated_on_the_users('ENABLE'), evaluated_on_the_users('DISABLE'),
		"$name: narvik's triggers evaluate nothing that a superuser's statement on the users does not anyway") if $round{on} eq 'users';
	like(
		$visit,
		$round{refused} ? qr/^3 purged$|not as extension "narvik" made it|cannot fire deferred trigger/ : qr/^3 purged$/,
		"$name: the purge worker purges, or says what keeps it");
	return;
}

try_round(%$_) foreach @rounds;

$node->stop;
done_testing();
