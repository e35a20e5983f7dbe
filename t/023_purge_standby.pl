# A standby has no launcher and purges nothing by itself: rows go when they go
# on the primary.  Once promoted it purges.  And under pg_upgrade, which starts
# servers with -b, nothing is purged.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PurgeTest;
use Test::More;

my $started = qr/narvik launcher started/;
my $processes = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'narvik%'};
my $live = q{SELECT user_id FROM narvik_validate_session('live')};

my $primary = purging_server('primary', { allows_streaming => 1 }, 'narvik.purge = off');
$primary->safe_psql('postgres', 'CREATE EXTENSION narvik CASCADE');
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'narvik.purge = on');
$standby->start;

# ---- standby ----------------------------------------------------------------

save_expired($primary, 'postgres', 100);
$primary->safe_psql('postgres', q{SELECT narvik_save_session(narvik_session_id('live'), 'alice', now() + interval '29 days')});
$primary->wait_for_catchup($standby);
is(expired_left($standby, 'postgres'), '100', 'expired sessions are on the standby');
is($standby->safe_psql('postgres', $processes), '0', 'which has no process that purges');
sleep 2;
is($standby->safe_psql('postgres', $processes), '0', 'still has none after an interval');
ok(!log_lines($standby, $started), 'and never had');
is(expired_left($standby, 'postgres'), '100', 'nor purged anything');

set_by_reload($primary, 'narvik.purge = on');
ok(wait_until_purged($primary, 'postgres'), 'purged on the primary');
ok(wait_until_purged($standby, 'postgres'), 'they are gone on the standby');
is($standby->safe_psql('postgres', $live), 'alice', 'where the live session is valid');
is( purge_stats($standby, 'postgres', 'purged, purge_runs, last_purge_at IS NULL'),
	'0|0|t', 'which counts no purge of its own');

# ---- promotion --------------------------------------------------------------

stop_purging($primary, 'postgres');
save_expired($primary, 'postgres', 100);
$primary->wait_for_catchup($standby);
$primary->stop;
is(expired_left($standby, 'postgres'), '100', 'more expired sessions are on the standby');
$standby->promote;
ok(wait_until_purged($standby, 'postgres'), 'once promoted it purges them');
is(scalar log_lines($standby, $started), 1, 'by a launcher that was started once');
is($standby->safe_psql('postgres', $live), 'alice', 'the live session is still valid');
$standby->stop;

# ---- pg_upgrade -------------------------------------------------------------

# The primary still has its hundred, and would purge them if it started so.
$primary->append_conf('postgresql.conf', 'narvik.purge = on');
my $offset = -s $primary->logfile;
command_ok(
	[ 'pg_ctl', '-w', '-D', $primary->data_dir, '-l', $primary->logfile, '-o', '-b', 'start' ],
	'a server is started as pg_upgrade does');
$primary->_update_pid(1);
is($primary->safe_psql('postgres', $processes), '0', 'it has no process that purges');
sleep 2;
is($primary->safe_psql('postgres', $processes), '0', 'still has none after an interval');
ok(!log_lines($primary, $started, $offset), 'and never had');
is(expired_left($primary, 'postgres'), '100', 'nor purged anything');
is($primary->safe_psql('postgres', $live), 'alice', 'sessions can be validated');
$primary->stop;

$primary->start;
ok(wait_until_purged($primary, 'postgres'), 'started as always it purges');

$primary->stop;
done_testing();
