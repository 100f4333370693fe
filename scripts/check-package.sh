#!/usr/bin/env bash
# Unpacks an archive of scripts/package.sh elsewhere and uses it: the extension runs the ten
# lines of README.md and must print what stands there, the tool says its version. It needs no
# more than PHP with pdo_sqlite, so that it runs where nothing was built.
#
#   scripts/check-package.sh ARCHIVE
#
# PHP   which PHP (default: php)
set -euo pipefail
readme=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/README.md

archive=${1:?an archive of scripts/package.sh}
php=${PHP:-php}
name=$(basename "$archive")
fail() { echo "check-package: $name: $*" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$(dirname "$archive")" && grep -F " $name" SHA256SUMS | sha256sum --check --strict --quiet) \
    || fail "its checksum is not that of SHA256SUMS"
tar -C "$work" -xzf "$archive"

# The fenced block of a language that follows a heading.
block() {
    awk -v heading="$1" -v fence="\`\`\`$2" '
        $0 == heading { here = 1; next }
        here && /^#/ { exit }
        inside && $0 == "```" { exit }
        inside { print }
        here && $0 == fence { inside = 1 }' "$readme"
}

case "$name" in
    php_write_buffer-*)
        # PIE takes the file from the top of the archive, and would look in the build path if that were there.
        [ "$(cd "$work" && echo *)" = "LICENSE LICENSE.third-party write_buffer.so" ] \
            || fail "it holds $(cd "$work" && echo *)"
        block '### In ten lines' php > "$work/example.php"
        [ -s "$work/example.php" ] || fail "README.md has no example"
        expected=$(block '### In ten lines' text)
        # Startup warnings are output, too.
        printed=$(TMPDIR=$work "$php" -d display_errors=stderr -d display_startup_errors=1 \
            -d extension="$work/write_buffer.so" "$work/example.php" 2>&1) || fail "the example failed: $printed"
        [ "$printed" = "$expected" ] || fail "the example printed '$printed', not '$expected'"
        version=$("$php" -d extension="$work/write_buffer.so" -r 'echo phpversion("write_buffer");')
        case "$name" in
            php_write_buffer-"${version}"_php*) ;;
            *) fail "the extension says it is $version" ;;
        esac
        echo "check-package: $name: loaded by PHP $("$php" -r 'echo PHP_VERSION;'); $(tr '\n' ' ' <<< "$printed")" ;;
    write-buffer-*)
        echo "check-package: $name: $("$work/write-buffer" --version)" ;;
    *) fail "what is this?" ;;
esac
