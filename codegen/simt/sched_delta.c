// SPDX-License-Identifier: Apache-2.0
// DELTA: the gated delta rule token by token.
//
//   p = S'k,   e = beta (v - e^g p),   S <- e^g S + k e',   o = S'q     (as codegen/cpu/sched_delta.c)
//
// A lane has one column of the matrix, which depends on no other. It lies in the plane that is written; the first token reads the
// plane in. Behind a step the group may go on with the head's row (the gated norm): then a work group has all columns of a head.
#include "codegen/simt/sched.h"

typedef struct Delta {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t nk, nv, dk, dv;
    KirRef q, k, v, g, beta, o;          // base addresses
    KirRef head, key_head, column;       // of this lane
    KirRef row;                          // scratch: the head's row, which the group goes on with; 0: the row is the result
} Delta;

static KirRef column_of(const Delta *x, KirRef slot, KirRef plane) {
    KirRef base = kir_at(x->fn, cg_state_base(x->build, x->op->operands[5], slot, plane), x->head, x->dk * x->dv * 4, 0);
    return kir_at(x->fn, base, x->column, 4, 0);
}

static KirRef load_f32(KirFn *fn, KirRef ptr) { return kir_load(fn, KT_F32, ptr); }
static KirRef key_row(const Delta *x, KirRef base, KirRef token) {
    return cg_element(x->fn, base, 2, (KirRef[2]){token, x->key_head}, (int64_t[2]){0, x->nk}, x->dk * 4);
}
static KirRef of_head(const Delta *x, KirRef base, KirRef token, int64_t bytes) {
    return cg_element(x->fn, base, 2, (KirRef[2]){token, x->head}, (int64_t[2]){0, x->nv}, bytes);
}

// Sums over rows have four chains, so that neither the chain of additions nor its error is long.
enum { CHAINS = 4 };
static KirRef join_chains(KirFn *fn, const KirRef *sum) {
    return kir_add(fn, kir_add(fn, sum[0], sum[2]), kir_add(fn, sum[1], sum[3]));
}

static KirRef predict(const Delta *x, KirRef column, KirRef k) {
    KirFn *fn = x->fn;
    KirRef sum[CHAINS], next[CHAINS];
    KirLoop loop;
    for (int i = 0; i < CHAINS; i++) sum[i] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, x->dk), kir_i64(fn, CHAINS), CHAINS, sum, &loop);
    for (int i = 0; i < CHAINS; i++) {
        KirRef row = kir_add(fn, loop.iv, kir_i64(fn, i));
        next[i] = kir_fma(fn, load_f32(fn, kir_at(fn, column, row, x->dv * 4, 0)), load_f32(fn, kir_at(fn, k, row, 4, 0)), loop.carried[i]);
    }
    kir_for_end(fn, &loop, next);
    return join_chains(fn, loop.results);
}

// Updates the column and gives this token's output.
static KirRef update(const Delta *x, KirRef from, KirRef to, KirRef k, KirRef q, KirRef decay, KirRef e) {
    KirFn *fn = x->fn;
    KirRef sum[CHAINS], next[CHAINS];
    KirLoop loop;
    for (int i = 0; i < CHAINS; i++) sum[i] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, x->dk), kir_i64(fn, CHAINS), CHAINS, sum, &loop);
    for (int i = 0; i < CHAINS; i++) {
        KirRef row = kir_add(fn, loop.iv, kir_i64(fn, i));
        KirRef old = kir_mul(fn, load_f32(fn, kir_at(fn, from, row, x->dv * 4, 0)), decay);
        KirRef s = kir_fma(fn, load_f32(fn, kir_at(fn, k, row, 4, 0)), e, old);
        kir_store(fn, kir_at(fn, to, row, x->dv * 4, 0), s);
        next[i] = kir_fma(fn, s, load_f32(fn, kir_at(fn, q, row, 4, 0)), loop.carried[i]);
    }
    kir_for_end(fn, &loop, next);
    return join_chains(fn, loop.results);
}

static void do_token(const Delta *x, KirRef token, KirRef from, KirRef to) {
    KirFn *fn = x->fn;
    KirRef k = key_row(x, x->k, token), q = key_row(x, x->q, token);
    KirRef decay = kir_exp(fn, load_f32(fn, of_head(x, x->g, token, 4))), beta = load_f32(fn, of_head(x, x->beta, token, 4));
    KirRef v = load_f32(fn, kir_at(fn, of_head(x, x->v, token, x->dv * 4), x->column, 4, 0));
    KirRef e = kir_mul(fn, kir_fma(fn, predict(x, from, k), kir_neg(fn, decay), v), beta);
    KirRef o = update(x, from, to, k, q, decay, e);
    kir_store(fn, kir_at(fn, x->row ? x->row : of_head(x, x->o, token, x->dv * 4), x->column, 4, 0), o);
}

static void copy_column(const Delta *x, KirRef from, KirRef to) {
    KirLoop loop;
    KirRef row = cg_loop_begin(x->fn, kir_i64(x->fn, 0), kir_i64(x->fn, x->dk), &loop);
    kir_store(x->fn, kir_at(x->fn, to, row, x->dv * 4, 0), load_f32(x->fn, kir_at(x->fn, from, row, x->dv * 4, 0)));
    cg_loop_end(x->fn, &loop);
}

static void do_column(const Delta *x, const CgSegment *segment, bool one_token) {
    KirFn *fn = x->fn;
    KirRef in = column_of(x, segment->slot, segment->plane_in), out = column_of(x, segment->slot, segment->plane_out);
    KirIf any;
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, segment->count, kir_i64(fn, 0)), &any);
    do_token(x, segment->first, in, out);
    if (!one_token) {
        KirLoop loop;
        KirRef i = cg_loop_begin(fn, kir_i64(fn, 1), segment->count, &loop);
        do_token(x, kir_add(fn, segment->first, i), out, out);
        cg_loop_end(fn, &loop);
    }
    kir_if_else(fn, &any, 0, NULL);
    copy_column(x, in, out);
    kir_if_end(fn, &any, NULL);
}

// What the group makes of the head's row that a step has left in scratch.
static void go_on(const Delta *x, CgUnit *after, const CgSegment *segment) {
    KirFn *fn = x->fn;
    KirIf any;
    CgRegion *region = cg_region_new(x->build);
    cg_barrier(x->build);
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, segment->count, kir_i64(fn, 0)), &any);
    cg_region_bind_memory(region, x->op->results[0], x->row, (KirRef[3]){0, 0, 0});
    cg_unit_emit(region, after, (KirRef[2]){segment->first, x->head});
    kir_if_end(fn, &any, NULL);
    cg_region_free(region);
}

static void emit_unit(Delta *x, CgUnit *after, KirRef number, bool one_token) {
    KirFn *fn = x->fn;
    KirIf exists;
    KirRef coord[3];
    int64_t lanes = x->build->lanes;
    cg_unit_coords(fn, number, (IrDim[3]){IR_DIM_S, x->nv, hd_ceil_div(x->dv, lanes)}, 3, coord);
    x->head = coord[1], x->key_head = cg_key_head(fn, x->op, x->head, x->nk, x->nv);
    x->column = kir_add(fn, kir_mul(fn, coord[2], kir_i64(fn, lanes)), kir_lane(fn));
    CgSegment segment = cg_segment(x->build, coord[0]);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, x->column, kir_i64(fn, x->dv)), &exists);
    do_column(x, &segment, one_token);
    kir_if_end(fn, &exists, NULL);
    if (x->row) go_on(x, after, &segment);
}

static void launch(CgGroupBuilder *builder, Delta *x, CgUnit *after, bool goes_on, bool one_token) {
    const IrOp *op = x->op;
    uint32_t lanes = goes_on ? (uint32_t)hd_align_up((uint64_t)x->dv, SIMT_LANES) : SIMT_LANES;
    CgBuild *build = x->build = cg_simt_launch_begin(builder, goes_on ? "delta_step_norm" : one_token ? "delta_step" : "delta_scan", lanes);
    const IrGraph *graph = build->graph;
    x->fn = build->fn;
    cg_units(build, (IrDim[3]){IR_DIM_S, x->nv, hd_ceil_div(x->dv, lanes)}, 3, 1);
    cg_account(build);
    cg_expr_add_elements(&build->bytes, graph, &(IrType){.rank = 4, .dims = {IR_DIM_S, x->nv, x->dk, x->dv}}, 8);
    cg_expr_add_elements(&build->flops, graph, &(IrType){.rank = 4, .dims = {cg_type(graph, op->operands[2])->dims[0], x->nv, x->dk, x->dv}}, 7);
    x->q = cg_operand(build, op->operands[0]), x->k = cg_operand(build, op->operands[1]), x->v = cg_operand(build, op->operands[2]);
    x->g = cg_operand(build, op->operands[3]), x->beta = cg_operand(build, op->operands[4]);
    if (goes_on) cg_unit_pointers(build, after);
    else x->o = cg_result(build, op->results[0]);
    if (goes_on) x->row = kir_offset_const(x->fn, kir_scratch(x->fn), cg_scratch(build, (uint64_t)x->dv * 4));
    KirLoop loop;
    emit_unit(x, after, cg_units_begin(build, &loop), one_token);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
}

// What the group does with the operation's result: nothing (it is what the group gives), or, behind a step, work on rows of heads.
static HdStatus *plan_after(const IrGraph *graph, IrOpRef group, const IrOp *op, CgUnit *out_after, bool *out_goes_on) {
    HD_TRY(cg_unit_plan(graph, group, out_after));
    *out_goes_on = out_after->sink_count != 1 || out_after->sinks[0].value != op->results[0];
    if (!*out_goes_on) return NULL;
    const IrType *o = cg_type(graph, op->results[0]);
    bool heads = out_after->prefix == 2 && out_after->dims[0] == o->dims[0] && out_after->dims[1] == o->dims[1];
    if (op->kind == IR_OP_delta_step && heads && o->dims[2] <= IR_GPU_MOST_LANES) return NULL;
    return hd_error(HD_UNSUPPORTED, "a delta group that goes on works on rows of heads of at most %d channels, behind a delta.step",
                    IR_GPU_MOST_LANES);
}

HdStatus *cg_simt_DELTA(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    IrOpRef ref = cg_find_op(graph, group, IR_OP_delta_step);
    bool one_token = ref != 0, goes_on;
    if (!ref) ref = cg_find_op(graph, group, IR_OP_delta_scan);
    if (!ref) return hd_error(HD_INTERNAL, "a delta group holds one delta.step or delta.scan");
    const IrOp *op = ir_op(graph, ref);
    CgUnit after;
    HD_TRY(cg_check_operands(graph, op));
    HD_TRY(plan_after(graph, group, op, &after, &goes_on));
    const IrType *k = cg_type(graph, op->operands[1]), *v = cg_type(graph, op->operands[2]);
    if (k->dims[2] % CHAINS)
        return hd_error(HD_UNSUPPORTED, "a delta rule with %lld key channels: they have to be a multiple of %d", (long long)k->dims[2], CHAINS);
    Delta x = {.op = op, .nk = k->dims[1], .nv = v->dims[1], .dk = k->dims[2], .dv = v->dims[2]};
    launch(builder, &x, &after, goes_on, one_token);
    return NULL;
}
