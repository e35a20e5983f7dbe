# docs/recipes.md: every recipe is the file it names, runs, and gets the answers
# that the page shows.  What the pages promise beyond that is tested after it:
# who can read password hashes, how long a log-in takes, races between log-in and
# password change, what PostgREST's transactions do, and where the server shows
# tokens.
#
# Tokens that this test puts into statements are shorter than real ones: the
# logs of all tests are searched for those.

use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run       ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(abs_path($0)) . '/..';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'narvik, pg_stat_statements'
pg_stat_statements.track = all
max_parallel_workers_per_gather = 2
});
$node->start;
my $version = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);

# ---- the page ---------------------------------------------------------------

# Per file: its statements, and the answers that follow each block of them.
my (%recipe, @order, $file);
foreach my $part (split /^(?=File: |```)/m, slurp_file("$root/docs/recipes.md"))
{
	if ($part =~ /^File: \[(.*?)\]\(\.\.\/\g1\)/)
	{
		$file = $1;
		push @order, $file;
	}
	elsif ($part =~ /^```(sql|text)\n(.*)/s)
	{
		push @{ $recipe{$file} }, { sql => $2, answer => '' } if $1 eq 'sql';
		$recipe{$file}[-1]{answer} = $2 if $1 eq 'text';
	}
}
is_deeply(
	[ sort @order ],
	[ sort map { s/^\Q$root\E\///r } glob("$root/examples/recipes/*") ],
	'the page has every file of examples/recipes');
foreach (@order)
{
	is( slurp_file("$root/$_"), join("\n", map { $_->{sql} } @{ $recipe{$_} }),
		"$_ is what the page shows");
}

# What differs from run to run, and between versions of PostgreSQL.
sub masked
{
	my ($text) = @_;
	$text =~ s/\b[a-z2-7]{32}\b/<token>/g;
	$text =~ s/\b[0-9a-f]{64}\b/<id>/g;
	$text =~ s/ \(returns \$\d\)//g;
	$text =~ s/\(InitPlan \w+\)\.col1|\$\d/<result of InitPlan>/g;
	$text =~ s/^( *)InitPlan \w+/$1InitPlan/mg;
	$text =~ s/^ *Params Evaluated: .*\n//mg;
	$text =~ s/-{3,}/---/g;
	$text =~ s/^\(\d+ rows?\)\n?//mg;
	$text =~ s/ +$//mg;
	$text =~ s/^ +QUERY PLAN$/QUERY PLAN/mg;
	return $text =~ s/\n+\z//r;
}

sub run_recipe
{
	my ($file, $database) = @_;
	my $script = join('', map { "$_->{sql}\n\\echo -- next\n" } @{ $recipe{$file} });
	my $out = '';
	IPC::Run::run(
		[ 'psql', '-Xq', '-d', $node->connstr($database) ],
		'<', \$script, '>&', \$out);
	my @answers = split /^-- next\n/m, $out, -1;
	is(scalar @answers, 1 + @{ $recipe{$file} }, "$file runs to its end");
	foreach my $i (0 .. $#{ $recipe{$file} })
	{
		is( masked($answers[$i]),
			masked($recipe{$file}[$i]{answer}),
			"$file, block " . ($i + 1) . ' answers as shown');
	}
	return;
}

# Functions that lend their owner's rights, and lend too much.
my $careless = q{
	SELECT proname FROM pg_proc AS p
	WHERE prosecdef AND (proconfig IS NULL OR array_to_string(proconfig, ';') !~ '^search_path=(narvik|pg_catalog), pg_temp$'
		OR (SELECT rolsuper FROM pg_roles WHERE oid = proowner)
		OR EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0))};

sub basename_of { return $_[0] =~ s/.*\/(.*)\.sql/$1/r }

$node->safe_psql('postgres', 'CREATE DATABASE setup');
run_recipe('examples/recipes/setup.sql', 'setup');
foreach my $file (grep { $_ ne 'examples/recipes/setup.sql' } @order)
{
	my $database = basename_of($file);
	$node->safe_psql(
		'postgres',
		qq{CREATE DATABASE "$database" TEMPLATE setup;
		   ALTER DATABASE "$database" SET search_path = public, narvik});
	run_recipe($file, $database);
	is( $node->safe_psql($database, $careless),
		'', "$file: no function runs as a superuser, for PUBLIC, or by the caller's search path");
}

# ---- passwords --------------------------------------------------------------

$node->safe_psql(
	'postgres', 'CREATE DATABASE passwords TEMPLATE setup;
	ALTER DATABASE passwords SET search_path = public, narvik');

sub as_webapp
{
	my ($sql, $database) = @_;
	return $node->psql($database // 'passwords', $sql, extra_params => [ '-U', 'webapp' ]);
}

is((as_webapp('TABLE app_users'))[1], "1|alice\n2|bob", 'the application reads the users, without hashes');
like(
	(as_webapp('TABLE app_passwords'))[2],
	qr/permission denied for table app_passwords/, 'it reads no password hash');
like(
	(as_webapp("UPDATE app_passwords SET hash = 'x'"))[2],
	qr/permission denied for table app_passwords/, 'and writes none');
$node->safe_psql('postgres', 'CREATE ROLE nobody_special LOGIN');
foreach my $call ("check_password('alice', 'alice''s password')", "change_password('alice''s password', 'x')")
{
	my ($rc, $out, $err) = $node->psql('passwords', "SELECT $call", extra_params => [ '-U', 'nobody_special' ]);
	like($err, qr/permission denied for function/, "other roles cannot call $call");
}

my ($rc, $out, $err) = as_webapp(
	"SELECT check_password('alice', 'wrong'), check_password('nobody', 'wrong'),
	check_password(NULL, 'wrong'), check_password('alice', NULL), check_password('alice', 'alice''s password'),
	change_password('alice''s password', 'x')");
is("$rc|$out|$err", '0|||||1||', 'the right password of the right name gives the user; nobody changes a password');

# The machine does other things as well, so the quickest of several, by turns.
($rc, $out, $err) = as_webapp(
	q{
	CREATE FUNCTION pg_temp.seconds(name text) RETURNS double precision LANGUAGE plpgsql AS $$
	DECLARE
		start timestamptz := clock_timestamp();
	BEGIN
		PERFORM check_password(name, 'wrong');
		RETURN extract(epoch FROM clock_timestamp() - start);
	END $$;
	SELECT max(took) / min(took) < 2, max(took) > 0.01 FROM (
		SELECT min(took) AS took
		FROM (SELECT name, pg_temp.seconds(name) AS took
			  FROM generate_series(1, 10), unnest('{alice,nobody}'::text[]) AS name OFFSET 0) AS _
		GROUP BY name) AS _});
is("$rc|$out|$err", '0|t|t|', 'an unknown name takes as long as a wrong password');

my $costs = q{SELECT DISTINCT hash ~ '^\$2a\$[123]' FROM app_passwords};
is($node->safe_psql('passwords', $costs), 't', "passwords are hashed at bcrypt's cost 10 or more");
is($node->safe_psql('password', $costs), 't', 'changed ones, too');

# With this crypt() any password would be right.
$node->safe_psql(
	'passwords', q{
	CREATE FUNCTION public.crypt(text, text) RETURNS text LANGUAGE sql AS 'SELECT $2'});
is((as_webapp("SELECT check_password('alice', 'wrong')"))[1], '', 'a crypt() in another schema is not asked');

# ---- README's first example -------------------------------------------------

my ($example) = slurp_file("$root/README.md") =~ /^## Row-level security in one call\n.*?^```sql\n(.*?)^```/ms
  or BAIL_OUT('README has no example of row-level security');
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE; CREATE ROLE myapp');
is( $node->safe_psql('postgres', $example),
	"\nalice\nalice|buy milk",
	"README's example: the authenticated user sees her rows");
is($node->safe_psql('postgres', 'SELECT count(*) FROM notes'), '2', 'there are others');

# ---- a log-in and a password change wait for each other ---------------------

# The statements of the page, with the passwords of a user who is still as made.
$node->safe_psql(
	'postgres', 'CREATE DATABASE race TEMPLATE setup;
	ALTER DATABASE race SET search_path = public, narvik');
my ($login) = $recipe{'examples/recipes/log-in.sql'}[0]{sql} =~ /^(SELECT s\.token.*?) \\gset$/ms;
$login =~ s/:'planted'/NULL/;
my ($change) = $recipe{'examples/recipes/password.sql'}[0]{sql} =~ /^(SELECT narvik_delete_sessions_for_user.*?;)$/ms;
$node->safe_psql('race', "SELECT narvik_save_session(narvik_session_id('known'), '1', now() + interval '1 day')");

sub wait_for_lock
{
	my ($database) = @_;
	$node->poll_query_until(
		$database,
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = '$database' AND wait_event_type = 'Lock'") or die 'nobody waits';
	return;
}

my $one = $node->background_psql('race');
my $other = $node->background_psql('race');
$one->query_safe('SET ROLE webapp');
$other->query_safe('SET ROLE webapp');

$one->query_safe("BEGIN; $login");
$other->query_until(
	qr/waits/,
	"\\echo waits\nBEGIN; SELECT narvik_authenticate('known'); $change\nCOMMIT;\n");
wait_for_lock('race');
$one->query_safe('COMMIT');
$other->query_safe('SELECT 1');
is( $node->safe_psql('race', 'SELECT data FROM narvik_fetch_sessions_for_user($$1$$)'),
	'{}',
	'a password change ends the session of a log-in that was not committed when it began');

$node->safe_psql('race', q{UPDATE app_passwords SET hash = crypt('alice''s password', gen_salt('bf', 4))});
$other->query_safe("BEGIN; SELECT narvik_authenticate('known'); $change");
$one->query_until(qr/waits/, "\\echo waits\nBEGIN; $login;\n");
wait_for_lock('race');
$other->query_safe('COMMIT');
is($one->query_safe('COMMIT'), '', 'a log-in that waited for a password change finds no user');
$one->quit;
$other->quit;

# ---- so do a claim and the removal of the right it tells of ------------------

# A function of a recipe writes a claim, the statements of the page take the right
# away: whoever comes second waits for the other, and no claim is left.
sub claim_and_removal
{
	my ($recipe, $user, $give, $claim, $left) = @_;
	my $script = slurp_file("$root/examples/recipes/$recipe.sql");
	my ($removal) = $script =~ /^RESET ROLE;\n(DELETE.*?;\nSELECT.*?;)\n/ms;
	my ($first_removal) = $removal =~ /^(.*?;)/s;
	$node->safe_psql(
		$recipe, "$give;
		SELECT narvik_save_session(narvik_session_id('of $recipe'), '$user', now() + interval '1 day')");
	my $request = "BEGIN; SELECT narvik_authenticate('of $recipe') \\g /dev/null\n$claim;";

	my ($request_session, $remover) = map { $node->background_psql($recipe) } 1 .. 2;
	$request_session->query_safe('SET ROLE webapp');
	isnt($request_session->query_safe($request), '', "$recipe: the claim is written");
	$remover->query_until(qr/waits/, "\\echo waits\n$removal\n");
	wait_for_lock($recipe);
	$request_session->query_safe('COMMIT');
	$remover->query_safe('SELECT 1');
	is($node->safe_psql($recipe, $left), '0', "$recipe: a removal finds the claim that was not committed when it began");

	$node->safe_psql($recipe, $give);
	$remover->query_safe("BEGIN; $first_removal");
	$request_session->query_until(qr/waits/, "\\echo waits\n$request\n");
	wait_for_lock($recipe);
	$remover->query_safe('COMMIT');
	is($request_session->query_safe('COMMIT'), '', "$recipe: a request that waited for a removal finds no right");
	is($node->safe_psql($recipe, $left), '0', "$recipe: and writes no claim");
	$_->quit foreach $request_session, $remover;
	return;
}

claim_and_removal(
	'tenants', 1, "INSERT INTO members VALUES (1, 10, 'clerk')", 'SELECT enter_tenant(10)',
	"SELECT count(*) FROM narvik_sessions WHERE data ->> 'tenant' = '10'");
claim_and_removal(
	'acting', 3, 'INSERT INTO staff VALUES (3)', q{SELECT token FROM act_as('alice')},
	"SELECT count(*) FROM narvik_sessions WHERE data ->> 'actor' = '3'");

# ---- a log-in with a cart, by a browser that is logged in --------------------

my ($shopping) = $recipe{'examples/recipes/cart.sql'}[2]{sql} =~ /^(BEGIN;.*?^COMMIT;)/ms;
($rc, $out, $err) = $node->psql(
	'cart',
	qq{SET ROLE webapp;
	SELECT token AS guest FROM narvik_create_session('1') \\gset
	$shopping
	SELECT narvik_authenticate(:'token')});
is("$rc|$out|$err", '0|1|', 'a user who logs in again is logged in');
is($node->safe_psql('cart', 'TABLE cart_items'), "1|lamp\n1|chair", 'and keeps the cart');

# ---- what PostgREST's transactions do ---------------------------------------

$node->safe_psql(
	'postgrest', q{
	SELECT narvik_save_session(narvik_session_id('half-gone'), '1', now() + interval '1 day')});
my $request = q{SET LOCAL ROLE web_anon;
	SELECT set_config('request.cookies', '{"narvik_session": "half-gone"}', true) \g /dev/null
	SELECT hooks.pre_request() \g /dev/null
	SELECT count(*) FROM api.notes; COMMIT;};
my $slid = q{SELECT expires_at > now() + interval '29 days'
	FROM narvik_fetch_session(narvik_session_id('half-gone'))};
is($node->safe_psql('postgrest', "BEGIN READ ONLY; $request"), '1', 'a GET is authenticated');
is($node->safe_psql('postgrest', $slid), 'f', 'and does not extend the session');
my $headers = q{current_setting('response.headers', true)};
is( $node->safe_psql('postgrest', "BEGIN; $request" =~ s/COMMIT;/SELECT $headers; COMMIT;/r),
	qq{1\n[{"Set-Cookie" : "narvik_session=half-gone; Max-Age=2592000; Path=/; SameSite=Lax; Secure; HttpOnly"}]},
	'a POST is authenticated, and answers with the cookie');
is($node->safe_psql('postgrest', $slid), 't', 'and extends it');
is( $node->safe_psql('postgrest', "BEGIN; $request" =~ s/COMMIT;/SELECT coalesce($headers, ''); COMMIT;/r),
	"1\n", 'one that did not extend it has no cookie to send');
is( $node->safe_psql(
		'postgrest',
		q{BEGIN; SET LOCAL ROLE web_anon; SELECT hooks.pre_request() \g /dev/null
		  SELECT narvik_current_user_id() IS NULL; COMMIT; SELECT narvik_current_user_id() IS NULL}),
	"t\nt",
	'no cookies at all: nobody');

# ---- docs/security.md: what a dump is good for ------------------------------

my $token = $node->safe_psql('race', "SELECT token FROM narvik_create_session('2')");
my ($dump) = run_command([ 'pg_dump', '-d', $node->connstr('race') ]);
my $id = $node->safe_psql('race', "SELECT id FROM narvik_fetch_sessions_for_user('2')");
like($dump, qr/\Q$id\E/, 'a dump shows the id of a session');
unlike($dump, qr/\Q$token\E/, 'and not its token');
is( $node->safe_psql('race', "SELECT count(*) FROM narvik_validate_session('$id')"),
	'0', 'an id is no token');

# ---- docs/security.md: where the server shows tokens ------------------------

# Sends a statement with a token as a bind parameter, or in its text, and
# returns the lines of the log that show it.
my $secret = 'secret-token';
my $bind = PostgreSQL::Test::Utils::tempdir() . '/bind.sql';

sub logged
{
	my ($sql, $mode, %settings) = @_;
	my $from = -s $node->logfile;
	open my $file, '>', $bind or die;
	print $file "$sql;\n";
	close $file;
	local $ENV{PGOPTIONS} = join(' ', map { "-c $_=$settings{$_}" } sort keys %settings);
	IPC::Run::run(
		[   'pgbench', '-n', '-t', '1', '-M', $mode, '-D', "token=$secret",
			'-f', $bind, $node->connstr('postgres') ],
		'>',
		\my $out,
		'2>',
		\my $err);
	return join("\n", grep { /\Q$secret\E/ } split /\n/, slurp_file($node->logfile, $from));
}

# The recipe has been run: this is what it changed, and what it was before.
my $call = 'SELECT narvik_authenticate(:token)';
my $failing = "$call, 1 / (length(:token) - 12)";
my $in_text = "SELECT narvik_authenticate('$secret')";
my %loud = (log_parameter_max_length => -1);
my %explain = (
	session_preload_libraries => 'auto_explain',
	'auto_explain.log_parameter_max_length' => 0,
	'auto_explain.log_min_duration' => 0);

is($node->safe_psql('postgres', 'SHOW log_parameter_max_length'), '0', 'the recipe has set this');
foreach my $setting (
	[ log_statement => 'all' ], [ log_min_duration_statement => 0 ],
	[ log_min_duration_sample => 0 ])
{
	like(
		logged($call, 'extended', @$setting, %loud),
		qr/parameters: \$1/i, "$setting->[0] shows bind parameters");
	is(logged($call, 'extended', @$setting), '', 'but not with log_parameter_max_length = 0');
}
like(
	logged($failing, 'extended', log_parameter_max_length_on_error => -1),
	qr/portal with parameters/, 'log_parameter_max_length_on_error shows them with errors');
is(logged($failing, 'extended'), '', 'but not if it is 0');
is(logged($call, 'extended', %explain), '', 'auto_explain does not show them');
is( logged($call, 'extended', %explain, 'auto_explain.log_parameter_max_length' => -1) =~ /Query Parameters/,
	$version >= 16, 'but from PostgreSQL 16 on, unless told not to');
like(
	logged($call, 'extended', %explain, 'auto_explain.log_verbose' => 'on'),
	qr/Output: narvik_authenticate\('/, 'but with log_verbose the plan does');
like(
	logged($in_text, 'simple', log_statement => 'all'),
	qr/LOG:  statement:/, 'a token in the text of a statement is logged with it');
like(logged($in_text . ', 1 / 0', 'simple'), qr/STATEMENT:/, 'and with every error');

$node->safe_psql(
	'postgres', 'CREATE EXTENSION pg_stat_statements; CREATE ROLE stranger LOGIN;
	CREATE ROLE watcher LOGIN; GRANT pg_read_all_stats TO watcher');
$node->safe_psql('postgres', "CREATE PROCEDURE proc(text) LANGUAGE sql AS 'SELECT narvik_authenticate(\$1)'");
# The version of PostgreSQL from which on it does in these.
my @utility = (
	[ "CALL proc('$secret')", 17 ],
	["COPY (SELECT narvik_authenticate('$secret')) TO STDOUT"],
	[ "CREATE TABLE made AS SELECT narvik_authenticate('$secret')", 16 ],
	[ "DECLARE c CURSOR WITH HOLD FOR SELECT narvik_authenticate('$secret')", 16 ],
	["DO \$\$ BEGIN PERFORM narvik_authenticate('$secret'); END \$\$"]);
$node->safe_psql('postgres', join('; ', $in_text, map { $_->[0] } @utility));
is( $node->safe_psql(
		'postgres',
		"SELECT query FROM pg_stat_statements WHERE query ~ '$secret' AND query !~ 'stat_statements' ORDER BY query COLLATE \"C\""),
	join("\n", map { $_->[0] } grep { !$_->[1] || $version < $_->[1] } @utility),
	'pg_stat_statements replaces constants, but not in utility statements');

my $webapp = $node->background_psql('postgres', extra_params => [ '-U', 'webapp' ]);
$webapp->query_safe("SELECT '$secret'");
my $activity = "SELECT query FROM pg_stat_activity WHERE usename = 'webapp' AND pid <> pg_backend_pid()";
foreach (
	[ stranger => '<insufficient privilege>' ], [ webapp => "SELECT '$secret'" ],
	[ watcher => "SELECT '$secret'" ])
{
	my ($role, $answer) = @$_;
	my $out = $node->safe_psql('postgres', $activity, extra_params => [ '-U', $role ]);
	like($out, qr/^\Q$answer\E/, "in pg_stat_activity $role sees $answer");
}
$webapp->quit;

$node->stop;
done_testing();
