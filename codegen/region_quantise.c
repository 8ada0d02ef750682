// SPDX-License-Identifier: Apache-2.0
// Rows of int8 with a scale per group of 32 (q8a), to the bit as the contract of quant_act says (ir.h). A group is two vectors;
// four groups are worked on together, so that what a group has one of (scale, errors, sum) is a lane.
#include "codegen/region_internal.h"

#include <math.h>

enum { LANES = 16, GROUP = 2 * LANES, TOGETHER = 4 };
static const KirType four_floats = KIR_T(KIR_F32, TOGETHER), four_words = KIR_T(KIR_I32, TOGETHER);

typedef KirRef Join(KirFn *fn, KirRef a, KirRef b);

// a and b hold parts of 2 * half lanes. Joins the halves of each part: parts of half lanes, those of a first; `lanes` of them.
static KirRef join_halves(KirFn *fn, KirRef a, KirRef b, uint32_t half, uint32_t lanes, Join *join) {
    uint8_t low[LANES], high[LANES];
    for (uint32_t i = 0; i < lanes; i++) low[i] = (uint8_t)(i / half * 2 * half + i % half), high[i] = (uint8_t)(low[i] + half);
    return join(fn, kir_shuffle(fn, a, b, low, lanes), kir_shuffle(fn, a, b, high, lanes));
}

// Lane i: all lanes of v[i] joined, halves at a time.
static KirRef join_lanes(KirFn *fn, const KirRef v[TOGETHER], Join *join) {
    KirRef first = join_halves(fn, v[0], v[1], 8, LANES, join), second = join_halves(fn, v[2], v[3], 8, LANES, join);
    KirRef all = join_halves(fn, first, second, 4, LANES, join);
    all = join_halves(fn, all, all, 2, 8, join);
    return join_halves(fn, all, all, 1, TOGETHER, join);
}

static KirRef lane(KirFn *fn, KirRef four, uint32_t i) { return kir_splat(fn, kir_extract(fn, four, i), LANES); }

// As an integer: infinities and NaNs are above all others.
static KirRef magnitude(KirFn *fn, KirRef x) {
    return kir_and(fn, kir_bitcast(fn, x, KT_I32x16), kir_int(fn, KT_I32x16, INT32_MAX));
}

static KirRef squared_errors(KirFn *fn, const KirRef x[2], KirRef inverse) {
    KirRef sum = 0;
    for (int i = 0; i < 2; i++) {
        KirRef y = kir_mul(fn, x[i], inverse), lost = kir_sub(fn, y, kir_rint(fn, y)), square = kir_mul(fn, lost, lost);
        sum = sum ? kir_add(fn, sum, square) : square;
    }
    return sum;
}

static KirRef best_tops(KirFn *fn, KirRef x[TOGETHER][2], KirRef reciprocal) {
    KirRef best = 0, least = 0, errors[TOGETHER];
    for (int top = IR_Q8A_TOP; top > IR_Q8A_TOP - IR_Q8A_TRIES; top--) {
        KirRef number = kir_float(fn, four_floats, (float)top), inverse = kir_mul(fn, reciprocal, number);
        for (uint32_t g = 0; g < TOGETHER; g++) errors[g] = squared_errors(fn, x[g], lane(fn, inverse, g));
        KirRef error = kir_mul(fn, join_lanes(fn, errors, kir_add), kir_float(fn, four_floats, IR_Q8A_STEP(top)));
        KirRef better = best ? kir_cmp(fn, KIR_LT, error, least) : 0;
        best = best ? kir_select(fn, better, number, best) : number;
        least = least ? kir_select(fn, better, error, least) : error;
    }
    return best;
}

// Stores the values of a group; gives their sums, lane by lane.
static KirRef store_values(KirFn *fn, const KirRef x[2], KirRef inverse, KirRef to) {
    KirRef numbers[2];
    for (int i = 0; i < 2; i++) {
        KirRef value = kir_rint(fn, kir_mul(fn, x[i], inverse)), number = kir_cmp(fn, KIR_EQ, value, value);
        numbers[i] = kir_ftoi(fn, kir_select(fn, number, value, kir_float(fn, KT_F32x16, 0)), KIR_I32);
        kir_store(fn, kir_offset_const(fn, to, i * LANES), kir_trunc(fn, numbers[i], KIR_I8));
    }
    return kir_add(fn, numbers[0], numbers[1]);
}

// group[i]: the number of group i (i64); valid: how many scales and sums are stored (i64; 0: all).
static void quantise(KirFn *fn, const CgQ8Row *to, KirRef x[TOGETHER][2], const KirRef group[TOGETHER], KirRef valid) {
    enum { INFINITE = 0x7f800000 };
    KirRef lanes[TOGETHER];
    for (int g = 0; g < TOGETHER; g++) lanes[g] = kir_max(fn, magnitude(fn, x[g][0]), magnitude(fn, x[g][1]));
    KirRef bits = join_lanes(fn, lanes, kir_max), most = kir_bitcast(fn, bits, four_floats), zero = kir_float(fn, four_floats, 0);
    KirRef finite = kir_cmp(fn, KIR_LT, bits, kir_int(fn, four_words, INFINITE));
    KirRef usable = kir_and(fn, finite, kir_cmp(fn, KIR_GE, most, kir_float(fn, four_floats, IR_Q8A_TINY)));
    KirRef reciprocal = kir_select(fn, usable, kir_div(fn, kir_float(fn, four_floats, 1), most), zero);
    KirRef top = best_tops(fn, x, reciprocal), inverse = kir_mul(fn, reciprocal, top);
    for (uint32_t g = 0; g < TOGETHER; g++)
        lanes[g] = store_values(fn, x[g], lane(fn, inverse, g), kir_at(fn, to->values, group[g], GROUP, 0));
    KirRef unusable = kir_select(fn, finite, zero, kir_float(fn, four_floats, NAN));
    KirRef four[2] = {kir_select(fn, usable, kir_div(fn, most, top), unusable), join_lanes(fn, lanes, kir_add)};
    for (int i = 0; i < 2; i++) {
        KirRef at = kir_at(fn, i ? to->sums : to->scales, group[0], 4, 0);
        if (valid) kir_store_part(fn, at, valid, four[i]);
        else kir_store(fn, at, four[i]);
    }
}

void cg_region_quantise(CgRegion *region, IrValue value, const CgIndex *row, KirRef to) {
    KirFn *fn = region->fn;
    IrValue x = cg_region_op(region->graph, value)->operands[0];
    const IrType *type = &ir_value(region->graph, x)->type;
    int64_t K = ir_type_last(type), groups = K / GROUP;
    uint32_t last = type->rank - 1;
    CgQ8Row parts = {.values = to, .scales = kir_offset_const(fn, to, K), .sums = kir_offset_const(fn, to, K + 4 * groups)};
    if (region->build->lanes) return cg_region_quantise_group(region, value, row, &parts);
    if (cg_region_lanes(region, x) < LANES) cg_region_keep_row(region, x, row);
    CgIndex at[4];
    cg_row_start(row, last + 1, at);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, groups), kir_i64(fn, TOGETHER), 0, NULL, &loop);
    KirRef vectors[TOGETHER][2], number[TOGETHER], left = kir_sub(fn, kir_i64(fn, groups), loop.iv);
    for (int g = 0; g < TOGETHER; g++) {   // beyond the end: the last group once more
        number[g] = kir_add(fn, loop.iv, kir_i64(fn, g));
        if (groups % TOGETHER) number[g] = kir_min(fn, number[g], kir_i64(fn, groups - 1));
        for (int i = 0; i < 2; i++) {
            at[last] = cg_index_sum(fn, cg_index_number(i * LANES), cg_index(number[g], groups), GROUP);
            vectors[g][i] = kir_splat(fn, cg_region_eval_at(region, x, at, LANES, 0), LANES);
        }
    }
    quantise(fn, &parts, vectors, number, groups % TOGETHER ? kir_min(fn, left, kir_i64(fn, TOGETHER)) : 0);
    kir_for_end(fn, &loop, NULL);
}
