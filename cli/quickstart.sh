#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds Heddle, compiles the tiny model that ships and prints text that it generates.
#   bash cli/quickstart.sh ["how the text begins"]
set -euo pipefail
cd "$(dirname "$0")/.."
model=models/tiny/tiny-dense-q8_0.gguf

bash .ci/setup build
echo "== building" >&2
cmake --preset release -DHEDDLE_TESTS=OFF > /dev/null
cmake --build build/release --target heddle >&2
echo "== compiling $model" >&2
build/release/heddle compile "$model" -o build/tiny-dense.hdl
echo "== running build/tiny-dense.hdl" >&2
build/release/heddle run "$model" --module build/tiny-dense.hdl -n 60 -p "${1:-And it came to pass}"
