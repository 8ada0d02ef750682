// SPDX-License-Identifier: Apache-2.0
// Making panels (layout.h) from 16 native rows (ggml's block formats).
//
// The same 8 words (32 bytes) of all 16 rows are loaded and transposed to 8 vectors whose lanes are rows; bit fields are then
// rearranged for all rows at once. Lanes of rows that do not exist are zero.
#include "codegen/cpu/blocks.h"
#include "codegen/cpu/mm.h"
#include "codegen/sched.h"

enum { ROWS = CG_PANEL_ROWS, WORDS = 8 };

typedef struct Pack {
    KirFn *fn;
    KirRef row[ROWS];            // ptr of each native row; of the first one for rows that do not exist
    KirRef exists;               // i1x16
    KirRef exists16;             // i64: rows that exist
    KirRef panel;                // ptr
} Pack;

static KirRef i32x16(KirFn *fn, int64_t value) { return kir_int(fn, KT_I32x16, value); }

static void begin(Pack *p, KirFn *fn, KirRef rows, KirRef row_bytes, KirRef valid, KirRef panel) {
    p->fn = fn;
    p->panel = panel;
    p->exists16 = valid;
    p->exists = kir_cmp(fn, KIR_LT, cg_lane_numbers(fn), kir_trunc(fn, valid, KIR_I32));
    for (int r = 0; r < ROWS; r++) {
        KirRef index = kir_i64(fn, r);
        if (r) index = kir_select(fn, kir_cmp(fn, KIR_LT, index, valid), index, kir_i64(fn, 0));
        p->row[r] = kir_offset(fn, rows, kir_mul(fn, index, row_bytes));
    }
}

// ---- transposing ---------------------------------------------------------------------------------------------------

// One step of the 8 x 8 transposition in both halves: lanes whose bit `step` differs from the vector's change places.
static void exchange(KirFn *fn, KirRef *v, int step) {
    uint8_t low[ROWS], high[ROWS];
    for (int l = 0; l < ROWS; l++) {
        low[l] = (uint8_t)(l & step ? ROWS + l - step : l);
        high[l] = (uint8_t)(l & step ? ROWS + l : l + step);
    }
    for (int i = 0; i < WORDS; i++) {
        if (i & step) continue;
        KirRef a = v[i], b = v[i + step];
        v[i] = kir_shuffle(fn, a, b, low, ROWS);
        v[i + step] = kir_shuffle(fn, a, b, high, ROWS);
    }
}

static void transpose(KirFn *fn, KirRef *v) {
    for (int step = 1; step < WORDS; step *= 2) exchange(fn, v, step);
}

static KirRef join(KirFn *fn, KirRef a, KirRef b) {
    static const uint8_t order[ROWS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return kir_shuffle(fn, a, b, order, ROWS);
}

void mm_interleave(KirFn *fn, const KirRef rows[ROWS], KirRef out_words[WORDS]) {
    for (int w = 0; w < WORDS; w++) out_words[w] = join(fn, rows[w], rows[w + WORDS]);
    transpose(fn, out_words);
}

// 8 words at `at` (i64 bytes) + displacement of each row: out[w] lane r is word w of row r.
static void load_words(const Pack *p, KirRef at, int64_t displacement, KirRef *out_words) {
    KirFn *fn = p->fn;
    KirType eight = KIR_T(KIR_I32, WORDS);
    KirRef part[ROWS];
    for (int r = 0; r < ROWS; r++)
        part[r] = kir_load(fn, eight, kir_offset_const(fn, kir_offset(fn, p->row[r], at), displacement));
    mm_interleave(fn, part, out_words);
}

// ---- storing -------------------------------------------------------------------------------------------------------

static KirRef existing(const Pack *p, KirRef words) { return kir_select(p->fn, p->exists, words, i32x16(p->fn, 0)); }
static void store_words(const Pack *p, KirRef to, int64_t displacement, KirRef words) {
    kir_store(p->fn, kir_offset_const(p->fn, to, displacement), existing(p, words));
}

// Low 16 bits or 8 bits of each lane, in 32 or 16 bytes.
static void store_halves(const Pack *p, KirRef to, int64_t displacement, KirRef words) {
    kir_store(p->fn, kir_offset_const(p->fn, to, displacement), kir_trunc(p->fn, existing(p, words), KIR_I16));
}
static void store_bytes(const Pack *p, KirRef to, int64_t displacement, KirRef words) {
    kir_store(p->fn, kir_offset_const(p->fn, to, displacement), kir_trunc(p->fn, existing(p, words), KIR_I8));
}

// A scale that stands alone in each block (where words around it would reach beyond the row): row by row.
static void copy_scalars(const Pack *p, KirType type, KirRef at, int64_t displacement, KirRef to) {
    KirFn *fn = p->fn;
    for (int r = 0; r < ROWS; r++) {
        KirRef bits = kir_load(fn, type, kir_offset_const(fn, kir_offset(fn, p->row[r], at), displacement));
        if (r) bits = kir_select(fn, kir_cmp(fn, KIR_LT, kir_i64(fn, r), p->exists16), bits, kir_int(fn, type, 0));
        kir_store(fn, kir_offset_const(fn, to, kir_type(fn, bits).scalar == KIR_I8 ? r : 2 * r), bits);
    }
}
static void copy_half(const Pack *p, KirRef at, int64_t displacement, KirRef to) {
    copy_scalars(p, KT_I16, at, displacement, to);
}

static void clear(KirFn *fn, KirRef panel, KirRef bytes) {
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), bytes, kir_i64(fn, 64), 0, NULL, &loop);
    kir_store(fn, kir_offset(fn, panel, loop.iv), i32x16(fn, 0));
    kir_for_end(fn, &loop, NULL);
}

// ---- plain numbers -------------------------------------------------------------------------------------------------

static int64_t element_bytes(IrDtype dtype) { return dtype == IR_F32 ? 4 : 2; }

// Byte offset of column k in the panel, of row 0; rows are `stride` bytes apart.
static KirRef column_at(const Pack *p, IrDtype dtype, KirRef k, int64_t *out_stride) {
    KirFn *fn = p->fn;
    *out_stride = dtype == IR_F16 ? 2 : 4;
    if (dtype != IR_BF16) return kir_at(fn, p->panel, k, 16 * element_bytes(dtype), 0);
    KirRef odd = kir_and(fn, k, kir_i64(fn, 1));
    return kir_at(fn, kir_at(fn, p->panel, kir_lshr(fn, k, kir_i64(fn, 1)), 64, 0), odd, 2, 0);
}

static void plain_tail(const Pack *p, IrDtype dtype, KirRef begin_k, KirRef end_k) {
    KirFn *fn = p->fn;
    KirType type = dtype == IR_F32 ? KT_I32 : KT_I16;
    KirLoop loop;
    int64_t stride;
    kir_for_begin(fn, begin_k, end_k, kir_i64(fn, 1), 0, NULL, &loop);
    KirRef to = column_at(p, dtype, loop.iv, &stride);
    for (int r = 0; r < ROWS; r++) {
        KirRef bits = kir_load(fn, type, kir_at(fn, p->row[r], loop.iv, element_bytes(dtype), 0));
        if (r) bits = kir_select(fn, kir_cmp(fn, KIR_LT, kir_i64(fn, r), p->exists16), bits, kir_int(fn, type, 0));
        kir_store(fn, kir_offset_const(fn, to, stride * r), bits);
    }
    kir_for_end(fn, &loop, NULL);
}

static void pack_plain(const Pack *p, IrDtype dtype, int64_t columns, KirRef k) {
    KirFn *fn = p->fn;
    int64_t per_round = 32 / element_bytes(dtype), stride;
    KirRef words[WORDS], whole = columns % per_round ? kir_and(fn, k, kir_i64(fn, -per_round)) : k;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), whole, kir_i64(fn, per_round), 0, NULL, &loop);
    load_words(p, kir_mul(fn, loop.iv, kir_i64(fn, element_bytes(dtype))), 0, words);
    KirRef to = column_at(p, dtype, loop.iv, &stride);
    for (int w = 0; w < WORDS; w++) {
        if (dtype != IR_F16) {
            store_words(p, to, 64 * w, words[w]);
        } else {
            store_halves(p, to, 64 * w, words[w]);
            store_halves(p, to, 64 * w + 32, kir_lshr(fn, words[w], i32x16(fn, 16)));
        }
    }
    kir_for_end(fn, &loop, NULL);
    if (columns % per_round) plain_tail(p, dtype, whole, k);
}

// ---- blocks of 32 --------------------------------------------------------------------------------------------------

// Block `index` (i64) of a pair: where its scale and its quants go.
static void pair_at(const Pack *p, IrDtype dtype, KirRef index, KirRef *out_scale, KirRef *out_quants) {
    KirFn *fn = p->fn;
    int64_t pair = (int64_t)cg_panel_bytes(dtype, 64);
    KirRef at = kir_at(fn, p->panel, kir_lshr(fn, index, kir_i64(fn, 1)), pair, 0), second = kir_and(fn, index, kir_i64(fn, 1));
    *out_scale = kir_at(fn, at, second, 32, 0);
    *out_quants = kir_at(fn, at, second, (pair - 64) / 2, 64);
}

static void pack_q8_0(const Pack *p, KirRef index, KirRef at) {
    KirRef scale, quants, words[WORDS];
    pair_at(p, IR_Q8_0, index, &scale, &quants);
    copy_half(p, at, 0, scale);
    load_words(p, at, 2, words);
    for (int w = 0; w < WORDS; w++) store_words(p, quants, 64 * w, kir_xor(p->fn, words[w], i32x16(p->fn, 0x80808080)));
}

// 16 bytes of nibbles at `displacement` of each row's block: blocks do not fill whole words and words around may lie beyond the
// row, so they are loaded as four words each.
static void copy_nibbles(const Pack *p, KirRef at, int64_t displacement, KirRef to) {
    KirFn *fn = p->fn;
    for (int r = 0; r < ROWS; r++)
        for (int w = 0; w < 4; w++) {
            KirRef bits = kir_load(fn, KT_I32, kir_offset_const(fn, kir_offset(fn, p->row[r], at), displacement + 4 * w));
            if (r) bits = kir_select(fn, kir_cmp(fn, KIR_LT, kir_i64(fn, r), p->exists16), bits, kir_int(fn, KT_I32, 0));
            kir_store(fn, kir_offset_const(fn, to, 64 * w + 4 * r), bits);
        }
}

static void pack_q4_0(const Pack *p, KirRef index, KirRef at) {
    KirRef scale, quants;
    pair_at(p, IR_Q4_0, index, &scale, &quants);
    copy_half(p, at, 0, scale);
    copy_nibbles(p, at, 2, quants);
}

static void pack_mxfp4(const Pack *p, KirRef index, KirRef at) {
    KirFn *fn = p->fn;
    KirRef four = kir_at(fn, p->panel, kir_lshr(fn, index, kir_i64(fn, 2)), (int64_t)cg_panel_bytes(IR_MXFP4, 128), 0);
    KirRef block = kir_and(fn, index, kir_i64(fn, 3));
    copy_scalars(p, KT_I8, at, 0, kir_at(fn, four, block, 16, 0));
    copy_nibbles(p, at, 1, kir_at(fn, four, block, 256, 64));
}

// ---- blocks of 256 -------------------------------------------------------------------------------------------------

// Header of Q4_K and Q5_K: word 0 is d | dmin << 16, words 1..3 hold eight 6-bit scales and minima.
static void pack_header(const Pack *p, const KirRef *words, KirRef block, int64_t part_bytes) {
    KirFn *fn = p->fn;
    store_halves(p, block, 0, words[0]);
    store_halves(p, block, 32, kir_lshr(fn, words[0], i32x16(fn, 16)));
    KirRef scales[2] = {mm_field(fn, words[1], 0, 0x3f3f3f3f),
                        kir_or(fn, mm_field(fn, words[3], 0, 0x0f0f0f0f), mm_field(fn, words[1], 2, 0x30303030))};
    KirRef mins[2] = {mm_field(fn, words[2], 0, 0x3f3f3f3f),
                      kir_or(fn, mm_field(fn, words[3], 4, 0x0f0f0f0f), mm_field(fn, words[2], 2, 0x30303030))};
    for (int j = 0; j < 8; j++) {
        KirRef part = kir_offset_const(fn, block, 64 + part_bytes * (j / 2));
        store_bytes(p, part, 16 * (j % 2), kir_lshr(fn, scales[j / 4], i32x16(fn, 8 * (j % 4))));
        store_bytes(p, part, 32 + 16 * (j % 2), kir_lshr(fn, mins[j / 4], i32x16(fn, 8 * (j % 4))));
    }
}

// The fifth bits: bit j of native byte l is that of column 32 j + l.
static void pack_fifth_bits(const Pack *p, KirRef at, int64_t displacement, KirRef block, int64_t part_bytes) {
    KirFn *fn = p->fn;
    KirRef words[WORDS];
    load_words(p, at, displacement, words);
    for (int j = 0; j < 8; j++) {
        KirRef bits = 0;
        for (int i = 0; i < WORDS; i++) {
            KirRef bit = mm_field(fn, words[i], j - i, 0x01010101u << i);
            bits = bits ? kir_or(fn, bits, bit) : bit;
        }
        store_words(p, block, 128 + part_bytes * (j / 2) + 64 * (j % 2), bits);
    }
}

static void pack_q4_k_or_q5_k(const Pack *p, IrDtype dtype, KirRef index, KirRef at) {
    bool five = dtype == IR_Q5_K;
    int64_t bytes = (int64_t)cg_panel_bytes(dtype, 256), part_bytes = (bytes - 64) / 4;
    KirRef block = kir_at(p->fn, p->panel, index, bytes, 0), words[WORDS];
    load_words(p, at, 0, words);
    pack_header(p, words, block, part_bytes);
    if (five) pack_fifth_bits(p, at, 16, block, part_bytes);
    for (int part = 0; part < 4; part++) {
        load_words(p, at, (five ? 48 : 16) + 32 * part, words);
        for (int w = 0; w < WORDS; w++) store_words(p, block, 64 + part_bytes * part + (five ? 192 : 64) + 64 * w, words[w]);
    }
}

// Column 128 n + 32 t + l has its low 4 bits in nibble t / 2 of ql[64 n + 32 (t % 2) + l], its high 2 in bits 2 t of qh[32 n +
// l]; these are groups 8 n + 2 t and the next. V3's bits are spread over A, B, C.
static void pack_q6_group(const Pack *p, const KirRef *low, const KirRef *high, int t, KirRef to) {
    KirFn *fn = p->fn;
    KirRef v[4];
    for (int i = 0; i < 4; i++)
        v[i] = kir_or(fn, mm_field(fn, low[i], t / 2 * 4, 0x0f0f0f0f), mm_field(fn, high[i], 2 * t - 4, 0x30303030));
    for (int i = 0; i < 3; i++) store_words(p, to, 64 * i, kir_or(fn, v[i], mm_field(fn, v[3], 2 * i - 6, 0xc0c0c0c0)));
}

static void pack_q6_k(const Pack *p, KirRef index, KirRef at) {
    KirFn *fn = p->fn;
    int64_t bytes = (int64_t)cg_panel_bytes(IR_Q6_K, 256), part_bytes = (bytes - 64) / 4;
    KirRef block = kir_at(fn, p->panel, index, bytes, 0), words[WORDS], low[2][WORDS], high[WORDS];
    copy_half(p, at, 208, block);
    kir_store(fn, kir_offset_const(fn, block, 32), kir_int(fn, KIR_T(KIR_I32, 8), 0));
    load_words(p, at, 176, words);                       // words 4..7: the 16 scales
    for (int g = 0; g < 16; g++)
        store_bytes(p, block, 64 + part_bytes * (g / 4) + 16 * (g % 4), kir_lshr(fn, words[4 + g / 4], i32x16(fn, 8 * (g % 4))));
    for (int n = 0; n < 2; n++) {
        for (int h = 0; h < 2; h++) load_words(p, at, 64 * n + 32 * h, low[h]);
        load_words(p, at, 128 + 32 * n, high);
        for (int t = 0; t < 4; t++)
            for (int h = 0; h < 2; h++) {
                int g = 8 * n + 2 * t + h;
                KirRef to = kir_offset_const(fn, block, 64 + part_bytes * (g / 4) + 64 + 192 * (g % 4));
                pack_q6_group(p, low[t % 2] + 4 * h, high + 4 * h, t, to);
            }
    }
}

// Word 0 is d | high scale bits << 16, word 1 the low ones; the groups keep their halves of 16.
static void pack_iq4_xs(const Pack *p, KirRef index, KirRef at) {
    KirFn *fn = p->fn;
    KirRef block = kir_at(fn, p->panel, index, (int64_t)cg_panel_bytes(IR_IQ4_XS, 256), 0), words[WORDS];
    load_words(p, at, 0, words);
    store_halves(p, block, 0, words[0]);
    kir_store(fn, kir_offset_const(fn, block, 32), kir_int(fn, KIR_T(KIR_I32, 8), 0));
    for (int j = 0; j < 8; j++) {
        KirRef bits = kir_or(fn, mm_field(fn, words[1], 4 * j, 15), mm_field(fn, words[0], 12 + 2 * j, 0x30));
        store_bytes(p, block, 64 + 16 * j, kir_sub(fn, bits, i32x16(fn, 32)));
    }
    for (int pair = 0; pair < 4; pair++) {
        load_words(p, at, 8 + 32 * pair, words);
        for (int w = 0; w < WORDS; w++) store_words(p, block, 192 + 512 * pair + 64 * w, words[w]);
    }
}

static void pack_blocks(const Pack *p, IrDtype dtype, KirRef k) {
    KirFn *fn = p->fn;
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_sdiv(fn, k, kir_i64(fn, info->block)), kir_i64(fn, 1), 0, NULL, &loop);
    KirRef at = kir_mul(fn, loop.iv, kir_i64(fn, info->block_bytes));
    switch (dtype) {
    case IR_Q8_0: pack_q8_0(p, loop.iv, at); break;
    case IR_Q4_0:
    case IR_IQ4_NL: pack_q4_0(p, loop.iv, at); break;
    case IR_MXFP4: pack_mxfp4(p, loop.iv, at); break;
    case IR_IQ4_XS: pack_iq4_xs(p, loop.iv, at); break;
    case IR_Q6_K: pack_q6_k(p, loop.iv, at); break;
    default: pack_q4_k_or_q5_k(p, dtype, loop.iv, at); break;
    }
    kir_for_end(fn, &loop, NULL);
}

// ---- the entry ------------------------------------------------------------------------------------------------------

KirRef mm_native_row_bytes(KirFn *fn, IrDtype dtype, KirRef k) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    return kir_mul(fn, kir_sdiv(fn, k, kir_i64(fn, info->block)), kir_i64(fn, info->block_bytes));
}

void mm_pack(KirFn *fn, IrDtype dtype, KirRef rows, int64_t columns, KirRef k, KirRef valid, KirRef panel) {
    Pack p;
    begin(&p, fn, rows, mm_native_row_bytes(fn, dtype, k), valid, panel);
    if (cg_panel_padded(dtype, (uint64_t)columns))
        clear(fn, panel, kir_i64(fn, (int64_t)cg_panel_bytes(dtype, (uint64_t)columns)));
    if (mm_is_quantised(dtype)) pack_blocks(&p, dtype, k);
    else pack_plain(&p, dtype, columns, k);
}
