#!/usr/bin/env bash
# Makes Debian packages of the files that scripts/package.sh packed, for a PHP that is Debian's own
# (or built like it): phpMINOR-write-buffer, the extension, enabled at installation;
# and write-buffer, the command-line tool.
#
#   scripts/deb.sh DIRECTORY         the one of scripts/package.sh; the packages go there, too
#
# PHP, PHP_CONFIG   of which PHP (default: php, php-config)
# MAINTAINER        who stands in the package (default: the author of the last commit)
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "deb: $*" >&2; exit 1; }

directory=${1:?the directory of the packages}
php=${PHP:-php}
php_config=${PHP_CONFIG:-php-config}
minor=$("$php" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
api=$("$php_config" --phpapi)
place=$("$php_config" --extension-dir)
[ "$place" = "/usr/lib/php/$api" ] || fail "$place is not where Debian's PHP has its extensions"
architecture=$(dpkg --print-architecture)
machine=$(uname -m | sed 's/aarch64/arm64/')
extension_archive=$(ls "$directory"/php_write_buffer-*_php"$minor"-"$machine"-linux-glibc.tgz) || fail "make package comes first"
version=$(basename "$extension_archive" | sed 's/^php_write_buffer-\(.*\)_php.*$/\1/')
tool_archive=$directory/write-buffer-$version-$machine-linux-glibc.tgz
# To dpkg, what follows a tilde comes before what has none: 0.2.0~rc.1 before 0.2.0.
debian_version=${version/-/\~}-1
maintainer=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH=$epoch

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What every package has: the licence and a changelog.
documents() {
    local package=$1 documents=$2/usr/share/doc/$1
    mkdir -p "$documents"
    {
        printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
        printf 'Upstream-Name: WriteBuffer\n\nFiles: *\nCopyright: %s\nLicense: Expat\n' \
            "$(sed -n 's/^Copyright (c) //p' LICENSE)"
        sed '1,/^Copyright/d; /./!s/^$/./; s/^/ /' LICENSE | sed '1{/^ \.$/d}'
    } > "$documents/copyright"
    gzip -9nc "$work/LICENSE.third-party" > "$documents/third-party-licences.gz"
    printf 'write-buffer (%s) unstable; urgency=medium\n\n  * Built from the release; its CHANGELOG.md says what is new.\n\n -- %s  %s\n' \
        "$debian_version" "$maintainer" "$(date -u -R -d "@$epoch")" | gzip -9nc > "$documents/changelog.Debian.gz"
}

# The packages whose libraries a file is linked to.
library_packages() {
    mkdir -p "$work/shlibs/debian"
    printf 'Source: write-buffer\n\nPackage: write-buffer\nArchitecture: any\n' > "$work/shlibs/debian/control"
    (cd "$work/shlibs" && dpkg-shlibdeps -O "$1" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
}

# build PACKAGE TREE SECTION DEPENDS SUMMARY, with the description on standard input
build() {
    local package=$1 tree=$2 file=$directory/$1_${debian_version}_$architecture.deb
    mkdir -p "$tree/DEBIAN"
    {
        printf 'Package: %s\nSource: write-buffer\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' \
            "$package" "$debian_version" "$architecture" "$maintainer"
        printf 'Installed-Size: %s\nSection: %s\nPriority: optional\nDepends: %s\n' \
            "$(du -sk --exclude=DEBIAN "$tree" | cut -f1)" "$3" "$4"
        [ "$package" = write-buffer ] || printf 'Suggests: write-buffer\n'
        printf 'Homepage: %s\nDescription: %s\n' "$(sed -n 's/^repository = "\(.*\)"$/\1/p' Cargo.toml)" "$5"
        sed 's/^$/./; s/^/ /'
    } > "$tree/DEBIAN/control"
    (cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
    find "$tree" -newermt "@$epoch" -print0 | xargs -0r touch --no-dereference --date="@$epoch"
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$file" > /dev/null
    echo "deb: $file"
}

# A maintainer script that asks php-common's helper, which keeps what the administrator chose.
script() {
    local name=$1
    { printf '#!/bin/sh\nset -e\n'; sed "s/@minor@/$minor/g"; } > "$extension/DEBIAN/$name"
    chmod 0755 "$extension/DEBIAN/$name"
}

extension=$work/extension
mkdir -p "$extension$place" "$extension/etc/php/$minor/mods-available" "$extension/DEBIAN"
tar -C "$work" -xzf "$extension_archive"
mv "$work/write_buffer.so" "$extension$place/"
chmod 0644 "$extension$place/write_buffer.so"
ini=/etc/php/$minor/mods-available/write_buffer.ini
printf '%s\n' '; Settings are write_buffer.NAME, as php --ri write_buffer lists them; the DSN is none of them.' \
    'extension=write_buffer.so' > "$extension$ini"
echo "$ini" > "$extension/DEBIAN/conffiles"
script postinst <<'SH'
if [ "$1" = configure ]; then
    . /usr/lib/php/php-maintscript-helper
    php_invoke enmod @minor@ ALL write_buffer
fi
SH
script prerm <<'SH'
# Enabled anew by the postinst of the next version, in the order that its ini file asks for.
if [ "$1" = upgrade ]; then
    . /usr/lib/php/php-maintscript-helper
    php_invoke dismod @minor@ ALL write_buffer
fi
SH
script postrm <<'SH'
case "$1" in
    remove)
        if [ -e /usr/lib/php/php-maintscript-helper ]; then
            . /usr/lib/php/php-maintscript-helper
            php_invoke dismod @minor@ ALL write_buffer
        fi ;;
    purge)
        # Where PHP went first, its links to the ini file are left.
        find /etc/php/@minor@ -xtype l -lname '*/mods-available/write_buffer.ini' -delete 2>/dev/null || true ;;
esac
SH
documents "php$minor-write-buffer" "$extension"
build "php$minor-write-buffer" "$extension" php \
    "php$minor-common, phpapi-$api, $(library_packages "$extension$place/write_buffer.so")" \
    'buffers rows from PHP and writes them to MySQL or SQLite' <<'TEXT'
WriteBuffer takes rows from PHP, merges them in memory and writes them to
MySQL, MariaDB or SQLite in batches, on a thread of its own: each accepted
row exactly once, atomic groups whole and in order.

This package has the extension write_buffer for PHP.
TEXT

tool=$work/tool
mkdir -p "$tool/usr/bin" "$tool/usr/share/man/man1"
tar -C "$work" -xzf "$tool_archive"
mv "$work/write-buffer" "$tool/usr/bin/"
documents write-buffer "$tool"
help2man --no-info --name='looks after journals and quarantine of WriteBuffer' "$tool/usr/bin/write-buffer" \
    | gzip -9nc > "$tool/usr/share/man/man1/write-buffer.1.gz"
build write-buffer "$tool" database "$(library_packages "$tool/usr/bin/write-buffer")" \
    'looks after journals and quarantine of WriteBuffer' <<'TEXT'
WriteBuffer takes rows from PHP and writes them to MySQL, MariaDB or SQLite
in batches. Its journals are what dead processes had not written yet, its
quarantine what the database refused.

This package has the tool that looks at both, beside running processes and
after dead ones, and writes them where asked to.
TEXT

(cd "$directory" && find . -maxdepth 1 -type f \( -name '*.tgz' -o -name '*.deb' \) -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS)
lintian --fail-on error,warning --suppress-tags "$(IFS=,; echo "initial-upload-closes-no-bugs,embedded-library")" \
    "$directory/php$minor-write-buffer_$version-1_$architecture.deb" "$directory/write-buffer_$version-1_$architecture.deb"
