# shellcheck shell=bash
# What the scripts that measure share, on top of scripts/lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

sql() { # sql <database> [psql argument...]
	as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d "$@"
}

record() { # record <what>... <value>
	local IFS=$'\t'
	[[ ${!#} =~ ^[0-9.]+$ ]] || die "${*:1:$#-1}: measured '${!#}'"
	echo "$*" | tee -a "$WORK/measured.tsv"
}

# rate <database> <file> [pgbench argument...]: transactions a second.
rate() {
	quietly pgbench as_postgres pgbench -n -M prepared -c 8 -j 2 -T "$seconds" "${@:3}" -f "$2" "$1"
	sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$WORK/pgbench.log"
}

# publish <page> <marker> <file>: the file is what the page has between its markers.
publish() {
	awk -v marker="$2" -v results="$3" '
		$0 == "<!-- " marker " end -->" { inside = 0 }
		!inside { print }
		$0 == "<!-- " marker " -->" { inside = 1; while ((getline line < results) > 0) print line }
	' "$PROJECT/$1" >"$WORK/page"
	cat "$WORK/page" >"$PROJECT/$1"
}

machine() {
	echo "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
}
