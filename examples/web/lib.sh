# What examples/web/start and scripts/test-web share, on top of scripts/lib.sh:
# Node, the application's packages, and a server with the application's database.

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# Debian's Node and npm, unless there are some that will do.
node_packages() {
	local node
	node=$(node -p 'process.versions.node.split(".")[0] >= 18' 2>/dev/null) || node=
	if [[ $node != true ]] || ! command -v npm >/dev/null; then
		echo nodejs npm ca-certificates
	fi
}

# install_application [npm option...]: into WORK/web, which postgres, who runs
# it, cannot write.  npm's cache goes when WORK goes.
install_application() {
	mkdir "$WORK/web"
	tar -C "$PROJECT/examples/web" --exclude=./node_modules -cf - . | tar -C "$WORK/web" --no-same-owner -xf -
	(cd "$WORK/web" && HOME=${HOME:-/root} npm_config_cache=${npm_config_cache:-$WORK/npm} \
		quietly npm npm ci --ignore-scripts --no-audit --no-fund "$@")
}

# prepare_web <how narvik is built> <npm option> [package...]
prepare_web() {
	# shellcheck disable=SC2046
	prepare $(node_packages) "${@:3}"
	echo "building narvik for PostgreSQL $PG_MAJOR"
	"$1"
	echo "installing the application's packages"
	install_application "$2"
	start_server server "shared_preload_libraries = 'narvik'"
	as_postgres createdb notes
	quietly schema as_postgres psql -Xq -d notes -f "$WORK/web/schema.sql"
}
