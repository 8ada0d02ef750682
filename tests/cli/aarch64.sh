#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Modules for aarch64, compiled here, and a runtime cross-built for it, on processors of qemu's: near float64 whatever the calls, and with the
# bits of x86-64-v3, since both fuse the same products and everything else is exact or written out.
# usage: aarch64.sh HEDDLE SOURCE_DIR FOLDER_TO_BUILD_IN QEMU_AARCH64
heddle=$1 source=$2 build=$3 qemu=$4
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
models=$source/tests/data/models goldens=$source/tests/data/golden tiny=$source/models/tiny libraries=$source/build/arm64/usr
compiler=aarch64-linux-gnu-gcc
command -v $compiler >"$work/out" && [ -d "$libraries" ] || { echo "skipped: no $compiler, or tests/tools/arm64_libraries.sh has not run"; exit 77; }
"$heddle" targets | grep -q '^\* cpu:x86-64-v3 ' || { echo "skipped: this machine is no x86-64-v3"; exit 77; }

cmake -G Ninja -S "$source" -B "$build" --toolchain "$source/cmake/aarch64-linux-gnu.cmake" -DHEDDLE_COMPILER=OFF -DCMAKE_PREFIX_PATH="$libraries" \
    >"$work/out" 2>&1 && cmake --build "$build" --target heddle libheddle -j 2 >"$work/out" 2>&1
check $? "the runtime is built: $(tail -5 "$work/out")"
$compiler -std=c11 -O1 -I"$source" "$source/tests/cli/float_mode.c" -L"$build" -lheddle -Wl,-rpath,"$build" -o "$work/float_mode" 2>"$work/out"
check $? "float_mode is built: $(head -5 "$work/out")"

emulate() { "$qemu" -L /usr/aarch64-linux-gnu -cpu "$@"; }   # CPU PROGRAM ARGS..
a72() { emulate cortex-a72 "$build/heddle" "$@"; }           # ARMv8.0
n1() { emulate neoverse-n1 "$build/heddle" "$@"; }           # dotprod
all() { emulate max "$build/heddle" "$@"; }                  # i8mm and bf16 too
digest() { sed -n 's/.*digest //p' "$1"; }
# compile MODEL TARGET OPTIONS..: to $work/m.hdl
compile() { "$heddle" compile "$1" --target "cpu:$2" -o "$work/m.hdl" "${@:3}" 2>"$work/err"; check $? "$* compiles: $(tail -1 "$work/err")"; }
# verify PROGRAM MODEL OPTIONS..: the line that it prints, in $work/line
verify() { "$1" verify "${@:2}" >"$work/line" 2>"$work/err"; check $? "$*: $(cat "$work/line") $(tail -1 "$work/err")"; }

# The random models against their goldens: NMSE at most 1e-9 (8e-13 to 5e-12 is what every machine reaches).
while read -r name target machine; do
    model=$models/$name.gguf golden=(--golden "$goldens/$name.golden.gguf" --max-nmse 1e-9)
    verify "$heddle" "$model" "${golden[@]}" --target cpu:x86-64-v3
    bits=$(digest "$work/line")
    compile "$model" "$target"
    for calls in "" "--split 1,3,64" --decode; do
        # shellcheck disable=SC2086
        verify "$machine" "$model" "${golden[@]}" --module "$work/m.hdl" $calls
        [ -n "$bits" ] && [ "$bits" = "$(digest "$work/line")" ]
        check $? "$name $target $calls: has the bits of x86-64-v3: $bits: $(cat "$work/line")"
    done
done <<'LIST'
h1-mha-tied aarch64 a72
h2-gqa4 aarch64+dotprod n1
h3-head256 neoverse-v2 all
moe-e16-k4 neoverse-n1 n1
LIST

# A trained model against its golden, by usdot; the cap is that of x86-64.
compile "$tiny/tiny-dense-q8_0.gguf" aarch64+i8mm
verify all "$tiny/tiny-dense-q8_0.gguf" --golden "$goldens/tiny-dense-q8_0.golden.gguf" --max-nmse 2.0e-5 --module "$work/m.hdl"

# Products of bytes are exact by all instructions, so a text has the bits of x86-64-v3. bfdot rounds in its own way: near float32 activations.
echo "And it came to pass in those days, that there went out a decree from the land of Egypt unto all." >"$work/text"
calls=(--split 1,3,40)                                       # 1, 3 and 19 tokens: every step class runs
while read -r name target machine most options; do
    model=$tiny/$name.gguf
    # shellcheck disable=SC2086
    verify "$heddle" "$model" --target cpu:x86-64-v3 $options -f "$work/text" "${calls[@]}" --write-golden "$work/golden"
    # shellcheck disable=SC2086
    compile "$model" "$target" $options
    verify "$machine" "$model" --module "$work/m.hdl" "${calls[@]}" --golden "$work/golden" --max-nmse "$most"
done <<'LIST'
tiny-dense-q8_0 aarch64 a72 0
tiny-dense-q8_0 neoverse-n1 n1 0 --set delta-net{form=wy,chunk=16}
tiny-moe-q4_k_m neoverse-n1 n1 0
tiny-dense-bf16 neoverse-v2 all 1.4e-6
LIST

# Text goes in and comes out.
generate=("$tiny/tiny-dense-q8_0.gguf" -p "In the beginning" -n 5 --temp 0)
here=$("$heddle" run "${generate[@]}" --target cpu:x86-64-v3 2>"$work/err")
compile "$tiny/tiny-dense-q8_0.gguf" neoverse-n1
there=$(n1 run "${generate[@]}" --module "$work/m.hdl" 2>"$work/err")
[ -n "$here" ] && [ "$here" = "$there" ]
check $? "the same text: $here; $there; $(tail -1 "$work/err")"

# Who runs what.
model=$models/h1-mha-tied.gguf verify=(verify "$model" --golden "$goldens/h1-mha-tied.golden.gguf" --module)
"$heddle" compile "$model" --target cpu:neoverse-v2,cpu:aarch64,cpu:x86-64-v2 -o "$work/three.hdl" 2>"$work/err"
check $? "three targets in a file: $(tail -1 "$work/err")"
for taken in "all 1" "n1 2" "a72 2" "$heddle 3"; do
    ${taken% *} inspect "$work/three.hdl" | grep -q "^\* ${taken#* } "
    check $? "${taken% *} takes variant ${taken#* }"
done
emulate max "$work/float_mode" "$model" "$work/three.hdl" >"$work/out" 2>&1
check $? "the caller's float mode: $(cat "$work/out")"
"$heddle" compile "$model" --target cpu:neoverse-v2 -o "$work/v2.hdl" 2>"$work/err"
"$heddle" compile "$model" --target cpu:x86-64-v2 -o "$work/x86.hdl" 2>>"$work/err"
check $? "modules of other machines: $(tail -1 "$work/err")"
program=$heddle
refuses "neoverse-v2 here" 1 'compiled for cpu:neoverse-v2, which needs neon, dotprod, i8mm, bf16: this machine does not have that' "${verify[@]}" "$work/v2.hdl"
heddle=n1
refuses "neoverse-v2 on an N1" 1 'cpu:neoverse-v2, which needs i8mm, bf16: this machine' "${verify[@]}" "$work/v2.hdl"
refuses "x86-64 on an N1" 1 'cpu:x86-64-v2, which needs sse4.2: this machine' "${verify[@]}" "$work/x86.hdl"
heddle=$program
refuses "a feature of another instruction set" 2 'unknown feature "avx2"; features of aarch64: neon dotprod i8mm bf16' \
    compile "$model" --target cpu:aarch64+avx2 -o "$work/x.hdl"
finish
