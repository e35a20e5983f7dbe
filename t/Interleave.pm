# Every interleaving of two operations: interleave.c, built and run beside a
# server, in several databases at once.

package Interleave;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(build_interleave interleave operations_alone);

my $program;

sub build_interleave
{
	$program = PostgreSQL::Test::Utils::tempdir() . '/interleave';
	chomp(my $headers = `pg_config --includedir`);
	system_or_bail('cc', '-Wall', '-Wextra', '-Werror', '-O1', '-I', $headers,
		dirname(__FILE__) . '/interleave.c', '-o', $program, '-lpq');
	return;
}

# For each run: one session S, which is like its state says, and another of the
# same user.  Names of what is left: A and B for what these two created.
my $setup = q{
	CREATE EXTENSION narvik CASCADE;
	CREATE TABLE app_users (id text PRIMARY KEY);
	SELECT narvik_link_users('app_users');

	CREATE FUNCTION life(expires_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
		SELECT CASE WHEN expires_at <= now() THEN 'expired'
					WHEN expires_at < now() + interval '15 days' THEN 'due'
					WHEN expires_at < now() + interval '29.5 days' THEN 'fresh'
					WHEN expires_at < now() + interval '30.5 days' THEN 'full'
					ELSE 'later' END
	$$;

	CREATE FUNCTION begin_run(state text, token text) RETURNS void LANGUAGE sql AS $$
		DELETE FROM narvik_sessions;
		DELETE FROM app_users;
		INSERT INTO app_users VALUES ('alice');
		INSERT INTO narvik_sessions (id, user_id, created_at, expires_at, sliding, data, purge_hour)
		SELECT decode(narvik_session_id(t), 'hex'), 'alice', now() - age, now() + rest, true, data::jsonb,
			floor(extract(epoch FROM now() + rest) / 3600)
		FROM (VALUES
			(token, interval '20 days', CASE state WHEN 'due' THEN interval '10 days' WHEN 'fresh' THEN interval '29 days'
				WHEN 'expired' THEN interval '-2 hours' END, '{"s": 1}'),
			(token || '-other', interval '1 day', interval '29 days', '{"other": 1}')) AS v (t, age, rest, data)
		WHERE rest IS NOT NULL
	$$;

	CREATE FUNCTION end_run(token text, a text, b text) RETURNS text LANGUAGE sql AS $$
		WITH tokens (name, token) AS (VALUES ('S', token), ('other', token || '-other'), ('A', a), ('B', b))
		SELECT concat(
			'rows: ', (SELECT string_agg(concat_ws(' ', coalesce(name, 'unknown'), user_id, data, life(expires_at),
						CASE WHEN purge_hour <> floor(extract(epoch FROM expires_at) / 3600) THEN 'wrong hour' END), ', ' ORDER BY name)
					FROM narvik_sessions LEFT JOIN tokens ON decode(narvik_session_id(tokens.token), 'hex') = id),
			'; valid: ', (SELECT string_agg(name, ' ' ORDER BY name) FROM tokens, narvik_validate_session(tokens.token)),
			'; users: ', (SELECT string_agg(id, ' ') FROM app_users))
	$$;
};

# interleave($node, operations => 'a,b' (else all), parts => n, plant => SQL)
# returns the texts of the violations, and the last line of each part.
sub interleave
{
	my ($node, %how) = @_;
	my $parts = $how{parts} // 4;
	my @runs;
	make_databases($node, $parts, $how{plant});
	foreach my $part (0 .. $parts - 1)
	{
		my ($out, $err) = ('', '');
		my @command = ($program, $node->connstr("part$part"), $part, $parts, $how{operations} // ());
		push @runs, { out => \$out, err => \$err, run => IPC::Run::start(\@command, '>', \$out, '2>', \$err) };
	}
	my (@violations, @ends);
	foreach my $run (@runs)
	{
		$run->{run}->finish or die "interleave: ${ $run->{err} }";
		my @texts = split /^(?=\S)/m, ${ $run->{out} };
		push @ends, pop @texts;
		push @violations, @texts;
	}
	return (\@violations, \@ends);
}

# What each operation does in each state when it is alone, a line for each.
sub operations_alone
{
	my ($node, %how) = @_;
	make_databases($node, 1, $how{plant});
	my ($out, $err) = run_command([ $program, $node->connstr('part0'), 'alone' ]);
	die "interleave: $err" if $err;
	return "$out\n";
}

sub make_databases
{
	my ($node, $parts, $plant) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS model');
	$node->safe_psql('postgres', 'CREATE DATABASE model');
	$node->safe_psql('model', $setup . ($plant // ''));
	foreach my $part (0 .. $parts - 1)
	{
		$node->safe_psql('postgres', "DROP DATABASE IF EXISTS part$part");
		$node->safe_psql('postgres', "CREATE DATABASE part$part TEMPLATE model");
	}
	return;
}

1;
