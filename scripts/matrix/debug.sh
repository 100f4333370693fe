#!/usr/bin/env bash
# A debug build of PHP, which checks its own invariants and reports what was not freed, and a
# build of the extension that checks its own. Subprocess and LaravelApplication of the tests fail
# on a report of a child process.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

home=$matrix/php-debug
prepare "PHP from source, --enable-debug" scripts/matrix/php-source.sh "$home" --enable-debug --enable-zend-test
extension "$home"
php=$home/bin/php

leaks() { grep -E 'memory leaks detected|Freeing 0x' "$1"; }
reports_a_leak() { "$php" -r 'zend_leak_bytes(9);' 2>&1 | leaks -; }
check "this PHP reports what is not freed" reports_a_leak
everywhere "$php" mysql
none() { ! leaks "$log"; }
check "nothing was left unfreed" none
exit "$status"
