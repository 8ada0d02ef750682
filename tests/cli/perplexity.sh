#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `heddle perplexity` within 0.1 % of llama.cpp's figures for the same files and text (context 512), and what it refuses.
# usage: perplexity.sh HEDDLE FOLDER_OF_TINY_MODELS
heddle=$1 tiny=$2 text=$2/tiny-dense/eval.txt
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
perplexity() { "$heddle" perplexity "$@" 2>"$work/err"; }

# llama-perplexity -c 512 on the CPU, as given with the models
while read -r model want; do
    line=$(perplexity "$tiny/$model.gguf" -f "$text" | tail -1)
    echo "$line" | grep -qE '^PPL [0-9]+\.[0-9]{4} \+/- [0-9]+\.[0-9]{4}  nll [0-9]+\.[0-9]{4}  tokens [0-9]+$' &&
        echo "$line" | awk -v want="$want" '{ d = ($2 - want) / want; exit !(d < 0.001 && d > -0.001) }'
    check $? "$model: $line, llama.cpp $want"
done <<LIST
tiny-dense-bf16 46.691
tiny-dense-q8_0 46.695
tiny-dense-q4_k_m 46.741
tiny-moe-q8_0 52.715
tiny-moe-q4_k_m 52.800
LIST

short=$(head -c 6000 "$text" | perplexity "$tiny/tiny-dense-q8_0.gguf" -f - -c 64 | tail -1)
echo "$short" | awk '{ exit !($2 > 20 && $2 < 200 && $NF % 64 == 0 && $NF > 128) }'
check $? "a short text from standard input: $short"
[ "$(head -c 6000 "$text" | perplexity "$tiny/tiny-dense-q8_0.gguf" -f - -c 64 -t 1 -b 5 | tail -1)" = "$short" ]
check $? "the same figure however it is computed"

head -c 6000 "$text" | perplexity "$tiny/tiny-dense-q8_0.gguf" -f - -c 64 -v >"$work/out"
chunks=$(grep -c '^chunk [0-9]* of [0-9]*: perplexity [0-9.]* +/- [0-9.]*$' "$work/err") last=$(sed -n '$s/^chunk .*: perplexity //p' "$work/err")
[ $((chunks * 64)) -eq "${short##* }" ] && [ "$chunks" -gt 2 ] && [ -n "$last" ] && [ "${short#PPL }" != "${short#PPL "$last"  }" ]
check $? "-v: an estimate after each of $chunks chunks, the last of which is the result: $last"

echo "too short" | perplexity "$tiny/tiny-dense-q8_0.gguf" -f - >"$work/out"
[ $? -eq 1 ] && [ ! -s "$work/out" ] && grep -q 'expected at least two chunks of 512' "$work/err"
check $? "a text that is too short: $(tail -1 "$work/err")"
perplexity "$tiny/tiny-dense-q8_0.gguf" >"$work/out"
[ $? -eq 2 ] && grep -q 'give -f FILE' "$work/err"
check $? "no text: $(cat "$work/err")"
perplexity "$tiny/tiny-dense-q8_0.gguf" -f "$text" -c 3 >"$work/out"
[ $? -eq 2 ] && grep -q 'at least 4 tokens' "$work/err"
check $? "a context too small: $(tail -1 "$work/err")"
finish
