#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The codebooks of ggml's IQ1, IQ2 and IQ3 types as C, from the tables of the package gguf (MIT).

usage: make_codebooks.py > runtime/gguf/codebooks_data.c
       make_codebooks.py --check runtime/gguf/codebooks_data.c     exit 0 when the file is what would be written
Needs: pip install numpy gguf
"""
import sys
import numpy as np
from gguf import quants

GRIDS = {"iq2_xxs": quants.IQ2_XXS, "iq2_xs": quants.IQ2_XS, "iq2_s": quants.IQ2_S, "iq3_xxs": quants.IQ3_XXS, "iq3_s": quants.IQ3_S, "iq1": quants.IQ1_S}
PER_LINE = 15


def codes(grid):
    """One code per entry: the indices of its numbers among the grid's values, the first in the lowest bits."""
    grid.init_grid()
    values = np.array(grid.grid_map, dtype=np.float32)
    bits = 2 if len(values) == 3 else 3
    entries = grid.grid.reshape(grid.grid_shape)
    index = np.argmax(entries[..., None] == values, axis=-1)
    assert (values[index] == entries).all()
    return bits, (index << (bits * np.arange(grid.grid_shape[1]))).sum(-1)


def write(out):
    print("// SPDX-License-Identifier: Apache-2.0", file=out)
    print("// Written by tests/tools/make_codebooks.py from the tables of the package gguf; origin: NOTICE, 3.", file=out)
    print('#include "runtime/gguf/codebooks.h"', file=out)
    for name, grid in GRIDS.items():
        bits, table = codes(grid)
        print(f"\nstatic const uint16_t {name}_codes[{len(table)}] = {{", file=out)
        for i in range(0, len(table), PER_LINE):
            print("    " + " ".join(f"0x{c:04x}," for c in table[i:i + PER_LINE]), file=out)
        values = ", ".join(str(int(v)) for v in grid.grid_map)
        print("};", file=out)
        print(f"const GgmlCodebook ggml_codebook_{name} = {{{name}_codes, {len(table)}, {grid.grid_shape[1]}, {bits}, {{{values}}}}};", file=out)


if sys.argv[1:2] == ["--check"]:
    import io
    text = io.StringIO()
    write(text)
    sys.exit(0 if open(sys.argv[2]).read() == text.getvalue() else f"{sys.argv[2]} is not what make_codebooks.py writes")
write(sys.stdout)
