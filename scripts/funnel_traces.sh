#!/usr/bin/env bash
# A funnel over real traces: a small model answers questions with known answers, everything is labelled, and the study tells what falls where.
#   scripts/funnel_traces.sh BUILD_DIR QUESTIONS.jsonl      MODEL=PATH QUESTIONS=100 SAMPLES=4 TOKENS=256 THREADS=N
#   STUDY=FILE PORT=N: the study is kept there, and the same words go on with it
# The model answers through the project's own server, so that there are raw bodies. Then the two things that must hold of any study: labels made anew
# from the raw bodies are those that are stored, and what export writes comes back as the same rows. Exit status 1: one of them does not.
set -euo pipefail
cd "$(dirname "$0")/.."
distill=$1/distill rows=$(realpath "$2")
model=${MODEL:-$(scripts/get_model.sh)}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
study=${STUDY:-$work/traces.study}
threads=(--threads "${THREADS:-0}" -q)
"$distill" import "$study" "$rows" --limit "${QUESTIONS:-100}" --split train -q
port=${PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
"$distill" serve --model "$model" --port "$port" --alias traces "${threads[@]}" &
server=$!
for _ in $(seq 600); do curl -sf "http://127.0.0.1:$port/health" >"$work/health" && break; sleep 0.1; done
"$distill" generate "$study" --teacher "http://127.0.0.1:$port/v1" --teacher-model traces --samples "${SAMPLES:-4}" --limit "${QUESTIONS:-100}" --temperature 0.7 --max-tokens "${TOKENS:-256}" -q
kill "$server" && wait "$server" || true
server=
"$distill" label "$study" --checks all --agreement -m "$model" "${threads[@]}"
"$distill" stats "$study" --select "finished = 1 and math = 'right' and repeats < 0.2 and language > 0.95 and format = 1 and copied < 0.5" -q
echo "== labels made anew from the raw bodies"
"$distill" label "$study" --verify -m "$model" "${threads[@]}" | tee "$work/verify"
if grep -q ', 0 raw bodies' "$work/verify"; then echo "no raw body was read"; exit 1; fi
echo "== export, import, export"
"$distill" export "$study" "$work/a.jsonl.gz" --all -q
"$distill" import "$work/again.study" "$work/a.jsonl.gz" -q
"$distill" label "$work/again.study" --checks all --agreement -m "$model" "${threads[@]}"
"$distill" export "$work/again.study" "$work/b.jsonl.gz" --all -q
gzip -dc "$work/a.jsonl.gz" >"$work/a.jsonl"
gzip -dc "$work/b.jsonl.gz" >"$work/b.jsonl"
python3 - "$work/a.jsonl" "$work/b.jsonl" <<'PY'
import json, sys

# whole rows, labels (made anew, for import does not read them) and all; only where a row came from is another file by now
def rows(path):
    return sorted(json.dumps({k: v for k, v in json.loads(l).items() if k != "lineage"}, sort_keys=True) for l in open(path))

a, b = rows(sys.argv[1]), rows(sys.argv[2])
differ = sum(x != y for x, y in zip(a, b)) + abs(len(a) - len(b))
print("%d rows out, %d rows back, %d differ" % (len(a), len(b), differ))
if differ:
    x, y = next((x, y) for x, y in zip(a, b) if x != y)
    print(x[:1500], y[:1500], sep="\n")
sys.exit(differ > 0)
PY
