// SPDX-License-Identifier: Apache-2.0
// Block decoders (blocks.h). Formats and order of operations: ggml-quants.c, dequantize_row_*. Lanes are 16 neighbouring
// elements, which in every format here share their scale.
#include "codegen/cpu/blocks.h"

typedef struct Block { KirFn *fn; KirRef ptr; uint32_t first; } Block;
typedef CgQuants Decoder(const Block *b);

// ---- reading bytes -------------------------------------------------------------------------------------------------

static KirRef load_at(const Block *b, KirType type, int64_t bytes) {
    return kir_load(b->fn, type, kir_offset_const(b->fn, b->ptr, bytes));
}
static KirRef bytes_at(const Block *b, int64_t bytes) { return load_at(b, KT_I8x16, bytes); }
static KirRef half_at(const Block *b, int64_t bytes) { return kir_f16_f32(b->fn, load_at(b, KT_I16, bytes)); }
static KirRef byte_at(const Block *b, int64_t bytes) { return kir_zext(b->fn, load_at(b, KT_I8, bytes), KIR_I32); }
// A constant of the type of `like`.
static KirRef number(const Block *b, KirRef like, int64_t value) { return kir_int(b->fn, kir_type(b->fn, like), value); }
// (value >> right) & bits
static KirRef field(const Block *b, KirRef value, uint32_t right, uint32_t bits) {
    if (right) value = kir_lshr(b->fn, value, number(b, value, right));
    return kir_and(b->fn, value, number(b, value, bits));
}
static KirRef join(const Block *b, KirRef low, KirRef high, uint32_t left) {
    return kir_or(b->fn, low, kir_shl(b->fn, high, number(b, high, left)));
}
static KirRef minus(const Block *b, KirRef value, int64_t offset) { return kir_sub(b->fn, value, number(b, value, offset)); }
static KirRef times(const Block *b, KirRef integer, KirRef scale) { return kir_mul(b->fn, kir_itof(b->fn, integer), scale); }
static KirRef nibbles(const Block *b, int64_t bytes, bool high) { return field(b, bytes_at(b, bytes), high ? 4 : 0, 15); }

// ---- vectors out of tables -----------------------------------------------------------------------------------------

static KirRef lanes16(KirFn *fn, const void *bytes, const char *text) {
    return kir_load(fn, KT_I8x16, kir_table(fn, bytes, 16, text));
}

// Lanes of a, then those of b.
static KirRef concat(KirFn *fn, KirRef a, KirRef b) {
    static const uint8_t order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return kir_shuffle(fn, a, b, order, 2u * kir_type(fn, a).lanes);
}

// Lane l is `set` where bit l of `bits` (i16) is set, else `clear`.
static KirRef choose(const Block *b, KirRef bits, int64_t set, int64_t clear) {
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    static const uint8_t from[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    KirFn *fn = b->fn;
    KirRef pair = kir_bitcast(fn, bits, KIR_T(KIR_I8, 2)), spread = kir_shuffle(fn, pair, pair, from, 16);
    KirRef mask = kir_cmp(fn, KIR_NE, kir_and(fn, spread, lanes16(fn, bit, "bits")), kir_int(fn, KT_I8x16, 0));
    return kir_select(fn, mask, kir_int(fn, KT_I8x16, set), kir_int(fn, KT_I8x16, clear));
}

// Negative where `mask` has -1 and not 0.
static KirRef negate(const Block *b, KirRef value, KirRef mask) { return kir_sub(b->fn, kir_xor(b->fn, value, mask), mask); }

// ---- blocks of 32: byte l holds element l in its low nibble and element l + 16 in its high one ---------------------

static CgQuants decode_q4_0(const Block *b) { return (CgQuants){minus(b, nibbles(b, 2, b->first), 8), half_at(b, 0), 0}; }
static CgQuants decode_q4_1(const Block *b) {
    return (CgQuants){nibbles(b, 4, b->first), half_at(b, 0), kir_neg(b->fn, half_at(b, 2))};
}

// Fifth bits: bit e of the u32 at `bytes` is that of element e.
static KirRef five(const Block *b, int64_t bytes) {
    return kir_or(b->fn, nibbles(b, bytes + 4, b->first), choose(b, load_at(b, KT_I16, bytes + b->first / 8), 16, 0));
}
static CgQuants decode_q5_0(const Block *b) { return (CgQuants){minus(b, five(b, 2), 16), half_at(b, 0), 0}; }
static CgQuants decode_q5_1(const Block *b) { return (CgQuants){five(b, 4), half_at(b, 0), kir_neg(b->fn, half_at(b, 2))}; }

static CgQuants decode_q8_0(const Block *b) { return (CgQuants){bytes_at(b, 2 + (int64_t)b->first), half_at(b, 0), 0}; }

static KirRef iq4(const Block *b, KirRef codes) { return kir_lookup(b->fn, lanes16(b->fn, ggml_iq4_values, "iq4"), codes); }
static KirRef fp4(const Block *b, KirRef codes) { return kir_lookup(b->fn, lanes16(b->fn, ggml_fp4_doubled, "fp4"), codes); }

static CgQuants decode_iq4_nl(const Block *b) { return (CgQuants){iq4(b, nibbles(b, 2, b->first)), half_at(b, 0), 0}; }

static CgQuants decode_mxfp4(const Block *b) {
    return (CgQuants){fp4(b, nibbles(b, 1, b->first)), cg_exponent_half(b->fn, byte_at(b, 0)), 0};
}

// ---- blocks of 256 -------------------------------------------------------------------------------------------------

// Elements 128 n + 32 t + l of Q2_K, Q3_K and Q6_K.
static uint32_t n_of(const Block *b) { return b->first / 128; }
static uint32_t t_of(const Block *b) { return b->first % 128 / 32; }
static uint32_t l_of(const Block *b) { return b->first % 32; }

static CgQuants decode_q2_k(const Block *b) {
    KirRef both = byte_at(b, b->first / 16), q = field(b, bytes_at(b, 16 + 32 * n_of(b) + l_of(b)), 2 * t_of(b), 3);
    return (CgQuants){q, times(b, field(b, both, 0, 15), half_at(b, 80)), times(b, field(b, both, 4, 15), half_at(b, 82))};
}

static CgQuants decode_q3_k(const Block *b) {
    uint32_t i = b->first / 16, bit = 4 * n_of(b) + t_of(b);
    KirRef low = field(b, byte_at(b, 96 + i % 8), i < 8 ? 0 : 4, 15), high = field(b, byte_at(b, 96 + 8 + i % 4), 2 * (i / 4), 3);
    KirRef q = field(b, bytes_at(b, 32 + 32 * n_of(b) + l_of(b)), 2 * t_of(b), 3);
    KirRef kept = field(b, bytes_at(b, l_of(b)), bit, 1);   // 0: subtract 4
    return (CgQuants){minus(b, join(b, q, kept, 2), 4), times(b, minus(b, join(b, low, high, 4), 32), half_at(b, 108)), 0};
}

// Q4_K and Q5_K: six-bit scale and minimum of group j, 12 bytes at 4.
static CgQuants scaled_with_min(const Block *b, KirRef q) {
    KirRef scale, min;
    uint32_t j = b->first / 32;
    if (j < 4) {
        scale = field(b, byte_at(b, 4 + j), 0, 63);
        min = field(b, byte_at(b, 8 + j), 0, 63);
    } else {
        KirRef both = byte_at(b, 8 + j);
        scale = join(b, field(b, both, 0, 15), field(b, byte_at(b, j), 6, 3), 4);
        min = join(b, field(b, both, 4, 15), field(b, byte_at(b, 4 + j), 6, 3), 4);
    }
    return (CgQuants){q, times(b, scale, half_at(b, 0)), times(b, min, half_at(b, 2))};
}
static CgQuants decode_q4_k(const Block *b) {
    return scaled_with_min(b, nibbles(b, 16 + b->first / 64 * 32 + l_of(b), b->first / 32 % 2));
}
static CgQuants decode_q5_k(const Block *b) {
    KirRef low = nibbles(b, 48 + b->first / 64 * 32 + l_of(b), b->first / 32 % 2);
    return scaled_with_min(b, join(b, low, field(b, bytes_at(b, 16 + l_of(b)), b->first / 32, 1), 4));
}

static CgQuants decode_q6_k(const Block *b) {
    uint32_t t = t_of(b);
    KirRef low = nibbles(b, 64 * n_of(b) + l_of(b) + 32 * (t & 1), t >= 2);
    KirRef high = field(b, bytes_at(b, 128 + 32 * n_of(b) + l_of(b)), 2 * t, 3);
    KirRef scale = kir_sext(b->fn, load_at(b, KT_I8, 192 + b->first / 16), KIR_I32);
    return (CgQuants){minus(b, join(b, low, high, 4), 32), times(b, scale, half_at(b, 208)), 0};
}

static CgQuants decode_iq4_xs(const Block *b) {
    uint32_t j = b->first / 32;
    KirRef high = kir_zext(b->fn, load_at(b, KT_I16, 2), KIR_I32);
    KirRef bits = join(b, field(b, byte_at(b, 4 + j / 2), 4 * (j % 2), 15), field(b, high, 2 * j, 3), 4);
    return (CgQuants){iq4(b, nibbles(b, 8 + 16 * j, l_of(b))), times(b, minus(b, bits, 32), half_at(b, 0)), 0};
}

// ---- four-bit floats in 16s, ternary numbers -------------------------------------------------------------------------

static CgQuants decode_nvfp4(const Block *b) {
    KirFn *fn = b->fn;
    uint32_t sub = b->first / 16;
    KirRef codes = load_at(b, KIR_T(KIR_I8, 8), 4 + 8 * sub);
    return (CgQuants){fp4(b, concat(fn, field(b, codes, 0, 15), field(b, codes, 4, 15))), cg_ue4m3_half(fn, byte_at(b, sub)), 0};
}

// Five base-3 digits a byte, first digits of all bytes first: 32 bytes, then 16, then 4 with four digits. A multiplication by a
// power of 3 (mod 256) brings a digit to the top.
static CgQuants decode_tq1_0(const Block *b) {
    static const uint8_t powers[16] = {1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27};
    static const uint8_t power[5] = {1, 3, 9, 27, 81}, again[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
    KirFn *fn = b->fn;
    uint32_t e = b->first;
    KirRef bytes, factor;
    if (e == 240) {
        KirRef four = load_at(b, KIR_T(KIR_I8, 4), 48);
        bytes = kir_shuffle(fn, four, four, again, 16);
        factor = kir_zext(fn, lanes16(fn, powers, "powers"), KIR_I16);
    } else {
        bytes = bytes_at(b, e < 160 ? e % 32 : 32);
        factor = kir_int(fn, KT_I16x16, power[e < 160 ? e / 32 : (e - 160) / 16]);
    }
    KirRef top = field(b, kir_mul(fn, kir_zext(fn, bytes, KIR_I16), factor), 0, 255);
    KirRef digit = kir_trunc(fn, kir_lshr(fn, kir_mul(fn, top, number(b, top, 3)), number(b, top, 8)), KIR_I8);
    return (CgQuants){minus(b, digit, 1), half_at(b, 52), 0};
}

static CgQuants decode_tq2_0(const Block *b) {
    return (CgQuants){minus(b, field(b, bytes_at(b, 32 * n_of(b) + l_of(b)), 2 * t_of(b), 3), 1), half_at(b, 64), 0};
}

// ---- codebooks -----------------------------------------------------------------------------------------------------

// Entry `index` (i32) of a table with `bytes` per entry.
static KirRef entry(const Block *b, KirRef table, KirRef index, uint32_t bytes) {
    return kir_load(b->fn, KIR_T(KIR_I8, bytes), kir_at(b->fn, table, kir_zext(b->fn, index, KIR_I64), bytes, 0));
}

static KirRef two_entries(const Block *b, KirRef table, KirRef first, KirRef second) {
    return concat(b->fn, entry(b, table, first, 8), entry(b, table, second, 8));
}

static KirRef four_entries(const Block *b, KirRef table, const KirRef *index) {
    KirRef part[4];
    for (int i = 0; i < 4; i++) part[i] = entry(b, table, index[i], 4);
    return concat(b->fn, concat(b->fn, part[0], part[1]), concat(b->fn, part[2], part[3]));
}

// Masks for twice eight numbers whose seven signs stand at bit `right` of `word` and seven bits behind.
static KirRef seven_signs(const Block *b, KirRef first, KirRef second) {
    int8_t masks[128 * 8];
    for (uint32_t i = 0; i < 128; i++)
        for (uint32_t bit = 0; bit < 8; bit++) masks[8 * i + bit] = ggml_signs_of_seven(i) >> bit & 1 ? -1 : 0;
    return two_entries(b, kir_table(b->fn, masks, sizeof masks, "seven signs"), first, second);
}

static KirRef sign_bits(const Block *b, int64_t bytes) { return choose(b, load_at(b, KT_I16, bytes), -1, 0); }

// factor * d * (add + integer)
static KirRef scale_of(const Block *b, KirRef d, float add, KirRef integer, float factor) {
    KirFn *fn = b->fn;
    return kir_mul(fn, kir_mul(fn, d, kir_add(fn, kir_itof(fn, integer), kir_float(fn, KT_F32, add))), kir_float(fn, KT_F32, factor));
}

// IQ2_XXS and IQ3_XXS: the signs and the scale of a group of 32 are a word.
static CgQuants signed_by_word(const Block *b, KirRef entries, KirRef word, float factor) {
    uint32_t right = l_of(b) / 8 * 7;
    KirRef mask = seven_signs(b, field(b, word, right, 127), field(b, word, right + 7, 127));
    return (CgQuants){negate(b, entries, mask), scale_of(b, half_at(b, 0), 0.5f, field(b, word, 28, 15), factor), 0};
}

static CgQuants decode_iq2_xxs(const Block *b) {
    int64_t group = 2 + 8 * (b->first / 32), at = group + l_of(b) / 8;
    KirRef table = cg_book_table(b->fn, &ggml_codebook_iq2_xxs, 1, "iq2_xxs");
    KirRef entries = two_entries(b, table, byte_at(b, at), byte_at(b, at + 1));
    return signed_by_word(b, entries, load_at(b, KT_I32, group + 4), 0.25f);
}

static CgQuants decode_iq3_xxs(const Block *b) {
    KirRef table = cg_book_table(b->fn, &ggml_codebook_iq3_xxs, 1, "iq3_xxs"), index[4];
    for (uint32_t i = 0; i < 4; i++) index[i] = byte_at(b, 2 + b->first / 4 + i);
    return signed_by_word(b, four_entries(b, table, index), load_at(b, KT_I32, 66 + 4 * (b->first / 32)), 0.5f);
}

// The scale of 16 numbers in IQ2_XS and IQ2_S.
static KirRef iq2_scale(const Block *b, int64_t scales) {
    KirRef bits = field(b, byte_at(b, scales + b->first / 32), 4 * (b->first / 16 % 2), 15);
    return scale_of(b, half_at(b, 0), 0.5f, bits, 0.25f);
}

static CgQuants decode_iq2_xs(const Block *b) {
    KirRef table = cg_book_table(b->fn, &ggml_codebook_iq2_xs, 1, "iq2_xs");
    KirRef q[2];
    for (uint32_t i = 0; i < 2; i++) q[i] = kir_zext(b->fn, load_at(b, KT_I16, 2 + b->first / 4 + 2 * i), KIR_I32);
    KirRef entries = two_entries(b, table, field(b, q[0], 0, 511), field(b, q[1], 0, 511));
    return (CgQuants){negate(b, entries, seven_signs(b, field(b, q[0], 9, 127), field(b, q[1], 9, 127))), iq2_scale(b, 66), 0};
}

static CgQuants decode_iq2_s(const Block *b) {
    KirRef table = cg_book_table(b->fn, &ggml_codebook_iq2_s, 1, "iq2_s");
    KirRef high = byte_at(b, 66 + b->first / 32), index[2];
    for (uint32_t i = 0; i < 2; i++)
        index[i] = join(b, byte_at(b, 2 + b->first / 8 + i), field(b, high, 2 * (l_of(b) / 8 + i), 3), 8);
    return (CgQuants){negate(b, two_entries(b, table, index[0], index[1]), sign_bits(b, 34 + b->first / 8)), iq2_scale(b, 74), 0};
}

static CgQuants decode_iq3_s(const Block *b) {
    KirFn *fn = b->fn;
    KirRef table = cg_book_table(fn, &ggml_codebook_iq3_s, 1, "iq3_s");
    KirRef high = byte_at(b, 66 + b->first / 32), index[4];
    for (uint32_t i = 0; i < 4; i++)
        index[i] = join(b, byte_at(b, 2 + b->first / 4 + i), field(b, high, l_of(b) / 4 + i, 1), 8);
    KirRef bits = field(b, byte_at(b, 106 + b->first / 64), 4 * (b->first / 32 % 2), 15);
    KirRef odd = kir_add(fn, kir_shl(fn, bits, number(b, bits, 1)), number(b, bits, 1));
    return (CgQuants){negate(b, four_entries(b, table, index), sign_bits(b, 74 + b->first / 8)), times(b, odd, half_at(b, 0)), 0};
}

// IQ1: numbers -1, 0, 1 moved by an eighth up or down. In eighths these are integers; the scale is divided by 8, which is exact.
static KirRef iq1_table(KirFn *fn) { return cg_book_table(fn, &ggml_codebook_iq1, 8, "iq1"); }
static KirRef iq1_scale(const Block *b, KirRef d, KirRef bits) {
    KirRef odd = kir_add(b->fn, kir_shl(b->fn, bits, number(b, bits, 1)), number(b, bits, 1));
    return scale_of(b, d, 0, odd, 0.125f);
}

static CgQuants decode_iq1_s(const Block *b) {
    KirFn *fn = b->fn;
    KirRef high = kir_zext(fn, load_at(b, KT_I16, 34 + 2 * (b->first / 32)), KIR_I32), index[2];
    for (uint32_t i = 0; i < 2; i++)
        index[i] = join(b, byte_at(b, 2 + b->first / 8 + i), field(b, high, 3 * (l_of(b) / 8 + i), 7), 8);
    KirRef down = field(b, high, 15, 1), shift = kir_sub(fn, kir_int(fn, KT_I32, 1), kir_shl(fn, down, kir_int(fn, KT_I32, 1)));
    KirRef entries = two_entries(b, iq1_table(fn), index[0], index[1]);
    return (CgQuants){kir_add(fn, entries, kir_splat(fn, kir_trunc(fn, shift, KIR_I8), 16)),
                      iq1_scale(b, half_at(b, 0), field(b, high, 12, 7)), 0};
}

// The f16 scale of an IQ1_M block is spread over the top nibbles of its four u16 of scales.
static KirRef iq1_m_scale(const Block *b) {
    KirRef word = load_at(b, KT_I64, 48), bits = field(b, word, 12, 0xf);
    for (uint32_t i = 1; i < 4; i++) bits = kir_or(b->fn, bits, field(b, word, 12 * (i + 1), 0xfu << 4 * i));
    return kir_f16_f32(b->fn, kir_trunc(b->fn, bits, KIR_I16));
}

static CgQuants decode_iq1_m(const Block *b) {
    static const uint8_t bit[16] = {8, 8, 8, 8, 8, 8, 8, 8, 128, 128, 128, 128, 128, 128, 128, 128};
    KirFn *fn = b->fn;
    KirRef raw = load_at(b, KT_I8, 32 + b->first / 16), high = kir_zext(fn, raw, KIR_I32), index[2];
    for (uint32_t i = 0; i < 2; i++) index[i] = join(b, byte_at(b, b->first / 8 + i), field(b, high, 4 * i, 7), 8);
    KirRef set = kir_and(fn, kir_splat(fn, raw, 16), lanes16(fn, bit, "moves down"));
    KirRef down = kir_cmp(fn, KIR_NE, set, kir_int(fn, KT_I8x16, 0));
    KirRef shift = kir_select(fn, down, kir_int(fn, KT_I8x16, -1), kir_int(fn, KT_I8x16, 1));
    KirRef scales = kir_zext(fn, load_at(b, KT_I16, 48 + 2 * (b->first / 64)), KIR_I32);
    return (CgQuants){kir_add(fn, two_entries(b, iq1_table(fn), index[0], index[1]), shift),
                      iq1_scale(b, iq1_m_scale(b), field(b, scales, 3 * (b->first / 16 % 4), 7)), 0};
}

// ---- the table -----------------------------------------------------------------------------------------------------

static Decoder *const decoders[IR_DTYPE_COUNT] = {
    [IR_Q4_0] = decode_q4_0,       [IR_Q4_1] = decode_q4_1,     [IR_Q5_0] = decode_q5_0,     [IR_Q5_1] = decode_q5_1,
    [IR_Q8_0] = decode_q8_0,       [IR_Q2_K] = decode_q2_k,     [IR_Q3_K] = decode_q3_k,     [IR_Q4_K] = decode_q4_k,
    [IR_Q5_K] = decode_q5_k,       [IR_Q6_K] = decode_q6_k,     [IR_IQ4_NL] = decode_iq4_nl, [IR_IQ4_XS] = decode_iq4_xs,
    [IR_MXFP4] = decode_mxfp4,     [IR_NVFP4] = decode_nvfp4,   [IR_TQ1_0] = decode_tq1_0,   [IR_TQ2_0] = decode_tq2_0,
    [IR_IQ2_XXS] = decode_iq2_xxs, [IR_IQ2_XS] = decode_iq2_xs, [IR_IQ2_S] = decode_iq2_s,   [IR_IQ3_XXS] = decode_iq3_xxs,
    [IR_IQ3_S] = decode_iq3_s,     [IR_IQ1_S] = decode_iq1_s,   [IR_IQ1_M] = decode_iq1_m,
};

bool cg_block_known(IrDtype dtype) { return dtype == IR_F32 || dtype == IR_F16 || dtype == IR_BF16 || decoders[dtype]; }

CgQuants cg_block_quants(KirFn *fn, IrDtype dtype, KirRef block, uint32_t first) {
    HD_ASSERT(decoders[dtype] && first % 16 == 0);
    return decoders[dtype](&(Block){fn, block, first});
}

KirRef cg_block_decode(KirFn *fn, IrDtype dtype, KirRef block, uint32_t first) {
    CgQuants q = cg_block_quants(fn, dtype, block, first);
    KirRef value = kir_mul(fn, kir_itof(fn, kir_sext(fn, q.quants, KIR_I32)), q.scale);
    return q.min ? kir_sub(fn, value, q.min) : value;
}

KirRef cg_block_decode_part(KirFn *fn, IrDtype dtype, KirRef ptr, KirRef count) {
    KirRef bits = kir_load_part(fn, dtype == IR_F32 ? KT_F32x16 : KT_I16x16, ptr, count);
    return dtype == IR_F32 ? bits : dtype == IR_F16 ? kir_f16_f32(fn, bits) : kir_bf16_f32(fn, bits);
}
