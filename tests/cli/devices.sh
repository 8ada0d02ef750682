#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# heddle devices: the processor always, every Vulkan device that the loader has, or why there is none; and what it saves of them as a target
# for the compiler. (CUDA's: cuda.py.)
# usage: devices.sh HEDDLE SOURCE_DIR
heddle=$1 source=$2
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"

"$heddle" devices >"$work/out" 2>"$work/err"
[ $? -eq 0 ] && [ ! -s "$work/err" ] && grep -qE '^\* cpu      -  .+, processor, [0-9.]+ [KMGT]iB$' "$work/out"
check $? "the processor: $(cat "$work/out" "$work/err")"
count=$(grep -cE '^[* ] vulkan +[0-9]+  .+, (discrete GPU|integrated GPU|virtual GPU|software|other), [0-9.]+ [KMGT]iB' "$work/out")
[ "$count" -gt 0 ] || grep -q '^  vulkan   -  no Vulkan' "$work/out"
check $? "Vulkan devices: $count"
usable=$(grep -c '^\* vulkan ' "$work/out")
VK_ICD_FILENAMES=/nowhere VK_DRIVER_FILES=/nowhere "$heddle" devices >"$work/out"
[ $? -eq 0 ] && [ "$(grep -c '^\* cpu ' "$work/out")" -eq 1 ] && grep -q '^  vulkan   -  no Vulkan' "$work/out"
check $? "without drivers: $(cat "$work/out")"
cd "$work" || exit 1
"$heddle" targets >targets 2>/dev/null
grep -q '^\* cpu:native ' targets && [ "$(grep -c '^\* vulkan .*; this machine: ' targets)" -eq $((usable > 0)) ] && grep -q '^  @FILE.json ' targets
check $? "targets: $(cat targets)"
refuses "an operand" 2 'takes no operand' devices all
refuses "a device for nothing" 2 'device cpu: says what --save writes' devices --device cpu

model=$source/tests/data/models/h1-mha-tied.gguf golden=$source/tests/data/golden/h1-mha-tied.golden.gguf
# compiled TARGET FILE: what was said
compiled() { "$heddle" compile "$model" --target "$1" -o "$2" 2>&1; }

# the processor of this machine, as a file
"$heddle" devices --save cpu.json --device cpu 2>err >out
[ $? -eq 0 ] && [ ! -s out ] && grep -qE '^wrote cpu.json: cpu, .+; for it: heddle compile MODEL.gguf --target @cpu.json$' err
check $? "saving the processor: $(cat err)"
compiled @cpu.json a.hdl >/dev/null && compiled cpu:native b.hdl >/dev/null && cmp a.hdl b.hdl
check $? "@cpu.json is what cpu:native is here"
"$heddle" verify "$model" --target @cpu.json --golden "$golden" 2>/dev/null | grep -q 'numerics ordered' && "$heddle" plan "$model" --target @cpu.json >/dev/null 2>&1
check $? "verify and plan with @cpu.json"
sed 's/, "avx[^]]*\]/]/' cpu.json >old.json
compiled @old.json a.hdl | grep -q 'for cpu:x86-64-v2$'
check $? "a processor without AVX is an x86-64-v2"
sed 's/"features": .*/"features": []/' cpu.json >none.json
refuses "an older processor" 1 'none.json: the processor is neither x86-64-v2 nor aarch64' compile "$model" --target @none.json -o x.hdl
sed 's/"sse4.2"/"sse4.3"/' cpu.json >wrong.json
refuses "an unknown feature" 1 "wrong.json: key 'features': 'sse4.3' is no feature that this compiler knows" compile "$model" --target @wrong.json -o x.hdl

# a Vulkan device that is not here
cat >vk.json <<'END'
{"heddle_device": 2, "type": "vulkan", "name": "Some GPU", "kind": "discrete GPU", "driver": "", "memory_bytes": 8589934592,
 "features": ["shaderInt64", "shaderInt16", "shaderInt8", "storageBuffer8BitAccess", "storageBuffer16BitAccess", "scalarBlockLayout",
 "bufferDeviceAddress"], "api_version": "1.2.0", "group_lanes": 256, "groups": 65535, "shared_bytes": 32768, "push_bytes": 128,
 "allocation_bytes": 4294967296}
END
compiled @vk.json a.hdl >/dev/null && compiled vulkan b.hdl >/dev/null && cmp a.hdl b.hdl
check $? "a module for Some GPU runs on every Vulkan device that has as much"
compiled @vk.json,@cpu.json both.hdl >/dev/null && [ "$("$heddle" inspect both.hdl | grep -cE '^[* ] [12] +(vulkan:1.2|cpu:)')" -eq 2 ]
check $? "a module for both: $("$heddle" inspect both.hdl 2>&1 | head -4)"
# lacks WHAT SED PATTERN: a device that has less
lacks() {
    sed "$2" vk.json >less.json
    cmp -s vk.json less.json && check 1 "$1: the same file"
    refuses "$1" 1 "less.json: Some GPU$3" compile "$model" --target @less.json -o x.hdl
}
lacks "a missing feature" 's/"shaderInt16", //; s/"shaderInt8", //' ' lacks shaderInt16, shaderInt8, which kernels use'
lacks "an old version" 's/1\.2\.0/1.1.126/' ' has Vulkan 1.1.126, kernels need 1.2'
lacks "few push constants" 's/"push_bytes": 128/"push_bytes": 16/' ': push_bytes is 16, kernels need 32'
lacks "few groups" 's/"groups": 65535/"groups": 1024/' ': groups is 1024, kernels need 65535'
# what kernels of this model need
run_it=(plan "$model" --target @vk.json)
"$heddle" "${run_it[@]}" >/dev/null 2>&1
check $? "plan with @vk.json"
sed -i 's/"group_lanes": 256/"group_lanes": 32/' vk.json
"$heddle" "${run_it[@]}" 2>&1 >/dev/null | tail -1 | grep -qE 'kernel .+ has work groups of [0-9]+ lanes, Some GPU at most 32$'
check $? "a file that says less than it did is not taken for what the cache has: $("$heddle" "${run_it[@]}" 2>&1 | tail -1)"
sed -i 's/"group_lanes": 32/"group_lanes": 256/; s/"shared_bytes": 32768/"shared_bytes": 128/' vk.json
compiled @vk.json x.hdl | tail -1 | grep -qE 'kernel .+ needs [0-9]+ bytes of shared memory, Some GPU has 128$' && [ ! -e x.hdl ]
check $? "little shared memory: $(compiled @vk.json x.hdl | tail -1)"
sed -i 's/"shared_bytes": 128/"shared_bytes": 32768/; s/4294967296/65536/' vk.json
compiled @vk.json x.hdl | tail -1 | grep -qE 'weight .+ needs [0-9]+ bytes in one piece, Some GPU gives at most 65536$' && [ ! -e x.hdl ]
check $? "small buffers: $(compiled @vk.json x.hdl | tail -1)"
if [ "$count" -gt 0 ]; then
    "$heddle" devices --save here.json --device vulkan 2>/dev/null && compiled @here.json a.hdl >/dev/null && cmp a.hdl b.hdl
    check $? "the Vulkan device that is here"
fi

# files that are none
echo '{"heddle_device": 2' >broken.json
refuses "a broken file" 1 'broken.json: JSON, byte ' compile "$model" --target @broken.json -o x.hdl
refuses "another file" 1 'not a description of a device' compile "$model" --target "@$source/models/tiny/tiny-dense/tokenizer.json" -o x.hdl
refuses "no file" 1 '/nowhere.json: cannot open' compile "$model" --target @/nowhere.json -o x.hdl
refuses "no name" 2 "a file's name is missing: @FILE.json" compile "$model" --target cpu:native,@ -o x.hdl
refuses "a list to run" 2 'a list of targets is for' run "$model" -p a --target @cpu.json,@cpu.json
refuses "twice the same" 2 'target 2 of the list: .* would never be taken' compile "$model" --target @cpu.json,@cpu.json -o x.hdl
refuses "no such device" 2 "device 'nothing': no type, number or part of a name; devices: cpu " devices --save x.json --device nothing
refuses "no such number" 2 "device '77': no type, number" devices --save x.json --device 77
refuses "a place to write" 1 'nowhere/x.json' devices --save /nowhere/x.json
finish
