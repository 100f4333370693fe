#!/usr/bin/env bash
# valgrind: nothing of the extension reads or writes memory that is not its own, decides on what
# was never written, or is left unfreed. On the debug build of PHP, without Zend's allocator, beside
# SQLite. It is some twenty times slower: not the tests of Laravel and of the exchange, in which
# nothing of the extension runs that does not in these.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

home=$matrix/php-debug
prepare "PHP from source, --enable-debug" scripts/matrix/php-source.sh "$home" --enable-debug --enable-zend-test
extension "$home"
phpunit=$(command -v phpunit)
reports=$matrix/valgrind
rm -rf -- "$reports"
mkdir "$reports"
export USE_ZEND_ALLOC=0

# valgrind's findings go to files, one a process, which are empty where all is well.
under=(valgrind --quiet --error-exitcode=99 --num-callers=30 --suppressions=scripts/matrix/valgrind.supp
    --log-file="$reports/%p")
leaks=(--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)
php=("$home/bin/php" -d extension="$WRITE_BUFFER_EXTENSION" "$phpunit")

finds() {
    ! "${under[@]}" "${leaks[@]}" "$home/bin/php" -n -r 'zend_leak_bytes(9);' || return 1
    grep -h 'definitely lost' "$reports"/* && rm -f "$reports"/*
}
check "valgrind sees what is left unfreed" finds
suite "reads, writes and leaks of this process" scripts/with-server.sh sqlite -- "${under[@]}" "${leaks[@]}" "${php[@]}" \
    --filter '/Tests.(Api|BadInput|Find|Flush|Merge|OriginBehaviour|Quarantine|Stats|TableModes|Transaction|ValueTypes)Test::/'
# A forked child leaves what is its parent's, its memory, too, so leaks are not looked for; and without
# Zend's allocator PHP knows no memory limit.
suite "reads and writes of processes that end and fork" scripts/with-server.sh sqlite -- "${under[@]}" --trace-children=yes "${php[@]}" \
    --filter '/Tests.LifecycleTest::(?!.*a fatal error)/'
clean() { ! cat "$reports"/* | grep .; }
check "valgrind found nothing" clean
exit "$status"
