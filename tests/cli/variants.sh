#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A module compiled for several targets: each machine takes the first variant that it runs. The other machine is an emulated one.
# usage: variants.sh HEDDLE SOURCE_DIR QEMU_X86_64
heddle=$1 source=$2 program=$1 qemu=$3
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
model=$source/tests/data/models/h1-mha-tied.gguf golden=$source/tests/data/golden/h1-mha-tied.golden.gguf

nehalem() { "$qemu" -cpu Nehalem "$program" "$@"; }
# digest PROGRAM MODULE: of the logits, as the program computes them with the module
digest() { "$1" verify "$model" --module "$2" --golden "$golden" --split 8 2>/dev/null | sed -n 's/.*digest //p'; }
# taken PROGRAM MODULE: the number of the variant that the program's machine takes
taken() { "$1" inspect "$2" | sed -n 's/^\* \([0-9]*\) .*/\1/p'; }

for targets in v4 v3 v2 v4,v2 v4,v3; do
    "$heddle" compile "$model" --target "cpu:x86-64-${targets/,/,cpu:x86-64-}" -o "$work/$targets.hdl" 2>/dev/null
    check $? "compile for $targets"
done
"$heddle" compile "$model" --target cpu:x86-64-v4,cpu:x86-64-v2 -j 1 --dump "$work/dump" -o "$work/again.hdl" 2>/dev/null
cmp -s "$work/v4,v2.hdl" "$work/again.hdl"
check $? "same targets, same bytes"
cmp -s <(cd "$work/dump/variant.1" && echo *.hir) <(cd "$work/dump/variant.2" && echo *.hir) &&
    grep -lq zmm "$work"/dump/variant.1/*.s && ! grep -lq zmm "$work"/dump/variant.2/*.s
check $? "--dump has a folder for each"

# which of v4 and v2 this machine takes follows from what the compiler says that it runs
native=2
"$heddle" targets | grep -q '^\* cpu:x86-64-v4 ' && native=1
[ "$(taken "$heddle" "$work/v4,v2.hdl")" = $native ]
check $? "this machine takes variant $native"
[ "$(taken nehalem "$work/v4,v2.hdl")" = 2 ]
check $? "Nehalem takes variant 2"

# the variant taken computes what a module for its target alone does
[ $native = 1 ] && alone=v4 || alone=v2
want=$(digest "$heddle" "$work/$alone.hdl")
[ -n "$want" ] && [ "$want" = "$(digest "$heddle" "$work/v4,v2.hdl")" ]
check $? "here the bits of $alone: $want"
want=$(digest "$heddle" "$work/v2.hdl")
[ -n "$want" ] && [ "$want" = "$(digest nehalem "$work/v4,v2.hdl")" ]
check $? "on Nehalem the bits of v2: $want"
for number in 1 2; do
    [ $number = 1 ] && alone=v4 || alone=v2
    for part in --kernels --plan --ir; do
        "$heddle" inspect "$work/v4,v2.hdl" --variant $number $part | grep -v '^module\|^variants\|^[* ] [12] ' >"$work/of-two"
        "$heddle" inspect "$work/$alone.hdl" $part | grep -v ^module | cmp -s - "$work/of-two" && [ -s "$work/of-two" ]
        check $? "inspect $part --variant $number shows what a module for $alone holds"
    done
done

# a machine that runs none of them: refused, but it can look
heddle=nehalem
refuses "no variant for Nehalem" 1 'none of its 2 variants: cpu:x86-64-v4 needs avx, .*; cpu:x86-64-v3 needs avx, avx2, .*--target cpu:native' \
    verify "$model" --module "$work/v4,v3.hdl" --golden "$golden"
heddle=$program
[ "$(taken nehalem "$work/v4,v3.hdl")" = 1 ] && nehalem inspect "$work/v4,v3.hdl" --kernels | grep -q 'launches in'
check $? "inspect shows the first where none runs"

# refusals
refuses "twice the same" 2 'target 2 of the list: cpu:haswell would never be taken: cpu:haswell stands before' \
    compile "$model" --target cpu:haswell,cpu:haswell -o "$work/x.hdl"
refuses "the lesser first" 2 'target 3 of the list: cpu:x86-64-v3 would never be taken: cpu:x86-64-v2 stands before' \
    compile "$model" --target cpu:x86-64-v4,cpu:x86-64-v2,cpu:x86-64-v3 -o "$work/x.hdl"
refuses "wrong name in a list" 2 'target 2 of the list: unknown target "cpu:nonsense"' \
    compile "$model" --target cpu:x86-64-v4,cpu:nonsense -o "$work/x.hdl"
refuses "empty name in a list" 2 'target 2 of the list: unknown target ""' compile "$model" --target cpu:x86-64-v4, -o "$work/x.hdl"
for command in "run $model -p a" "verify $model --golden $golden"; do
    # shellcheck disable=SC2086
    refuses "${command%% *} with a list" 2 'a list of targets is for .heddle compile.; name one' $command --target cpu:x86-64-v4,cpu:x86-64-v2
done
refuses "no such variant" 2 'variant 3 is asked for; it has 2' inspect "$work/v4,v2.hdl" --variant 3
refuses "a module of one variant has no second" 2 'variant 2 is asked for; it has 1' inspect "$work/v2.hdl" --variant 2
refuses "weights have no variants" 2 'GGUF file of weights' inspect "$model" --variant 1
refuses "another model" 1 'make it again: heddle compile .* --target cpu:x86-64-v4,cpu:x86-64-v2 -o' \
    verify "$source/tests/data/models/h2-gqa4.gguf" --module "$work/v4,v2.hdl" --golden "$source/tests/data/golden/h2-gqa4.golden.gguf"
finish
