#!/usr/bin/env bash
# Builds the image of docker/sid, if Docker does not have it as it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
docker image inspect write-buffer/debian:sid > /dev/null 2>&1 || scripts/build-mysql-image.sh
builder=()
docker buildx version > /dev/null 2>&1 || builder=(env DOCKER_BUILDKIT=0)
"${builder[@]}" docker build --quiet --network host --tag write-buffer/sid docker/sid > /dev/null
