#!/usr/bin/env bash
# Uses the images of the Dockerfile: PHP with the extension runs the README's ten lines, the one with
# Rust the tests, both without a network, and the demo, which fetches its sample.
#
#   scripts/test-docker.sh [image] [test] [demo]     default: all three
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "test-docker: $*" >&2; exit 1; }

# The fenced block of a language that follows the heading of the example.
block() { awk -v fence="\`\`\`$1" '/^### In ten lines/ { here = 1 } inside && /^```/ { exit } inside; here && $0 == fence { inside = 1 }' README.md; }

image() {
    local printed
    docker run --rm --network none write-buffer \
        sh -c 'for program in cargo rustc gcc cc clang php-config; do ! command -v "$program" || exit 1; done' \
        || fail "what builds it is still in the image"
    docker run --rm write-buffer write-buffer --version
    printed=$(block php | docker run --rm --interactive --network none write-buffer php)
    [ "$printed" = "$(block text)" ] || fail "the ten lines printed '$printed'"
    echo "$printed"
}

# The tests make a file system of their own, and stop processes of other users.
tests() { docker run --rm --init --network none --cap-add SYS_ADMIN --security-opt apparmor=unconfined --shm-size 1g write-buffer-test; }

[ $# -gt 0 ] || set -- image test demo
for what in "$@"; do
    echo "test-docker: $what"
    case "$what" in
        image) image ;;
        test) tests ;;
        demo) docker run --rm --init write-buffer-test make demo ;;
        *) fail "'$what' is neither image, test nor demo" ;;
    esac
done
