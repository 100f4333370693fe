#!/usr/bin/env bash
# Packs the built extension and the command-line tool into target/packages, and tries what it packed:
#
#   php_write_buffer-VERSION_phpMINOR-ARCH-linux-LIBC[-debug][-zts].tgz    what PIE looks for
#   write_buffer-symbols-…of the same….tgz                                 line numbers for a debugger
#   write-buffer-VERSION-ARCH-linux-LIBC.tgz                               the command-line tool
#   SHA256SUMS
#
#   scripts/package.sh LIBRARY TOOL DIRECTORY
#
# PHP         of which PHP (default: php)
# GLIBC_MAX   the newest glibc that may be needed (default 2.34); a newer one is an error
set -euo pipefail
umask 022
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$here")

fail() { echo "package: $*" >&2; exit 1; }

library=${1:?the path of libwrite_buffer.so}
tool=${2:?the path of the command-line tool}
directory=${3:?where the packages go}
php=${PHP:-php}
glibc_max=${GLIBC_MAX:-2.34}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The loaded extension says its version, PHP the rest. ZTS and debug builds are other binaries.
read -r version minor arch suffix < <("$php" -n -d extension="$(realpath "$library")" -r '
    echo phpversion("write_buffer"), " ", PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION, " ",
        strtr(php_uname("m"), ["aarch64" => "arm64", "amd64" => "x86_64"]), " ",
        PHP_DEBUG ? "-debug" : "", PHP_ZTS ? "-zts" : "", "\n";') || true
[[ ${version:-} =~ ^[0-9] ]] || fail "$php does not load $library"

libc=glibc
! readelf -d "$library" | grep 'libc\.musl' > /dev/null || libc=musl
# The newest symbol version that any of the two asks the C library for.
needs_glibc() { objdump -T "$@" | grep -oE 'GLIBC_[0-9.]+' | cut -d_ -f2 | sort -Vu | tail -n 1; }
if [ "$libc" = glibc ]; then
    needed=$(needs_glibc "$library" "$tool")
    [ "$(printf '%s\n' "$needed" "$glibc_max" | sort -V | tail -n 1)" = "$glibc_max" ] \
        || fail "glibc $needed would be needed, $glibc_max is what is promised: build on an older system, or set GLIBC_MAX"
fi

# The same bytes from the same build: names sorted, one time, no owner.
pack() {
    local archive=$1 from=$2 names
    mapfile -t names < <(ls "$from")
    tar -C "$from" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --mtime="@${SOURCE_DATE_EPOCH:-$(git -C "$project" log -1 --format=%ct 2>/dev/null || date +%s)}" \
        -c -- "${names[@]}" | gzip -9n > "$directory/$archive"
    rm -rf "$from"
}

# What another version left would be tried and released with this one.
mkdir -p "$directory"
find "$directory" -maxdepth 1 -type f \( -name '*.tgz' ! -name "*-${version}[-_]*" -o -name '*.deb' ! -name "*_${version/-/\~}-1_*" \) -delete

platform=$arch-linux-$libc
archive=php_write_buffer-${version}_php$minor-$platform$suffix.tgz
mkdir "$work/extension" "$work/symbols" "$work/tool"
objcopy --only-keep-debug "$library" "$work/symbols/write_buffer.so.debug"
objcopy --strip-unneeded "$library" "$work/extension/write_buffer.so"
objcopy --add-gnu-debuglink="$work/symbols/write_buffer.so.debug" "$work/extension/write_buffer.so"
objcopy --strip-unneeded "$tool" "$work/tool/write-buffer"
(cd "$project" && scripts/third-party-notices.sh --features cli) > "$work/notices"
for part in extension tool; do
    cp "$project/LICENSE" "$work/$part/LICENSE"
    cp "$work/notices" "$work/$part/LICENSE.third-party"
done
pack "$archive" "$work/extension"
pack "write_buffer-symbols-${archive#php_write_buffer-}" "$work/symbols"
pack "write-buffer-$version-$platform.tgz" "$work/tool"

(cd "$directory" && find . -maxdepth 1 -type f \( -name '*.tgz' -o -name '*.deb' \) -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS)

PHP=$php "$here/check-package.sh" "$directory/$archive"
"$here/check-package.sh" "$directory/write-buffer-$version-$platform.tgz"
echo "package: needs $libc${needed:+ $needed} or newer, and the system's libsqlite3.so.0 (Debian: libsqlite3-0)"
(cd "$directory" && ls -l -- *.tgz SHA256SUMS | awk '{ printf "  %9d  %s\n", $5, $9 }')
