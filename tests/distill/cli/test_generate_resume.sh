#!/usr/bin/env bash
# tests/distill/cli/test_generate_resume.sh - a local teacher killed by SIGKILL at random moments and run again with the same words ends with the answers of an
# unbroken run: none lost, none twice, the same bits. KILLS=N (default 3; make soak: 100) SEED=N. Prints TAP.
set -u
here=$(cd "$(dirname "$0")" && pwd)
distill=$(cd "${KD_BUILD:-build/release}" && pwd)/distill
model=$(cd "$here/../../oracle/models/qwen2-tied" && pwd)
kills=${KILLS:-3}
RANDOM=${SEED:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
questions=$((40 + 4 * kills))
for i in $(seq $questions); do echo "{\"question\":\"What is $i and $((i * 7 % 11))?\",\"answer\":\"$((i + i * 7 % 11))\"}"; done >q.jsonl
"$distill" import a.study q.jsonl --split train --task math -q >/dev/null && cp a.study b.study
ask=(--teacher "$model" --samples 4 --max-tokens 48 --temperature 1 --seed 5 --parallel 8 -q)
began=$(date +%s%N)
"$distill" generate a.study "${ask[@]}" >/dev/null 2>err.txt
first=$?
whole=$((($(date +%s%N) - began) / 1000000))
killed=0
tries=0
while [ $killed -lt "$kills" ] && [ $tries -lt $((3 * kills)) ]; do # each life is a small share of the whole run's, its start counted in
    tries=$((tries + 1))
    "$distill" generate b.study "${ask[@]}" >/dev/null 2>>err.txt &
    child=$!
    sleep "$(awk -v r=$RANDOM -v w=$whole -v k="$kills" 'BEGIN { printf "%.3f", 0.02 + (r / 32768) * (1.4 * w / k / 1000 + 0.02) }')"
    kill -KILL $child 2>/dev/null
    wait $child 2>/dev/null
    [ $? -eq 137 ] && killed=$((killed + 1))
done
"$distill" generate b.study "${ask[@]}" >/dev/null 2>>err.txt
last=$?
answers() { sqlite3 "$1" "SELECT hex(p.hash), s.number, s.finish, s.completion_tokens, s.answer, s.thought FROM samples s JOIN prompts p ON p.id=s.prompt ORDER BY 1, 2"; }
answers a.study >a.txt
answers b.study >b.txt
status=0
check() { if [ "$1" -eq 0 ]; then echo "ok $3 - $2"; else echo "not ok $3 - $2"; status=1; fi; }
echo 1..3
[ $first -eq 0 ] && [ $last -eq 0 ]; check $? "ends well after $killed kills" 1
[ "$(sqlite3 a.study 'SELECT count(*) FROM samples')" = $((questions * 4)) ] && [ "$(sqlite3 b.study 'SELECT count(*) FROM samples')" = $((questions * 4)) ]
check $? "$((questions * 4)) answers, none lost, none twice" 2
cmp -s a.txt b.txt && [ -s a.txt ]; check $? "the answers of an unbroken run, bit for bit" 3
[ $status -eq 0 ] || tail -5 err.txt >&2
exit $status
