#!/usr/bin/env bash
# PHP 8.4, MySQL 9.7, Laravel 13 and PHPUnit 13, from Debian's sid, in a container. Rust and the
# crates are this machine's.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

image=write-buffer/sid
if [ "${1:-}" != inside ]; then
    docker info > /dev/null 2>&1 || { record "a container" 0 1 0 0 "no Docker engine answers"; exit 1; }
    home=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
    # Programs of the distribution would be linked with its own libraries, which sid has others of.
    [ -x "$home/bin/cargo" ] && [ -d "$rustup/toolchains" ] || {
        record "Rust" 0 1 0 0 "the container borrows this machine's Rust, which must be rustup's: no $home/bin/cargo with $rustup/toolchains (CARGO_HOME, RUSTUP_HOME)"
        exit 1
    }
    prepare "the image of sid" scripts/matrix/sid-image.sh
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
        --env TEST_MYSQL=native --env PHPUNIT_ARGS --init --workdir "$PWD" "$image" "$PWD/scripts/matrix/sid.sh" inside
    exit
fi

export CARGO_TARGET_DIR=$matrix/sid CARGO_NET_OFFLINE=true
# Laravel's caches and logs, and what is built, are whose the repository is.
trap 'chown -R --reference=. "$matrix" examples' EXIT
prepare "the extension for PHP $(php-config --version)" cargo build --lib --locked
# Which features it has changes with what was asked for last.
cp -f "$CARGO_TARGET_DIR/debug/libwrite_buffer.so" "$matrix/sid.so"
prepare "the command-line tool" cargo build --locked --no-default-features --features cli --bin write-buffer
export WRITE_BUFFER_EXTENSION=$matrix/sid.so WRITE_BUFFER_TOOL=$CARGO_TARGET_DIR/debug/write-buffer
everywhere php mysql sqlite
exit "$status"
