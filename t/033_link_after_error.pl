# A look-up of the link that fails half-way leaves no wrong knowledge behind: the
# next one looks again, and nobody gets a session past the link.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE app_users (id int PRIMARY KEY);
	INSERT INTO app_users VALUES (1);
	CREATE FUNCTION attempt(user_id text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN s.user_id FROM narvik_create_session(attempt.user_id) AS s;
	EXCEPTION WHEN foreign_key_violation OR lock_not_available THEN
		RETURN SQLSTATE;
	END $$;
});

my $admin = $node->background_psql('postgres');
my $app = $node->background_psql('postgres');

# The connection knows the table of sessions, and that there is no link, or nothing
# about a link.
foreach my $known (1, 0)
{
	my $how = $known ? 'no link was known' : 'nothing was known';
	if (!$known)
	{
		$app->quit;
		$app = $node->background_psql('postgres');
	}
	is($app->query_safe(q{SELECT attempt('2')}), '2', "$how: logged in without a link") if $known;
	$admin->query_safe(q{SELECT narvik_delete_sessions_for_user('2')});
	$admin->query_safe(q{SELECT narvik_link_users('app_users')}) if $known;
	is($app->query_safe(q{SELECT count(*) FROM narvik_validate_session('x')}), '0', "$how: the table is known");

	# The look-up reads pg_depend; it gets stuck there, and gives up.
	$admin->query_safe('BEGIN; LOCK TABLE pg_catalog.pg_depend');
	$app->query_safe(q{SET lock_timeout = '100ms'});
	is($app->query_safe(q{SELECT attempt('2')}), '55P03', "$how: the look-up fails");
	$admin->query_safe('COMMIT');
	$app->query_safe('RESET lock_timeout');

	is($app->query_safe(q{SELECT attempt('2')}), '23503', "$how: the next one finds the link");
	is($app->query_safe(q{SELECT attempt('1')}), '1', "$how: and the user who is there");
}

$_->quit foreach ($admin, $app);
$node->stop;
done_testing();
