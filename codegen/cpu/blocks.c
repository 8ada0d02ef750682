// SPDX-License-Identifier: Apache-2.0
// Block decoders (blocks.h). Formats and order of operations: ggml-quants.c, dequantize_row_*. Lanes are 16 neighbouring
// elements, which in every format here share their scale.
#include "codegen/cpu/blocks.h"
#include "codegen/cpu/sched.h"

typedef struct Block { KirFn *fn; KirRef ptr; uint32_t first; } Block;
typedef KirRef Decoder(const Block *b);

// ---- reading bytes -------------------------------------------------------------------------------------------------

static KirRef load_at(const Block *b, KirType type, int64_t bytes) {
    return kir_load(b->fn, type, kir_offset_const(b->fn, b->ptr, bytes));
}
static KirRef i32(const Block *b, int64_t value) { return kir_int(b->fn, KT_I32, value); }
static KirRef half_at(const Block *b, int64_t bytes) { return kir_f16_f32(b->fn, load_at(b, KT_I16, bytes)); }
// An unsigned byte as i32, and 16 of them.
static KirRef byte_at(const Block *b, int64_t bytes) { return kir_zext(b->fn, load_at(b, KT_I8, bytes), KIR_I32); }
static KirRef bytes_at(const Block *b, int64_t bytes) { return kir_zext(b->fn, load_at(b, KT_I8x16, bytes), KIR_I32); }
// (value >> right) & bits
static KirRef field(const Block *b, KirRef value, uint32_t right, uint32_t bits) {
    if (right) value = kir_lshr(b->fn, value, i32(b, right));
    return kir_and(b->fn, value, i32(b, bits));
}
static KirRef join(const Block *b, KirRef low, KirRef high, uint32_t left) {
    return kir_or(b->fn, low, kir_shl(b->fn, high, i32(b, left)));
}
static KirRef minus(const Block *b, KirRef value, int64_t offset) { return kir_sub(b->fn, value, i32(b, offset)); }
static KirRef times(const Block *b, KirRef q, KirRef scale) { return kir_mul(b->fn, kir_itof(b->fn, q), scale); }
static KirRef nibbles(const Block *b, int64_t bytes, bool high) { return field(b, bytes_at(b, bytes), high ? 4 : 0, 15); }

// ---- plain numbers -------------------------------------------------------------------------------------------------

static KirRef from_bits(KirFn *fn, IrDtype dtype, KirRef bits) {
    return dtype == IR_F32 ? bits : dtype == IR_F16 ? kir_f16_f32(fn, bits) : kir_bf16_f32(fn, bits);
}
static KirRef decode_f32(const Block *b) { return load_at(b, KT_F32x16, 4 * (int64_t)b->first); }
static KirRef decode_f16(const Block *b) { return from_bits(b->fn, IR_F16, load_at(b, KT_I16x16, 2 * (int64_t)b->first)); }
static KirRef decode_bf16(const Block *b) { return from_bits(b->fn, IR_BF16, load_at(b, KT_I16x16, 2 * (int64_t)b->first)); }

// ---- blocks of 32: byte l holds element l in its low nibble and element l + 16 in its high one ---------------------

static KirRef decode_q4_0(const Block *b) { return times(b, minus(b, nibbles(b, 2, b->first), 8), half_at(b, 0)); }
static KirRef decode_q4_1(const Block *b) {
    return kir_add(b->fn, times(b, nibbles(b, 4, b->first), half_at(b, 0)), half_at(b, 2));
}

// Fifth bits: bit e of the u32 at `bytes` is that of element e.
static KirRef five(const Block *b, int64_t bytes) {
    KirFn *fn = b->fn;
    KirRef high = kir_lshr(fn, load_at(b, KT_I32, bytes), i32(b, b->first));
    return join(b, nibbles(b, bytes + 4, b->first), kir_and(fn, kir_lshr(fn, high, cg_lane_numbers(fn)), i32(b, 1)), 4);
}
static KirRef decode_q5_0(const Block *b) { return times(b, minus(b, five(b, 2), 16), half_at(b, 0)); }
static KirRef decode_q5_1(const Block *b) { return kir_add(b->fn, times(b, five(b, 4), half_at(b, 0)), half_at(b, 2)); }

static KirRef decode_q8_0(const Block *b) {
    return times(b, kir_sext(b->fn, load_at(b, KT_I8x16, 2 + (int64_t)b->first), KIR_I32), half_at(b, 0));
}

// ---- blocks of 256 -------------------------------------------------------------------------------------------------

static KirRef minus_min(const Block *b, KirRef value, KirRef dmin, KirRef min) {
    return kir_sub(b->fn, value, times(b, min, dmin));
}

// Elements 128 n + 32 t + l of Q2_K, Q3_K and Q6_K.
static uint32_t n_of(const Block *b) { return b->first / 128; }
static uint32_t t_of(const Block *b) { return b->first % 128 / 32; }
static uint32_t l_of(const Block *b) { return b->first % 32; }

static KirRef decode_q2_k(const Block *b) {
    KirRef scale = byte_at(b, b->first / 16);
    KirRef q = field(b, bytes_at(b, 16 + 32 * n_of(b) + l_of(b)), 2 * t_of(b), 3);
    return minus_min(b, times(b, q, times(b, field(b, scale, 0, 15), half_at(b, 80))), half_at(b, 82), field(b, scale, 4, 15));
}

static KirRef decode_q3_k(const Block *b) {
    uint32_t i = b->first / 16, bit = 4 * n_of(b) + t_of(b);
    KirRef low = field(b, byte_at(b, 96 + i % 8), i < 8 ? 0 : 4, 15), high = field(b, byte_at(b, 96 + 8 + i % 4), 2 * (i / 4), 3);
    KirRef scale = times(b, minus(b, join(b, low, high, 4), 32), half_at(b, 108));
    KirRef q = field(b, bytes_at(b, 32 + 32 * n_of(b) + l_of(b)), 2 * t_of(b), 3);
    KirRef kept = field(b, bytes_at(b, l_of(b)), bit, 1);   // 0: subtract 4
    return times(b, minus(b, join(b, q, kept, 2), 4), scale);
}

// Six-bit scale and minimum of group j, 12 bytes at 4.
static void scale_min(const Block *b, uint32_t j, KirRef *out_scale, KirRef *out_min) {
    if (j < 4) {
        *out_scale = field(b, byte_at(b, 4 + j), 0, 63);
        *out_min = field(b, byte_at(b, 8 + j), 0, 63);
    } else {
        KirRef both = byte_at(b, 8 + j);
        *out_scale = join(b, field(b, both, 0, 15), field(b, byte_at(b, j), 6, 3), 4);
        *out_min = join(b, field(b, both, 4, 15), field(b, byte_at(b, 4 + j), 6, 3), 4);
    }
}

static KirRef scaled_with_min(const Block *b, KirRef q) {
    KirRef scale, min;
    scale_min(b, b->first / 32, &scale, &min);
    return minus_min(b, times(b, q, times(b, scale, half_at(b, 0))), half_at(b, 2), min);
}
static KirRef decode_q4_k(const Block *b) {
    return scaled_with_min(b, nibbles(b, 16 + b->first / 64 * 32 + l_of(b), b->first / 32 % 2));
}
static KirRef decode_q5_k(const Block *b) {
    KirRef low = nibbles(b, 48 + b->first / 64 * 32 + l_of(b), b->first / 32 % 2);
    return scaled_with_min(b, join(b, low, field(b, bytes_at(b, 16 + l_of(b)), b->first / 32, 1), 4));
}

static KirRef decode_q6_k(const Block *b) {
    uint32_t t = t_of(b);
    KirRef low = nibbles(b, 64 * n_of(b) + l_of(b) + 32 * (t & 1), t >= 2);
    KirRef high = field(b, bytes_at(b, 128 + 32 * n_of(b) + l_of(b)), 2 * t, 3);
    KirRef scale = times(b, kir_sext(b->fn, load_at(b, KT_I8, 192 + b->first / 16), KIR_I32), half_at(b, 208));
    return times(b, minus(b, join(b, low, high, 4), 32), scale);
}

// ---- the table -----------------------------------------------------------------------------------------------------

static Decoder *const decoders[IR_DTYPE_COUNT] = {
    [IR_F32] = decode_f32, [IR_F16] = decode_f16, [IR_BF16] = decode_bf16, [IR_Q4_0] = decode_q4_0, [IR_Q4_1] = decode_q4_1,
    [IR_Q5_0] = decode_q5_0, [IR_Q5_1] = decode_q5_1, [IR_Q8_0] = decode_q8_0, [IR_Q2_K] = decode_q2_k, [IR_Q3_K] = decode_q3_k,
    [IR_Q4_K] = decode_q4_k, [IR_Q5_K] = decode_q5_k, [IR_Q6_K] = decode_q6_k,
};

bool cg_block_known(IrDtype dtype) { return decoders[dtype] != NULL; }

KirRef cg_block_decode(KirFn *fn, IrDtype dtype, KirRef block, uint32_t first) {
    HD_ASSERT(decoders[dtype] && first % 16 == 0);
    return decoders[dtype](&(Block){fn, block, first});
}

KirRef cg_block_decode_part(KirFn *fn, IrDtype dtype, KirRef ptr, KirRef count) {
    return from_bits(fn, dtype, kir_load_part(fn, dtype == IR_F32 ? KT_F32x16 : KT_I16x16, ptr, count));
}
