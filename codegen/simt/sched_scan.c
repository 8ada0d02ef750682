// SPDX-License-Identifier: Apache-2.0
// DELTA, for several tokens: the gated delta rule token by token (sched_delta.c: for one).
//
//   p = S'k,   e = beta (v - e^g p),   S <- e^g S + k e',   o = S'q     (as codegen/cpu/sched_delta.c)
//
// A work unit is a segment, a value head and COLUMNS columns of its matrix, which depend on no others. PARTS lanes share a column: each
// keeps its rows in registers from the first token to the last; p and o are joined through shared memory, with two barriers a token.
#include "codegen/simt/sched.h"

enum { COLUMNS = 16, PARTS = SIMT_LANES / COLUMNS, MOST_ROWS = KIR_MAX_CARRIED };

typedef struct Delta {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t nk, nv, dk, dv;
    uint32_t rows;                       // of a lane
    KirRef q, k, v, g, beta, o;          // base addresses
    KirRef head, key_head, column;       // of this lane; the column may lie beyond the last one
    KirRef exists, first_row;            // is there such a column? (i1); the lane's first row (i64)
    KirRef sums[2];                      // shared: [LANES], for p and o
} Delta;

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
    KirRef sum = 0, column = kir_srem(fn, kir_lane(fn), kir_i64(fn, COLUMNS));
    kir_shared_store(fn, array, kir_lane(fn), part);
    cg_barrier(x->build);
    for (int i = 0; i < PARTS; i++) {
        KirRef other = kir_shared_load(fn, array, kir_add(fn, column, kir_i64(fn, i * COLUMNS)));
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
    kir_store(fn, kir_at(fn, of_head(x, x->o, token, x->dv * 4), x->column, 4, 0), o);
    kir_if_end(fn, &first, NULL);
}

static void emit_unit(Delta *x, KirRef number, int64_t blocks) {
    KirFn *fn = x->fn;
    KirRef coord[3], s[MOST_ROWS], next[MOST_ROWS];
    KirLoop tokens;
    KirIf store;
    cg_unit_coords(fn, number, (IrDim[3]){IR_DIM_S, x->nv, blocks}, 3, coord);
    x->head = coord[1], x->key_head = cg_key_head(fn, x->op, x->head, x->nk, x->nv);
    x->column = kir_add(fn, kir_mul(fn, coord[2], kir_i64(fn, COLUMNS)), kir_srem(fn, kir_lane(fn), kir_i64(fn, COLUMNS)));
    x->exists = kir_cmp(fn, KIR_LT, x->column, kir_i64(fn, x->dv));
    x->first_row = kir_mul(fn, kir_sdiv(fn, kir_lane(fn), kir_i64(fn, COLUMNS)), kir_i64(fn, x->rows));
    CgSegment segment = cg_segment(x->build, coord[0]);
    KirRef in = state_at(x, segment.slot, segment.plane_in), out = state_at(x, segment.slot, segment.plane_out);
    for (uint32_t i = 0; i < x->rows; i++) s[i] = load_f32(fn, kir_offset_const(fn, in, x->dv * 4 * i));
    kir_for_begin(fn, kir_i64(fn, 0), segment.count, kir_i64(fn, 1), x->rows, s, &tokens);
    for (uint32_t i = 0; i < x->rows; i++) next[i] = tokens.carried[i];
    do_token(x, kir_add(fn, segment.first, tokens.iv), next);
    kir_for_end(fn, &tokens, next);
    kir_if_begin(fn, x->exists, &store);
    for (uint32_t i = 0; i < x->rows; i++) kir_store(fn, kir_offset_const(fn, out, x->dv * 4 * i), tokens.results[i]);
    kir_if_end(fn, &store, NULL);
}

HdStatus *simt_delta_scan(CgGroupBuilder *builder, const IrGraph *graph, IrOpRef group, IrOpRef scan) {
    const IrOp *op = ir_op(graph, scan);
    HD_TRY(cg_check_operands(graph, op));
    HD_TRY(cg_check_results(graph, group, op));
    const IrType *k = cg_type(graph, op->operands[1]), *v = cg_type(graph, op->operands[2]);
    if (k->dims[2] % PARTS || k->dims[2] / PARTS > MOST_ROWS)
        return hd_error(HD_UNSUPPORTED, "a delta rule with %lld key channels: a multiple of %d up to %d is possible", (long long)k->dims[2], PARTS,
                        PARTS * MOST_ROWS);
    CgBuild *build = cg_simt_launch_begin(builder, "delta_scan", SIMT_LANES);
    Delta x = {.build = build, .fn = build->fn, .op = op, .nk = k->dims[1], .nv = v->dims[1], .dk = k->dims[2], .dv = v->dims[2]};
    int64_t blocks = hd_ceil_div(x.dv, COLUMNS);
    x.rows = (uint32_t)(x.dk / PARTS);
    cg_units(build, (IrDim[3]){IR_DIM_S, x.nv, blocks}, 3, 1);
    cg_account(build);
    cg_expr_add_elements(&build->bytes, graph, &(IrType){.rank = 4, .dims = {IR_DIM_S, x.nv, x.dk, x.dv}}, 8);
    cg_expr_add_elements(&build->flops, graph, &(IrType){.rank = 4, .dims = {v->dims[0], x.nv, x.dk, x.dv}}, 7);
    x.q = cg_operand(build, op->operands[0]), x.k = cg_operand(build, op->operands[1]), x.v = cg_operand(build, op->operands[2]);
    x.g = cg_operand(build, op->operands[3]), x.beta = cg_operand(build, op->operands[4]), x.o = cg_result(build, op->results[0]);
    for (int i = 0; i < 2; i++) x.sums[i] = kir_shared(x.fn, KIR_F32, SIMT_LANES);
    KirLoop loop;
    emit_unit(&x, cg_units_begin(build, &loop), blocks);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
