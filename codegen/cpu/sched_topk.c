// SPDX-License-Identifier: Apache-2.0
// TOPK: what comes before (softmax), one topk, and row-wise operations on what it chose. One work unit per token.
//
// The row is turned into integers that compare like its floats (-0 as 0). Each round takes the largest one that is left, the
// first of equal ones, and marks it as taken.
#include "codegen/sched.h"

#include <limits.h>

typedef struct TopK { CgBuild *build; KirFn *fn; int64_t n, k; KirRef row, keys, values, ids; } TopK;

static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

static KirRef column(KirFn *fn, KirRef at) { return kir_add(fn, cg_lane_numbers(fn), kir_trunc(fn, at, KIR_I32)); }

static void make_keys(const TopK *t) {
    KirFn *fn = t->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, padded(t->n)), kir_i64(fn, 16), 0, NULL, &loop);
    KirRef key = cg_order_key(fn, kir_load(fn, KT_F32x16, kir_at(fn, t->row, loop.iv, 4, 0)));
    KirRef inside = kir_cmp(fn, KIR_LT, column(fn, loop.iv), kir_int(fn, KT_I32x16, t->n));
    kir_store(fn, kir_at(fn, t->keys, loop.iv, 4, 0), kir_select(fn, inside, key, kir_int(fn, KT_I32x16, INT_MIN)));
    kir_for_end(fn, &loop, NULL);
}

// Largest over the keys of `key`, or (wanted given) of minus the column where the key is `wanted`.
static KirRef largest(const TopK *t, KirRef wanted) {
    KirFn *fn = t->fn;
    KirRef most = kir_int(fn, KT_I32x16, INT_MIN);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, padded(t->n)), kir_i64(fn, 16), 1, &most, &loop);
    KirRef key = kir_load(fn, KT_I32x16, kir_at(fn, t->keys, loop.iv, 4, 0));
    if (wanted) {
        KirRef before = kir_sub(fn, kir_int(fn, KT_I32x16, 0), column(fn, loop.iv));
        key = kir_select(fn, kir_cmp(fn, KIR_EQ, key, wanted), before, kir_int(fn, KT_I32x16, INT_MIN));
    }
    KirRef next = kir_max(fn, loop.carried[0], key);
    kir_for_end(fn, &loop, &next);
    return kir_reduce_max(fn, loop.results[0]);
}

static void choose(const TopK *t) {
    KirFn *fn = t->fn;
    KirLoop loop;
    KirRef rank = cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, t->k), &loop);
    KirRef first = kir_sub(fn, kir_int(fn, KT_I32, 0), largest(t, largest(t, 0)));
    first = kir_min(fn, first, kir_int(fn, KT_I32, t->n - 1));   // padding only wins when nothing but NaNs is left
    KirRef at = kir_sext(fn, first, KIR_I64);
    kir_store(fn, kir_at(fn, t->keys, at, 4, 0), kir_int(fn, KT_I32, INT_MIN));
    kir_store(fn, kir_at(fn, t->values, rank, 4, 0), cg_load_f32(fn, kir_at(fn, t->row, at, 4, 0), 0));
    kir_store(fn, kir_at(fn, t->ids, rank, 4, 0), first);
    cg_loop_end(fn, &loop);
}

static void emit_token(const TopK *t, const IrOp *op, CgUnit *after, KirRef token) {
    CgRegion *region = cg_region_new(t->build);
    cg_topk_row(t->build, region, op, after, token, t->row);
    make_keys(t);
    choose(t);
    cg_region_bind_memory(region, op->results[0], t->values, (KirRef[3]){0, 0, 0});
    cg_region_bind_memory(region, op->results[1], t->ids, (KirRef[3]){0, 0, 0});
    cg_unit_emit(region, after, &token);
    cg_region_free(region);
}

HdStatus *cg_cpu_TOPK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    CgUnit after;
    HD_TRY(cg_topk_plan(graph, group, &op, &after));
    CgBuild *build = cg_launch_begin(builder, "topk");
    KirFn *fn = build->fn;
    cg_units(build, after.dims, 1, 1);
    cg_account(build);
    cg_unit_pointers(build, &after);
    TopK t = {.build = build, .fn = fn, .n = ir_type_last(cg_type(graph, op->operands[0])), .k = op->attr[IR_ATTR_K].i};
    t.row = cg_scratch_words(build, padded(t.n) + 16), t.keys = cg_scratch_words(build, padded(t.n)), t.values = cg_scratch_words(build, t.k + 16),
    t.ids = cg_scratch_words(build, t.k + 16);
    KirLoop loop;
    KirRef token = cg_loop_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), &loop);
    emit_token(&t, op, &after, token);
    cg_loop_end(fn, &loop);
    cg_launch_end(builder);
    return NULL;
}
