#!/bin/bash
# Starts mysqld; on an empty data directory it first makes the accounts and the database
# that the environment names, as the official image does. Whatever follows `mysqld` on the
# command line is passed on to it.
set -euo pipefail

datadir=/var/lib/mysql
ready="$datadir/.initialized"
socket=/run/mysqld/mysqld.sock

say() { echo "entrypoint: $*" >&2; }

# A text as a MySQL string literal, and a name as a quoted identifier.
literal() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}
identifier() { printf '`%s`' "${1//\`/\`\`}"; }

accounts() {
    local root user
    root=$(literal "$MYSQL_ROOT_PASSWORD")
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $root;"
    echo "CREATE USER 'root'@'%' IDENTIFIED BY $root;"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    if [ -n "${MYSQL_DATABASE:-}" ]; then
        echo "CREATE DATABASE IF NOT EXISTS $(identifier "$MYSQL_DATABASE");"
    fi
    if [ -n "${MYSQL_USER:-}" ]; then
        user="$(literal "$MYSQL_USER")@'%'"
        echo "CREATE USER $user IDENTIFIED BY $(literal "${MYSQL_PASSWORD:-}");"
        if [ -n "${MYSQL_DATABASE:-}" ]; then
            # In a grant, _ and % in the database's name are wildcards.
            local pattern=${MYSQL_DATABASE//_/\\_}
            echo "GRANT ALL ON $(identifier "${pattern//%/\\%}").* TO $user;"
        fi
    fi
}

initialize() {
    if [ -z "${MYSQL_ROOT_PASSWORD:-}" ]; then
        say "MYSQL_ROOT_PASSWORD is not set: nobody could administer this server"
        exit 1
    fi
    say "making the data directory"
    find "$datadir" -mindepth 1 -delete
    install -d -m 0700 -o mysql -g mysql /run/mysqld/init
    (umask 077; accounts > /run/mysqld/init/accounts.sql)
    chown mysql:mysql /run/mysqld/init/accounts.sql
    mysqld --no-defaults --user=mysql --datadir="$datadir" --initialize-insecure \
        --init-file=/run/mysqld/init/accounts.sql
    rm -rf /run/mysqld/init
    touch "$ready"
}

[ "${1:-}" = mysqld ] || [ "${1#-}" != "${1:-}" ] || exec "$@"
[ "${1:-}" != mysqld ] || shift

chown mysql:mysql "$datadir" /run/mysqld
[ -e "$ready" ] || initialize
# PID 1 is mysqld itself, so that `docker stop` and `docker kill` reach it.
exec mysqld --no-defaults --user=mysql --datadir="$datadir" --socket="$socket" "$@"
