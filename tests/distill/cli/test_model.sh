#!/usr/bin/env bash
# tests/distill/cli/test_model.sh - the whole pipe on a real model, as a user types it: KD_MODEL names SmolLM2-135M-Instruct's GGUF (scripts/get_model.sh).
# Scores against transformers' (golden/smollm2_score.jsonl), generation killed and gone on with, training, merging, comparing. Prints TAP.
set -u
here=$(cd "$(dirname "$0")" && pwd)
distill=$(cd "${KD_BUILD:-build/release}" && pwd)/distill
if [ -z "${KD_MODEL:-}" ] || [ ! -f "$KD_MODEL" ]; then
    echo "1..1"
    echo "ok 1 - real model # SKIP no model: set KD_MODEL"
    exit 0
fi
KD_MODEL=$(cd "$(dirname "$KD_MODEL")" && pwd)/$(basename "$KD_MODEL")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n=0
failed=0
result() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}
field() { # KEY < one JSON object: the number behind a key
    grep -oE "\"$1\":-?[0-9.eE+-]+" | head -1 | cut -d: -f2
}
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a + 0 <= b + 0) }'; }

# Log-probabilities and ids: the golden's, within 1e-4 nats (f32 against f32 in another order of sums).
"$distill" score --json --model "$KD_MODEL" "$here/golden/smollm2_score.jsonl" >scored.jsonl 2>err.txt
result $? "score runs"
ids() { grep -oE '"tokens": ?\[[^]]*\]' "$1" | tr -d ' '; }
[ "$(ids scored.jsonl)" = "$(ids "$here/golden/smollm2_score.jsonl")" ]
result $? "ids are Hugging Face's"
lps() { grep -oE '"logprobs": ?\[[^]]*\]' "$1" | grep -oE -- '-?[0-9.]+(e-?[0-9]+)?'; }
worst=$(paste <(lps scored.jsonl) <(lps "$here/golden/smollm2_score.jsonl") | awk '{d = $1 - $2; if (d < 0) d = -d; if (d > w) w = d} END {print NR ? w : "none"}')
echo "# worst deviation from transformers: $worst nats"
below "$worst" 1e-4
result $? "log-probabilities agree with transformers"

# Chat: greedy is a function of the question.
a=$("$distill" chat --model "$KD_MODEL" -p "What is the capital of France?" --temperature 0 --max-tokens 24 2>>err.txt)
b=$("$distill" chat --model "$KD_MODEL" -p "What is the capital of France?" --temperature 0 --max-tokens 24 --threads 1 2>>err.txt)
[ -n "$a" ] && [ "$a" = "$b" ]
result $? "chat answers, the same at one thread and at two"

# --kv-type: what keys and values are kept in decides what they take, not (here, for most of an answer) what is said; the same type, the same answer.
kv_ok=0
for kv in f16 q8_0 f32; do
    "$distill" bench --model "$KD_MODEL" --prompt 64 --generate 4 --parallel 2 --kv-type $kv -n >plan-$kv.txt 2>>err.txt || kv_ok=1
    for t in 1 2; do
        "$distill" chat --model "$KD_MODEL" -p "What is the capital of France?" --temperature 0 --max-tokens 8 --kv-type $kv --threads $t >kv-$kv-$t.txt 2>>err.txt || kv_ok=1
    done
    cmp -s kv-$kv-1.txt kv-$kv-2.txt && cmp -s kv-$kv-1.txt kv-f16-1.txt || kv_ok=1
done
result $kv_ok "--kv-type f16, q8_0 and f32 answer alike, at one thread and at two"
kv_of() { grep -oE 'keys and values[^0-9]*[0-9.]+ [A-Za-z]+' "$1" | head -1; }
[ -n "$(kv_of plan-f16.txt)" ] && [ "$(printf '%s\n' "$(kv_of plan-f16.txt)" "$(kv_of plan-q8_0.txt)" "$(kv_of plan-f32.txt)" | sort -u | wc -l)" = 3 ]
result $? "their plans differ: $(kv_of plan-q8_0.txt), $(kv_of plan-f16.txt), $(kv_of plan-f32.txt)"
"$distill" chat --model "$KD_MODEL" -p "x" --kv-type q4_0 >/dev/null 2>kv-err.txt
[ $? = 64 ] && grep -q 'kv-type' kv-err.txt
result $? "an unknown --kv-type is refused by name"

# A study: killed while it generates, gone on with; every answer once, and the same as without the kill.
for i in 1 2 3 4 5 6 7 8; do echo "{\"question\":\"Tom has $i apples and buys $((i + 1)) more. How many apples does he have now?\",\"answer\":\"$((2 * i + 1))\"}"; done >q.jsonl
gen() { "$distill" generate "$1" --teacher "$KD_MODEL" --samples 4 --max-tokens 40 --temperature 0.8 --seed 3 -q "${@:2}"; }
"$distill" import a.study q.jsonl --split train --task math -q >/dev/null && cp a.study b.study
for t in 0.7 1.1 0.9; do timeout -s KILL $t "$distill" generate a.study --teacher "$KD_MODEL" --samples 4 --max-tokens 40 --temperature 0.8 --seed 3 -q 2>/dev/null; done
gen a.study && gen b.study --parallel 3
result $? "generate goes on after SIGKILL"
"$distill" export a.study a.jsonl --select "1" --format messages -q >/dev/null && "$distill" export b.study b.jsonl --select "1" --format messages -q >/dev/null
strip() { sed -E 's/,?"lineage":\{[^}]*\}//' "$1"; }
[ "$(wc -l <a.jsonl)" = 32 ] && [ "$(strip a.jsonl | sort)" = "$(strip b.jsonl | sort)" ]
result $? "32 answers, none twice, the same bits killed or not, 32 or 3 at once"
"$distill" label a.study -q >/dev/null && "$distill" stats a.study --json -q | grep -q '"funnel"'
result $? "label and stats"

# Log-probabilities of an endpoint (our own server): kept to the last digit or rounded, exported as they are kept; a file with them is the same rows.
"$distill" serve --model "$KD_MODEL" --port 0 >serve.txt 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
for i in $(seq 100); do url=$(grep -oE 'http://127.0.0.1:[0-9]+' serve.txt | head -1); [ -n "$url" ] && break; sleep 0.1; done
for kind in exact rounded; do
    step=0
    [ $kind = rounded ] && step=0.03
    "$distill" import lp-$kind.study q.jsonl --split train -q >/dev/null && "$distill" generate lp-$kind.study --teacher "$url/v1" --teacher-model m --samples 1 \
        --max-tokens 300 --temperature 0.8 --seed 3 --logprobs 20 --logprobs-step $step -q >/dev/null 2>>err.txt
    result $? "log-probabilities of a remote teacher, $kind"
    "$distill" export lp-$kind.study lp-$kind.jsonl --all --logprobs -q >/dev/null 2>>err.txt
done
kill $server
python3 - <<'END' && "$distill" import again.study lp-rounded.jsonl -q >/dev/null && "$distill" export again.study again.jsonl --all --bare -q >/dev/null && \
    "$distill" export lp-rounded.study bare.jsonl --all --bare -q >/dev/null && cmp again.jsonl bare.jsonl
import json, sqlite3
kept, each = {}, {}
for kind in ("exact", "rounded"):
    tokens, size = sqlite3.connect("lp-%s.study" % kind).execute("SELECT sum(completion_tokens), sum(length(logprobs)) FROM samples JOIN bodies ON sample = id").fetchone()
    print("# %d tokens, 20 alternatives, %s: %.1f bytes a token" % (tokens, kind, size / tokens))
    kept[kind] = [json.loads(line)["lineage"]["logprobs"] for line in open("lp-%s.jsonl" % kind)]
    each[kind] = size / tokens
assert each["rounded"] < 0.7 * each["exact"], each # what it is depends on the words of the answers
assert [len(a) for a in kept["exact"]] == [len(a) for a in kept["rounded"]] and len(kept["exact"]) == 8
worst = 0
for a, b in zip(kept["exact"], kept["rounded"]):
    for x, y in zip(a, b):
        assert x["token"] == y["token"] and [t["token"] for t in x["top_logprobs"]] == [t["token"] for t in y["top_logprobs"]] and len(x["top_logprobs"]) == 20
        worst = max(worst, abs(x["logprob"] - y["logprob"]), *(abs(s["logprob"] - t["logprob"]) for s, t in zip(x["top_logprobs"], y["top_logprobs"])))
print("# rounded: at most %.4f nats off" % worst)
assert 0 < worst <= 0.01501, worst
END
result $? "kept and exported, rounded as told; imported again the same rows"

# Train a little, merge, compare: an adapter over Q4_1 exported as Q8_0 stays near what was trained.
"$distill" train a.study --model "$KD_MODEL" -o run --select "1" --max-steps 2 --batch-size 4 --learning-rate 1e-3 --json -q >train.json 2>>err.txt
result $? "train"
"$distill" convert run student.gguf --type q8_0 --json -q >convert.json 2>>err.txt
result $? "convert"
"$distill" compare run student.gguf --data a.jsonl --limit 512 --json -q >compare.json 2>>err.txt
kl=$(field kl_mean <compare.json)
echo "# KL of Q8_0 against what was trained: $kl nats"
below "$kl" 0.01
result $? "the export is what was trained"
"$distill" eval a.study --model run --base --split train --limit 4 --max-tokens 24 --json -q >eval.json 2>>err.txt && grep -q '"paired"' eval.json
result $? "eval, base and student"
echo "1..$n"
[ $failed -eq 0 ] || { echo "--- stderr"; tail -20 err.txt; } >&2
exit $failed
