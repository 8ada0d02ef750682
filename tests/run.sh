#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, and runs all tests: everything in a release build, then the tests of code that reads input
# under AddressSanitizer and UndefinedBehaviorSanitizer, and those in which threads work together under ThreadSanitizer. Ends with a
# summary of each and fails when one did.
set -euo pipefail
cd "$(dirname "$0")/.."
exec < /dev/null
jobs=$(nproc)

bash .ci/setup test

# gguf-py and Jinja2, for the tests in which they judge what Heddle makes.
venv=build/venv
wanted=tests/tools/requirements.txt
if ! cmp -s "$wanted" "$venv/installed.txt"; then
    echo "== making $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/installed.txt"
fi

# The runtime is cross-built too, and tested on an emulated aarch64.
bash tests/tools/arm64_libraries.sh build/arm64

failed=0
summary=""
# run_tests PRESET TARGET [ctest options]: builds and tests one configuration.
run_tests() {
    local preset=$1 target=$2 log="build/$1/tests.log"
    shift 2
    echo "== building $preset"
    cmake --preset "$preset" -DHEDDLE_TESTS=ON -DHEDDLE_PYTHON="$PWD/$venv/bin/python3"
    cmake --build "build/$preset" --target "$target" -j "$jobs"
    echo "== testing $preset"
    ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" "$@" 2>&1 | tee "$log" || failed=1
    summary+="$preset: $(grep -E 'tests passed|\(Skipped\)$' "$log" || echo 'no test ran')"$'\n'
}
run_tests release all
run_tests asan input_tests -L input
run_tests tsan thread_tests -L threads

echo "== summary"
printf '%s' "$summary"
exit "$failed"
