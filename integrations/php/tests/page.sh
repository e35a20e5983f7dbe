#!/usr/bin/env bash
# A browser and a page of PHP's own server: what a visitor sees, and what is in the
# database.  Says "ok" or "not ok" of each thing.
set -euo pipefail

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=$(mktemp -d)
log=$jars/server.log
: >"$log"

# The server's workers do not end with it, so they get a process group of their own.
set -m
PHP_CLI_SERVER_WORKERS=4 php -d display_errors=1 -d error_reporting=-1 -d session.use_strict_mode=1 -d session.lazy_write=1 \
	-d session.gc_probability=0 -d session.name=sid -S 127.0.0.1:0 "$folder/page.php" >"$log" 2>&1 &
server=$!
set +m
trap 'kill -- "-$server"; wait "$server" || true; rm -rf "$jars"' EXIT
for ((i = 0; i < 600; i++)); do
	origin=$(sed -nE 's/.*\((http:[^)]*)\) started.*/\1/p' "$log" | head -n 1)
	[[ ! $origin ]] || break
	sleep 0.1
done

ask() { # ask <whose cookies> <query>
	curl -sS -b "$jars/$1" -c "$jars/$1" "$origin/?do=$2"
}

# The answer's member, as jq writes it.
member() { # member <name> <whose cookies> <query>
	ask "${@:2}" | jq -cr ".$1"
}

gets() { # gets <who> <session id>
	printf '127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t%s\n' "$2" >"$jars/$1"
}

cookie() { # cookie <whose>
	awk '$6 == "sid" { print $7 }' "$jars/$1"
}

sql() {
	PGUSER=postgres psql -XAtq -v ON_ERROR_STOP=1 -c "SET search_path = narvik" -c "$1"
}

# Of the session that somebody's cookie names.
stored() { # stored <whose cookies> <SQL expression>
	sql "SELECT $2 FROM narvik_sessions WHERE encode(id, 'hex') = '$(printf %s "$(cookie "$1")" | sha256sum | cut -d' ' -f1)'"
}

is() { # is <what> <expected> <got>
	if [[ $3 == "$2" ]]; then
		echo "ok - $1"
	else
		echo "not ok - $1"
		printf '# expected %s\n# got      %s\n' "$2" "${3:0:500}"
	fi
}

isnt() { # isnt <what> <unexpected> <got>
	[[ $3 && $3 != "$2" ]] && is "$1" 1 1 || is "$1" "anything but $2" "$3"
}

# ---- a visit ----------------------------------------------------------------

is "a new visitor's session is empty" '{}' "$(member found alice show)"
is "and is stored, as nobody's" t "$(stored alice 'user_id IS NULL')"
is "its id has 160 random bits" 1 "$(cookie alice | grep -cE '^[0-9a-f]{40}$')"
ask alice 'put&key=cart&value=7' >/dev/null
is "what a guest puts in is there in the next request" '{"cart":"7"}' "$(member found alice show)"

guest=$(cookie alice)
ask alice 'log_in&user=alice' >/dev/null
isnt "logging in changes the id" "$guest" "$(cookie alice)"
is "the guest's data is carried over" '{"cart":"7","user_id":"alice"}' "$(member found alice show)"
is "the session is the user's" alice "$(stored alice user_id)"
is "narvik lists it as the user's" 1 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('alice')")"

gets thief "$guest"
is "the guest's id finds nothing any more" '{}' "$(member found thief show)"
isnt "and is replaced" "$guest" "$(cookie thief)"

before=$(cookie alice)
ask alice 'regenerate&delete=yes' >/dev/null
is "session_regenerate_id(true) keeps the data" '{"cart":"7","user_id":"alice"}' "$(member found alice show)"
is "and leaves one session" 1 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('alice')")"
isnt "under another id" "$before" "$(cookie alice)"
ask alice 'regenerate&delete=no' >/dev/null
is "session_regenerate_id(false) leaves both" 2 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('alice')")"

# ---- strict mode ------------------------------------------------------------

planted=feedfacefeedfacefeedfacefeedfacefeedface
gets victim "$planted"
ask victim 'put&key=a&value=b' >/dev/null
isnt "an id that somebody planted is refused" "$planted" "$(cookie victim)"
gets planter "$planted"
is "and nothing is stored under it" '{}' "$(member found planter show)"

token=$(sql "SELECT token FROM narvik_create_session('olga', '{\"theme\": \"dark\"}')")
gets olga "$token"
ask olga 'put&key=a&value=b' >/dev/null
isnt "so is that of a session which is not PHP's" "$token" "$(cookie olga)"
is "which stays as it was" 'olga|{"theme": "dark"}' "$(sql "SELECT user_id, data FROM narvik_validate_session('$token')")"
ask pia 'put&key=a&value=b&namespace=shop' >/dev/null
is "a session in a namespace is there in the next request" '{"a":"b"}' "$(member found pia 'show&namespace=shop')"
is "but not in another namespace" '{}' "$(member found pia show)"

# ---- without strict mode ----------------------------------------------------

for who in ivan judy; do
	gets $who "$planted"
done
ask ivan 'put&key=a&value=b&strict=0&wait=1000000' >"$jars/answer" &
slow=$!
sleep 0.4
is "a first request finds nothing" '{}' "$(member found judy 'put&key=c&value=d&strict=0')"
wait "$slow"
is "nor does one beside it" '{}' "$(jq -c .found "$jars/answer" 2>&1)"
is "the last one that ends wins" '{"a":"b"}' "$(member found judy 'show&strict=0')"

# ---- lazy write -------------------------------------------------------------

is "a request that changes nothing writes nothing" '["updateTimestamp"]' "$(member calls alice show)"
is "one that changes something writes" '["write"]' "$(member calls alice 'put&key=cart&value=8')"
is "an expiry lies a lifetime ahead" t "$(stored alice "expires_at BETWEEN now() + '1430 s' AND now() + '1440 s'")"
ask alice 'show&lifetime=7200' >/dev/null
is "a request that changes nothing extends the session" t "$(stored alice "expires_at > now() + '7190 s'")"
ask alice 'show&wait=1000000' >/dev/null &
slow=$!
sleep 0.4
ask alice 'put&key=cart&value=9' >/dev/null
wait "$slow"
is "a slow request that changes nothing undoes nobody's change" 9 "$(member found.cart alice show)"

# ---- what was ended meanwhile -----------------------------------------------

for what in show 'put&key=late&value=yes' 'regenerate&delete=yes' 'regenerate&delete=no' 'regenerate&delete=yes&times=2' \
	create_id 'log_in&user=carol'; do
	ask carol 'log_in&user=carol' >/dev/null
	old=$(cookie carol)
	answer=$(ask carol "$what&ended=yes")
	is "no error where the session ended meanwhile, then $what" carol "$(jq -r .found.user_id <<<"$answer" 2>&1)"
	is "it is not revived, then $what" 0 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('carol')")"
	is "the next request is a stranger's, then $what" '{}' "$(member found carol show)"
	isnt "under a new id, then $what" "$old" "$(cookie carol)"
done

ask gina 'put&key=cart&value=7' >/dev/null
ask gina 'log_in&user=gina&ended=yes' >/dev/null
is "a guest whose session ended meanwhile can log in" '{"cart":"7","user_id":"gina"}' "$(member found gina show)"
for how in strict=1 strict=0 'strict=1&ended=yes' 'strict=0&ended=yes'; do
	ask hank "start_again&user=hank&$how" >/dev/null
	is "after session_destroy() another session can be logged in, $how" '{"user_id":"hank"}' "$(member found hank show)"
	is "and is the only one, $how" 1 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('hank')")"
done
ask hank 'regenerate&delete=yes&times=2' >/dev/null
is "session_regenerate_id(true) twice keeps the data" '{"user_id":"hank"}' "$(member found hank show)"
is "and leaves one session, too" 1 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('hank')")"

ask dave 'log_in&user=dave' >/dev/null
old=$(cookie dave)
ask dave log_out >/dev/null
is "session_destroy() ends the session" 0 "$(sql "SELECT count(*) FROM narvik_fetch_sessions_for_user('dave')")"
is "its cookie is worth nothing" '{}' "$(member found dave show)"
isnt "and is replaced" "$old" "$(cookie dave)"

ask erin 'put&key=a&value=b&lifetime=600' >/dev/null
is "a session lives until it expires" '{"a":"b"}' "$(member found erin 'show&lifetime=1')"
sleep 1.3
is "and no longer" '{}' "$(member found erin show)"

# ---- odd values -------------------------------------------------------------

for serializer in php php_binary php_serialize; do
	ask "octets-$serializer" "put_octets&serializer=$serializer" >/dev/null
	is "every octet comes back, with $serializer" true "$(member answer "octets-$serializer" "has_octets&serializer=$serializer")"
done
ask much put_much >/dev/null
is "4 MB come back" true "$(member answer much has_much)"
is "an id that no session can have is a stranger's" '{}' "$(curl -sS -H "Cookie: sid=%00'%3b--" "$origin/" | jq -c .found)"

# ---- privileges -------------------------------------------------------------

is "a role that may not purge collects no garbage" 0 "$(member answer frank gc)"
sql "GRANT EXECUTE ON FUNCTION narvik_delete_all_expired_sessions() TO webapp"
ask grace 'show&lifetime=1' >/dev/null
sleep 1.1
isnt "one that may does" 0 "$(member answer frank gc)"

is "no id is in the database" 0 "$(sql "SELECT count(*) FROM narvik_sessions AS s WHERE s::text ~ '$(cookie alice)'")"
# The server's own lines begin with the time.
is "PHP had nothing to say" '' "$(grep -vE '^(\[[0-9]+\] )?\[.*\] (127\.0\.0\.1:[0-9]+ |PHP .* started)' "$log" || true)"
