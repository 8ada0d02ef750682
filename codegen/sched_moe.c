// SPDX-License-Identifier: Apache-2.0
// Dispatch plans (sched.h), and MOE_PLAN on the CPU: a counting sort of T * k numbers, by one work unit.
#include "codegen/sched.h"
#include "ir/moe_plan.h"

// ---- making one, on all targets ----------------------------------------------------------------------------------

KirRef cg_plan_word(const CgPlan *p, int64_t fixed, KirRef index, int64_t scale) {
    return kir_at(p->fn, p->words, index, scale * 4, fixed * 4);
}
void cg_plan_put(const CgPlan *p, KirRef ptr, KirRef value) { kir_store(p->fn, ptr, kir_trunc(p->fn, value, KIR_I32)); }
KirRef cg_plan_expert(const CgPlan *p, KirRef row) { return cg_load_i32(p->fn, kir_at(p->fn, p->ids, row, 4, 0), 0); }

KirRef cg_plan_list_tiles(const CgPlan *p, KirRef expert, KirRef start, KirRef count, KirRef used) {
    KirFn *fn = p->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, p->tile), 1, &used, &loop);
    KirRef entry = kir_add(fn, p->rows, kir_mul(fn, loop.carried[0], kir_i64(fn, IR_MOE_TILE_WORDS)));
    cg_plan_put(p, cg_plan_word(p, 2 + 2 * p->experts, entry, 1), expert);
    cg_plan_put(p, cg_plan_word(p, 2 + 2 * p->experts + 1, entry, 1), kir_add(fn, start, loop.iv));
    cg_plan_put(p, cg_plan_word(p, 2 + 2 * p->experts + 2, entry, 1), kir_min(fn, kir_i64(fn, p->tile), kir_sub(fn, count, loop.iv)));
    KirRef next = kir_add(fn, loop.carried[0], kir_i64(fn, 1));
    kir_for_end(fn, &loop, &next);
    return loop.results[0];
}

static void zero_words(const CgPlan *p, KirRef from, KirRef end, KirRef step) {
    KirLoop loop;
    kir_for_begin(p->fn, from, end, step, 0, NULL, &loop);
    kir_store(p->fn, cg_plan_word(p, 0, loop.iv, 1), kir_int(p->fn, KT_I32, 0));
    cg_loop_end(p->fn, &loop);
}

void cg_plan_clear_tiles(const CgPlan *p, KirRef used, KirRef first, KirRef step) {
    KirFn *fn = p->fn;
    KirRef tiles_at = kir_add(fn, p->rows, kir_i64(fn, 2 + 2 * p->experts)), words = kir_i64(fn, IR_MOE_TILE_WORDS);
    KirRef bound = kir_add(fn, kir_i64(fn, p->experts), kir_mul(fn, cg_ceil_div(fn, p->tokens, p->tile), kir_i64(fn, p->ranks)));
    KirRef end = kir_add(fn, tiles_at, kir_mul(fn, bound, words)), from = kir_add(fn, tiles_at, kir_mul(fn, used, words));
    zero_words(p, first ? kir_add(fn, from, first) : from, end, step);
}

HdStatus *cg_plan_begin(CgGroupBuilder *builder, const IrGraph *graph, IrOpRef group, uint32_t lanes, CgPlan *out_plan) {
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_moe_plan, &op));
    HD_TRY(cg_check_results(graph, group, op));
    const IrType *ids = cg_type(graph, op->operands[0]);
    CgBuild *build = lanes ? cg_simt_launch_begin(builder, "moe_plan", lanes) : cg_launch_begin(builder, "moe_plan");
    cg_account(build);
    *out_plan = (CgPlan){.build = build, .fn = build->fn, .experts = op->attr[IR_ATTR_EXPERTS].i, .ranks = ids->dims[1],
                         .tile = op->attr[IR_ATTR_TILE].i, .ids = cg_operand(build, op->operands[0]),
                         .words = cg_result(build, op->results[0])};
    out_plan->tokens = cg_dim(build, ids->dims[0]);
    out_plan->rows = kir_mul(build->fn, out_plan->tokens, kir_i64(build->fn, ids->dims[1]));
    return NULL;
}

// ---- making one, on the CPU --------------------------------------------------------------------------------------

static void count_rows(const CgPlan *p) {
    KirFn *fn = p->fn;
    zero_words(p, kir_i64(fn, 1), kir_i64(fn, 1 + p->experts), kir_i64(fn, 1));
    KirLoop loop;
    KirRef row = cg_loop_begin(fn, kir_i64(fn, 0), p->rows, &loop);
    KirRef count = cg_plan_word(p, 1, cg_plan_expert(p, row), 1);
    kir_store(fn, count, kir_add(fn, kir_load(fn, KT_I32, count), kir_int(fn, KT_I32, 1)));
    cg_loop_end(fn, &loop);
}

// First rows, tiles, and (in scratch) where each expert's next row goes; gives the number of tiles.
static KirRef sum_up(const CgPlan *p, KirRef next_rows) {
    KirFn *fn = p->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, p->experts), kir_i64(fn, 1), 2, (KirRef[2]){kir_i64(fn, 0), kir_i64(fn, 0)}, &loop);
    KirRef start = loop.carried[0], count = cg_load_i32(fn, cg_plan_word(p, 1, loop.iv, 1), 0);
    cg_plan_put(p, cg_plan_word(p, 1 + p->experts, loop.iv, 1), start);
    cg_plan_put(p, kir_at(fn, next_rows, loop.iv, 4, 0), start);
    KirRef used = cg_plan_list_tiles(p, loop.iv, start, count, loop.carried[1]);
    kir_for_end(fn, &loop, (KirRef[2]){kir_add(fn, start, count), used});
    cg_plan_put(p, cg_plan_word(p, 1 + 2 * p->experts, kir_i64(fn, 0), 1), loop.results[0]);
    cg_plan_put(p, p->words, loop.results[1]);
    return loop.results[1];
}

static void sort_rows(const CgPlan *p, KirRef next_rows) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirRef row = cg_loop_begin(fn, kir_i64(fn, 0), p->rows, &loop);
    KirRef next = kir_at(fn, next_rows, cg_plan_expert(p, row), 4, 0), at = cg_load_i32(fn, next, 0);
    cg_plan_put(p, cg_plan_word(p, 2 + 2 * p->experts, at, 1), row);
    cg_plan_put(p, next, kir_add(fn, at, kir_i64(fn, 1)));
    cg_loop_end(fn, &loop);
}

HdStatus *cg_cpu_MOE_PLAN(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgPlan plan;
    HD_TRY(cg_plan_begin(builder, graph, group, 0, &plan));
    CgBuild *build = plan.build;
    KirRef next_rows = kir_offset_const(plan.fn, kir_scratch(plan.fn), cg_scratch(build, (uint64_t)plan.experts * 4));
    KirLoop loop;   // the one unit, which may also not be in this thread's range
    cg_units_begin(build, &loop);
    count_rows(&plan);
    cg_plan_clear_tiles(&plan, sum_up(&plan, next_rows), 0, kir_i64(plan.fn, 1));
    sort_rows(&plan, next_rows);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

// ---- reading one -------------------------------------------------------------------------------------------------

// The words of the plan less counts, starts and rows, in threes.
IrExpr cg_plan_bound(const IrGraph *graph, const IrOp *op) {
    const IrType *experts = cg_type(graph, op->operands[1]), *ids = cg_type(graph, op->operands[2]);
    IrExpr bound = ir_dim_expr(graph, cg_type(graph, op->operands[3])->dims[0]), rows = ir_dim_expr(graph, ids->dims[0]);
    cg_expr_scale(&rows, ids->dims[1]);
    bound.constant -= 2 + 2 * experts->dims[0] + rows.constant;
    bound.constant /= IR_MOE_TILE_WORDS;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) bound.coef[i] = (bound.coef[i] - rows.coef[i]) / IR_MOE_TILE_WORDS;
    for (uint32_t i = 0; i < bound.ceils; i++) bound.ceil[i].coef /= IR_MOE_TILE_WORDS;
    return bound;
}

void cg_plan_open(CgBuild *build, const IrOp *op, KirRef plan, KirRef *out_rows, KirRef *out_tiles) {
    KirFn *fn = build->fn;
    const IrType *ids = cg_type(build->graph, op->operands[2]);
    KirRef tokens = cg_dim(build, ids->dims[0]);
    KirRef experts = cg_const(build, cg_type(build->graph, op->operands[1])->dims[0], "E");
    *out_rows = kir_at(fn, plan, experts, 8, 8);        // behind words 0, counts and starts
    *out_tiles = kir_at(fn, *out_rows, kir_mul(fn, tokens, kir_i64(fn, ids->dims[1])), 4, 0);
}
