#!/usr/bin/env bash
# tests/distill/cli/test_serve.sh - the server as its clients see it, by Python's standard library (serve_client.py): on a tiny model everywhere, and on a
# real one where KD_MODEL names it. Prints TAP.
set -u
d=$PWD/${KD_BUILD:-build/release}/distill
case ${KD_BUILD:-} in /*) d=$KD_BUILD/distill ;; esac
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset "${!DISTILL_@}" KD_CPU
# The oracle's model with room for long answers: what it says is noise, but always the same noise.
cp -r tests/oracle/models/qwen3-untied "$tmp/tiny"
sed -i 's/"max_position_embeddings": 256/"max_position_embeddings": 8192/' "$tmp/tiny/config.json"
exec python3 tests/distill/cli/serve_client.py "$d" "$tmp" "$tmp/tiny" ${KD_MODEL:+"$KD_MODEL"}
