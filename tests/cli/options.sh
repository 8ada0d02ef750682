#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Options that say what is compiled: whichever command they are given to, the module that it leaves in the cache is the one asked for.
# usage: options.sh HEDDLE FOLDER_OF_TINY_MODELS
heddle=$1 model=$2/tiny-dense-q8_0.gguf
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
printf '\1\0\0\0\2\0\0\0' >"$work/ids"
for _ in {1..40}; do echo "In the beginning God created the heaven and the earth."; done >"$work/text"

compile() { "$heddle" compile "$model" -o "$XDG_CACHE_HOME/heddle/m.hdl" "$@"; }
run() { "$heddle" run "$model" -p In -n 1 "$@"; }
chat() { echo Hi | "$heddle" chat "$model" --chat-template chatml -n 1 "$@"; }
verify() { "$heddle" verify "$model" --ids-file "$work/ids" --write-golden "$work/golden" "$@"; }
perplexity() { "$heddle" perplexity "$model" -f "$work/text" -c 64 "$@"; }
plan() { "$heddle" plan "$model" "$@"; }
bench() { "$heddle" bench "$model" -p 1 -n 0 -r 1 "$@"; }

"$heddle" compile "$model" -o "$work/default.hdl" 2>/dev/null
"$heddle" inspect "$work/default.hdl" >"$work/default"
# OPTION VALUE PATTERN: what `inspect` shows of every module in the cache; a command that did not heed the option would add one without it
while read -r option value pattern; do
    ! grep -qE -- "$pattern" "$work/default"
    check $? "$option $value is no default"
    rm -rf "$XDG_CACHE_HOME" && mkdir -p "$XDG_CACHE_HOME/heddle"
    for command in compile run chat verify perplexity plan bench; do
        $command "$option" "$value" >"$work/out" 2>"$work/err"
        code=$? modules=0 good=0
        for module in "$XDG_CACHE_HOME"/heddle/*.hdl; do
            modules=$((modules + 1))
            "$heddle" inspect "$module" | grep -qE -- "$pattern" && good=$((good + 1))
        done
        [ $code -eq 0 ] && [ $good -eq $modules ]
        check $? "$command $option $value: exit $code, $good of $modules modules, $(tail -1 "$work/err")"
    done
done <<'LIST'
--target cpu:x86-64-v2 ^target.*cpu:x86-64-v2$
--passes default,dce ^pipeline.*dce$
--set delta-net{chunk=32} ^pipeline.*,chunk=32
--kv-type f32 ^kv type +f32$
--layout native ^weights.* 0 bytes packed
--act f32 quantise-activations\{act=f32
--numerics bounded ^numerics +bounded
LIST

# what no module is kept of, and more words
for command in run chat verify perplexity plan bench; do
    rm -rf "$XDG_CACHE_HOME"
    $command --no-cache >"$work/out" 2>"$work/err" && [ -z "$(find "$XDG_CACHE_HOME" -name '*.hdl' 2>/dev/null)" ]
    check $? "$command --no-cache keeps nothing: $(tail -1 "$work/err")"
done
finish
