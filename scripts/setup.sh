#!/usr/bin/env bash
# Installs, by package name, what is missing on Debian or Ubuntu. Asks dpkg first, so a
# second run costs next to nothing and prints nothing.
#
#   scripts/setup.sh [GROUP...]      groups: build test demo lint bench image package deb matrix  (default: build)
#
#   build   PHP with its headers, clang for bindgen, a C toolchain
#   test    PHPUnit, php-fpm, Apache, the PHP extensions and Laravel that the tests use, MariaDB, Redis, valgrind,
#           Supervisor, Prometheus (for promtool)
#   demo    what the example application needs beyond that
#   lint    the checkers of PHP and of shell scripts
#   bench   what is measured beside, and matplotlib
#   image   what scripts/base-image.sh needs
#   package what packs the extension and runs the README's ten lines with it
#   deb     what makes and checks Debian packages
#   matrix  what builds PHP from source, and valgrind
#
# Rust is not installed, only asked for. SETUP_DRY_RUN=1 only says what is missing.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

# A package of one PHP version (php8.2-xml) stands for the unversioned one (php-xml), if it
# is of the version that `php` runs.
packages_of() {
    case "$1" in
        build) echo php-cli php-dev clang libclang-dev libsqlite3-dev pkg-config build-essential ;;
        test) echo php-cli php-fpm php-mysql php-sqlite3 php-mbstring php-xml php-bcmath \
                   phpunit composer php-laravel-framework mariadb-server-core mariadb-client-core \
                   redis-server php-redis valgrind supervisor php-symfony-yaml prometheus \
                   apache2-bin libapache2-mod-php ;;
        demo) echo php-cli php-mysql php-sqlite3 php-mbstring php-xml php-bcmath \
                   php-laravel-framework mariadb-server-core mariadb-client-core python3-pip unzip ;;
        lint) echo php-cli php-xml php-codesniffer composer shellcheck ;;
        bench) echo php-cli php-dev php-mysql php-mbstring php-xml php-bcmath php-laravel-framework \
                    redis-server php-redis php-rdkafka python3-matplotlib python3-pip unzip ;;
        image) echo debootstrap debian-archive-keyring ;;
        package) echo php-cli php-sqlite3 binutils ;;
        deb) echo dpkg-dev lintian help2man ;;
        matrix) echo build-essential dpkg-dev xz-utils pkg-config libxml2-dev libssl-dev libsqlite3-dev libicu-dev \
                     zlib1g-dev valgrind ;;
        *) fail "unknown group '$1' (build, test, demo, lint, bench, image, package, deb, matrix)" ;;
    esac
}

check_rust() {
    if ! command -v cargo >/dev/null; then
        say "cargo is missing. Install Rust with rustup, the toolchain installer of the Rust project,"
        fail "open a new shell, and run this again"
    fi
}

# Whether the `php` here loads an extension, wherever it is from.
loads() {
    [ -n "${modules:-}" ] || modules=$(php -m 2>/dev/null) || true
    grep -qixF "$1" <<< "${modules:-}"
}

# What stands in for a package that dpkg does not know: a tool installed another way.
provided_otherwise() {
    case "$1" in
        php*-mysql) loads pdo_mysql ;;
        php*-sqlite3) loads pdo_sqlite ;;
        php*-mbstring|php*-bcmath|php*-redis|php*-rdkafka) loads "${1##*-}" ;;
        php*-xml) loads dom ;;
        php-symfony-yaml) [ -d vendor/symfony/yaml ] ;;
        prometheus) command -v promtool >/dev/null ;;
        composer) command -v composer >/dev/null || [ -x vendor/bin/composer ] ;;
        phpunit) command -v phpunit >/dev/null || [ -x vendor/bin/phpunit ] ;;
        php-codesniffer) command -v phpcs >/dev/null || [ -x vendor/bin/phpcs ] ;;
        php-laravel-framework) [ -d vendor/laravel/framework ] ;;
        shellcheck) command -v shellcheck >/dev/null ;;
        redis-server) command -v redis-server >/dev/null ;;
        supervisor) command -v supervisord >/dev/null ;;
        # A PHP that is no package of the distribution's has no module among them.
        libapache2-mod-php) command -v php >/dev/null ;;
        php*-fpm) [ -n "${PHP_FPM:-}" ] || command -v php-fpm >/dev/null ;;
        python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
        *) return 1 ;;
    esac
}

# Whether the lists have it; what is installed is no answer where they are empty.
is_listed() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# Whether a release that has PHP at all lacks this: not every one packages every checker, nor
# Redis, php-fpm, Apache or Laravel, without which their tests say so and are skipped.
is_dispensable() {
    case "$1" in
        php-codesniffer|shellcheck|redis-server|php*-redis|php*-rdkafka|php*-fpm|apache2-bin|libapache2-mod-php*|valgrind|supervisor|php-symfony-yaml|prometheus|php-laravel-framework) ;;
        *) return 1 ;;
    esac
    is_listed php-cli && ! is_listed "$1"
}

missing() {
    local package php_version='' name versioned
    declare -A installed=()
    while read -r name; do
        installed[$name]=1
    done < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
    for package in "$@"; do
        [ -z "${installed[$package]:-}" ] || continue
        case "$package" in
            php-cli|php-fpm|php-dev|php-mysql|php-sqlite3|php-mbstring|php-xml|php-bcmath|php-redis|php-rdkafka|libapache2-mod-php)
                if [ -z "$php_version" ]; then
                    php_version=$(php -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;' 2>/dev/null) || php_version=none
                fi
                versioned=${package/php-/php$php_version-}
                versioned=${versioned/%-php/-php$php_version}
                [ -z "${installed[$versioned]:-}" ] || continue
                # `php` is of a version with packages of its own: its own package, not the default's.
                if [ -n "${installed[php$php_version-cli]:-}" ]; then
                    package=$versioned
                fi ;;
            # What mariadb-server pulls in, whichever way it was named.
            mariadb-server-core|mariadb-client-core)
                ! command -v mariadbd >/dev/null || continue ;;
        esac
        provided_otherwise "$package" || is_dispensable "$package" || echo "$package"
    done
}

install_packages() {
    local sudo=() policy=/usr/sbin/policy-rc.d
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "not root and no sudo: apt-get install $* first"
        sudo=(sudo)
        [ -t 0 ] || sudo+=(-n)
    fi
    apt() {
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
            apt-get -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null
    }
    # No package that comes along may start a service here.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod 0755 "$policy"
        # shellcheck disable=SC2064 # the values of now are the ones to use
        trap "${sudo[*]} rm -f $policy" EXIT
    fi
    say "installing: $*"
    local log
    log=$(mktemp)
    # The lists may be stale or empty: one update, and the same again.
    if ! apt install --no-install-recommends "$@" > "$log" 2>&1; then
        say "refreshing the package lists"
        apt update >> "$log" 2>&1 || say "apt-get update failed in part; trying all the same"
        local package packages=()
        for package in "$@"; do
            if is_dispensable "$package"; then say "this release has no $package: going on without it"
            else packages+=("$package"); fi
        done
        if ! apt install --no-install-recommends "${packages[@]}" > "$log" 2>&1; then
            tail -n 30 "$log" >&2
            rm -f "$log"
            fail "could not install: $*"
        fi
    fi
    rm -f "$log"
}

main() {
    local group list wanted=() lacking
    case "${1:-}" in -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac
    for group in "${@:-build}"; do
        [ "$group" != build ] || check_rust
        list=$(packages_of "$group")
        # shellcheck disable=SC2206 # package names hold no spaces
        wanted+=($list)
    done
    if ! command -v dpkg-query >/dev/null; then
        say "not Debian or Ubuntu: make sure that the like of these is installed:"
        say "    $(printf '%s\n' "${wanted[@]}" | sort -u | tr '\n' ' ')"
        exit 0
    fi
    mapfile -t lacking < <(missing "${wanted[@]}" | sort -u)
    [ "${#lacking[@]}" -gt 0 ] || exit 0
    if [ -n "${SETUP_DRY_RUN:-}" ]; then
        say "missing: ${lacking[*]}"
        exit 0
    fi
    install_packages "${lacking[@]}"
}

main "$@"
