# shellcheck shell=bash
# What the scripts that measure share, on top of scripts/lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

sql() { # sql <database> [psql argument...]
	as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d "$@"
}

until_true() { # until_true <database> <query>: it says "t", within half an hour
	local answer end=$((SECONDS + 1800))
	while answer=$(sql "$1" -c "$2") && [[ $answer != t ]]; do
		((SECONDS < end)) || die "in vain: $2"
		sleep 0.2
	done
	[[ $answer == t ]]
}

record() { # record <part> <rows> <what> <round> <value>
	local IFS=$'\t'
	[[ ${!#} =~ ^[0-9.]+$ ]] || die "${*:1:$#-1}: measured '${!#}'"
	echo "$*" | tee -a "$WORK/measured.tsv"
}

# rate <database> <file> [pgbench argument...]: transactions a second.  How many, or for
# how long, is the caller's.
rate() {
	quietly pgbench as_postgres pgbench -n -M prepared -c 8 -j 2 "${duration[@]}" "${@:3}" -f "$2" "$1"
	sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$WORK/pgbench.log"
}

make_report_database() {
	as_postgres createdb report
	sql report -c "CREATE TABLE measured (part text, size bigint, what text, round int, value float8)" \
		-c "COPY measured FROM STDIN" <"$WORK/measured.tsv"
	sql report -f "$WORK/src/bench/report.sql"
}

# report: what SQL from standard input says of all that was measured, below what it
# was measured on.  With publish, a page has that between its markers.
report() { # report [<page> <marker>]
	[[ -e $WORK/report.md ]] || make_report_database
	{
		printf '\nMeasured on %s: %s, clients on the same machine. %s.\n' "$(date -u +%Y-%m-%d)" "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores" \
			"$(sql report -c "SELECT format('PostgreSQL %s, shared_buffers %s, fsync %s, synchronous_commit %s, full_page_writes %s', split_part(version(), ' ', 2),
				current_setting('shared_buffers'), current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes'))")"
		sql report -v cores="$(nproc)" -f -
		echo
	} | tee "$WORK/report.md"
	[[ ! ${publish:-} ]] ||
		sed -i -e "/^<!-- $2 -->/,/^<!-- $2 end -->/ { //!d }" -e "/^<!-- $2 -->/r $WORK/report.md" "$PROJECT/$1"
}
