#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The runtime in a root that holds the program, libheddle, what ldd names for them, and nothing else: no LLVM, no compiler, no
# shell, no /proc. Modules run there; what compiles says which package is missing.
# usage: bare_root.sh HEDDLE SOURCE_DIR TWO_MODELS
heddle=$1 source=$2 two_models=$3 PATH=$PATH:/usr/sbin   # chroot
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
tiny=$source/models/tiny goldens=$source/tests/data/golden
root=$work/root
model=$tiny/tiny-dense-q8_0.gguf golden=$goldens/tiny-dense-q8_0.golden.gguf

for target in cpu:x86-64-v2 cpu:native; do "$heddle" compile "$model" --target $target -o "$work/$target.hdl" 2>/dev/null; done
want_text=$("$heddle" run "$model" --module "$work/cpu:native.hdl" -p "In the beginning" -n 6 --temp 0 2>/dev/null)
want_line=$("$heddle" verify "$model" --module "$work/cpu:native.hdl" --golden "$golden" 2>/dev/null | tail -1)
want_two=$("$two_models" "$model" "$work/cpu:x86-64-v2.hdl" "$work/cpu:native.hdl")

mkdir -p "$root/tmp"
# at the same places, which is where the loader looks
ldd "$heddle" "$two_models" | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | xargs cp -L --parents -t "$root"
cp "$heddle" "$two_models" "$model" "$work"/*.hdl "$root"
cp "$golden" "$root/golden.gguf"
inside=$(cd "$root" && find . -name '*.so*' | sed 's,.*/,,' | sort -u | tr '\n' ' ')
[ "$inside" = "ld-linux-x86-64.so.2 libc.so.6 libheddle.so.0 libm.so.6 " ]
check $? "the root holds libc and libheddle only: $inside"

# How to enter: root may; others may in a namespace of their own.
enter=()
for way in "chroot" "unshare -r chroot"; do
    # shellcheck disable=SC2086,SC2206 # two words
    if $way "$root" /heddle --version >/dev/null 2>&1; then enter=($way "$root"); break; fi
done
if [ ${#enter[@]} -gt 0 ]; then
    echo "entering by: ${enter[*]}"
    within() { env -i PATH="$PATH" HOME=/home "${enter[@]}" "$@"; }
else
    within() { (cd "$root" && env -i HOME="$root/home" LD_DEBUG=files LD_DEBUG_OUTPUT="$work/opened" ".$1" "${@:2}"); }
fi

text=$(within /heddle run tiny-dense-q8_0.gguf --module cpu:native.hdl -p "In the beginning" -n 6 --temp 0 2>"$work/err")
[ -n "$want_text" ] && [ "$text" = "$want_text" ]
check $? "run: $text: $(tail -1 "$work/err")"
line=$(within /heddle verify tiny-dense-q8_0.gguf --module cpu:native.hdl --golden golden.gguf 2>"$work/err" | tail -1)
[ -n "$want_line" ] && [ "$line" = "$want_line" ]
check $? "verify: $line: $(tail -1 "$work/err")"
two=$(within /two_models tiny-dense-q8_0.gguf cpu:x86-64-v2.hdl cpu:native.hdl 2>"$work/err")
[ -n "$want_two" ] && [ "$two" = "$want_two" ]
check $? "a program that embeds libheddle: $two: $(tail -1 "$work/err")"

within /heddle devices >"$work/out" 2>"$work/err"
[ $? -eq 0 ] && [ "$(wc -l <"$work/out")" -eq 3 ] && grep -q '^\* cpu ' "$work/out" &&
    grep -q '^  cuda     -  needs the NVIDIA driver: libcuda.so.1 not found$' "$work/out" &&
    grep -q '^  vulkan   -  no Vulkan loader: libvulkan.so.1' "$work/out"
check $? "devices without drivers: $(cat "$work/out" "$work/err")"

# what compiles: one line that names the package, exit 1
while read -r words; do
    # shellcheck disable=SC2086 # several words
    within /heddle $words >"$work/out" 2>"$work/err"
    [ $? -eq 1 ] && [ "$(wc -l <"$work/err")" -eq 1 ] && grep -q 'libheddle-compiler.so (Debian package heddle-compiler)' "$work/err"
    check $? "$words: $(cat "$work/err")"
done <<'LIST'
compile tiny-dense-q8_0.gguf -o out.hdl
run tiny-dense-q8_0.gguf -p In
run tiny-dense-q8_0.gguf -p In --no-cache
verify tiny-dense-q8_0.gguf --golden golden.gguf
targets
LIST
while read -r words; do
    # shellcheck disable=SC2086
    within /heddle $words >"$work/out" 2>"$work/err" && [ -s "$work/out" ] && [ ! -s "$work/err" ]
    check $? "$words works without a compiler: $(cat "$work/err")"
done <<'LIST'
inspect cpu:native.hdl --kernels --plan
inspect tiny-dense-q8_0.gguf
cache list
--help
run --help
LIST

if [ ${#enter[@]} -eq 0 ]; then
    # Weaker, and reported as skipped: everything is visible, but the loader's own record names what was opened.
    opened=$(cat "$work"/opened.* | sed -n 's/.*calling init: .*\///p' | grep -v '^[0-9]*$' | sort -u | tr '\n' ' ')
    [ "$opened" = "ld-linux-x86-64.so.2 libc.so.6 libheddle.so.0 libm.so.6 " ]
    check $? "opened are libc and libheddle only: $opened"
    finish || exit 1
    echo "SKIPPED in part: neither chroot nor unshare -r is permitted here"
    exit 77
fi
finish
