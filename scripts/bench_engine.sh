#!/usr/bin/env bash
# The engine beside llama.cpp on shapes of 0.5B and 1.5B, the same file and threads on both sides, point by point one after the other.
#   scripts/bench_engine.sh BUILD_DIR [0.5b|1.5b ...]      PEER_LLAMA=DIR with llama-batched-bench and llama-server; THREADS=N; QUICK=1 fewer points
# The models are of random weights (scripts/make_shape.py), made once under build/model: some GB of disk while they are made.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
shift || true
distill=$build/distill
threads=${THREADS:-$(nproc)}
peer=${PEER_LLAMA:-/nonexistent}

shape() { # the path of a shape at Q4_K_M
    local file=build/model/qwen2-$1.q4_k_m.gguf work
    if [ ! -f "$file" ]; then
        mkdir -p build/model
        work=$(mktemp -d build/model/shape-XXXXXX)
        scripts/make_shape.py "$1" "$work/hf" >&2 && "$distill" convert "$work/hf" "$file" --type q4_k_m -q >&2
        rm -rf "$work"
    fi
    echo "$file"
}
ours() { "$distill" bench --model "$1" --threads "$threads" --prompt "$2" --generate "$3" --parallel "$4" --json -q "${@:5}"; }
theirs() { # the same point, as a line of ours
    [ -x "$peer/llama-batched-bench" ] || return
    "$peer/llama-batched-bench" -m "$1" -t "$threads" -tb "$threads" -c $((($2 + $3) * $4 + 64)) -npp "$2" -ntg "$3" -npl "$4" 2>/dev/null |
        awk -F'|' '$2 + 0 > 0 {printf "llama.cpp: prefill %.1f, decode %.1f tok/s\n", $7, $9}'
}

for s in "${@:-0.5b}"; do
    model=$(shape "$s")
    echo "-- $s, $threads threads: prefill of 512, and of 32 x 128"
    ours "$model" 512 1 1 && theirs "$model" 512 1 1
    ours "$model" 128 1 32 && theirs "$model" 128 1 32
    echo "-- $s: decode behind 32 tokens"
    for p in 1 8 16 32 64; do
        ours "$model" 32 16 "$p" && theirs "$model" 32 16 "$p"
    done
    [ -z "${QUICK:-}" ] || continue
    echo "-- $s: growth with sequences"
    for p in 96 128; do ours "$model" 32 16 "$p"; done
    echo "-- $s: growth with context, 4 sequences, keys and values in f16 and in 8 bits"
    for kv in f16 q8_0; do
        for n in 128 1024 4096 8192; do ours "$model" "$n" 16 4 --kv-type $kv; done
    done
    echo "-- $s: start to first token (a new process, file in the page cache)"
    for _ in 1 2 3; do
        b=$(date +%s%N)
        ours "$model" 8 1 1 >/dev/null
        e=$(date +%s%N)
        echo "$(((e - b) / 1000000)) ms (two prefills of 8 tokens among them), without the tokenizer"
    done
    printf 'hello world' >build/model/hello.txt
    b=$(date +%s%N)
    "$distill" tokenize --model "$model" build/model/hello.txt --json >/dev/null
    e=$(date +%s%N)
    echo "$(((e - b) / 1000000)) ms the tokenizer, its process among them"
    echo "-- $s: 8 samples a question, prompts of 256 tokens, end to end"
    python3 scripts/bench_answers.py "$distill" "$model" "$peer/llama-server" --threads "$threads"
done
