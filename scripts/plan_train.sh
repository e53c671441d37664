#!/usr/bin/env bash
# The plan of memory against what was measured: distill train -n --json, then the same run, its peak of resident memory beside the plan's sum. They must be within 10 %.
#   scripts/plan_train.sh BUILD_DIR     DIR=keep models here (scripts/make_shape.py)   SHAPES="135m 0.5b"
set -uo pipefail
cd "$(dirname "$0")/.."
distill=${1:-build/release}/distill
work=$(mktemp -d)
dir=${DIR:-$work}
trap 'rm -rf "$work"' EXIT
bad=0
# NAME SHAPE BASE(or -) ROWS TOKENS OPTIONS...
one() {
    local name=$1 shape=$2 base=$3 rows=$4 tokens=$5 model=$dir/$2 plan peak
    shift 5
    [ -f "$model/config.json" ] || python3 scripts/make_shape.py "$shape" "$model" || return 1
    if [ "$base" != - ]; then
        model=$dir/$shape.$base.gguf
        [ -f "$model" ] || "$distill" convert "$dir/$shape" "$model" --type "$base" -q >/dev/null || return 1
    fi
    python3 - "$work/rows.jsonl" "$rows" "$tokens" <<'END'
import json, random, sys
r = random.Random(5)
with open(sys.argv[1], "w") as f:
    for _ in range(int(sys.argv[2]) * 2):
        f.write(json.dumps({"tokens": [r.randrange(3, 49000) for _ in range(int(sys.argv[3]))], "loss": [1] * int(sys.argv[3])}) + "\n")
END
    local words=(train "$work/rows.jsonl" --model "$model" -o "$work/run" --batch-size "$rows" --max-seq-length "$tokens" --max-steps 2 --no-shuffle "$@")
    plan=$("$distill" "${words[@]}" -n --json -q 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["total"])')
    rm -rf "$work/run"
    "$distill" "${words[@]}" -q >/dev/null 2>"$work/err" || { tail -2 "$work/err"; return 1; }
    peak=$(python3 -c 'import json, sys; print(max(json.loads(l)["peak_rss_bytes"] for l in open(sys.argv[1])))' "$work/run/metrics.jsonl")
    awk -v n="$name" -v a="$plan" -v b="$peak" 'BEGIN {
        off = b > 1.1 * a || b < 0.9 * a
        printf "%-44s plan %8.1f MB, peak %8.1f MB, %.3f%s\n", n, a / 1e6, b / 1e6, b / a, (off ? "  MORE THAN 10 % OFF" : "")
        exit off
    }'
}
check() { one "$@" || bad=1; }
check "135m, LoRA, f32, 4 x 512" 135m - 4 512 --method lora
check "135m, DoRA, bf16, 2 x 1024" 135m - 2 1024 --method dora --arithmetic auto
check "135m, full, AdamW, 2 x 512" 135m - 2 512 --method full
check "135m, full, 8-bit AdamW, --memory 1600M" 135m - 2 512 --method full --optimizer adamw_8bit --memory 1600M
check "135m, BAdam, 2 x 512" 135m - 2 512 --method badam
check "135m, LoRA on Q4_K, one row of 4096" 135m q4_k 1 4096 --method lora
case " ${SHAPES:-135m 0.5b} " in *" 0.5b "*)
    check "0.5b, LoRA, 2 x 512" 0.5b - 2 512 --method lora --arithmetic auto
    check "0.5b, LoRA on Q4_K, 2 x 512" 0.5b q4_k 2 512 --method lora --arithmetic auto
    check "0.5b, LoRA on Q4_K, --memory 1500M, 2 x 512" 0.5b q4_k 2 512 --method lora --arithmetic auto --memory 1500M
    ;;
esac
exit $bad
