#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# exports.sh SOURCE LIBHEDDLE LIBHEDDLE_COMPILER HEDDLE: the libraries export what their headers declare and nothing else; program
# and runtime need only libc.
set -euo pipefail
source=$1 runtime=$2 compiler=$3 program=$4
status=0

exported() { nm -D --defined-only "$1" | awk '{print $3}' | sort; }
# Functions that a header declares: a name of ours before an opening parenthesis; without those of comments, inline functions and macros.
declared() {
    comm -23 <(sed 's,//.*,,' "$@" | grep -oE '\b(heddle|hd|ir|pass)_[a-z0-9_]+\(' | sort -u) \
        <(sed -nE 's,^#define ([a-z_0-9]+\().*,\1,p; s,^static inline [A-Za-z0-9_ ]*[ *]([a-z_0-9]+\().*,\1,p' "$@" | sort -u) | tr -d '('
}
check() {   # NAME EXPECTED FOUND
    [ "$2" = "$3" ] && { echo "ok: $1"; return; }
    echo "$1: expected (<) and found (>) differ"
    diff <(echo "$2") <(echo "$3") || true
    status=1
}
needed() { objdump -p "$1" | awk '$1 == "NEEDED" {print $2}' | grep -vE '^(libc|libm|libpthread|libdl)\.so\.|^ld-linux' || true; }

check "exports of libheddle" "$(declared "$source"/runtime/{heddle,tokenizer,sampler,template}.h)" "$(exported "$runtime")"
check "exports of libheddle-compiler" "$(declared "$source"/cli/compiler.h "$source"/{runtime/base/core,ir/graph,ir/target,passes/pass}.h)" "$(exported "$compiler")"
check "libraries that libheddle needs beside libc" "" "$(needed "$runtime")"
check "libraries that heddle needs beside libc" "" "$(needed "$program")"
exit $status
