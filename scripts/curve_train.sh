#!/usr/bin/env bash
# Loss curves of one fine-tuning, ours in f32 and in bfloat16 and HF + PEFT in both: the same rows, the same adapter to begin with, an update a row.
#   scripts/curve_train.sh BUILD_DIR QUESTIONS.jsonl [HELD_OUT.jsonl]     {"question","answer"} lines, answers with the way there (GSM8K's files)
#   UPDATES=200  HELD=100  THREADS=N  MODEL=gguf  PEER_PYTHON=python3 with torch, transformers, peft (else our two runs alone)
# Prints means by stretches, differences by update, and the loss of every end on held-out rows, all scored by the same program.
set -euo pipefail
cd "$(dirname "$0")/.."
distill=$1/distill questions=$2 held=${3:-}
python=${PEER_PYTHON:-python3} threads=${THREADS:-$(nproc)} updates=${UPDATES:-200}
model=${MODEL:-$(scripts/get_model.sh)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$distill" convert "$model" "$work/base" --type f32 -q >/dev/null
rows() { # QUESTIONS COUNT OUT
    "$python" scripts/curve_train.py lessons "$1" "$2" "$3.chat"
    "$distill" render --model "$work/base" --lesson --json -q "$3.chat" >"$3"
}
rows "$questions" "$updates" "$work/rows.jsonl"
train() { # NAME STEPS RATE ARITHMETIC [FLAG...]
    local name=$1 steps=$2 rate=$3 arithmetic=$4; shift 4
    "$distill" train "$work/rows.jsonl" --model "$work/base" -o "$work/$name" --batch-size 1 --no-shuffle --max-steps "$steps" --learning-rate "$rate" \
        --arithmetic "$arithmetic" --save-every 1000000 --threads "$threads" --json -q "$@" >/dev/null
}
train start 1 0 f32
train f32 "$updates" 2e-4 f32 --adapter "$work/start/adapter"
runs=("f32=$work/f32/metrics.jsonl") ends=("f32=$work/f32/adapter")
if grep -q avx512_bf16 /proc/cpuinfo; then
    train bf16 "$updates" 2e-4 bf16 --adapter "$work/start/adapter"
    runs+=("bf16=$work/bf16/metrics.jsonl") ends+=("bf16=$work/bf16/adapter")
fi
if "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
    for a in f32 bf16; do
        "$python" scripts/curve_train.py peer "$work/base" "$work/rows.jsonl" "$work/start/adapter" "$work/HF-$a" "$updates" "$threads" $a 2>/dev/null | sed "s|$work/||"
        runs+=("HF-$a=$work/HF-$a.jsonl") ends+=("HF-$a=$work/HF-$a")
    done
else
    echo "peer HF + PEFT: absent (PEER_PYTHON=PYTHON with torch, transformers and peft)"
fi
"$python" scripts/curve_train.py say "${runs[@]}"
[ -z "$held" ] && exit 0
rows "$held" "${HELD:-100}" "$work/held.jsonl"
for e in "base=" "${ends[@]}"; do
    "$distill" score --model "$work/base" $([ -n "${e#*=}" ] && echo --adapter "${e#*=}") --json -q "$work/held.jsonl" 2>/dev/null | "$python" -c '
import json, sys
loss = n = 0
for row, line in zip(open(sys.argv[2]), sys.stdin):
    r, s = json.loads(row), json.loads(line)
    for flag, p in zip(r["loss"][1:], s["logprobs"]):
        if flag: loss -= p; n += 1
print("held-out loss of %-8s %.5f nats a token, %d tokens" % (sys.argv[1], loss / n, n))' "${e%%=*}" "$work/held.jsonl"
done
