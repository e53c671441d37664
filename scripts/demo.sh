#!/usr/bin/env bash
# The README's first command behind `make demo`: gets the model (or takes MODEL=path), then runs the whole pipe.
#   MODEL=PATH TEACHER=URL|PATH TEACHER_MODEL=NAME DEMO=dir scripts/demo.sh BUILD_DIR
set -euo pipefail
build=${1:-build/release}
model=${MODEL:-$(scripts/get_model.sh)}
args=(--model "$model")
[ -n "${TEACHER:-}" ] && args+=(--teacher "$TEACHER")
[ -n "${TEACHER_MODEL:-}" ] && args+=(--teacher-model "$TEACHER_MODEL")
exec "$build/distill" demo "${args[@]}" "${DEMO:-demo}"
