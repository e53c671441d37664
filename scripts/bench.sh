#!/usr/bin/env bash
# What `make bench` runs: our speed, and beside it the peers that are here, both sides in one run.
#   scripts/bench.sh BUILD_DIR          MODEL=PATH another model; PEER_LLAMA=DIR llama.cpp's programs; PEER_PYTHON=PYTHON with torch, transformers, peft, tokenizers
# A peer that is absent is said to be absent; no figure is taken from anywhere else. OPENBLAS_CORETYPE is unset for both sides.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
distill=$build/distill
unset OPENBLAS_CORETYPE
model=${MODEL:-$(scripts/get_model.sh)} || exit 1
threads=$(nproc)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
title() { printf '\n== %s\n' "$*"; }

title "machine"
"$distill" doctor | grep -E '^(processor|kernels|threads|memory) '

title "start: distill --version, 20 runs"
for _ in $(seq 20); do
    s=$(date +%s%N); "$distill" --version >/dev/null; e=$(date +%s%N); echo $(((e - s) / 1000))
done | sort -n | awk '{v[NR] = $1} END {printf "median %.1f ms, longest %.1f ms (a shell start counted in)\n", v[int(NR / 2) + 1] / 1000, v[NR] / 1000}'

title "generation: prefill and decode, $(basename "$model"), $threads threads"
for p in 1 8 32 64; do
    "$distill" bench --model "$model" --prompt 128 --generate 64 --parallel $p --threads "$threads" --json -q
done
"$distill" bench --model "$model" --prompt 512 --generate 1 --parallel 1 --threads "$threads" --json -q
if [ -x "${PEER_LLAMA:-/nonexistent}/llama-batched-bench" ]; then
    echo "llama.cpp, the same file:"
    "$PEER_LLAMA/llama-batched-bench" -m "$model" -t "$threads" -c 16384 -npp 128,512 -ntg 64 -npl 1,8,32,64 2>/dev/null | grep -E '^\|'
else
    echo "peer llama.cpp: absent (PEER_LLAMA=DIR with llama-batched-bench)"
fi

title "the engine beside llama.cpp, shapes of Qwen2 at Q4_K_M (SHAPES=\"0.5b 1.5b\")"
scripts/bench_engine.sh "$build" ${SHAPES:-0.5b} || echo "bench_engine.sh failed"

title "training: adapter and full, rows of 512 tokens packed"
if [ -f scripts/bench_train.sh ]; then scripts/bench_train.sh "$build" "$model" || echo "bench_train.sh failed"; fi

title "conversion: a bf16 folder of $(basename "$model") (scripts/bench_convert.sh BUILD 1.5b: a larger shape)"
scripts/bench_convert.sh "$build" "$model" || echo "bench_convert.sh failed"

title "programs"
for b in "$build"/tests/*/bench_* "$build"/tests/*/*/bench_*; do
    case $b in *.d | *.o | *'*') continue ;; esac
    case $b in
    */bench_tokenizer)
        scripts/bench_tokenizer.sh "$build" "$model" || echo "bench_tokenizer.sh failed"
        ;;
    */bench_measures) # and its peers, where there is a Python
        if command -v "${PEER_PYTHON:-python3}" >/dev/null; then
            "${PEER_PYTHON:-python3}" scripts/bench_labels.py "$b" "${MAN_DIR:-/usr/share/man}" || echo "bench_labels.py failed"
            echo "labels of a whole study, killed and gone on with (SCALE=\"SHORT LONG\" rows)"
            "${PEER_PYTHON:-python3}" scripts/bench_scale.py "$build" ${SCALE:-1000000 50000} || echo "bench_scale.py failed"
        else
            "$b" || echo "$b failed"
        fi
        ;;
    */bench_math)
        "$b" || echo "$b failed"
        if "${PEER_PYTHON:-python3}" -c 'import math_verify' 2>/dev/null; then
            "${PEER_PYTHON:-python3}" tests/datasets/compare_math_verify.py --bench 2>/dev/null
        else
            echo "peer math-verify: absent (PEER_PYTHON=PYTHON with math-verify)"
        fi
        ;;
    *) "$b" || echo "$b failed" ;;
    esac
done
