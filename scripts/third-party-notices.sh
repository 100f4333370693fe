#!/usr/bin/env bash
# Prints the licences of what is linked into the built files, as their authors ask of whoever
# passes a binary on: name, version, licence and the texts, from the sources that cargo has.
#
#   scripts/third-party-notices.sh [CARGO-TREE-ARGUMENTS...]    such as --features cli
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "third-party-notices: $*" >&2; exit 1; }

sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
crates=$("${CARGO:-cargo}" tree --locked --edges normal,no-proc-macro --prefix none --format '{p}|{l}' "$@" \
    | sed 's/ (\*)$//' | grep -v '^write-buffer ' | sort -u)

echo "The Rust standard library is linked in: The Rust Project contributors, MIT OR Apache-2.0."
echo "So are the following crates:"
while IFS='|' read -r crate licence; do
    name=${crate%% v*}
    version=${crate#* v}
    version=${version%% *}
    texts=()
    for directory in "$sources"/*/"$name-$version"; do
        # Where one may choose, the MIT licence is chosen: its text names the authors.
        case "$licence" in *"OR MIT"*|"MIT OR"*|*/MIT|MIT/*) texts=("$directory"/LICENSE-MIT*) ;; esac
        [ -e "${texts[0]:-}" ] || texts=("$directory"/LICEN[SC]E* "$directory"/COPYING* "$directory"/NOTICE*)
    done
    printf '\n%s\n%s %s: %s\n\n' "$(printf '=%.0s' {1..78})" "$name" "$version" "$licence"
    found=
    for text in "${texts[@]}"; do
        [ ! -f "$text" ] || { cat "$text"; found=1; }
    done
    [ -n "$found" ] || echo "(its source has no licence text of its own)"
done <<< "$crates"
[ -n "$crates" ] || fail "cargo tree lists no crate"
