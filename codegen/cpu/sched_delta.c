// SPDX-License-Identifier: Apache-2.0
// DELTA: the gated delta rule token by token (delta.scan), or for one token per segment (delta.step). One work unit per
// segment, value head and block of value columns: columns of the state do not depend on each other.
//
//   with p = S'k summed over rising rows:   S <- e^g S + k e',   e = beta (v - e^g p),   o = S'q
//
// which is the rule with the decay taken out of the sum. A scan keeps its block of the state in scratch and, in the one pass
// over it that a token takes, already sums p for the next token. A step reads plane in and writes plane out. Each number is
// made by the same operations in both.
#include "codegen/sched.h"

#include <string.h>

// A scan's block stays in the first cache; a step streams whole rows, which is half again as fast from memory as blocks of 64
// columns. A scan's sums of two vectors fill the registers of AVX-512; elsewhere there is room for one.
enum { LANES = 16, SCAN_VECTORS = 2, STEP_VECTORS = 8, CHAIN = 4 };

typedef struct Delta {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t nk, nv, dk, dv;
    uint32_t vectors;            // of 16 columns in a block
    KirRef q, k, v, g, beta, o;  // base addresses
    KirRef head, key_head, column, valid;   // of the unit; valid: columns in the last vector (0: all are whole)
} Delta;

// Rows of 16 * vectors columns: address of row 0, and bytes from row to row.
typedef struct Block { KirRef base; int64_t stride; KirRef valid; } Block;

static KirRef vector_at(const Delta *x, KirRef row, uint32_t i) { return kir_offset_const(x->fn, row, i * LANES * 4); }

static void load_row(const Delta *x, const Block *block, KirRef row, KirRef *out_s) {
    for (uint32_t i = 0; i < x->vectors; i++) out_s[i] = cg_load16(x->fn, vector_at(x, row, i), block->valid);
}

static void store_row(const Delta *x, const Block *block, KirRef row, const KirRef *s) {
    for (uint32_t i = 0; i < x->vectors; i++) cg_store16(x->fn, vector_at(x, row, i), s[i], block->valid);
}

// ---- loops over the rows of a state ----------------------------------------------------------------------------

// One row (i64 from 0): adds to the sums, of which 0 is one without terms yet.
typedef void Row(void *user, KirRef row, KirRef *sums);

static KirRef add_product(KirFn *fn, KirRef a, KirRef b, KirRef sum) { return sum ? kir_fma(fn, a, b, sum) : kir_mul(fn, a, b); }

// Rows first..first+n-1, n <= 2 * CHAIN: two chains, of which the second begins with what was lost before.
static void add_part(const Delta *x, KirRef first, int64_t n, uint32_t count, KirRef *totals, KirRef *rests, Row *body,
                     void *user) {
    KirFn *fn = x->fn;
    KirRef chain[2 * STEP_VECTORS] = {0}, second[2 * STEP_VECTORS];
    memcpy(second, rests, count * sizeof *second);
    for (int64_t i = 0; i < n; i++) body(user, kir_add(fn, first, kir_i64(fn, i)), i < CHAIN ? chain : second);
    for (uint32_t i = 0; i < count; i++) kir_accumulate(fn, &totals[i], &rests[i], kir_add(fn, chain[i], second[i]));
}

// `count` sums over all rows.
static void each_row(const Delta *x, uint32_t count, KirRef *out_sums, Row *body, void *user) {
    KirFn *fn = x->fn;
    KirRef sums[4 * STEP_VECTORS], next[4 * STEP_VECTORS];   // totals, then rests
    KirLoop loop;
    int64_t looped = x->dk / (2 * CHAIN) * (2 * CHAIN);
    for (uint32_t i = 0; i < 2 * count; i++) sums[i] = kir_float(fn, KT_F32x16, 0);
    if (looped) {
        kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, looped), kir_i64(fn, 2 * CHAIN), 2 * count, sums, &loop);
        for (uint32_t i = 0; i < 2 * count; i++) next[i] = loop.carried[i];
        add_part(x, loop.iv, 2 * CHAIN, count, next, next + count, body, user);
        kir_for_end(fn, &loop, next);
        for (uint32_t i = 0; i < 2 * count; i++) sums[i] = loop.results[i];
    }
    if (looped < x->dk) add_part(x, kir_i64(fn, looped), x->dk - looped, count, sums, sums + count, body, user);
    for (uint32_t i = 0; i < count; i++) out_sums[i] = kir_add(fn, sums[i], sums[count + i]);
}

typedef struct Copy { const Delta *x; Block from, to; } Copy;

static void copy_one(void *user, KirRef row, KirRef *acc) {
    const Copy *c = user;
    KirRef s[STEP_VECTORS];
    (void)acc;
    load_row(c->x, &c->from, kir_at(c->x->fn, c->from.base, row, c->from.stride, 0), s);
    store_row(c->x, &c->to, kir_at(c->x->fn, c->to.base, row, c->to.stride, 0), s);
}

static void copy_state(const Delta *x, Block from, Block to) {
    Copy copy = {x, from, to};
    each_row(x, 0, NULL, copy_one, &copy);
}

typedef struct Predict { const Delta *x; Block state; KirRef k; } Predict;

static KirRef number_at(const Delta *x, KirRef vector, KirRef row) {
    return kir_load(x->fn, KT_F32, kir_at(x->fn, vector, row, 4, 0));
}

static void predict_row(void *user, KirRef row, KirRef *p) {
    const Predict *y = user;
    KirRef s[STEP_VECTORS], k = number_at(y->x, y->k, row);
    load_row(y->x, &y->state, kir_at(y->x->fn, y->state.base, row, y->state.stride, 0), s);
    for (uint32_t i = 0; i < y->x->vectors; i++) p[i] = add_product(y->x->fn, s[i], k, p[i]);
}

// S'k
static void predict(const Delta *x, Block state, KirRef k, KirRef *out_p) {
    Predict y = {x, state, k};
    each_row(x, x->vectors, out_p, predict_row, &y);
}

typedef struct Update {
    const Delta *x;
    Block from, to;
    KirRef k, q, next_k, decay;
    const KirRef *e;
} Update; // next_k 0: there is none

// acc: o, then p of the next token.
static void update_row(void *user, KirRef row, KirRef *acc) {
    const Update *y = user;
    const Delta *x = y->x;
    KirFn *fn = x->fn;
    KirRef s[STEP_VECTORS], k = number_at(x, y->k, row), q = number_at(x, y->q, row),
                            next_k = y->next_k ? number_at(x, y->next_k, row) : 0;
    load_row(x, &y->from, kir_at(fn, y->from.base, row, y->from.stride, 0), s);
    for (uint32_t i = 0; i < x->vectors; i++) {
        s[i] = kir_fma(fn, y->e[i], k, kir_mul(fn, s[i], y->decay));
        acc[i] = add_product(fn, s[i], q, acc[i]);
        if (next_k) acc[x->vectors + i] = add_product(fn, s[i], next_k, acc[x->vectors + i]);
    }
    store_row(x, &y->to, kir_at(fn, y->to.base, row, y->to.stride, 0), s);
}

// ---- tokens ----------------------------------------------------------------------------------------------------

static KirRef key_row(const Delta *x, KirRef base, KirRef token) {
    return cg_element(x->fn, base, 2, (KirRef[2]){token, x->key_head}, (int64_t[2]){0, x->nk}, x->dk * 4);
}

static KirRef value_row(const Delta *x, KirRef base, KirRef token) {
    KirRef row = cg_element(x->fn, base, 2, (KirRef[2]){token, x->head}, (int64_t[2]){0, x->nv}, x->dv * 4);
    return kir_at(x->fn, row, x->column, 4, 0);
}

static KirRef head_number(const Delta *x, KirRef base, KirRef token) {
    return kir_load(x->fn, KT_F32, cg_element(x->fn, base, 2, (KirRef[2]){token, x->head}, (int64_t[2]){0, x->nv}, 4));
}

// One token: p is its prediction without the decay; becomes that of `next` (a token, 0: none). Writes the output row.
static void step_token(const Delta *x, KirRef token, KirRef next, Block from, Block to, KirRef *p) {
    KirFn *fn = x->fn;
    KirRef e[STEP_VECTORS], acc[2 * STEP_VECTORS], v = value_row(x, x->v, token), o = value_row(x, x->o, token);
    KirRef decay = kir_exp(fn, head_number(x, x->g, token)), beta = head_number(x, x->beta, token), minus = kir_neg(fn, decay);
    for (uint32_t i = 0; i < x->vectors; i++) {
        KirRef missing = kir_fma(fn, p[i], minus, cg_load16(fn, vector_at(x, v, i), x->valid));
        e[i] = kir_mul(fn, missing, beta);
    }
    Update update = {x, from, to, key_row(x, x->k, token), key_row(x, x->q, token), next ? key_row(x, x->k, next) : 0, decay, e};
    each_row(x, (next ? 2 : 1) * x->vectors, acc, update_row, &update);
    for (uint32_t i = 0; i < x->vectors; i++) {
        cg_store16(fn, vector_at(x, o, i), acc[i], x->valid);
        if (next) p[i] = acc[x->vectors + i];
    }
}

static void scan(const Delta *x, const CgSegment *segment, Block in, Block out, Block own) {
    KirFn *fn = x->fn;
    KirLoop loop;
    KirRef p[STEP_VECTORS], last = kir_sub(fn, kir_add(fn, segment->first, segment->count), kir_i64(fn, 1));
    copy_state(x, in, own);
    predict(x, own, key_row(x, x->k, segment->first), p);
    kir_for_begin(fn, kir_i64(fn, 0), segment->count, kir_i64(fn, 1), x->vectors, p, &loop);
    KirRef token = kir_add(fn, segment->first, loop.iv);
    for (uint32_t i = 0; i < x->vectors; i++) p[i] = loop.carried[i];
    KirRef next = kir_min(fn, kir_add(fn, token, kir_i64(fn, 1)), last), second = kir_min(fn, kir_add(fn, token, kir_i64(fn, 2)), last);
    cg_prefetch_row(fn, key_row(x, x->q, next), x->dk);   // rows are pages apart: no processor foresees them
    cg_prefetch_row(fn, key_row(x, x->k, second), x->dk);
    cg_prefetch_row(fn, value_row(x, x->v, next), x->vectors * LANES);
    step_token(x, token, next, own, own, p);
    kir_for_end(fn, &loop, p);
    copy_state(x, own, out);
}

static void step(const Delta *x, const CgSegment *segment, Block in, Block out) {
    KirRef p[STEP_VECTORS];
    predict(x, in, key_row(x, x->k, segment->first), p);
    step_token(x, segment->first, 0, in, out, p);
}

// ---- the launch ------------------------------------------------------------------------------------------------

// The unit's columns of its head in a plane.
static Block state_block(const Delta *x, KirRef slot, KirRef plane) {
    KirRef base = cg_state_base(x->build, x->op->operands[5], slot, plane);
    base = kir_at(x->fn, base, x->head, x->dk * x->dv * 4, 0);
    return (Block){kir_at(x->fn, base, x->column, 4, 0), x->dv * 4, x->valid};
}

static int64_t column_blocks(const Delta *x) { return hd_ceil_div(x->dv, (int64_t)x->vectors * LANES); }

static void emit_unit(Delta *x, KirRef number, bool one_token, KirRef scratch) {
    KirFn *fn = x->fn;
    KirRef coord[3];
    KirIf any;
    cg_unit_coords(fn, number, (IrDim[3]){IR_DIM_S, x->nv, column_blocks(x)}, 3, coord);
    x->head = coord[1];
    x->key_head = cg_key_head(fn, x->op, x->head, x->nk, x->nv);
    x->column = kir_mul(fn, coord[2], kir_i64(fn, (int64_t)x->vectors * LANES));
    x->valid = x->dv % LANES ? kir_min(fn, kir_i64(fn, LANES), kir_sub(fn, kir_i64(fn, x->dv), x->column)) : 0;
    CgSegment segment = cg_segment(x->build, coord[0]);
    Block in = state_block(x, segment.slot, segment.plane_in), out = state_block(x, segment.slot, segment.plane_out);
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, segment.count, kir_i64(fn, 0)), &any);
    if (one_token) step(x, &segment, in, out);
    else scan(x, &segment, in, out, (Block){scratch, (int64_t)x->vectors * LANES * 4, 0});
    kir_if_else(fn, &any, 0, NULL);
    copy_state(x, in, out);
    kir_if_end(fn, &any, NULL);
}

// As many vectors of columns as divide the value channels; one, which may be partial, where 16 does not.
static uint32_t choose_vectors(int64_t dv, uint32_t most) {
    while (most > 1 && dv % ((int64_t)most * LANES)) most /= 2;
    return most;
}

HdStatus *cg_cpu_DELTA(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    const IrOp *op;
    bool one_token = cg_find_op(graph, group, IR_OP_delta_step) != 0;
    HD_TRY(cg_group_op(graph, group, one_token ? IR_OP_delta_step : IR_OP_delta_scan, &op));
    HD_TRY(cg_check_results(graph, group, op));
    const IrType *k = cg_type(graph, op->operands[1]), *v = cg_type(graph, op->operands[2]);
    CgBuild *build = cg_launch_begin(builder, one_token ? "delta_step" : "delta_scan");
    KirFn *fn = build->fn;
    Delta x = {.build = build, .fn = fn, .op = op, .nk = k->dims[1], .nv = v->dims[1], .dk = k->dims[2], .dv = v->dims[2]};
    uint32_t scan_vectors = ir_target_has(target, IR_FEATURE_AVX512F) ? SCAN_VECTORS : 1;
    x.vectors = choose_vectors(x.dv, one_token ? STEP_VECTORS : scan_vectors);
    cg_units(build, (IrDim[3]){IR_DIM_S, x.nv, column_blocks(&x)}, 3, 1);
    cg_account(build);
    cg_expr_add_elements(&build->bytes, graph, &(IrType){.rank = 4, .dims = {IR_DIM_S, x.nv, x.dk, x.dv}}, 8);
    cg_expr_add_elements(&build->flops, graph, &(IrType){.rank = 4, .dims = {v->dims[0], x.nv, x.dk, x.dv}}, 7);
    x.q = cg_operand(build, op->operands[0]), x.k = cg_operand(build, op->operands[1]), x.v = cg_operand(build, op->operands[2]);
    x.g = cg_operand(build, op->operands[3]), x.beta = cg_operand(build, op->operands[4]), x.o = cg_result(build, op->results[0]);
    KirRef scratch = one_token ? 0 : cg_scratch_words(build, x.dk * x.vectors * LANES);
    KirLoop loop;
    emit_unit(&x, cg_units_begin(build, &loop), one_token, scratch);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
