#!/usr/bin/env bash
# Builds an image with PHP of Debian's newest suites, if Docker does not have it as it is there:
#
#   scripts/matrix/sid-image.sh write-buffer/sid       docker/sid: PHP, MySQL, Laravel and PHPUnit of sid
#   scripts/matrix/sid-image.sh write-buffer/newest    docker/newest: beside them, PHP of experimental
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
builder=()
docker buildx version > /dev/null 2>&1 || builder=(env DOCKER_BUILDKIT=0)
image() { "${builder[@]}" docker build --quiet --network host --tag "write-buffer/$1" "docker/$1" > /dev/null; }

case "${1:-}" in write-buffer/sid|write-buffer/newest) ;; *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;; esac
docker image inspect write-buffer/debian:sid > /dev/null 2>&1 || scripts/build-mysql-image.sh
image sid
[ "$1" = write-buffer/sid ] || image newest
