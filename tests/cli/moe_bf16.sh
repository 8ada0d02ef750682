#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The mixture of experts in bfloat16, which is too large to ship: made here from the Q8_0 file, as for its golden.
# usage: moe_bf16.sh HEDDLE SOURCE_DIR PYTHON_WITH_GGUF
heddle=$1 source=$2 python=$3
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
model=$work/tiny-moe-bf16.gguf golden=$source/tests/data/golden/tiny-moe-bf16.golden.gguf

"$python" "$source/tests/tools/to_bf16.py" "$source/models/tiny/tiny-moe-q8_0.gguf" "$model" >"$work/out" 2>&1
check $? "made: $(tail -1 "$work/out")"
sha256sum "$model" | grep -q ^46698052f1ed856c
check $? "the file that the golden was computed from: $(sha256sum "$model")"
# caps written by hand: llama.cpp reaches 5.9e-6
while read -r cap options; do
    # shellcheck disable=SC2086
    "$heddle" verify "$model" --golden "$golden" --max-nmse "$cap" $options >"$work/out" 2>&1
    check $? "$options below $cap: $(tail -1 "$work/out")"
    sed -n 's/.*digest //p' "$work/out" >>"$work/digests"
done <<'LIST'
5.9e-6
5.9e-6 --split 1,3,64 -t 1
2e-14 --act f32
LIST
[ "$(wc -l <"$work/digests")" -eq 3 ] && [ "$(sort -u "$work/digests" | wc -l)" -eq 2 ]
check $? "same bits however it is cut, others with float32 activations: $(tr '\n' ' ' <"$work/digests")"
finish
