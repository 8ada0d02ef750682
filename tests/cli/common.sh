# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the program's tests share: sourced after heddle=PROGRAM (or a function that runs it). They end with `finish`.
set -u
failed=0 passed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache

# check STATUS WHAT: the status comes first, since a substitution in WHAT would change $?
check() {
    if [ "$1" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $2"; fi
}
# refuses WHAT EXIT PATTERN ARGS..: exit status, and exactly one line on stderr that matches
refuses() {
    local what=$1 want=$2 pattern=$3
    shift 3
    # shellcheck disable=SC2154 # heddle is set by who sources this
    "$heddle" "$@" >"$work/out" 2>"$work/err" </dev/null
    local code=$?
    [ $code -eq "$want" ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -q -- "$pattern" "$work/err"
    check $? "$what (exit $code: $(head -1 "$work/err"))"
}
# Permissions are permissions even for root, when it gives its capabilities up.
plainly() { if [ "$(id -u)" -eq 0 ]; then setpriv --inh-caps=-all --bounding-set=-all "$@"; else "$@"; fi; }
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
