#!/usr/bin/env bash
# The newest PHP that Debian has, 8.5 and 8.6, from experimental, with sid's MySQL, Laravel and
# PHPUnit, in a container. Rust and the crates are this machine's.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "${1:-}" = inside ] || in_container write-buffer/newest
# Sid's Laravel is not made for it yet: what PHP says of that is no failure of ours.
PHPUNIT_ARGS+=" --do-not-fail-on-warning"
for php in php8.5 php8.6; do
    prepare_inside "$php"
    everywhere "$php" mysql
done
# 1 is what grep says when it has looked and found nothing.
of_our_own() {
    local code=0
    sed -n 's/^[0-9]*) //p' "$log" | grep -F -e "$PWD/laravel/" -e "$PWD/examples/" -e "$PWD/phpunit-tests/" || code=$?
    [ "$code" -eq 1 ]
}
check "this PHP warns of nothing in our own files" of_our_own
exit "$status"
