#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `heddle plan` against what a run of the same model really maps, counted from outside, and its answers to --fit.
# usage: plan.sh HEDDLE FOLDER_OF_TINY_MODELS COUNT_MMAP.so
heddle=$1 tiny=$2 counter=$3
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
field() { sed -n "s/.*\"$1\": \([0-9a-z]*\).*/\1/p"; }
plan() { "$heddle" plan "$@" -o json 2>/dev/null; }

# to the byte: all that is not a mapped file
while read -r model options; do
    "$heddle" compile "$tiny/$model.gguf" -o "$work/m.hdl" 2>/dev/null
    # shellcheck disable=SC2086
    json=$(plan "$tiny/$model.gguf" --module "$work/m.hdl" $options)
    want=$(($(echo "$json" | field total) - $(echo "$json" | field weights_mapped)))
    # shellcheck disable=SC2086
    COUNT_MMAP=$work/count LD_PRELOAD=$counter "$heddle" run "$tiny/$model.gguf" --module "$work/m.hdl" -p "In the beginning" -n 2 $options >"$work/out" 2>&1
    [ "$want" -gt 1000000 ] && [ "$(cat "$work/count")" = "$want" ]
    check $? "$model $options: plan $want, mapped $(cat "$work/count")"
done <<LIST
tiny-dense-q8_0
tiny-dense-q4_k_m -c 100 -t 1
tiny-dense-q8_0 -c 0 -b 64
tiny-moe-q8_0 -t 2 -c 777
LIST

# the state's formula: attention layers * 2 * heads * channels * 2 bytes a position; delta layers * heads * 128 * 128 * 4 and the window
json=$(plan "$tiny/tiny-dense-q8_0.gguf" -c 1000 --slots 3)
[ "$(echo "$json" | field append_per_slot)" -eq $((2 * 2 * 1 * 256 * 2 * 1000)) ]
check $? "cache of 1000 positions: $json"
[ "$(echo "$json" | field recurrent_per_slot)" -eq $((6 * (4 * 128 * 128 * 4 + 3 * 1024 * 4))) ]
check $? "recurrent state: $json"
[ "$(echo "$json" | field state)" -eq $((3 * ($(echo "$json" | field append_per_slot) + $(echo "$json" | field recurrent_per_slot)))) ]
check $? "three slots: $json"

# --fit: the context it names fits, and one more token does not
for bytes in 21M 22MiB 25000000; do
    answer=$(plan "$tiny/tiny-dense-q8_0.gguf" --fit $bytes)
    largest=$(echo "$answer" | field largest_context)
    limit=$(echo "$answer" | field fit_bytes)
    [ "$largest" -gt 0 ] && [ "$(plan "$tiny/tiny-dense-q8_0.gguf" -c "$largest" | field total)" -le "$limit" ] &&
        [ "$(plan "$tiny/tiny-dense-q8_0.gguf" -c $((largest + 1)) | field total)" -gt "$limit" ]
    check $? "--fit $bytes: $answer"
done
[ "$(plan "$tiny/tiny-dense-q8_0.gguf" --fit 8G | field fits)" = true ] && [ "$(plan "$tiny/tiny-dense-q8_0.gguf" --fit 8G | field largest_context)" -eq 4096 ]
check $? "all of it fits 8G"
[ "$(plan "$tiny/tiny-dense-q8_0.gguf" --fit 1M | field fits)" = false ] && [ "$(plan "$tiny/tiny-dense-q8_0.gguf" --fit 1M | field largest_context)" -eq 0 ]
check $? "nothing fits 1M"
"$heddle" plan "$tiny/tiny-dense-q8_0.gguf" --fit 1M 2>/dev/null | grep -q '^fits 1048576 bytes: no; largest context: none$'
check $? "the same as text"

# no weights are read: the header alone is enough, and another machine's target too
data=$("$heddle" inspect "$tiny/tiny-dense-q8_0.gguf" | sed -n 's/^[0-9]* tensors, \([0-9]*\) bytes.*/\1/p')
head -c $(($(stat -c %s "$tiny/tiny-dense-q8_0.gguf") - data)) "$tiny/tiny-dense-q8_0.gguf" >"$work/header.gguf"
[ "$(plan "$work/header.gguf" --target cpu:haswell -t 2)" = "$(plan "$tiny/tiny-dense-q8_0.gguf" --target cpu:haswell -t 2)" ] && plan "$work/header.gguf" --target cpu:haswell | grep -q '"target": "cpu:haswell"'
check $? "from the header alone"

for bad in "--fit 0" "--fit x" "--fit 8X" "--fit -1" "-o csv" "-c 5000" "--slots 0"; do
    # shellcheck disable=SC2086
    "$heddle" plan "$tiny/tiny-dense-q8_0.gguf" $bad >"$work/out" 2>"$work/err"
    code=$?
    [ $code -ge 1 ] && [ $code -le 2 ] && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" -eq 1 ]
    check $? "$bad: exit $code, $(cat "$work/err")"
done
finish
