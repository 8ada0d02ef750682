// SPDX-License-Identifier: Apache-2.0
// The micro-kernel (mm.h): one generator for every number of tokens, so that the arithmetic of a token cannot depend on it.
//
//   bf16, int8:   total = 0
//                 for each 256 columns:  sum = 0;  for each part:  sum += product of the part;   total += sum
//   float32:      total = rest = 0
//                 for each 16 columns:   x = product of the first 8 + (rest + product of the others)
//                                        total += x;  rest = what that has lost
//                                        (without fma the columns of a product join two by two)
//   plain numbers, K not whole parts:    tail = rest or 0;  for the columns left:  tail += product
//   the result is total + rest or tail
//
// Sums of parts are short chains of their own: the processor overlaps them. In float32 the error does not grow with K, at no more
// additions than sums in three steps (8, 16 and 256 columns) would have; where activations were rounded to bf16 or int8, that
// rounding is what counts.
#include "codegen/cpu/mm.h"

enum { SUPER = 256 };
typedef struct Tile {
    KirFn *fn;
    const MmProduct *product;
    const MmFormat *format;
    uint32_t tokens, panels, lanes, part;   // lanes = panels * tokens: sums at [panel * tokens + token]
    uint32_t carried;                       // numbers that a loop carries: sums, in float32 followed by as many rests
    const KirRef *rows;
    MmCursor cursor[MM_MAX_PANELS];
} Tile;

static KirRef zero(KirFn *fn) { return kir_float(fn, KT_F32x16, 0.0f); }
static KirRef broadcast(KirFn *fn, KirType type, KirRef ptr, int64_t bytes, uint32_t lanes) {
    return kir_splat(fn, kir_load(fn, type, kir_offset_const(fn, ptr, bytes)), lanes);
}
// Four bytes or two halves of an activation row in all lanes.
static KirRef broadcast_word(KirFn *fn, KirRef ptr, int64_t bytes, KirType as) {
    return kir_bitcast(fn, broadcast(fn, KT_I32, ptr, bytes, 16), as);
}

// ---- float32 activations -------------------------------------------------------------------------------------------

// sum + a0 w0 + a1 w1 for a target without fma, whose chains of 8 would lose a quarter more than those of fma: to add the two
// products first halves the chain at the same price. sum 0: there is none yet.
static KirRef add_two(KirFn *fn, const KirRef a[2], const KirRef w[2], KirRef sum) {
    KirRef both = kir_add(fn, kir_mul(fn, a[0], w[0]), kir_mul(fn, a[1], w[1]));
    return sum ? kir_add(fn, sum, both) : both;
}

static KirRef add_one(KirFn *fn, KirRef a, KirRef w, KirRef sum) { return sum ? kir_fma(fn, a, w, sum) : kir_mul(fn, a, w); }

// sums: the totals, then the rests. Chains of 4 would lose a tenth less and take a fifteenth longer.
static void part_f32(const Tile *t, KirRef column, KirRef *sums) {
    KirFn *fn = t->fn;
    KirRef x[MM_MAX_TOKENS], w[MM_MAX_PANELS][2], a[2], first[MM_MAX_LANES], second[MM_MAX_LANES], *rests = sums + t->lanes;
    uint32_t step = t->product->fused ? 1 : 2;
    for (uint32_t i = 0; i < t->tokens; i++) x[i] = kir_at(fn, t->rows[i], column, 4, 0);
    for (uint32_t k = 0; k < t->part; k += step) {
        KirRef *chain = k % 16 < 8 ? first : second;
        for (uint32_t i = 0; i < step * t->panels; i++) w[i / step][i % step] = mm_numbers(&t->cursor[i / step], k + i % step);
        for (uint32_t i = 0; i < t->tokens; i++) {
            for (uint32_t j = 0; j < step; j++) a[j] = broadcast(fn, KT_F32, x[i], 4 * (k + j), 16);
            for (uint32_t p = 0, at = i; p < t->panels; p++, at += t->tokens) {
                KirRef before = k % 16 == 0 ? 0 : k % 16 == 8 ? rests[at] : chain[at];
                chain[at] = step == 1 ? add_one(fn, a[0], w[p][0], before) : add_two(fn, a, w[p], before);
                if (k % 16 + step == 16) kir_accumulate(fn, &sums[at], &rests[at], kir_add(fn, first[at], second[at]));
            }
        }
    }
}

// ---- bf16 activations ----------------------------------------------------------------------------------------------

static void part_bf16(const Tile *t, KirRef column, KirRef *sums) {
    KirFn *fn = t->fn;
    KirRef x[MM_MAX_TOKENS], w[MM_MAX_PANELS], acc[MM_MAX_LANES];
    for (uint32_t i = 0; i < t->tokens; i++) x[i] = kir_at(fn, t->rows[i], column, 2, 0);
    for (uint32_t at = 0; at < t->lanes; at++) acc[at] = zero(fn);
    for (uint32_t pair = 0; pair < t->part / 2; pair++) {
        for (uint32_t p = 0; p < t->panels; p++) w[p] = mm_bf16_pairs(&t->cursor[p], pair);
        for (uint32_t i = 0; i < t->tokens; i++) {
            KirRef a = broadcast_word(fn, x[i], 4 * pair, KIR_T(KIR_I16, 32));
            for (uint32_t p = 0, at = i; p < t->panels; p++, at += t->tokens) acc[at] = kir_dot_bf16(fn, acc[at], w[p], a);
        }
    }
    for (uint32_t at = 0; at < t->lanes; at++) sums[at] = kir_add(fn, sums[at], acc[at]);
}

// ---- int8 activations ----------------------------------------------------------------------------------------------
// A group of 32 columns of the activation row has an f32 scale and the i32 sum of its values (ir/dtypes.def, q8a).

// ptr, at the part's first column; half: sums (i32) of the halves of the group, where these have scales of their own
typedef struct Q8Row { KirRef values, scales, sums, half[2]; } Q8Row;

static Q8Row q8_row(const Tile *t, KirRef row, KirRef column) {
    KirFn *fn = t->fn;
    KirRef scales = kir_offset(fn, row, t->product->k), group = kir_lshr(fn, column, kir_i64(fn, 5));
    KirRef sums = kir_offset(fn, scales, kir_lshr(fn, t->product->k, kir_i64(fn, 3)));
    return (Q8Row){kir_offset(fn, row, column), kir_at(fn, scales, group, 4, 0), kir_at(fn, sums, group, 4, 0), {0, 0}};
}

// Sum of 16 values of the row (i32), which q8a does not keep.
static KirRef half_sum(KirFn *fn, KirRef values) {
    KirRef fours = kir_dot_u8i8(fn, kir_int(fn, KIR_T(KIR_I32, 4), 0), kir_int(fn, KT_I8x16, 1), kir_load(fn, KT_I8x16, values));
    return kir_reduce_add(fn, fours);
}

// Where the integer sums of group g begin: at minus the offset of the quants times the sum of the values, one per scale.
static void start_q8a(const Tile *t, Q8Row *x, uint32_t g, KirRef *out_first, KirRef *out_second) {
    KirFn *fn = t->fn;
    int64_t factor = -(int64_t)t->format->offset;
    if (!factor) {
        *out_first = *out_second = kir_int(fn, KT_I32x16, 0);
        return;
    }
    KirRef whole = kir_load(fn, KT_I32, kir_offset_const(fn, x->sums, 4 * g)), scale = kir_int(fn, KT_I32, factor);
    KirRef first = t->format->group == 32 ? whole : half_sum(fn, kir_offset_const(fn, x->values, 32 * g));
    *out_first = kir_splat(fn, kir_mul(fn, first, scale), 16);
    *out_second = 0;
    if (t->format->group == 32) return;
    x->half[0] = first;
    x->half[1] = kir_sub(fn, whole, first);
    *out_second = kir_splat(fn, kir_mul(fn, x->half[1], scale), 16);
}

// acc[h] += products of group g with the activations, exactly; h: which of the group's scales.
static void multiply_q8a(const Tile *t, const Q8Row *x, uint32_t g, KirRef acc[2][MM_MAX_LANES]) {
    KirFn *fn = t->fn;
    KirRef w[MM_MAX_PANELS];
    for (uint32_t v = 0; v < 8; v++) {
        uint32_t h = v * (32 / t->format->group) / 8;
        for (uint32_t p = 0; p < t->panels; p++) w[p] = mm_quants(&t->cursor[p], 8 * g + v);
        for (uint32_t i = 0; i < t->tokens; i++) {
            KirRef a = broadcast_word(fn, x[i].values, 32 * g + 4 * v, KT_I8x64);
            for (uint32_t p = 0, at = i; p < t->panels; p++, at += t->tokens) acc[h][at] = kir_dot_u8i8(fn, acc[h][at], w[p], a);
        }
    }
}

static KirRef minus_min(KirFn *fn, KirRef p, KirRef value_sum, KirRef min) {
    return kir_fma(fn, kir_neg(fn, kir_itof(fn, value_sum)), min, p);
}

// sum + (isum * scale [+ isum2 * scale2] [- asum * min [- asum2 * min2]]) * activation scale
static KirRef scale_q8a(const Tile *t, const Q8Row *x, uint32_t g, const MmCursor *c, KirRef first, KirRef second, KirRef sum) {
    KirFn *fn = t->fn;
    const KirRef *scale = c->scale + g * (32 / t->format->group), *min = c->min + g * (32 / t->format->group);
    KirRef p = kir_mul(fn, kir_itof(fn, first), scale[0]);
    if (t->format->group == 16) p = kir_fma(fn, kir_itof(fn, second), scale[1], p);
    if (t->format->has_min && t->format->group == 32) p = minus_min(fn, p, broadcast(fn, KT_I32, x->sums, 4 * g, 16), min[0]);
    for (uint32_t h = 0; t->format->has_min && t->format->group == 16 && h < 2; h++)
        p = minus_min(fn, p, kir_splat(fn, x->half[h], 16), min[h]);
    return kir_fma(fn, p, broadcast(fn, KT_F32, x->scales, 4 * g, 16), sum);
}

static void group_q8a(const Tile *t, Q8Row *x, uint32_t g, KirRef *sums) {
    KirRef acc[2][MM_MAX_LANES];
    for (uint32_t i = 0; i < t->tokens; i++) {
        start_q8a(t, &x[i], g, &acc[0][i], &acc[1][i]);
        for (uint32_t at = i + t->tokens; at < t->lanes; at += t->tokens) acc[0][at] = acc[0][i], acc[1][at] = acc[1][i];
    }
    multiply_q8a(t, x, g, acc);
    for (uint32_t at = 0; at < t->lanes; at++)
        sums[at] = scale_q8a(t, &x[at % t->tokens], g, &t->cursor[at / t->tokens], acc[0][at], acc[1][at], sums[at]);
}

static void part_q8a(const Tile *t, KirRef column, KirRef *sums) {
    Q8Row x[MM_MAX_TOKENS];
    for (uint32_t i = 0; i < t->tokens; i++) x[i] = q8_row(t, t->rows[i], column);
    for (uint32_t g = 0; g < t->part / 32; g++) group_q8a(t, x, g, sums);
}

// ---- the loops -----------------------------------------------------------------------------------------------------

static void part(const Tile *t, KirRef column, KirRef *sums) {
    switch (t->product->activation) {
    case IR_F32: part_f32(t, column, sums); break;
    case IR_BF16: part_bf16(t, column, sums); break;
    default: part_q8a(t, column, sums); break;
    }
}

// Sums (and rests) of `count` columns from k0 on (i64) added to `init`.
static void sum_parts(Tile *t, KirRef k0, KirRef count, const KirRef *init, KirRef *out_sums) {
    KirFn *fn = t->fn;
    KirRef sums[2 * MM_MAX_LANES];
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, t->part), t->carried, init, &loop);
    for (uint32_t i = 0; i < t->carried; i++) sums[i] = loop.carried[i];
    for (uint32_t p = 0; p < t->panels; p++) mm_part_open(&t->cursor[p], k0, loop.iv);
    part(t, kir_add(fn, k0, loop.iv), sums);
    kir_for_end(fn, &loop, sums);
    for (uint32_t i = 0; i < t->carried; i++) out_sums[i] = loop.results[i];
}

// Those of columns 0..whole-1, superblock by superblock.
static void sum_supers(Tile *t, KirRef whole, const KirRef *zeros, KirRef *out_sums) {
    KirFn *fn = t->fn;
    KirRef sums[2 * MM_MAX_LANES];
    KirLoop loop;
    bool rests = t->carried > t->lanes;
    kir_for_begin(fn, kir_i64(fn, 0), whole, kir_i64(fn, SUPER), t->carried, zeros, &loop);
    for (uint32_t p = 0; p < t->panels; p++) mm_super_open(&t->cursor[p], loop.iv);
    KirRef count = t->format->has_super ? kir_i64(fn, SUPER) : kir_min(fn, kir_sub(fn, whole, loop.iv), kir_i64(fn, SUPER));
    sum_parts(t, loop.iv, count, rests ? loop.carried : zeros, sums);
    for (uint32_t i = 0; i < t->carried && !rests; i++) sums[i] = kir_add(fn, loop.carried[i], sums[i]);
    kir_for_end(fn, &loop, sums);
    for (uint32_t i = 0; i < t->carried; i++) out_sums[i] = loop.results[i];
}

// The last columns of plain numbers, `whole`..K-1, one (bf16 activations: two) at a time, added to `sums`.
static void tail(Tile *t, KirRef whole, KirRef *sums) {
    KirFn *fn = t->fn;
    KirRef next[MM_MAX_LANES];
    KirLoop loop;
    bool pairs = t->product->activation == IR_BF16;
    kir_for_begin(fn, whole, t->product->k, kir_i64(fn, pairs ? 2 : 1), t->lanes, sums, &loop);
    for (uint32_t at = 0; at < t->lanes; at++) {
        MmCursor *c = &t->cursor[at / t->tokens];
        KirRef x = kir_at(fn, t->rows[at % t->tokens], loop.iv, pairs ? 2 : 4, 0);
        mm_part_open(c, loop.iv, kir_i64(fn, 0));
        if (pairs)
            next[at] = kir_dot_bf16(fn, loop.carried[at], mm_bf16_pairs(c, 0), broadcast_word(fn, x, 0, KIR_T(KIR_I16, 32)));
        else next[at] = kir_fma(fn, broadcast(fn, KT_F32, x, 0, 16), mm_plain_column(c, loop.iv), loop.carried[at]);
    }
    kir_for_end(fn, &loop, next);
    for (uint32_t i = 0; i < t->lanes; i++) sums[i] = loop.results[i];
}

void mm_tile(KirFn *fn, const MmProduct *product, const KirRef *rows, uint32_t tokens, KirRef *out_sums) {
    const MmFormat *format = mm_format(product->weight);
    HD_ASSERT(tokens && tokens <= MM_MAX_TOKENS && product->panel_count && product->panel_count <= MM_MAX_PANELS);
    Tile t = {fn, product, format, tokens, product->panel_count, tokens * product->panel_count, product->decoded ? 32 : format->part, 0, rows, {{0}}};
    for (uint32_t p = 0; p < t.panels; p++)
        t.cursor[p] = (MmCursor){.fn = fn, .dtype = product->weight, .panel = product->panel[p], .prefetch = product->prefetch, .decoded = product->decoded};
    if (product->weight == IR_BF16 && product->activation == IR_F32) t.part = 16;
    bool f32 = product->activation == IR_F32, whole_parts = product->columns % t.part == 0;
    KirRef zeros[2 * MM_MAX_LANES], sums[2 * MM_MAX_LANES];
    KirRef whole = whole_parts ? product->k : kir_and(fn, product->k, kir_i64(fn, -(int64_t)t.part));
    t.carried = f32 ? 2 * t.lanes : t.lanes;
    for (uint32_t i = 0; i < t.carried; i++) zeros[i] = zero(fn);
    if (f32 && !format->has_super) sum_parts(&t, kir_i64(fn, 0), whole, zeros, sums);
    else sum_supers(&t, whole, zeros, sums);
    KirRef *rest = f32 ? sums + t.lanes : zeros;
    if (!whole_parts) tail(&t, whole, rest);
    for (uint32_t i = 0; i < t.lanes; i++) out_sums[i] = f32 || !whole_parts ? kir_add(fn, sums[i], rest[i]) : sums[i];
}
