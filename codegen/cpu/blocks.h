// SPDX-License-Identifier: Apache-2.0
// Decoders of ggml's block formats in kernel IR: native bytes to integers with scales, and to float32 with the bits that ggml's own
// float32 arithmetic gives.
#ifndef HEDDLE_CODEGEN_BLOCKS_H
#define HEDDLE_CODEGEN_BLOCKS_H

#include "codegen/block_parts.h"
#include "codegen/codegen.h"

// Is there a decoder for this type?
bool cg_block_known(IrDtype dtype);
// 16 neighbouring elements of a quantised type: the numbers meant are quants * scale - min, in this order of operations.
typedef struct CgQuants {
    KirRef quants;               // i8x16, signed
    KirRef scale, min;           // f32; min 0: none
} CgQuants;
// Elements first..first+15 (a multiple of 16) of the block at `block` (ptr) of a quantised type.
CgQuants cg_block_quants(KirFn *fn, IrDtype dtype, KirRef block, uint32_t first);
// The numbers themselves: f32x16.
KirRef cg_block_decode(KirFn *fn, IrDtype dtype, KirRef block, uint32_t first);
// Of the types of plain numbers (f32, f16, bf16): the first `count` (i64) elements at `ptr`, the other lanes 0; nothing behind them is read.
KirRef cg_block_decode_part(KirFn *fn, IrDtype dtype, KirRef ptr, KirRef count);

#endif
