// SPDX-License-Identifier: Apache-2.0
// Decoders of ggml's block formats in kernel IR: native bytes to float32, with the bits that ggml's own float32 arithmetic gives.
#ifndef HEDDLE_CODEGEN_BLOCKS_H
#define HEDDLE_CODEGEN_BLOCKS_H

#include "codegen/codegen.h"

// Is there a decoder for this type?
bool cg_block_known(IrDtype dtype);
// Elements first..first+15 (a multiple of 16) of the block at `block` (ptr): f32x16. Of the types with blocks of one element
// (f32, f16, bf16), `block` points to the first of a run of elements.
KirRef cg_block_decode(KirFn *fn, IrDtype dtype, KirRef block, uint32_t first);
// For those types: the first `count` (i64) elements at `ptr`, the other lanes 0; nothing behind them is read.
KirRef cg_block_decode_part(KirFn *fn, IrDtype dtype, KirRef ptr, KirRef count);

#endif
