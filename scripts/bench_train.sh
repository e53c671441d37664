#!/usr/bin/env bash
# Training beside HF + PEFT, in float32 and in bfloat16: the same models of random weights, the same rows, the same threads, in one run.
#   scripts/bench_train.sh BUILD_DIR [MODEL]     SHAPES="135m 0.5b 1.5b"  WORK="lora full padded"  ARITHMETIC="f32 bf16"  UPDATES=2  THREADS=N
#   DIR=keep models here  BASE=TYPE (ours learns on the model converted to that type, q4_k for one; the peer stays)  NO_PEER=1
# Prints a line a piece of work: useful tokens/s and peak memory of both, ratios, and of both FLOPs by formula as a share of the machine's peak measured in the same run:
# OpenBLAS's sgemm, and for bf16 what its dot products of bfloat16 reach out of registers. Nothing that multiplies so can be more than 100 % over the peer's share faster. PEER_PYTHON (python3) needs torch, transformers, peft; without them models cannot be made and the peer is said to be absent.
# 1.5B is cut to LAYERS_1_5B layers for full training (the peer would need more than 24 GiB whole).
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
distill=$build/distill
python=${PEER_PYTHON:-python3}
threads=${THREADS:-$(nproc)}
updates=${UPDATES:-2}
shapes=${SHAPES:-135m 0.5b 1.5b}
kinds=${WORK:-lora full padded}
arithmetics=${ARITHMETIC:-f32 bf16}
grep -q avx512_bf16 /proc/cpuinfo || arithmetics=f32
unset OPENBLAS_CORETYPE OPENBLAS_NUM_THREADS
if ! "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
    echo "peer HF + PEFT: absent (PEER_PYTHON=PYTHON with torch, transformers and peft); it also makes the models"
    exit 0
fi
work=$(mktemp -d)
dir=${DIR:-$work}
trap 'rm -rf "$work"' EXIT

field() { "$python" -c 'import json,sys; d=json.loads(sys.stdin.readlines()[-1]); print(d.get(sys.argv[1], 0))' "$1"; }
peak=0 dots=0
[ -x "$build/tests/distill/math/bench_gemm" ] && read -r peak dots < <("$build/tests/distill/math/bench_gemm" peak "$threads")
printf 'peaks, %s threads: %s GFLOPS sgemm of OpenBLAS, %s dot products of bfloat16\n' "$threads" "$peak" "$dots"
printf '%-5s %-7s %-4s %9s %9s %6s %9s %9s %6s %8s %8s\n' shape work "" ours/s peer/s ratio "ours MB" "peer MB" ratio "of peak" "peer's"

one() { # shape kind arithmetic
    local shape=$1 kind=$2 arithmetic=$3 layers= method=lora rows=packed batch=4 ours theirs line
    [ "$kind" = full ] && { method=full; [ "$shape" = 1.5b ] && layers=${LAYERS_1_5B:-4}; }
    [ "$kind" = padded ] && { rows=padded; batch=8; }
    [ "$shape" != 135m ] && [ "$rows" = packed ] && batch=2
    [ "$shape" = 1.5b ] && batch=$((batch / 2))
    local m=$dir/$shape${layers:+-$layers}
    [ -f "$m/config.json" ] || "$python" scripts/bench_train.py make "$shape" "$m" $layers >/dev/null 2>&1 || return 1
    local vocab; vocab=$("$python" -c 'import json,sys; print(json.load(open(sys.argv[1]))["vocab_size"])' "$m/config.json")
    "$python" scripts/bench_train.py rows "$work/rows.jsonl" "$vocab" $((batch * (updates + 1))) $rows
    rm -rf "$work/run"
    local base=$m
    if [ -n "${BASE:-}" ]; then
        base=$dir/$shape${layers:+-$layers}.$BASE.gguf
        [ -f "$base" ] || "$distill" convert "$m" "$base" --type "$BASE" -q >/dev/null || return 1
    fi
    line=$("$distill" train "$work/rows.jsonl" --model "$base" -o "$work/run" --method $method --lora-rank 16 --batch-size $batch --no-shuffle \
        --max-steps $((updates + 1)) --learning-rate 1e-4 --schedule constant --weight-decay 0.01 --threads "$threads" --save-every 1000000 --arithmetic "$arithmetic" \
        --json -q 2>"$work/err") || { tail -3 "$work/err"; return 1; }
    # the first update is left out on both sides
    ours=$("$python" - "$work/run/metrics.jsonl" <<'PY'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])][1:]
sec = sum(r["tokens"] / r["tokens_per_second"] for r in rows)
flops = sum(r["flops_per_second"] * r["tokens"] / r["tokens_per_second"] for r in rows)
print(sum(r["tokens"] for r in rows) / sec, flops / sec / 1e9, max(r["peak_rss_bytes"] for r in rows) / 1e6)
PY
    )
    if [ -z "${NO_PEER:-}" ]; then
        line=$("$python" scripts/bench_train.py peer "$m" "$work/rows.jsonl" $method $batch "$updates" "$threads" "$arithmetic" 2>"$work/err") || line='{}'
    else line='{}'; fi
    theirs=$(echo "$line" | "$python" -c 'import json,sys; d=json.loads(sys.stdin.readlines()[-1]); print(d.get("tokens_per_second", 0), d.get("peak_rss_bytes", 0) / 1e6)')
    echo "$shape $kind${layers:+-$layers} $arithmetic $ours $theirs $([ "$arithmetic" = bf16 ] && echo "$dots" || echo "$peak")" | awk '{
        speed = "-"; memory = "-"; share = "-"; his = "-"
        if ($7 > 0) speed = sprintf("%.2f", $4 / $7)
        if ($8 > 0) memory = sprintf("%.2f", $6 / $8)
        if ($9 > 0) share = sprintf("%.0f%%", 100 * $5 / $9)
        if ($9 > 0 && $7 > 0) his = sprintf("%.0f%%", 100 * $5 * $7 / $4 / $9)
        printf "%-5s %-7s %-4s %9.1f %9.1f %6s %9.0f %9.0f %6s %8s %8s\n", $1, $2, $3, $4, $7, speed, $6, $8, memory, share, his
    }'
    [ -z "${DIR:-}" ] && rm -rf "$m"
    return 0
}
for shape in $shapes; do
    for kind in $kinds; do
        for a in $arithmetics; do one "$shape" "$kind" "$a" || echo "$shape $kind $a: failed"; done
    done
done
