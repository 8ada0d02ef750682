// SPDX-License-Identifier: Apache-2.0
// Layout `split`: rows one after another, each beginning at a multiple of 16 bytes. A row holds its blocks without their scale of two bytes
// (MXFP4: one), which makes the size of a block no multiple of 4; behind them the scales, in the order of the blocks; then zeroes. What is
// left of a block has its arrays at multiples of 4 bytes, so that a lane reads words where native blocks have it read halves or bytes.
#ifndef HEDDLE_CODEGEN_SIMT_SPLIT_H
#define HEDDLE_CODEGEN_SIMT_SPLIT_H

#include "ir/ir.h"

// at, bytes: where the scale stands in a native block; body: bytes of what is left of it
typedef struct SimtSplit { uint32_t at, bytes, body; } SimtSplit;

// Types that have the layout: ir_dtype_splits.
SimtSplit simt_split(IrDtype dtype);
int64_t simt_split_row_bytes(IrDtype dtype, int64_t columns);

#endif
