#!/usr/bin/env bash
# Runs the tests on every platform, one file beside this one each, and ends on a table of what
# ran where. Fails if anything in it did.
#
#   scripts/matrix/run.sh [ROW...]      rows: debian sid newest debug zts valgrind (default: all)
#
# PHP built from source, builds of the extension and the logs are kept in target/matrix.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
case "${1:-}" in -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;; esac

rows=("$@")
[ "${#rows[@]}" -gt 0 ] || rows=(debian sid newest debug zts valgrind)
results=${CARGO_TARGET_DIR:-target}/matrix/results
status=0
for row in "${rows[@]}"; do
    [[ $row =~ ^(debian|sid|newest|debug|zts|valgrind)$ ]] || { echo "test-matrix: no row '$row': debian sid newest debug zts valgrind" >&2; exit 2; }
done
for row in "${rows[@]}"; do
    rm -f "$results/$row"
    "$here/$row.sh" || status=1
    [ -s "$results/$row" ] || { status=1; mkdir -p "$results"; printf 'nothing ran\t0\t1\t0\t0\n' > "$results/$row"; }
done

line() { printf '%-9s %-44s %7s %7s %8s %8s\n' "$@"; }
total=(0 0 0 0)
echo
line platform 'what ran' passed failed skipped seconds
for row in "${rows[@]}"; do
    while IFS=$'\t' read -r what passed failed skipped seconds notes; do
        line "$row" "$what" "$passed" "$failed" "$skipped" "$seconds"
        [ -z "$notes" ] || tr '\t' '\n' <<< "$notes" | sed 's/^/            /'
        total=($((total[0] + passed)) $((total[1] + failed)) $((total[2] + skipped)) $((total[3] + seconds)))
    done < "$results/$row"
done
line '' 'all' "${total[@]}"
echo "matrix: ${total[0]} passed, ${total[1]} failed, ${total[2]} skipped"
[ "${total[1]}" -eq 0 ] || status=1
exit "$status"
