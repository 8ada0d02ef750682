// SPDX-License-Identifier: Apache-2.0
// Decoders of ggml's block formats for SIMT kernels, where a lane decodes 16 elements of its own: scalars only, no branches, and
// each load as wide as its address is aligned in every block.
#ifndef HEDDLE_CODEGEN_SIMT_DECODE_H
#define HEDDLE_CODEGEN_SIMT_DECODE_H

#include "codegen/kir.h"
#include "ir/ir.h"

// Is there a decoder for this type?
bool simt_can_decode(IrDtype dtype);
// Where sixteen elements of a row lie: elements 16 * sixteen .. 16 * sixteen + 15 of the block at `block` (ptr), `sixteen` being an i64 from 0 to
// block / 16 - 1. Of the types of plain numbers (f32, f16, bf16) `block` is the address of a row's element 0 and `sixteen` counts on. The address
// is a multiple of 4, 2 or 1 as the block's size is. scale: in layout `split` where the block's scale is (ptr), `block` being what is left of
// it; 0: a native block.
typedef struct SimtPlace { KirRef block, sixteen, scale; } SimtPlace;
// As f32 scalars, with the bits that ggml's dequantisation gives. A target may not flush subnormal numbers: the scales of MXFP4's two smallest
// exponents are such.
void simt_decode16(KirFn *fn, IrDtype dtype, const SimtPlace *place, KirRef out_values[16]);

// The same elements of a quantised type as integers: four signed bytes a word, lowest first. The numbers meant are
// (byte - less) * scale + add.
typedef struct SimtBytes {
    KirRef word[4];
    int32_t less;
    KirRef scale, add;                   // f32; add 0: none
} SimtBytes;
void simt_decode16_bytes(KirFn *fn, IrDtype dtype, const SimtPlace *place, SimtBytes *out_bytes);
// Have both halves of 32 columns, counted from the block's first, the same scale and add?
bool simt_scales_32(IrDtype dtype);
// Is something added, that is, is `add` not 0?
bool simt_adds(IrDtype dtype);

#endif
