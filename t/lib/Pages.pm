# Pages of documentation that are run: their blocks of SQL by psql, their blocks
# of shell by bash, one after the other, and each answer compared with the block
# of text that follows it.  Only what differs from run to run, and
# between versions, is masked.
#
# The page with the answers that it really got is in tmp_check/pages: look at
# them, and if they are right, that is the new page.

package Pages;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(basename);
use IPC::Run       ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(run_page);

# Tokens, ids, times, sizes; the widths of columns that hold them; and what
# differs between versions of PostgreSQL.
sub masked
{
	my ($text) = @_;
	$text =~ s/\b[a-z2-7]{32}\b/<token>/g;
	$text =~ s/\b[0-9a-f]{64}\b/<id>/g;
	$text =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[-+]\d\d(:\d\d)?/<time>/g;
	$text =~ s/\b\d+ (?:bytes|kB|MB)\b/<size>/g;
	$text =~ s/-{3,}/---/g;
	$text =~ s/ +/ /g;
	$text =~ s/^ | $//mg;
	# PostgreSQL 19 says which of these it is, and ends a sentence that had no period.
	$text =~
	  s/^DETAIL: No function of that name accepts the given argument types\.\nHINT: You might need to add explicit type casts\.$/<not found>/mg;
	$text =~ s/^(HINT: No function matches|DETAIL: A function of that name exists, but).*/<not found>/mg;
	$text =~ s/^(DETAIL: trigger \w+ on table \w+ depends on column "\w+")\.$/$1/mg;
	return $text =~ s/\n+\z//r;
}

# The page as a list of texts and blocks: [ kind, text ].
sub parts
{
	my ($page) = @_;
	my @parts;
	foreach my $part (split /^(```\w*\n.*?^```\n)/ms, $page)
	{
		push @parts, $part =~ /^```(\w*)\n(.*)```\n\z/s ? [ $1 || 'text', $2 ] : [ '', $part ];
	}
	return @parts;
}

# psql shows answers as it does to somebody who sits before it, but for the
# messages that a command was done.
sub answers_of_sql
{
	my ($connection, @blocks) = @_;
	my $script = join('', map { "$_\n\\echo -- next\n" } @blocks);
	my $out = '';
	# What somebody would type at psql's prompt for it.
	local $ENV{PGPASSWORD} = 'choose one';
	IPC::Run::run([ 'psql', '-Xq', '-d', $connection ], '<', \$script, '>&', \$out);
	my @answers = split /^-- next\n/m, $out, -1;
	return @answers[ 0 .. $#blocks ];
}

sub answer_of_shell
{
	my ($node, $database, $block) = @_;
	local $ENV{PGDATABASE} = $database;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATA} = $node->data_dir;
	my $out = '';
	# In a folder where it may write, and as if systemd had started the server.
	my $around = q{
		[ -x /usr/local/bin/systemctl ] ||
			systemctl() { [ "$*" = "restart postgresql" ] && pg_ctl -s -l "$PGDATA/server.log" restart; }
		cd "$PGDATA/.."
	};
	IPC::Run::run([ 'bash', '-euo', 'pipefail', '-c', $around . $block ], '<', \undef, '>&', \$out)
	  or $out .= "exit status $?\n";
	return $out;
}

# run_page(node, file, database => name): one psql for all SQL between two
# blocks of shell, so that its variables last.
sub run_page
{
	my ($node, $file, %option) = @_;
	my $database = $option{database} // 'postgres';
	my $name = basename($file);
	my @parts = parts(slurp_file($file));
	my @commands = grep { $parts[$_][0] =~ /^(sql|sh)$/ } 0 .. $#parts;
	my %answer;
	cmp_ok(scalar @commands, '>', 0, "$name has something to run");

	for (my $i = 0; $i < @commands; $i++)
	{
		if ($parts[ $commands[$i] ][0] eq 'sh')
		{
			$answer{ $commands[$i] } = answer_of_shell($node, $database, $parts[ $commands[$i] ][1]);
			next;
		}
		my @together = ($commands[$i]);
		push @together, $commands[ ++$i ] while $i < $#commands && $parts[ $commands[ $i + 1 ] ][0] eq 'sql';
		@answer{@together} = answers_of_sql($node->connstr($database), map { $parts[$_][1] } @together);
	}

	my $written = '';
	for (my $i = 0; $i < @parts; $i++)
	{
		my ($kind, $text) = @{ $parts[$i] };
		$written .= $kind eq '' ? $text : "```$kind\n$text```\n";
		next unless exists $answer{$i};
		my $got = $answer{$i} // "(psql ended before)\n";
		$got =~ s/ +$//mg;
		$got =~ s/\n+\z/\n/;

		# An answer follows its command, with nothing but an empty line between.
		my $shown = '';
		if ($i + 2 <= $#parts && $parts[ $i + 1 ][1] eq "\n" && $parts[ $i + 2 ][0] eq 'text')
		{
			$shown = $parts[ $i + 2 ][1];
			$i += 2;
		}
		$written .= "\n```text\n$got```\n" if $got ne '';
		is(masked($got), masked($shown), "$name: " . ($text =~ s/\n.*//sr));
	}
	mkdir 'tmp_check/pages';
	open my $handle, '>', "tmp_check/pages/$name" or die;
	print $handle $written;
	close $handle;
	return;
}

1;
