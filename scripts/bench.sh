#!/usr/bin/env bash
# Runs the benchmark beside a MySQL with full durability and a Redis of its own.
#
#   scripts/bench.sh EXTENSION [ARGUMENT...]      arguments: bench/bench --help
#
# BENCH_RDKAFKA   php-rdkafka's rdkafka.so, where no package has it: its queue is measured, too
# PHP, PHP_CONFIG the programs, if not the ones on the path
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$here")
case "${1:-}" in -h|--help|'') sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac
extension=$1
shift
php=${PHP:-php}
directory=$(mktemp -d "${TMPDIR:-/tmp}/write-buffer-bench.XXXXXX")
redis=
cleanup() {
    [ -z "$redis" ] || kill "$redis" 2>/dev/null || true
    rm -rf -- "$directory"
}
trap cleanup EXIT

echo "bench: building the method that does nothing"
cp "$project"/bench/empty-extension/* "$directory"
(cd "$directory" && { phpize && ./configure --with-php-config="${PHP_CONFIG:-php-config}" && make -s; } > log 2>&1) \
    || { tail -n 20 "$directory/log" >&2; exit 1; }

redis-server --port 0 --unixsocket "$directory/redis" --save '' --daemonize no --dir "$directory" > "$directory/redis.log" &
redis=$!
export BENCH_REDIS=$directory/redis
if [ -n "${BENCH_RDKAFKA:-}" ] && ! "$php" -d extension="$BENCH_RDKAFKA" -r 'exit((int) !extension_loaded("rdkafka"));'; then
    echo "bench: BENCH_RDKAFKA=$BENCH_RDKAFKA is no rdkafka.so that $php loads" >&2
    exit 2
fi
export BENCH_EXTENSIONS=$extension:$directory/modules/empty_method.so${BENCH_RDKAFKA:+:$BENCH_RDKAFKA}
# Without it, the real flow is not measured, and the table says so.
BENCH_SAMPLE=$("$project/examples/spot-backend/bin/fetch-sample") || BENCH_SAMPLE=
export BENCH_SAMPLE

out=$project/target/bench
for argument in "$@"; do
    [ -z "${previous:-}" ] || out=$argument
    if [ "$argument" = --out ]; then previous=1; else previous=; fi
done
status=0
"$here/with-server.sh" --durable --strict mysql -- "$php" "$project/bench/bench" "$@" || status=$?
[ -s "$out/results.json" ] || exit "$status"
# The one of the packages is not always the first on the path.
for python in python3 /usr/bin/python3; do
    if "$python" -c 'import matplotlib' 2>/dev/null; then
        "$python" "$project/bench/plot.py" "$out"
        exit "$status"
    fi
done
echo "bench: no Python with matplotlib here: no plot" >&2
exit "$status"
