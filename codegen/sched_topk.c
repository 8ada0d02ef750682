// SPDX-License-Identifier: Apache-2.0
// TOPK, on all targets: what comes before (softmax), one topk, and row-wise operations on what it chose. A work unit is a token.
//
// The row is turned into integers that compare like its floats. Each round takes the largest one that is left, the first of equal ones, and marks
// it as taken. A processor goes through the columns 16 at a time, on a GPU each lane takes every lanes-th.
#include "codegen/sched.h"

#include <limits.h>

enum { VECTOR = 16, LANES = 64 };

typedef struct TopK { CgBuild *build; KirFn *fn; uint8_t width; int64_t n, end, k; KirRef row, keys, values, ids; } TopK;
// width: columns at a time; end: n, in whole vectors

// The group's topk, and the unit of what follows it: rows of the tokens that are chosen from.
static HdStatus *plan(const IrGraph *graph, IrOpRef group, const IrOp **out_op, CgUnit *out_after) {
    IrOpRef ref = cg_find_op(graph, group, IR_OP_topk);
    if (!ref) return hd_error(HD_INTERNAL, "a topk group holds one topk");
    const IrOp *op = *out_op = ir_op(graph, ref);
    HD_TRY(cg_unit_plan(graph, group, out_after));
    HD_TRY(cg_region_supported(graph, group, op->operands[0]));
    if (out_after->prefix != 1 || out_after->dims[0] != cg_type(graph, op->operands[0])->dims[0])
        return hd_error(HD_UNSUPPORTED, "a topk group whose results are not rows of its tokens");
    return NULL;
}

// Computes the token's row that is chosen from, and binds it: a unit with one sink whose address is such that this token's row lands in scratch.
static void make_row(const TopK *t, CgRegion *region, const IrOp *op, const CgUnit *after, KirRef token) {
    CgUnit before = {.prefix = 1, .sink_count = 1, .dims = {after->dims[0]}};
    KirRef back = kir_mul(t->fn, token, kir_i64(t->fn, -t->n * 4));
    before.sinks[0] = (CgSink){.value = op->operands[0], .to = kir_offset(t->fn, t->row, back)};
    cg_unit_emit(region, &before, &token);
    cg_region_bind_memory(region, op->operands[0], t->row, (KirRef[3]){0, 0, 0});
}

static KirRef of_all(const TopK *t, int64_t value) { return kir_int(t->fn, KIR_T(KIR_I32, t->width), value); }

// for (the columns of a lane)
static void columns_begin(const TopK *t, uint32_t carried, const KirRef *first, KirLoop *out_loop) {
    KirFn *fn = t->fn;
    bool simt = t->build->lanes != 0;
    KirRef begin = simt ? kir_lane(fn) : kir_i64(fn, 0), step = kir_i64(fn, simt ? t->build->lanes : VECTOR);
    kir_for_begin(fn, begin, kir_i64(fn, t->end), step, carried, first, out_loop);
}

static KirRef numbers(const TopK *t, KirRef column) {
    KirRef first = kir_trunc(t->fn, column, KIR_I32);
    return t->width == 1 ? first : kir_add(t->fn, cg_lane_numbers(t->fn), first);
}

static void make_keys(const TopK *t) {
    KirFn *fn = t->fn;
    KirLoop loop;
    columns_begin(t, 0, NULL, &loop);
    KirRef key = cg_order_key(fn, kir_load(fn, KIR_T(KIR_F32, t->width), kir_at(fn, t->row, loop.iv, 4, 0)));
    if (t->end > t->n) key = kir_select(fn, kir_cmp(fn, KIR_LT, numbers(t, loop.iv), of_all(t, t->n)), key, of_all(t, INT_MIN));
    kir_store(fn, kir_at(fn, t->keys, loop.iv, 4, 0), key);
    kir_for_end(fn, &loop, NULL);
}

// Largest key, or (wanted given) largest of minus the columns where the key is `wanted`.
static KirRef largest(const TopK *t, KirRef wanted) {
    KirFn *fn = t->fn;
    KirRef least = of_all(t, INT_MIN);
    KirLoop loop;
    columns_begin(t, 1, &least, &loop);
    KirRef key = kir_load(fn, KIR_T(KIR_I32, t->width), kir_at(fn, t->keys, loop.iv, 4, 0));
    if (wanted) key = kir_select(fn, kir_cmp(fn, KIR_EQ, key, wanted), kir_sub(fn, of_all(t, 0), numbers(t, loop.iv)), least);
    KirRef next = kir_max(fn, loop.carried[0], key);
    kir_for_end(fn, &loop, &next);
    return t->build->lanes ? cg_group_max(t->build, loop.results[0]) : kir_reduce_max(fn, loop.results[0]);
}

static void choose(const TopK *t) {
    KirFn *fn = t->fn;
    KirLoop loop;
    KirIf first_lane;
    KirRef rank = cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, t->k), &loop), zero = kir_int(fn, KT_I32, 0);
    KirRef first = kir_sub(fn, zero, largest(t, largest(t, 0)));
    first = kir_max(fn, kir_min(fn, first, kir_int(fn, KT_I32, t->n - 1)), zero);   // nothing but NaNs is left
    KirRef at = kir_sext(fn, first, KIR_I64);
    if (t->build->lanes) cg_first_lane(t->build, &first_lane);
    kir_store(fn, kir_at(fn, t->keys, at, 4, 0), kir_int(fn, KT_I32, INT_MIN));
    kir_store(fn, kir_at(fn, t->values, rank, 4, 0), kir_load(fn, KT_F32, kir_at(fn, t->row, at, 4, 0)));
    kir_store(fn, kir_at(fn, t->ids, rank, 4, 0), first);
    if (t->build->lanes) kir_if_end(fn, &first_lane, NULL);
    cg_barrier(t->build);
    cg_loop_end(fn, &loop);
}

static void emit_token(const TopK *t, const IrOp *op, CgUnit *after, KirRef token) {
    CgRegion *region = cg_region_new(t->build);
    make_row(t, region, op, after, token);
    cg_barrier(t->build);
    make_keys(t);
    cg_barrier(t->build);
    choose(t);
    cg_region_bind_memory(region, op->results[0], t->values, (KirRef[3]){0, 0, 0});
    cg_region_bind_memory(region, op->results[1], t->ids, (KirRef[3]){0, 0, 0});
    cg_unit_emit(region, after, &token);
    cg_region_free(region);
}

HdStatus *cg_cpu_TOPK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    const IrOp *op;
    CgUnit after;
    uint32_t lanes = ir_target_is_gpu(target) ? LANES : 0;
    HD_TRY(plan(graph, group, &op, &after));
    CgBuild *build = lanes ? cg_simt_launch_begin(builder, "topk", lanes) : cg_launch_begin(builder, "topk");
    cg_units(build, after.dims, 1, 1);
    cg_account(build);
    cg_unit_pointers(build, &after);
    TopK t = {.build = build, .fn = build->fn, .width = lanes ? 1 : VECTOR, .n = ir_type_last(cg_type(graph, op->operands[0])), .k = op->attr[IR_ATTR_K].i};
    t.end = (int64_t)hd_align_up((uint64_t)t.n, t.width);
    t.row = cg_scratch_words(build, t.end + VECTOR), t.keys = cg_scratch_words(build, t.end);
    t.values = cg_scratch_words(build, t.k + VECTOR), t.ids = cg_scratch_words(build, t.k + VECTOR);
    KirLoop loop;
    emit_token(&t, op, &after, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_simt_TOPK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    return cg_cpu_TOPK(builder, target, graph, group);
}
