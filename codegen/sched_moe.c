// SPDX-License-Identifier: Apache-2.0
// MOE_PLAN, on all targets: one moe_plan, as ir/moe_plan.h lays it out. A counting sort of T * k numbers: one work unit does it all.
#include "codegen/sched.h"
#include "ir/moe_plan.h"

typedef struct Plan { CgBuild *build; KirFn *fn; int64_t E, k, tile; KirRef ids, words, rows, next; } Plan;   // rows: T * k

static KirRef word_at(const Plan *p, int64_t fixed, KirRef index, int64_t scale) {
    return kir_at(p->fn, p->words, index, scale * 4, fixed * 4);
}
static void put(const Plan *p, KirRef ptr, KirRef value) { kir_store(p->fn, ptr, kir_trunc(p->fn, value, KIR_I32)); }

static void zero_words(const Plan *p, KirRef from, KirRef end) {
    KirLoop loop;
    KirRef i = cg_loop_begin(p->fn, from, end, &loop);
    kir_store(p->fn, word_at(p, 0, i, 1), kir_int(p->fn, KT_I32, 0));
    cg_loop_end(p->fn, &loop);
}

static KirRef expert_of(const Plan *p, KirRef row) { return cg_load_i32(p->fn, kir_at(p->fn, p->ids, row, 4, 0), 0); }

static void count_rows(const Plan *p) {
    zero_words(p, kir_i64(p->fn, 1), kir_i64(p->fn, 1 + p->E));
    KirLoop loop;
    KirRef row = cg_loop_begin(p->fn, kir_i64(p->fn, 0), p->rows, &loop);
    KirRef count = word_at(p, 1, expert_of(p, row), 1);
    kir_store(p->fn, count, kir_add(p->fn, kir_load(p->fn, KT_I32, count), kir_int(p->fn, KT_I32, 1)));
    cg_loop_end(p->fn, &loop);
}

// Tiles of one expert from its first sorted row on; gives how many tiles there are then.
static KirRef list_tiles(const Plan *p, KirRef expert, KirRef start, KirRef count, KirRef used) {
    KirFn *fn = p->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, p->tile), 1, &used, &loop);
    KirRef entry = kir_add(fn, p->rows, kir_mul(fn, loop.carried[0], kir_i64(fn, IR_MOE_TILE_WORDS)));
    put(p, word_at(p, 2 + 2 * p->E, entry, 1), expert);
    put(p, word_at(p, 2 + 2 * p->E + 1, entry, 1), kir_add(fn, start, loop.iv));
    put(p, word_at(p, 2 + 2 * p->E + 2, entry, 1), cg_min(fn, kir_i64(fn, p->tile), kir_sub(fn, count, loop.iv)));
    KirRef next = kir_add(fn, loop.carried[0], kir_i64(fn, 1));
    kir_for_end(fn, &loop, &next);
    return loop.results[0];
}

// First rows, tiles, and where each expert's next row goes; gives the number of tiles.
static KirRef sum_up(const Plan *p) {
    KirFn *fn = p->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, p->E), kir_i64(fn, 1), 2, (KirRef[2]){kir_i64(fn, 0), kir_i64(fn, 0)}, &loop);
    KirRef start = loop.carried[0], count = cg_load_i32(fn, word_at(p, 1, loop.iv, 1), 0);
    put(p, word_at(p, 1 + p->E, loop.iv, 1), start);
    put(p, kir_at(fn, p->next, loop.iv, 4, 0), start);
    KirRef used = list_tiles(p, loop.iv, start, count, loop.carried[1]);
    kir_for_end(fn, &loop, (KirRef[2]){kir_add(fn, start, count), used});
    put(p, word_at(p, 1 + 2 * p->E, kir_i64(fn, 0), 1), loop.results[0]);
    put(p, p->words, loop.results[1]);
    return loop.results[1];
}

static void sort_rows(const Plan *p) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirRef row = cg_loop_begin(fn, kir_i64(fn, 0), p->rows, &loop);
    KirRef next = kir_at(fn, p->next, expert_of(p, row), 4, 0), at = cg_load_i32(fn, next, 0);
    put(p, word_at(p, 2 + 2 * p->E, at, 1), row);
    put(p, next, kir_add(fn, at, kir_i64(fn, 1)));
    cg_loop_end(fn, &loop);
}

static void build_plan(Plan *p, KirRef tokens) {
    KirFn *fn = p->fn;
    count_rows(p);
    KirRef used = sum_up(p);
    KirRef tiles_at = kir_add(fn, p->rows, kir_i64(fn, 2 + 2 * p->E)), words = kir_i64(fn, IR_MOE_TILE_WORDS);
    KirRef bound = kir_add(fn, kir_i64(fn, p->E), kir_mul(fn, cg_ceil_div(fn, tokens, p->tile), kir_i64(fn, p->k)));
    zero_words(p, kir_add(fn, tiles_at, kir_mul(fn, used, words)), kir_add(fn, tiles_at, kir_mul(fn, bound, words)));
    sort_rows(p);
}

HdStatus *cg_simt_MOE_PLAN(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    return cg_cpu_MOE_PLAN(builder, target, graph, group);
}

HdStatus *cg_cpu_MOE_PLAN(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    IrOpRef ref = cg_find_op(graph, group, IR_OP_moe_plan);
    if (!ref) return hd_error(HD_INTERNAL, "a moe_plan group holds one moe_plan");
    const IrOp *op = ir_op(graph, ref);
    HD_TRY(cg_check_operands(graph, op));
    HD_TRY(cg_check_results(graph, group, op));
    const IrType *ids = cg_type(graph, op->operands[0]);
    CgBuild *build = ir_target_is_gpu(target) ? cg_simt_launch_begin(builder, "moe_plan", 1) : cg_launch_begin(builder, "moe_plan");
    KirFn *fn = build->fn;
    cg_account(build);
    Plan plan = {.build = build, .fn = fn, .E = op->attr[IR_ATTR_EXPERTS].i, .k = ids->dims[1], .tile = op->attr[IR_ATTR_TILE].i,
                 .ids = cg_operand(build, op->operands[0]), .words = cg_result(build, op->results[0])};
    KirRef tokens = cg_dim(build, ids->dims[0]);
    plan.rows = kir_mul(fn, tokens, kir_i64(fn, plan.k));
    plan.next = kir_offset_const(fn, kir_scratch(fn), cg_scratch(build, (uint64_t)plan.E * 4));
    KirLoop loop;   // the one unit, which may also not be in this thread's range
    cg_units_begin(build, &loop);
    build_plan(&plan, tokens);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
