// SPDX-License-Identifier: Apache-2.0
// Reading panels (layout.h): where the parts of each type lie, and how a vector becomes unsigned quants or float32 numbers.
#include "codegen/cpu/blocks.h"
#include "codegen/cpu/mm.h"
#include "runtime/gguf/codebooks.h"

// Into the second cache SOON bytes before they are needed, into the first NEXT: the first has few places for lines on their way. Without that a kernel
// of one token is 0.85 (Q8_0) to 0.75 (BF16) as fast, with one prefetch into the first 0.9 to 0.98 (Emerald Rapids).
enum { SUPER = 256, VECTOR = 64, SOON = 8192, NEXT = 1024 };

static const MmFormat formats[IR_DTYPE_COUNT] = {
    [IR_F32] = {.part = 16},
    [IR_F16] = {.part = 16},
    [IR_BF16] = {.part = 32},
    [IR_Q8_0] = {32, 32, 128, false, false, false, NULL},
    [IR_Q4_0] = {32, 32, 8, false, false, false, NULL},
    [IR_Q4_K] = {64, 32, 0, true, true, false, NULL},
    [IR_Q5_K] = {64, 32, 0, true, true, false, NULL},
    [IR_Q6_K] = {64, 16, 32, false, true, false, NULL},
    [IR_IQ4_NL] = {32, 32, 128, false, false, false, ggml_iq4_values},
    [IR_IQ4_XS] = {32, 32, 128, false, true, false, ggml_iq4_values},
    [IR_MXFP4] = {32, 32, 128, false, false, true, ggml_fp4_doubled},
    // without a packed form: by groups of 32 or 16, with minima or not
#define DECODED(type, group, has_min) [IR_##type] = {32, group, 128, has_min, false, false, NULL}
    DECODED(Q5_0, 32, false), DECODED(IQ2_XXS, 32, false), DECODED(IQ3_XXS, 32, false), DECODED(IQ3_S, 32, false),
    DECODED(IQ1_S, 32, false), DECODED(TQ1_0, 32, false), DECODED(TQ2_0, 32, false), DECODED(Q4_1, 32, true),
    DECODED(Q5_1, 32, true), DECODED(Q3_K, 16, false), DECODED(IQ2_XS, 16, false), DECODED(IQ2_S, 16, false),
    DECODED(IQ1_M, 16, false), DECODED(NVFP4, 16, false), DECODED(Q2_K, 16, true),
#undef DECODED
};

const MmFormat *mm_format(IrDtype dtype) { return &formats[dtype]; }
bool mm_is_quantised(IrDtype dtype) { return formats[dtype].group != 0; }

uint64_t mm_decoded_bytes(IrDtype dtype) {
    const MmFormat *f = &formats[dtype];
    return f->group ? (f->has_min ? 2u : 1u) * 64 * (32 / f->group) + 8 * VECTOR : 0;
}

// ---- small helpers -------------------------------------------------------------------------------------------------

static KirRef load_at(KirFn *fn, KirType type, KirRef ptr, int64_t bytes) {
    return kir_load(fn, type, kir_offset_const(fn, ptr, bytes));
}
static KirRef i32x16(KirFn *fn, int64_t value) { return kir_int(fn, KT_I32x16, value); }

KirRef mm_field(KirFn *fn, KirRef words, int right, uint32_t bits) {
    if (right > 0) words = kir_lshr(fn, words, i32x16(fn, right));
    if (right < 0) words = kir_shl(fn, words, i32x16(fn, -right));
    return kir_and(fn, words, i32x16(fn, (int64_t)bits));
}

static KirRef halves_at(KirFn *fn, KirRef ptr, int64_t bytes) { return kir_f16_f32(fn, load_at(fn, KT_I16x16, ptr, bytes)); }

static KirRef bytes_at(KirFn *fn, KirRef ptr, int64_t bytes, bool is_signed) {
    KirRef b = load_at(fn, KT_I8x16, ptr, bytes);
    return kir_itof(fn, is_signed ? kir_sext(fn, b, KIR_I32) : kir_zext(fn, b, KIR_I32));
}

// ---- superblocks ---------------------------------------------------------------------------------------------------

static int64_t super_bytes(IrDtype dtype) { return (int64_t)cg_panel_bytes(dtype, SUPER); }

void mm_super_open(MmCursor *c, KirRef k0) {
    KirFn *fn = c->fn;
    if (!formats[c->dtype].has_super || c->decoded) return;
    c->block = kir_at(fn, c->panel, kir_lshr(fn, k0, kir_i64(fn, 8)), super_bytes(c->dtype), 0);
    c->d = halves_at(fn, c->block, 0);
    if (formats[c->dtype].has_min) c->dmin = halves_at(fn, c->block, 32);
}

// ---- parts ---------------------------------------------------------------------------------------------------------

// Q8_0, Q4_0 and IQ4_NL: blocks lie in pairs, both scales first.
static void open_pair(MmCursor *c, KirRef k0, KirRef k) {
    KirFn *fn = c->fn;
    int64_t pair = (int64_t)cg_panel_bytes(c->dtype, 64);
    KirRef column = kir_add(fn, k0, k);
    KirRef at = kir_at(fn, c->panel, kir_lshr(fn, column, kir_i64(fn, 6)), pair, 0);
    KirRef second = kir_and(fn, kir_lshr(fn, column, kir_i64(fn, 5)), kir_i64(fn, 1));
    c->scale[0] = halves_at(fn, kir_at(fn, at, second, 32, 0), 0);
    c->quants = kir_at(fn, at, second, (pair - VECTOR) / 2, VECTOR);
}

static void open_q4_k_or_q5_k(MmCursor *c, KirRef k) {
    KirFn *fn = c->fn;
    int64_t bytes = (super_bytes(c->dtype) - VECTOR) / 4;
    KirRef part = kir_at(fn, c->block, kir_lshr(fn, k, kir_i64(fn, 6)), bytes, VECTOR);
    for (int g = 0; g < 2; g++) {
        c->scale[g] = kir_mul(fn, c->d, bytes_at(fn, part, 16 * g, false));
        c->min[g] = kir_mul(fn, c->dmin, bytes_at(fn, part, 32 + 16 * g, false));
    }
    c->bits = kir_offset_const(fn, part, VECTOR);
    c->quants = kir_offset_const(fn, part, c->dtype == IR_Q5_K ? 3 * VECTOR : VECTOR);
}

static void open_q6_k(MmCursor *c, KirRef k) {
    KirFn *fn = c->fn;
    int64_t bytes = (super_bytes(IR_Q6_K) - VECTOR) / 4;
    KirRef part = kir_at(fn, c->block, kir_lshr(fn, k, kir_i64(fn, 6)), bytes, VECTOR);
    for (int g = 0; g < 4; g++) c->scale[g] = kir_mul(fn, c->d, bytes_at(fn, part, 16 * g, true));
    c->quants = kir_offset_const(fn, part, VECTOR);
}

static void open_iq4_xs(MmCursor *c, KirRef k) {
    KirFn *fn = c->fn;
    KirRef group = kir_lshr(fn, k, kir_i64(fn, 5));
    c->scale[0] = kir_mul(fn, c->d, bytes_at(fn, kir_at(fn, c->block, group, 16, VECTOR), 0, true));
    c->quants = kir_at(fn, c->block, group, 4 * VECTOR, VECTOR + 128);
}

static void open_mxfp4(MmCursor *c, KirRef k0, KirRef k) {
    KirFn *fn = c->fn;
    KirRef column = kir_add(fn, k0, k);
    KirRef four = kir_at(fn, c->panel, kir_lshr(fn, column, kir_i64(fn, 7)), (int64_t)cg_panel_bytes(IR_MXFP4, 128), 0);
    KirRef block = kir_and(fn, kir_lshr(fn, column, kir_i64(fn, 5)), kir_i64(fn, 3));
    c->scale[0] = cg_exponent_half(fn, kir_zext(fn, kir_load(fn, KT_I8x16, kir_at(fn, four, block, 16, 0)), KIR_I32));
    c->quants = kir_at(fn, four, block, 4 * VECTOR, VECTOR);
}

// What mm_decode.c makes.
static void open_decoded(MmCursor *c, KirRef k0, KirRef k) {
    KirFn *fn = c->fn;
    const MmFormat *f = &formats[c->dtype];
    int groups = 32 / f->group;
    KirRef piece = kir_at(fn, c->panel, kir_lshr(fn, kir_add(fn, k0, k), kir_i64(fn, 5)), (int64_t)mm_decoded_bytes(c->dtype), 0);
    for (int g = 0; g < groups; g++) c->scale[g] = load_at(fn, KT_F32x16, piece, VECTOR * g);
    for (int g = 0; g < groups && f->has_min; g++) c->min[g] = load_at(fn, KT_F32x16, piece, VECTOR * (groups + g));
    c->quants = kir_offset_const(fn, piece, VECTOR * (f->has_min ? 2 * groups : groups));
}

static int64_t column_bytes(IrDtype dtype) { return dtype == IR_F32 ? 64 : 32; }   // of plain numbers; bf16 has 64 per two

static void open_packed(MmCursor *c, KirRef k0, KirRef k) {
    switch (c->dtype) {
    case IR_Q8_0:
    case IR_Q4_0:
    case IR_IQ4_NL: open_pair(c, k0, k); break;
    case IR_IQ4_XS: open_iq4_xs(c, k); break;
    case IR_MXFP4: open_mxfp4(c, k0, k); break;
    case IR_Q4_K:
    case IR_Q5_K: open_q4_k_or_q5_k(c, k); break;
    case IR_Q6_K: open_q6_k(c, k); break;
    case IR_F32:
    case IR_F16:
    case IR_BF16: c->quants = kir_at(c->fn, c->panel, kir_add(c->fn, k0, k), column_bytes(c->dtype), 0); break;
    default: HD_ASSERT(!"a type without a packed form");
    }
}

void mm_part_open(MmCursor *c, KirRef k0, KirRef k) {
    (c->decoded ? open_decoded : open_packed)(c, k0, k);
    int64_t bytes = c->prefetch ? super_bytes(c->dtype) * c->part / SUPER : 0;   // of a part; what is less than a line comes with others
    for (int64_t at = 0; at + VECTOR <= bytes; at += VECTOR) {
        kir_prefetch_later(c->fn, kir_offset_const(c->fn, c->quants, at + SOON));
        kir_prefetch(c->fn, kir_offset_const(c->fn, c->quants, at + NEXT));
    }
}

// ---- quants --------------------------------------------------------------------------------------------------------

static KirRef vector_at(const MmCursor *c, KirRef ptr, uint32_t i) { return load_at(c->fn, KT_I32x16, ptr, (int64_t)i * VECTOR); }

// Nibbles of vectors 0..per_half-1: the low ones come first, then the high ones.
static KirRef nibbles(const MmCursor *c, uint32_t i, uint32_t per_half) {
    return mm_field(c->fn, vector_at(c, c->quants, i % per_half), i < per_half ? 0 : 4, 0x0f0f0f0f);
}

// What the codes stand for, with the offset.
static KirRef coded(const MmCursor *c, uint32_t i) {
    KirFn *fn = c->fn;
    uint8_t bytes[16];
    for (int code = 0; code < 16; code++) bytes[code] = (uint8_t)(formats[c->dtype].codes[code] + formats[c->dtype].offset);
    KirRef table = kir_load(fn, KT_I8x16, kir_table(fn, bytes, sizeof bytes, ir_dtype_info(c->dtype)->name));
    return kir_bitcast(fn, kir_lookup(fn, table, kir_bitcast(fn, nibbles(c, i, 4), KT_I8x64)), KT_I32x16);
}

static KirRef q5_k(const MmCursor *c, uint32_t i) {
    KirRef bit = mm_field(c->fn, vector_at(c, c->bits, i / 8), (int)(i % 8) - 4, 0x10101010);
    return kir_or(c->fn, nibbles(c, i, 8), bit);
}

static KirRef q6_k(const MmCursor *c, uint32_t i) {
    KirFn *fn = c->fn;
    uint32_t group = i / 4 * 3;
    if (i % 4 < 3) return mm_field(fn, vector_at(c, c->quants, group + i % 4), 0, 0x3f3f3f3f);
    KirRef low = mm_field(fn, vector_at(c, c->quants, group), 6, 0x03030303);
    KirRef middle = mm_field(fn, vector_at(c, c->quants, group + 1), 4, 0x0c0c0c0c);
    KirRef high = mm_field(fn, vector_at(c, c->quants, group + 2), 2, 0x30303030);
    return kir_or(fn, kir_or(fn, low, middle), high);
}

static KirRef quant_words(const MmCursor *c, uint32_t i) {
    if (c->decoded) return vector_at(c, c->quants, i);
    switch (c->dtype) {
    case IR_Q4_0: return nibbles(c, i, 4);
    case IR_IQ4_NL:
    case IR_IQ4_XS:
    case IR_MXFP4: return coded(c, i);
    case IR_Q4_K: return nibbles(c, i, 8);
    case IR_Q5_K: return q5_k(c, i);
    case IR_Q6_K: return q6_k(c, i);
    default: return vector_at(c, c->quants, i);
    }
}

KirRef mm_quants(const MmCursor *c, uint32_t i) { return kir_bitcast(c->fn, quant_words(c, i), KT_I8x64); }

// ---- numbers -------------------------------------------------------------------------------------------------------

// f32 of the even (low half) or odd column of a word that holds two bf16
static KirRef bf16_half(KirFn *fn, KirRef words, bool odd) {
    KirRef bits = odd ? mm_field(fn, words, 0, 0xffff0000) : kir_shl(fn, words, i32x16(fn, 16));
    return kir_bitcast(fn, bits, KT_F32x16);
}

static KirRef dequantise(const MmCursor *c, uint32_t i) {
    KirFn *fn = c->fn;
    const MmFormat *f = &formats[c->dtype];
    KirRef q = mm_field(fn, quant_words(c, i / 4), (int)(i % 4) * 8, 0xff);
    if (f->offset) q = kir_sub(fn, q, i32x16(fn, f->offset));
    KirRef number = kir_mul(fn, kir_itof(fn, q), c->scale[i / f->group]);
    return f->has_min ? kir_sub(fn, number, c->min[i / f->group]) : number;
}

KirRef mm_numbers(const MmCursor *c, uint32_t i) {
    switch (c->dtype) {
    case IR_F32: return load_at(c->fn, KT_F32x16, c->quants, (int64_t)i * 64);
    case IR_F16: return halves_at(c->fn, c->quants, (int64_t)i * 32);
    case IR_BF16: return bf16_half(c->fn, vector_at(c, c->quants, i / 2), i % 2);
    default: return dequantise(c, i);
    }
}

KirRef mm_bf16_pairs(const MmCursor *c, uint32_t i) { return kir_bitcast(c->fn, vector_at(c, c->quants, i), KIR_T(KIR_I16, 32)); }

KirRef mm_plain_column(const MmCursor *c, KirRef k) {
    KirFn *fn = c->fn;
    if (c->dtype == IR_F32) return kir_load(fn, KT_F32x16, kir_at(fn, c->panel, k, 64, 0));
    if (c->dtype == IR_F16) return halves_at(fn, kir_at(fn, c->panel, k, 32, 0), 0);
    KirRef words = kir_load(fn, KT_I32x16, kir_at(fn, c->panel, kir_lshr(fn, k, kir_i64(fn, 1)), 64, 0));
    KirRef odd = kir_cmp(fn, KIR_NE, kir_and(fn, k, kir_i64(fn, 1)), kir_i64(fn, 0));
    return kir_select(fn, odd, bf16_half(fn, words, true), bf16_half(fn, words, false));
}
