// SPDX-License-Identifier: Apache-2.0
// Block decoders (decode.h). Formats and order of operations: ggml-quants.c, dequantize_row_*, and runtime/gguf/dequant_*.c.
// Codebooks are in decode_book.c.
#include "codegen/simt/decode_internal.h"

#include "codegen/simt/split.h"

// The signed byte that stands for each code of four bits. A table holds those of each pair of codes: one load for two.
static Words look_up(const Block *b, Words codes, const int8_t *values, const char *text) {
    int8_t pairs[256][2];
    for (int i = 0; i < 256; i++) pairs[i][0] = values[i & 15], pairs[i][1] = values[i >> 4];
    Block table = {.fn = b->fn, .ptr = kir_table(b->fn, pairs, sizeof pairs, text), .bytes = 4};
    for (int i = 0; i < 4; i++) {
        KirRef both = join(b, codes.word[i], right(b, codes.word[i], 4), 0);     // bytes 0 and 2: a pair each
        codes.word[i] = join(b, short_at(&table, 0, mask(b, both, 255)), short_at(&table, 0, field(b, both, 16, 255)), 16);
    }
    return codes;
}

// Code `l` as an i32.
static KirRef code(const Block *b, const Sixteen *q, uint32_t l) {
    KirRef word = q->codes.word[l / 4];
    uint32_t from = l % 4 * 8;
    if (q->is_signed) return kir_ashr(b->fn, left(b, word, 24 - from), number(b, 24));
    return from == 24 ? right(b, word, 24) : field(b, word, from, 255);
}

// ---- blocks of 32: byte l holds element l in its low nibble and element l + 16 in its high one ---------------------

static Words nibbles(const Block *b, uint32_t bytes) { return fields(b, words_at(b, bytes, 0), left(b, b->s, 2), 15); }
static Sixteen decode_q4_0(const Block *b) { return (Sixteen){nibbles(b, 2), .less = 8, .scale = half_at(b, 0)}; }
static Sixteen decode_q4_1(const Block *b) { return (Sixteen){nibbles(b, 4), .scale = half_at(b, 0), .add = half_at(b, 2)}; }

// Fifth bits: bit e of the u32 at `bytes` is that of element e.
static Words five(const Block *b, uint32_t bytes) {
    return join_codes(b, nibbles(b, bytes + 4), spread(b, short_at(b, bytes, b->s)), 4);
}
static Sixteen decode_q5_0(const Block *b) { return (Sixteen){five(b, 2), .less = 16, .scale = half_at(b, 0)}; }
static Sixteen decode_q5_1(const Block *b) { return (Sixteen){five(b, 4), .scale = half_at(b, 0), .add = half_at(b, 2)}; }

static Sixteen decode_q8_0(const Block *b) { return (Sixteen){words_at(b, 2, b->s), .is_signed = true, .scale = half_at(b, 0)}; }

static Words iq4(const Block *b, Words codes) { return look_up(b, codes, ggml_iq4_values, "pairs of iq4"); }
static Words fp4(const Block *b, Words codes) { return look_up(b, codes, ggml_fp4_doubled, "pairs of fp4"); }

static Sixteen decode_iq4_nl(const Block *b) {
    return (Sixteen){iq4(b, nibbles(b, 2)), .is_signed = true, .scale = half_at(b, 0)};
}
static Sixteen decode_mxfp4(const Block *b) {
    return (Sixteen){fp4(b, nibbles(b, 1)), .is_signed = true, .scale = cg_exponent_half(b->fn, byte_at(b, 0, 0))};
}

// ---- blocks of 256: bits of s are n t1 t0 h where e = 128 n + 32 t + 16 h, and j h where e = 32 j + 16 h ---------------

static KirRef n_of(const Block *b) { return right(b, b->s, 3); }
static KirRef twice_t_of(const Block *b) { return mask(b, b->s, 6); }
// Two times a group's index plus h: sixteens of an array with 32 bytes per group.
static KirRef with_half(const Block *b, KirRef group) { return join(b, half_of(b), group, 1); }
// Two bits of each of 32 bytes per n.
static Words crumbs(const Block *b, uint32_t bytes) {
    return fields(b, words_at(b, bytes, with_half(b, n_of(b))), twice_t_of(b), 3);
}

static Sixteen decode_q2_k(const Block *b) {
    KirRef both = byte_at(b, 0, b->s);
    return (Sixteen){crumbs(b, 16), .scale = times(b, mask(b, both, 15), half_at(b, 80)),
                     .add = kir_neg(b->fn, times(b, right(b, both, 4), half_at(b, 82)))};
}

static Sixteen decode_q3_k(const Block *b) {
    KirRef low = field_at(b, byte_at(b, 96, mask(b, b->s, 7)), left(b, n_of(b), 2), 15);
    KirRef high = field_at(b, byte_at(b, 104, mask(b, b->s, 3)), left(b, right(b, b->s, 2), 1), 3);
    Words kept = fields(b, words_at(b, 0, half_of(b)), j_of(b), 1);              // 0: subtract 4
    return (Sixteen){join_codes(b, crumbs(b, 32), kept, 2), .less = 4,
                     .scale = times(b, plus(b, join(b, low, high, 4), -32), half_at(b, 108))};
}

// Q4_K and Q5_K: nibbles of group j at `bytes`; six-bit scale and minimum of the group in 12 bytes at 4.
static Sixteen scaled_with_min(const Block *b, uint32_t bytes) {
    KirRef j = j_of(b), by = left(b, mask(b, j, 3), 3), p[3];
    for (uint32_t i = 0; i < 3; i++) p[i] = field_at(b, word_at(b, 4 + 4 * i, 0), by, 255);
    KirRef scale = join(b, mask(b, p[2], 15), right(b, p[0], 6), 4), min = join(b, right(b, p[2], 4), right(b, p[1], 6), 4);
    KirRef first = kir_cmp(b->fn, KIR_LT, j, number(b, 4));
    scale = kir_select(b->fn, first, mask(b, p[0], 63), scale);
    min = kir_select(b->fn, first, mask(b, p[1], 63), min);
    Words codes = fields(b, words_at(b, bytes, with_half(b, right(b, j, 1))), left(b, mask(b, j, 1), 2), 15);
    return (Sixteen){codes, .scale = times(b, scale, half_at(b, 0)), .add = kir_neg(b->fn, times(b, min, half_at(b, 2)))};
}
static Sixteen decode_q4_k(const Block *b) { return scaled_with_min(b, 16); }
static Sixteen decode_q5_k(const Block *b) {
    Sixteen q = scaled_with_min(b, 48);
    q.codes = join_codes(b, q.codes, fields(b, words_at(b, 16, half_of(b)), j_of(b), 1), 4);
    return q;
}

static Sixteen decode_q6_k(const Block *b) {
    KirRef low_index = join(b, mask(b, b->s, 3), n_of(b), 2), high_nibble = mask(b, b->s, 4);
    Words low = fields(b, words_at(b, 0, low_index), high_nibble, 15);
    KirRef scale = kir_sext(b->fn, kir_load(b->fn, KT_I8, address(b, 192, b->s, 1)), KIR_I32);
    return (Sixteen){join_codes(b, low, crumbs(b, 128), 4), .less = 32, .scale = times(b, scale, half_at(b, 208))};
}

static Sixteen decode_iq4_xs(const Block *b) {
    KirRef j = j_of(b), high = field_at(b, short_at(b, 2, 0), left(b, j, 1), 3);
    KirRef bits = join(b, nibble_at(b, 4, j), high, 4);
    Words codes = fields(b, words_at(b, 8, j), left(b, half_of(b), 2), 15);
    return (Sixteen){iq4(b, codes), .is_signed = true, .scale = times(b, plus(b, bits, -32), half_at(b, 0))};
}

static Sixteen decode_tq2_0(const Block *b) { return (Sixteen){crumbs(b, 0), .less = 1, .scale = half_at(b, 64)}; }

// ---- four-bit floats in 16s, ternary numbers -------------------------------------------------------------------------

static Sixteen decode_nvfp4(const Block *b) {
    KirRef index = left(b, b->s, 1), low = word_at(b, 4, index), high = word_at(b, 8, index);
    Words codes = {{mask(b, low, 15 * each), mask(b, high, 15 * each), field(b, low, 4, 15 * each), field(b, high, 4, 15 * each)}};
    return (Sixteen){fp4(b, codes), .is_signed = true, .scale = cg_ue4m3_half(b->fn, byte_at(b, 0, b->s))};
}

// TQ1_0: five base-3 digits a byte, first digits of all bytes first: 32 bytes, then 16, then 4 with four digits. A multiplication by
// a power of 3 (mod 256) brings a digit to the top. For each word of a 16: which word of the block, and which power.
static void ternary_tables(uint8_t out_word[16][4], uint8_t out_power[16][4]) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    for (uint32_t s = 0; s < 16; s++)
        for (uint32_t i = 0; i < 4; i++) {
            out_word[s][i] = (uint8_t)(s < 10 ? s % 2 * 4 + i : s < 15 ? 8 + i : 12);
            out_power[s][i] = powers[s < 10 ? s / 2 : s < 15 ? s - 10 : i];
        }
}

// The digit at the top of each of two bytes, at 0 and 16.
static KirRef two_digits(const Block *b, KirRef bytes, KirRef power) {
    KirRef top = mask(b, kir_mul(b->fn, bytes, power), 0xff00ff);
    return field(b, kir_mul(b->fn, top, number(b, 3)), 8, 0xff00ff);
}

static Sixteen decode_tq1_0(const Block *b) {
    uint8_t word_of[16][4], power_of[16][4];
    ternary_tables(word_of, power_of);
    Block words = {.fn = b->fn, .ptr = kir_table(b->fn, word_of, sizeof word_of, "tq1_0 words"), .bytes = 4};
    Block powers = {.fn = b->fn, .ptr = kir_table(b->fn, power_of, sizeof power_of, "tq1_0 powers"), .bytes = 4};
    KirRef indices = word_at(&words, 0, b->s), factors = word_at(&powers, 0, b->s);
    Sixteen q = {.less = 1, .scale = half_at(b, 52)};
    for (uint32_t i = 0; i < 4; i++) {
        KirRef word = word_at(b, 0, field(b, indices, 8 * i, 255)), power = field(b, factors, 8 * i, 255);
        q.codes.word[i] = join(b, two_digits(b, mask(b, word, 0xff00ff), power), two_digits(b, field(b, word, 8, 0xff00ff), power), 8);
    }
    return q;
}

// ---- the table -----------------------------------------------------------------------------------------------------

static Decoder *const decoders[IR_DTYPE_COUNT] = {
    [IR_Q4_0] = decode_q4_0,      [IR_Q4_1] = decode_q4_1,      [IR_Q5_0] = decode_q5_0,      [IR_Q5_1] = decode_q5_1,
    [IR_Q8_0] = decode_q8_0,      [IR_Q2_K] = decode_q2_k,      [IR_Q3_K] = decode_q3_k,      [IR_Q4_K] = decode_q4_k,
    [IR_Q5_K] = decode_q5_k,      [IR_Q6_K] = decode_q6_k,      [IR_IQ4_NL] = decode_iq4_nl,  [IR_IQ4_XS] = decode_iq4_xs,
    [IR_MXFP4] = decode_mxfp4,    [IR_NVFP4] = decode_nvfp4,    [IR_TQ1_0] = decode_tq1_0,    [IR_TQ2_0] = decode_tq2_0,
    [IR_IQ2_XXS] = simt_decode_iq2_xxs,   [IR_IQ2_XS] = simt_decode_iq2_xs,     [IR_IQ2_S] = simt_decode_iq2_s,
    [IR_IQ3_XXS] = simt_decode_iq3_xxs,   [IR_IQ3_S] = simt_decode_iq3_s,
    [IR_IQ1_S] = simt_decode_iq1_s,       [IR_IQ1_M] = simt_decode_iq1_m,
};

bool simt_can_decode(IrDtype dtype) { return dtype == IR_F32 || dtype == IR_F16 || dtype == IR_BF16 || decoders[dtype]; }

static KirRef plain_number(KirFn *fn, IrDtype dtype, KirRef ptr) {
    KirRef bits = kir_load(fn, dtype == IR_F32 ? KT_F32 : KT_I16, ptr);
    return dtype == IR_F32 ? bits : dtype == IR_F16 ? kir_f16_f32(fn, bits) : kir_bf16_f32(fn, bits);
}

static void decode_plain(KirFn *fn, IrDtype dtype, KirRef row, KirRef sixteen, KirRef out_values[16]) {
    uint32_t bytes = ir_dtype_info(dtype)->block_bytes;
    KirRef ptr = kir_at(fn, row, sixteen, 16 * (int64_t)bytes, 0);
    for (uint32_t i = 0; i < 16; i++) out_values[i] = plain_number(fn, dtype, kir_offset_const(fn, ptr, i * (int64_t)bytes));
}

static Sixteen decode(const Block *b, IrDtype dtype) {
    HD_ASSERT(decoders[dtype]);
    return decoders[dtype](b);
}

static Block block_at(KirFn *fn, IrDtype dtype, const SimtPlace *place) {
    Block b = {.fn = fn, .ptr = place->block, .s = kir_trunc(fn, place->sixteen, KIR_I32), .bytes = ir_dtype_info(dtype)->block_bytes};
    if (!place->scale) return b;
    SimtSplit split = simt_split(dtype);
    b.bytes = split.body, b.scale = place->scale, b.scale_at = split.at, b.moved = split.at ? 0 : split.bytes;
    return b;
}

bool simt_scales_32(IrDtype dtype) {
    static const bool has_16[IR_DTYPE_COUNT] = {[IR_Q2_K] = true, [IR_Q3_K] = true, [IR_Q6_K] = true, [IR_IQ2_XS] = true,
                                                [IR_IQ2_S] = true, [IR_IQ1_M] = true, [IR_NVFP4] = true};
    return decoders[dtype] && !has_16[dtype];
}

bool simt_adds(IrDtype dtype) {
    return dtype == IR_Q4_1 || dtype == IR_Q5_1 || dtype == IR_Q2_K || dtype == IR_Q4_K || dtype == IR_Q5_K;
}

// Unsigned codes above 127 are moved down.
void simt_decode16_bytes(KirFn *fn, IrDtype dtype, const SimtPlace *place, SimtBytes *out_bytes) {
    Block b = block_at(fn, dtype, place);
    Sixteen q = decode(&b, dtype);
    bool high = !q.is_signed && q.less > 127;
    *out_bytes = (SimtBytes){.less = high ? q.less - 128 : q.less, .scale = q.scale, .add = q.add};
    for (int i = 0; i < 4; i++) out_bytes->word[i] = high ? kir_xor(fn, q.codes.word[i], number(&b, 128 * each)) : q.codes.word[i];
}

void simt_decode16(KirFn *fn, IrDtype dtype, const SimtPlace *place, KirRef out_values[16]) {
    HD_ASSERT(simt_can_decode(dtype));
    if (!decoders[dtype]) return decode_plain(fn, dtype, place->block, place->sixteen, out_values);
    Block b = block_at(fn, dtype, place);
    Sixteen q = decode(&b, dtype);
    for (uint32_t l = 0; l < 16; l++) {
        KirRef integer = code(&b, &q, l), real = kir_itof(fn, q.less ? plus(&b, integer, -q.less) : integer);
        out_values[l] = q.add ? kir_fma(fn, real, q.scale, q.add) : kir_mul(fn, real, q.scale);
    }
}
