// SPDX-License-Identifier: Apache-2.0
// Rows of int8 by the lanes of a work group (SIMT, CUDA): the contract of quant_act (ir.h) to the bit, as in region_quantise.c. Eight lanes
// of a warp have a group of 32; lane l of them has elements l, l + 8, l + 16, l + 24, so that loads are of neighbours and the sum of
// squared errors is the contract's tree: within a lane first, then over the lanes.
#include "codegen/region_internal.h"

#include <math.h>

enum { GROUP = 32, EACH = 4, LANES = GROUP / EACH, BYTE = 255 };
typedef KirRef Join(KirFn *fn, KirRef a, KirRef b);

// Of the eight lanes: all of them get the result.
static KirRef join_lanes(KirFn *fn, KirRef v, Join *join) {
    for (uint32_t bits = LANES / 2; bits; bits /= 2) v = join(fn, v, kir_shuffle_xor(fn, v, bits));
    return v;
}

static KirRef join_all(KirFn *fn, const KirRef v[EACH], Join *join) {
    return join_lanes(fn, join(fn, join(fn, v[0], v[2]), join(fn, v[1], v[3])), join);
}

static KirRef word(KirFn *fn, int64_t value) { return kir_int(fn, KT_I32, value); }

static KirRef best_top(KirFn *fn, const KirRef x[EACH], KirRef reciprocal) {
    KirRef best = 0, least = 0, squares[EACH];
    for (int top = IR_Q8A_TOP; top > IR_Q8A_TOP - IR_Q8A_TRIES; top--) {
        KirRef number = kir_float(fn, KT_F32, (float)top), inverse = kir_mul(fn, reciprocal, number);
        for (int i = 0; i < EACH; i++) {
            KirRef y = kir_mul(fn, x[i], inverse), lost = kir_sub(fn, y, kir_rint(fn, y));
            squares[i] = kir_mul(fn, lost, lost);
        }
        KirRef error = kir_mul(fn, join_all(fn, squares, kir_add), kir_float(fn, KT_F32, IR_Q8A_STEP(top)));
        KirRef better = best ? kir_cmp(fn, KIR_LT, error, least) : 0;
        best = best ? kir_select(fn, better, number, best) : number;
        least = least ? kir_select(fn, better, error, least) : error;
    }
    return best;
}

// Four lanes have four bytes each; lane i gets byte i of each of them, the first lane's lowest.
static KirRef transpose(KirFn *fn, KirRef bytes, KirRef i) {
    KirRef all = 0, from = kir_shl(fn, i, word(fn, 3));
    for (uint32_t d = 0; d < EACH; d++) {
        KirRef theirs = d ? kir_shuffle_xor(fn, bytes, d) : bytes, to = kir_shl(fn, kir_xor(fn, i, word(fn, d)), word(fn, 3));
        KirRef byte = kir_shl(fn, kir_and(fn, kir_lshr(fn, theirs, from), word(fn, BYTE)), to);
        all = all ? kir_or(fn, all, byte) : byte;
    }
    return all;
}

static void put(KirFn *fn, const CgQ8Row *to, KirRef at, KirRef index, KirRef value) {
    if (to->array) kir_shared_store(fn, to->array, kir_add(fn, at, index), kir_bitcast(fn, value, KT_I32));
    else kir_store(fn, kir_at(fn, at, index, 4, 0), value);
}

// Values of the group as words of four; the sum of them all.
static KirRef put_values(KirFn *fn, const CgQ8Row *to, KirRef group, KirRef l, const KirRef x[EACH], KirRef inverse) {
    KirRef bytes = 0, numbers[EACH], three = word(fn, 3);
    for (uint32_t i = 0; i < EACH; i++) {
        KirRef value = kir_rint(fn, kir_mul(fn, x[i], inverse)), exists = kir_cmp(fn, KIR_EQ, value, value);
        numbers[i] = kir_ftoi(fn, kir_select(fn, exists, value, kir_float(fn, KT_F32, 0)), KIR_I32);
        KirRef byte = kir_and(fn, numbers[i], word(fn, BYTE));
        bytes = bytes ? kir_or(fn, bytes, kir_shl(fn, byte, word(fn, 8 * i))) : byte;
    }
    KirRef i = kir_and(fn, l, three), half = kir_lshr(fn, l, word(fn, 2));   // lane 4 h + i has elements 8 j + 4 h + i: word 2 i + h
    KirRef index = kir_sext(fn, kir_add(fn, kir_shl(fn, i, word(fn, 1)), half), KIR_I64);
    put(fn, to, to->values, kir_add(fn, kir_mul(fn, group, kir_i64(fn, to->array ? CG_Q8_SHARED_STRIDE : LANES)), index), transpose(fn, bytes, i));
    return join_all(fn, numbers, kir_add);
}

static KirRef magnitude(KirFn *fn, KirRef x) { return kir_and(fn, kir_bitcast(fn, x, KT_I32), word(fn, INT32_MAX)); }

static void quantise(KirFn *fn, const CgQ8Row *to, KirRef group, KirRef l, const KirRef x[EACH]) {
    enum { INFINITE = 0x7f800000 };
    KirRef sizes[EACH], zero = kir_float(fn, KT_F32, 0);
    for (int i = 0; i < EACH; i++) sizes[i] = magnitude(fn, x[i]);
    KirRef bits = join_all(fn, sizes, kir_max), most = kir_bitcast(fn, bits, KT_F32);
    KirRef finite = kir_cmp(fn, KIR_LT, bits, word(fn, INFINITE));
    KirRef usable = kir_and(fn, finite, kir_cmp(fn, KIR_GE, most, kir_float(fn, KT_F32, IR_Q8A_TINY)));
    KirRef reciprocal = kir_select(fn, usable, kir_div(fn, kir_float(fn, KT_F32, 1), most), zero);
    KirRef top = best_top(fn, x, reciprocal), sum = put_values(fn, to, group, l, x, kir_mul(fn, reciprocal, top));
    KirRef unusable = kir_select(fn, finite, zero, kir_float(fn, KT_F32, NAN));
    KirRef scale = kir_select(fn, usable, kir_div(fn, most, top), unusable);
    KirIf first;
    kir_if_begin(fn, kir_cmp(fn, KIR_EQ, l, word(fn, 0)), &first);
    put(fn, to, to->scales, group, scale);
    put(fn, to, to->sums, group, sum);
    kir_if_end(fn, &first, NULL);
}

void cg_region_quantise_group(CgRegion *region, IrValue value, const CgIndex *row, const CgQ8Row *to) {
    KirFn *fn = region->fn;
    IrValue x = cg_region_op(region->graph, value)->operands[0];
    const IrType *type = &ir_value(region->graph, x)->type;
    int64_t groups = ir_type_last(type) / GROUP, at_once = region->build->lanes / LANES;
    uint32_t last = type->rank - 1;
    KirRef eight = kir_i64(fn, LANES), mine = kir_sdiv(fn, kir_lane(fn), eight), l = kir_srem(fn, kir_lane(fn), eight), values[EACH];
    CgIndex at[4];
    cg_row_start(row, last + 1, at);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, groups), kir_i64(fn, at_once), 0, NULL, &loop);
    KirRef group = kir_add(fn, loop.iv, mine);           // beyond the end: the last once more
    if (groups % at_once) group = kir_min(fn, group, kir_i64(fn, groups - 1));
    for (int i = 0; i < EACH; i++) {
        at[last] = cg_index_sum(fn, cg_index(l, LANES), cg_index(group, groups), GROUP);
        at[last].constant = i * LANES;
        values[i] = cg_region_eval_at(region, x, at, 1, 0);
    }
    quantise(fn, to, group, kir_trunc(fn, l, KIR_I32), values);
    kir_for_end(fn, &loop, NULL);
}
