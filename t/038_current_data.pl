# narvik_current_data() is the session's data as of the validation: also when it is
# stored out of line, somebody else changes or deletes it meanwhile, and VACUUM
# comes along.  What that takes is given back at the end, however the transaction
# ends, and does not grow with the number of validations.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');

# Data that does not compress.
sub large
{
	my ($seed) = @_;
	return qq{(SELECT jsonb_object_agg(i, sha512((i || '$seed')::bytea)) || '{"large": "$seed"}' FROM generate_series(1, 2000) AS i)};
}

sub save
{
	my ($token, $seed) = @_;
	$node->safe_psql(
		'postgres',
		qq{SELECT narvik_save_session(narvik_session_id('$token'), '$token', now() + interval '29 days', } . large($seed) . ')');
	return;
}

my $toast = $node->safe_psql('postgres', q{SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'narvik_sessions'::regclass});

# Twice, so that what was dead is gone, and written over.
sub sweep
{
	$node->safe_psql('postgres', "VACUUM narvik_sessions; VACUUM $toast; VACUUM narvik_sessions");
	save("filler$_", "filler$_") foreach 1 .. 2;
	$node->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user('filler' || i) FROM generate_series(1, 2) AS i});
	return;
}

my $seen = q{SELECT narvik_current_data()->>'large', md5(narvik_current_data()::text)};
sub should_be { return $node->safe_psql('postgres', "SELECT '$_[0]', md5(" . large($_[0]) . '::text)') }
my $first = should_be('first');

my %meanwhile = (
	'is changed' => q{SELECT narvik_update_session_data(narvik_session_id('t'), '{"large": "changed", "1": null}')},
	'is replaced' => q{SELECT narvik_put_session(narvik_session_id('t'), 't', now() + interval '29 days', '{}')},
	'is deleted' => q{SELECT narvik_delete_sessions_for_user('t')},
	'is rotated' => q{SELECT token FROM narvik_rotate_session('t')},
	'is reauthenticated' => q{SELECT token FROM narvik_reauthenticate_session('t', '{"large": "changed"}')});
my %ends = (
	'COMMIT' => 'COMMIT', 'ROLLBACK' => 'ROLLBACK',
	'PREPARE TRANSACTION' => q{SELECT narvik_delete_sessions_for_user('nobody'); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'});

my $psql = $node->background_psql('postgres');
foreach my $what (sort keys %meanwhile)
{
	foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
	{
		foreach my $end (sort keys %ends)
		{
			save('t', 'first');
			$psql->query_safe("BEGIN ISOLATION LEVEL $level; SELECT narvik_authenticate('t')");
			$node->safe_psql('postgres', $meanwhile{$what});
			sweep();
			is($psql->query_safe($seen), $first, "$level, $end: data that $what meanwhile is as it was");
			$psql->query_safe($ends{$end});
			$node->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user('t')});
		}
	}
}

# The transaction itself gives the session another name meanwhile: the data is the same, and
# older than that statement.
my %renames = (
	'rotated' => q{SELECT token FROM narvik_rotate_session('t')},
	'given another id' => q{SELECT narvik_change_session_id(narvik_session_id('t'), narvik_session_id('other'))});
foreach my $what (sort keys %renames)
{
	foreach my $own ($renames{$what}, "SAVEPOINT s; $renames{$what}; RELEASE s")
	{
		save('t', 'first');
		$psql->query_safe(q{BEGIN; SELECT narvik_authenticate('t')});
		$node->safe_psql('postgres', $meanwhile{'is changed'});
		$psql->query_safe($own);
		sweep();
		is($psql->query_safe($seen), $first, "changed by another and $what here: $own");
		$psql->query_safe('ROLLBACK');
		$node->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user('t')});
	}
}

# Nobody asks for it.
foreach my $end (sort keys %ends)
{
	save('t', 'first');
	$psql->query_safe("BEGIN; SELECT narvik_authenticate('t')");
	$psql->query_safe($ends{$end});
	is($psql->query_safe('SELECT narvik_current_data() IS NULL'), 't', "$end: nobody");
	$node->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user('t')});
}

# ---- savepoints -------------------------------------------------------------

my ($second, $third) = (should_be('second'), should_be('third'));
save('t', 'first');
save('u', 'second');
save('v', 'third');
$psql->query_safe(
	q{BEGIN; SELECT narvik_authenticate('t'); SAVEPOINT a; SELECT narvik_authenticate('u'); SAVEPOINT b; SELECT narvik_authenticate('v')});
$node->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user(u) FROM unnest('{t,u,v}'::text[]) AS u});
sweep();
is($psql->query_safe($seen), $third, 'in a savepoint: that of the last validation');
is($psql->query_safe("ROLLBACK TO b; $seen"), $second, 'after ROLLBACK TO: that of the one before');
is($psql->query_safe("RELEASE a; $seen"), $second, 'after RELEASE: it stays');
$psql->query_safe('COMMIT');

save('t', 'first');
save('u', 'second');
$psql->query_safe(q{BEGIN; SELECT narvik_authenticate('t'); SAVEPOINT a; SELECT narvik_authenticate('u')});
$node->safe_psql('postgres', q{SELECT narvik_delete_sessions_for_user(u) FROM unnest('{t,u}'::text[]) AS u});
sweep();
is($psql->query_safe("ROLLBACK TO a; $seen"), $first, 'after ROLLBACK TO: that of the transaction, which nobody has read yet');
$psql->query_safe('ROLLBACK');

# In a function that catches an error, and in a procedure that commits.
save('t', 'first');
is( $psql->query_safe(
		q{
		CREATE TEMP TABLE found (level text);
		CREATE PROCEDURE pg_temp.walk() LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM narvik_authenticate('t');
			BEGIN
				PERFORM narvik_authenticate('t');
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN
				INSERT INTO found VALUES (narvik_current_data()->>'large');
			END;
			PERFORM narvik_authenticate('t');
			COMMIT;
			INSERT INTO found VALUES (coalesce(narvik_current_data()->>'large', 'nobody'));
			COMMIT;
			PERFORM narvik_authenticate('t');
			ROLLBACK;
			PERFORM narvik_authenticate('t');
			INSERT INTO found VALUES (narvik_current_data()->>'large');
		END $$;
		CALL pg_temp.walk();
		SELECT string_agg(level, ' ') FROM found}),
	'first nobody first',
	'PL/pgSQL: errors caught, COMMIT and ROLLBACK within');

# The transaction's own changes, of large data.
is( $psql->query_safe(
		q{BEGIN; SELECT narvik_authenticate('t') IS NULL;
		SELECT narvik_update_session_data(narvik_session_id('t'), '{"large": "own"}') IS NULL;
		SELECT narvik_current_data()->>'large', narvik_current_data() = data FROM narvik_fetch_session(narvik_session_id('t'));
		SAVEPOINT a;
		SELECT narvik_update_session_data(narvik_session_id('t'), '{"large": "undone"}') IS NULL;
		ROLLBACK TO a;
		SELECT narvik_current_data()->>'large', narvik_current_data() = data FROM narvik_fetch_session(narvik_session_id('t'));
		ROLLBACK}),
	"f\nf\nown|t\nf\nown|t",
	"the transaction's own changes, and those that it takes back");

# ---- memory -----------------------------------------------------------------

# VACUUM FULL would take the old versions away: it has to wait.
$psql->query_safe(q{BEGIN; SELECT narvik_authenticate('t')});
my ($rc, $out, $err) = $node->psql('postgres', q{SET lock_timeout = '100ms'; VACUUM FULL narvik_sessions});
like($err, qr/lock timeout/, 'VACUUM FULL waits for whoever has validated');
$psql->query_safe('COMMIT');

my $memory = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';
my $many = sub {
	my ($n, $body) = @_;
	return "DO \$\$ BEGIN FOR i IN 1..$n LOOP $body END LOOP; END \$\$;";
};
my %bodies = (
	'validations' => [ 1_000_000, q{PERFORM narvik_authenticate('t');} ],
	'validations whose data is read' => [ 2_000, q{PERFORM narvik_authenticate('t'); PERFORM narvik_current_data();} ],
	'validations in blocks of their own' =>
	  [ 100_000, q{BEGIN PERFORM narvik_authenticate('t'); EXCEPTION WHEN division_by_zero THEN NULL; END;} ],
	'validations undone' =>
	  [ 20_000, q{BEGIN PERFORM narvik_authenticate('t'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;} ],
	'changes of the data' => [ 200, q{PERFORM narvik_update_session_data(narvik_session_id('t'), '{}'); PERFORM narvik_current_data();} ]);
foreach my $what (sort keys %bodies)
{
	my ($n, $body) = @{ $bodies{$what} };
	$psql->query_safe(q{BEGIN; SELECT narvik_authenticate('t')} . ';' . $many->($n / 100, $body));
	my $before = $psql->query_safe($memory);
	$psql->query_safe($many->($n, $body));
	my $grown = $psql->query_safe($memory) - $before;
	cmp_ok($grown, '<', 1_000_000, "$n $what in one transaction: memory stays flat");
	note("$what: $grown bytes");
	$psql->query_safe('COMMIT');
}

$psql->quit;
ok(!$node->log_contains('leak|still referenced|missing chunk'), 'nothing leaked');

$node->stop;
done_testing();
