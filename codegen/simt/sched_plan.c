// SPDX-License-Identifier: Apache-2.0
// MOE_PLAN on a GPU: one work group, of which each lane has an expert (or a few). It looks through all rows for its own, twice: to count
// them, and to list them behind those of lower experts. So no two lanes write one word, and rows stay in order without atomic operations.
#include "codegen/simt/sched.h"

enum { AT_ONCE = 8 };   // rows whose experts are loaded together

// Walks over the rows and counts those of the expert from `at` on; list: each is written as the sorted row of its number.
static KirRef own_rows(const CgPlan *p, KirRef expert, KirRef at, bool list) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirRef of[AT_ONCE], rows[AT_ONCE];
    int64_t step = AT_ONCE;
    while (p->ranks % step) step /= 2;
    kir_for_begin(fn, kir_i64(fn, 0), p->rows, kir_i64(fn, step), 1, &at, &loop);
    KirRef next = loop.carried[0];
    for (int i = 0; i < step; i++) rows[i] = kir_add(fn, loop.iv, kir_i64(fn, i)), of[i] = cg_plan_expert(p, rows[i]);
    for (int i = 0; i < step; i++) {
        KirIf is_own;
        KirRef own = kir_cmp(fn, KIR_EQ, of[i], expert);
        if (list) {
            kir_if_begin(fn, own, &is_own);
            cg_plan_put(p, cg_plan_word(p, 2 + 2 * p->experts, next, 1), rows[i]);
            kir_if_end(fn, &is_own, NULL);
        }
        next = kir_add(fn, next, kir_select(fn, own, kir_i64(fn, 1), kir_i64(fn, 0)));
    }
    kir_for_end(fn, &loop, &next);
    return loop.results[0];
}

static KirRef count_of(const CgPlan *p, KirRef expert) { return cg_load_i32(p->fn, cg_plan_word(p, 1, expert, 1), 0); }

// Rows and tiles of the experts before this one.
static void sum_lower(const CgPlan *p, KirRef expert, KirRef *out_rows, KirRef *out_tiles) {
    KirFn *fn = p->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), expert, kir_i64(fn, 1), 2, (KirRef[2]){kir_i64(fn, 0), kir_i64(fn, 0)}, &loop);
    KirRef count = count_of(p, loop.iv), rows = kir_add(fn, loop.carried[0], count);
    kir_for_end(fn, &loop, (KirRef[2]){rows, kir_add(fn, loop.carried[1], cg_ceil_div(fn, count, p->tile))});
    *out_rows = loop.results[0], *out_tiles = loop.results[1];
}

static void list_expert(const CgPlan *p, KirRef expert) {
    KirFn *fn = p->fn;
    KirIf is_last;
    KirRef start, used;
    sum_lower(p, expert, &start, &used);
    cg_plan_put(p, cg_plan_word(p, 1 + p->experts, expert, 1), start);
    used = cg_plan_list_tiles(p, expert, start, count_of(p, expert), used);
    own_rows(p, expert, start, true);
    kir_if_begin(fn, kir_cmp(fn, KIR_EQ, expert, kir_i64(fn, p->experts - 1)), &is_last);
    cg_plan_put(p, cg_plan_word(p, 1 + p->experts, kir_i64(fn, p->experts), 1), p->rows);
    cg_plan_put(p, p->words, used);
    kir_if_end(fn, &is_last, NULL);
}

HdStatus *cg_simt_MOE_PLAN(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgPlan plan;
    int64_t experts = ir_op(graph, cg_find_op(graph, group, IR_OP_moe_plan))->attr[IR_ATTR_EXPERTS].i;
    HD_TRY(cg_plan_begin(builder, graph, group, simt_row_lanes(experts), &plan));
    CgBuild *build = plan.build;
    KirFn *fn = plan.fn;
    KirLoop unit, loop;
    cg_units_begin(build, &unit);
    KirRef expert = simt_deal_begin(build, kir_i64(fn, plan.experts), &loop);
    cg_plan_put(&plan, cg_plan_word(&plan, 1, expert, 1), own_rows(&plan, expert, kir_i64(fn, 0), false));
    simt_deal_end(build, &loop);
    cg_barrier(build);
    list_expert(&plan, simt_deal_begin(build, kir_i64(fn, plan.experts), &loop));
    simt_deal_end(build, &loop);
    cg_barrier(build);
    cg_plan_clear_tiles(&plan, cg_load_i32(fn, plan.words, 0), kir_lane(fn), kir_i64(fn, build->lanes));
    cg_units_end(build, &unit);
    cg_launch_end(builder);
    return NULL;
}
