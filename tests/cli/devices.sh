#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# heddle devices: the processor always, every Vulkan device that the loader has, or why there is none.
# usage: devices.sh HEDDLE
# shellcheck disable=SC2034 # common.sh uses it
heddle=$1
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"

"$heddle" devices >"$work/out" 2>"$work/err"
[ $? -eq 0 ] && [ ! -s "$work/err" ] && grep -qE '^\* cpu      -  .+, processor, [0-9.]+ [KMGT]iB$' "$work/out"
check $? "the processor: $(cat "$work/out" "$work/err")"
count=$(grep -cE '^[* ] vulkan +[0-9]+  .+, (discrete GPU|integrated GPU|virtual GPU|software|other), [0-9.]+ [KMGT]iB' "$work/out")
[ "$count" -gt 0 ] || grep -q '^  vulkan   -  no Vulkan' "$work/out"
check $? "Vulkan devices: $count"
VK_ICD_FILENAMES=/nowhere VK_DRIVER_FILES=/nowhere "$heddle" devices >"$work/out"
[ $? -eq 0 ] && [ "$(grep -c '^\* cpu ' "$work/out")" -eq 1 ] && grep -q '^  vulkan   -  no Vulkan' "$work/out"
check $? "without drivers: $(cat "$work/out")"
refuses "an operand" 2 'takes no operand' devices all
finish
