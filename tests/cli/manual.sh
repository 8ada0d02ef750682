#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Help, manual page and completion say the same; every option of --help stands in some test of the program (by its name alone: what it does is those tests' matter).
# usage: manual.sh HEDDLE FOLDER_OF_THESE_TESTS
heddle=$1 tests=$2
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
commands=$("$heddle" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 10 ]
check $? "commands: $commands"

"$heddle" --man >"$work/heddle.1"
"$heddle" --completion >"$work/completion"
sed 's/\\-/-/g; s/\\f[IR]//g; s/\\e/\\/g; s/^\\&//' "$work/heddle.1" >"$work/plain"
if command -v groff >/dev/null; then
    [ -z "$(groff -man -ww -Tascii "$work/heddle.1" 2>&1 >/dev/null)" ]
    check $? "groff reads the manual page without a warning"
fi
bash -n "$work/completion"
check $? "the completion is a bash script"
# words COMMAND CURRENT PREVIOUS: what the completion offers
words() {
    bash -c 'source "$1"; COMP_WORDS=(heddle "$2" "$4" "$3"); COMP_CWORD=3; _heddle; printf "%s\n" "${COMPREPLY[@]}"' _ "$work/completion" "$1" "$2" "${3:-x}"
}
for command in $commands; do
    "$heddle" "$command" --help >"$work/help"
    check $? "heddle $command --help"
    grep -q "^.SS heddle $command " "$work/heddle.1"
    check $? "$command is in the manual page"
    for option in $(sed -nE 's/^  (-., |    )(--[a-z0-9-]+).*/\2/p' "$work/help"); do
        grep -q -e "$option" "$work/plain"
        check $? "$command $option is in the manual page"
        words "$command" "$option" | grep -qx -e "$option"
        check $? "$command $option is completed: $(words "$command" "$option")"
        # by its long name, or the letter that help shows beside it
        letter=$(sed -n "s/^  \(-[a-zA-Z]\), $option .*/\1/p" "$work/help")
        grep -rqE -e "$option\b|[ \"']${letter:-$option}[ \"']" "$tests" --include=*.sh --include=*.py
        check $? "$command $option is in a test"
    done
done
[ "$(words run f --kv-type | sort | tr '\n' ' ')" = "f16 f32 " ]
check $? "values are completed: $(words run f --kv-type)"
[ "$(words run c --chat-template)" = chatml ] && [ "$(words run '' --chat-template)" = chatml ]
check $? "what stands for something else is not: $(words run '' --chat-template)"
"$heddle" >"$work/out" 2>"$work/err"
[ $? -eq 2 ] && [ ! -s "$work/out" ] && "$heddle" --help | cmp -s - "$work/err"
check $? "without a command: the help, as an error"
for page in man completion; do
    "$heddle" --help | grep -q -e "\`heddle --$page\`"
    check $? "--help tells of --$page"
done
"$heddle" --version | grep -qE '^heddle [0-9]+\.[0-9]+\.[0-9]+$' && "$heddle" --version | grep -qiE 'LLVM 22\..*back ends: cpu'
check $? "--version: $("$heddle" --version)"
finish
