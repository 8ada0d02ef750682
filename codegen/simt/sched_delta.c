// SPDX-License-Identifier: Apache-2.0
// DELTA: the gated delta rule token by token, for one token of each segment (delta.step) and for several (delta.scan).
//
//   p = S'k,   e = beta (v - e^g p),   S <- e^g S + k e',   o = S'q     (as codegen/cpu/sched_delta.c)
//
// A work unit is a segment, a value head and a block of columns of its matrix, which depend on no others. A few lanes share a column: each
// keeps its rows in registers from the first token to the last, so that the matrix is read and written once; p and o are joined through
// shared memory, with two barriers a token. The group may go on with the head's row behind a step (the gated norm): then a work group does
// all columns of the head, in several blocks where they are too many.
#include "codegen/simt/sched.h"

enum { COLUMNS = 16, MOST_PARTS = 16, MOST_ROWS = 64 };

typedef struct Delta {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t nk, nv, dk, dv;
    uint32_t columns, parts, rows;       // of a block; lanes of a column; rows of a lane
    KirRef q, k, v, g, beta, o;          // base addresses
    KirRef head, key_head, column;       // of this lane; the column may lie beyond the last one
    KirRef exists, first_row;            // is there such a column? (i1); the lane's first row (i64)
    KirRef sums[2];                      // shared: [lanes], for p and o
    KirRef row;                          // scratch: the head's row, which the group goes on with; 0: the row is the result
} Delta;

static int64_t blocks(const Delta *x) { return hd_ceil_div(x->dv, x->columns); }

static KirRef load_f32(KirFn *fn, KirRef ptr) { return kir_load(fn, KT_F32, ptr); }

// The lane's first element in a plane of the state; where there is no column, the last one's.
static KirRef state_at(const Delta *x, KirRef slot, KirRef plane) {
    KirFn *fn = x->fn;
    KirRef base = kir_at(fn, cg_state_base(x->build, x->op->operands[5], slot, plane), x->head, x->dk * x->dv * 4, 0);
    return kir_at(fn, kir_at(fn, base, x->first_row, x->dv * 4, 0), kir_min(fn, x->column, kir_i64(fn, x->dv - 1)), 4, 0);
}

// The lane's rows of a key or query, and an element of a head's values.
static KirRef key_rows(const Delta *x, KirRef base, KirRef token) {
    KirRef row = cg_element(x->fn, base, 2, (KirRef[2]){token, x->key_head}, (int64_t[2]){0, x->nk}, x->dk * 4);
    return kir_at(x->fn, row, x->first_row, 4, 0);
}
static KirRef of_head(const Delta *x, KirRef base, KirRef token, int64_t bytes) {
    return cg_element(x->fn, base, 2, (KirRef[2]){token, x->head}, (int64_t[2]){0, x->nv}, bytes);
}

// Sums over rows have four chains, so that neither the chain of additions nor its error is long.
static void add_to_chain(KirFn *fn, KirRef chain[4], uint32_t i, KirRef a, KirRef b) {
    chain[i % 4] = chain[i % 4] ? kir_fma(fn, a, b, chain[i % 4]) : kir_mul(fn, a, b);
}
static KirRef join_chains(KirFn *fn, const KirRef chain[4], uint32_t count) {
    KirRef low = count > 2 ? kir_add(fn, chain[0], chain[2]) : chain[0], high = count > 3 ? kir_add(fn, chain[1], chain[3]) : chain[1];
    return count > 1 ? kir_add(fn, low, high) : low;
}

// The sum over the lanes of a column, from the first rows on.
static KirRef join_parts(const Delta *x, KirRef array, KirRef part) {
    KirFn *fn = x->fn;
    if (x->parts == 1) return part;
    KirRef sum = 0, column = kir_srem(fn, kir_lane(fn), kir_i64(fn, x->columns));
    kir_shared_store(fn, array, kir_lane(fn), part);
    cg_barrier(x->build);
    for (uint32_t i = 0; i < x->parts; i++) {
        KirRef other = kir_shared_load(fn, array, kir_add(fn, column, kir_i64(fn, i * x->columns)));
        sum = sum ? kir_add(fn, sum, other) : other;
    }
    return sum;
}

// Updates the lane's rows `s` and stores this token's output.
static void do_token(const Delta *x, KirRef token, KirRef *s) {
    KirFn *fn = x->fn;
    KirRef k = key_rows(x, x->k, token), q = key_rows(x, x->q, token), chain[4] = {0}, keys[MOST_ROWS];
    KirRef decay = kir_exp(fn, load_f32(fn, of_head(x, x->g, token, 4))), beta = load_f32(fn, of_head(x, x->beta, token, 4));
    KirRef column = kir_min(fn, x->column, kir_i64(fn, x->dv - 1));
    KirRef v = load_f32(fn, kir_at(fn, of_head(x, x->v, token, x->dv * 4), column, 4, 0));
    for (uint32_t i = 0; i < x->rows; i++) {
        keys[i] = load_f32(fn, kir_offset_const(fn, k, 4 * i));
        add_to_chain(fn, chain, i, s[i], keys[i]);
    }
    KirRef p = join_parts(x, x->sums[0], join_chains(fn, chain, x->rows));
    KirRef e = kir_mul(fn, kir_fma(fn, p, kir_neg(fn, decay), v), beta);
    for (uint32_t i = 0; i < 4; i++) chain[i] = 0;
    for (uint32_t i = 0; i < x->rows; i++) {
        s[i] = kir_fma(fn, keys[i], e, kir_mul(fn, s[i], decay));
        add_to_chain(fn, chain, i, s[i], load_f32(fn, kir_offset_const(fn, q, 4 * i)));
    }
    KirRef o = join_parts(x, x->sums[1], join_chains(fn, chain, x->rows));
    KirIf first;
    kir_if_begin(fn, kir_and(fn, x->exists, kir_cmp(fn, KIR_EQ, x->first_row, kir_i64(fn, 0))), &first);
    kir_store(fn, kir_at(fn, x->row ? x->row : of_head(x, x->o, token, x->dv * 4), x->column, 4, 0), o);
    kir_if_end(fn, &first, NULL);
}

// All tokens of the segment for one block of columns.
static void do_block(Delta *x, const CgSegment *segment, KirRef block) {
    KirFn *fn = x->fn;
    KirRef s[MOST_ROWS], next[MOST_ROWS], columns = kir_i64(fn, x->columns);
    KirLoop tokens;
    KirIf store;
    x->column = kir_add(fn, kir_mul(fn, block, columns), kir_srem(fn, kir_lane(fn), columns));
    x->exists = kir_cmp(fn, KIR_LT, x->column, kir_i64(fn, x->dv));
    x->first_row = kir_mul(fn, kir_sdiv(fn, kir_lane(fn), columns), kir_i64(fn, x->rows));
    KirRef in = state_at(x, segment->slot, segment->plane_in), out = state_at(x, segment->slot, segment->plane_out);
    for (uint32_t i = 0; i < x->rows; i++) s[i] = load_f32(fn, kir_offset_const(fn, in, x->dv * 4 * i));
    kir_for_begin(fn, kir_i64(fn, 0), segment->count, kir_i64(fn, 1), x->rows, s, &tokens);
    for (uint32_t i = 0; i < x->rows; i++) next[i] = tokens.carried[i];
    do_token(x, kir_add(fn, segment->first, tokens.iv), next);
    kir_for_end(fn, &tokens, next);
    kir_if_begin(fn, x->exists, &store);
    for (uint32_t i = 0; i < x->rows; i++) kir_store(fn, kir_offset_const(fn, out, x->dv * 4 * i), tokens.results[i]);
    kir_if_end(fn, &store, NULL);
}

// What the group makes of the head's row that a step has left in scratch; nothing where the segment has no token.
static void go_on(const Delta *x, CgUnit *after, const CgSegment *segment) {
    KirLoop loop;
    cg_barrier(x->build);
    (void)cg_loop_begin(x->fn, kir_i64(x->fn, 0), segment->count, &loop);
    CgRegion *region = cg_region_new(x->build);
    cg_region_bind_memory(region, x->op->results[0], x->row, (KirRef[3]){0, 0, 0});
    cg_unit_emit(region, after, (KirRef[2]){segment->first, x->head});
    cg_region_free(region);
    cg_loop_end(x->fn, &loop);
}

static void emit_unit(Delta *x, CgUnit *after, KirRef number) {
    KirFn *fn = x->fn;
    KirRef coord[3];
    KirLoop loop;
    cg_unit_coords(fn, number, (IrDim[3]){IR_DIM_S, x->nv, x->row ? 1 : blocks(x)}, 3, coord);
    x->head = coord[1], x->key_head = cg_key_head(fn, x->op, x->head, x->nk, x->nv);
    CgSegment segment = cg_segment(x->build, coord[0]);
    if (x->row && blocks(x) > 1) {
        do_block(x, &segment, cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, blocks(x)), &loop));
        cg_barrier(x->build);
        cg_loop_end(fn, &loop);
    } else {
        do_block(x, &segment, coord[2]);
    }
    if (x->row) go_on(x, after, &segment);
}

// Columns and lanes: as many lanes to a column as fit and divide its rows; fewer columns where a lane's rows would be too many.
static HdStatus *choose_shape(Delta *x, bool whole_rows) {
    uint32_t most = whole_rows ? SIMT_MOST_LANES : SIMT_LANES;
    for (x->columns = whole_rows ? (uint32_t)hd_align_up((uint64_t)x->dv, COLUMNS) : COLUMNS; x->columns >= COLUMNS; x->columns -= COLUMNS) {
        x->parts = MOST_PARTS;
        while (x->parts && (x->columns * x->parts > most || x->dk % x->parts)) x->parts /= 2;
        x->rows = x->parts ? (uint32_t)(x->dk / x->parts) : UINT32_MAX;
        if (x->rows <= MOST_ROWS) return NULL;
    }
    return hd_error(HD_UNSUPPORTED, "a delta rule with %lld key channels: at most %d in each of the equal parts that up to %d lanes can take",
                    (long long)x->dk, MOST_ROWS, MOST_PARTS);
}

static HdStatus *launch(CgGroupBuilder *builder, const char *name, Delta *x, CgUnit *after) {
    const IrOp *op = x->op;
    HD_TRY(choose_shape(x, after != NULL));
    CgBuild *build = x->build = cg_simt_launch_begin(builder, name, x->columns * x->parts);
    const IrGraph *graph = build->graph;
    x->fn = build->fn;
    cg_units(build, (IrDim[3]){IR_DIM_S, x->nv, after ? 1 : blocks(x)}, 3, 1);
    cg_account(build);
    cg_expr_add_elements(&build->bytes, graph, &(IrType){.rank = 4, .dims = {IR_DIM_S, x->nv, x->dk, x->dv}}, 8);
    cg_expr_add_elements(&build->flops, graph, &(IrType){.rank = 4, .dims = {cg_type(graph, op->operands[2])->dims[0], x->nv, x->dk, x->dv}}, 7);
    x->q = cg_operand(build, op->operands[0]), x->k = cg_operand(build, op->operands[1]), x->v = cg_operand(build, op->operands[2]);
    x->g = cg_operand(build, op->operands[3]), x->beta = cg_operand(build, op->operands[4]);
    for (int i = 0; i < 2 && x->parts > 1; i++) x->sums[i] = kir_shared(x->fn, KIR_F32, build->lanes);
    if (after) cg_unit_pointers(build, after);
    else x->o = cg_result(build, op->results[0]);
    if (after) x->row = kir_offset_const(x->fn, kir_scratch(x->fn), cg_scratch(build, (uint64_t)x->dv * 4));
    KirLoop loop;
    emit_unit(x, after, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

// What the group does with the operation's result: nothing (it is what the group gives), or, behind a step, work on rows of heads.
static HdStatus *plan_after(const IrGraph *graph, IrOpRef group, const IrOp *op, CgUnit *out_after, bool *out_goes_on) {
    HD_TRY(cg_unit_plan(graph, group, out_after));
    *out_goes_on = out_after->sink_count != 1 || out_after->sinks[0].value != op->results[0];
    if (!*out_goes_on) return NULL;
    const IrType *o = cg_type(graph, op->results[0]);
    bool heads = out_after->prefix == 2 && out_after->dims[0] == o->dims[0] && out_after->dims[1] == o->dims[1];
    if (heads && o->dims[2] <= IR_GPU_MOST_LANES) return NULL;
    return hd_error(HD_UNSUPPORTED, "a delta group that goes on works on rows of heads of at most %d channels", IR_GPU_MOST_LANES);
}

HdStatus *cg_simt_DELTA(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    bool step = cg_find_op(graph, group, IR_OP_delta_step) != 0;
    HD_TRY(cg_group_op(graph, group, step ? IR_OP_delta_step : IR_OP_delta_scan, &op));
    const IrType *k = cg_type(graph, op->operands[1]), *v = cg_type(graph, op->operands[2]);
    Delta x = {.op = op, .nk = k->dims[1], .nv = v->dims[1], .dk = k->dims[2], .dv = v->dims[2]};
    bool goes_on = false;
    CgUnit after;
    if (step) HD_TRY(plan_after(graph, group, op, &after, &goes_on));
    else HD_TRY(cg_check_results(graph, group, op));
    return launch(builder, goes_on ? "delta_step_norm" : step ? "delta_step" : "delta_scan", &x, goes_on ? &after : NULL);
}
