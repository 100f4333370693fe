#!/usr/bin/env bash
# valgrind: nothing of the extension reads or writes memory that is not its own, decides on what
# was never written, or is left unfreed. On the debug build of PHP, without Zend's allocator. It is
# some twenty times slower, so it has a part of the suite, and the table says which is left out.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

home=$matrix/php-debug
prepare "PHP from source, --enable-debug" scripts/matrix/php-source.sh "$home" --enable-debug --enable-zend-test
extension "$home"
reports=$matrix/valgrind
rm -rf -- "$reports"
mkdir "$reports"
export USE_ZEND_ALLOC=0

# valgrind's findings go to files, one a process, which are empty where all is well.
under=(valgrind --quiet --error-exitcode=99 --num-callers=30 --suppressions="$PWD/scripts/matrix/valgrind.supp"
    --log-file="$reports/%p")
leaks=(--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)
php=("$home/bin/php" -d extension="$WRITE_BUFFER_EXTENSION" "$PHPUNIT")

finds() {
    ! "${under[@]}" "${leaks[@]}" "$home/bin/php" -n -r 'zend_leak_bytes(9);' || return 1
    grep -h 'definitely lost' "$reports"/* && rm -f "$reports"/*
}
check "valgrind sees what is left unfreed" finds

# inside DATABASE CLASSES: tests of what happens in one process, which is PHPUnit's. Without TLS, whose
# library is assembler for the most part: valgrind takes what that has computed for never written.
inside() {
    # shellcheck disable=SC2016 # of the inner shell
    suite "reads, writes and leaks of one process, $1" scripts/with-server.sh --strict "$1" -- \
        bash -c '[[ $WRITE_BUFFER_TEST_DSN != mysql:* ]] || WRITE_BUFFER_TEST_DSN+="?ssl-mode=disabled"; exec "$@"' inside \
        "${under[@]}" "${leaks[@]}" "${php[@]}" --filter "/Tests.($2)Test::(?!.*memory limit)/"
}
inside sqlite 'Api|BadInput|Callback|Find|Flush|Info|Merge|OriginBehaviour|Quarantine|Stats|Stubs|TableModes|Transaction|ValueTypes'
inside mysql 'Callback|Find|Flush|Merge|Quarantine|Stats|TableModes|Transaction|ValueTypes'

# beside DATABASE PATTERN: tests of processes that end, fork and are killed. PHPUnit runs as it always
# does, but under a name that makes valgrind's PHP of PHP_BINARY, with which tests start processes.
# Of a forked child leaks are not looked for: what it leaves is its parent's memory, too.
slow=$matrix/valgrind-php
printf '#!/bin/sh\nexec%s "$@"\n' "$(printf ' %q' "${under[@]}" "$home/bin/php")" > "$slow"
chmod 0755 "$slow"
beside() {
    # shellcheck disable=SC2016 # of the inner shell
    suite "reads and writes of processes that $3, $1" scripts/with-server.sh --strict "$1" -- \
        bash -c 'exec -a "$0" "$@"' "$slow" "${php[@]}" --filter "$2"
}
runs_slowly() {
    # shellcheck disable=SC2016 # of PHP
    (exec -a "$slow" "$home/bin/php" -n -r '
        $script = "exit((int) !str_contains(file_get_contents(\"/proc/self/maps\"), \"vgpreload_memcheck\"));";
        passthru(PHP_BINARY . " -n -r " . escapeshellarg($script), $code);
        exit($code);')
}
check "tests start their processes under valgrind" runs_slowly
killed='DatabaseIsAway|ASyncedJournal|KilledWriters|ARecoveryThatIsKilled|ManyProcesses|AnotherDatabase'
but="(?!.*(memory limit|want of memory|DatabaseThere|ServerSilent|$killed))"
# Two at a time: most of it is waiting for one process each.
(beside sqlite "/Tests.Lifecycle.(End|Fork)Test::$but/" "end and fork"; exit "$status") &
beside sqlite "/Tests.(?!LifecycleTest::.*a fatal error)(Lifecycle|Callback|Journal)Test::$but/" "die and recover"
wait "$!" || status=1
record "left out" 0 0 0 0 \
    "Laravel, SyncWriteBuffer, Spot…: the library and the exchange; nothing of the extension runs there that does not in the above" \
    "Connection, OriginFaults, FpmTest, Apache, BuiltInServer, FpmStorm: restarts, deadlines and servers, bounded in time; debug has all but Apache" \
    "TLS: its library's assembler is not for valgrind to judge" \
    "on MySQL, tests that do not write, or end processes: the same code but for the sink, which the others there run" \
    "ends with the database there: as LifecycleTest and JournalTest; with a silent server: on SQLite, as with one that hangs" \
    "tests with $killed in their names: processes that are killed by the clock, or many at once; make crash-test has them elsewhere" \
    "the memory limit: PHP knows none without Zend's allocator"
# A report for each process, which is empty where all is well.
clean() { [ "$(find "$reports" -type f | wc -l)" -gt 100 ] && ! cat "$reports"/* | grep .; }
check "valgrind found nothing" clean
exit "$status"
