# What examples/web/start and scripts/test-web share, on top of scripts/lib.sh:
# Node, the application's packages, and a server with the application's database.

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

# prepare_web <how narvik is built> <npm option> [package...]: in WORK/web, which
# postgres, who runs it, cannot write.  npm's cache goes when WORK goes.
prepare_web() {
	# shellcheck disable=SC2046
	prepare $(node_packages) "${@:3}"
	echo "building narvik for PostgreSQL $PG_MAJOR, installing the application's packages"
	"$1"
	cp -r "$WORK/src/examples/web" "$WORK/web"
	HOME=${HOME:-/root} npm_config_cache=${npm_config_cache:-$WORK/npm} \
		quietly npm npm ci --prefix "$WORK/web" --ignore-scripts --no-audit --no-fund "$2"
	start_server server "shared_preload_libraries = 'narvik'"
	as_postgres createdb notes
	quietly schema as_postgres psql -Xq -d notes -f "$WORK/web/schema.sql"
}
