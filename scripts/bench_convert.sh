#!/usr/bin/env bash
# Conversion beside llama.cpp's two programs, in one run: a bf16 folder to Q4_K_M, Q8_0 and BF16; wall and processor seconds, resident memory.
#   scripts/bench_convert.sh BUILD_DIR MODEL     PEER_LLAMA=DIR llama-quantize, PEER_LLAMA_SRC=DIR convert_hf_to_gguf.py, PEER_PYTHON=PYTHON with torch
set -uo pipefail
distill=$1/distill
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$distill" convert "$2" "$work/hf" -t bf16 -q || exit 1
# NAME COMMAND...: seconds and peak memory of it
timed() {
    local name=$1
    shift
    /usr/bin/env time -f "$name: %e s, %U + %S s of processor, %M KB" -o "$work/time" "$@" >/dev/null 2>"$work/err" || { tail -2 "$work/err"; return 1; }
    tail -1 "$work/time"
}
cat "$work"/hf/*.safetensors >/dev/null # into the cache
timed "plain copy" cp "$work/hf/model.safetensors" "$work/copy"
for t in bf16 q8_0 q4_k_m; do timed "distill convert -t $t" "$distill" convert "$work/hf" "$work/ours.gguf" -t $t -q; done
if [ -x "${PEER_LLAMA:-/nonexistent}/llama-quantize" ] && [ -f "${PEER_LLAMA_SRC:-/nonexistent}/convert_hf_to_gguf.py" ]; then
    timed "convert_hf_to_gguf.py" "${PEER_PYTHON:-python3}" "$PEER_LLAMA_SRC/convert_hf_to_gguf.py" "$work/hf" --outtype bf16 --outfile "$work/peer.gguf" &&
        timed "llama-quantize Q4_K_M" "$PEER_LLAMA/llama-quantize" "$work/peer.gguf" "$work/peer-q.gguf" Q4_K_M "$(nproc)"
else
    echo "peer llama.cpp: absent (PEER_LLAMA=DIR with llama-quantize, PEER_LLAMA_SRC=DIR with convert_hf_to_gguf.py)"
fi
