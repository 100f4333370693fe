#!/usr/bin/env bash
# Builds the images of the Dockerfile: write-buffer (PHP with the extension) and write-buffer-test
# (what builds it, with all that the tests need). On the official base images, or on those that
# `make base-images` made where they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "docker: $*" >&2; exit 1; }
docker info > /dev/null 2>&1 || fail "no Docker engine answers: start one"

arguments=(--build-arg "REVISION=$(git rev-parse --short=12 HEAD 2>/dev/null || true)")
if docker image inspect write-buffer/rust:bookworm > /dev/null 2>&1; then
    arguments+=(--build-arg RUST_IMAGE=write-buffer/rust:bookworm --build-arg BASE_IMAGE=write-buffer/debian:bookworm)
fi
# Without the buildx plugin only the classic builder is there.
docker buildx version > /dev/null 2>&1 || export DOCKER_BUILDKIT=0
docker build --network host "${arguments[@]}" --tag write-buffer .
docker build --network host "${arguments[@]}" --target test --tag write-buffer-test .
docker image ls --format '{{.Repository}}: {{.Size}}' | grep -E '^write-buffer(-test)?:'
