# docs/reference.md says what the extension really has: every function, type,
# column, setting, event and error, nothing missing and nothing invented.  Its
# statements run as they stand, each error in its table is provoked, and each
# error code in the sources is in that table.
#
# Links between the pages lead somewhere.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(abs_path($0)) . '/..';
my $page = slurp_file("$root/docs/reference.md");

# A section of the second level, without its heading.
sub section
{
	my ($title) = @_;
	$page =~ /^## \Q$title\E\n(.*?)(?=^## |\z)/ms
	  or BAIL_OUT("docs/reference.md has no section \"$title\"");
	return $1;
}

# The rows of the first table in a text: its cells, the header left out.
sub rows
{
	my ($text) = @_;
	my ($table) = $text =~ /^\|.*?\|\n\|[-|]+\|\n((?:\|.*\|\n)+)/m or BAIL_OUT('no table');
	return map { [ split / \| /, s/^\| | \|$//gr, -1 ] } split /\n/, $table;
}

sub plain { return $_[0] =~ s/`//gr }

my $reference = section('Functions');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'narvik'\nmax_prepared_transactions = 1");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE; CREATE ROLE webapp LOGIN');

# ---- the examples -----------------------------------------------------------

my @blocks = $reference =~ /^```sql\n(.*?)^```/msg;
my $script = '';
my $statements = 0;
foreach my $line (map { split /\n/ } @blocks)
{
	$statements++ if $line =~ /(;|\\gset)$/;
	$script .= "$line\n\\echo statement $statements: :ROW_COUNT\n";
}
my ($rc, $out, $err) = $node->psql('postgres', $script);
is($err, '', 'the examples run without an error');
is($rc, 0, 'to their end');

my %rows = $out =~ /^statement (\d+): (\d+)$/mg;
is(scalar keys %rows, $statements, "all $statements statements were run");
is_deeply([ grep { $rows{$_} == 0 } sort keys %rows ], [], 'each of them returns a row');

# ---- functions, types, the view ---------------------------------------------

# Names of types as the page writes them.
my $short_types = q{replace(replace(%s, 'timestamp with time zone', 'timestamptz'), 'character varying', 'varchar')};

sub catalog
{
	return join("\n", sort split /\n/, $node->safe_psql('postgres', shift));
}

sub documented
{
	return join("\n", sort @_);
}

my $arguments = sprintf(
	$short_types, q{regexp_replace(pg_get_function_arguments(p.oid),
	'::(text|jsonb|interval|boolean|name|integer|bigint|timestamp with time zone)|(, )?\mOUT [^,]*', '', 'g')});
my $result = sprintf($short_types, 'pg_get_function_result(p.oid)');
is( documented(map { s/, 0 or 1 row$//r } $reference =~ /^#### (narvik_\w+\(.*\) → .*)$/mg),
	catalog(
		qq{SELECT format('%s(%s) → %s', proname, $arguments, $result)
		  FROM pg_proc AS p JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
		  JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		  WHERE d.deptype = 'e' AND e.extname = 'narvik'}),
	'every function, with its arguments and result');
is( documented($reference =~ /^#### (narvik_\w+)\(.*, 0 or 1 row$/mg),
	catalog(
		q{SELECT proname FROM pg_proc WHERE proname LIKE 'narvik\_%' AND proretset AND prorows = 1
		AND pg_get_function_result(oid) NOT IN ('SETOF record', 'SETOF anyelement')}),
	'those that return one row at most say so');

my %property = (IMMUTABLE => q{provolatile = 'i'}, STABLE => q{provolatile = 's'}, LEAKPROOF => 'proleakproof', STRICT => 'proisstrict');
foreach my $name (sort keys %property)
{
	my ($functions) = $reference =~ /^\| `$name` \| (.*) \|$/m;
	is( documented(split /, /, plain($functions // '')),
		catalog("SELECT proname FROM pg_proc WHERE proname LIKE 'narvik\\_%' AND $property{$name}"),
		"those that are $name");
}

# The columns of a relation or composite type, in their order.
sub columns
{
	my ($name) = @_;
	return $node->safe_psql(
		'postgres',
		sprintf(q{SELECT attname || ' ' || } . $short_types, 'format_type(atttypid, atttypmod)')
		  . qq{ FROM pg_attribute WHERE attrelid = '$name'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum});
}

my $session = join("\n", map { plain("$_->[0] $_->[1]") } rows($reference));
is($session, columns('narvik_session'), 'every column of narvik_session');
is("set_cookie text\ntoken text\n$session", columns('narvik_request'), 'and of narvik_request');
is("token text\n" . $session =~ s/\ndue boolean$//r, columns('narvik_created_session'), 'and of narvik_created_session');
is( catalog(
		q{SELECT c.relname FROM pg_class AS c
		JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
		JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		WHERE e.extname = 'narvik' AND c.relkind NOT IN ('r', 'S')
		UNION SELECT t.typname FROM pg_type AS t
		JOIN pg_depend AS d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
		JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		WHERE e.extname = 'narvik' AND t.typtype = 'c' AND typrelid NOT IN
			(SELECT oid FROM pg_class WHERE relkind <> 'c')}),
	"narvik_created_session\nnarvik_event\nnarvik_request\nnarvik_session\nnarvik_stats",
	'there is no other type or view');

# The descriptions that \d+ shows.
sub comments
{
	my ($name) = @_;
	return $node->safe_psql(
		'postgres', qq{SELECT col_description(attrelid, attnum) FROM pg_attribute
		WHERE attrelid = '$name'::regclass AND attnum > 0 ORDER BY attnum});
}

is(join("\n", map { plain($_->[2]) } rows($reference)), comments('narvik_session'), 'described as by their comments');

my @view = rows(section('The view narvik_stats'));
is(join("\n", map { plain("$_->[0] $_->[1]") } @view), columns('narvik_stats'), 'every column of narvik_stats');
is(join("\n", map { plain($_->[2]) } @view), comments('narvik_stats'), 'described as by its comment');

my $section = section('The table narvik_events');
my @event = rows($section);
my $event = join("\n", map { plain("$_->[0] $_->[1]") } @event);
is($event, columns('narvik_events'), 'every column of narvik_events');
is($event =~ s/^session_id bytea$/session_id text/mr, columns('narvik_event'), 'and of narvik_event');
is(join("\n", map { plain($_->[2]) } @event), comments('narvik_events'), 'described as by its comment');

# ---- events -----------------------------------------------------------------

# The rows of a table whose head is this.
sub rows_under
{
	my ($text, $head) = @_;
	my ($table) = $text =~ /^(\| \Q$head\E \|.*)/ms or BAIL_OUT("no table of $head");
	return rows($table);
}

my $sources = join('', map { slurp_file($_) } glob("$root/src/*.[ch]"));
is( documented(map { $_->[0] } rows_under($section, 'kind')),
	documented(keys %{ { map { $_ => 1 } $sources =~ /(?:narvik_note_event|insert_event)\("(\w+)"/g } }),
	'every kind of event');
my ($reasons) = slurp_file("$root/src/events.h") =~ /\/\* Why a session ended.*?\n(.*?)\n\n/s;
is( documented(map { $_->[0] } rows_under($section, 'reason')),
	documented('anything else', $reasons =~ /"(\w+)"/g),
	'every reason');

# ---- settings ---------------------------------------------------------------

my @settings = rows(section('Settings'));
is( documented(map { plain("$_->[0]: $_->[2]") } @settings),
	catalog(
		q{SELECT name || ': ' || CASE vartype
			WHEN 'bool' THEN 'on, off'
			WHEN 'enum' THEN array_to_string(enumvals, ', ')
			WHEN 'string' THEN 'text'
			ELSE CASE WHEN unit IS NULL THEN '' ELSE 'time, ' END
				|| concat_ws(' ', min_val, unit)
				|| CASE max_val WHEN '2147483647' THEN ' or more' ELSE ' to ' || concat_ws(' ', max_val, unit) END
			END
		FROM pg_settings WHERE name LIKE 'narvik.%'}),
	'every setting, with the values it takes');
is( catalog(q{SELECT name FROM pg_settings WHERE name LIKE 'narvik.%' AND context <> 'superuser'}),
	'',
	'and only superusers may change them');
foreach (@settings)
{
	my ($name, $default) = map { plain($_) } @$_;
	is($node->safe_psql('postgres', "SHOW $name"), $default eq "''" ? '' : $default, "default of $name");
}

# ---- errors -----------------------------------------------------------------

# PostgreSQL's own list: macro, SQLSTATE and condition.
my (%sqlstate, %condition);
foreach (split /\n/, slurp_file($node->config_data('--sharedir') . '/errcodes.txt'))
{
	next unless /^(\w{5})\s+[ESW]\s+(ERRCODE_\w+)\s+(\w+)$/;
	$sqlstate{$2} = $1;
	$condition{$1} //= $3;
}

# What provokes each row of the table: statements in a database of its own.  The
# last one raises the error.
my $alice = q{SELECT narvik_create_session('alice');};
my $users = 'CREATE TABLE users (id bigint PRIMARY KEY);';
my $linked = "$users SELECT narvik_link_users('users');";
my $save = "SELECT narvik_save_session(narvik_session_id('x'), 'alice', 'tomorrow')";
my %provoked_by = (
	'NULL for user_id, data, sliding, patch, expires_at, or the id to save, put or change to' => [
		'SELECT narvik_create_session(NULL)',
		q{SELECT narvik_create_session('alice', NULL)},
		q{SELECT narvik_create_session('alice', sliding => NULL)},
		"$alice SELECT narvik_update_session_data(id, NULL) FROM narvik_fetch_sessions_for_user('alice')",
		"$save; SELECT narvik_reauthenticate_session('x', NULL)",
		"$save; SELECT narvik_update_session_expiry(narvik_session_id('x'), NULL)",
		q{SELECT narvik_save_session(NULL, 'alice', 'tomorrow')},
		q{SELECT narvik_put_session(NULL, 'alice', 'tomorrow', '{}')},
		"$save; SELECT narvik_change_session_id(narvik_session_id('x'), NULL)",
		'SELECT narvik_fetch_sessions_for_user(NULL)',
		'SELECT narvik_fetch_events_for_user(NULL)',
		'SELECT narvik_delete_sessions_for_user(NULL)' ],
	'user_id empty or over 1024 bytes' => [ q{SELECT narvik_create_session('')}, q{SELECT narvik_create_session(repeat('x', 1025))} ],
	'data or patch that is no JSON object' => [
		q{SELECT narvik_create_session('alice', '[]')},
		"$save; SELECT narvik_update_session_data(narvik_session_id('x'), '1')",
		"$save; SELECT narvik_reauthenticate_session('x', '1')" ],
	'expires_in, max_age or lifetime zero, negative, or beyond the range of timestamps' => [
		map {
			(   "SELECT narvik_create_session('alice', expires_in => '$_')",
				"SELECT narvik_create_session('alice', max_age => '$_')",
				"SELECT narvik_save_session(narvik_session_id('x'), 'alice', 'tomorrow', lifetime => '$_')")
		} '0',
		'-1 day',
		'1000000 years' ],
	'max_rows negative' =>
	  [ q{SELECT narvik_fetch_sessions_for_user('alice', -1)}, q{SELECT narvik_fetch_events_for_user('alice', max_rows => -1)} ],
	'a reason that is empty or over 64 bytes' => [
		q{SELECT narvik_invalidate_session('x', '')},
		q{SELECT narvik_invalidate_session('x', repeat('x', 65))},
		q{SELECT narvik_delete_sessions_for_user('alice', reason => repeat('x', 65))} ],
	'the interval of `narvik_is_fresh` negative or infinite' => [q{SELECT narvik_is_fresh('-1 second')}],
	'one session more than `narvik.max_sessions_per_user`, with action `refuse`' =>
	  ["SET narvik.max_sessions_per_user = 1; SET narvik.max_sessions_action = refuse; $alice $alice"],
	'expires_at infinite' => [q{SELECT narvik_save_session(narvik_session_id('x'), 'alice', 'infinity')}],
	'saving or putting under an id that is not 64 hex digits, or changing to one' => [
		q{SELECT narvik_save_session('1234', 'alice', 'tomorrow')},
		q{SELECT narvik_put_session('1234', 'alice', 'tomorrow', '{}')},
		"$save; SELECT narvik_change_session_id(narvik_session_id('x'), '1234')" ],
	'saving an id that a live session has, or changing to it' => [
		"$save; $save",
		"$save; SELECT narvik_save_session(narvik_session_id('y'), 'alice', 'tomorrow');
		 SELECT narvik_change_session_id(narvik_session_id('y'), narvik_session_id('x'))"
	],
	'a cookie that browsers would ignore or mistake' => [
		q{SELECT narvik_create_cookie('a b')},
		q{SET narvik.cookie_same_site = none; SET narvik.cookie_secure = off; SELECT narvik_create_cookie('x')} ],
	'writing in a read-only transaction or on a standby (validation does not)' =>
	  [q{BEGIN READ ONLY; SELECT narvik_create_session('alice')}],
	'a session for a user who is not in the linked table' => ["$linked SELECT narvik_create_session('1')"],
	'linking users while sessions of unknown users exist' => ["$users $alice SELECT narvik_link_users('users')"],
	'linking a column that is not unique, or a session for a user while the linked one is not' => [
		q{CREATE TABLE users (id bigint); SELECT narvik_link_users('users')},
		"$linked ALTER TABLE users DROP CONSTRAINT users_pkey; SELECT narvik_create_session('1')" ],
	'linking a column that does not exist' => ["$users SELECT narvik_link_users('users', 'key')"],
	'linking a table that does not exist' => ['SELECT narvik_link_users(1::oid::regclass)'],
	'linking what is no table' => [q{SELECT narvik_link_users('narvik_stats')}],
	'linking a table that is, or has a partition that is, temporary or unlogged' => [
		(map { "CREATE $_ TABLE users (id bigint PRIMARY KEY); SELECT narvik_link_users('users')" } 'TEMP', 'UNLOGGED'),
		q{CREATE TABLE users (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
		  CREATE UNLOGGED TABLE low PARTITION OF users FOR VALUES FROM (0) TO (10);
		  SELECT narvik_link_users('users')} ],
	'linking a column whose values print differently under other settings' =>
	  [q{CREATE TABLE users (id date PRIMARY KEY); SELECT narvik_link_users('users')}],
	q{changing a linked user's key so that the row moves to another partition} => [
		q{CREATE TABLE users (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
		  CREATE TABLE low PARTITION OF users FOR VALUES FROM (0) TO (10);
		  CREATE TABLE high PARTITION OF users FOR VALUES FROM (10) TO (20);
		  INSERT INTO users VALUES (1); SELECT narvik_link_users('users'); UPDATE users SET id = 11}
	],
	q{changing a linked user's key to one that no user_id can be} => [
		q{CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('alice');
		  SELECT narvik_link_users('users'); UPDATE users SET id = ''}
	],
	'linking a second table, or another column' => [
		"$linked CREATE TABLE others (id bigint PRIMARY KEY); SELECT narvik_link_users('others')",
		"$linked ALTER TABLE users ADD other text UNIQUE; SELECT narvik_link_users('users', 'other')" ],
	'NULL for the users table, its column, or the role' => [
		'SELECT narvik_link_users(NULL)', "$users SELECT narvik_link_users('users', NULL)",
		'SELECT narvik_grant(NULL)', 'SELECT narvik_revoke(NULL)' ],
	'unlinking, or validating a user, without a link' =>
	  [ 'SELECT narvik_unlink_users()', "$users SELECT narvik_validate_user('x', NULL::users)" ],
	'validating a user of another type, or of a table that is altered meanwhile' =>
	  ["$linked SELECT narvik_validate_user('x', NULL::text)"],
	'granting to a role that does not exist' => ['SELECT narvik_grant(1::oid::regrole)'],
	'calling `narvik_users_changed` other than by the link\'s triggers' => [
		"$users CREATE TRIGGER mine BEFORE INSERT ON users EXECUTE FUNCTION narvik_users_changed();
		 INSERT INTO users VALUES (1)"
	],
	'calling without EXECUTE' => ["SET ROLE webapp; $alice"],
	q{somebody altered a table of narvik, or gave one another owner, or put the link's trigger on another} => [
		"ALTER TABLE narvik_sessions DROP COLUMN sliding; $alice",
		"ALTER TABLE narvik_events RENAME TO log; SET narvik.events = on; $alice",
		"ALTER TABLE narvik_events OWNER TO webapp; SET narvik.events = on; $alice",
		"$linked CREATE TABLE others (id bigint PRIMARY KEY);
		 CREATE TRIGGER mine AFTER DELETE ON others FOR EACH ROW EXECUTE FUNCTION narvik_users_changed();
		 INSERT INTO others VALUES (1); DELETE FROM others"
	],
	q{somebody altered a type that narvik's functions return} => ["ALTER TYPE narvik_created_session ADD ATTRIBUTE more text; $alice"],
	q{somebody's trigger kept a session from being stored} => [
		"CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		 CREATE TRIGGER never BEFORE INSERT ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION never(); $alice"
	],
	q{somebody's deferred trigger would run with the caller's rights} => [
		"CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		 CREATE CONSTRAINT TRIGGER later AFTER INSERT ON narvik_sessions DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION never(); $alice"
	],
	'`narvik_session_id` of a token that UTF-8 cannot say' => [ q{\c win1252} . "\nSELECT narvik_session_id(chr(129))" ],
	'calling a function that returns a set where there can be none' =>
	  [q{CREATE TABLE t (id text DEFAULT (narvik_validate_session('x')).id)}],
	'setting what is out of range, or no list of names' =>
	  [ q{SET narvik.session_expires_in = 0}, q{SET narvik.cookie_path = 'x'}, q{SET narvik.event_claims = 'a,,b'} ],
	'preparing a transaction that has notified' =>
	  ["SET narvik.notify = on; $alice BEGIN; SELECT narvik_delete_sessions_for_user('alice'); PREPARE TRANSACTION 'x'"]);

my @errors = rows(section('Errors'));
is( documented(map { $_->[0] } @errors),
	documented(keys %provoked_by),
	'every row of the table of errors is provoked here, and no other');

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION narvik CASCADE; GRANT CREATE ON SCHEMA public TO PUBLIC');
$node->safe_psql('postgres', q{CREATE DATABASE win1252 TEMPLATE template0 ENCODING 'WIN1252' LOCALE 'C'});
$node->safe_psql('win1252', 'CREATE EXTENSION narvik CASCADE');
foreach (@errors)
{
	my ($what, $sqlstate, $condition) = @$_;
	my @got = ("$sqlstate " . ($condition{$sqlstate} // 'unknown'));
	foreach my $sql (@{ $provoked_by{$what} // [] })
	{
		$node->safe_psql('postgres', 'CREATE DATABASE one TEMPLATE fresh');
		(undef, undef, $err) = $node->psql('one', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 1);
		my ($raised) = $err =~ /ERROR:  (\w{5})$/m;
		push @got, ($raised // 'none') . ' ' . ($condition{ $raised // '' } // '');
		$node->safe_psql('postgres', 'DROP DATABASE one WITH (FORCE)');
	}
	is_deeply(\@got, [ ("$sqlstate $condition") x @got ], $what);
}

# What the sources raise by themselves.  Their elog(ERROR)s are "cannot happen".
my %raised;
foreach my $file (glob("$root/src/*.c"), glob("$root/narvik--*.sql"))
{
	$raised{$_}{ $file =~ s/.*\///r } = 1 foreach slurp_file($file) =~ /\b(?:errcode\(|MAKE_SQLSTATE\()\s*(?!error->)(\w+)/g;
}
cmp_ok(scalar keys %raised, '>', 10, 'the sources raise errors');
my %documented = map { $_->[1] => 1 } @errors;
is( join(
		"\n", map { "$_ in " . join(', ', sort keys %{ $raised{$_} }) }
		  grep { !$documented{ $sqlstate{$_} // '' } } sort keys %raised),
	'',
	'and every code that they raise is in the table');

$node->stop;

# ---- links ------------------------------------------------------------------

# What GitHub makes of a heading.
sub anchors
{
	my ($text) = @_;
	$text =~ s/^```.*?^```//msg;
	return map { $_ => 1 }
	  map { lc(s/[^\w\- ]//gr =~ s/ /-/gr) } map { s/\[(.*?)\]\(.*?\)/$1/gr } $text =~ /^#+ (.*)$/mg;
}

my @pages = map { s/^\Q$root\E\///r }
  glob("$root/*.md $root/docs/*.md $root/bench/*.md $root/packaging/*.md $root/examples/*.md $root/examples/*/*.md");
my (@broken, $links);
foreach my $from (@pages)
{
	(my $text = slurp_file("$root/$from")) =~ s/^```.*?^```//msg;
	foreach my $link ($text =~ /\]\((?!https?:)([^)\s]+)\)/g)
	{
		my ($file, $anchor) = split /#/, $link;
		my $target = $file ? dirname("$root/$from") . "/$file" : "$root/$from";
		$links++;
		next if -e $target && (!defined $anchor || { anchors(slurp_file($target)) }->{$anchor});
		push @broken, "$from: $link";
	}
}
cmp_ok($links, '>', 20, 'the pages have links');
is(join("\n", @broken), '', 'and each leads to a file, and a heading in it');

done_testing();
