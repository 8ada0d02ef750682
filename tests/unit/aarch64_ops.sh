#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_kir_ops for aarch64: its kernels compiled here, run and compared by the same test, built for that processor, under qemu.
# usage: aarch64_ops.sh TEST_KIR_OPS SOURCE_DIR QEMU_AARCH64
test=$1 source=$2 qemu=$3 heddle=
# shellcheck source=tests/cli/common.sh
. "$source/tests/cli/common.sh"
libraries=$source/build/arm64/usr/lib/aarch64-linux-gnu
compiler=aarch64-linux-gnu-gcc
command -v $compiler >"$work/out" && [ -d "$libraries" ] || { echo "skipped: no $compiler, or tests/tools/arm64_libraries.sh has not run"; exit 77; }

$compiler -std=c11 -O1 -ffp-contract=off -fsigned-char -D_GNU_SOURCE -DKERNELS_STORED -I"$source" -I"$source/tests/unit" -I"$libraries/../../include" \
    "$source"/{tests/unit/test_kir_ops.c,codegen/kir_*.c,ir/target.c,runtime/base/*.c} -L"$libraries" -lcmocka -lm -Wl,-rpath,"$libraries" \
    -o "$work/there" 2>"$work/out"
check $? "the test is built for aarch64: $(head -5 "$work/out")"
while read -r target cpu ran; do
    store=$work/$target
    mkdir "$store"
    KERNEL_STORE=$store "$test" "cpu:$target" >"$work/out" 2>&1
    check $? "kernels for $target: $(tail -3 "$work/out")"
    KERNEL_STORE=$store "$qemu" -L /usr/aarch64-linux-gnu -cpu "$cpu" "$work/there" "cpu:$target" >"$work/out" 2>&1
    check $? "run on $cpu: $(grep -B 5 'FAILED\|ERROR' "$work/out")"
    [ "$(grep -c '  OK ]' "$work/out")" = "$ran" ]           # bf16 products where there are such
    check $? "$target on $cpu: $ran tests ran: $(tail -4 "$work/out")"
done <<'LIST'
aarch64 cortex-a72 8
neoverse-n1 neoverse-n1 8
neoverse-v2 max 9
LIST
finish
