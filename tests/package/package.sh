#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# package.sh SOURCE BUILD: installs the build and makes its .deb files; programs of others build against what is installed; each
# package holds its part; the runtime runs a module in a folder that has no compiler.
set -euo pipefail
source=$1 build=$2
work=$(mktemp -d "$build/package-XXXXXX")
trap 'rm -rf "$work"' EXIT
model=$source/models/tiny/tiny-dense-q8_0.gguf
fail() { echo "package.sh: $*" >&2; exit 1; }

echo "== packages"
(cd "$work" && cpack --config "$build/CPackConfig.cmake" -G DEB -B "$work/cpack" > cpack.log 2>&1) \
    || { cat "$work/cpack.log"; fail "cpack failed"; }
debs=("$work"/cpack/*.deb)
[ "${#debs[@]}" = 3 ] || fail "expected three packages, found ${debs[*]}"
for deb in "${debs[@]}"; do
    name=$(dpkg-deb -f "$deb" Package)
    dpkg-deb -x "$deb" "$work/$name"
    dpkg-deb -x "$deb" "$work/all"
    printf '%s: %s\n' "$name" "$(dpkg-deb -f "$deb" Depends)"
    (cd "$work/$name" && find . ! -type d | sort)
done

# What each holds: a file of one package is in no other.
holds() {   # PACKAGE PATTERN
    local name
    for name in heddle heddle-compiler heddle-dev; do
        local found
        found=$(find "$work/$name" ! -type d -path "*/usr/$2" | wc -l)
        if [ "$name" = "$1" ]; then
            [ "$found" -gt 0 ] || fail "$1 lacks $2"
        else
            [ "$found" = 0 ] || fail "$name holds $2, which belongs to $1"
        fi
    done
}
holds heddle 'bin/heddle'
holds heddle 'lib/*/libheddle.so.*'
holds heddle-compiler 'lib/*/libheddle-compiler.so'
holds heddle-dev 'lib/*/libheddle.so'
holds heddle-dev 'include/heddle/*.h'
holds heddle-dev 'lib/*/pkgconfig/heddle.pc'
holds heddle-dev 'lib/*/pkgconfig/heddle-pass.pc'
holds heddle-dev 'include/heddle/passes/pass.h'
dpkg-deb -f "$work"/cpack/heddle_*.deb Depends | grep -qiE 'llvm|mlir|stdc' \
    && fail "the runtime depends on the compiler's libraries"
dpkg-deb -f "$work"/cpack/heddle-compiler_*.deb Depends | grep -q 'libmlir-22' \
    || fail "heddle-compiler does not depend on libmlir-22"

echo "== the runtime without a compiler"
"$work/all/usr/bin/heddle" compile "$model" -o "$work/m.hdl"
runtime=$work/heddle/usr/bin/heddle
text=$("$runtime" run "$model" --module "$work/m.hdl" -p "And it came to pass" --temp 0 -n 8)
[ "$text" = "$("$build/heddle" run "$model" --module "$work/m.hdl" -p "And it came to pass" --temp 0 -n 8)" ] \
    || fail "the installed program printed: $text"
"$runtime" compile "$model" -o "$work/n.hdl" 2> "$work/message" && fail "compiled without the compiler package"
grep -q heddle-compiler "$work/message" || fail "the message does not name the missing package: $(cat "$work/message")"

echo "== programs of others"
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" > /dev/null
pc=$(find "$prefix" -name heddle.pc)
lib=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH=${pc%/*}
# shellcheck disable=SC2046 # pkg-config prints several words
cc -std=c11 -Wall -Wextra -Werror "$source/tests/package/consumer.c" -o "$work/consumer" $(pkg-config --cflags --libs heddle)
LD_LIBRARY_PATH=$lib "$work/consumer" "$model" "In the beginning" > "$work/tokens.pc"
# The example of the documentation: greedy text, the same as the program's.
"$build/heddle" compile "$model" -o "$work/example.hdl" 2> /dev/null
# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Werror "$source/docs/example.c" -o "$work/example" $(pkg-config --cflags --libs heddle)
LD_LIBRARY_PATH=$lib "$work/example" "$model" "$work/example.hdl" "In the beginning" 12 > "$work/example.txt"
"$build/heddle" run "$model" --module "$work/example.hdl" -p "In the beginning" -n 12 --temp 0 --no-display-prompt 2> /dev/null | diff - "$work/example.txt"
[ "$(wc -w < "$work/example.txt")" -gt 4 ] || fail "the example printed: $(cat "$work/example.txt")"
cmake -S "$source/tests/package" -B "$work/consumer-build" -DCMAKE_PREFIX_PATH="$prefix" > /dev/null
cmake --build "$work/consumer-build" > /dev/null
"$work/consumer-build/consumer" "$model" "In the beginning" | diff "$work/tokens.pc" -
[ "$(awk '{bytes += $2} END {print bytes}' "$work/tokens.pc")" = 16 ] || fail "tokens: $(cat "$work/tokens.pc")"
# shellcheck disable=SC2046
c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -x c++ -include heddle/tokenizer.h -include heddle/template.h /dev/null $(pkg-config --cflags heddle)
echo "ok"
