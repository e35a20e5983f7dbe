# Two operations on one session at the same time, in every interleaving: they
# answer and leave behind what they do one after the other.  See Interleave.pm.
#
# 31 operations, each with each and with itself, on a session that is due, fresh
# or expired (for some, also one that is not there, or a guest's), and ten on one
# whose token was replaced, with the old token or the new one; in eight ways: READ
# COMMITTED and REPEATABLE READ, commit, rollback and prepare.  Ways that differ
# only in who is A are not all there, nor is SERIALIZABLE, where PostgreSQL may
# make any transaction fail.
#
# The oracle is narvik itself, so it is looked at first: what each operation does
# alone.  And faults are planted, to see that they are found.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use Interleave;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
autovacuum = off
max_prepared_transactions = 10
deadlock_timeout = 20ms
log_min_messages = fatal
log_min_error_statement = panic
});
$node->start;

is(operations_alone($node), slurp_file("$FindBin::RealBin/../data/alone.txt"), 'each operation alone');

my ($violations, $total) = interleave($node);
is(join("\n", @$violations), '', "$total->{schedules} interleavings");
cmp_ok($total->{schedules}, '>', 55_000, 'which are all of them');
is( join(' ', grep { /^\d/ } sort keys %$total), '23505 40001 40P01',
	'every exception is one: ' . join(', ', map { "$_ $total->{$_}" } sort keys %$total));

# ---- planted faults ---------------------------------------------------------

my $row_of_token = q{
	DECLARE
		s narvik_sessions;
		due boolean;
	BEGIN
		SELECT * INTO s FROM narvik_sessions WHERE id = decode(narvik_session_id($1), 'hex') AND expires_at > now();
		due := s.expires_at < now() + interval '15 days' AND NOT current_setting('transaction_read_only')::boolean;
};
my $extended_row = q{
		RETURN QUERY SELECT encode(id, 'hex'), user_id, created_at, expires_at, authenticated_at, active_at, data, false, due, false
		FROM narvik_sessions WHERE id = s.id;
	END
};
my $validate = 'CREATE OR REPLACE FUNCTION narvik_validate_session(token text) RETURNS SETOF narvik_session LANGUAGE plpgsql';

my @plants = (
	{   what => 'a log-out that deletes the sessions it saw when it began',
		operations => 'log_in_again,delete_for_user',
		violation => 'in no order: delete_for_user, log_in_again',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_delete_sessions_for_user(user_id text, except_session_id text DEFAULT NULL, reason text DEFAULT NULL)
			RETURNS bigint LANGUAGE plpgsql AS $$
			DECLARE
				ids bytea[] := ARRAY(SELECT id FROM narvik_sessions AS s WHERE s.user_id = $1);
				n bigint;
			BEGIN
				DELETE FROM narvik_sessions WHERE id = ANY (ids);
				GET DIAGNOSTICS n = ROW_COUNT;
				RETURN n;
			END $$}
	},
	{   what => 'a trigger that keeps a row while somebody else writes',
		operations => 'create,invalidate',
		violation => 'in no order: create, invalidate',
		sql => q{
			CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF EXISTS (SELECT FROM pg_stat_activity
						   WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL) THEN
					RETURN NULL;
				END IF;
				RETURN OLD;
			END $$;
			CREATE TRIGGER keep BEFORE DELETE ON narvik_sessions FOR EACH ROW EXECUTE FUNCTION keep()}
	},
	{   what => 'a rotation that stores the session again',
		operations => 'rotate,invalidate',
		violation => 'in no order: rotate, invalidate',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_rotate_session(token text) RETURNS SETOF narvik_created_session LANGUAGE plpgsql AS $$}
		  . $row_of_token . q{
				IF s IS NULL THEN
					RETURN;
				END IF;
				token := narvik_generate_token();
				DELETE FROM narvik_sessions WHERE id = s.id;
				INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
				VALUES (decode(narvik_session_id(token), 'hex'), s.user_id, s.created_at, s.expires_at, s.sliding, s.data, s.purge_hour);
				RETURN QUERY SELECT token, narvik_session_id(token), s.user_id, s.created_at, s.expires_at,
					s.authenticated_at, s.active_at, s.data, true, false;
			END $$}
	},
	{   what => 'a change of data that reads first and writes then',
		operations => 'update_data',
		violation => 'in no order: update_data, update_data',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_update_session_data(session_id text, patch jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
			DECLARE
				new_data jsonb := (SELECT data || patch FROM narvik_sessions WHERE id = decode(session_id, 'hex') AND expires_at > now());
			BEGIN
				UPDATE narvik_sessions SET data = new_data WHERE id = decode(session_id, 'hex') AND expires_at > now();
				RETURN new_data;
			END $$}
	},
	{   what => 'a validation that waits for the row to extend it',
		operations => 'validate,update_data',
		violation => 'waits: validate, update_data',
		sql => "$validate AS \$\$ $row_of_token" . q{
			IF due THEN
				UPDATE narvik_sessions SET expires_at = now() + interval '30 days',
					purge_hour = floor(extract(epoch FROM now() + interval '30 days') / 3600) WHERE id = s.id;
			END IF;} . $extended_row . '$$' },
	{   what => 'a validation that locks what its snapshot shows',
		operations => 'validate,update_data',
		violation => 'fails: validate, update_data',
		sql => "$validate AS \$\$ $row_of_token" . q{
			IF due THEN
				PERFORM FROM narvik_sessions WHERE id = s.id FOR UPDATE SKIP LOCKED;
				due := FOUND;
			END IF;
			IF due THEN
				UPDATE narvik_sessions SET expires_at = now() + interval '30 days',
					purge_hour = floor(extract(epoch FROM now() + interval '30 days') / 3600) WHERE id = s.id;
			END IF;} . $extended_row . '$$' },
	{   what => 'a validation that stores the session again',
		operations => 'validate,invalidate',
		violation => 'in no order: validate, invalidate',
		sql => "$validate AS \$\$ $row_of_token" . q{
			IF due THEN
				DELETE FROM narvik_sessions WHERE id = s.id;
				INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
				VALUES (s.id, s.user_id, s.created_at, now() + interval '30 days', s.sliding, s.data,
					floor(extract(epoch FROM now() + interval '30 days') / 3600));
			END IF;} . $extended_row . '$$' },
	{   what => 'a limit without a lock',
		operations => 'create_evicting',
		violation => 'in no order: create_evicting, create_evicting',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_create_session(user_id text, data jsonb DEFAULT '{}', expires_in interval DEFAULT NULL,
				sliding boolean DEFAULT true, max_age interval DEFAULT NULL) RETURNS narvik_created_session LANGUAGE plpgsql AS $$
			DECLARE
				token text := narvik_generate_token();
				ends timestamptz := now() + interval '30 days';
			BEGIN
				DELETE FROM narvik_sessions AS s WHERE s.user_id = $1 AND expires_at > now();
				INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
				VALUES (decode(narvik_session_id(token), 'hex'), $1, now(), ends, true, $2, floor(extract(epoch FROM ends) / 3600));
				RETURN (token, narvik_session_id(token), $1, now(), now() + interval '30 days',
					NULL::timestamptz, NULL::timestamptz, $2, true, false);
			END $$}
	},
	{   what => 'a reauthentication that reads the data first',
		operations => 'reauthenticate,update_data',
		violation => 'in no order: reauthenticate, update_data',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_reauthenticate_session(token text, patch jsonb DEFAULT '{}')
			RETURNS SETOF narvik_created_session LANGUAGE plpgsql AS $$}
		  . $row_of_token . q{
				token := narvik_generate_token();
				UPDATE narvik_sessions SET id = decode(narvik_session_id(token), 'hex'), data = s.data || patch WHERE seq = s.seq;
				IF FOUND THEN
					RETURN QUERY SELECT token, narvik_session_id(token), user_id, created_at, expires_at, authenticated_at, active_at, data, true, false
					FROM narvik_sessions WHERE seq = s.seq;
				END IF;
			END $$}
	},
	{   what => 'a log-out with a replaced token that misses a rotation',
		operations => 'invalidate,next_rotate',
		violation => 'in no order: invalidate, next_rotate',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_invalidate_session(session_id text, reason text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
			DECLARE
				old_id bytea := decode(session_id, 'hex');
				present_id bytea := (SELECT id FROM narvik_sessions WHERE id = old_id OR replaced_ids @> ARRAY[old_id]);
			BEGIN
				DELETE FROM narvik_sessions WHERE id = present_id;
				RETURN FOUND;
			END $$}
	},
	{   what => 'a reuse that waits for the session to end it',
		operations => 'validate,next_update_data',
		violation => 'waits: validate, next_update_data',
		sql => "$validate AS \$\$ $row_of_token" . q{
			IF s.id IS NULL AND current_setting('narvik.detect_reuse')::boolean THEN
				DELETE FROM narvik_sessions WHERE replaced_ids @> ARRAY[decode(narvik_session_id($1), 'hex')];
				RETURN;
			END IF;} . $extended_row . '$$' },
	{   what => 'an event of an end that somebody else came first to',
		operations => 'invalidate',
		violation => 'events: invalidate, invalidate',
		sql => q{
			CREATE OR REPLACE FUNCTION narvik_invalidate_session(session_id text, reason text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
			BEGIN
				INSERT INTO narvik_events (at, kind, reason, session_id, user_id, detail)
				SELECT now(), 'ended', 'logout', id, user_id, '{}' FROM narvik_sessions WHERE id = decode($1, 'hex');
				DELETE FROM narvik_sessions WHERE id = decode($1, 'hex');
				RETURN FOUND;
			END $$}
	},
	{   what => 'an event that gets lost while somebody else writes',
		operations => 'create,rotate',
		violation => 'events: create, rotate',
		sql => q{
			CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF EXISTS (SELECT FROM pg_stat_activity
						   WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL) THEN
					RETURN NULL;
				END IF;
				RETURN NEW;
			END $$;
			CREATE TRIGGER lose BEFORE INSERT ON narvik_events FOR EACH ROW EXECUTE FUNCTION lose()}
	});

foreach my $plant (@plants)
{
	my ($found) = interleave($node, parts => 1, operations => $plant->{operations}, plant => $plant->{sql});
	my @of_kind = grep { /^\Q$plant->{violation}\E \(/ } @$found;
	is(scalar @of_kind, 1, "found: $plant->{what}") or diag join '', @$found;
}

# This one does the same at any time, so only what an operation does alone tells.
isnt(
	operations_alone(
		$node, plant => q{
		CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER keep BEFORE DELETE ON narvik_sessions FOR EACH ROW WHEN (OLD.data ? 's') EXECUTE FUNCTION keep()}),
	slurp_file("$FindBin::RealBin/../data/alone.txt"),
	'found: a trigger that keeps rows');

$node->stop;
done_testing();
