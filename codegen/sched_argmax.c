// SPDX-License-Identifier: Apache-2.0
// ARGMAX and TOP_RUNS, on all targets. argmax: a work unit is a run of columns of a row; on a GPU its lanes share it. top_runs: a work unit is
// some runs of a row, each of which finds its place by counting those before it.
#include "codegen/sched.h"

#include <limits.h>
#include <math.h>

typedef struct ArgMax { CgBuild *build; KirFn *fn; int64_t columns, width, runs; KirRef x; CgArgMax to; } ArgMax;

// ---- argmax --------------------------------------------------------------------------------------------------------

KirRef cg_argmax_key(KirFn *fn, KirRef x) {
    KirRef bits = kir_bitcast(fn, x, KT_I32), exponent = kir_int(fn, KT_I32, 0x7f800000);
    return kir_select(fn, kir_cmp(fn, KIR_EQ, kir_and(fn, bits, exponent), exponent), kir_int(fn, KT_I32, INT_MAX), cg_order_key(fn, x));
}

// The largest key of the columns from `begin` on that a lane goes through, and the first column that has it.
static void largest_of_lane(const ArgMax *a, KirRef row, KirRef begin, KirRef end, KirRef *out_key, KirRef *out_column) {
    KirFn *fn = a->fn;
    KirLoop loop;
    KirRef step = kir_i64(fn, a->build->lanes ? a->build->lanes : 1);
    if (a->build->lanes) begin = kir_add(fn, begin, kir_lane(fn));
    kir_for_begin(fn, begin, end, step, 2, (KirRef[2]){kir_int(fn, KT_I32, INT_MIN), kir_int(fn, KT_I32, 0)}, &loop);
    KirRef key = cg_argmax_key(fn, kir_load(fn, KT_F32, kir_at(fn, row, loop.iv, 4, 0)));
    KirRef larger = kir_cmp(fn, KIR_GT, key, loop.carried[0]), column = kir_trunc(fn, loop.iv, KIR_I32);
    kir_for_end(fn, &loop, (KirRef[2]){kir_select(fn, larger, key, loop.carried[0]), kir_select(fn, larger, column, loop.carried[1])});
    *out_key = loop.results[0], *out_column = loop.results[1];
}

void cg_argmax_store(KirFn *fn, const CgArgMax *to, KirRef number, KirRef key, KirRef value, KirRef column) {
    KirRef finite = kir_cmp(fn, KIR_LT, key, kir_int(fn, KT_I32, INT_MAX));
    value = kir_select(fn, finite, value, kir_float(fn, KT_F32, INFINITY)), column = kir_select(fn, finite, column, kir_int(fn, KT_I32, -1));
    if (to->values) kir_store(fn, kir_at(fn, to->values, number, 4, 0), value);
    if (to->columns) kir_store(fn, kir_at(fn, to->columns, number, 4, 0), column);
}

static void emit_run(const ArgMax *a, KirRef unit) {
    KirFn *fn = a->fn;
    KirIf first_lane;
    KirRef runs = kir_i64(fn, a->runs), number = kir_sdiv(fn, unit, runs), key, column;
    KirRef begin = kir_mul(fn, kir_srem(fn, unit, runs), kir_i64(fn, a->width));
    KirRef end = kir_min(fn, kir_add(fn, begin, kir_i64(fn, a->width)), kir_i64(fn, a->columns));
    KirRef row = kir_at(fn, a->x, number, a->columns * 4, 0);
    largest_of_lane(a, row, begin, end, &key, &column);
    if (a->build->lanes) {
        KirRef most = cg_group_max(a->build, key), none = kir_int(fn, KT_I32, INT_MIN), zero = kir_int(fn, KT_I32, 0);
        KirRef before = kir_select(fn, kir_cmp(fn, KIR_EQ, key, most), kir_sub(fn, zero, column), none);
        column = kir_sub(fn, zero, cg_group_max(a->build, before)), key = most;
        cg_first_lane(a->build, &first_lane);
    }
    cg_argmax_store(fn, &a->to, unit, key, kir_load(fn, KT_F32, kir_at(fn, row, kir_sext(fn, column, KIR_I64), 4, 0)), column);
    if (a->build->lanes) kir_if_end(fn, &first_lane, NULL);
}

HdStatus *cg_cpu_ARGMAX(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_argmax, &op));
    const IrType *x = cg_type(graph, op->operands[0]), *out = cg_type(graph, op->results[0]);
    ArgMax a = {.columns = x->dims[1], .width = op->attr[IR_ATTR_WIDTH].i, .runs = out->dims[1]};
    uint32_t lanes = a.width > 64 ? IR_GPU_MOST_LANES : 64;
    a.build = ir_target_is_gpu(target) ? cg_simt_launch_begin(builder, "argmax", lanes) : cg_launch_begin(builder, "argmax");
    a.fn = a.build->fn;
    cg_units(a.build, out->dims, 2, 1);
    cg_account(a.build);
    a.x = cg_operand(a.build, op->operands[0]);
    a.to = (CgArgMax){cg_result(a.build, op->results[0]), cg_result(a.build, op->results[1])};
    KirLoop units;
    emit_run(&a, cg_units_begin(a.build, &units));
    cg_units_end(a.build, &units);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_simt_ARGMAX(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    return cg_cpu_ARGMAX(builder, target, graph, group);
}

// ---- top_runs ------------------------------------------------------------------------------------------------------

// block: runs of a unit; parts: lanes that count for each of them, each in its part of the row's runs
typedef struct TopRuns {
    CgBuild *build;
    KirFn *fn;
    int64_t columns, runs, width, k, block, parts;
    KirRef x, values, ids, top, best;   // top, best: results, 0: nobody reads them
    KirRef counts, ranks;               // shared: of each lane; of each of the unit's runs
} TopRuns;

// How many of the runs part, part + parts, .. of the row come before run `run`.
static KirRef count_before(const TopRuns *t, KirRef row, KirRef run, KirRef part) {
    KirFn *fn = t->fn;
    KirLoop loop;
    KirRef values = kir_at(fn, t->values, row, t->runs * 4, 0), own = kir_load(fn, KT_F32, kir_at(fn, values, run, 4, 0));
    KirRef zero = kir_int(fn, KT_I32, 0), one = kir_int(fn, KT_I32, 1);
    kir_for_begin(fn, part, kir_i64(fn, t->runs), kir_i64(fn, t->parts), 1, &zero, &loop);
    KirRef value = kir_load(fn, KT_F32, kir_at(fn, values, loop.iv, 4, 0));
    KirRef equal = kir_and(fn, kir_cmp(fn, KIR_EQ, value, own), kir_cmp(fn, KIR_LT, loop.iv, run));
    KirRef before = kir_or(fn, kir_cmp(fn, KIR_GT, value, own), equal);
    KirRef next = kir_add(fn, loop.carried[0], kir_select(fn, before, one, zero));
    kir_for_end(fn, &loop, &next);
    return loop.results[0];
}

static KirRef among(const TopRuns *t, KirRef rank) { return kir_cmp(t->fn, KIR_LT, rank, kir_int(t->fn, KT_I32, t->k)); }

// Where the run of this rank goes.
static KirRef place_of(const TopRuns *t, KirRef row, KirRef rank) {
    KirFn *fn = t->fn;
    KirRef number = kir_add(fn, kir_mul(fn, row, kir_i64(fn, t->k)), kir_sext(fn, rank, KIR_I64));
    return kir_at(fn, t->top, number, (1 + t->width) * 4, 0);
}

// A run that is among the k: its number and, of the first, its id.
static void store_number(const TopRuns *t, KirRef row, KirRef run, KirRef rank) {
    KirFn *fn = t->fn;
    KirIf first;
    if (t->top) kir_store(fn, place_of(t, row, rank), kir_itof(fn, kir_trunc(fn, run, KIR_I32)));
    if (!t->best) return;
    kir_if_begin(fn, kir_cmp(fn, KIR_EQ, rank, kir_int(fn, KT_I32, 0)), &first);
    KirRef id = kir_load(fn, KT_I32, kir_at(fn, kir_at(fn, t->ids, row, t->runs * 4, 0), run, 4, 0));
    kir_store(fn, kir_at(fn, t->best, row, 4, 0), id);
    kir_if_end(fn, &first, NULL);
}

static void store_column(const TopRuns *t, KirRef row, KirRef run, KirRef rank, KirRef c) {
    KirFn *fn = t->fn;
    KirRef column = kir_add(fn, kir_mul(fn, run, kir_i64(fn, t->width)), c), all = kir_i64(fn, t->columns);
    KirRef from = kir_at(fn, t->x, row, t->columns * 4, 0), last = kir_i64(fn, t->columns - 1);
    KirRef value = kir_load(fn, KT_F32, kir_at(fn, from, kir_min(fn, column, last), 4, 0));
    value = kir_select(fn, kir_cmp(fn, KIR_LT, column, all), value, kir_float(fn, KT_F32, -INFINITY));
    kir_store(fn, kir_at(fn, place_of(t, row, rank), c, 4, 4), value);
}

static void emit_one(const TopRuns *t, KirRef row, KirRef run) {
    KirFn *fn = t->fn;
    KirIf wanted;
    KirLoop loop;
    KirRef zero = kir_i64(fn, 0), rank = count_before(t, row, run, zero);
    kir_if_begin(fn, among(t, rank), &wanted);
    store_number(t, row, run, rank);
    if (t->top) {
        KirRef c = cg_loop_begin(fn, zero, kir_i64(fn, t->width), &loop);
        store_column(t, row, run, rank, c);
        cg_loop_end(fn, &loop);
    }
    kir_if_end(fn, &wanted, NULL);
}

// One lane per run adds up the parts; beyond the last run stands a rank that is not wanted.
static void add_parts(const TopRuns *t, KirRef row, KirRef first) {
    KirFn *fn = t->fn;
    KirIf one, wanted;
    KirRef lane = kir_lane(fn), run = kir_add(fn, first, lane), rank = kir_shared_load(fn, t->counts, lane);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, lane, kir_i64(fn, t->block)), &one);
    for (int64_t part = 1; part < t->parts; part++)
        rank = kir_add(fn, rank, kir_shared_load(fn, t->counts, kir_add(fn, lane, kir_i64(fn, part * t->block))));
    rank = kir_select(fn, kir_cmp(fn, KIR_LT, run, kir_i64(fn, t->runs)), rank, kir_int(fn, KT_I32, t->k));
    kir_shared_store(fn, t->ranks, lane, rank);
    kir_if_begin(fn, among(t, rank), &wanted);
    store_number(t, row, run, rank);
    kir_if_end(fn, &wanted, NULL);
    kir_if_end(fn, &one, NULL);
}

// The columns of the unit's runs that are wanted, dealt out to the lanes.
static void copy_columns(const TopRuns *t, KirRef row, KirRef first) {
    KirFn *fn = t->fn;
    KirLoop loop;
    KirIf wanted;
    KirRef width = kir_i64(fn, t->width), all = kir_i64(fn, t->block * t->width);
    kir_for_begin(fn, kir_lane(fn), all, kir_i64(fn, t->build->lanes), 0, NULL, &loop);
    KirRef number = kir_sdiv(fn, loop.iv, width), rank = kir_shared_load(fn, t->ranks, number);
    kir_if_begin(fn, among(t, rank), &wanted);
    store_column(t, row, kir_add(fn, first, number), rank, kir_srem(fn, loop.iv, width));
    kir_if_end(fn, &wanted, NULL);
    kir_for_end(fn, &loop, NULL);
}

static void emit_block(const TopRuns *t, KirRef row, KirRef first) {
    KirFn *fn = t->fn;
    KirRef block = kir_i64(fn, t->block), run = kir_add(fn, first, kir_srem(fn, kir_lane(fn), block));
    run = kir_min(fn, run, kir_i64(fn, t->runs - 1));
    kir_shared_store(fn, t->counts, kir_lane(fn), count_before(t, row, run, kir_sdiv(fn, kir_lane(fn), block)));
    cg_barrier(t->build);
    add_parts(t, row, first);
    cg_barrier(t->build);
    if (t->top) copy_columns(t, row, first);
}

static void top_runs_pointers(TopRuns *t, const IrOp *op) {
    t->x = cg_operand(t->build, op->operands[0]), t->values = cg_operand(t->build, op->operands[1]), t->ids = cg_operand(t->build, op->operands[2]);
    t->top = cg_result(t->build, op->results[0]), t->best = cg_result(t->build, op->results[1]);
}

HdStatus *cg_cpu_TOP_RUNS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    const IrOp *op;
    bool simt = ir_target_is_gpu(target);
    HD_TRY(cg_group_op(graph, group, IR_OP_top_runs, &op));
    const IrType *x = cg_type(graph, op->operands[0]), *values = cg_type(graph, op->operands[1]), *top = cg_type(graph, op->results[0]);
    TopRuns t = {.columns = x->dims[1], .runs = values->dims[1], .width = op->attr[IR_ATTR_WIDTH].i, .k = op->attr[IR_ATTR_K].i, .block = 1, .parts = 1};
    if (simt) t.block = 32, t.parts = IR_GPU_MOST_LANES / t.block;
    t.build = simt ? cg_simt_launch_begin(builder, "top_runs", IR_GPU_MOST_LANES) : cg_launch_begin(builder, "top_runs");
    t.fn = t.build->fn;
    if (simt) t.counts = kir_shared(t.fn, KIR_I32, IR_GPU_MOST_LANES), t.ranks = kir_shared(t.fn, KIR_I32, (uint32_t)t.block);
    int64_t blocks = hd_ceil_div(t.runs, t.block);
    cg_units(t.build, x->dims, 1, blocks);
    cg_account(t.build);
    cg_expr_add_elements(&t.build->bytes, graph, x, -4);   // of which it reads as much as it writes
    cg_expr_add_elements(&t.build->bytes, graph, top, 4);
    top_runs_pointers(&t, op);
    KirLoop units;
    KirRef unit = cg_units_begin(t.build, &units), per_row = kir_i64(t.fn, blocks);
    KirRef row = kir_sdiv(t.fn, unit, per_row), first = kir_mul(t.fn, kir_srem(t.fn, unit, per_row), kir_i64(t.fn, t.block));
    (simt ? emit_block : emit_one)(&t, row, first);
    cg_units_end(t.build, &units);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_simt_TOP_RUNS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    return cg_cpu_TOP_RUNS(builder, target, graph, group);
}
