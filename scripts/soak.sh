#!/usr/bin/env bash
# Slow proofs: training and a remote teacher killed at 100 random moments ends in the unbroken run's bytes; conversions killed so leave nothing half.  scripts/soak.sh BUILD_DIR   KILLS=N SEED=N
set -eu
cd "$(dirname "$0")/.."
export KD_BUILD=${1:-build/release} KILLS=${KILLS:-100}
tests/distill/cli/test_train_resume.sh
# Conversions killed at as many moments: at the target stands nothing, or the whole of it.
KD_KILLS=$KILLS tests/convert/test_kill.sh
# A remote teacher killed at as many moments (KILLS=1000 for the long proof): every answer once, everything that was asked accounted for.
make -s B="$KD_BUILD" "$KD_BUILD/tests/teacher/test_remote"
"$KD_BUILD/tests/teacher/test_remote" test_kills
