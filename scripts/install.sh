#!/usr/bin/env bash
# Copies a built extension to where PHP looks for extensions, and says how to load it.
#
#   scripts/install.sh PATH-OF-libwrite_buffer.so
#
# PHP, PHP_CONFIG   of which PHP (default: php, php-config)
# DESTDIR           put before the directory, for packagers
set -euo pipefail

fail() { echo "install: $*" >&2; exit 1; }

php=${PHP:-php}
php_config=${PHP_CONFIG:-php-config}
library=${1:?the path of libwrite_buffer.so}
[ -f "$library" ] || fail "$library is not there: make build"

directory=$("$php_config" --extension-dir)
built_for=$("$php_config" --version)
running=$("$php" -n -r 'echo PHP_VERSION;')
[ "$built_for" = "$running" ] \
    || fail "$php_config is of PHP $built_for and $php is PHP $running: set PHP and PHP_CONFIG to a pair"

directory=${DESTDIR:-}$directory
place=$directory/write_buffer.so
if cmp -s "$library" "$place"; then
    echo "install: $place is up to date"
else
    sudo=()
    nearest=$directory
    while [ ! -e "$nearest" ]; do nearest=$(dirname "$nearest"); done
    if [ ! -w "$nearest" ]; then
        command -v sudo >/dev/null || fail "$directory is not writable and there is no sudo"
        sudo=(sudo)
        [ -t 0 ] || sudo+=(-n)
    fi
    "${sudo[@]}" mkdir -p "$directory"
    # Renamed into place: a PHP that runs keeps the file it has mapped.
    "${sudo[@]}" install -m 0644 "$library" "$place.new"
    "${sudo[@]}" mv -f "$place.new" "$place"
    echo "install: $place"
fi

if [ -n "${DESTDIR:-}" ]; then
    echo "install: load it with the line extension=write_buffer in php.ini"
elif "$php" -r 'exit(extension_loaded("write_buffer") ? 0 : 1);'; then
    echo "install: $php loads it already"
else
    # What `php --ini` says, of this PHP; every other one (FPM, Apache) has its own.
    main=$("$php" -r 'echo php_ini_loaded_file() ?: "";')
    scanned=$("$php" --ini | sed -n 's/^Scan for additional .ini files in: *//p')
    [ "$scanned" != '(none)' ] || scanned=
    echo "install: to load it, put the line"
    echo "    extension=write_buffer"
    if [ -n "$scanned" ]; then echo "into ${scanned%%:*}/30-write_buffer.ini${main:+ (or $main)}"
    elif [ -n "$main" ]; then echo "into $main"
    else echo "into php.ini ('$php --ini' says where it is looked for)"; fi
    echo "and for PHP-FPM or Apache into the php.ini of that one; then restart it."
fi
