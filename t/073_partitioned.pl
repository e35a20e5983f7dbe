# A table in parts in the place of narvik_sessions, as docs/scaling.md has it:
# refused by every function, with one clear error.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

my @calls = (
	q{narvik_create_session('u')}, q{narvik_validate_session('t')}, q{narvik_authenticate('t')},
	q{narvik_rotate_session('t')}, q{narvik_reauthenticate_session('t')}, q{narvik_promote_session('t', 'u')},
	q{narvik_create_guest_session()}, q{narvik_authenticate_cookie('narvik_session=t')},
	q{narvik_put_session(narvik_session_id('t'), 'u', now() + interval '1 day', '{}')},
	q{narvik_change_session_id(narvik_session_id('t'), narvik_session_id('x'))}, q{narvik_invalidate_session(narvik_session_id('t'))},
	q{narvik_fetch_sessions_for_user('u')}, q{narvik_delete_sessions_for_user('u')},
	q{narvik_delete_all_expired_sessions()}, q{narvik_update_session_data(narvik_session_id('t'), '{}')},
	q{narvik_save_session(narvik_session_id('x'), 'u', now() + interval '1 day')},
	q{narvik_fetch_session(narvik_session_id('t'))}, q{narvik_delete_session(narvik_session_id('t'))},
	q{narvik_update_session_expiry(narvik_session_id('t'), now() + interval '1 day')});

# What takes its place, made of "elsewhere", the table that was there.
my %layouts = (
	'hash partitions' => q{
		CREATE TABLE narvik_sessions (LIKE elsewhere INCLUDING IDENTITY) PARTITION BY HASH (id);
		CREATE TABLE part0 PARTITION OF narvik_sessions (EXCLUDE USING hash (id WITH =)) FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE part1 PARTITION OF narvik_sessions (EXCLUDE USING hash (id WITH =)) FOR VALUES WITH (MODULUS 2, REMAINDER 1)},
	'a foreign table' => q{
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw;
		CREATE FOREIGN TABLE narvik_sessions (seq bigint, id bytea, user_id text, created_at timestamptz, expires_at timestamptz,
			lifetime interval, sliding boolean, data jsonb, purge_hour integer) SERVER remote},
	'a view over several tables' => q{
		CREATE TABLE second (LIKE elsewhere INCLUDING ALL);
		CREATE VIEW narvik_sessions AS TABLE elsewhere UNION ALL TABLE second});

foreach my $layout (sort keys %layouts)
{
	my $database = lc($layout =~ s/\W/_/gr);
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my $kind = $layout =~ /foreign/ ? 'FOREIGN TABLE' : $layout =~ /view/ ? 'VIEW' : 'TABLE';
	$node->safe_psql(
		$database, qq{
		SET client_min_messages = warning;
		CREATE EXTENSION narvik CASCADE;
		SELECT narvik_save_session(narvik_session_id('t'), 'u', now() + interval '20 days');
		ALTER EXTENSION narvik DROP TABLE narvik_sessions;
		ALTER TABLE narvik_sessions RENAME TO elsewhere;
		ALTER INDEX narvik_sessions_id_excl RENAME TO elsewhere_id_excl;
		$layouts{$layout};
		ALTER EXTENSION narvik ADD $kind narvik_sessions});
	foreach my $call (@calls)
	{
		my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY sqlstate\nSELECT $call");
		is($err =~ /ERROR:\s+(\w{5})/ ? $1 : "no error, answer '$out'", '55000', "$layout: $call");
	}
}

$node->stop;
done_testing();
