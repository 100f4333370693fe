#!/usr/bin/env bash
# Builds the base images of the Dockerfiles where no container registry can be reached, from
# what this machine has: the distribution's packages, and the Rust toolchain that is installed.
# Does nothing when the image is there. Needs a Docker engine, and root (or sudo) for debootstrap.
#
#   scripts/base-image.sh [--force] SUITE    write-buffer/debian:SUITE, a bare Debian tree
#   scripts/base-image.sh [--force] rust     write-buffer/rust:bookworm, the same with Rust
#
# The last line of standard output is the image's name.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "base-image: $*" >&2; }
fail() { say "$*"; exit 1; }

force=
case "${1:-}" in
    ''|-h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --force) force=1; shift ;;
esac
[[ ${1:-} =~ ^[a-z]+$ ]] || fail "which suite, or rust? see --help"
what=$1

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "debootstrap needs root: run this as root, or install sudo"
    sudo=(sudo)
    [ -t 0 ] || sudo+=(-n)
fi
tree=
cleanup() { [ -z "$tree" ] || "${sudo[@]}" rm -rf --one-file-system "$tree"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The mirror that this machine's own apt uses for Debian, when it uses one.
system_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 2>/dev/null \
        | sed -n 's/^Debian|Debian|//p' | head -n 1
}

debian() {
    local mirror log
    ./scripts/setup.sh image
    mirror=$(system_mirror)
    tree=$(mktemp -d "${TMPDIR:-/tmp}/write-buffer-$what.XXXXXX")
    log=$(mktemp)
    say "making a bare Debian $what tree (about half a minute)"
    "${sudo[@]}" debootstrap --variant=minbase --include=ca-certificates "$what" "$tree" \
        ${mirror:+"$mirror"} > "$log" 2>&1 \
        || { tail -n 20 "$log" >&2; rm -f "$log"; fail "debootstrap $what failed"; }
    rm -f "$log"
    say "importing it as $image"
    "${sudo[@]}" tar -C "$tree" --exclude=./var/cache/apt/archives/*.deb --exclude=./var/lib/apt/lists/* \
        --exclude=./dev/* --one-file-system -c . | docker import - "$image" >/dev/null
}

# What rustc and cargo need to build, at the places of a system's own programs.
rust() {
    local base sysroot
    sysroot=$(rustc --print sysroot) || fail "no Rust toolchain here: install it with rustup"
    # A toolchain of rustup has a directory of its own; a distribution's is spread among everything else there.
    [[ $sysroot != /usr && $sysroot != /usr/local ]] \
        || fail "Rust is in $sysroot with all that is there, and cannot be copied alone: install it with rustup"
    base=$("$0" bookworm | tail -n 1)
    tree=$(mktemp -d "${TMPDIR:-/tmp}/write-buffer-rust.XXXXXX")
    say "copying $(rustc --version) into $image"
    tar -C "$sysroot" --exclude=share --exclude='*/rustlib/src' -cf "$tree/toolchain.tar" bin lib
    # Whom this machine trusts beyond Debian's list (a company's proxy), cargo in the image has to trust.
    cp /etc/ssl/certs/ca-certificates.crt "$tree/"
    printf 'FROM %s\nADD toolchain.tar /usr/local/\nCOPY ca-certificates.crt /etc/ssl/certs/\n' "$base" > "$tree/Dockerfile"
    DOCKER_BUILDKIT=0 docker build --quiet --tag "$image" "$tree" >/dev/null 2>&1 || fail "docker build of $image failed"
}

docker info >/dev/null 2>&1 || fail "no Docker engine answers: start one"
case "$what" in
    rust) image=write-buffer/rust:bookworm; make=rust ;;
    *) image=write-buffer/debian:$what; make=debian ;;
esac
if [ -n "$force" ] || ! docker image inspect "$image" >/dev/null 2>&1; then "$make"; fi
echo "$image"
