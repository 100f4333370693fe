#!/usr/bin/env bash
# Runs a command beside a private database and removes the database whatever happens.
# Exits as the command did.
#
#   scripts/with-server.sh [--durable] [--strict] sqlite|mariadb|mysql -- COMMAND [ARGUMENT...]
#
# The command finds in its environment:
#   WRITE_BUFFER_TEST_DSN         mysql://user:password@127.0.0.1:PORT/database, sqlite:///PATH
#   WRITE_BUFFER_TEST_SERVER      sqlite, mariadb or mysql: what it really is
#   DB_CONNECTION, DB_HOST, DB_PORT, DB_DATABASE, DB_USERNAME, DB_PASSWORD    (Laravel's names)
# and, with a server that was started here:
#   WRITE_BUFFER_TEST_SERVER_CTL  a program that takes stop, start, restart, kill, pause,
#                                 resume or status: the same server, port and data
#   WRITE_BUFFER_TEST_ADMIN_DSN   the same server as an account that may do everything
#   WRITE_BUFFER_TEST_SOCKET      its socket on this machine, if it has one
#
# Where WRITE_BUFFER_TEST_DSN is set already, that database is used and nothing is started.
# --durable, --strict and how MySQL is found: scripts/test-server.sh --help
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "with-server: $*" >&2; exit 2; }

decode() {
    local text=${1//\\/\\\\}
    printf '%b' "${text//%/\\x}"
}

# DB_* from a DSN that somebody else gave: the first host of several, no query.
export_parts() {
    local pattern='^(mysql|mariadb)://(([^:@/]*)(:([^@/]*))?@)?([^:/,?]*)(:([0-9]+))?[^/]*/([^?]*)'
    case "$1" in
        sqlite://*)
            export DB_CONNECTION=sqlite DB_DATABASE=${1#sqlite://}
            DB_DATABASE=${DB_DATABASE%%\?*} ;;
        *)
            [[ $1 =~ $pattern ]] || fail "WRITE_BUFFER_TEST_DSN is no mysql:// or sqlite:// DSN"
            export DB_CONNECTION=mysql DB_HOST=${BASH_REMATCH[6]:-127.0.0.1} DB_PORT=${BASH_REMATCH[8]:-3306}
            DB_USERNAME=$(decode "${BASH_REMATCH[3]}")
            DB_PASSWORD=$(decode "${BASH_REMATCH[5]}")
            DB_DATABASE=$(decode "${BASH_REMATCH[9]}")
            export DB_USERNAME DB_PASSWORD DB_DATABASE ;;
    esac
}

options=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        --durable|--strict) options+=("$1"); shift ;;
        *) break ;;
    esac
done
kind=${1:-}
[ "${2:-}" = -- ] && [ $# -ge 3 ] || fail "usage: with-server.sh [--durable] [--strict] sqlite|mariadb|mysql -- COMMAND…"
shift 2

if [ -n "${WRITE_BUFFER_TEST_DSN:-}" ]; then
    export_parts "$WRITE_BUFFER_TEST_DSN"
    export WRITE_BUFFER_TEST_SERVER=${WRITE_BUFFER_TEST_SERVER:-${WRITE_BUFFER_TEST_DSN%%:*}}
    exec "$@"
fi

cleanup() { :; }
trap cleanup EXIT
# The command gets the signal of a terminal or a group itself; bash comes here when it has ended.
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

case "$kind" in
    sqlite)
        directory=$(mktemp -d "${TMPDIR:-/tmp}/write-buffer-sqlite.XXXXXX")
        cleanup() { rm -rf -- "$directory"; }
        WRITE_BUFFER_TEST_DSN=sqlite://$directory/test.db
        export WRITE_BUFFER_TEST_DSN WRITE_BUFFER_TEST_SERVER=sqlite
        export_parts "$WRITE_BUFFER_TEST_DSN" ;;
    mysql|mariadb)
        name=$kind-$$
        # Until `start` has ended it cleans up after itself.
        WRITE_BUFFER_SERVER_OWNER=$$ "$here/test-server.sh" start "$kind" "${options[@]}" --name "$name" >/dev/null || exit
        cleanup() { "$here/test-server.sh" stop "$name"; }
        environment=$("$here/test-server.sh" env "$name")
        eval "$environment"
        echo "with-server: $WRITE_BUFFER_TEST_SERVER on port $DB_PORT" >&2 ;;
    *) fail "unknown kind '$kind': sqlite, mariadb or mysql" ;;
esac

"$@"
