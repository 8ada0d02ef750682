#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Heddle on the GPU of this machine: correctness of all test models, then speed of random models of published sizes, beside a llama.cpp that
# is built with a GPU back end, if there is one.
#
# usage: gpu.sh vulkan|cuda:sm_N [FOLDER]     FOLDER: where models are made and results are left (default: build/gpu)
#   LLAMA_BENCH=/path/of/llama-bench   runs beside it on the same files
#   PYTHON=python3 with numpy and gguf (tests/tools/requirements.txt); NVRTC is found by CUDA_PATH or VIRTUAL_ENV
# The table that it prints, with the card's name, is for benchmarks/RESULTS.md.
set -euo pipefail
target=${1:?usage: gpu.sh vulkan|cuda:sm_N [FOLDER]}
cd "$(dirname "$0")/.."
folder=${2:-build/gpu}
heddle=build/release/heddle
python=${PYTHON:-build/venv/bin/python3}
mkdir -p "$folder"
[ -x "$heddle" ] || { cmake --preset release -DHEDDLE_TESTS=OFF && cmake --build build/release; }

echo "== devices"
"$heddle" devices
if command -v nvidia-smi > /dev/null; then nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.mem --format=csv,noheader; fi

echo "== against float64 ($target)"
for model in h1-mha-tied h2-gqa4 h3-head256 moe-e16-k4; do
    for how in "" "--split 1,3,64" "--decode"; do
        # shellcheck disable=SC2086 # options are words
        printf '%-14s %-15s %s\n' "$model" "$how" "$("$heddle" verify tests/data/models/$model.gguf --target "$target" --max-nmse 1e-9 $how \
            --golden tests/data/golden/$model.golden.gguf 2> "$folder/err" | tail -1 || tail -1 "$folder/err")"
    done
done
for model in models/tiny/tiny-*.gguf; do
    golden=tests/data/golden/$(basename "$model" .gguf).golden.gguf
    [ ! -e "$golden" ] || echo "$(basename "$model") $("$heddle" verify "$model" --target "$target" --golden "$golden" 2> "$folder/err" | tail -1 || tail -1 "$folder/err")"
done
if command -v compute-sanitizer > /dev/null && [ "${target%%:*}" = cuda ]; then
    echo "== compute-sanitizer"
    for tool in memcheck racecheck; do
        compute-sanitizer --tool $tool --error-exitcode 3 "$heddle" verify tests/data/models/h2-gqa4.gguf --target "$target" \
            --golden tests/data/golden/h2-gqa4.golden.gguf --split 1,3,64 | tail -3
    done
fi

echo "== speed ($target)"
for size in 0.8b:q8_0 0.8b:q4_k_m 4b:q4_k_m 35b-a3b:q4_k_m:4; do
    IFS=: read -r shape type layers <<< "$size"
    model=$folder/$shape-$type.gguf
    [ -e "$model" ] || "$python" benchmarks/make_model.py "$model" --size "$shape" --type "$type" ${layers:+--layers "$layers"}
    "$heddle" bench "$model" --target "$target" -p 512,2048 -n 128 -d 0,4096 -r 3
    [ -z "${LLAMA_BENCH:-}" ] || "$LLAMA_BENCH" -m "$model" -p 512,2048 -n 128 -d 0,4096 -r 3 -ngl 99
done
