# shellcheck shell=bash
# What upstream tests, out of Debian's source packages.  For scripts that have sourced
# scripts/lib.sh and made a work folder.

# fetch_source <source package> <folder> [part of it...]: unpacks upstream's archive
# there.  This machine's apt settings stay as they are: what is asked is a list of its
# own, of the suites that this machine installs from.  A mirror may lack the newest
# version of a source, so older ones will do, and the first suite that has one.
fetch_source() {
	local apt=$WORK/apt-src package=$1 folder=$2 version options
	options=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists="$apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
		-o Acquire::Languages=none -o APT::Sandbox::User=root)
	if [[ ! -d $apt ]]; then
		need_packages xz-utils
		mkdir -p "$apt/lists/partial"
		# The variables are apt's.
		# shellcheck disable=SC2016
		apt-get indextargets --format 'deb-src $(REPO_URI) $(CODENAME) main' "Created-By: Packages" "Origin: Debian" |
			sort -u -k3,3 >"$apt/sources.list"
		quietly sources-update apt-get -q "${options[@]}" update
	fi
	mkdir -p "$apt/$package" "$folder"
	for version in $(apt-cache "${options[@]}" showsrc --only-source "$package" 2>/dev/null | sed -n 's/^Version: //p' | sort -rVu); do
		if (cd "$apt/$package" && apt-get -q "${options[@]}" --download-only source "$package=$version") >"$WORK/$package.log" 2>&1; then
			tar -C "$folder" --strip-components=1 --no-same-owner -xf "$(find "$apt/$package" -name '*.orig.tar.*' ! -name '*.asc')" \
				--wildcards "${@:3}"
			return
		fi
	done
	return 1
}
