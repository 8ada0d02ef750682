// SPDX-License-Identifier: Apache-2.0
// GROUPED: linears whose matrix is chosen per row among experts.
//
// With a dispatch plan a work unit is (tile, panels): the rows of a tile belong to one expert, whose panels follow each other in memory while the rows
// stay in a cache. Without one it is (row, panel): the expert comes from ids. Result row t * k + r is written whatever the order.
#include "codegen/cpu/mm.h"
#include "codegen/sched.h"
#include "ir/moe_plan.h"

typedef struct Grouped {
    MmJob *job;
    int64_t ranks;
    IrDim tokens;
    KirRef ids;                  // ptr
    KirRef rows;                 // ptr to the sorted rows of the tile
} Grouped;

static KirRef load_index(KirFn *fn, KirRef base, KirRef index) { return cg_load_i32(fn, kir_at(fn, base, index, 4, 0), 0); }

// ---- decoding: one row at a time -----------------------------------------------------------------------------------

static void single_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    const Grouped *g = user;
    (void)index;
    mm_grouped_token(job, g->ranks, g->rows, out_token);   // here `rows` is the row number itself
}

static void by_row(Grouped *g) {
    MmJob *job = g->job;
    KirFn *fn = job->fn;
    KirRef panels = cg_const(job->build, mm_job_panels(job), "panels of an expert");
    KirLoop units;
    cg_units(job->build, &g->tokens, 1, g->ranks * mm_job_panels(job));
    KirRef unit = cg_units_begin(job->build, &units);
    g->rows = kir_sdiv(fn, unit, panels);
    mm_job_unit(job, kir_srem(fn, unit, panels), 1, load_index(fn, g->ids, g->rows), kir_i64(fn, 1), 1, single_at, g);
    cg_units_end(job->build, &units);
}

// ---- with a plan ---------------------------------------------------------------------------------------------------

static void tile_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    const Grouped *g = user;
    mm_grouped_token(job, g->ranks, load_index(job->fn, g->rows, index), out_token);
}

static void by_tile(Grouped *g) {
    MmJob *job = g->job;
    KirFn *fn = job->fn;
    const IrOp *op = ir_op(job->graph, job->op);
    uint32_t panels = mm_unit_panels(job->build->target);
    IrExpr bound = cg_plan_bound(job->graph, op);
    KirRef plan = cg_pointer(job->build, op->operands[3]), rows, list, per_tile = cg_const(job->build, mm_job_units(job, panels), "units of a tile");
    cg_plan_open(job->build, op, plan, &rows, &list);
    job->build->units = bound;
    cg_expr_scale(&job->build->units, mm_job_units(job, panels));
    KirLoop units;
    KirIf used;
    KirRef unit = cg_units_begin(job->build, &units), tile = kir_at(fn, list, kir_sdiv(fn, unit, per_tile), 4 * IR_MOE_TILE_WORDS, 0);
    KirRef count = cg_load_i32(fn, tile, 8);
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, count, kir_i64(fn, 0)), &used);
    g->rows = kir_at(fn, rows, cg_load_i32(fn, tile, 4), 4, 0);
    mm_job_unit(job, kir_srem(fn, unit, per_tile), panels, cg_load_i32(fn, tile, 0), count, 0, tile_at, g);
    kir_if_end(fn, &used, NULL);
    cg_units_end(job->build, &units);
}

static void launch(CgGroupBuilder *builder, MmJob *job) {
    const IrGraph *graph = job->graph;
    const IrOp op = *ir_op(graph, job->op);
    const IrType ids = ir_value(graph, op.operands[2])->type;
    Grouped g = {.job = job, .ranks = ids.dims[1], .tokens = ids.dims[0]};
    bool planned = op.operand_count == 4;
    IrExpr read = {.constant = job->experts};   // with a plan every expert is likely to be read
    if (!planned) {
        read = ir_dim_expr(graph, g.tokens);
        cg_expr_scale(&read, g.ranks);
    }
    mm_job_begin(job, builder, planned ? "grouped" : "grouped_rows", &read);
    if (!planned) g.ids = cg_pointer(job->build, op.operands[2]);
    if (planned) by_tile(&g);
    else by_row(&g);
    cg_launch_end(builder);
}

HdStatus *cg_cpu_GROUPED(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    MmJob jobs[MM_MAX_OUTS];
    uint32_t count;
    HD_TRY(mm_jobs(target, graph, group, jobs, &count));
    for (uint32_t i = 0; i < count; i++) launch(builder, &jobs[i]);
    return NULL;
}
