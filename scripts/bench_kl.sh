#!/usr/bin/env bash
# What quantizing costs, beside llama.cpp, at equal size: KL of each file against its source on text that neither saw. For each of llama-quantize's
# mixes: its file, with importance and without; ours of the same mix, with and without; and ours searched for that file's size, which must have the lowest (exit status 1:
# it has not).
#   scripts/bench_kl.sh BUILD_DIR SOURCE CALIBRATION HELD_OUT
# SOURCE: a model in F16 or BF16; "trained": a small Qwen2 whose vocabulary and weights are learned from CALIBRATION first (UPDATES=200); "off-grid:FILE.gguf": FILE's
# Q4_1 weights as F16, each put somewhere in the cell of the grid that it was rounded in (PEER_PYTHON with numpy and gguf). Texts: .jsonl lines of
# text or question and answer (GSM8K), or plain.
#   PEER_LLAMA=DIR llama-quantize (absent: ours alone, at Q4_K_M's own size)     TOKENS=8192 held out, CALIBRATION_TOKENS=8192; MIXES="q4_k_m q3_k_m q2_k"
set -uo pipefail
distill=$1/distill
source=$2 calibration=$3 held=$4
tokens=${TOKENS:-8192}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-kl-XXXXXX")
trap 'rm -rf "$work"' EXIT
# Question and answer become one text a line.
plain_rows() {
    case $1 in *.jsonl) ;; *) echo "$1"; return ;; esac
    "${PEER_PYTHON:-python3}" -c 'import json, sys
with open(sys.argv[2], "w") as out:
    for line in open(sys.argv[1], encoding="utf-8"):
        r = json.loads(line)
        if "question" in r: r = {"text": "Question: %s\nAnswer: %s\n" % (r["question"], r["answer"])}
        out.write(json.dumps(r) + "\n")' "$1" "$2" && echo "$2"
}
calibration=$(plain_rows "$calibration" "$work/calibration.jsonl")
held=$(plain_rows "$held" "$work/held.jsonl")
here=$(dirname "$0")
case $source in
trained)
    "${PEER_PYTHON:-python3}" -c 'import json, sys
print("".join(json.loads(l)["text"] for l in open(sys.argv[1], encoding="utf-8")), end="")' "$calibration" >"$work/text" &&
        python3 "$here/make_shape.py" small "$work/shape" "$work/text" &&
        "$distill" tokenize --model "$work/shape" "$calibration" --json >"$work/tokens.jsonl" &&
        "$distill" train "$work/tokens.jsonl" --model "$work/shape" -o "$work/run" --method full --learning-rate 3e-3 --schedule cosine --warmup-ratio 0.05 \
            --batch-size 16 --max-steps "${UPDATES:-200}" --max-seq-length 512 --long-rows cut --arithmetic auto -q >/dev/null || exit 1
    source=$work/run
    ;;
off-grid:*)
    "$distill" convert "${source#off-grid:}" "$work/off-grid.gguf" -t f16 -q && "${PEER_PYTHON:-python3}" "$here/off_grid.py" "${source#off-grid:}" "$work/off-grid.gguf" || exit 1
    source=$work/off-grid.gguf
    ;;
esac
case $source in *.gguf) f=$source ;; *) f=$work/source.gguf; "$distill" convert "$source" "$f" -q || exit 1 ;; esac
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 < b + 0) }'; }
field() { sed -E "s/.*\"$1\": ?([0-9.e-]+).*/\1/"; }
# NAME FILE: a line of figures
price() {
    local json
    json=$("$distill" compare "$f" "$2" --data "$held" --limit "$tokens" --all-tokens --no-fast-error --json -q) || { echo "$1: compare failed"; return 1; }
    printf '%-34s %8.3f %10.6f %10.5f %8.4f %9.4f\n' "$1" "$(awk -v n="$(stat -c %s "$2")" 'BEGIN { print n / 1e6 }')" "$(field kl_mean <<<"$json")" \
        "$(field kl_p99 <<<"$json")" "$(field top1 <<<"$json")" "$(field ppl_b <<<"$json")"
    last=$(field kl_mean <<<"$json")
}
# NAME SIZE: our search for a file of that size
searched() {
    "$distill" convert "$f" "$work/t.gguf" --target-size "$2" --imatrix "$work/im.gguf" --calibration "$calibration" --calibration-tokens "${CALIBRATION_TOKENS:-8192}" \
        --no-check -q >/dev/null && price "$1" "$work/t.gguf"
}
"$distill" convert "$f" "$work/x.gguf" -t q4_k_m --calibration "$calibration" --calibration-tokens "${CALIBRATION_TOKENS:-8192}" \
    --save-imatrix "$work/im.gguf" --no-check -q >/dev/null || exit 1
echo "$(basename "$source"): $tokens tokens of $(basename "$held"), importance of ${CALIBRATION_TOKENS:-8192} tokens of $(basename "$calibration")"
printf '%-34s %8s %10s %10s %8s %9s\n' "" MB "KL mean" "KL 99 %" "top-1" perplexity
worse=0
for mix in ${MIXES:-q4_k_m q3_k_m q2_k}; do
    if [ -x "${PEER_LLAMA:-/nonexistent}/llama-quantize" ]; then
        "$PEER_LLAMA/llama-quantize" "$f" "$work/p.gguf" "${mix^^}" "$(nproc)" >/dev/null 2>&1 && price "llama-quantize $mix" "$work/p.gguf" || continue
        plain=$last size=$(stat -c %s "$work/p.gguf")
        "$PEER_LLAMA/llama-quantize" --imatrix "$work/im.gguf" "$f" "$work/pi.gguf" "${mix^^}" "$(nproc)" >/dev/null 2>&1 && price "llama-quantize $mix, importance" "$work/pi.gguf"
        weighted=$last
    else
        [ "$mix" = q4_k_m ] || continue
        echo "peer llama.cpp: absent (PEER_LLAMA=DIR with llama-quantize)"
        size=$(stat -c %s "$work/x.gguf") plain= weighted=
    fi
    if [ "$mix" != q2_k ]; then # llama.cpp's Q2_K is a mix, ours every matrix
        "$distill" convert "$f" "$work/o.gguf" -t "$mix" --no-check -q >/dev/null && price "distill -t $mix" "$work/o.gguf"
        [ -z "$plain" ] || below "$last" "$plain" || echo "  above llama-quantize's"
        "$distill" convert "$f" "$work/o.gguf" -t "$mix" --imatrix "$work/im.gguf" --no-check -q >/dev/null && price "distill -t $mix, importance" "$work/o.gguf"
        [ -z "$weighted" ] || below "$last" "$weighted" || echo "  above llama-quantize's"
    fi
    searched "distill --target-size $size" "$size" || { worse=1; continue; }
    [ -z "$weighted" ] || { below "$last" "$weighted" && below "$last" "$plain"; } || { echo "  NOT BELOW llama-quantize's"; worse=1; }
done
exit $worse
