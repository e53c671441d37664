#!/usr/bin/env bash
# tests/convert/test_price.sh - convert as a shell sees it: the check at its end, what it says, and that a result beyond --max-kl leaves what was there. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
m=$PWD/tests/oracle/models/qwen2-tied
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}"
n=0
check() { # NAME STATUS(0 = passed)
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        sed 's/^/# /' "$tmp/out" "$tmp/err" 2>/dev/null
    fi
}
run() { "$d" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null; rc=$?; }
left() { ls -A "$tmp" | grep -vxE 'out|err|before|rows.jsonl' | tr '\n' ' '; }
cp "$m/sequences.jsonl" "$tmp/rows.jsonl"

run convert "$m" "$tmp/a.gguf" -t q4_0 --data "$tmp/rows.jsonl" --json
[ "$rc" -eq 0 ] && cp "$tmp/out" "$tmp/before" && run compare "$m" "$tmp/a.gguf" --data "$tmp/rows.jsonl" --json --limit 4096 &&
    python3 - "$tmp/before" "$tmp/out" <<'PY'
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:3])
for k in "kl_mean kl_median kl_p99 kl_max top1 ppl_a ppl_b tokens".split():
    assert a["check"][k] == b[k], k
assert a["kept"] and 1e-5 < b["kl_mean"] < 1
PY
check "the price is what compare says of the kept file" $?

run compare "$m" "$tmp/a.gguf" --data "$tmp/rows.jsonl" --json --tensor-errors
[ "$rc" -eq 0 ] && python3 -c '
import json, sys
v = json.load(open(sys.argv[1]))["tensor_errors"]
assert len(v) > 5 and all(0 < x["relative"] < 0.2 and x["b"] in ("q4_0", "f16") for x in v), v' "$tmp/out" 2>"$tmp/err"
check "--tensor-errors: each matrix, and how far it is off" $?
sha256sum "$tmp/a.gguf" >"$tmp/before"
run convert "$m" "$tmp/a.gguf" -t q4_1 --data "$tmp/rows.jsonl" --max-kl 1e-9 --json
[ "$rc" -eq 1 ] && grep -q '"kept":false' "$tmp/out" && grep -q 'above --max-kl' "$tmp/err" && sha256sum -c --quiet "$tmp/before" && [ "$(left)" = "a.gguf " ]
check "beyond --max-kl: 1, the file that was there stays, nothing besides" $?
run convert "$m" "$tmp/f" -t bf16 --data "$tmp/rows.jsonl" --max-kl 1e-9
[ "$rc" -eq 1 ] && [ "$(left)" = "a.gguf " ]
check "so it is with folders" $?
run convert "$m" "$tmp/f" -t bf16 --data "$tmp/rows.jsonl" --max-kl 1
[ "$rc" -eq 0 ] && [ -f "$tmp/f/model.safetensors" ] && grep -q '^KL' "$tmp/out"
check "a folder within --max-kl is kept" $?
run convert "$m" "$tmp/s.gguf" -t q8_0 --split-size 50K --data "$tmp/rows.jsonl" --max-kl 1
[ "$rc" -eq 0 ] && [ -f "$tmp/s-00001-of-00002.gguf" ] && [ ! -e "$tmp/s.gguf.unchecked" ] && run inspect --verify "$tmp/s-00002-of-00002.gguf" && [ "$rc" -eq 0 ]
check "a split file within --max-kl is kept" $?
run convert "$m" "$tmp/n.gguf" --data "$tmp/rows.jsonl" --no-check
[ "$rc" -eq 0 ] && ! grep -q KL "$tmp/out"
check "--no-check" $?
run convert "$m" "$tmp/x.gguf" --max-kl 1
[ "$rc" -eq 64 ] && [ ! -e "$tmp/x.gguf" ]
check "--max-kl without rows is a usage error" $?
run convert "$m" "$tmp/x.gguf" --data "$tmp/rows.jsonl" --max-kl 1 --no-check
[ "$rc" -eq 64 ]
check "--max-kl with --no-check is a usage error" $?
run convert "$m" "$tmp/x.safetensors" --data "$tmp/rows.jsonl"
[ "$rc" -eq 64 ] && [ ! -e "$tmp/x.safetensors" ]
check "weights alone cannot be checked" $?
run convert "$m" "$tmp/x.gguf" --data "$tmp/none.jsonl"
[ "$rc" -eq 66 ]
check "rows that are not there: 66 before any work" $?
q=$PWD/tests/oracle/models/qwen3-untied
run convert "$q" "$tmp/t.gguf" --target-size 60K --calibration "$q/sequences.jsonl" --save-imatrix "$tmp/im.gguf" --json
[ "$rc" -eq 0 ] && [ "$(stat -c %s "$tmp/t.gguf")" -le 61440 ] && grep -q '"measured_kl"' "$tmp/out" && run inspect --verify "$tmp/t.gguf" && [ "$rc" -eq 0 ]
check "--target-size keeps to it" $?
run convert "$q" "$tmp/i.gguf" -t q4_0 --imatrix "$tmp/im.gguf" --json
[ "$rc" -eq 0 ] && grep -q '"weighted":22' "$tmp/out" && rm -f "$tmp"/[ti].gguf "$tmp/im.gguf"
check "--imatrix reads what --save-imatrix wrote" $?
for bad in "--target-size 60K" "--target-size 1K --calibration $q/sequences.jsonl" "--target-size 60K --target-kl 1 --calibration $q/sequences.jsonl" "--target-kl 1 -t q4_0 --calibration $q/sequences.jsonl" "-t f16 --calibration $q/sequences.jsonl" "-t q4_0 --save-imatrix $tmp/im"; do
    run convert "$q" "$tmp/x.gguf" $bad
    [ "$rc" -eq 64 ] && [ ! -e "$tmp/x.gguf" ]
    check "a usage error: $bad" $?
done
run convert "$m" "$tmp/o.gguf" --modelfile -q
[ "$rc" -eq 0 ] && grep -qx 'FROM ./o.gguf' "$tmp/Modelfile" && grep -q '^TEMPLATE' "$tmp/Modelfile" && [ ! -s "$tmp/err" ]
check "--modelfile lies beside the file" $?
run convert "$m" "$tmp/l.gguf" --adapter "$m/rslora-end" --adapter-only --json
[ "$rc" -eq 0 ] && grep -aq adapter.lora.alpha "$tmp/l.gguf"
check "--adapter-only" $?
run convert "$m" "$tmp/l2.gguf" --adapter "$m/dora-end" --adapter-only
[ "$rc" -eq 65 ] && grep -q 'merge it instead' "$tmp/err" && [ ! -e "$tmp/l2.gguf" ]
check "DoRA by itself is refused, the merge offered" $?
echo "1..$n"
