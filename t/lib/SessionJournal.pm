# A journal of what clients were told about their sessions, and the check that a
# server still knows all of it: after a crash, a promotion, a cancelled call.
#
# A client writes down each operation before it begins and again when it is
# acknowledged.  Acknowledged operations must be there, those that failed with
# an error must not.  One that was under way when the connection broke may have
# happened or not, but nothing in between.
#
# Every session has a user of its own, so that the sessions that the server
# makes the token of are known too.  What is remembered of one:
#	id, expires (microseconds since 1970), n (a number in its data),
#	active (when its use was last noted, likewise; unless only the server knows), and
#	token, unless the answer with the token got lost.
# With narvik.events on from the beginning, the log of events has to tell the same:
# every id that a session had, none that it had only in a transaction that was
# rolled back, and how each session ended.
#
# In what an operation under way would lead to, '?' stands for a value that only
# the server knows.  Messages name users, never a token.

package SessionJournal;

use strict;
use warnings;

use DBI;
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use PostgreSQL::Test::Utils ();

# Since 19 that module takes what dies outside of eval for the end of the test.  DBI does so,
# and goes on, when a handle of a broken connection is destroyed.
INIT { $SIG{__DIE__} = 'DEFAULT' }

my $json = JSON::PP->new->canonical;

# new(events => 1): the server writes events.
sub new
{
	my ($class, %how) = @_;
	my $self = {
		dir => PostgreSQL::Test::Utils::tempdir(),
		sessions => {},        # user => session, as acknowledged
		dead => {},            # token => user
		ended => {},           # user => 1
		ids => {},             # that sessions have or had => 1
		pending => [],         # operations of which nobody knows
		acknowledged => {},    # operation => how many
		failed => {},          # SQLSTATE => how many
		happened => 0,         # of those that nobody knew of
		vanished => 0,
		wrong => [],           # wrong answers
		%how };
	return bless $self, $class;
}

# Values go beside the statement, or an error would log it with the token.  Behind
# a pooler they have to go inside.
sub connect_to
{
	my ($connstr, $pooled) = @_;
	my $dsn = 'dbi:Pg:' . join(';', split ' ', $connstr =~ s/'//gr);
	return DBI->connect(
		$dsn, '', '',
		{   RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, AutoInactiveDestroy => 1,
			pg_server_prepare => $pooled ? 0 : 1 });
}

# ---- what clients write down ------------------------------------------------

sub open_for_client
{
	my ($self, $client) = @_;
	open my $file, '>>', "$self->{dir}/$client" or die "journal: $!";
	$file->autoflush;
	return $file;
}

# begin: n, op, changes (user => session, or undef for none)
# ack:   n, op, changes, dead (tokens)
# fail:  n, state (SQLSTATE)
# wrong: text
sub note
{
	my ($file, $kind, %what) = @_;
	print $file $json->encode({ kind => $kind, %what }), "\n" or die "journal: $!";
	return;
}

# How many operations were acknowledged so far, or failed, in this load.
sub size
{
	my ($self, $kind) = @_;
	my $size = 0;
	$kind //= 'ack';
	foreach my $path (glob "$self->{dir}/*")
	{
		open my $file, '<', $path or die "journal: $!";
		$size += grep { /"kind":"$kind"/ } <$file>;
	}
	return $size;
}

# Read what the clients wrote, once they are gone.
sub collect
{
	my ($self) = @_;
	foreach my $path (sort glob "$self->{dir}/*")
	{
		my %begun;
		open my $file, '<', $path or die "journal: $!";
		while (my $line = <$file>)
		{
			my $entry = $json->decode($line);
			my $kind = $entry->{kind};
			if    ($kind eq 'begin') { $begun{ $entry->{n} } = $entry }
			elsif ($kind eq 'wrong') { push @{ $self->{wrong} }, $entry->{text} }
			else
			{
				my $op = delete $begun{ $entry->{n} };
				if ($kind eq 'fail') { $self->{failed}{ $entry->{state} }++ }
				else
				{
					$self->{acknowledged}{ $op->{op} }++;
					$self->apply($entry->{changes}, $entry->{dead});
				}
			}
		}
		close $file;
		unlink $path or die "journal: $!";
		push @{ $self->{pending} }, map { $begun{$_} } sort { $a <=> $b } keys %begun;
	}
	return;
}

sub apply
{
	my ($self, $changes, $dead) = @_;
	change($self->{sessions}, $changes);
	$self->{ended}{$_} = 1 foreach grep { !$changes->{$_} } keys %$changes;
	$self->{ids}{ $changes->{$_}{id} } = 1 foreach grep { /^c\d/ && $changes->{$_} } keys %$changes;
	$self->{dead}{$_} = 1 foreach @{ $dead // [] };
	return;
}

sub change
{
	my ($sessions, $changes) = @_;
	foreach my $user (keys %$changes)
	{
		if ($changes->{$user}) { $sessions->{$user} = $changes->{$user} }
		else { delete $sessions->{$user} }
	}
	return;
}

# ---- does the server know? --------------------------------------------------

# Everything that is wrong, as text; none if all is well.  What was under way is
# settled: from here on it happened, or not, for good.  The connection may be in
# a transaction; it is made read-only, or validation would extend sessions.
sub check
{
	my ($self, $dbh) = @_;
	my $own = $dbh->{AutoCommit};
	$dbh->begin_work if $own;
	my $rows = table_rows($dbh);
	my @wrong = splice @{ $self->{wrong} };
	push @wrong, $self->settle($rows);
	push @wrong, $self->compare($rows);
	push @wrong, $self->event_violations($dbh, $rows) if $self->{events};
	push @wrong, index_violations($dbh);
	$dbh->do('SET LOCAL transaction_read_only = on');
	push @wrong, $self->token_violations($dbh);
	$dbh->rollback if $own;
	return @wrong;
}

# user => rows, read without any index.
sub table_rows
{
	my ($dbh) = @_;
	my %rows;
	use_indexes($dbh, 'off');
	my $all = $dbh->selectall_arrayref(
		q{
		SELECT user_id, encode(id, 'hex') AS id, (extract(epoch FROM expires_at) * 1000000)::bigint AS expires,
			(extract(epoch FROM coalesce(active_at, created_at)) * 1000000)::bigint AS active,
			data->>'n' AS n, purge_hour = floor(extract(epoch FROM expires_at) / 3600) AS whole
		FROM narvik_sessions}, { Slice => {} });
	use_indexes($dbh, 'on');
	push @{ $rows{ $_->{user_id} } }, $_ foreach @$all;
	return \%rows;
}

# What differs between a session as it should be and a user's rows; undef if
# nothing.  For what only the server knows the session before is needed.
sub difference
{
	my ($session, $rows, $before) = @_;
	my $row = $rows->[0];
	return $row ? 'is there' : undef unless $session;
	return 'is lost' unless $row;
	return 'is there ' . @$rows . ' times' if @$rows > 1;
	return 'has another id' if $session->{id} eq '?' ? $before && $row->{id} eq $before->{id} : $row->{id} ne $session->{id};
	return 'has another expiry'
	  if $session->{expires} eq '?' ? $before && $row->{expires} <= $before->{expires} : $row->{expires} != $session->{expires};
	return 'has other data' if $row->{n} != $session->{n};
	my ($active, $active_before) = map { $_ && $_->{active} // '?' } $session, $before;
	return 'has another activity'
	  if $active ne '?' ? $row->{active} != $active : $active_before && $active_before ne '?' && $row->{active} < $active_before;
	return 'has half an expiry' unless $row->{whole};
	return;
}

sub settle
{
	my ($self, $rows) = @_;
	my @wrong;
	foreach my $op (splice @{ $self->{pending} })
	{
		my @users = sort keys %{ $op->{changes} };
		my $old = $self->{sessions};
		my $undone = !grep { difference($old->{$_}, $rows->{$_}) } @users;
		my $done = !grep { difference($op->{changes}{$_}, $rows->{$_}, $old->{$_}) } @users;
		push @wrong, "half done: $op->{op} for @users" unless $done || $undone;
		$self->{ $undone ? 'vanished' : 'happened' }++;
		$self->take_over($_, $rows->{$_}) foreach @users;
	}
	return @wrong;
}

# Believe the server about a session.
sub take_over
{
	my ($self, $user, $rows) = @_;
	my $old = $self->{sessions}{$user};
	my $row = $rows && $rows->[0];
	my $same = $old && $row && $old->{id} eq $row->{id};
	my $new = $row && { (map { $_ => $row->{$_} } qw(id expires n active)), $same ? (token => $old->{token}) : () };
	$self->apply({ $user => $new }, $old && $old->{token} && !$same ? [ $old->{token} ] : []);
	return;
}

sub compare
{
	my ($self, $rows) = @_;
	my @wrong;
	foreach my $user (sort keys %{ $self->{sessions} })
	{
		my $difference = difference($self->{sessions}{$user}, $rows->{$user});
		push @wrong, "the session of $user $difference" if $difference;
	}
	foreach my $user (sort grep { !$self->{sessions}{$_} } keys %$rows)
	{
		push @wrong, "the session of $user " . ($self->{ended}{$user} ? 'is back' : 'is nobody\'s');
	}
	return @wrong;
}

# No event without its act, no act without its event.  Of the users of a load: others
# are the test's own.
sub event_violations
{
	my ($self, $dbh, $rows) = @_;
	my (@wrong, %of_user, %ids);
	my $events = $dbh->selectall_arrayref(
		q{SELECT user_id, kind, reason, encode(session_id, 'hex') AS id FROM narvik_events WHERE user_id ~ '^c[0-9]' ORDER BY seq},
		{ Slice => {} });
	push @{ $of_user{ $_->{user_id} } }, $_ foreach @$events;
	foreach my $user (sort grep { /^c\d/ } keys %{ { %of_user, %$rows } })
	{
		my @events = @{ $of_user{$user} // [] };
		my $row = $rows->{$user} && $rows->{$user}[0];
		my $kinds = join ' ', map { $_->{kind} } @events;
		push @wrong, "the events of $user are: $kinds" if $kinds !~ ($row ? qr/^created( rotated)*$/ : qr/^created( rotated)* ended$/);
		push @wrong, "the last event of $user has another id" if $row && @events && $events[-1]{id} ne $row->{id};
		$ids{ $_->{id} } = $user foreach @events;
	}
	push @wrong, "an event of $ids{$_} of what did not happen" foreach grep { !$self->{ids}{$_} } sort keys %ids;
	push @wrong, 'no event of an id that a session had'        foreach grep { !$ids{$_} } sort keys %{ $self->{ids} };
	return @wrong;
}

# Through validation, as applications ask.
sub token_violations
{
	my ($self, $dbh) = @_;
	my $sessions = $self->{sessions};
	my %alive = map { $sessions->{$_}{token} ? ($sessions->{$_}{token} => $_) : () } keys %$sessions;
	my $answers = $dbh->selectall_hashref(
		q{
		SELECT t.token, s.id, s.user_id, s.new OR s.extended AS written FROM unnest($1::text[]) AS t (token)
		LEFT JOIN LATERAL narvik_validate_session(t.token) AS s ON true}, 'token', {}, [ keys %alive, keys %{ $self->{dead} } ]);
	my @wrong = map { "a dead token is valid, of $answers->{$_}{user_id}" } grep { $answers->{$_}{id} } sort keys %{ $self->{dead} };
	foreach my $token (sort keys %alive)
	{
		my ($user, $answer) = ($alive{$token}, $answers->{$token});
		push @wrong, "the token of $user is not valid" unless $answer->{id};
		push @wrong, "the token of $user finds another session"
		  if $answer->{id} && ($answer->{user_id} ne $user || $answer->{id} ne $sessions->{$user}{id});
		push @wrong, "the token of $user was written to in a read-only transaction" if $answer->{written};
	}
	return @wrong;
}

# ---- rows and index entries -------------------------------------------------

# amcheck knows tables and btrees.  The hash index is compared by hand: each row
# is found by its id, and each entry leads to a place where a row is, or was
# (until VACUUM, which takes the entry first).
my @violations = (
	'rows that the hash index does not find' => q{
		SELECT count(*) FROM narvik_sessions AS s
		WHERE NOT EXISTS (SELECT FROM narvik_fetch_session(encode(s.id, 'hex')) AS f
						  WHERE f.id = encode(s.id, 'hex') AND f.user_id = s.user_id AND f.expires_at = s.expires_at)},
	'ids that are there twice' => 'SELECT count(*) - count(DISTINCT id) FROM narvik_sessions',
	'entries of the hash index without a row' => q{
		SELECT count(*) FROM generate_series(1, pg_relation_size('narvik_sessions_id_excl') / current_setting('block_size')::int - 1) AS b,
			LATERAL (SELECT get_raw_page('narvik_sessions_id_excl', 'main', b) AS page OFFSET 0) AS p,
			LATERAL hash_page_items(CASE WHEN hash_page_type(page) IN ('bucket', 'overflow') THEN page END) AS i
		WHERE ctid NOT IN (
			SELECT format('(%s,%s)', b, lp)::tid
			FROM generate_series(0, pg_relation_size('narvik_sessions') / current_setting('block_size')::int - 1) AS b,
				 LATERAL heap_page_items(get_raw_page('narvik_sessions', 'main', b))
			WHERE lp_flags <> 0)});

sub index_violations
{
	my ($dbh) = @_;
	my @wrong =
	  map { "amcheck, table: $_" } @{ $dbh->selectcol_arrayref(q{SELECT msg FROM verify_heapam('narvik_sessions', check_toast => true)}) };
	foreach my $btree (qw(pkey user_id_idx purge_hour_idx))
	{
		$dbh->do('SAVEPOINT amcheck');
		eval { $dbh->do("SELECT bt_index_check('narvik_sessions_$btree', true)") } or push @wrong, "amcheck, narvik_sessions_$btree: $@";
		$dbh->do('ROLLBACK TO amcheck');
	}
	use_indexes($dbh, 'off');
	foreach my $n (0 .. $#violations / 2)
	{
		my ($count) = $dbh->selectrow_array($violations[ 2 * $n + 1 ]);
		push @wrong, "$count $violations[2 * $n]" if $count;
	}
	use_indexes($dbh, 'on');
	return @wrong;
}

sub use_indexes
{
	my ($dbh, $whether) = @_;
	$dbh->do("SET LOCAL enable_$_ = $whether") foreach qw(indexscan indexonlyscan bitmapscan);
	return;
}

# ---- for the report ---------------------------------------------------------

sub summary
{
	my ($self) = @_;
	my ($acknowledged, $failed) = map {
		my $counts = $_;
		join ', ', map { "$_ $counts->{$_}" } sort keys %$counts
	} @{$self}{qw(acknowledged failed)};
	return
		"operations acknowledged: $acknowledged; failed: $failed; under way when the connection broke: $self->{happened} happened, "
	  . "$self->{vanished} did not; "
	  . keys(%{ $self->{sessions} })
	  . ' sessions live, '
	  . keys(%{ $self->{dead} })
	  . ' tokens dead';
}

1;
