#!/usr/bin/env bash
# PHP 8.4, MySQL 9.7, Laravel 13 and PHPUnit 13, from Debian's sid, in a container. Rust and the
# crates are this machine's.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "${1:-}" = inside ] || in_container write-buffer/sid
prepare_inside php
everywhere php mysql sqlite
exit "$status"
