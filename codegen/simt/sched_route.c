// SPDX-License-Identifier: Apache-2.0
// TOPK: softmax, one topk, and row-wise operations on what it chose. A work unit is a token.
#include "codegen/simt/sched.h"

#include <limits.h>

typedef struct TopK { CgBuild *build; KirFn *fn; int64_t n, k; KirRef row, keys, values, ids; } TopK;

static void make_keys(const TopK *t) {
    KirFn *fn = t->fn;
    KirLoop loop;
    KirRef c = simt_deal_begin(t->build, kir_i64(fn, t->n), &loop);
    kir_store(fn, kir_at(fn, t->keys, c, 4, 0), cg_order_key(fn, kir_load(fn, KT_F32, kir_at(fn, t->row, c, 4, 0))));
    simt_deal_end(t->build, &loop);
}

// Largest key, or (wanted given) largest of minus the columns where the key is `wanted`.
static KirRef largest(const TopK *t, KirRef wanted) {
    KirFn *fn = t->fn;
    KirRef least = kir_int(fn, KT_I32, INT_MIN);
    KirLoop loop;
    kir_for_begin(fn, kir_lane(fn), kir_i64(fn, t->n), kir_i64(fn, t->build->lanes), 1, &least, &loop);
    KirRef key = kir_load(fn, KT_I32, kir_at(fn, t->keys, loop.iv, 4, 0));
    if (wanted) {
        KirRef before = kir_sub(fn, kir_int(fn, KT_I32, 0), kir_trunc(fn, loop.iv, KIR_I32));
        key = kir_select(fn, kir_cmp(fn, KIR_EQ, key, wanted), before, least);
    }
    KirRef next = kir_max(fn, loop.carried[0], key);
    kir_for_end(fn, &loop, &next);
    return cg_group_max(t->build, loop.results[0]);
}

// Each round takes the largest key that is left, the first of equal ones, and marks it as taken.
static void choose(const TopK *t) {
    KirFn *fn = t->fn;
    KirLoop loop;
    KirIf first_lane;
    KirRef rank = cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, t->k), &loop);
    KirRef first = kir_sub(fn, kir_int(fn, KT_I32, 0), largest(t, largest(t, 0)));
    first = kir_max(fn, kir_min(fn, first, kir_int(fn, KT_I32, t->n - 1)), kir_int(fn, KT_I32, 0));   // nothing but NaNs is left
    KirRef at = kir_sext(fn, first, KIR_I64);
    simt_first_lane(t->build, &first_lane);
    kir_store(fn, kir_at(fn, t->keys, at, 4, 0), kir_int(fn, KT_I32, INT_MIN));
    kir_store(fn, kir_at(fn, t->values, rank, 4, 0), kir_load(fn, KT_F32, kir_at(fn, t->row, at, 4, 0)));
    kir_store(fn, kir_at(fn, t->ids, rank, 4, 0), first);
    kir_if_end(fn, &first_lane, NULL);
    cg_barrier(t->build);
    cg_loop_end(fn, &loop);
}

static void emit_token(const TopK *t, const IrOp *op, CgUnit *after, KirRef token) {
    CgRegion *region = cg_region_new(t->build);
    cg_topk_row(t->build, region, op, after, token, t->row);
    cg_barrier(t->build);
    make_keys(t);
    cg_barrier(t->build);
    choose(t);
    cg_region_bind_memory(region, op->results[0], t->values, (KirRef[3]){0, 0, 0});
    cg_region_bind_memory(region, op->results[1], t->ids, (KirRef[3]){0, 0, 0});
    cg_unit_emit(region, after, &token);
    cg_region_free(region);
}

HdStatus *cg_simt_TOPK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    CgUnit after;
    HD_TRY(cg_topk_plan(graph, group, &op, &after));
    CgBuild *build = cg_simt_launch_begin(builder, "topk", SIMT_LANES);
    cg_units(build, after.dims, 1, 1);
    cg_account(build);
    cg_unit_pointers(build, &after);
    TopK t = {.build = build, .fn = build->fn, .n = ir_type_last(cg_type(graph, op->operands[0])), .k = op->attr[IR_ATTR_K].i};
    t.row = cg_scratch_words(build, t.n), t.keys = cg_scratch_words(build, t.n), t.values = cg_scratch_words(build, t.k), t.ids = cg_scratch_words(build, t.k);
    KirLoop loop;
    emit_token(&t, op, &after, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
