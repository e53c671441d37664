#!/usr/bin/env python3
"""How many answers of a real model the loop guard ends, and whether each of them would have gone on in circles: the same questions, seeds and settings with the
guard and without it, answers being the same up to where it ends one.
    scripts/loop_guard.py DISTILL MODEL QUESTIONS.jsonl [--questions 50] [--samples 2] [--tokens 768] [--temperature 0.7]
An answer that the guard ended counts as rightly ended when the one without guard never ends by itself and all that follows is what went before it a period earlier.
Standard library only."""
import argparse
import json
import os
import sqlite3
import subprocess
import tempfile

a = argparse.ArgumentParser()
a.add_argument("distill"), a.add_argument("model"), a.add_argument("data")
for name, value in (("questions", 50), ("samples", 2), ("tokens", 768)):
    a.add_argument(f"--{name}", type=int, default=value)
a.add_argument("--temperature", default="0.7"), a.add_argument("--threads", default="0")
a = a.parse_args()


def answers(folder, name, *flags):
    study, lines = os.path.join(folder, name + ".study"), os.path.join(folder, "q.jsonl")
    with open(lines, "w") as f:
        for line in list(open(a.data))[: a.questions]:
            row = json.loads(line)
            f.write(json.dumps({"prompt": row.get("question") or row.get("prompt")}) + "\n")
    subprocess.run([a.distill, "import", study, lines, "-q"], check=True, capture_output=True)
    subprocess.run([a.distill, "generate", study, "--teacher", a.model, "--samples", str(a.samples), "--max-tokens", str(a.tokens), "--temperature", a.temperature,
                    "--parallel", "64", "--threads", a.threads, "-q", *flags], check=True, capture_output=True)
    rows = sqlite3.connect(study).execute("select prompt, number, finish, coalesce(thought, '') || answer, completion_tokens from samples").fetchall()
    return {r[:2]: r[2:] for r in rows}


def goes_round(rest):
    """True where rest, but for its first and last period, repeats itself with some period."""
    return any(rest[p:] == rest[:-p] for p in range(1, len(rest) // 2))


with tempfile.TemporaryDirectory() as folder:
    held, free = answers(folder, "held"), answers(folder, "free", "--no-loop-guard")
same = sum(free[k][1].startswith(v[1]) for k, v in held.items())
ended = {k: v for k, v in held.items() if v[0] == "loop"}
round_, own_end = 0, 0
for k, v in ended.items():
    finish, whole, _ = free[k]
    own_end += finish == "stop"
    round_ += finish != "stop" and goes_round(whole[max(0, len(v[1]) - 400):])
tokens = sum(v[2] for v in held.values())
print(f"{len(held)} answers of {os.path.basename(a.model)}, {tokens} tokens, at temperature {a.temperature}: {same} the same as without the guard up to their end")
print(f"the guard ended {len(ended)}; {round_} of them go round to the last token asked for; {own_end} would have ended by themselves (false positives)")
print(f"tokens saved: {sum(v[2] for v in free.values()) - tokens}")
