// SPDX-License-Identifier: Apache-2.0
// Decoded panels (layout.h), made in thread scratch where they are multiplied: of the types without a packed form from native rows, of others
// from packed panels.
//
// From native rows, a block of 16 rows at a time: each row is decoded to signed bytes in a stage, its scales go to the panel; then the stage is
// interleaved. Rows are a loop, not unrolled: decoding one block is code enough.
#include "codegen/cpu/blocks.h"
#include "codegen/cpu/mm.h"

enum { VECTOR = 64 };

// Row r's block at `block` to the stage, scales and minima to the pieces of the panel from `pieces` on.
static void decode_row(KirFn *fn, IrDtype dtype, KirRef block, KirRef r, KirRef stage, KirRef pieces) {
    const MmFormat *format = mm_format(dtype);
    int64_t width = ir_dtype_info(dtype)->block, groups = 32 / format->group;
    KirRef to = kir_at(fn, stage, r, width, 0), scales = kir_at(fn, pieces, r, 4, 0);
    for (uint32_t first = 0; first < width; first += 16) {
        CgQuants q = cg_block_quants(fn, dtype, block, first);
        kir_store(fn, kir_offset_const(fn, to, first), q.quants);
        if (first % format->group) continue;
        int64_t at = first / 32 * (int64_t)mm_decoded_bytes(dtype) + VECTOR * (first % 32 / format->group);
        kir_store(fn, kir_offset_const(fn, scales, at), q.scale);
        if (format->has_min) kir_store(fn, kir_offset_const(fn, scales, at + VECTOR * groups), q.min);
    }
}

// 32 columns of the stage: 8 vectors of unsigned quants.
static void interleave(KirFn *fn, IrDtype dtype, KirRef stage, KirRef piece) {
    int64_t width = ir_dtype_info(dtype)->block, bytes = (int64_t)mm_decoded_bytes(dtype);
    KirRef rows[CG_PANEL_ROWS], words[8];
    for (int r = 0; r < CG_PANEL_ROWS; r++) rows[r] = kir_load(fn, KIR_T(KIR_I32, 8), kir_offset_const(fn, stage, width * r));
    mm_interleave(fn, rows, words);
    for (int w = 0; w < 8; w++)
        kir_store(fn, kir_offset_const(fn, piece, bytes - 8 * VECTOR + VECTOR * w),
                  kir_xor(fn, words[w], kir_int(fn, KT_I32x16, 0x80808080)));
}

void mm_decode(KirFn *fn, IrDtype dtype, KirRef rows, KirRef k, KirRef valid, KirRef stage, KirRef panel) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    int64_t piece = (int64_t)mm_decoded_bytes(dtype), pieces = info->block / 32;
    KirRef zero = kir_i64(fn, 0), one = kir_i64(fn, 1), row_bytes = mm_native_row_bytes(fn, dtype, k);
    KirRef last = kir_sub(fn, valid, one);
    KirLoop blocks, row, part;
    kir_for_begin(fn, zero, kir_sdiv(fn, k, kir_i64(fn, info->block)), one, 0, NULL, &blocks);
    KirRef to = kir_at(fn, panel, blocks.iv, piece * pieces, 0), column = kir_at(fn, rows, blocks.iv, info->block_bytes, 0);
    kir_for_begin(fn, zero, kir_i64(fn, CG_PANEL_ROWS), one, 0, NULL, &row);
    KirRef block = kir_offset(fn, column, kir_mul(fn, kir_min(fn, row.iv, last), row_bytes));
    decode_row(fn, dtype, block, row.iv, stage, to);
    kir_for_end(fn, &row, NULL);
    kir_for_begin(fn, zero, kir_i64(fn, pieces), one, 0, NULL, &part);
    interleave(fn, dtype, kir_at(fn, stage, part.iv, 32, 0), kir_at(fn, to, part.iv, piece, 0));
    kir_for_end(fn, &part, NULL);
    kir_for_end(fn, &blocks, NULL);
}

// ---- from a packed panel -------------------------------------------------------------------------------------------

// Group g (32 columns) of the part that the cursor is at.
static void expand_group(const MmCursor *c, uint32_t g, KirRef piece) {
    KirFn *fn = c->fn;
    const MmFormat *format = mm_format(c->dtype);
    uint32_t scales = 32u / format->group;
    int64_t at = 0;
    for (uint32_t s = 0; s < scales; s++, at += VECTOR) kir_store(fn, kir_offset_const(fn, piece, at), c->scale[g * scales + s]);
    for (uint32_t s = 0; s < scales && format->has_min; s++, at += VECTOR) kir_store(fn, kir_offset_const(fn, piece, at), c->min[g * scales + s]);
    for (uint32_t v = 0; v < 8; v++, at += VECTOR) kir_store(fn, kir_offset_const(fn, piece, at), mm_quants(c, 8 * g + v));
}

typedef struct Walk { MmCursor cursor; KirLoop supers, parts; } Walk;

// Opens a loop over the whole parts of a packed panel; gives the part's first column.
static KirRef walk_begin(Walk *w, KirRef whole) {
    enum { SUPER = 256 };
    MmCursor *c = &w->cursor;
    KirFn *fn = c->fn;
    KirRef zero = kir_i64(fn, 0);
    kir_for_begin(fn, zero, whole, kir_i64(fn, SUPER), 0, NULL, &w->supers);
    mm_super_open(c, w->supers.iv);
    KirRef count = kir_min(fn, kir_sub(fn, whole, w->supers.iv), kir_i64(fn, SUPER));
    kir_for_begin(fn, zero, count, kir_i64(fn, mm_format(c->dtype)->part), 0, NULL, &w->parts);
    mm_part_open(c, w->supers.iv, w->parts.iv);
    return kir_add(fn, w->supers.iv, w->parts.iv);
}

static void walk_end(Walk *w) {
    kir_for_end(w->cursor.fn, &w->parts, NULL);
    kir_for_end(w->cursor.fn, &w->supers, NULL);
}

void mm_expand(KirFn *fn, IrDtype dtype, KirRef packed, KirRef k, KirRef panel) {
    int64_t bytes = (int64_t)mm_decoded_bytes(dtype);
    Walk w = {.cursor = {.fn = fn, .dtype = dtype, .panel = packed, .prefetch = true, .part = mm_format(dtype)->part}};
    KirRef piece = kir_at(fn, panel, kir_lshr(fn, walk_begin(&w, k), kir_i64(fn, 5)), bytes, 0);
    for (uint32_t g = 0; g < mm_format(dtype)->part / 32; g++) expand_group(&w.cursor, g, kir_offset_const(fn, piece, g * bytes));
    walk_end(&w);
}

void mm_expand_numbers(KirFn *fn, IrDtype dtype, KirRef packed, KirRef k, KirRef panel) {
    const MmFormat *format = mm_format(dtype);
    Walk w = {.cursor = {.fn = fn, .dtype = dtype, .panel = packed, .prefetch = true, .part = mm_format(dtype)->part}};
    KirRef whole = kir_and(fn, k, kir_i64(fn, -(int64_t)format->part));
    KirRef to = kir_at(fn, panel, walk_begin(&w, whole), VECTOR, 0);
    for (uint32_t i = 0; i < format->part; i++) kir_store(fn, kir_offset_const(fn, to, i * VECTOR), mm_numbers(&w.cursor, i));
    walk_end(&w);
    if (format->group) return;   // K is whole blocks
    KirLoop tail;
    kir_for_begin(fn, whole, k, kir_i64(fn, 1), 0, NULL, &tail);
    kir_store(fn, kir_at(fn, panel, tail.iv, VECTOR, 0), mm_plain_column(&w.cursor, tail.iv));
    kir_for_end(fn, &tail, NULL);
}
