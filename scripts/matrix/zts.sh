#!/usr/bin/env bash
# A thread-safe build of PHP: the tests as everywhere, and threads of one process that share
# buffers (threads.c, ThreadsTest.php).
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

home=$matrix/php-zts
prepare "PHP from source, --enable-zts" scripts/matrix/php-source.sh "$home" --enable-zts --enable-embed=static
extension "$home"
php=$home/bin/php

# Of the library in whole, for the extension, which is loaded later, looks for what it needs there.
harness() {
    # shellcheck disable=SC2046 # php-config prints words
    cc -O1 -g -D_GNU_SOURCE $("$home/bin/php-config" --includes) -o "$matrix/threads" scripts/matrix/threads.c -rdynamic \
        -L"$home/lib" -Wl,--whole-archive -lphp -Wl,--no-whole-archive $("$home/bin/php-config" --libs) -lpthread
}
prepare "threads.c" harness
export WRITE_BUFFER_THREADS=$matrix/threads WRITE_BUFFER_PHP_INI=$home/etc/php.ini

# A PHP that is not of the kind that the extension was built for says so and goes on without it.
refuses() {
    local said
    said=$("$1" -n -d extension="$2" -r 'var_dump(extension_loaded("write_buffer"));' 2>&1) || return 1
    echo "$said"
    [[ $said == *Warning*'bool(false)' ]]
}
for database in mysql sqlite; do
    suite "threads of one process, $database" scripts/with-server.sh --strict $database -- \
        "$php" -d extension="$WRITE_BUFFER_EXTENSION" "$PHPUNIT" scripts/matrix/ThreadsTest.php
done
everywhere "$php" mysql
check "an archive of it is packed, unpacked and loaded" packs "$php" -zts
prepare "an ordinary build of the extension" "${CARGO:-cargo}" build --release --locked
check "thread-safe PHP refuses an ordinary build" refuses "$php" "$matrix/../release/libwrite_buffer.so"
check "ordinary PHP refuses a thread-safe build" refuses "$PHP" "$WRITE_BUFFER_EXTENSION"
exit "$status"
