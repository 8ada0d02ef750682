#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a user gets wrong: one clear line, exit 2 for wrong usage and 1 for bad data or failure, and nothing on stdout.
# usage: refusals.sh HEDDLE SOURCE_DIR
# shellcheck disable=SC2034 # the table uses the variables
heddle=$1 source=$2
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
models=$source/tests/data/models goldens=$source/tests/data/golden
model=$models/h3-head256.gguf golden=$goldens/h3-head256.golden.gguf module=$work/m.hdl
"$heddle" compile "$model" -o "$module" 2>/dev/null
check $? "compile"

# Files of every wrong kind.
mkdir "$work/folder" && ln -s /dev/full "$work/full.pack.gguf"
: >"$work/empty" && head -c 3000 /dev/urandom >"$work/noise"
head -c 2000000 "$model" >"$work/cut.gguf"
cp "$module" "$work/bad.hdl" && printf '\377' | dd of="$work/bad.hdl" bs=1 seek=5000 conv=notrunc 2>/dev/null
yes "In the beginning" | head -c 60000 >"$work/long.txt"
printf 'a\n{%% if x %%}\n' >"$work/open.jinja"
printf 'Hello\0world' >"$work/nul.txt"
printf '\377\377\377\177' >"$work/wrong.ids" && printf '\1\0\0\0\2' >"$work/odd.ids" && printf '\1\0\0\0\2\0\0\0' >"$work/good.ids"
given="--module $module" run="run $model --module $module" verify="verify $model --module $module"

# EXIT ~ PATTERN ~ ARGUMENTS, as a shell reads them
while IFS= read -r line; do
    [ -n "${line%%#*}" ] || continue
    want=${line%% ~*} rest=${line#* ~ }
    pattern=${rest%% ~ *} arguments=${rest#* ~ }
    eval "set -- $arguments"
    timeout 60 "$heddle" "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    said=$(grep -vE '^(compiling|packing weights|sampling|wrote) ?' "$work/err")   # what is no progress
    [ "$code" -eq "$want" ] && [ "$(wc -l <<<"$said")" -eq 1 ] && grep -q -- "^heddle: .*$pattern" <<<"$said" && [ ! -s "$work/out" ]
    check $? "$arguments: exit $code, $(wc -c <"$work/out") bytes on stdout, $said"
done <<'LIST'
# no command, no operand, no such option
2 ~ no such command ~ nonsense
2 ~ no such command ~ -v
2 ~ usage: heddle compile MODEL.gguf ~ compile
2 ~ usage: heddle run MODEL.gguf ~ run -p a
2 ~ usage: heddle verify MODEL.gguf ~ verify
2 ~ usage: heddle inspect FILE ~ inspect
2 ~ usage: heddle cache list ~ cache
2 ~ usage: heddle chat MODEL.gguf ~ chat
2 ~ usage: heddle bench MODEL.gguf ~ bench -p 1
2 ~ expected list or clear ~ cache prune
2 ~ one operand is enough ~ cache list more
2 ~ one operand is enough ~ run $model more -p a
2 ~ takes no operand ~ targets cpu
2 ~ --nonsense: no such option ~ run $model --nonsense
2 ~ -z: no such option ~ run $model -p a -z
2 ~ --no-cache: no such option for `heddle cache` ~ cache list --no-cache
2 ~ takes no value ~ run $model -p a --no-cache=3
2 ~ --module: a value is missing ~ run $model -p a --module
2 ~ -p: a value is missing ~ run $model -p

# files that are none of a model
1 ~ nope: cannot open: No such file ~ run $work/nope -p a
1 ~ folder: cannot map: not a regular file ~ run $work/folder -p a
1 ~ /dev/null: cannot map: not a regular file ~ compile /dev/null -o $work/x.hdl
1 ~ empty: the file is empty ~ inspect $work/empty
1 ~ noise: not a GGUF file ~ run $work/noise -p a
1 ~ cut.gguf: .*but the file has only 2000000: it is truncated ~ run $work/cut.gguf -p a
1 ~ architecture heddle is not supported ~ run $module -p a
1 ~ architecture golden is not supported ~ compile $golden -o $work/x.hdl

# ... of a module
1 ~ nope: cannot open ~ run $model --module $work/nope -p a
1 ~ folder: cannot read: Is a directory ~ run $model --module $work/folder -p a
1 ~ empty: the file is empty ~ run $model --module $work/empty -p a
1 ~ /dev/null: the file is empty ~ run $model --module /dev/null -p a
1 ~ noise: not a GGUF file ~ run $model --module $work/noise -p a
1 ~ architecture 'qwen35', not a compiled module ~ run $model --module $model -p a
1 ~ architecture 'golden', not a compiled module ~ run $model --module $golden -p a
1 ~ bad.hdl: damaged ~ run $model --module $work/bad.hdl -p a
1 ~ m.hdl was not made for .*blk.0.attn_gate.weight: module .*, file .*heddle compile ~ run $models/h2-gqa4.gguf $given -p a
1 ~ m.hdl was not made for .*blk.0.attn_gate.weight: module .*, file .*heddle compile ~ plan $models/h2-gqa4.gguf $given
1 ~ nope: cannot open ~ plan $work/nope $given

# ... of reference results, tokens and packed weights
1 ~ nope: cannot open ~ $verify --golden $work/nope
1 ~ folder: cannot map ~ $verify --golden $work/folder
1 ~ tensor tokens is missing, so this is no golden ~ $verify --golden $module
1 ~ tensor tokens is missing, so this is no golden ~ $verify --golden $model
1 ~ belong to different models ~ $verify --golden $goldens/h2-gqa4.golden.gguf
1 ~ empty: 0 bytes, expected little-endian i32 ~ $verify --ids-file $work/empty --against cpu
1 ~ odd.ids: 5 bytes, expected little-endian i32 ~ $verify --ids-file $work/odd.ids --against cpu
1 ~ wrong.ids: token 0 is 2147483647; the vocabulary has 0 to ~ $verify --ids-file $work/wrong.ids --against interpreter
1 ~ there are no tokens ~ $verify -f $work/empty --against cpu
1 ~ not a pack file ~ $run -p a --pack $model
1 ~ cannot map ~ $run -p a --pack /dev/null

# prompts
2 ~ a prompt is missing ~ $run
2 ~ -p and -f both give a prompt ~ $run -p a -f $work/long.txt
2 ~ the prompt is empty ~ $run -p ''
2 ~ the prompt is empty ~ $run -f $work/empty
2 ~ the prompt is empty ~ $run -f -
1 ~ byte 6 of the question is NUL ~ $run --chat --chat-template chatml -f $work/nul.txt
1 ~ folder: cannot read: Is a directory ~ $run -f $work/folder
1 ~ do not fit the context of ~ $run -f $work/long.txt
1 ~ do not fit the context of 1; ~ $run -p 'In the beginning' -c 1

# numbers
2 ~ --ctx-size -1: .*-c 0 stands for ~ $run -p a -c -1
2 ~ --ctx-size abc ~ $run -p a -c abc
2 ~ --ctx-size 1.5 ~ $run -p a -c 1.5
2 ~ --ctx-size : ~ $run -p a -c ''
1 ~ context of 16777216 tokens: .*takes 1 to 8192 ~ $run -p a -c 16777216
2 ~ --ctx-size 99999999999999999999 ~ $run -p a -c 99999999999999999999
2 ~ --batch-size 0: .*at most 512 ~ $run -p a -b 0
2 ~ --batch-size 513 ~ $run -p a -b 513
2 ~ --threads 0: .*physical cores ~ $run -p a -t 0
2 ~ --threads 9999 ~ $run -p a -t 9999
2 ~ --predict -1: .*give the context size ~ $run -p a -n -1
2 ~ --temp -1 ~ $run -p a --temp -1
2 ~ --slots 65 ~ $verify --golden $golden --slots 65
2 ~ --repetitions 0 ~ bench $model $given -r 0
2 ~ -p x: expected ~ bench $model $given -p x
2 ~ -n -1: expected ~ bench $model $given -n -1
1 ~ the longest test takes 16 tokens, the context is 15 ~ bench $model $given -p 12 -n 0 --pg 12,4 -c 15
1 ~ context of 100000 tokens: .*takes 1 to ~ bench $model $given -p 1 -n 0 -c 100000
2 ~ --stop: the value is empty ~ $run -p a --stop x --stop ''
2 ~ --jobs 0 ~ compile $model -o $work/x.hdl -j 0

# words, and options that contradict each other
2 ~ unknown target "nonsense"; targets: .*cpu:znver5 ~ compile $model --target nonsense -o $work/x.hdl
2 ~ unknown feature "foo"; features of x86-64: sse4.2 ~ compile $model --target cpu:native+foo -o $work/x.hdl
2 ~ there is no pass "nonsense"; passes are .*fuse-norm ~ compile $model --passes nonsense -o $work/x.hdl
2 ~ expected PASS{option=value} ~ compile $model --set nonsense -o $work/x.hdl
2 ~ dce has no option "a" ~ compile $model --set dce{a=1} -o $work/x.hdl
2 ~ delta-net{chunk=17}: expected one of 16|32|64 ~ run $model --set 'delta-net{form=wy,chunk=17}' -p a
2 ~ the pipeline lacks pass "specialise" ~ compile $model --passes dce -o $work/x.hdl
2 ~ --kv-type f8: expected f32|f16 ~ run $model -p a --kv-type f8
2 ~ --layout z: expected native|packed|auto ~ $run -p a --layout z
2 ~ --act z: expected auto|f32 ~ compile $model -o $work/x.hdl --act z
2 ~ --numerics z: expected ordered|bounded ~ $run -p a --numerics z
2 ~ --report xml: expected md|csv|json|jsonl ~ bench $model $given -o xml
2 ~ --think maybe: expected on|off ~ chat $model $given --think maybe
1 ~ nope: cannot open ~ chat $model $given --chat-template $work/nope
2 ~ device '1': .*m.hdl is compiled for cpu:.*; the devices for that are cpu and null ~ $run -p a --device 1
1 ~ device 'cuda' is asked for: heddle compile MODEL.gguf --target cuda:compute_75 -o ~ $run -p a --device cuda
1 ~ compiled for cpu:.*, device 'vulkan' is asked for ~ $run -p a --device vulkan
1 ~ its numerics are ordered, bounded are asked for ~ $run -p a --numerics bounded
1 ~ native layout is asked for ~ $run -p a --layout native
2 ~ --target has no effect on --module ~ $run -p a --target cpu:native
2 ~ --kv-type has no effect on --module ~ $run -p a --kv-type f16
2 ~ --set has no effect on --module ~ $run -p a --set dce
2 ~ --numerics ordered contradicts the pipeline ~ compile $model -o $work/x.hdl --numerics ordered --set 'delta-net{form=wy}'
2 ~ --kernels, --plan, --ir and --variant show what is in a module ~ inspect $model --kernels

# verify
2 ~ tokens are missing ~ $verify
2 ~ tokens are missing ~ $verify --against cpu
2 ~ a reference is missing ~ $verify --ids-file $work/good.ids
2 ~ --against z: expected cpu|interpreter ~ $verify --ids-file $work/good.ids --against z
2 ~ --golden and --against both give a reference ~ $verify --golden $golden --against cpu
2 ~ --golden and -f both give tokens ~ $verify --golden $golden -f $work/long.txt
2 ~ --golden and --ids-file both give tokens ~ $verify --golden $golden --ids-file $work/good.ids
2 ~ -f and --ids-file both give tokens ~ $verify -f $work/long.txt --ids-file $work/good.ids --against cpu
2 ~ --decode is --split 1 ~ $verify --golden $golden --split 1,3 --decode
2 ~ --split 0: ~ $verify --golden $golden --split 0
2 ~ --split: expected ~ $verify --golden $golden --split ''
2 ~ --max-nmse x ~ $verify --golden $golden --max-nmse x
2 ~ --max-nmse -1 ~ $verify --golden $golden --max-nmse -1
2 ~ leave out --slots ~ $verify --golden $golden --per-layer --slots 2
2 ~ --per-layer compares .* give --golden ~ $verify --ids-file $work/good.ids --against cpu --per-layer
1 ~ context full: 0 tokens and .* do not fit 10 ~ $verify --golden $golden -c 10

# outputs that cannot be written
2 ~ give -o MODULE.hdl ~ compile $model
2 ~ give -o MODULE.hdl ~ compile $model -o ''
1 ~ folder: cannot write: it is a folder ~ compile $model -o $work/folder
1 ~ /dev/full: cannot write: No space left ~ compile $model -o /dev/full
1 ~ nope/x.hdl: cannot create: No such file ~ compile $model -o $work/nope/x.hdl
1 ~ full.pack.gguf: cannot write: No space left ~ compile $model -o $work/full.hdl --pack-weights
1 ~ empty: cannot create or write this folder ~ compile $model -o $work/x.hdl --dump $work/empty
1 ~ /dev/full: cannot write: No space left ~ $verify --ids-file $work/good.ids --write-golden /dev/full

# chat templates
1 ~ give --chat-template ~ template $model
1 ~ none.jinja ~ template $model --chat-template none.jinja
1 ~ open.jinja, line 2: expected endif ~ template $model --chat-template $work/open.jinja
LIST

# ---- standard streams that are full, closed or cut
while IFS= read -r arguments; do
    eval "set -- $arguments"
    "$heddle" "$@" >/dev/full 2>"$work/err"
    [ $? -eq 1 ] && grep -q '^heddle: standard output could not be written$' "$work/err"
    check $? "$arguments to a full disk: $(tail -1 "$work/err")"
    "$heddle" "$@" >&- 2>"$work/err"
    [ $? -eq 1 ] && grep -q '^heddle: standard output could not be written$' "$work/err"
    check $? "$arguments with stdout closed: $(tail -1 "$work/err")"
done <<'LIST'
--help
--version
run --help
targets
cache list
inspect $model --tensors
inspect $module --ir
$run -p In -n 2
$run -p In -n 2 --ids
$verify --golden $golden
LIST
"$heddle" run "$model" --module "$module" -f - -n 1 <&- >"$work/out" 2>"$work/err"
[ $? -eq 1 ] && grep -q '^heddle: standard input could not be read$' "$work/err"
check $? "-f - with stdin closed: $(tail -1 "$work/err")"
echo "In the beginning" | "$heddle" verify "$model" --module "$module" -f - --against cpu --max-nmse 0 >"$work/out" 2>"$work/err"
check $? "verify reads a text from stdin: $(tail -1 "$work/err")"
timeout 60 "$heddle" chat "$model" --module "$module" --chat-template chatml -n 1 <&- >"$work/out" 2>"$work/err"
[ $? -eq 0 ] && [ ! -s "$work/out" ]
check $? "chat with stdin closed does not read the weights for it: $(wc -c <"$work/out") bytes on stdout"
"$heddle" compile "$model" -o "$work/closed.hdl" <&- >&- 2>&-
check $? "compile with no standard stream"
cmp -s "$module" "$work/closed.hdl"
check $? "no message went into a file that got a standard stream's number"
"$heddle" run "$model" --module "$module" -p In -n 200 2>"$work/err" | head -c 1 >"$work/out"
code=${PIPESTATUS[0]}
[ "$code" -ne 0 ] && [ "$code" -le 141 ] && ! grep -q '^heddle: ' "$work/err"
check $? "a reader that leaves ends the program like any other: exit $code"

# ---- what looks wrong and is not
printf 'a\377\376\0b' >"$work/bytes.txt"
[ "$("$heddle" run "$model" --module "$module" -f "$work/bytes.txt" -n 1 2>/dev/null | head -c 5 | od -An -tx1)" = " 61 ff fe 00 62" ]
check $? "a prompt that is no UTF-8 passes as it is"
[ "$("$heddle" run "$model" --module "$module" -p In -n 0 2>/dev/null)" = In ]
check $? "-n 0 prints the prompt"
finish
