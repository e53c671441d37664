#!/usr/bin/env bash
# The engine beside llama.cpp and ik_llama.cpp: the same file and threads on all sides, point by point one after the other, between two measurements
# of what the machine can do at most (multiply-adds of bytes, bytes read).
#   scripts/bench_engine.sh BUILD_DIR [0.5b|1.5b|MODEL.gguf ...]
#     PEER_LLAMA=DIR, PEER_IK=DIR     folders with llama-batched-bench (and llama-perplexity, llama-server); a peer that is absent is said to be
#     THREADS=N                       PARTS="error prefill decode memory sequences context start answers": some of them
#     CURVES=DIR                      where the curves' numbers and drawings go
#     PIN=CMD                         put before every program (something that keeps threads on their processors, on a machine that is not quiet)
# Each point has its arithmetic's error beside it: KL in nats from f32 with the same weights, on English text (part error, which comes first).
# The shapes are models of random weights (scripts/make_shape.py), made once under build/model: some GB of disk while they are made.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
shift || true
distill=$build/distill
threads=${THREADS:-$(nproc)}
parts=" ${PARTS:-error prefill decode memory sequences context start answers} "
curves=${CURVES:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wants() { [[ $parts == *" $1 "* ]]; }

model_of() { # the file of a shape at Q4_K_M, or the file itself
    [ ! -f "$1" ] || { echo "$1"; return; }
    local file=build/model/qwen2-$1.q4_k_m.gguf
    if [ ! -f "$file" ]; then
        mkdir -p build/model
        scripts/make_shape.py "$1" "$work/hf" >&2 && "$distill" convert "$work/hf" "$file" --type q4_k_m -q >&2
        rm -rf "$work/hf"
    fi
    echo "$file"
}

limits() { # the machine's, by both threads at once
    ${PIN:-} "$build/tests/distill/math/bench_linear" limits >"$work/limits" && sed 's/^/  limits: /' "$work/limits"
}
# One point of ours: rates, and what part of the limits (of the last measurement) they are.
ours() {
    ${PIN:-} "$distill" bench --model "$1" --threads "$threads" --prompt "$2" --generate "$3" --parallel "$4" --json -q "${@:5}" >"$work/ours" || return
    awk -v kl="$(said distill)" -v RS=, -F: 'NR == FNR {gsub(/[{}"\n]/, ""); l[$1] = $2; next} {gsub(/[{}"\n]/, ""); v[$1] = $2}
        END {printf "  distill         prefill %8.1f  decode %8.1f tok/s%s   (prefill %.0f %%, decode %.0f %% of int8; attention %.0f %% and %.0f %% of the time)\n",
             v["prefill_tokens_per_second"], v["decode_tokens_per_second"], kl, 100 * v["prefill_gmac_per_second"] / l["int8_gmac_per_second"],
             100 * v["decode_gmac_per_second"] / l["int8_gmac_per_second"], 100 * v["prefill_attention_share"], 100 * v["decode_attention_share"]}' \
        "$work/limits" "$work/ours"
}
said() { [ ! -f "$work/kl.$1" ] || echo "  KL $(cat "$work/kl.$1")"; }
# The same point of a peer: NAME DIR MODEL PROMPT GENERATE PARALLEL [its own flags]
theirs() {
    [ -x "$2/llama-batched-bench" ] || { echo "  $1: absent"; return; }
    ${PIN:-} "$2/llama-batched-bench" -m "$3" -t "$threads" -tb "$threads" -c $((($4 + $5) * $6 + 64)) -b 2048 -npp "$4" -ntg "$5" -npl "$6" "${@:7}" 2>&1 |
        awk -F'|' -v n="$1" -v kl="$(said "$1")" '$2 + 0 > 0 {printf "  %-14s  prefill %8.1f  decode %8.1f tok/s%s\n", n, $7, $9, kl; found = 1} END {exit !found}'
}
point() { # MODEL PROMPT GENERATE PARALLEL
    echo "$4 x $2 tokens, $3 behind each"
    ours "$@"
    theirs llama.cpp "${PEER_LLAMA:-/nonexistent}" "$@"
    theirs ik_llama.cpp "${PEER_IK:-/nonexistent}" "$@" -rtr || theirs "ik, -no-fa" "$PEER_IK" "$@" -rtr -no-fa # its flash attention stops at some batches
}
# A point of ours on a curve: FILE X MODEL PROMPT GENERATE PARALLEL [flags]
on_curve() {
    ours "${@:3}"
    awk -v x="$2" -v RS=, -F: '{gsub(/[{}"\n]/, ""); v[$1] = $2} END {printf "%s\t%.1f\t%.1f\t%.4f\t%.4f\n", x, v["prefill_tokens_per_second"],
        v["decode_tokens_per_second"], v["prefill_attention_share"], v["decode_attention_share"]}' "$work/ours" >>"$work/$1.tsv"
}
draw() { # TITLE X FILE...
    [ -z "$curves" ] || { mkdir -p "$curves" && cp "$work"/*.tsv "$curves" && scripts/curve_engine.py "$curves" "$@"; }
}

# What the arithmetic of each costs: KL in nats from f32 with the same weights, on English text.
error() {
    cat README.md */README.md distill/*/README.md | tr -d '|`*' >"$work/text.txt"
    python3 -c 'import json, sys; print(json.dumps({"text": open(sys.argv[1]).read()[:6000]}))' "$work/text.txt" >"$work/text.jsonl"
    ${PIN:-} "$distill" compare "$1" "$1" --data "$work/text.jsonl" --fast-b --json -q |
        sed -E 's/.*"kl_mean":([^,}]*).*"top1":([^,}]*).*"ppl_a":([^,}]*).*"ppl_b":([^,}]*).*/\1 \2 \3 \4/' |
        awk -v f="$work/kl.distill" '{printf "  distill: KL %.5f nats, the same most likely token at %.1f %%, perplexity %.4f in f32 and %.4f\n", $1, 100 * $2, $3, $4; printf "%.4f", $1 >f}'
    [ -x "${PEER_LLAMA:-}/llama-perplexity" ] || { echo "  llama.cpp: absent"; return; }
    local run=(${PIN:-} "$PEER_LLAMA/llama-perplexity" -t "$threads" -c 256 --chunks 6 -f "$work/text.txt" --kl-divergence-base "$work/base")
    ${PIN:-} "$distill" convert "$1" "$work/f32.gguf" --type f32 -q && "${run[@]}" -m "$work/f32.gguf" >"$work/out" 2>&1 &&
        "${run[@]}" -m "$1" --kl-divergence >"$work/out" 2>&1
    grep -E 'Mean +KLD|Same top|Mean PPL\(' "$work/out" | sed 's/^/  llama.cpp: /'
    sed -nE 's/Mean +KLD: +(-?[0-9.]+).*/\1/p' "$work/out" >"$work/kl.llama.cpp"
    [ -s "$work/kl.llama.cpp" ] || rm -f "$work/kl.llama.cpp"
    rm -f "$work/f32.gguf" "$work/base"
}

for s in "${@:-0.5b}"; do
    model=$(model_of "$s")
    rm -f "$work"/kl.* "$work"/*.tsv
    echo "== $(basename "$model"), $threads threads"
    limits
    if wants error; then echo "error against f32 with the same weights"; error "$model"; fi
    if wants prefill; then point "$model" 512 1 1; point "$model" 128 1 32; fi
    if wants decode; then
        for p in 1 8 16 32 64; do point "$model" 32 16 "$p"; done
        limits
    fi
    if wants memory; then # readings of memory between the steps, since neighbours change it from second to second
        echo "decode of one sequence beside reading memory, round by round"
        for n in 32 4096; do ${PIN:-} "$build/tests/distill/engine/bench_decode" "$model" 1 "$n" "$threads" 40 | sed 's/^/  /'; done
    fi
    if wants sequences; then
        echo "growth with sequences, decode behind 32 tokens"
        for p in 1 2 4 8 16 32 64 96 128; do echo "$p"; on_curve sequences "$p" "$model" 32 16 "$p"; done
        draw "$(basename "$model"): sequences" sequences sequences
    fi
    if wants context; then
        for p in 1 4; do
            for kv in f16 q8_0; do
                echo "growth with context, $p sequences, keys and values $kv"
                for n in 128 512 1024 2048 4096 8000; do echo "$n"; on_curve "context-$p-$kv" "$n" "$model" "$n" 16 "$p" --kv-type $kv; done
            done
        done
        draw "$(basename "$model"): context" tokens context-1-f16 context-1-q8_0 context-4-f16 context-4-q8_0
    fi
    if wants start; then
        for _ in 1 2 3 4 5; do ${PIN:-} "$distill" bench --model "$model" --threads "$threads" --prompt 8 --generate 0 --json -q; done |
            sed 's/.*"start_seconds":\([0-9.]*\).*/\1/' | sort -n | awk '{v[NR] = $1} END {printf "start to first token, without a tokenizer: %.3f s at best, %.3f in the median of %d\n", v[1], v[int((NR + 1) / 2)], NR}'
        for _ in 1 2 3 4 5 6 7; do
            ${PIN:-} python3 -c 'import subprocess, sys, time
t = time.time(); p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); p.stdout.read(1); print(time.time() - t); p.stdout.read(); p.wait()' \
                "$distill" chat --model "$model" --threads "$threads" -p "Hello there" --max-tokens 2 --temperature 0 -q
        done | sort -n | awk '{v[NR] = $1} END {printf "the same of chat, its process and tokenizer among them: %.3f s at best, %.3f in the median of %d\n", v[1], v[int((NR + 1) / 2)], NR}'
    fi
    if wants answers; then
        echo "8 samples a question, prompts of 256 tokens, end to end"
        ${PIN:-} "${PEER_PYTHON:-python3}" scripts/bench_answers.py "$distill" "$model" --threads "$threads" ${PEER_LLAMA:+--server "$PEER_LLAMA/llama-server"}
    fi
done
