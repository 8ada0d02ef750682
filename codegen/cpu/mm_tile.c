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
// A group of 32 columns of the activation row has an f32 scale and the i32 sum of its values (ir/dtypes.def, q8a). Of these sums the kernel
// notes in scratch, for 256 columns at once and per scale of the weights: where integer sums begin, at minus the offset of the quants
// times the sum of the values; and minus the sum of the values as a float, where the type has minima.
//
// With fma the first integer sum of a group begins LIFT further on: its bits then are those of the float LIFTED + sum, exactly, and
// fma(LIFTED + sum, scale, -LIFTED scale) is sum * scale rounded once, by one operation less than with a conversion. LIFTED scale is exact
// too, because a scale is an f16 times a short integer.
enum { LIFT = 0x4b400000, STEP = 64 };
#define LIFTED 12582912.0f       // 1.5 * 2^23; LIFT are its bits

// ptr, at the part's first column; starts and minus: what is noted
typedef struct Q8Row { KirRef values, scales, starts, minus; } Q8Row;

static bool halves(const Tile *t) { return t->format->group == 16; }
// Quants of all 8 bits, made signed where that is faster: nothing is left of the offset then.
static bool has_signs(const Tile *t) { return t->format->offset == 128 && t->product->is_signed; }
static bool has_offset(const Tile *t) { return t->format->offset && !has_signs(t); }
static bool is_lifted(const Tile *t) { return t->product->fused && !t->format->any_exponent; }

// Notes are 4 bytes apart; of halves of groups, four times each, 16.
static int64_t note_bytes(const Tile *t) { return halves(t) ? 32 : 4; }      // of a group
static KirRef notes_at(const Tile *t, uint32_t token, KirRef k, bool minus) {
    KirRef group = kir_lshr(t->fn, k, kir_i64(t->fn, 5));
    return kir_at(t->fn, t->product->scratch, group, note_bytes(t), SUPER * (token + (minus ? MM_MAX_TOKENS : 0)));
}

static Q8Row q8_row(const Tile *t, uint32_t token, KirRef k0, KirRef k) {
    KirFn *fn = t->fn;
    KirRef row = t->rows[token], column = kir_add(fn, k0, k), scales = kir_offset(fn, row, t->product->k);
    return (Q8Row){kir_offset(fn, row, column), kir_at(fn, scales, kir_lshr(fn, column, kir_i64(fn, 5)), 4, 0), notes_at(t, token, k, false),
                   notes_at(t, token, k, true)};
}

// Where integer sums begin beyond their offset.
static KirRef lift_of(const Tile *t, KirType type) {
    static const int32_t first[16] = {LIFT, LIFT, LIFT, LIFT, 0, 0, 0, 0, LIFT, LIFT, LIFT, LIFT};
    if (!is_lifted(t)) return kir_int(t->fn, type, 0);
    return halves(t) ? kir_load(t->fn, type, kir_table(t->fn, first, sizeof first, "lift")) : kir_int(t->fn, type, LIFT);
}

// sums: i32 of values of the row, from column k of the superblock on.
static void note(const Tile *t, uint32_t token, KirRef k, KirRef sums) {
    KirFn *fn = t->fn;
    KirType type = kir_type(fn, sums);
    if (has_offset(t)) {
        KirRef start = kir_sub(fn, lift_of(t, type), kir_mul(fn, sums, kir_int(fn, type, t->format->offset)));
        kir_store(fn, notes_at(t, token, k, false), start);
    }
    if (t->format->has_min) kir_store(fn, notes_at(t, token, k, true), kir_neg(fn, kir_itof(fn, sums)));
}

// Each four lanes: their sum, in all of them.
static KirRef sums_of_four(KirFn *fn, KirRef lanes) {
    static const uint8_t other[16] = {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14};
    static const uint8_t far[16] = {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13};
    lanes = kir_add(fn, lanes, kir_shuffle(fn, lanes, lanes, other, 16));
    return kir_add(fn, lanes, kir_shuffle(fn, lanes, lanes, far, 16));
}

// Sums of 16 values, which q8a does not keep.
static void note_halves(const Tile *t, KirRef k0, KirRef count) {
    KirFn *fn = t->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, STEP), 0, NULL, &loop);
    for (uint32_t i = 0; i < t->tokens; i++) {
        KirRef values = kir_load(fn, KT_I8x64, kir_offset(fn, t->rows[i], kir_add(fn, k0, loop.iv)));
        KirRef fours = kir_dot_u7i8(fn, kir_int(fn, KT_I32x16, 0), kir_int(fn, KT_I8x64, 1), values);
        note(t, i, loop.iv, sums_of_four(fn, fours));
    }
    kir_for_end(fn, &loop, NULL);
}

// Of `count` columns from k0 on, where a superblock begins.
static void note_super(const Tile *t, KirRef k0, KirRef count) {
    KirFn *fn = t->fn;
    KirType eight = KIR_T(KIR_I32, 8);
    KirRef k = t->product->k, sums = kir_add(fn, k, kir_lshr(fn, kir_add(fn, k, k0), kir_i64(fn, 3)));
    bool needed = has_offset(t) || t->format->has_min;
    if (needed && halves(t)) note_halves(t, k0, count);
    for (uint32_t i = 0; i < t->tokens && needed && !halves(t); i++) {
        KirRef at = kir_offset(fn, t->rows[i], sums);
        note(t, i, kir_i64(fn, 0), t->product->columns % SUPER ? kir_load_part(fn, eight, at, kir_lshr(fn, count, kir_i64(fn, 5)))
                                                               : kir_load(fn, eight, at));
    }
}

// Where the integer sums of half h of group g begin.
static KirRef start_of(const Tile *t, const Q8Row *x, uint32_t g, uint32_t h) {
    if (has_offset(t)) return broadcast(t->fn, KT_I32, x->starts, note_bytes(t) * g + 16 * h, 16);
    return kir_int(t->fn, KT_I32x16, is_lifted(t) && !h ? LIFT : 0);
}

// acc[h] += products of group g with the activations, exactly; h: which of the group's scales.
static void multiply_q8a(const Tile *t, const Q8Row *x, uint32_t g, KirRef acc[2][MM_MAX_LANES]) {
    KirFn *fn = t->fn;
    KirRef w[MM_MAX_PANELS], (*dot)(KirFn *, KirRef, KirRef, KirRef) = has_signs(t) ? kir_dot_i8i8 : t->format->offset == 128 ? kir_dot_u8i8 : kir_dot_u7i8;
    for (uint32_t v = 0; v < 8; v++) {
        uint32_t h = v * (32 / t->format->group) / 8;
        for (uint32_t p = 0; p < t->panels; p++) {
            w[p] = mm_quants(&t->cursor[p], 8 * g + v);
            if (has_signs(t)) w[p] = kir_xor(fn, w[p], kir_int(fn, KT_I8x64, -128));
        }
        for (uint32_t i = 0; i < t->tokens; i++) {
            KirRef a = broadcast_word(fn, x[i].values, 32 * g + 4 * v, KT_I8x64);
            for (uint32_t p = 0, at = i; p < t->panels; p++, at += t->tokens) acc[h][at] = dot(fn, acc[h][at], w[p], a);
        }
    }
}

// The integer sum of a group, or of its first half, times the scale.
static KirRef first_product(const Tile *t, KirRef sum, KirRef scale) {
    KirFn *fn = t->fn;
    if (!is_lifted(t)) return kir_mul(fn, kir_itof(fn, sum), scale);
    return kir_fma(fn, kir_bitcast(fn, sum, KT_F32x16), scale, kir_mul(fn, scale, kir_float(fn, KT_F32, -LIFTED)));
}

// sum + (isum * scale [+ isum2 * scale2] [- asum * min [- asum2 * min2]]) * activation scale, for every token and panel
static void scale_q8a(const Tile *t, const Q8Row *x, uint32_t g, KirRef acc[2][MM_MAX_LANES], KirRef *sums) {
    KirFn *fn = t->fn;
    uint32_t scales = 32u / t->format->group;
    for (uint32_t at = 0; at < t->lanes; at++) {
        const MmCursor *c = &t->cursor[at / t->tokens];
        const Q8Row *row = &x[at % t->tokens];
        const KirRef *scale = c->scale + g * scales, *min = c->min + g * scales;
        KirRef p = first_product(t, acc[0][at], scale[0]);
        if (halves(t)) p = kir_fma(fn, kir_itof(fn, acc[1][at]), scale[1], p);
        for (uint32_t h = 0; t->format->has_min && h < scales; h++)
            p = kir_fma(fn, broadcast(fn, KT_F32, row->minus, note_bytes(t) * g + 16 * h, 16), min[h], p);
        sums[at] = kir_fma(fn, p, broadcast(fn, KT_F32, row->scales, 4 * g, 16), sums[at]);
    }
}

static void part_q8a(const Tile *t, KirRef k0, KirRef k, KirRef *sums) {
    Q8Row x[MM_MAX_TOKENS];
    KirRef acc[2][MM_MAX_LANES];
    for (uint32_t i = 0; i < t->tokens; i++) x[i] = q8_row(t, i, k0, k);
    for (uint32_t g = 0; g < t->part / 32; g++) {
        for (uint32_t h = 0; h < 32u / t->format->group; h++)
            for (uint32_t at = 0; at < t->lanes; at++) acc[h][at] = start_of(t, &x[at % t->tokens], g, h);
        multiply_q8a(t, x, g, acc);
        scale_q8a(t, x, g, acc, sums);
    }
}

// ---- the loops -----------------------------------------------------------------------------------------------------

static void part(const Tile *t, KirRef k0, KirRef k, KirRef *sums) {
    switch (t->product->activation) {
    case IR_F32: part_f32(t, kir_add(t->fn, k0, k), sums); break;
    case IR_BF16: part_bf16(t, kir_add(t->fn, k0, k), sums); break;
    default: part_q8a(t, k0, k, sums); break;
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
    part(t, k0, loop.iv, sums);
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
    if (t->product->activation == IR_Q8A) note_super(t, loop.iv, count);
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
    if (product->weight == IR_BF16 && product->activation == IR_F32) t.part = 16;
    for (uint32_t p = 0; p < t.panels; p++)
        t.cursor[p] = (MmCursor){.fn = fn, .dtype = product->weight, .panel = product->panel[p], .prefetch = product->prefetch, .part = t.part,
                                 .decoded = product->decoded};
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
