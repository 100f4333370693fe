#!/usr/bin/env bash
# A debug build of PHP, which checks its own invariants and reports what was not freed, and a
# build of the extension that checks its own. The tests fail on a report of a process that they
# start (Subprocess, PhpFpm, LaravelApplication); LeaksTest.php shows that they do.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

home=$matrix/php-debug
prepare "PHP from source, --enable-debug" scripts/matrix/php-source.sh "$home" --enable-debug --enable-zend-test
extension "$home"
php=$home/bin/php

# Never the log itself, to which what is found is added.
said=$matrix/logs/debug.said
leaks() { grep -E 'memory leaks detected|Freeing 0x' "$said"; }
# 1 is what grep says when it has looked and found nothing.
no_leaks() { local code=0; leaks || code=$?; [ "$code" -eq 1 ]; }
finds() { "$php" -r 'zend_leak_bytes(9);' > "$said" 2>&1 && leaks && ! no_leaks; }
check "this PHP reports what is not freed" finds
suite "leaks of processes that tests start are found" scripts/with-server.sh sqlite -- \
    "$php" -d extension="$WRITE_BUFFER_EXTENSION" "$PHPUNIT" scripts/matrix/LeaksTest.php

# What comes from here on, and not the leaks that were meant.
from=$(wc -c < "$log")
everywhere "$php" mysql
tail -c "+$((from + 1))" "$log" > "$said"
check "nothing was left unfreed" no_leaks
check "an archive of it is packed, unpacked and loaded" packs "$php" -debug
exit "$status"
