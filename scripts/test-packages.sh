#!/usr/bin/env bash
# Tries what scripts/package.sh and scripts/deb.sh made where nobody has built anything: in containers
# of this distribution that have PHP and neither Rust nor a compiler. The archive runs the ten
# lines of README.md; the Debian packages are installed, used, removed and purged.
#
#   scripts/test-packages.sh DIRECTORY
#
# BASE_IMAGE   the bare distribution; default: one that scripts/base-image.sh makes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "test-packages: $*" >&2; exit 1; }

directory=$(realpath "${1:?the directory of the packages}")
docker info > /dev/null 2>&1 || fail "no Docker engine answers: start one"
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
base=${BASE_IMAGE:-$(scripts/base-image.sh "$suite" | tail -n 1)}
image=write-buffer/php:$suite
log=$(mktemp)
trap 'rm -f "$log"' EXIT
DOCKER_BUILDKIT=0 docker build --network host --build-arg BASE_IMAGE="$base" --tag "$image" docker/php > "$log" 2>&1 \
    || { tail -n 20 "$log" >&2; fail "docker build of $image failed"; }

minor=$(docker run --rm "$image" php -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
machine=$(uname -m | sed 's/aarch64/arm64/')

# What is run in a new container, by bash, with the repository's files and the packages.
inside() {
    docker run --rm --network none --volume "$PWD":/repository:ro --volume "$directory":/packages:ro \
        --env MINOR="$minor" --env MACHINE="$machine" "$image" bash -euo pipefail -c "$1"
}

echo "test-packages: the archives, on $suite with PHP $minor"
inside '
    for program in cargo rustc gcc cc clang php-config; do
        ! command -v "$program" || { echo "$program is there: this shows nothing" >&2; exit 1; }
    done
    /repository/scripts/check-package.sh /packages/php_write_buffer-*_php"$MINOR"-"$MACHINE"-linux-glibc.tgz
    /repository/scripts/check-package.sh /packages/write-buffer-*-"$MACHINE"-linux-glibc.tgz'

compgen -G "$directory/*.deb" > /dev/null || { echo "test-packages: no Debian packages there: make deb"; exit 0; }
echo "test-packages: the Debian packages"
inside '
    loaded() { php -r "exit(extension_loaded(\"write_buffer\") ? 0 : 1);"; }
    quietly() { "$@" > /tmp/log 2>&1 || { cat /tmp/log >&2; exit 1; }; }
    debs=(/packages/php"$MINOR"-write-buffer_*.deb /packages/write-buffer_*.deb)
    quietly dpkg --install "${debs[@]}"
    loaded || { echo "installed, and not loaded" >&2; exit 1; }
    quietly dpkg --install "${debs[@]}"
    loaded || { echo "installed once more, and not loaded" >&2; exit 1; }
    awk "/^### In ten lines/ { here = 1 } inside && /^\`\`\`/ { exit } inside; here && /^\`\`\`php/ { inside = 1 }" \
        /repository/README.md > /tmp/example.php
    php /tmp/example.php
    write-buffer --version
    phpdismod -v "$MINOR" write_buffer
    quietly dpkg --install "${debs[@]}"
    ! loaded || { echo "an upgrade enabled what the administrator had disabled" >&2; exit 1; }
    phpenmod -v "$MINOR" write_buffer
    quietly dpkg --remove "php$MINOR-write-buffer"
    [ -e "/etc/php/$MINOR/mods-available/write_buffer.ini" ] || { echo "the ini file went without --purge" >&2; exit 1; }
    php -r "" 2>&1 | grep . && { echo "PHP complains after the removal" >&2; exit 1; }
    ! loaded || { echo "removed, and loaded" >&2; exit 1; }
    quietly dpkg --purge "php$MINOR-write-buffer" write-buffer
    left=$(find / -xdev -iname "*write[-_]buffer*" -not -path "/repository*" -not -path "/packages*" -not -path "/proc/*" \
        -not -path "/tmp/*" -not -path "/var/lib/php/modules/*" -print)
    [ -z "$left" ] || { printf "left behind: %s\n" "$left" >&2; exit 1; }
    echo "installed, upgraded, disabled, removed and purged; nothing is left"'
