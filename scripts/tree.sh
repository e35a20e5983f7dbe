# Debian trees of other suites, for scripts that have sourced lib.sh and made a
# work folder.  A tree is made anew each time: what an earlier run has left may
# be half made or out of date.

NETWORK=

# The suites that have a version of PostgreSQL.  experimental needs sid.
suites_of() { # suites_of <major version>
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
		19) echo sid experimental ;;
		*) die "no suite of Debian with PostgreSQL $1 is known here" ;;
	esac
}

# From the mirror that this machine installs from, with what this machine's apt
# has been told about it: that it is a snapshot of some day, or slow.
# Signatures are verified in any case.
make_tree() { # make_tree <folder> <suite>...
	local tree=$1 mirror suite option sources=() options=()
	need_packages mmdebstrap
	mirror=$(debian_mirror)
	for suite in "${@:2}"; do
		sources+=("deb $mirror $suite main")
	done
	while read -r option; do
		options+=(--aptopt="$option")
	done < <(apt-config dump --format '%F "%v";%n' Acquire |
		grep -E '^Acquire::(Check-Valid-Until|Retries|https?::(Proxy|Timeout)) ')
	# apt downloads as a user of its own, which has to get there.
	chmod 0755 "$WORK"
	echo "building a tree of ${*:2}"
	quietly mmdebstrap mmdebstrap --variant=minbase "${options[@]}" --dpkgopt=force-unsafe-io \
		"$2" "$tree" "${sources[@]}"
	# By itself apt takes nothing from experimental that other suites have, too.
	printf '%s\n' "Package: libpq*" "Pin: release a=experimental" "Pin-Priority: 500" \
		>"$tree/etc/apt/preferences.d/experimental"
	mkdir "$tree/root/narvik"
	copy_sources "$tree/root/narvik"
}

# A network without any port in use, from which the machine's can be reached, for what
# runs in a tree from now on.
own_network() { # own_network <tree>
	need_packages slirp4netns
	setpriv --pdeathsig KILL unshare --net sleep infinity &
	NETWORK=$!
	BESIDE+=("$NETWORK")
	until [[ ! /proc/$NETWORK/ns/net -ef /proc/self/ns/net && $(</proc/"$NETWORK"/comm) == sleep ]]; do sleep 0.1; done
	setpriv --pdeathsig KILL slirp4netns --configure --mtu=65520 "$NETWORK" tap0 >"$WORK/network.log" 2>&1 &
	BESIDE+=("$!")
	until grep -q tap0 "/proc/$NETWORK/net/route"; do
		kill -0 "$!" 2>/dev/null || { cat "$WORK/network.log" >&2 && return 1; }
		sleep 0.1
	done
	echo "nameserver 10.0.2.3" >"$1/etc/resolv.conf"
}

# Runs a command while the tree has a /proc, which newer packages need.  It and
# the processes are the tree's own: what the command leaves running ends with it.
beside_tree() { # beside_tree <folder> <command>...
	local status=0
	setsid ${NETWORK:+nsenter --net="/proc/$NETWORK/ns/net"} unshare --mount --pid --fork --kill-child --mount-proc="$1/proc" "${@:2}" <&0 &
	CHILD=$!
	wait "$CHILD" || status=$?
	CHILD=
	return "$status"
}

# As root, in the tree's copy of the project.
in_tree() { # in_tree <folder> <command>...
	local name environment=(PATH="$PATH" HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8)
	for name in KEEP PG_MAJOR PG_ROOT http_proxy https_proxy no_proxy; do
		[[ ! -v $name ]] || environment+=("$name=${!name}")
	done
	beside_tree "$1" env -i "${environment[@]}" chroot "$1" bash -c 'cd /root/narvik && exec "$@"' - "${@:2}"
}
