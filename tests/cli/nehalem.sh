#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Modules for x86-64-v2 run whole on a processor that has nothing more, with the bits they have here; a module for x86-64-v3 is
# refused there, and the cache has other emulated kernels for it. The processor is qemu's.
# usage: nehalem.sh HEDDLE SOURCE_DIR QEMU_X86_64
heddle=$1 source=$2 qemu=$3
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
models=$source/tests/data/models tiny=$source/models/tiny
nehalem=("$qemu" -cpu Nehalem "$heddle")
# Calls of 1, 3 and more than 16 tokens: every step class runs.
calls=(--split "1,3,40")
echo "And it came to pass in those days, that there went out a decree from the land of Egypt unto all." >"$work/text"

digest() { sed 's/.*digest //'; }

while read -r file options; do
    module=$work/module.hdl
    # shellcheck disable=SC2086 # several options
    here=$("$heddle" verify "$tiny/$file.gguf" --target cpu:x86-64-v2 $options -f "$work/text" "${calls[@]}" --write-golden "$work/golden" 2>"$work/err")
    check $? "$file $options here: $(tail -1 "$work/err")"
    mv "$XDG_CACHE_HOME"/heddle/*.hdl "$module"
    there=$("${nehalem[@]}" verify "$tiny/$file.gguf" --module "$module" "${calls[@]}" --golden "$work/golden" --max-nmse 0 2>"$work/err")
    check $? "$file $options on Nehalem: $(tail -1 "$work/err")"
    [ "$(grep -c 'calls 3 ' <<<"$there")" -eq 1 ] && [ "$(digest <<<"$here")" = "$(digest <<<"$there")" ]
    check $? "$file $options has the same bits on Nehalem: $here; $there"
done <<'LIST'
tiny-dense-q8_0
tiny-dense-q4_k_m
tiny-dense-bf16
tiny-moe-q8_0
tiny-dense-q8_0 --set delta-net{form=wy,chunk=16}
LIST
generate=(run "$tiny/tiny-dense-q8_0.gguf" --module "$module" -p "In the beginning" -n 5 --temp 0 --ids)
here=$("$heddle" "${generate[@]}" 2>/dev/null)
there=$("${nehalem[@]}" "${generate[@]}" 2>"$work/err")
[ "$(grep -cE '^\[([0-9]+, ){4}[0-9]+\]$' <<<"$there")" -eq 1 ] && [ "$here" = "$there" ]
check $? "the same ids on Nehalem: $here, $there: $(tail -1 "$work/err")"

model=$models/h1-mha-tied.gguf
"$heddle" compile "$model" --target cpu:x86-64-v3 -o "$work/v3.hdl" 2>/dev/null
"${nehalem[@]}" run "$model" --module "$work/v3.hdl" -p In -n 1 >"$work/out" 2>"$work/err"
[ $? -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -q 'needs avx, avx2, fma, f16c, bmi2' "$work/err"
check $? "a module for x86-64-v3 is refused: $(head -1 "$work/err")"

# emulated kernels of a processor with fused multiply-add are no others' kernels
if grep -qw fma /proc/cpuinfo; then
    objects() { find "$XDG_CACHE_HOME" -name '*.o' | wc -l; }
    before=$(objects)
    "$heddle" plan "$model" --target cpu:emulated-cuda >/dev/null 2>&1
    here=$(objects)
    "${nehalem[@]}" plan "$model" --target cpu:emulated-cuda >/dev/null 2>"$work/err" && grep -q '^compiling' "$work/err" &&
        [ "$here" -gt "$before" ] && [ "$(objects)" -eq $((2 * here - before)) ]
    check $? "Nehalem takes no emulated kernels out of the cache that are compiled for this processor: $(cat "$work/err")"
fi
finish
