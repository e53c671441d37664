#!/usr/bin/env bash
# tests/convert/test_kill.sh - SIGKILL at random moments of a conversion: at the target stands nothing, or the whole of it; running again
# gives the same bytes as a conversion that nobody stopped. KD_KILLS=100 for more, KD_KILL_MODEL=PATH for a larger model. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
m=${KD_KILL_MODEL:-$PWD/tests/oracle/models/qwen3-untied}
kills=${KD_KILLS:-10}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}"
echo "1..3"
# TARGET: how long the whole takes, in microseconds; its hash goes to TARGET.sha256
sum_of() { (cd "$1" 2>/dev/null && find . -type f | sort | xargs sha256sum) || sha256sum <"$1"; }
whole() {
    local from=$EPOCHREALTIME
    "$d" convert "$m" "$1" $2 -q || return 1
    took=$((${EPOCHREALTIME/./} - ${from/./}))
    sum_of "$1" >"$1.sha256"
}
# NAME OPTIONS: kills conversions to NAME, checking after each what stands there
try() {
    local bad=0 killed=0 i pid
    whole "$tmp/$1" "$2" || { cat "$tmp"/*.err 2>/dev/null; return 1; }
    rm -rf "${tmp:?}/$1"
    for ((i = 0; i < kills; i++)); do
        local after=$((took * RANDOM / 32768))
        "$d" convert "$m" "$tmp/$1" $2 -q & pid=$!
        sleep "$(printf '%d.%06d' $((after / 1000000)) $((after % 1000000)))"
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        [ $? -eq 137 ] && killed=$((killed + 1))
        if [ -e "$tmp/$1" ]; then
            sum_of "$tmp/$1" | cmp -s - "$tmp/$1.sha256" || { echo "# kill $i left another $1"; bad=1; }
            [ $((i % 2)) -eq 0 ] && rm -rf "${tmp:?}/$1" # with and without one that is there already
        fi
    done
    "$d" convert "$m" "$tmp/$1" $2 -q && sum_of "$tmp/$1" | cmp -s - "$tmp/$1.sha256" || { echo "# running again after the kills gave another $1"; bad=1; }
    echo "# $1: $killed of $kills were killed at work"
    [ "$killed" -gt 0 ] && [ "$bad" -eq 0 ]
}
try out.gguf "-t q4_k" 2>/dev/null && echo "ok 1 - a GGUF file is whole or not there" || echo "not ok 1 - a GGUF file is whole or not there"
try out "-t bf16" 2>/dev/null && echo "ok 2 - a folder is whole or not there" || echo "not ok 2 - a folder is whole or not there"
# What killed runs left: gone at the next run, if nobody is writing it.
touch -d '5 minutes ago' "$tmp/s.gguf.tmp-99999999-0" "$tmp/s-00001-of-00002.gguf.tmp-99999999-1" "$tmp/s.gguf.tmp-$$-0" "$tmp/other.gguf.tmp-99999999-0" "$tmp/s.gguf.tmp-99999999-0x"
touch "$tmp/s.gguf.tmp-99999998-0"
"$d" convert "$m" "$tmp/s.gguf" -q 2>/dev/null
[ "$(cd "$tmp" && ls -d s*tmp* other* | tr '\n' ' ')" = "other.gguf.tmp-99999999-0 s.gguf.tmp-$$-0 s.gguf.tmp-99999998-0 s.gguf.tmp-99999999-0x " ] &&
    echo "ok 3 - leftovers of dead processes are removed, others stay" || { ls "$tmp" | sed 's/^/# /'; echo "not ok 3 - leftovers of dead processes are removed, others stay"; }
