#!/usr/bin/env bash
# Slow proofs: training killed at 100 random moments ends in the unbroken run's bytes; conversions killed so leave nothing half.  scripts/soak.sh BUILD_DIR   KILLS=N SEED=N
set -eu
cd "$(dirname "$0")/.."
export KD_BUILD=${1:-build/release} KILLS=${KILLS:-100}
tests/distill/cli/test_train_resume.sh
# Conversions killed at as many moments: at the target stands nothing, or the whole of it.
KD_KILLS=$KILLS tests/convert/test_kill.sh
