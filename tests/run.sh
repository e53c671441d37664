#!/usr/bin/env bash
# Runs test programs and scripts that speak TAP, prints what fails and why something was skipped, then one line of totals.
#   tests/run.sh BUILD_DIR PROGRAM...      JOBS=N at once (default: processors)
# A program that dies, prints no result, or exits non-zero counts as one failure more. A skip whose reason is not in
# tests/skips.txt (one extended regular expression a line) fails the run.
set -u
build=$1; shift
export KD_BUILD=$build CMOCKA_MESSAGE_OUTPUT=TAP
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
one() {
    local prog=$1 log=$2 run=$1 start end
    case $prog in */*) ;; *) run=./$prog ;; esac
    start=$(date +%s.%N)
    timeout -k 10 "${TEST_TIMEOUT:-900}" "$run" >"$log" 2>"$log.err" </dev/null; local rc=$?
    end=$(date +%s.%N)
    local name=${prog#"$KD_BUILD"/}
    local ok bad skip
    skip=$(grep -cE '^ok .*# SKIP' "$log"); ok=$(($(grep -cE '^ok' "$log") - skip)); bad=$(grep -cE '^not ok' "$log")
    { [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; } && bad=1
    [ $((ok + bad + skip)) -eq 0 ] && bad=1
    echo "$ok $bad $skip" >"$log.count"
    printf '%-52s %4d passed %3d failed %3d skipped  %6.1fs\n' "$name" "$ok" "$bad" "$skip" "$(echo "$end - $start" | bc 2>/dev/null || echo 0)"
    if [ "$bad" -ne 0 ]; then
        echo "--- $name failed (exit $rc)"; grep -vE '^ok ' "$log" | tail -40; tail -60 "$log.err"; echo "---"
    fi
    grep -E '^ok .*# SKIP' "$log" | sed 's/^ok [0-9]* -\? \?/  skipped: /'
    grep -E '# SKIP' "$log" | sed 's/.*# SKIP *//' | grep -vEf "$here/skips.txt" | sed 's/^/UNEXPECTED SKIP: /' >"$log.unexpected"
    cat "$log.unexpected"
}
export -f one; export here
i=0
for p in "$@"; do i=$((i + 1)); printf '%s\0%s\0' "$p" "$out/$i.log"; done |
    xargs -0 -n 2 -P "${JOBS:-$(nproc)}" bash -c 'one "$0" "$1"'
read -r ok bad skip < <(cat "$out"/*.count 2>/dev/null | awk '{a+=$1; b+=$2; c+=$3} END {print a+0, b+0, c+0}')
unexpected=$(cat "$out"/*.unexpected 2>/dev/null | wc -l)
[ "$unexpected" -gt 0 ] && { echo "$unexpected unexpected skips count as failures"; bad=$((bad + unexpected)); }
echo "$ok passed, $bad failed, $skip skipped"
[ "$bad" -eq 0 ] && [ "$ok" -gt 0 ]
