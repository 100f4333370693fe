#!/usr/bin/env bash
# A private database server for tests and the demo: on a free port of 127.0.0.1, with its
# data under a temporary directory, with a user and a password of its own.
#
#   scripts/test-server.sh start mariadb|mysql [--durable] [--strict] [--name NAME]
#                                  starts one, waits until it answers, prints its DSN
#   scripts/test-server.sh stop [NAME|--all]   ends it and deletes everything of it
#   scripts/test-server.sh dsn|env|log|ctl-path [NAME]
#   scripts/test-server.sh ctl [NAME] ACTION   the same server, port and data:
#                                  stop start restart kill (-9) pause resume status
#   scripts/test-server.sh kill|restart [NAME]   short for ctl
#   scripts/test-server.sh list
#
# NAME is the kind (mariadb, mysql) unless --name says otherwise; it can be left out where
# only one server is there. `mysql` is the image of compose.yaml where a Docker engine and
# an image can be had (else one built by scripts/build-mysql-image.sh), else the `mysqld` of
# the system, else MariaDB; --strict refuses that last resort (exit 69). `mariadb` is the
# system's mariadbd. --durable adds a binary log, synced at each commit, where that is not
# the default anyway; the redo log is always synced at each commit.
#
# scripts/with-server.sh runs one command beside a server and cleans up by itself.
#
# MYSQL_IMAGE         use this image and no other
# TEST_MYSQL=native   use the system's mysqld, not Docker
# MYSQLD, MARIADBD    the programs, if not the ones on the path
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$here")
umask 077

database=write_buffer_test
user=write_buffer
unavailable=69
root=${TMPDIR:-/tmp}
# A socket's path may have 107 bytes.
[ "${#root}" -le 50 ] || root=/tmp
root=$root/write-buffer-servers-$(id -u)

say() { echo "test-server: $*" >&2; }
fail() { say "$*"; exit 1; }

# --- The record of a server: a file of shell assignments in its directory -----------------

open_root() {
    # 0711: mysqld runs as another user and must reach its own directory, and only that.
    mkdir -m 0711 "$root" 2>/dev/null || true
    [ -d "$root" ] && [ ! -L "$root" ] && [ -O "$root" ] || fail "$root is not a directory of ours: remove it"
}

names() {
    local record
    for record in "$root"/*/record; do
        [ ! -O "$record" ] || basename "$(dirname "$record")"
    done
}

save() {
    local variable
    for variable in kind flavour port socket password admin_password durable owner container datadir; do
        printf '%s=%q\n' "$variable" "${!variable-}"
    done > "$dir/record"
}

# Sets $dir and what `save` wrote. Without a name: the only server there is.
load() {
    local all
    name=${1:-}
    if [ -z "$name" ]; then
        mapfile -t all < <(names)
        [ "${#all[@]}" -eq 1 ] || fail "${#all[@]} servers are there (${all[*]-}): say which"
        name=${all[0]}
    fi
    dir=$root/$name
    [ -O "$dir/record" ] || fail "no server named '$name' (scripts/test-server.sh list)"
    # shellcheck disable=SC1091 # written by save
    . "$dir/record"
}

# --- Ports, passwords, and whether a server answers ---------------------------------------

# Below the range that outgoing connections take theirs from, so that a server that is
# stopped in mid-test finds its port free again.
free_port() {
    local candidate attempt
    for attempt in {1..50}; do
        candidate=$((20000 + (RANDOM * 32768 + RANDOM) % 10000))
        if ! (: < "/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no free port found in $attempt tries"
}

secret() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }

# A server that is up speaks first. (A port that Docker publishes accepts at once.)
answers() {
    local greeting
    greeting=$(timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && head -c 5 <&3 | wc -c' "$port" 2>/dev/null) || true
    [ "${greeting:-0}" -eq 5 ]
}

await_answer() {
    local deadline=$((SECONDS + 90))
    until answers; do
        is_running || { show_log; return 1; }
        [ "$SECONDS" -lt "$deadline" ] || { show_log; say "$name does not answer on port $port after 90 s"; return 1; }
        sleep 0.1
    done
}

show_log() { server_log 2>&1 | tail -n 25 >&2; }

accounts() {
    local host
    echo "CREATE DATABASE IF NOT EXISTS \`$database\`;"
    for host in "'%'" "'localhost'"; do
        echo "CREATE USER IF NOT EXISTS '$user'@$host IDENTIFIED BY '$password';"
        # Further databases of the same beginning are the tests' own, too.
        echo "GRANT ALL ON \`${database//_/\\_}%\`.* TO '$user'@$host;"
    done
    echo "CREATE USER IF NOT EXISTS 'admin'@'%' IDENTIFIED BY '$admin_password';"
    echo "GRANT ALL ON *.* TO 'admin'@'%' WITH GRANT OPTION;"
}

# --- A server that is a process of this machine: mariadbd, mysqld -------------------------

program() {
    if [ "$flavour" = mariadb ]; then echo "${MARIADBD:-$(command -v mariadbd || echo /usr/sbin/mariadbd)}"
    else echo "${MYSQLD:-$(command -v mysqld || echo /usr/sbin/mysqld)}"; fi
}

# Whether the mysqld here is Oracle's: MariaDB installs one by that name as well.
has_native_mysql() {
    local version
    version=$(flavour=mysql; "$(program)" --no-defaults --version 2>/dev/null) || return 1
    [[ $version != *MariaDB* ]]
}

process_id() {
    local pid
    pid=$(cat "$dir/pid" 2>/dev/null) || return 1
    # The number may be another process's by now.
    tr '\0' '\n' < "/proc/$pid/cmdline" 2>/dev/null | grep -qFx -- "--datadir=$datadir" || return 1
    echo "$pid"
}

native_arguments() {
    [ "$(id -u)" -ne 0 ] || printf '%s\n' "--user=$(server_account)"
    printf '%s\n' "--datadir=$datadir"
}

server_account() { if id mysql >/dev/null 2>&1; then echo mysql; else echo nobody; fi; }

native_initialize() {
    datadir=$dir/data
    socket=$dir/run/socket
    mkdir "$datadir"
    chmod 0711 "$dir"
    accounts > "$dir/accounts.sql"
    if [ "$(id -u)" -eq 0 ]; then
        chown "$(server_account)" "$datadir" "$dir/accounts.sql"
        install -d -m 0755 -o "$(server_account)" "$dir/run"
    else
        install -d -m 0755 "$dir/run"
    fi
    local arguments
    mapfile -t arguments < <(native_arguments)
    if [ "$flavour" = mariadb ]; then
        mariadb-install-db --no-defaults "${arguments[@]}" --auth-root-authentication-method=normal \
            --skip-test-db > "$dir/log" 2>&1 || { show_log; return 1; }
    else
        "$(program)" --no-defaults "${arguments[@]}" --initialize-insecure > "$dir/log" 2>&1 || { show_log; return 1; }
    fi
}

native_start() {
    local arguments
    # What a killed server left: where nobody reaps its process, a new one takes the lock
    # for somebody else's.
    rm -f "$socket" "$socket.lock" "$dir/run/pid.server"
    mapfile -t arguments < <(native_arguments)
    arguments+=(
        --port="$port" --bind-address=127.0.0.1 --socket="$socket" --pid-file="$dir/run/pid.server"
        --skip-name-resolve --innodb-flush-log-at-trx-commit=1
        --innodb-buffer-pool-size=128M --performance-schema=OFF
    )
    if [ "$flavour" = mysql ]; then
        arguments+=(--mysqlx=OFF --sync-binlog=1 --secure-file-priv=NULL)
    elif [ -n "$durable" ]; then
        arguments+=(--log-bin=binlog --server-id=1 --sync-binlog=1)
    fi
    [ ! -e "$dir/accounts.sql" ] || arguments+=(--init-file="$dir/accounts.sql")
    # It must outlive this shell and hold none of its files open, nor its caller's: whoever called may
    # wait for the end of a pipe, and php-fpm for the end of a connection that a test has closed.
    (
        local file
        for file in /proc/self/fd/*; do
            file=${file##*/}
            [ "$file" -le 2 ] || exec {file}>&-
        done
        exec setsid "$(program)" --no-defaults "${arguments[@]}"
    ) </dev/null >> "$dir/log" 2>&1 &
    echo $! > "$dir/pid"
    disown
    # exec'd by setsid in a moment; before that its command line is not yet the server's.
    local wait
    for wait in {1..50}; do process_id >/dev/null && break; sleep 0.02; done
    : "$wait"
    await_answer || return 1
    rm -f "$dir/accounts.sql"
}

native_end() {
    local pid signal=$1 deadline=$((SECONDS + 60))
    pid=$(process_id) || return 0
    kill -CONT "$pid" 2>/dev/null || true
    kill "-$signal" "$pid" 2>/dev/null || true
    while process_id >/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || { kill -KILL "$pid" 2>/dev/null || true; }
        sleep 0.05
    done
}

# --- A server that is a container ---------------------------------------------------------

compose_command() {
    if docker compose version >/dev/null 2>&1; then echo docker compose
    elif command -v docker-compose >/dev/null; then echo docker-compose
    else return 1; fi
}

# Prints the image to use, getting or building it if need be.
mysql_image() {
    local official=mysql:9 local_image=write-buffer/mysql:9 image
    for image in ${MYSQL_IMAGE:-"$local_image" "$official"}; do
        if docker image inspect "$image" >/dev/null 2>&1; then echo "$image"; return; fi
    done
    image=${MYSQL_IMAGE:-$official}
    say "pulling $image"
    if timeout "${MYSQL_PULL_TIMEOUT:-300}" docker pull --quiet "$image" >/dev/null 2>&1; then
        echo "$image"
        return
    fi
    [ -z "${MYSQL_IMAGE:-}" ] || { say "cannot pull $image"; return 1; }
    say "no registry gives $image: building one from Debian's packages"
    "$here/build-mysql-image.sh" >&2 || return 1
    echo "$local_image"
}

container_initialize() {
    local compose image
    read -r -a compose < <(compose_command)
    image=$(mysql_image) || return 1
    container=write-buffer-$name-$$
    (
        cd "$project"
        export MYSQL_IMAGE=$image MYSQL_PORT=$port MYSQL_DATABASE=$database MYSQL_USER=$user
        export MYSQL_PASSWORD=$password MYSQL_ROOT_PASSWORD=$admin_password
        COMPOSE_PROJECT_NAME=$container "${compose[@]}" -f compose.yaml up -d > "$dir/log" 2>&1
    ) || { tail -n 25 "$dir/log" >&2; return 1; }
    local id
    id=$(docker ps -aq --no-trunc --filter "label=com.docker.compose.project=$container")
    docker rename "$id" "$container" 2>> "$dir/log"
}

container_start() {
    docker start "$container" >/dev/null || return 1
    await_answer || return 1
    [ ! -e "$dir/accounts.sql" ] || {
        docker exec -i -e MYSQL_PWD="$admin_password" "$container" mysql -uroot \
            < "$dir/accounts.sql" >> "$dir/log" 2>&1 || { show_log; return 1; }
        rm -f "$dir/accounts.sql"
    }
}

container_end() {
    docker unpause "$container" >/dev/null 2>&1 || true
    if [ "$1" = KILL ]; then docker kill "$container" >/dev/null 2>&1 || true
    else docker stop --time 60 "$container" >/dev/null; fi
}

container_remove() {
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
    local id
    for id in $(docker ps -aq --filter "label=com.docker.compose.project=$container" 2>/dev/null); do
        docker rm --force --volumes "$id" >/dev/null 2>&1 || true
    done
    docker network rm "${container}_default" >/dev/null 2>&1 || true
}

# --- Either kind --------------------------------------------------------------------------

is_running() {
    if [ -n "$container" ]; then
        [ "$(docker inspect --format '{{.State.Running}}' "$container" 2>/dev/null)" = true ]
    else process_id >/dev/null; fi
}

server_log() {
    cat "$dir/log"
    [ -z "$container" ] || docker logs "$container" 2>&1
}

start_server() { if [ -n "$container" ]; then container_start; else native_start; fi; }
end_server() { if [ -n "$container" ]; then container_end "$1"; else native_end "$1"; fi; }

control() {
    case "$1" in
        start) is_running || start_server ;;
        stop) end_server TERM ;;
        kill) end_server KILL ;;
        restart) end_server TERM; start_server ;;
        pause) if [ -n "$container" ]; then docker pause "$container" >/dev/null; else kill -STOP "$(process_id)"; fi ;;
        resume) if [ -n "$container" ]; then docker unpause "$container" >/dev/null; else kill -CONT "$(process_id)"; fi ;;
        status)
            if ! is_running; then echo stopped
            elif answers; then echo running
            else echo silent; fi ;;
        *) fail "unknown action '$1' (stop start restart kill pause resume status)" ;;
    esac
}

remove() {
    if [ -n "$container" ]; then container_remove; else end_server KILL; fi
    rm -rf --one-file-system "$dir"
    rmdir "$root" 2>/dev/null || true
}

dsn() { echo "mysql://$user:$password@127.0.0.1:$port/$database"; }

print_env() {
    local line
    for line in "WRITE_BUFFER_TEST_DSN=$(dsn)" \
        "WRITE_BUFFER_TEST_ADMIN_DSN=mysql://admin:$admin_password@127.0.0.1:$port/$database" \
        "WRITE_BUFFER_TEST_SERVER=$flavour" "WRITE_BUFFER_TEST_SERVER_CTL=$dir/ctl" \
        "WRITE_BUFFER_TEST_SOCKET=$socket" DB_CONNECTION=mysql DB_HOST=127.0.0.1 \
        "DB_PORT=$port" "DB_DATABASE=$database" "DB_USERNAME=$user" "DB_PASSWORD=$password"; do
        printf 'export %s=%q\n' "${line%%=*}" "${line#*=}"
    done
}

# Servers of a script that was killed before it could clean up.
sweep() {
    local name dir kind flavour port socket password admin_password durable owner container datadir
    for name in $(names); do
        load "$name"
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            say "removing $name: the process that started it is gone"
            remove
        fi
    done
}

# How to run what was asked for: sets $flavour and $how, or says why it cannot be.
choose() {
    if [ "$kind" = mysql ]; then
        flavour=mysql
        if [ "${TEST_MYSQL:-}" != native ] && docker info >/dev/null 2>&1; then
            if compose_command >/dev/null; then
                if mysql_image >/dev/null; then how=container; return; fi
            else
                say "a Docker engine answers, but neither 'docker compose' nor 'docker-compose' is installed"
            fi
        fi
        if has_native_mysql; then how=native; return; fi
        if [ -n "$strict" ]; then
            say "MySQL is not to be had here: no image through Docker, and no mysqld on this machine"
            exit "$unavailable"
        fi
        say "MySQL is not to be had here (no image through Docker, no mysqld): falling back to MariaDB"
    fi
    flavour=mariadb
    how=native
    if [ ! -x "$(program)" ]; then
        say "mariadbd is not installed: run scripts/setup.sh test"
        exit "$unavailable"
    fi
}

initialize() {
    password=$(secret)
    admin_password=$(secret)
    port=$(free_port)
    socket=''
    container=''
    datadir=''
    mkdir -m 0700 "$dir" || fail "a server named '$name' is there already (scripts/test-server.sh stop $name)"
    save
    if [ "$how" = container ]; then
        accounts > "$dir/accounts.sql"
        container_initialize
    else
        native_initialize
    fi
}

start() {
    local strict='' how attempt
    kind=${1:-}
    shift || true
    durable=''
    name=$kind
    owner=${WRITE_BUFFER_SERVER_OWNER:-}
    case "$kind" in mysql|mariadb) ;; *) fail "start what? mysql or mariadb" ;; esac
    while [ $# -gt 0 ]; do
        case "$1" in
            --durable) durable=1 ;;
            --strict) strict=1 ;;
            --name) name=${2:?--name needs a name}; shift ;;
            *) fail "unknown argument '$1'; see --help" ;;
        esac
        shift
    done
    [[ $name =~ ^[a-z0-9-]+$ ]] || fail "a name is of a-z, 0-9 and -, not '$name'"
    open_root
    sweep
    open_root
    choose
    dir=$root/$name
    [ ! -e "$dir" ] || fail "a server named '$name' is there already (scripts/test-server.sh stop $name)"
    # Until it answers, nothing of it may stay behind.
    trap '[ -z "${dir:-}" ] || remove' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for attempt in 1 2 3; do
        # Another process may have taken the port meanwhile: try another one.
        if initialize && save && start_server; then break; fi
        remove
        open_root
        [ "$attempt" -lt 3 ] || { dir=; fail "$flavour did not start"; }
        say "trying another port"
    done
    save
    printf '#!/bin/sh\n# stop start restart kill pause resume status\nexec env TMPDIR=%q %q ctl %q "$@"\n' \
        "$(dirname "$root")" "$here/test-server.sh" "$name" > "$dir/ctl"
    chmod 0700 "$dir/ctl"
    trap - EXIT INT TERM
    dsn
}

main() {
    local command=${1:-} name dir kind flavour port socket password admin_password durable owner container datadir
    shift || true
    case "$command" in
        start) start "$@" ;;
        stop)
            if [ "${1:-}" = --all ]; then
                for name in $(names); do load "$name"; remove; done
            else load "${1:-}"; remove; fi ;;
        ctl)
            if [ $# -ge 2 ]; then load "$1"; shift; else load ''; fi
            control "${1:-status}" ;;
        kill|restart) load "${1:-}"; control "$command" ;;
        dsn) load "${1:-}"; dsn ;;
        env) load "${1:-}"; print_env ;;
        log) load "${1:-}"; server_log ;;
        ctl-path) load "${1:-}"; echo "$dir/ctl" ;;
        list)
            for name in $(names); do
                load "$name"
                printf '%s\t%s\t%s\tport %s\n' "$name" "$flavour" "$(control status)" "$port"
            done ;;
        ''|-h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" ;;
        *) fail "unknown command '$command'; see --help" ;;
    esac
}

main "$@"
