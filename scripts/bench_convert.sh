#!/usr/bin/env bash
# Conversion beside llama.cpp's two programs, in one run: a bf16 folder to BF16, Q8_0 and Q4_K_M; seconds, processor seconds, resident memory, each program on
# all processors, the source in the cache, the output on the disk (our programs sync what they write; for the copy and the peers `sync` is counted in). Then memory
# by the number of layers.
#   scripts/bench_convert.sh BUILD_DIR MODEL|0.5b|1.5b    a model, or the shape of a Qwen2 with random weights (scripts/make_shape.py; FOLDER=DIR keeps it)
#   PEER_LLAMA=DIR llama-quantize, PEER_LLAMA_SRC=DIR convert_hf_to_gguf.py, PEER_PYTHON=PYTHON with torch
set -uo pipefail
distill=$1/distill
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-convert-XXXXXX")
trap 'rm -rf "$work"' EXIT
hf=${FOLDER:-$work/hf}
case $2 in
0.5b | 1.5b) [ -f "$hf/model.safetensors" ] || python3 "$(dirname "$0")/make_shape.py" "$2" "$hf" || exit 1 ;;
*) "$distill" convert "$2" "$hf" -t bf16 -q || exit 1 ;;
esac
# NAME COMMAND...: a line of figures; the seconds stay in $took, the memory in $memory
timed() {
    local name=$1
    shift
    /usr/bin/env time -f "%e %U %S %M" -o "$work/time" "$@" >/dev/null 2>"$work/err" || { echo "$name failed: $(tail -2 "$work/err")"; took=0 memory=0; return 1; }
    read -r took user system memory < <(tail -1 "$work/time")
    printf '%-28s %7.2f s, %7.2f s of processor, %6.0f MB\n' "$name" "$took" "$(echo "$user + $system" | bc -l)" "$(echo "$memory / 1024" | bc -l)"
}
ratio() { echo "scale=3; $1 / ($2 + 0.0001)" | bc -l; }
cat "$hf"/*.safetensors >/dev/null # into the cache
echo "$(basename "$2"): $(du -shL "$hf" | cut -f1) of bf16"
timed "plain copy, synced" sh -c "cp '$hf/model.safetensors' '$work/copy' && sync '$work/copy'"
copy=$took
rm -f "$work/copy"
for t in bf16 q8_0 q4_k_m; do
    timed "distill convert -t $t" "$distill" convert "$hf" "$work/ours.gguf" -t $t -q
    [ $t = q4_k_m ] || printf '    %.0f %% of the speed of the copy\n' "$(echo "100 * $(ratio "$copy" "$took")" | bc -l)"
    rm -f "$work/ours.gguf"
done
ours=$took
if [ -x "${PEER_LLAMA:-/nonexistent}/llama-quantize" ] && [ -f "${PEER_LLAMA_SRC:-/nonexistent}/convert_hf_to_gguf.py" ]; then
    # A vocabulary that llama.cpp has no name for is refused by its converter: here that check is taken for Qwen2's.
    known="import sys, runpy; sys.path[:0] = ['$PEER_LLAMA_SRC', '$PEER_LLAMA_SRC/gguf-py']
try:
    from conversion.base import TextModel as M
    M.get_vocab_base_pre = lambda *a: 'qwen2'
except ImportError: pass
sys.argv = ['convert_hf_to_gguf.py', '$hf', '--outtype', 'bf16', '--outfile', '$work/peer.gguf']
runpy.run_path('$PEER_LLAMA_SRC/convert_hf_to_gguf.py', run_name='__main__')"
    timed "convert_hf_to_gguf.py" sh -c '"$1" -c "$2" && sync "$3"' - "${PEER_PYTHON:-python3}" "$known" "$work/peer.gguf" && first=$took &&
        timed "llama-quantize Q4_K_M" sh -c '"$1" "$2" "$3" Q4_K_M "$4" && sync "$3"' - "$PEER_LLAMA/llama-quantize" "$work/peer.gguf" "$work/peer-q.gguf" "$(nproc)" &&
        printf '    both together %.1f times ours\n' "$(ratio "$(echo "$first + $took" | bc -l)" "$ours")"
else
    echo "peer llama.cpp: absent (PEER_LLAMA=DIR with llama-quantize, PEER_LLAMA_SRC=DIR with convert_hf_to_gguf.py)"
fi
# Memory must not grow with layers: the same shape, shallower and deeper.
case $2 in
0.5b | 1.5b)
    for layers in ${LAYERS:-12 24 48}; do
        rm -rf "$work/deep" && python3 "$(dirname "$0")/make_shape.py" "$2:$layers" "$work/deep" || exit 1
        timed "$layers layers, -t q4_k_m" "$distill" convert "$work/deep" "$work/ours.gguf" -t q4_k_m -q
        [ -z "${least:-}" ] && least=$memory
    done
    printf '    %.2f times the memory of the first\n' "$(ratio "$memory" "$least")"
    [ "$(echo "$(ratio "$memory" "$least") < 1.1" | bc -l)" = 1 ] || { echo "    memory grows with layers"; exit 1; }
    ;;
esac
