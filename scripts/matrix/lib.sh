#!/usr/bin/env bash
# What the platforms of `make test-matrix` have in common; each is a file beside this one that
# sources it. A part of a platform's work is one line of the table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

row=$(basename "$0" .sh)
# Nothing here is committed: PHP from source, builds of the extension, logs.
matrix=$PWD/${CARGO_TARGET_DIR:-target}/matrix
[[ ${CARGO_TARGET_DIR:-} != /* ]] || matrix=$CARGO_TARGET_DIR/matrix
mkdir -p "$matrix/logs" "$matrix/results"
say() { echo "$row: $*" >&2; }

# This machine's own. What builds the extension asks for a path where a name is enough for a shell.
command -v "${PHP:=php}" > /dev/null || { say "no program '$PHP' is to be found: PHP names the PHP of this machine"; exit 1; }
PHP=$(command -v "$PHP")
export PHP
command -v "${PHPUNIT:=phpunit}" > /dev/null || PHPUNIT=phpunit
PHPUNIT=$(command -v "$PHPUNIT") || { say "phpunit is missing: scripts/setup.sh test installs it"; exit 1; }
# Words, as the Makefile has them.
PHPUNIT_ARGS=${PHPUNIT_ARGS:-}
log=$matrix/logs/$row.log
results=$matrix/results/$row
status=0

# record WHAT PASSED FAILED SKIPPED SECONDS [NOTE...]: a line of the table, and why, if need be.
record() {
    local IFS=$'\t'
    echo "$*" >> "$results"
    # shellcheck disable=SC2034 # whoever sources this exits with it
    [ "$3" -eq 0 ] || status=1
}

# check WHAT COMMAND...: one thing that passes or fails.
check() {
    local what=$1 began=$SECONDS passed=1 failed=0
    shift
    say "$what"
    printf '\n=== %s\n' "$what" >> "$log"
    "$@" >> "$log" 2>&1 </dev/null || { passed=0; failed=1; tail -n 30 "$log" >&2; }
    record "$what" "$passed" "$failed" 0 $((SECONDS - began))
}

# prepare WHAT COMMAND...: what must succeed before anything is tested.
prepare() {
    local what=$1 began=$SECONDS
    shift
    say "$what"
    printf '\n=== %s\n' "$what" >> "$log"
    "$@" >> "$log" 2>&1 </dev/null && return
    tail -n 40 "$log" >&2
    record "$what" 0 1 0 $((SECONDS - began)) "see $log"
    exit 1
}

# suite WHAT COMMAND...: PHPUnit, which the command runs with the arguments that are added.
# What it says of each test is read from its log; a run that fails beyond that counts as one more.
suite() {
    local what=$1 began=$SECONDS code=0 teamcity passed failed skipped reasons
    shift
    say "$what"
    printf '\n=== %s\n' "$what" >> "$log"
    teamcity=$(mktemp)
    "$@" -c phpunit.xml.dist --do-not-cache-result --log-teamcity "$teamcity" >> "$log" 2>&1 </dev/null || code=$?
    [ "$code" -eq 0 ] || tail -n 60 "$log" >&2
    skipped=$(grep -c '^##teamcity\[testIgnored' "$teamcity" || true)
    failed=$(grep '^##teamcity\[testFailed' "$teamcity" | grep -o " name='[^']*'" | sort -u | wc -l || true)
    passed=$(($(grep -c '^##teamcity\[testStarted' "$teamcity" || true) - skipped - failed))
    [ "$code" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
    if [ "$code" -eq 0 ] && [ "$passed" -le 0 ]; then failed=1; fi
    mapfile -t reasons < <(sed -n "s/^##teamcity\[testIgnored.* message='\(\([^'|]\||.\)*\)'.*/\1/p" "$teamcity" \
        | sed "s/|n/ /g; s/|\(.\)/\1/g" | sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)/\1 skipped: \2/')
    rm -f "$teamcity"
    [ "$code" -eq 0 ] || reasons+=("exit status $code: $log")
    record "$what" "$passed" "$failed" "$skipped" $((SECONDS - began)) "${reasons[@]}"
}

# everywhere PHP DATABASE...: the whole suite beside each.
everywhere() {
    local php=$1 database version
    local -x PHP=$php
    shift
    version="PHP $("$php" -r 'echo PHP_VERSION;'), PHPUnit $("$php" "$PHPUNIT" --version | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)"
    for database in "$@"; do
        # shellcheck disable=SC2086 # words
        suite "$version, $database" scripts/with-server.sh --strict "$database" -- \
            "$php" -d extension="$WRITE_BUFFER_EXTENSION" "$PHPUNIT" $PHPUNIT_ARGS
    done
}

# extension HOME: the extension for the PHP there, with its own checks, and the command-line tool.
# Its dependencies are those of `make failpoints`; hence the copy.
extension() {
    local -x PHP=$1/bin/php PHP_CONFIG=$1/bin/php-config
    prepare "the extension" "${CARGO:-cargo}" build --lib --locked
    WRITE_BUFFER_EXTENSION=$matrix/$row.so
    cp -f "${CARGO_TARGET_DIR:-target}/debug/libwrite_buffer.so" "$WRITE_BUFFER_EXTENSION"
    prepare "the command-line tool" "${CARGO:-cargo}" build --locked --no-default-features --features cli --bin write-buffer
    WRITE_BUFFER_TOOL=$(dirname "$matrix")/debug/write-buffer
    PHP_FPM=$1/sbin/php-fpm
    export WRITE_BUFFER_EXTENSION WRITE_BUFFER_TOOL PHP_FPM
}

# packs PHP SUFFIX: an archive for that PHP, which has the suffix in its name and loads what is in it.
packs() {
    PHP=$1 scripts/package.sh "$WRITE_BUFFER_EXTENSION" "$WRITE_BUFFER_TOOL" "$matrix/packages" \
        && ls "$matrix/packages"/php_write_buffer-*-glibc"$2".tgz
}

# in_container IMAGE: the row itself, in a container of Debian's sid; its script is run again there,
# with `inside`. Rust and the crates are this machine's.
in_container() {
    local home=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
    docker info > /dev/null 2>&1 || { record "a container" 0 1 0 0 "no Docker engine answers"; exit 1; }
    # Programs of the distribution would be linked with its own libraries, which sid has others of.
    [ -x "$home/bin/cargo" ] && [ -d "$rustup/toolchains" ] || {
        record "Rust" 0 1 0 0 "the container borrows this machine's Rust, which must be rustup's: no $home/bin/cargo with $rustup/toolchains (CARGO_HOME, RUSTUP_HOME)"
        exit 1
    }
    prepare "the image $1" scripts/matrix/sid-image.sh "$1"
    prepare "the crates" "${CARGO:-cargo}" fetch --locked
    # What was built here for the tests is not built again; but a place of its own, for a program
    # that is linked there need not run here.
    [ -e "$matrix/sid" ] || { mkdir "$matrix/sid" && cp -a "$(dirname "$matrix")/debug" "$matrix/sid/"; } 2> /dev/null || true
    # The tests mount a tmpfs and stop processes of other users.
    docker run --rm --network host --cap-add SYS_ADMIN --security-opt apparmor=unconfined --shm-size 1g \
        --volume "$PWD":"$PWD" --volume "$matrix":"$matrix" \
        --volume "$home":"$home":ro --volume "$rustup":"$rustup":ro \
        --env CARGO_HOME="$home" --env RUSTUP_HOME="$rustup" --env CARGO_TARGET_DIR="$(dirname "$matrix")" \
        --env PATH="$home/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        --env TEST_MYSQL=native --env PHPUNIT_ARGS --init --workdir "$PWD" "$1" "$PWD/scripts/matrix/$row.sh" inside
    exit
}

# prepare_inside PHP: in that container, the extension for the PHP of that name.
prepare_inside() {
    local -x PHP PHP_CONFIG
    PHP=$(command -v "$1") PHP_CONFIG=$(command -v "${1/php/php-config}")
    export CARGO_TARGET_DIR=$matrix/sid CARGO_NET_OFFLINE=true
    # Laravel's caches and logs, and what is built, are whose the repository is.
    trap 'chown -R --reference=. "$matrix" examples' EXIT
    prepare "the extension for PHP $("$PHP_CONFIG" --version)" cargo build --lib --locked
    # Which features it has changes with what was asked for last.
    WRITE_BUFFER_EXTENSION=$matrix/$1.so WRITE_BUFFER_TOOL=$CARGO_TARGET_DIR/debug/write-buffer
    cp -f "$CARGO_TARGET_DIR/debug/libwrite_buffer.so" "$WRITE_BUFFER_EXTENSION"
    prepare "the command-line tool" cargo build --locked --no-default-features --features cli --bin write-buffer
    export WRITE_BUFFER_EXTENSION WRITE_BUFFER_TOOL
}

# What runs in a container begins outside it.
if [ "${1:-}" != inside ]; then
    : > "$log"
    : > "$results"
fi
trap 'exit 130' INT
trap 'exit 143' TERM
