#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every command that writes a file, where it cannot: one clear line, exit 1 (a conversation goes on), and what was there stays.
# usage: unwritable.sh HEDDLE SOURCE_DIR
heddle=$1 model=$2/models/tiny/tiny-dense-q8_0.gguf
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
module=$work/m.hdl
"$heddle" compile "$model" -o "$module" 2>/dev/null
check $? "compile"
printf '\1\0\0\0\2\0\0\0' >"$work/ids"

compile() { "$heddle" compile "$model" -o "$1"; }
pack() { ln -sfn "$1" "$work/packed.pack.gguf" && "$heddle" compile "$model" -o "$work/packed.hdl" --pack-weights; }
verify() { "$heddle" verify "$model" --module "$module" --ids-file "$work/ids" --write-golden "$1"; }
save() { printf 'Hi\n/save %s\n/exit\n' "$1" | "$heddle" chat "$model" --module "$module" --chat-template chatml -n 1 >"$work/answer" && return 1; }

mkdir "$work/locked" "$work/folder"
for file in "$work/old" "$work/locked/old"; do echo old >"$file" && chmod 444 "$file"; done
chmod 555 "$work/locked"
limited() { (ulimit -f 4096 && "$@"); }   # KiB
export heddle model module work
export -f compile pack verify save

# cannot WRITER PATTERN TARGET SHELL..
cannot() {
    local writer=$1 pattern=$2 target=$3
    shift 3
    "$@" -c "$writer $target" >"$work/out" 2>"$work/err" </dev/null
    local code=$? said
    said=$(grep '^heddle: ' "$work/err")
    [ $code -eq 1 ] && [ "$(wc -l <<<"$said")" -eq 1 ] && grep -q -- "^heddle: .*$pattern" <<<"$said" && [ ! -s "$work/out" ]
    check $? "$writer $target: exit $code, $said"
    [ -z "$(find "$work" -name '*.tmp')" ] && [ "$(cat "$work/old" "$work/locked/old")" = old$'\n'old ] && [ ! -e "$work/locked/new" ]
    check $? "$writer $target leaves what there was: $(ls "$work")"
}
for writer in compile pack verify save; do
    name='\(old\|folder\|full\|packed.pack.gguf\)'
    cannot $writer "$name: cannot write: No space left" /dev/full bash
    cannot $writer "$name: cannot write: it is a folder" "$work/folder" bash
    cannot $writer "$name: cannot write: Permission denied" "$work/old" plainly bash
    cannot $writer "$name: cannot write: Permission denied" "$work/locked/old" plainly bash
done
for writer in compile verify save; do
    cannot $writer "nowhere/new: cannot create: No such file" "$work/nowhere/new" bash
    cannot $writer "locked/new: cannot create: Permission denied" "$work/locked/new" plainly bash
done
for _ in {1..9}; do cat "$work/ids" "$work/ids" >"$work/more" && mv "$work/more" "$work/ids"; done   # 1024 rows of logits
cannot verify "new: cannot write: File too large" "$work/new" limited bash
finish
