#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Heddle on the GPU of this machine: builds it, compares all test models with float64, runs compute-sanitizer, then measures the speed of
# random models of published sizes against the copy bandwidth of the card, beside llama.cpp if there is one. What it prints is also in
# FOLDER/CARD-TARGET.md, for benchmarks/RESULTS.md. Exit status 1: something was wrong.
#
# usage: gpu.sh vulkan|cuda|cuda:sm_N [FOLDER]    cuda: what the first card needs; FOLDER: where models and results are left (default build/gpu)
#   LLAMA_BENCH=/path/of/llama-bench   runs beside it on the same files; or
#   LLAMA_CPP=/sources/of/llama.cpp    is built for the same back end first
#   PYTHON=python3 with numpy and gguf (default: one in build/venv, made here); NVRTC is found by CUDA_PATH or beside that Python
#   MODELS="h1-mha-tied .."            of tests/data/models, and SIZES="0.8b:q8_0 35b-a3b:q4_k_m:4 .." (size:type[:layers]): other ones;
#   BENCH="-p 512 .."                  options of `heddle bench` and llama-bench
set -uo pipefail
target=${1:?usage: gpu.sh vulkan|cuda|cuda:sm_N [FOLDER]}
folder=$(realpath -m "${2:-build/gpu}")
cd "$(dirname "$0")/.." || exit 1
heddle=build/release/heddle
python=${PYTHON:-build/venv/bin/python3}
backend=${target%%:*}
read -ra bench <<< "${BENCH:--p 512,2048 -n 128 -d 0,4096 -r 3}"
failed=0
mkdir -p "$folder"

# ---- what it needs
if [ ! -x "$heddle" ]; then
    cmake --preset release -DHEDDLE_TESTS=OFF && cmake --build build/release || exit 1
fi
if [ -z "${PYTHON:-}" ] && [ ! -x "$python" ]; then
    python3 -m venv build/venv && build/venv/bin/pip install -q -r tests/tools/requirements.txt || exit 1
fi
VIRTUAL_ENV=$("$python" -c 'import sys; print(sys.prefix)') || exit 1
export VIRTUAL_ENV
"$heddle" devices --save "$folder/device.json" --device "$backend" || exit 1
card=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["name"])' "$folder/device.json")
[ "$target" != cuda ] || target=@$folder/device.json
results=$folder/$(tr -c 'A-Za-z0-9\n' - <<< "$card-${1}").md

llama=${LLAMA_BENCH:-}
if [ -z "$llama" ] && [ -n "${LLAMA_CPP:-}" ]; then
    flag=-DGGML_VULKAN=ON
    [ "$backend" != cuda ] || flag=-DGGML_CUDA=ON
    if cmake -S "$LLAMA_CPP" -B "$folder/llama-$backend" -DCMAKE_BUILD_TYPE=Release $flag > "$folder/llama.log" 2>&1 &&
        cmake --build "$folder/llama-$backend" -j "$(nproc)" --target llama-bench >> "$folder/llama.log" 2>&1; then
        llama=$folder/llama-$backend/bin/llama-bench
    else
        echo "llama.cpp does not build here ($folder/llama.log): $(tail -1 "$folder/llama.log")" >&2
    fi
fi

# ---- the work
# verified NAME MODEL GOLDEN OPTIONS..: one line
verified() {
    local name=$1 model=$2 golden=$3 line
    shift 3
    line=$("$heddle" verify "$model" --target "$target" --golden "$golden" "$@" 2> "$folder/err" | tail -1) || { failed=1; line="FAILED $line $(tail -1 "$folder/err")"; }
    printf '    %-34s %s\n' "$name" "$line"
}

verify_all() {
    local model golden how cap
    for model in ${MODELS:-h1-mha-tied h2-gqa4 h3-head256 moe-e16-k4}; do
        for how in "" "--split 1,3,64" "--decode"; do
            # shellcheck disable=SC2086 # options are words
            verified "$model $how" tests/data/models/$model.gguf tests/data/golden/$model.golden.gguf --max-nmse 1e-9 $how
        done
    done
    for model in models/tiny/tiny-*.gguf; do         # int8 on CUDA: what llama.cpp stays within on a CPU, by type (tests/cli/gpu.py)
        case "$backend:$model" in
            cuda:*tiny-moe-q8_0*) cap=1.5e-4 ;;
            cuda:*tiny-moe-q4_k_m*) cap=1.56e-4 ;;
            cuda:*q4_k_m*) cap=5.82e-5 ;;
            cuda:*q8_0*) cap=2.21e-5 ;;
            *) cap=1e-8 ;;
        esac
        golden=tests/data/golden/$(basename "$model" .gguf).golden.gguf
        [ -n "${MODELS:-}" ] || [ ! -e "$golden" ] || verified "$(basename "$model")" "$model" "$golden" --max-nmse $cap
    done
}

sanitize() {
    local tool
    for tool in memcheck racecheck; do
        compute-sanitizer --tool $tool --error-exitcode 3 "$heddle" verify tests/data/models/h2-gqa4.gguf --target "$target" \
            --golden tests/data/golden/h2-gqa4.golden.gguf --split 1,3,64 > "$folder/$tool.log" 2>&1 || failed=1
        echo "    $tool: $(grep 'ERROR SUMMARY\|RACECHECK SUMMARY' "$folder/$tool.log" | tail -1)"
    done
}

measure() {
    local size shape type layers model
    for size in ${SIZES:-0.8b:q8_0 0.8b:q4_k_m 4b:q4_k_m 35b-a3b:q4_k_m:4}; do
        IFS=: read -r shape type layers <<< "$size"
        model=$folder/$shape-$type${layers:+-$layers}.gguf
        [ -e "$model" ] || "$python" benchmarks/make_model.py "$model" --size "$shape" --type "$type" ${layers:+--layers "$layers"} >&2 || failed=1
        printf '\n### %s %s%s\n\n' "$shape" "$type" "${layers:+, $layers layers}"
        "$heddle" bench "$model" --target "$target" "${bench[@]}" 2> "$folder/err" || { failed=1; tail -1 "$folder/err"; }
        [ -z "$llama" ] || { echo && "$llama" -m "$model" "${bench[@]}" -ngl 99 2> /dev/null; } || echo "llama.cpp does not run it"
    done
}

report() {
    printf '# %s, %s\n\n%s, Heddle %s\n\n' "$card" "$1" "$(date -u +%Y-%m-%d)" "$(git describe --always --dirty 2> /dev/null || "$heddle" --version | head -1)"
    "$heddle" devices | sed 's/^/    /'
    ! command -v nvidia-smi > /dev/null || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.mem --format=csv,noheader | sed 's/^/    /'
    printf '\n## Against float64\n\n'
    verify_all
    if [ "$backend" = cuda ] && command -v compute-sanitizer > /dev/null; then
        printf '\n## compute-sanitizer\n\n'
        sanitize
    fi
    printf '\n## Speed\n'
    measure
    [ -n "$llama" ] || printf '\nllama.cpp was not at hand (LLAMA_BENCH, LLAMA_CPP).\n'
    return $failed
}
report "$1" | tee "$results"
code=${PIPESTATUS[0]}
echo "results: $results" >&2
exit "$code"
