# shellcheck shell=bash
# Common ground of the scripts in this folder, which source it and then call
# prepare: Debian's packages, a private PostgreSQL with narvik in it, and
# throwaway servers.  Nothing outside a temporary folder changes, except that
# missing packages get installed.
#
# Environment: KEEP=1 leaves the temporary folder behind; TMPDIR says where it
# is made; PG_MAJOR picks another PostgreSQL than the distribution's own, PG_ROOT
# the folder below which one lies that is laid out as Debian's.

set -euo pipefail

# Packages need root, and root can become postgres, which initdb insists on.
# sudo may refuse to pass the environment on, so hand over what matters.
if ((EUID != 0)); then
	command -v sudo >/dev/null || { echo "run $0 as root, or install sudo" >&2; exit 1; }
	handed=()
	for name in KEEP TMPDIR PG_MAJOR PG_ROOT SEED CALLS LIMIT http_proxy https_proxy no_proxy; do
		[[ -v $name ]] && handed+=("$name=${!name}")
	done
	exec sudo -- env "${handed[@]}" bash "$0" "$@"
fi

# A user's PATH need not hold the folders where the tools of root are.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 npm_config_fetch_retries=5
umask 022

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK= SOCKETS= CHILD= PGBIN= PGHOST= PGPORT=
BESIDE=()

. "$PROJECT/scripts/count.sh"

die() {
	echo "$*" >&2
	exit 1
}

# quietly <log> command...: its output matters only if it fails.
quietly() {
	local log=$WORK/$1.log
	shift
	"$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

# ---- leaving ----------------------------------------------------------------

# A server is known by its pid file; a test that crashed one leaves a stale
# file, whose pid may be another process by now.
stop_servers() {
	local file pid
	find "$WORK" -name postmaster.pid | while IFS= read -r file; do
		read -r pid <"$file" || continue
		[[ ! -d /proc/self || /proc/$pid/cwd -ef ${file%/*} ]] || continue
		as_postgres pg_ctl -s -D "${file%/*}" -m immediate stop </dev/null
	done
}

leave() {
	local status=${1:-$?}
	trap '' INT TERM HUP
	set +e
	if [[ $CHILD ]]; then
		kill -TERM -- "-$CHILD" 2>/dev/null
		wait "$CHILD"
	fi
	((${#BESIDE[@]} == 0)) || { kill -KILL "${BESIDE[@]}" 2>/dev/null; wait "${BESIDE[@]}" 2>/dev/null; }
	if [[ $WORK ]]; then
		[[ $PGBIN ]] && stop_servers
		if [[ ${KEEP:-} == 1 ]]; then
			echo "kept: $WORK" >&2
		else
			rm -rf "$WORK" "$SOCKETS"
		fi
	fi
	exit "$status"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- packages ---------------------------------------------------------------

installed() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# The version Debian's metapackage stands for: its own where it is installed,
# else the one apt would install.
distribution_major() {
	{ dpkg-query -W -f '${Status} ${Depends}\n' postgresql 2>/dev/null | grep '^install ok installed' ||
		apt-cache show --no-all-versions postgresql 2>/dev/null | grep '^Depends:'; } |
		sed -nE 's/.*\bpostgresql-([0-9]+).*/\1/p'
}

# Who runs at the same time waits: apt waits for dpkg's lock, but not for its own.
apt_get() {
	flock -o /var/lib/apt apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"
}

# The mirror is the one this machine installs from.
debian_mirror() {
	local codename mirror
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $codename" | head -n 1)
	[[ $mirror ]] || die "apt knows no mirror of $codename: run apt-get update"
	echo "$mirror"
}

# need_packages <package>...: installs those that are missing.  Installing a server
# makes Debian create a cluster "main" and start services, which nobody asked for:
# the commands for that do nothing while apt runs.
need_packages() {
	local package missing=()
	for package; do
		installed "$package" || missing+=("$package")
	done
	if ((${#missing[@]})); then
		echo "installing ${missing[*]}"
		[[ ${updated:-} ]] || quietly apt-update apt_get update
		mkdir -p "$WORK/idle"
		for package in invoke-rc.d deb-systemd-invoke pg_createcluster; do
			ln -sf /bin/true "$WORK/idle/$package"
		done
		quietly apt-install apt_get -o DPkg::Path="$WORK/idle:$PATH" install "${missing[@]}"
	fi
}

# In the name of a package PG_MAJOR stands for itself.
install_packages() {
	local updated=

	PG_MAJOR=${PG_MAJOR:-$(distribution_major || true)}
	if [[ -z $PG_MAJOR ]]; then
		quietly apt-update apt_get update
		updated=1
		PG_MAJOR=$(distribution_major) || die "apt knows no package postgresql"
	fi
	need_packages "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" gcc libc6-dev make "${@//PG_MAJOR/$PG_MAJOR}"
}

# Debian's Node and npm, unless there are some that will do.
node_packages() {
	[[ $(node -p 'process.versions.node.split(".")[0] >= 18' 2>&1) == true ]] && command -v npm >/dev/null ||
		echo nodejs npm ca-certificates
}

# ---- the private PostgreSQL -------------------------------------------------

# Runs a command as postgres, from an environment where nothing of the caller's
# (PGHOST, PERL5LIB, MAKEFLAGS, LANG) can sway it.  It runs in the background
# and in a session of its own, because bash would not run our traps before a
# command in the foreground has ended, and so that the traps can end all of it.
as_postgres() {
	local status=0
	setsid setpriv --reuid=postgres --regid=postgres --init-groups \
		env -i PATH="$PGBIN:/usr/bin:/bin" HOME="$WORK/home" LANG=C.UTF-8 \
		TMPDIR="$SOCKETS" PGCTLTIMEOUT=300 PGHOST="$PGHOST" ${PGPORT:+PGPORT="$PGPORT"} ${SEED:+SEED="$SEED"} ${CALLS:+CALLS="$CALLS"} "$@" <&0 &
	CHILD=$!
	wait "$CHILD" || status=$?
	CHILD=
	return "$status"
}

# beside <log> <command>...: runs as postgres, too, until this script ends.
beside() {
	setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig KILL \
		env -i PATH="$PGBIN:/usr/bin:/bin" HOME="$WORK/home" LANG=C.UTF-8 "${@:2}" </dev/null >"$WORK/$1.log" 2>&1 &
	BESIDE+=("$!")
}

# WORK stays root's: postgres owns only folders inside it, so that it cannot
# lead root's own writing astray.
make_work_folder() {
	# postgres has to get there: a TMPDIR that is its user's alone will not do.
	setpriv --reuid=nobody --regid=nogroup --clear-groups test -x "${TMPDIR:-/tmp}" || TMPDIR=/tmp
	WORK=$(mktemp -d -t narvik.XXXXXX)
	# For a network that is away for some seconds.
	echo 'Acquire::Retries "5";' >"$WORK/apt.conf"
	export APT_CONFIG=$WORK/apt.conf
	SOCKETS=$WORK/s
	# A socket's path is limited to 107 bytes, and tests add some of their own.
	((${#SOCKETS} <= 50)) || SOCKETS=$(mktemp -d /tmp/narvik.XXXXXX)
}

share_work_folder() {
	chgrp postgres "$WORK" && chmod 0750 "$WORK"
	install -d -o postgres -g postgres -m 0700 "$WORK/home" "$WORK/src" "$SOCKETS"
	cd "$WORK"
}

# The checkout may be unreadable for postgres and is never written to.
copy_sources() { # copy_sources <folder>
	tar -C "$PROJECT" --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude=./tmp_check --exclude=./results --exclude=./output_iso --exclude=node_modules -cf - . |
		tar -C "$1" --no-same-owner -xf -
}

# PostgreSQL's programs find their libraries and share files relative to where
# they themselves really are.  So copies of the programs beside links to all the
# rest are a full PostgreSQL, and narvik gets installed nowhere else.
stage_postgresql() {
	local lib=usr/lib/postgresql/$PG_MAJOR share=usr/share/postgresql/$PG_MAJOR root=${PG_ROOT:-}
	PGBIN=$WORK/stage/$lib/bin
	mkdir -p "$WORK/stage/$lib" "$WORK/stage/${share%/*}" "$WORK/stage/usr/include"
	cp -a "$root/$lib/bin" "$WORK/stage/$lib/"
	cp -as "$root/$lib/lib" "$WORK/stage/$lib/"
	cp -as "$root/$share" "$WORK/stage/${share%/*}/"
	ln -sfn "$root/usr/include/postgresql" "$WORK/stage/usr/include/postgresql"
	chown -hR postgres: "$WORK/stage"
	# Bitcode would serve inlining by JIT only.
	MAKE=(make -s -C "$WORK/src" PG_CONFIG="$PGBIN/pg_config" with_llvm=no)
}

build_and_install() { # build_and_install [variable=value...]
	quietly build as_postgres "${MAKE[@]}" -j"$(nproc)" "$@" all install
}

# What is tested has assertions, whether or not the server has.
build_for_tests() { # build_for_tests [variable=value...]
	build_and_install COPT=-DUSE_ASSERT_CHECKING=1 "$@"
}

# prepare [package...]: everything up to, not including, the build.
prepare() {
	make_work_folder
	install_packages "$@"
	share_work_folder
	copy_sources "$WORK/src"
	chown -R postgres: "$WORK/src"
	stage_postgresql
}

# ---- throwaway servers ------------------------------------------------------

# start_server <name> [configuration line...]: later commands talk to it.
# No port can clash: its only door is a socket in its own folder, unless settings say else.
start_server() {
	local home=$WORK/$1
	PGHOST=$SOCKETS/$1
	shift
	install -d -o postgres -g postgres -m 0700 "$home" "$PGHOST"
	quietly initdb as_postgres initdb -D "$home/data" -A trust --no-sync --locale=C.UTF-8 --encoding=UTF8
	printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$PGHOST'" "fsync = off" "$@" \
		>>"$home/data/postgresql.conf"
	as_postgres pg_ctl -s -w -D "$home/data" -l "$home/server.log" start ||
		{ cat "$home/server.log" >&2; return 1; }
}

# None of those that outgoing connections get, which may do so before it is used.
free_port() {
	perl -MIO::Socket::INET -e 'do { $port = 10000 + int rand 20000 }
		until IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => $port);
		print $port'
}

stop_server() {
	as_postgres pg_ctl -s -w -D "$WORK/$1/data" -m fast stop
}
