// SPDX-License-Identifier: Apache-2.0
// What the block decoders of all targets have in common: scales of the 4-bit floats, codebooks as tables.
#ifndef HEDDLE_CODEGEN_BLOCK_PARTS_H
#define HEDDLE_CODEGEN_BLOCK_PARTS_H

#include "codegen/kir.h"
#include "runtime/gguf/codebooks.h"

// 2^(exponent - 128), the scale of an MXFP4 block whose codes stand for twice their number: i32 lanes in 0..254 to f32 lanes.
KirRef cg_exponent_half(KirFn *fn, KirRef exponent);
// Half of a UE4M3 number, the scale of 16 NVFP4 numbers whose codes stand for twice their number: an i32 in 0..255 to f32. Four
// exponent bits (bias 7), three of mantissa; 0x7f counts as 0.
KirRef cg_ue4m3_half(KirFn *fn, KirRef byte);

// The codebook's numbers times `factor` as signed bytes: `width` (4 or 8) per entry, entry after entry.
KirRef cg_book_table(KirFn *fn, const GgmlCodebook *book, int factor, const char *text);

#endif
