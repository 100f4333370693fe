#!/usr/bin/env bash
# Builds the PHP of this machine from its distribution's sources, with what the tests need, and
# installs it to a directory of its own. Does nothing when the same build is there.
#
#   scripts/matrix/php-source.sh DIRECTORY [CONFIGURE-OPTION...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
directory=${1:?a directory}
shift
options=(
    --disable-all --disable-cgi --disable-phpdbg --enable-cli --enable-fpm --enable-opcache --disable-opcache-jit
    --enable-mysqlnd --enable-pdo --with-pdo-mysql=mysqlnd --with-pdo-sqlite --with-sqlite3 --enable-mbstring
    --disable-mbregex --with-libxml --enable-dom --enable-xml --enable-simplexml --enable-xmlreader
    --enable-xmlwriter --enable-tokenizer --enable-bcmath --enable-pcntl --enable-posix --enable-phar
    --enable-ctype --enable-filter --enable-session --enable-fileinfo --with-openssl --with-iconv --enable-intl
    --with-zlib "$@"
)
package=php$("${PHP:-php}" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
stamp="$package ${options[*]}"
[ "$(cat "$directory/stamp" 2> /dev/null)" != "$stamp" ] || exit 0

scripts/setup.sh build matrix
work=$(mktemp -d "${TMPDIR:-/tmp}/write-buffer-php.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The machine's own sources are left as they are: lists of the same places, for sources, beside them.
targets() {
    apt-get indextargets --format '$(ORIGIN) $(CREATED_BY) deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        | sed -nE 's/^(Debian|Ubuntu) Packages //p' | sort -u
}
mkdir -p "$work/lists/partial"
targets > "$work/sources.list"
[ -s "$work/sources.list" ] || { echo "php-source: apt knows no place of Debian or Ubuntu: run apt-get update" >&2; exit 1; }
apt=(-q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists"
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Check-Valid-Until=false)
apt-get "${apt[@]}" update
cd "$work"
# The newest that is there: a mirror that stands still may list what it does not have.
mapfile -t versions < <(apt-cache "${apt[@]}" showsrc "$package" | sed -n 's/^Version: //p' | sort -Vru)
for version in "${versions[@]}"; do
    ! apt-get "${apt[@]}" source "$package=$version" || break
done
cd "$work/$package"-*/ || { echo "php-source: no source of $package is to be had from the distribution; PHP names one of its own: PHP=/usr/bin/php8.3" >&2; exit 1; }

rm -rf -- "$directory"
mkdir -p "$directory/etc"
# Little optimisation and lines in traces: it is built once and looked into.
CFLAGS='-O1 -g1' ./configure --prefix="$directory" --with-config-file-path="$directory/etc" "${options[@]}"
make -s -j"$(nproc)"
make -s install
# What Debian's own build fills in.
sed -i 's|/@DEBIAN_PHP_API@||; s|@DEBIAN_PHP_API@||' "$directory/bin/php-config" "$directory/bin/phpize"
# Where the distribution has PHPUnit and Laravel, and what its own command-line PHP is set to.
printf 'include_path=.:/usr/share/php\nmemory_limit=-1\n' > "$directory/etc/php.ini"
printf '%s\n' "$stamp" > "$directory/stamp"
