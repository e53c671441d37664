#!/usr/bin/env bash
# Text to ids, one thread: ours, and Hugging Face's tokenizers with the same vocabulary on the same texts where python has it.
#   scripts/bench_tokenizer.sh BUILD_DIR MODEL     TEXTS=FILE.jsonl (GSM8K's train.jsonl; without it our own READMEs)   PEER_PYTHON=PYTHON
set -uo pipefail
cd "$(dirname "$0")/.."
bench=$1/tests/distill/model/bench_tokenizer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
texts=${TEXTS:-$work/texts.jsonl}
python=${PEER_PYTHON:-python3}
if [ -z "${TEXTS:-}" ]; then
    cat README.md */README.md distill/*/README.md 2>/dev/null | python3 -c 'import json, sys
for line in sys.stdin:
    if line.strip(): print(json.dumps({"text": line.strip()}))' >"$texts"
    echo "texts: our READMEs (TEXTS=FILE.jsonl takes others, {\"text\"} or {\"question\", \"answer\"} a line)"
fi
"$bench" "$2" "$texts" 2 "$work/tokenizer.json" | tee "$work/ours" || exit 1
"$python" scripts/bench_tokenizer.py "$work/tokenizer.json" "$texts" 3 | tee "$work/peer"
python3 - "$work/ours" "$work/peer" <<'PY'
import json, sys
ours, peer = (json.load(open(p)) for p in sys.argv[1:3])
if not peer["peer"]:
    print("peer tokenizers: absent (%s; PEER_PYTHON=PYTHON that has it)" % peer["why"])
elif ours["tokens"] != peer["tokens"]:
    sys.exit("not the same tokens: %d and %d" % (ours["tokens"], peer["tokens"]))
else:
    print("ratio to %s: %.1f with words remembered, %.1f in the first pass" % (
        peer["peer"], ours["mb_per_second"] / peer["mb_per_second"], ours["first_mb_per_second"] / peer["first_mb_per_second"]))
PY
