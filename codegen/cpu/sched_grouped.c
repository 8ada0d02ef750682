// SPDX-License-Identifier: Apache-2.0
// GROUPED: linears whose matrix is chosen per row among experts.
//
// With a dispatch plan a work unit is (panel, tile): the rows of a tile belong to one expert; tiles of an expert follow each
// other, so that the panel stays in cache. Without one it is (row, panel): the expert comes from ids. Result row t * k + r is
// written whatever the order.
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
    mm_job_open(job, kir_srem(fn, unit, panels), 1, load_index(fn, g->ids, g->rows));
    mm_job_make(job);
    mm_job_tokens(job, kir_i64(fn, 1), 1, single_at, g);
    cg_units_end(job->build, &units);
}

// ---- with a plan ---------------------------------------------------------------------------------------------------

static void tile_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    const Grouped *g = user;
    mm_grouped_token(job, g->ranks, load_index(job->fn, g->rows, index), out_token);
}

// Makes the panels of native factors unless they are those of the unit before: `made` (i64) says which. Gives the new one.
static KirRef make_once(Grouped *g, KirRef panel, KirRef expert, KirRef made) {
    MmJob *job = g->job;
    KirFn *fn = job->fn;
    KirIf other;
    KirRef wanted = kir_add(fn, kir_mul(fn, expert, cg_const(job->build, mm_job_panels(job), "panels of an expert")), panel);
    kir_if_begin(fn, kir_cmp(fn, KIR_NE, wanted, made), &other);
    mm_job_make(job);
    kir_if_end(fn, &other, NULL);
    return wanted;
}

static void by_tile(Grouped *g) {
    MmJob *job = g->job;
    KirFn *fn = job->fn;
    const IrOp *op = ir_op(job->graph, job->op);
    IrExpr bound = cg_plan_bound(job->graph, op);
    KirRef plan = cg_pointer(job->build, op->operands[3]), tiles = cg_expr(job->build, &bound, "tiles at most"), rows, list;
    cg_plan_open(job->build, op, plan, &rows, &list);
    job->build->units = bound;
    cg_expr_scale(&job->build->units, mm_job_panels(job));
    uint32_t carried = mm_job_is_native(job);           // which panel is in scratch
    KirRef none = kir_i64(fn, -1), made = none;
    KirLoop units;
    KirIf used;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), carried, &none, &units);
    KirRef tile = kir_at(fn, list, kir_srem(fn, units.iv, tiles), 4 * IR_MOE_TILE_WORDS, 0);
    KirRef count = cg_load_i32(fn, tile, 8);
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, count, kir_i64(fn, 0)), &used);
    g->rows = kir_at(fn, rows, cg_load_i32(fn, tile, 4), 4, 0);
    KirRef panel = kir_sdiv(fn, units.iv, tiles), expert = cg_load_i32(fn, tile, 0);
    mm_job_open(job, panel, 1, expert);
    if (carried) made = make_once(g, panel, expert, units.carried[0]);
    mm_job_tokens(job, count, 0, tile_at, g);
    if (carried) kir_if_else(fn, &used, 1, &made);
    kir_if_end(fn, &used, carried ? units.carried : NULL);
    kir_for_end(fn, &units, carried ? used.results : NULL);
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
