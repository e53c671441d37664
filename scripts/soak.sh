#!/usr/bin/env bash
# Slow proofs: training, a local and a remote teacher killed at 100 random moments ends in the unbroken run's bytes; conversions killed so leave nothing half.  scripts/soak.sh BUILD_DIR   KILLS=N SEED=N
set -eu
cd "$(dirname "$0")/.."
export KD_BUILD=${1:-build/release} KILLS=${KILLS:-100}
tests/distill/cli/test_train_resume.sh
# A local teacher likewise.
tests/distill/cli/test_generate_resume.sh
# Conversions killed at as many moments: at the target stands nothing, or the whole of it.
KD_KILLS=$KILLS tests/convert/test_kill.sh
# A remote teacher killed at as many moments (KILLS=1000 for the long proof): every answer once, everything that was asked accounted for.
make -s B="$KD_BUILD" "$KD_BUILD/tests/teacher/test_kills"
"$KD_BUILD/tests/teacher/test_kills" test_kills
# Every write and every allocation of a run fails in turn.
make -s B="$KD_BUILD" "$KD_BUILD/tests/teacher/test_machine"
EVERY=1 "$KD_BUILD/tests/teacher/test_machine"
# The engine under ThreadSanitizer and under valgrind.
scripts/check.sh threads
scripts/check.sh memory
# A real llama.cpp server, where there is one (PEER_PYTHON=PYTHON with xllamacpp): 1,000 questions x 4, killed ten times.
"${PEER_PYTHON:-python3}" scripts/soak_llama.py "$KD_BUILD" "$(scripts/get_model.sh)" || [ $? -eq 77 ]
# A funnel over answers of the demo's model to real questions (QUESTIONS_FILE=JSONL): labels made anew from raw bodies, export and import again.
[ -z "${QUESTIONS_FILE:-}" ] || scripts/funnel_traces.sh "$KD_BUILD" "$QUESTIONS_FILE"
