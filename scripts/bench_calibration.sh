#!/usr/bin/env bash
# Whether importance from a study's own traces beats importance from other text, on the student's own work: the model answers questions, half of them (train)
# are what the quantizer is calibrated on, and KL is measured on its answers to the others (test); against no importance, and another text's.
#   scripts/bench_calibration.sh BUILD_DIR MODEL TRAIN.jsonl TEST.jsonl OTHER_TEXT    question/answer lines; TYPES="q4_k_m q3_k_m q2_k_s" QUESTIONS=64 TOKENS=4096
# MODEL is in F16 or BF16 (one that is quantized already has its own grid to come back to).
set -euo pipefail
distill=$1/distill model=$2 train=$3 test=$4 other=$5
tokens=${TOKENS:-4096}
questions=${QUESTIONS:-64}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-calibration-XXXXXX")
trap 'rm -rf "$work"' EXIT
"$distill" import "$work/s.study" "$train" --split train --task math --limit "$questions" -q >/dev/null
"$distill" import "$work/s.study" "$test" --split test --task math --limit "$questions" -q >/dev/null
for split in train test; do
    "$distill" generate "$work/s.study" --teacher "$model" --split $split --samples 1 --max-tokens 160 --temperature 0.7 -q >/dev/null
    "$distill" export "$work/s.study" "$work/$split.jsonl" --split $split --all -q >/dev/null
done
field() { sed -E "s/.*\"$1\": ?([0-9.e-]+).*/\1/"; }
printf '%s: KL of its quantized forms on %s answers of its own; importance of %s tokens\n' "$(basename "$model")" "$questions" "$tokens"
printf '%-10s %12s %12s %12s   %s\n' type none "other text" "own traces" "mean KL, nats (top-1 the same)"
for t in ${TYPES:-q4_k_m q3_k_m q2_k_s}; do
    printf '%-10s' "$t"
    for c in none "$other" "$work/train.jsonl"; do
        "$distill" convert "$model" "$work/q.gguf" -t "$t" --calibration "$c" --calibration-tokens "$tokens" --no-check -q >/dev/null
        json=$("$distill" compare "$model" "$work/q.gguf" --data "$work/test.jsonl" --limit "$tokens" --no-fast-error --json -q)
        printf ' %12.5f' "$(field kl_mean <<<"$json")"
        top="${top:-} $(field top1 <<<"$json")"
    done
    printf '   (%s)\n' "${top# }"
    top=
done
