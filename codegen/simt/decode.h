// SPDX-License-Identifier: Apache-2.0
// Decoders of ggml's block formats for SIMT kernels, where a lane decodes 16 elements of its own: scalars only, no branches, and
// each load as wide as its address is aligned in every block.
#ifndef HEDDLE_CODEGEN_SIMT_DECODE_H
#define HEDDLE_CODEGEN_SIMT_DECODE_H

#include "codegen/kir.h"
#include "ir/ir.h"

// Is there a decoder for this type?
bool simt_can_decode(IrDtype dtype);
// Elements 16 * sixteen .. 16 * sixteen + 15 of the block at `block` (ptr) as f32 scalars, with the bits that ggml's dequantisation
// gives. `sixteen`: i64, 0 .. block / 16 - 1. Of the types of plain numbers (f32, f16, bf16) `block` is the address of a row's
// element 0 and `sixteen` counts on. The address is a multiple of 4, 2 or 1 as the block's size is. A target may not flush subnormal
// numbers: the scales of MXFP4's two smallest exponents are such.
void simt_decode16(KirFn *fn, IrDtype dtype, KirRef block, KirRef sixteen, KirRef out_values[16]);
// The same of a block in layout `split`: what is left of it, and its scale (ptr both).
void simt_decode_split16(KirFn *fn, IrDtype dtype, KirRef body, KirRef scale, KirRef sixteen, KirRef out_values[16]);

#endif
