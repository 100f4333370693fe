#!/usr/bin/env bash
# Builds a MySQL image from Debian's packages where no container registry can be reached:
# a bare Debian tree by debootstrap, imported as the base image, and docker/mysql/ on it.
# Does nothing when the image is there. Needs root (or sudo) and a Docker engine.
#
#   scripts/build-mysql-image.sh [--force]
#
# MYSQL_LOCAL_IMAGE  the image's name          (default write-buffer/mysql:9)
# MYSQL_BASE_SUITE   Debian suite of the base  (default sid: the one that has MySQL)
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=${MYSQL_LOCAL_IMAGE:-write-buffer/mysql:9}
suite=${MYSQL_BASE_SUITE:-sid}

say() { echo "build-mysql-image: $*" >&2; }
fail() { say "$*"; exit 1; }
image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

case "${1:-}" in
    -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --force) force=1 ;;
    '') force= ;;
    *) fail "unknown argument '$1'; see --help" ;;
esac

docker info >/dev/null 2>&1 || fail "no Docker engine answers: start one, or use MariaDB (scripts/test-server.sh start mariadb)"
if [ -z "$force" ] && image_exists "$image"; then
    say "$image is there: nothing to do (--force builds it anew)"
    exit 0
fi
base=$(scripts/base-image.sh ${force:+--force} "$suite" | tail -n 1)

say "building $image (about a minute)"
# Without the buildx plugin only the classic builder is there, and it warns that it is old.
builder=()
docker buildx version >/dev/null 2>&1 || builder=(env DOCKER_BUILDKIT=0)
log=$(mktemp)
"${builder[@]}" docker build --network host --build-arg BASE_IMAGE="$base" --tag "$image" docker/mysql > "$log" 2>&1 \
    || { tail -n 40 "$log" >&2; rm -f "$log"; fail "docker build of $image failed"; }
rm -f "$log"
say "built $image: $(docker run --rm --entrypoint mysqld "$image" --version)"
