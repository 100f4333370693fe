#!/usr/bin/env bash
# Builds and installs the extension the way PIE does, from what a release's archive holds:
# `git archive` without a repository, then, in the build path that composer.json names, phpize,
# ./configure, make and make install, the last as an account that has no Rust. The installed file has
# to load and to run the ten lines.
#
#   scripts/test-pie.sh [REVISION]     default: what is committed
#
# PHP_CONFIG         of which PHP (default: php-config)
# CARGO_TARGET_DIR   where cargo builds; default: in the unpacked archive, as with PIE itself,
#                    which builds all dependencies anew
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "test-pie: $*" >&2; exit 1; }

php_config=$(command -v "${PHP_CONFIG:-php-config}") || fail "php-config is missing: scripts/setup.sh build"
php=$("$php_config" --php-binary)
phpize=$(dirname "$php_config")/phpize${php_config##*php-config}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

git archive "${1:-HEAD}" | tar -C "$work" -x
manifest() { "$php" -n -r 'echo json_decode(file_get_contents($argv[1]), true)["php-ext"][$argv[2]] ?? "";' "$work/composer.json" "$1"; }
name=$(manifest extension-name)
cd "$work/$(manifest build-path)"
step() {
    "$@" > "$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "$* failed"; }
    echo "test-pie: $*"
}
step "$phpize"
step ./configure --with-php-config="$php_config"
step make -j2
# PIE takes this file, and hands it on by make install.
[ -f "modules/$name.so" ] || fail "make left no modules/$name.so"
# As by sudo, for an account without Rust: nothing is built now.
step env -i PATH=/usr/bin:/bin HOME=/nonexistent make install INSTALL_ROOT="$work/root"
! grep -E 'cargo|rustup' "$work/log" || fail "make install built once more"
installed=$work/root$("$php_config" --extension-dir)/$name.so
[ -f "$installed" ] || fail "$installed is not there"
awk '/^### In ten lines/ { here = 1 } inside && /^```/ { exit } inside; here && /^```php/ { inside = 1 }' \
    "$work/README.md" > "$work/example.php"
[ -s "$work/example.php" ] || fail "README.md has no example"
mkdir "$work/tmp"
TMPDIR=$work/tmp "$php" -d extension="$installed" "$work/example.php"
# Sources without a repository do not take the revision of one that they lie in.
info=$("$php" -n -d extension="$installed" --ri "$name")
grep -E '^(Version|Revision|Build|PHP API) ' <<< "$info"
grep -qx 'Revision => unknown' <<< "$info" || fail "the revision is one of another repository"
step make clean
step "$phpize" --clean
[ -f config.m4 ] && [ -f Makefile.frag ] || fail "phpize --clean took what is not its own"
echo "test-pie: installed and loaded $name"
