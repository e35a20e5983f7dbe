# No token is found in the server's log at its most talkative, in the views that
# show statements, in anything narvik stores, nor anywhere on disk.
#
# The tokens live in a temporary table and are passed to the functions from
# there, so that no statement text or parameter of this test's own carries one.

use strict;
use warnings;

use File::Find;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
log_statement = all
log_min_messages = debug5
log_min_error_statement = debug5
log_error_verbosity = verbose
log_min_duration_statement = 0
log_duration = on
log_lock_waits = on
deadlock_timeout = 50ms
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
track_activity_query_size = 100kB
shared_preload_libraries = 'pg_stat_statements, auto_explain'
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_triggers = on
auto_explain.log_nested_statements = on
});
$node->append_conf('postgresql.conf', 'auto_explain.log_parameter_max_length = -1')
  if $node->pg_version >= 16;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE; CREATE EXTENSION pg_stat_statements');

my $session = $node->background_psql('postgres', on_error_stop => 0);

# -- the life of 200 sessions

$session->query_safe(
	q{
	CREATE TEMP TABLE made (token text);
	INSERT INTO made SELECT s.token FROM generate_series(1, 200) AS i
		CROSS JOIN LATERAL narvik_create_session('user' || i % 20, jsonb_build_object('i', i)) AS s;
	INSERT INTO made SELECT narvik_generate_token() FROM generate_series(1, 20);
	CREATE TEMP TABLE saved AS SELECT token FROM made OFFSET 200;
});
$session->query_safe(
	q{SELECT count(narvik_save_session(narvik_session_id(token), 'saved',
	now() + interval '10 days')) FROM saved});
is( $session->query_safe('SELECT count(extended) FROM made, narvik_validate_session(token)'),
	'220', 'sessions made');
is( $session->query_safe('SELECT count(*) FROM made, narvik_validate_session(token) WHERE extended'),
	'0', 'saved ones were extended');
$session->query_safe(
	q{SELECT count(narvik_create_cookie(token)), count(narvik_create_cookie(token, '1 hour')),
	count(narvik_read_cookie('a=b; narvik_session=' || token)) FROM made});
$session->query_safe(q{SELECT count(narvik_update_session_data(narvik_session_id(token), '{"k": 1}')) FROM made});
$session->query_safe(q{SELECT count(narvik_update_session_expiry(narvik_session_id(token), now() + interval '9 days')) FROM made});
$session->query_safe(q{SELECT count(f.id) FROM made, narvik_fetch_session(narvik_session_id(token)) AS f});
$session->query_safe(q{SELECT count(id) FROM narvik_fetch_sessions_for_user('user1')});
is( $session->query_safe(
		q{WITH new AS MATERIALIZED (SELECT r.token FROM made, narvik_rotate_session(token) AS r),
			   kept AS (INSERT INTO made SELECT token FROM new RETURNING 1)
		  SELECT count(*) FROM kept}),
	'220',
	'sessions rotated');

# -- errors, with a token in every argument that is a text

# With 1 where an error has to come of it; the others have to be silent.
my @wrong = (
	[ q{narvik_create_session(NULL, jsonb_build_object('token', token))}, 1 ],
	[ q{narvik_create_session(repeat(token, 40))}, 1 ],
	[ q{narvik_create_session('u', to_jsonb(token))}, 1 ],
	[ q{narvik_invalidate_session(token)}, 0 ],
	[ q{narvik_fetch_session(token)}, 0 ],
	[ q{narvik_delete_session(token)}, 0 ],
	[ q{narvik_update_session_data(token, '{}')}, 0 ],
	[ q{narvik_update_session_data(narvik_session_id(token), to_jsonb(token))}, 1 ],
	[ q{narvik_update_session_expiry(token, now())}, 0 ],
	[ q{narvik_update_session_expiry(narvik_session_id(token), 'infinity')}, 1 ],
	[ q{narvik_delete_sessions_for_user('nobody', token)}, 0 ],
	[ q{narvik_save_session(token, 'u', now() + interval '1 day')}, 1 ],
	[ q{narvik_save_session(token || token, 'u', now() + interval '1 day')}, 1 ],
	[ q{narvik_save_session(narvik_session_id(token), 'u', now() + interval '1 day')}, 1 ],
	[ q{narvik_save_session(narvik_session_id(token), '', now() + interval '1 day')}, 1 ],
	[ q{narvik_save_session(narvik_session_id(token), 'u', 'infinity')}, 1 ],
	[ q{narvik_rotate_session(token || ' ')}, 0 ],
	[ q{narvik_validate_session(repeat(token, 40))}, 0 ],
	[ q{narvik_create_cookie(token || ';')}, 1 ],
	[ q{narvik_create_cookie(token || chr(10))}, 1 ],
	[ q{narvik_create_cookie(repeat(token, 200))}, 1 ],
	[ q{narvik_create_cookie(token, '-1 second')}, 1 ],
	[ q{narvik_create_cookie(token, '500 days')}, 1 ],
	[ q{narvik_read_cookie('narvik_session="' || token || '"; ;;=')}, 0 ]);
foreach (@wrong)
{
	my ($call, $refused) = @$_;
	# A live session's, so that an id is there to collide with.
	$session->query("SELECT $call FROM (SELECT token FROM made OFFSET 220 LIMIT 1) AS m");
	is( $session->{stderr} =~ /ERROR:/ ? 1 : 0,
		$refused, ($refused ? 'refused: ' : 'not an error: ') . $call);
	$session->{stderr} = '';
}

# Constraints and triggers that fail and show the row.
$node->safe_psql(
	'postgres', q{
	ALTER TABLE narvik_sessions ADD CONSTRAINT no_mallory CHECK (user_id <> 'mallory')});
$session->query(
	q{SELECT narvik_save_session(narvik_session_id(token || 'x'), 'mallory', now() + interval '1 day')
	FROM made LIMIT 1});
like($session->{stderr}, qr/no_mallory/, 'a constraint refuses a row');
$session->{stderr} = '';
$session->query(q{SELECT narvik_create_session('mallory')});
$session->{stderr} = '';

# -- seen from outside while a call waits for a lock

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM narvik_sessions FOR UPDATE) AS s');
$session->query_until(
	qr/waits/,
	"\\echo waits\nSELECT count(*) FROM (SELECT token FROM made OFFSET 221 LIMIT 1) AS m, narvik_rotate_session(token);\n");
$node->poll_query_until(
	'postgres',
	q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%narvik_rotate_session%'}
) or die 'the call does not wait';
my $seen_waiting = $node->safe_psql(
	'postgres',
	'SELECT a::text FROM pg_stat_activity AS a; SELECT l::text FROM pg_locks AS l');
$node->wait_for_log(qr/still waiting for ShareLock/);
$holder->query_safe('COMMIT');
$holder->quit;
$session->query_safe('SELECT 1');

# -- what the views and tables show

is( $session->query_safe(
		q{SELECT count(narvik_invalidate_session(narvik_session_id(token))) FROM (SELECT token FROM made OFFSET 400) AS m}),
	'40',
	'sessions revoked');
my $seen = $node->safe_psql(
	'postgres', q{
	SELECT a::text FROM pg_stat_activity AS a;
	SELECT s::text FROM pg_stat_statements AS s;
	SELECT p::text FROM pg_prepared_statements AS p;
	ANALYZE narvik_sessions;
	SELECT s::text FROM pg_stats AS s WHERE tablename LIKE 'narvik%';
});
my @relations = split /\n/, $node->safe_psql(
	'postgres', q{
	SELECT c.oid::regclass FROM pg_depend AS d
	JOIN pg_extension AS e ON e.oid = d.refobjid AND extname = 'narvik'
	JOIN pg_class AS c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
	WHERE d.deptype = 'e' AND relkind IN ('r', 'v', 'm', 'S')});
cmp_ok(scalar @relations, '>=', 2, 'narvik has relations to look into');
$seen .= $node->safe_psql('postgres', "SELECT * FROM $_") foreach @relations;

# -- the search, which plants can make fail

my @tokens = split /\n/, $session->query_safe('SELECT token FROM made');
is(scalar @tokens, 440, 'all tokens are known');

# As text, as the hexadecimal a bytea is shown in, and the bare random bytes.
my %value_of = map { (('a' .. 'z', '2' .. '7')[$_]) => $_ } 0 .. 31;
my %form;
foreach my $token (@tokens)
{
	my $bits = join('', map { sprintf('%05b', $value_of{$_}) } split(//, $token));
	$form{$token} = $token;
	$form{ unpack('H*', $token) } = $token;
	$form{ pack('B160', $bits) } = $token;
	$form{ unpack('H*', pack('B160', $bits)) } = $token;
}
my $any = join('|', map { quotemeta } keys %form);
$any = qr/($any)/;

# How many different tokens are in a text.
sub tokens_in
{
	my ($text) = @_;
	my %hit;
	$hit{ $form{$1} } = 1 while $text =~ /$any/g;
	return scalar keys %hit;
}

is(tokens_in($seen), 0, 'no token in the views of statements or in the relations of narvik');
is(tokens_in($seen_waiting), 0, 'no token in pg_stat_activity or pg_locks while a call waits');

my $log = slurp_file($node->logfile);
is(tokens_in($log), 0, 'no token in the log');
like(
	$log, qr/Query Text: (?!SELECT count)[^\n]*narvik_sessions/,
	"the log shows narvik's own statements");
like($log, qr/LOCATION:/, 'it is verbose');
like($log, qr/DEBUG:/, 'and holds debug messages');

# Plants: log lines and rows.  What goes into the real log is hexadecimal, because
# the logs of all tests are searched for tokens once more.
$session->query_safe(
	q{
	CREATE TABLE planted AS SELECT token FROM made LIMIT 3;
	DO $$ BEGIN RAISE LOG 'planted %', (SELECT encode(token::bytea, 'hex') FROM planted LIMIT 1); END $$;
});
$session->quit;
is(tokens_in(slurp_file($node->logfile)), 1, 'a token planted in the log is found, as hexadecimal');
is(tokens_in("${log}LOG:  planted $tokens[0]\n"), 1, 'and so it is as text');
is( tokens_in($node->safe_psql('postgres', q{SELECT encode(token::bytea, 'hex') FROM planted})),
	3, 'tokens planted in a table are found, as hexadecimal too');

# -- the disk: tables, indexes, WAL, statistics

$node->stop;

sub files_with_tokens
{
	my %found;
	find(
		{   no_chdir => 1,
			wanted => sub {
				return unless -f $_ && -s _;
				my $hits = tokens_in(slurp_file($_));
				(my $name = $File::Find::name) =~ s/^\Q@{[ $node->data_dir ]}\E\///;
				$found{$name} = $hits if $hits;
			}
		},
		$node->data_dir);
	return \%found;
}

my $found = files_with_tokens();
my ($table) = grep { /^base\// } keys %$found;
my ($wal) = grep { /^pg_wal\// } keys %$found;
is($found->{ $table // 'none' }, 3, 'the planted table is found on disk');
# The border of a WAL page can cut one of them in two.
cmp_ok($found->{ $wal // 'none' } // 0, '>=', 2, 'and in the WAL');
is_deeply(
	[ sort keys %$found ], [ sort grep { defined } $table, $wal ],
	'no token in any other file of the cluster') or diag(explain($found));

done_testing();
