#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generation from the command line: the same seed gives the same text however it is computed, stop strings, limits, what is printed.
# usage: generate.sh HEDDLE FOLDER_OF_TINY_MODELS
heddle=$1 model=$2/tiny-dense-q8_0.gguf
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
run() { "$heddle" run "$model" "$@" 2>"$work/err"; }
prompt="And God said unto the children of Israel, I will give you"

# a seed's text does not depend on threads, steps or what is displayed
base=$(run -p "$prompt" -n 48 -s 7 --ids)
for options in "-s 7" "-s 7 -t 1" "-s 7 -b 3" "-s 7 -c 100" "-s 7 --device cpu" "-s 7 --strict"; do
    # shellcheck disable=SC2086
    [ "$(run -p "$prompt" -n 48 --ids $options)" = "$base" ]
    check $? "same ids with $options"
done
[ "$(run -p "$prompt" -n 48 -s 8 --ids)" != "$base" ]
check $? "another seed, other ids"
# a random seed is printed, and gives the same text when it is given
run -p "$prompt" -n 48 --ids >"$work/random"
seed=$(sed -n 's/^sampling: .* seed \([0-9]*\)$/\1/p' "$work/err")
[ -n "$seed" ] && [ "$(run -p "$prompt" -n 48 --ids -s "$seed")" = "$(cat "$work/random")" ]
check $? "the printed seed $seed repeats the text"

# greedy: the temperature does it, and so does a single candidate
greedy=$(run -p "$prompt" -n 48 --temp 0 --ids)
for options in "--top-k 1" "--top-p 0" "--min-p 1" "--temp 0.001 -s 3"; do
    # shellcheck disable=SC2086
    [ "$(run -p "$prompt" -n 48 --ids $options)" = "$greedy" ]
    check $? "greedy with $options"
done
[ "$greedy" != "$base" ]
check $? "greedy and random text differ"
# the tokens just seen, made impossible, do not come again
run -p "$prompt" -n 48 --temp 0 --frequency-penalty 900 --repeat-last-n -1 --ids | tr -d '[]' | tr ',' '\n' | sort | uniq -d | grep -q .
[ $? -ne 0 ]
check $? "a large frequency penalty: no token twice"
run -p "$prompt" -n 48 --temp 0 --presence-penalty 900 --repeat-last-n 0 --ids >"$work/out"
[ "$(cat "$work/out")" = "$greedy" ]
check $? "penalties over no tokens change nothing"

# stop strings: the text ends before the first of them, wherever its pieces are cut
text=$(run -p "$prompt" -n 48 --temp 0 --no-display-prompt)
for stop in "${text:20:1}" "${text:12:9}" "${text:30:17}"; do
    got=$(run -p "$prompt" -n 48 --temp 0 --no-display-prompt --stop "no such text" -r "$stop"; echo .)
    [ "$got" = "${text%%"$stop"*}"$'\n'. ] && grep -q 'stopped: stop string' "$work/err"
    check $? "stops before \"$stop\": $got"
done
[ "$(run -p "$prompt" -n 48 --temp 0 --no-display-prompt --stop "${text: -6}?")" = "$text" ]
check $? "a beginning of a stop string is not lost"

# limits
run -p "$prompt" -n 1000 -c 32 --ids >"$work/out"
[ $? -eq 0 ] && grep -q 'stopped: the context is full' "$work/err"
check $? "the context's end is no error: $(cat "$work/err")"
tokens=$(sed -n 's/^prompt \([0-9]*\) tokens.*generated \([0-9]*\) tokens.*/\1+\2/p' "$work/err")
[ $((tokens)) -eq 33 ]
check $? "32 positions, and a token behind them: $tokens"
run -p "$prompt" -n 4 -c 5 >"$work/out"
[ $? -eq 1 ] && [ "$(grep -c . "$work/err")" -ge 1 ] && grep -q 'do not fit the context of 5' "$work/err"
check $? "a prompt beyond the context is refused: $(tail -1 "$work/err")"
[ "$(run -p "$prompt" -n 0)" = "$prompt" ]
check $? "-n 0 prints the prompt"

for bad in "--temp -1" "--temp x" "--temp nan" "--top-k 1.5" "--top-p 1.01" "--min-p -0.1" "--repeat-penalty 0" "--repeat-last-n -2" \
           "--presence-penalty inf" "--frequency-penalty 1e9" "-s -2" "-s 1.5"; do
    # shellcheck disable=SC2086
    run -p a $bad >"$work/out"
    [ $? -eq 2 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -q 'expected a' "$work/err" && [ ! -s "$work/out" ]
    check $? "$bad is refused: $(cat "$work/err")"
done
finish
