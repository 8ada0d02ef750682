#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The cache of compiled modules: what hits and what does not, two processes at once, interrupted and refused writes, the cap; kernels for `compile`.
# usage: cache.sh HEDDLE SOURCE_DIR FOLDER_OF_AN_NVRTC FOLDER_OF_ANOTHER
heddle=$1 source=$2 nvrtc=$3 other_nvrtc=$4
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
models=$source/tests/data/models
model=$models/h3-head256.gguf
folder=$XDG_CACHE_HOME/heddle

# generate [OPTIONS]: the ids of three tokens; what the program says is in $work/err
generate() { "$heddle" run "$model" -p In -n 3 --temp 0 --ids "$@" 2>"$work/err"; }
compiled() { grep -q '^compiling' "$work/err"; }
# The right ids, without compiling (hit) or after it (miss).
hit() { [ "$(generate)" = "$wanted" ] && ! compiled; }
miss() { [ "$(generate)" = "$wanted" ] && compiled; }
count() { find "$folder" -name "*.$1" | wc -l; }

# ---- two processes, one empty cache: both work, and one entry is left that a third uses
generate >"$work/first" &
wanted=$("$heddle" run "$model" -p In -n 3 --temp 0 --ids 2>/dev/null)
wait $!
check $? "the first of two processes at once succeeds"
[ "$(grep -cE '^\[([0-9]+, ){2}[0-9]+\]$' <<<"$wanted")" -eq 1 ] && [ "$(cat "$work/first")" = "$wanted" ]
check $? "two processes with an empty cache generate the same: $wanted"
[ "$(count hdl)" -eq 1 ] && [ "$(count tmp)" -eq 0 ] && hit
check $? "they leave one entry, which a third process uses: $(ls "$folder")"

# ---- what hits and what does not
opened() { LD_DEBUG=files "$heddle" run "$model" -p In -n 1 2>&1 >/dev/null | grep -c 'calling init:.*libLLVM'; }
[ "$(opened)" -eq 0 ]
check $? "a cached module starts without opening LLVM"
rm "$folder"/*.ref
[ "$(opened)" -gt 0 ] && [ "$(opened)" -eq 0 ]
check $? "without its shortcut LLVM is opened once"
sed -i '/libLLVM/s/^/1/' "$folder"/*.ref
[ "$(opened)" -gt 0 ] && [ "$(opened)" -eq 0 ]
check $? "a shortcut through another LLVM is not followed"
while read -r options; do
    # shellcheck disable=SC2086
    generate $options >"$work/out" && compiled && generate $options >"$work/again" && ! compiled && cmp -s "$work/out" "$work/again"
    check $? "other modules for $options: $(cat "$work/err")"
done <<'LIST'
--kv-type f16
--numerics bounded
--set delta-net{form=wy,chunk=16}
--target cpu:x86-64-v3
LIST
generate --numerics ordered --set 'delta-net{form=wy,chunk=16}' >"$work/out"
[ $? -eq 2 ] && grep -q contradicts "$work/err"
check $? "a contradiction stays one when the module is cached: $(cat "$work/err")"
changed_copy() { cp "$model" "$work/model.gguf" && printf '%s' "$1" | dd of="$work/model.gguf" bs=1 seek="$2" conv=notrunc 2>/dev/null; }
at=$(grep -obam1 'general.name' "$model" | cut -d: -f1)
changed_copy G "$at" && (model=$work/model.gguf && miss)
check $? "another header, another module: $(cat "$work/err")"

# ---- another build of the compiler, even of the same size and time
mkdir "$work/bin" && cp "$heddle" "$(dirname "$heddle")/libheddle-compiler.so" "$work/bin/"
(heddle=$work/bin/heddle && hit)
check $? "a copy of the program and its compiler uses the same entry"
objects=$(count o)
sed 's/expected a number/Expected a number/' "$work/bin/libheddle-compiler.so" >"$work/other.so"   # in place, as `cp` does
touch -r "$work/bin/libheddle-compiler.so" "$work/other.so" && cat "$work/other.so" >"$work/bin/libheddle-compiler.so"
touch -r "$work/other.so" "$work/bin/libheddle-compiler.so"
(heddle=$work/bin/heddle && miss) && [ "$(count o)" -gt "$objects" ]
check $? "another build of the compiler uses neither module nor objects: $objects objects, then $(count o)"
hit
check $? "the first build still finds its own"

# ---- another NVRTC
plan() { "$heddle" plan "$model" --target cuda:compute_80 --cuda-path "$1" >/dev/null 2>"$work/err"; }
objects=$(count o)
plan "$nvrtc" && compiled && plan "$nvrtc" && ! compiled
check $? "a module for CUDA is compiled once: $(cat "$work/err")"
cp -r "$nvrtc" "$work/nvrtc" && plan "$work/nvrtc" && ! compiled
check $? "and not again where the same NVRTC lies elsewhere: $(cat "$work/err")"
kernels=$(($(count o) - objects))
plan "$other_nvrtc" && compiled && [ "$kernels" -gt 0 ] && [ "$(count o)" -eq $((objects + 2 * kernels)) ]
check $? "another NVRTC uses neither module nor objects: $objects, $kernels more, then $(count o)"
plan "$nvrtc" && ! compiled && plan "$other_nvrtc" && ! compiled
check $? "each finds its own: $(cat "$work/err")"

# ---- an entry is never half written
"$heddle" cache clear >/dev/null
for wait in 0.2 0.5 1; do
    setsid "$heddle" run "$model" -p In -n 1 >/dev/null 2>&1 &
    sleep $wait
    kill -9 -- -$! 2>/dev/null
    wait $! 2>/dev/null
    "$heddle" cache list >"$work/out" && ! grep -q damaged "$work/out"
    check $? "killed after $wait s: $(cat "$work/out")"
done
[ "$(generate)" = "$wanted" ]
check $? "right ids after all these interruptions"

# ---- what cannot be cached is only slower
slow() { [ "$("$@" 2>"$work/err")" = "$wanted" ] && grep -q "$pattern" "$work/err"; }
command=("$heddle" run "$model" -p In -n 3 --temp 0 --ids)
pattern='neither XDG_CACHE_HOME nor HOME'
slow env -u XDG_CACHE_HOME -u HOME "${command[@]}"
check $? "no HOME: $(cat "$work/err")"
mkdir "$work/full" && ln -s /proc "$work/full/heddle"   # a folder in which no file can be made, not even by root
pattern='cannot create'
slow env XDG_CACHE_HOME="$work/full" "${command[@]}"
check $? "a cache folder that cannot be written: $(cat "$work/err")"

cp -r "$XDG_CACHE_HOME" "$work/damaged" && printf '\377\377' | dd of="$(ls "$work"/damaged/heddle/*.hdl)" bs=1 seek=5000 conv=notrunc 2>/dev/null
chmod 555 "$work/damaged/heddle"
pattern='damaged: '
XDG_CACHE_HOME=$work/damaged slow plainly "${command[@]}"
check $? "a damaged entry that cannot be removed: $(cat "$work/err")"
chmod 755 "$work/damaged/heddle"

# ---- the cap: what was used longest ago goes first, and only what is the cache's
rm "$folder"/*.hdl "$folder"/*.ref
fake() { truncate -s "$2" "$folder/$1" && touch -d "$3" "$folder/$1"; }   # NAME BYTES TIME; sparse, so it takes no room
digits() { printf '%032d' "$1"; }
fake "$(digits 1).o" 900000000 "3 days ago"
fake "$(digits 2).o" 300000000 "2 days ago"
fake "$(digits 3).o" 1200000000 "1 day ago"
fake "$(digits 4).o" 400000000 "1 hour ago"
fake "$(digits 7).hdl" 1000 "1 hour ago"
fake notes.hdl 3000000000 "9 days ago"
fake "$(digits 5).hdl.77-0.tmp" 10 "2 hours ago"
fake "$(digits 6).hdl.78-0.tmp" 10 "1 minute ago"
generate >"$work/out" && compiled
check $? "compiled beside 2.8 GB of other entries: $(cat "$work/err")"
[ ! -e "$folder/$(digits 1).o" ] && [ -e "$folder/$(digits 2).o" ] && [ -e "$folder/$(digits 3).o" ] && [ -e "$folder/$(digits 4).o" ]
check $? "above 2 GB the oldest entry goes, and no more than that: $(ls "$folder")"
[ -e "$folder/notes.hdl" ]
check $? "files that are not the cache's stay"
[ ! -e "$folder/$(digits 5).hdl.77-0.tmp" ] && [ -e "$folder/$(digits 6).hdl.78-0.tmp" ]
check $? "old temporary files go, young ones stay"
hit
check $? "the new entry stays: $(cat "$work/err")"

# ---- heddle cache
"$heddle" cache list >"$work/out"
[ "$(grep -c damaged "$work/out")" -eq 1 ] && [ "$(grep -c '  qwen35  cpu:x86-64-v.*  ordered$' "$work/out")" -eq 1 ] &&
    tail -1 "$work/out" | grep -qE "^$folder: 2 modules, [1-9][0-9]* kernel objects, 1 shortcuts, [1-9][0-9]* unfinished, 19[0-9]{8} bytes of 2000000000\$"
check $? "cache list: $(cat "$work/out")"
"$heddle" cache clear >"$work/out" && [ "$(ls "$folder")" = notes.hdl ] && grep -qE ': [0-9]+ entries removed, ' "$work/out"
check $? "cache clear removes what is the cache's, and only that: $(ls "$folder")"

# ---- heddle compile --cached
compile() { "$heddle" compile "$model" --target vulkan "${@:2}" -o "$work/$1.hdl" 2>"$work/err"; }
compile plain && [ "$(count o)" -eq 0 ]
check $? "compile keeps nothing: $(cat "$work/err")"
compile first --cached --dump "$work/stages" && [ "$(count o)" -gt 10 ] && compile second --cached --dump "$work/kept"
check $? "compile --cached keeps kernels: $(cat "$work/err")"
cmp -s "$work/plain.hdl" "$work/first.hdl" && cmp -s "$work/plain.hdl" "$work/second.hdl"
check $? "the module is the same with kernels that were kept"
[ "$(find "$work/kept" -name '*.spv' | wc -l)" -gt 10 ] && diff -r "$work/stages" "$work/kept" >/dev/null
check $? "and so are the stages"
kept=("$folder"/*.o)
cp "${kept[1]}" "${kept[0]}" && compile other --cached && ! cmp -s "$work/plain.hdl" "$work/other.hdl"
check $? "what is kept is what is taken"
finish
