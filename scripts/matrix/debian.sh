#!/usr/bin/env bash
# The PHP of this machine, and the build that `make install` copies: Debian 12 has 8.2.
# shellcheck source=scripts/matrix/lib.sh disable=SC1091,SC2154 # it sets what is not set here
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prepare "the extension" "${CARGO:-cargo}" build --release --locked
prepare "the command-line tool" "${CARGO:-cargo}" build --locked --no-default-features --features cli --bin write-buffer
WRITE_BUFFER_EXTENSION=$(dirname "$matrix")/release/libwrite_buffer.so
WRITE_BUFFER_TOOL=$(dirname "$matrix")/debug/write-buffer
export WRITE_BUFFER_EXTENSION WRITE_BUFFER_TOOL
everywhere "$PHP" mysql mariadb sqlite
exit "$status"
