#!/usr/bin/env bash
# Runs every fuzz entry (tests/ROOM/fuzz_NAME.c) under libFuzzer with ASan and UBSan.
#   scripts/fuzz.sh [NAME...]      SECONDS_EACH=60   JOBS=processors   TIMEOUT=10 (seconds that one input may take)
# New inputs that reach new code go to build/fuzz/corpus; what tests/ROOM/corpus/fuzz_NAME keeps is merged from there by hand
# (MERGE=1 does it). An input that fails is left in build/fuzz/findings and fails this script.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --check || exit 1
seconds=${SECONDS_EACH:-60}
out=build/fuzz
mkdir -p "$out/findings"
one() {
    local src=$1 room name bin corpus
    room=$(dirname "${src#tests/}")
    name=$(basename "$src" .c)
    bin=$out/$(echo "$room" | tr / _)_$name
    corpus=$out/corpus/$room/$name
    mkdir -p "$corpus" "tests/$room/corpus/$name"
    # shellcheck disable=SC2046
    clang -std=c11 -D_GNU_SOURCE -I. -g -O1 -fsanitize=fuzzer,address,undefined -o "$bin" "$src" \
        $(make -s MODE=fuzz B=build/fuzz/obj CC=clang "link-$room") || return 1
    if "$bin" -max_total_time="$seconds" -timeout="${TIMEOUT:-10}" -rss_limit_mb=4096 -max_len="${MAX_LEN:-65536}" -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$out/findings/$name-" "$corpus" "tests/$room/corpus/$name" >"$bin.log" 2>&1; then
        echo "ok   $room/$name: $(grep -ao "stat::number_of_executed_units: [0-9]*" "$bin.log" | grep -o '[0-9]*$') runs in $seconds s"
        [ -z "${MERGE:-}" ] || "$bin" -merge=1 "tests/$room/corpus/$name" "$corpus" >/dev/null 2>&1
    else
        echo "FAIL $room/$name (log $bin.log, input in $out/findings)"
        grep -aE 'ERROR|runtime error|SUMMARY|    #[0-9]' "$bin.log" | head -20
        return 1
    fi
}
export -f one
export out seconds
entries=$(ls tests/*/fuzz_*.c tests/*/*/fuzz_*.c 2>/dev/null)
[ $# -eq 0 ] || entries=$(for n in "$@"; do echo "$entries" | grep -E "/fuzz_$n\.c$"; done)
[ -n "$entries" ] || { echo "fuzz: no such entry"; exit 64; }
# What the entries' rooms and those below them link, built by clang with the fuzzer's counters.
rooms=$(for e in $entries; do dirname "${e#tests/}"; done | sort -u)
# shellcheck disable=SC2046
make -s -j"$(nproc)" MODE=fuzz B=build/fuzz/obj CC=clang $(for r in $rooms; do echo "libs-$r"; done) || exit 1
echo "$entries" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'one {}'
status=$?
[ "$status" -eq 0 ] && echo "fuzz: no finding"
exit "$status"
