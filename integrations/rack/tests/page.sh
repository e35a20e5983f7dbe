#!/usr/bin/env bash
# A browser and a page of Rails.  Says "ok" or "not ok" of each thing.
set -euo pipefail

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=$(mktemp -d)
cd "$jars"

: >server.log
rackup -s webrick -o 127.0.0.1 -p 0 -E production "$folder/page.ru" >server.log 2>&1 &
server=$!
trap 'kill "$server"; wait "$server" || true; rm -rf "$jars"' EXIT
for ((i = 0; i < 300; i++)); do
	port=$(sed -nE 's/.*WEBrick::HTTPServer#start: .*port=([0-9]+).*/\1/p' server.log)
	[[ ! $port ]] || break
	sleep 0.1
done
[[ $port ]] || cat server.log

ask() { # ask <whose cookies> <path>
	curl -sS -b "$1" -c "$1" "http://127.0.0.1:$port/$2"
}

cookie() { # cookie <whose>
	awk '$6 == "sid" { print $7 }' "$1"
}

sessions_of() { # sessions_of <user>
	psql -XAtqc "SELECT count(*) FROM narvik_fetch_sessions_for_user('$1')"
}

is() { # is <what> <expected> <got>
	if [[ $3 == "$2" ]]; then
		echo "ok - $1"
	else
		echo "not ok - $1"
		printf '# expected %s\n# got      %s\n' "$2" "${3:0:500}"
	fi
}

is "who only looks gets no session" '{}' "$(ask alice show)"
is "and no cookie" '' "$(cookie alice)"
ask alice 'put?key=cart&value=7'
is "what a guest puts in is there in the next request" '{"cart":"7"}' "$(ask alice show)"
is "and there whatever role and shard its queries are sent to" '{"cart":"7"}' "$(ask alice show_on_a_replica)"
guest=$(cookie alice)
ask alice 'log_in?user=alice' >/dev/null
is "logging in changes the id" yes "$([[ $guest != "$(cookie alice)" ]] && echo yes)"
is "what was flashed is there once" welcome "$(ask alice flashed)"
is "and once only" '' "$(ask alice flashed)"
is "what was kept is there" '{"cart":"7","user":"alice"}' "$(ask alice show)"
is "the session is the user's" 1 "$(sessions_of alice)"
printf '127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t%s\n' "$guest" >thief
is "the guest's id finds nothing any more" '{}' "$(ask thief show)"
old=$(cookie alice)
ask alice log_out
is "reset_session ends the session" 0 "$(sessions_of alice)"
is "and empties it" '{}' "$(ask alice show)"
printf '127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t%s\n' "$old" >thief
is "its cookie is worth nothing" '{}' "$(ask thief show)"
ask carol 'log_in?user=carol' >/dev/null
ask carol log_out_meanwhile
is "what was ended meanwhile is not revived" 0 "$(sessions_of carol)"
is "the next request is a stranger's" '{}' "$(ask carol show)"
is "Rails had nothing to say but that" 1 "$(grep -cE 'failed to save|Error|ERROR|FATAL' server.log)"
ask carol 'put?key=cart&value=8'
psql -XAtqc "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()" >/dev/null
ask carol show >/dev/null
is "Rails mends its connections itself" '{"cart":"8"}' "$(ask carol show)"
