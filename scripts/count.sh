# shellcheck shell=bash
# How scripts count: each check is passed, failed, or not run, and the last line is
# "N passed, N failed[, N not run]" however the script ends.

passed=0 failed=0 not_run=0 failures=()

# What a log says of a failure, in TAP, pg_regress's words or tally's.
failure='^not ok|^test .* \.\.\. FAILED|^  Parse errors: |: [0-9]+ passed, [1-9][0-9]* failed'

count_results() {
	trap conclude EXIT
}

conclude() {
	local status=$?
	((status == 0 || failed > 0)) || failed=1
	((failed == 0 || status > 0)) || status=1
	((passed + failed > 0)) || failed=1 status=1
	results
	leave "$status"
}

results() {
	local rest=
	((not_run == 0)) || rest=", $not_run not run"
	echo "$passed passed, $failed failed$rest"
}

tally() { # tally <what> <passed> <failed> [not run]
	echo "$1: $2 passed, $3 failed${4:+, $4 not run}"
	(($3 == 0)) || failures+=("$1: $3")
	passed=$((passed + $2)) failed=$((failed + $3)) not_run=$((not_run + ${4:-0}))
}

check() { # check <what> <command>...
	if "${@:2}"; then tally "$1" 1 0; else tally "$1" 0 1; fi
}

# What a log says that is TAP, pg_regress's or prove's.  What was skipped was not
# tested.  Whoever died did not say all that there was to say.
tally_log() { # tally_log <what> <log> <exit status> [how many at least]
	local skipped='^ok .*# (skip|SKIP|TODO)' good bad least=${4:-1}
	bad=$(grep -cE "^not ok|^test .* \.\.\. FAILED|$skipped|\.+ skipped|^  Parse errors: " "$2" || true)
	good=$(grep -E '^ok |^test .* \.\.\. ok ' "$2" | grep -cvE "$skipped" || true)
	((good + bad >= least)) || bad=$((least - good))
	(($3 == 0 || bad > 0)) || bad=1
	tally "$1" "$good" "$bad"
}

# A script's last line is a subtotal here, so it gets the script's name.  $work is a
# folder of the caller's.
run() { # run <script> [argument...]
	local log status=0 good bad rest began=$SECONDS
	log=$(mktemp -p "$work")
	"$@" 2>&1 | tee "$log" | sed '$d' || status=$?
	read -r good _ bad _ rest _ <<<"$(tail -n 1 "$log")"
	[[ $good =~ ^[0-9]+$ && $bad =~ ^[0-9]+$ && $rest =~ ^[0-9]*$ ]] || good=0 bad=1 rest=
	((status == 0 || bad > 0)) || bad=1
	tally "$*, $((SECONDS - began)) s" "$good" "$bad" "$rest"
	echo "$*: $good passed, $bad failed" >>"$log"
}

# A script that counts nothing is one test, and worth reading only if it failed.
run_as_one() { # run_as_one <script> [argument...]
	local log bad=0 began=$SECONDS
	log=$(mktemp -p "$work")
	"$@" >"$log" 2>&1 || bad=1
	((bad == 0)) || cat "$log"
	tally "$*, $((SECONDS - began)) s" $((1 - bad)) $bad
	echo "$*: $((1 - bad)) passed, $bad failed" >>"$log"
}

# For the end of a long log, as the last lines are what is kept of it.
name_failures() {
	((failed > 0)) || return 0
	printf 'failed: %s\n' "${failures[@]}"
	grep -hE -B 10 -A 15 "$failure" "$work"/tmp.* | cut -c 1-300 | head -n 200 || true
}
