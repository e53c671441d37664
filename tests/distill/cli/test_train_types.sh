#!/usr/bin/env bash
# tests/distill/cli/test_train_types.sh - a base in every stored type: LoRA on it ends in the bytes of LoRA on the same weights written out in f32 (types are expanded inside
# the products, whole copies are never made), or, where blocks of 256 cut the products elsewhere and sums have another order, within 5e-6 of its norm; what is merged is merged
# onto what was learned on. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
unset "${!DISTILL_@}"
n=0 failed=0
result() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
        echo "not ok $n - $2"
        failed=1
        tail -5 err 2>/dev/null | sed 's/^/# /'
    fi
}
python3 "$root/scripts/make_shape.py" tiny:2 base || exit 1
python3 - <<'END'
import json, random
r = random.Random(9)
with open("rows.jsonl", "w") as f:
    for _ in range(4):
        n = r.randrange(40, 60)
        f.write(json.dumps({"tokens": [r.randrange(300, 2700) for _ in range(n)], "loss": [int(i > 5) for i in range(n)]}) + "\n")
END
train() { # MODEL RUN
    "$d" train rows.jsonl --model "$1" -o "$2" --method lora --lora-rank 4 --batch-size 2 --max-steps 2 --optimizer sgd --learning-rate 0.5 --clip-norm 0 --no-shuffle --seed 4 --threads 2 -q >/dev/null 2>err
}
# The second adapter's distance from the first, relative to its norm, at most $3.
close_to() { # A B MOST
    python3 - "$@" <<'END'
import array, json, struct, sys
def read(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    return {k: array.array("f", data[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in head.items() if k != "__metadata__"}
a, b = read(sys.argv[1]), read(sys.argv[2])
assert a.keys() == b.keys() and a
off = sum((x - y) ** 2 for k in a for x, y in zip(a[k], b[k])) ** 0.5
norm = sum(x * x for k in a for x in a[k]) ** 0.5
print("# off by %.1e of the norm" % (off / norm))
sys.exit(not off <= float(sys.argv[3]) * norm)
END
}
losses() { grep -oE '"loss": ?[0-9.eE+-]+' "$1/metrics.jsonl"; }
for t in f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4; do
    rm -rf plain run-a run-b
    most=0
    case $t in *_k | iq4_xs) most=5e-6 ;; esac
    "$d" convert base "$t.gguf" -t $t --no-check -q >/dev/null 2>err && "$d" convert "$t.gguf" plain -t f32 -q >/dev/null 2>err &&
        train "$t.gguf" run-a && train plain run-b && [ "$(losses run-a | wc -l)" = 2 ] &&
        close_to run-a/adapter/adapter_model.safetensors run-b/adapter/adapter_model.safetensors $most 2>err
    result $? "LoRA on $t in GGUF: as on its values in f32"
done
for t in f16 bf16; do
    rm -rf folder plain run-a run-b
    "$d" convert base folder -t $t -q >/dev/null 2>err && "$d" convert folder plain -t f32 -q >/dev/null 2>err && train folder run-a && train plain run-b &&
        cmp run-a/adapter/adapter_model.safetensors run-b/adapter/adapter_model.safetensors >err 2>&1
    result $? "LoRA on $t in safetensors likewise"
done
# On a quantized base: merged onto the values that it stands for, not onto its blocks quantized anew unless a type is asked for; or the adapter by itself.
rm -rf run-a plain
train q4_k.gguf run-a && "$d" convert q4_k.gguf plain -t f32 -q >/dev/null 2>err && "$d" convert run-a merged.gguf -t f32 -q >/dev/null 2>err &&
    "$d" convert plain merged-2.gguf -t f32 --adapter run-a -q >/dev/null 2>err && "$d" score --json --model merged.gguf rows.jsonl >a.jsonl 2>err &&
    "$d" score --json --model merged-2.gguf rows.jsonl >b.jsonl 2>err && [ -s a.jsonl ] && cmp a.jsonl b.jsonl
result $? "merged: the dequantized base with the adapter on it"
"$d" convert run-a adapter.gguf --adapter-only -q >/dev/null 2>err || "$d" help convert | grep -i adapter >err
result $? "the adapter by itself, for llama.cpp"
echo "1..$n"
exit $failed
