// SPDX-License-Identifier: Apache-2.0
// How packed weights lie in memory.
//
// Layout r16 cuts a matrix [N, K] into panels of 16 rows (the last one padded with zero rows), one after another; the matrices of
// experts [E, N, K] follow each other, each padded to whole panels. Inside a panel the rows are interleaved, so that one vector
// holds the same columns ("k") of all 16 rows: a kernel's lanes are rows. Panels are multiples of 64 bytes; r is the row:
//
//   f32    per k        64 B: f32[r]
//   f16    per k        32 B: f16[r]; the panel is padded to 64 B
//   bf16   per 2 k      64 B: bf16[r][2]; an odd last k is padded with 0
//   q8_0   per 64 k   1088 B: d of two blocks: f16[2][r]; then quants 2 x 8 x 64 B
//   q4_0   per 64 k    576 B: d of two blocks: f16[2][r]; then nibbles 2 x 4 x 64 B (vector i: low 4i.., high 16 + 4i..)
//   iq4_nl as q4_0
//   mxfp4  per 128 k   1088 B: exponents of four blocks: u8[4][r]; then nibbles 4 x 4 x 64 B as in q4_0
//   iq4_xs per 256 k  2240 B: d f16[r], 32 B of zeros, scales i8[8][r] (of the groups of 32, 32 taken off); then nibbles 8 x 4 x
//                             64 B as in q4_0
//   q4_k   per 256 k  2368 B: d f16[r], dmin f16[r]; then 4 parts of 64 k, 576 B each: scales u8[2][r], mins u8[2][r] (of the two
//                             groups of 32), nibbles 8 x 64 B (low: first group, high: second group)
//   q5_k   per 256 k  2880 B: as q4_k with parts of 704 B: scales, mins, fifth bits 2 x 64 B, nibbles 8 x 64 B; bit i of a byte
//                             of bit vector g belongs to the same byte of vector i of group g
//   q6_k   per 256 k  3392 B: d f16[r], 32 B of zeros; then 4 parts of 64 k, 832 B each: scales i8[4][r] (groups of 16), 4 x
//                             (A, B, C) of 64 B: vectors V0..V2 of a group in bits 0..5 of A, B, C, and V3 in bits 6..7, its
//                             low two bits in A
//
// A 64-byte vector of quants holds 4 k: byte 4r + c is row r, k = 4i + c of vector i. Quants are unsigned, the stored number plus
// an offset (q8_0: 128, q4_0: 8, q6_k: 32): what the 8-bit dot product wants; kernels take it back with the activations' sums.
// The nibbles of iq4_nl, iq4_xs and mxfp4 are codes; what they stand for gets the offset 128.
//
// All other types stay as they are in the file. A work unit that multiplies them makes their panel in thread scratch, in one form, as does
// one that multiplies a packed panel by many tokens:
//
//   per 32 k: scales f32[r] of each group of 16 or 32, mins f32[r] likewise if the type has them, quants 8 x 64 B (offset 128, that of the
//             packed form where there is one)
#ifndef HEDDLE_CODEGEN_LAYOUT_H
#define HEDDLE_CODEGEN_LAYOUT_H

#include "codegen/codegen.h"

enum { CG_PANEL_ROWS = 16 };

// Has the type a packed form of its own (layout r16)?
bool cg_is_packed(IrDtype dtype);
// Bytes of one panel with rows of `columns` elements, a multiple of 64, in memory or scratch; 0 when the type cannot be multiplied.
uint64_t cg_panel_bytes(IrDtype dtype, uint64_t columns);
// Does the panel have bytes beyond its last element (an odd number of blocks, or padding)? Packing clears those.
bool cg_panel_padded(IrDtype dtype, uint64_t columns);

#endif
