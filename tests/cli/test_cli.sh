#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program as its users meet it: figures of `heddle verify`, equal bits however a call is cut, equal modules, text.
# usage: test_cli.sh HEDDLE SOURCE_DIR TWO_MODELS
heddle=$1 source=$2 two_models=$3
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
models=$source/tests/data/models goldens=$source/tests/data/golden tiny=$source/models/tiny

verify() { "$heddle" verify "$@" 2>/dev/null | tail -1; }
digest() { sed 's/.*digest //'; }

# figures, as caps written by hand; for float32 models on every target below those of llama.cpp: 1.0e-12, 2.7e-12, 1.7e-12, 8.4e-12
float32_caps() {
    for target in native x86-64-v2 x86-64-v3; do
        echo "$models/h1-mha-tied.gguf h1-mha-tied 9.0e-13 --target cpu:$target"
        echo "$models/h2-gqa4.gguf h2-gqa4 2.4e-12 --target cpu:$target"
        echo "$models/h3-head256.gguf h3-head256 1.6e-12 --target cpu:$target"
        echo "$models/moe-e16-k4.gguf moe-e16-k4 6.0e-12 --target cpu:$target"
    done
}
# where the processor has them: by itself it may leave them out, because its float32 products are faster
bf16_products() { ! grep -qw avx512_bf16 /proc/cpuinfo || echo "$tiny/tiny-dense-bf16.gguf tiny-dense-bf16 1.4e-6 --target cpu:native+avx512bf16"; }
while read -r file golden cap options; do
    [ -n "$file" ] || continue
    # shellcheck disable=SC2086
    "$heddle" verify "$file" --golden "$goldens/$golden.golden.gguf" --max-nmse "$cap" $options >"$work/out" 2>&1
    check $? "$golden $options below $cap: $(tail -1 "$work/out")"
done <<LIST
$(float32_caps)
$tiny/tiny-dense-bf16.gguf tiny-dense-bf16 8e-15 --act f32
$tiny/tiny-dense-bf16.gguf tiny-dense-bf16 1.4e-6
$(bf16_products)
$tiny/tiny-dense-q8_0.gguf tiny-dense-q8_0 2.0e-5
$tiny/tiny-dense-q4_k_m.gguf tiny-dense-q4_k_m 2.1e-5
$tiny/tiny-moe-q8_0.gguf tiny-moe-q8_0 1.1e-4
$tiny/tiny-moe-q4_k_m.gguf tiny-moe-q4_k_m 1.2e-4
$models/decay-strong.gguf decay-strong 1e-10 --set delta-net{form=wy,chunk=16}
$models/decay-mixed.gguf decay-mixed 1e-10 --set delta-net{form=wy,chunk=32} --split 1,15,48,66
$models/h2-gqa4.gguf h2-gqa4 1e-10 --set delta-net{form=wy,chunk=64}
LIST

# the same bits for any split, threads and slots
for name in h1-mha-tied h2-gqa4 h3-head256 moe-e16-k4; do
    base=$(verify "$models/$name.gguf" --golden "$goldens/$name.golden.gguf" | digest)
    for options in "--split 1,3,64" "--decode" "--slots 3" "-t 1" "-t 2" "-b 7"; do
        # shellcheck disable=SC2086
        [ -n "$base" ] && [ "$base" = "$(verify "$models/$name.gguf" --golden "$goldens/$name.golden.gguf" $options | digest)" ]
        check $? "$name: same bits with $options"
    done
    wy=$(verify "$models/$name.gguf" --golden "$goldens/$name.golden.gguf" --set "delta-net{form=wy,chunk=32}" | digest)
    [ -n "$wy" ] && [ "$wy" != "$base" ]
    check $? "$name: the chunked form has bits of its own"
done

# kernels of the chunked form: in its modules, and in no others
for form in scan wy; do
    "$heddle" compile "$models/decay-mixed.gguf" --set "delta-net{form=$form}" -o "$work/$form.hdl" 2>/dev/null
    "$heddle" inspect "$work/$form.hdl" --kernels >"$work/$form"
done
[ "$(grep -cE ' 3 x delta_(prep|chunk)_' "$work/wy")" -eq 4 ] && ! grep -q delta_scan_ "$work/wy"
check $? "a module in chunks lists delta_prep and delta_chunk for three layers in two step classes"
[ "$(grep -cE ' 3 x delta_scan_' "$work/scan")" -eq 2 ] && ! grep -qE 'delta_(prep|chunk)_' "$work/scan"
check $? "a module by tokens lists delta_scan and no kernels of chunks"

# equal modules: number of jobs, folder, and a header without its data
"$heddle" compile "$models/h1-mha-tied.gguf" -o "$work/a.hdl" -j 1 2>/dev/null
mkdir "$work/other" && cp "$models/h1-mha-tied.gguf" "$work/other/"
(cd "$work/other" && "$heddle" compile h1-mha-tied.gguf -o ../b.hdl -j 2 2>/dev/null)
cmp -s "$work/a.hdl" "$work/b.hdl"
check $? "same module from another folder with other jobs"
# Without its tensors' bytes a file still has its whole header, and some padding.
data=$("$heddle" inspect "$models/h1-mha-tied.gguf" | sed -n 's/^[0-9]* tensors, \([0-9]*\) bytes.*/\1/p')
head -c $(($(stat -c %s "$models/h1-mha-tied.gguf") - data)) "$models/h1-mha-tied.gguf" >"$work/header.gguf"
"$heddle" compile "$work/header.gguf" -o "$work/c.hdl" 2>/dev/null && cmp -s "$work/a.hdl" "$work/c.hdl"
check $? "same module from the header alone"

# the cache: a damaged entry is compiled again, clear empties it
first=$(verify "$models/h1-mha-tied.gguf" --golden "$goldens/h1-mha-tied.golden.gguf" | digest)
for entry in "$XDG_CACHE_HOME"/heddle/*.hdl; do printf 'damage' | dd of="$entry" bs=1 seek=3000 conv=notrunc 2>/dev/null; done
[ -n "$first" ] && [ "$first" = "$(verify "$models/h1-mha-tied.gguf" --golden "$goldens/h1-mha-tied.golden.gguf" | digest)" ]
check $? "a damaged cache entry is compiled again"
"$heddle" cache clear >/dev/null && [ -z "$(ls "$XDG_CACHE_HOME/heddle")" ]
check $? "cache clear leaves nothing"

# two modules of equal kernel names in one process, each with its own kernels
for target in cpu:x86-64-v2 cpu:native; do
    "$heddle" compile "$models/h1-mha-tied.gguf" --target $target -o "$work/$target.hdl" 2>/dev/null
done
"$two_models" "$models/h1-mha-tied.gguf" "$work/cpu:x86-64-v2.hdl" "$work/cpu:native.hdl" >"$work/ab"
"$two_models" "$models/h1-mha-tied.gguf" "$work/cpu:native.hdl" "$work/cpu:x86-64-v2.hdl" | tac >"$work/ba"
cmp -s "$work/ab" "$work/ba" && [ "$(sort -u "$work/ab" | wc -l)" -eq 2 ]
check $? "two modules in one process keep their kernels: $(tr '\n' ' ' <"$work/ab")"

printf '\1\0\0\0\52\0\0\0\7\1\0\0\21\0\0\0' >"$work/ids"
line=$(verify "$models/h3-head256.gguf" --ids-file "$work/ids" --against interpreter)
echo "$line" | grep -qE '^NMSE [.0-9]*e-1[1-9] '
check $? "against the interpreter: $line"
# the types of the cache: what the bound states, and an interpreter that rounds as the module does
"$heddle" verify "$models/h3-head256.gguf" --golden "$goldens/h3-head256.golden.gguf" --kv-type f16 >"$work/line" 2>/dev/null
check $? "a cache in half precision meets its bound: $(cat "$work/line")"
for kv in f16 f32; do
    "$heddle" compile "$tiny/tiny-dense-q8_0.gguf" --act f32 --kv-type $kv -o "$work/$kv.hdl" 2>/dev/null
    for options in "--act f32 --kv-type $kv" "--module $work/$kv.hdl"; do
        # shellcheck disable=SC2086
        "$heddle" verify "$tiny/tiny-dense-q8_0.gguf" --ids-file "$work/ids" --against interpreter --max-nmse 1e-11 $options >"$work/line" 2>/dev/null
        check $? "against the interpreter with $options: $(cat "$work/line")"
    done
done

# chat templates: what a line makes stands on a line of its own, a bad one stops nobody
printf '%s\n' '{"messages": [{"role": "user", "content": "\u00e9"}]}' '' 'nonsense' '{"messages": [], "add_generation_prompt": true}' |
    "$heddle" template "$tiny/tiny-dense-q8_0.gguf" --chat-template chatml --jsonl >"$work/rendered"
cat >"$work/expected" <<'LINES'
{"rendered": "<|im_start|>user\n\u00e9<|im_end|>\n"}
{"error": "JSON, byte 1: expected a value"}
{"rendered": "<|im_start|>assistant\n"}
LINES
cmp -s "$work/rendered" "$work/expected"
check $? "template --jsonl: $(tr '\n' ' ' <"$work/rendered")"
official=$source/tests/data/templates/qwen3.5.jinja
"$heddle" template "$tiny/tiny-dense-q8_0.gguf" --chat-template "$official" | diff -q - <(cat "$official"; echo) >"$work/out"
check $? "template prints the template"
# text and ids
[ "$("$heddle" run "$tiny/tiny-dense-q8_0.gguf" -p "In the beginning" -n 8 --temp 0 --ids 2>/dev/null | grep -cE '^\[([0-9]+, ){7}[0-9]+\]$')" -eq 1 ]
check $? "--ids prints one JSON array"
"$heddle" run "$tiny/tiny-dense-q8_0.gguf" -p "In the beginning" -n 8 2>/dev/null | grep -q "^In the beginning"
check $? "run prints the prompt, then its continuation"

finish
