// SPDX-License-Identifier: Apache-2.0
// DELTA_PREP: what the chunked delta rule (formulas: codegen/cpu/sched_delta_chunk.c) can know of a chunk without the state. A work unit is
// a chunk and a value head. First a lane is a token and follows the decays from its own to all later ones: e^(sum of g) of each pair of
// tokens, in shared memory. Then the products of keys with keys and queries, of a few channels at a time, each lane for a block of pairs:
// they become A, in the place of the decays, and P. Last a lane is a column of V or K, and solves for its column of U or W: 16 rows at a
// time, which take from the solved ones above, read back from where they were stored, and then from each other.
#include "codegen/simt/sched.h"

enum { LANES = 128, I_LANES = 8, J_LANES = LANES / I_LANES, MOST_SIZE = 64, MOST_I = MOST_SIZE / I_LANES, MOST_J = MOST_SIZE / J_LANES, BLOCK = 16 };

typedef struct Prep {
    CgChunk chunk;
    KirRef v, g, beta, U, W, P, G;       // base addresses
    KirRef pairs;                        // shared: decays, then A, below the diagonal: row i from i (i - 1) / 2 on
    KirRef factors;                      // shared: beta [size], beta e^c [size]
    KirRef staged;                       // shared: a step of columns of the keys, and of the queries
    uint32_t step;
} Prep;

static KirRef n64(const Prep *x, int64_t n) { return kir_i64(x->chunk.fn, n); }

// Where row i of the pairs begins.
static KirRef pair_row(const Prep *x, KirRef i) {
    KirFn *fn = x->chunk.fn;
    return kir_ashr(fn, kir_mul(fn, i, simt_plus(fn, i, -1)), n64(x, 1));
}

// Token i of the chunk, or its last.
static KirRef token(const Prep *x, KirRef i) { return kir_min(x->chunk.fn, i, simt_plus(x->chunk.fn, x->chunk.m, -1)); }

// ---- decays ----------------------------------------------------------------------------------------------------

static KirRef of_token(const Prep *x, KirRef base, KirRef i) { return kir_load(x->chunk.fn, KT_F32, cg_chunk_token_row(&x->chunk, base, i, 1)); }

// For the lane's token: the decays of all later ones from it on, its g, and its factors of V and K.
static void follow_decays(const Prep *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef own = kir_lane(fn), zero = kir_float(fn, KT_F32, 0), next[2];
    KirIf exists, later;
    KirLoop loop;
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, own, c->m), &exists);
    kir_for_begin(fn, n64(x, 0), c->m, n64(x, 1), 2, (KirRef[2]){zero, zero}, &loop);
    KirRef g = of_token(x, x->g, loop.iv), before = kir_cmp(fn, KIR_LE, loop.iv, own);
    next[0] = kir_select(fn, before, kir_add(fn, loop.carried[0], g), loop.carried[0]);
    next[1] = kir_select(fn, before, loop.carried[1], kir_add(fn, loop.carried[1], g));
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, loop.iv, own), &later);
    kir_shared_store(fn, x->pairs, kir_add(fn, pair_row(x, loop.iv), own), kir_exp(fn, next[1]));
    kir_if_end(fn, &later, NULL);
    kir_for_end(fn, &loop, next);
    KirRef beta = of_token(x, x->beta, own);
    kir_shared_store(fn, x->factors, own, beta);
    kir_shared_store(fn, x->factors, simt_plus(fn, own, c->size), kir_mul(fn, beta, kir_exp(fn, loop.results[0])));
    kir_store(fn, cg_chunk_padded_row(c, x->G, own, 1), of_token(x, x->g, own));
    kir_if_end(fn, &exists, NULL);
    cg_barrier(c->build);
}

// ---- products --------------------------------------------------------------------------------------------------

typedef struct Rows { const Prep *x; KirRef base; } Rows;

static void load_pair(void *user, KirRef row, KirRef column, KirRef out[2]) {
    const Rows *rows = user;
    KirFn *fn = rows->x->chunk.fn;
    KirRef at = kir_at(fn, cg_chunk_key_row(&rows->x->chunk, rows->base, token(rows->x, row)), column, 4, 0);
    for (int i = 0; i < 2; i++) out[i] = cg_load_f32(fn, at, 4 * i);
}

static KirRef own_i(const Prep *x, uint32_t a) {
    return simt_plus(x->chunk.fn, kir_sdiv(x->chunk.fn, kir_lane(x->chunk.fn), n64(x, J_LANES)), (int64_t)a * I_LANES);
}
static KirRef own_j(const Prep *x, uint32_t b) {
    return simt_plus(x->chunk.fn, kir_srem(x->chunk.fn, kir_lane(x->chunk.fn), n64(x, J_LANES)), (int64_t)b * J_LANES);
}

// Adds the products of a step: k_i k_j and q_i k_j of the lane's pairs.
static void add_step(const Prep *x, KirRef *sums) {
    KirFn *fn = x->chunk.fn;
    uint32_t is = (uint32_t)x->chunk.size / I_LANES, js = (uint32_t)x->chunk.size / J_LANES, stride = x->step + 1;
    KirRef zero[2 * MOST_I * MOST_J], next[2 * MOST_I * MOST_J], key[MOST_I], ask[MOST_I], other[MOST_J];
    KirLoop loop;
    for (uint32_t n = 0; n < 2 * is * js; n++) zero[n] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, n64(x, 0), n64(x, x->step), n64(x, 1), 2 * is * js, zero, &loop);
    for (uint32_t a = 0; a < is; a++) {
        KirRef at = simt_index(fn, own_i(x, a), stride, loop.iv);
        key[a] = kir_shared_load(fn, x->staged, at);
        ask[a] = kir_shared_load(fn, x->staged, simt_plus(fn, at, x->chunk.size * stride));
    }
    for (uint32_t b = 0; b < js; b++) other[b] = kir_shared_load(fn, x->staged, simt_index(fn, own_j(x, b), stride, loop.iv));
    for (uint32_t n = 0; n < 2 * is * js; n++) next[n] = kir_fma(fn, (n % 2 ? ask : key)[n / 2 / js], other[n / 2 % js], loop.carried[n]);
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < 2 * is * js; n++) sums[n] = kir_add(fn, sums[n], loop.results[n]);
}

// A_ij and P_ij of one pair.
static void put_pair(const Prep *x, KirRef i, KirRef j, KirRef kk, KirRef qk) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirIf exists, below;
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, i, c->m), &exists);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, j, i), &below);
    KirRef place = kir_add(fn, pair_row(x, i), j), decay = kir_shared_load(fn, x->pairs, place), p = kir_mul(fn, qk, decay);
    kir_shared_store(fn, x->pairs, place, kir_mul(fn, kir_mul(fn, kk, kir_shared_load(fn, x->factors, i)), decay));
    kir_if_else(fn, &below, 1, &p);
    KirRef above = kir_select(fn, kir_cmp(fn, KIR_EQ, j, i), qk, kir_float(fn, KT_F32, 0));
    kir_if_end(fn, &below, &above);
    kir_store(fn, kir_at(fn, cg_chunk_padded_row(c, x->P, i, c->size), j, 4, 0), below.results[0]);
    kir_if_end(fn, &exists, NULL);
}

static void put_products(const Prep *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    uint32_t js = (uint32_t)c->size / J_LANES, count = 2 * (uint32_t)c->size / I_LANES * js;
    KirRef sums[2 * MOST_I * MOST_J], next[2 * MOST_I * MOST_J];
    KirLoop loop;
    for (uint32_t n = 0; n < count; n++) sums[n] = kir_float(fn, KT_F32, 0);
    KirRef end = kir_select(fn, kir_cmp(fn, KIR_GT, c->m, n64(x, 0)), n64(x, c->dk), n64(x, 0));
    kir_for_begin(fn, n64(x, 0), end, n64(x, x->step), count, sums, &loop);
    SimtBlock block = {.array = x->staged, .rows = (uint32_t)c->size, .step = x->step, .column = loop.iv, .columns = c->dk};
    simt_stage(c->build, &block, load_pair, &(Rows){x, c->k});
    block.to = c->size * (x->step + 1);
    simt_stage(c->build, &block, load_pair, &(Rows){x, c->q});
    cg_barrier(c->build);
    for (uint32_t n = 0; n < count; n++) next[n] = loop.carried[n];
    add_step(x, next);
    cg_barrier(c->build);
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < count; n += 2) put_pair(x, own_i(x, n / 2 / js), own_j(x, n / 2 % js), loop.results[n], loop.results[n + 1]);
    cg_barrier(c->build);
}

// ---- the solution ----------------------------------------------------------------------------------------------

// A lane's column: of V and U, or of K and W. Rows are `from_bytes` and `to_bytes` apart.
typedef struct Column { KirRef from, from_bytes, to, to_bytes, factors; } Column;

static Column column_of(const Prep *x, KirRef number) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef zero = n64(x, 0), is_w = kir_cmp(fn, KIR_GE, number, n64(x, c->dv));
    KirRef place = kir_sub(fn, number, kir_select(fn, is_w, n64(x, c->dv), zero));
    KirRef v = cg_chunk_token_row(c, x->v, zero, c->dv), k = cg_chunk_key_row(c, c->k, zero);
    KirRef u = cg_chunk_padded_row(c, x->U, zero, c->dv), w = cg_chunk_padded_row(c, x->W, zero, c->dk);
    return (Column){.from = kir_at(fn, kir_select(fn, is_w, k, v), place, 4, 0),
                    .from_bytes = kir_select(fn, is_w, n64(x, c->nk * c->dk * 4), n64(x, c->nv * c->dv * 4)),
                    .to = kir_at(fn, kir_select(fn, is_w, w, u), place, 4, 0),
                    .to_bytes = kir_select(fn, is_w, n64(x, c->nv * c->dk * 4), n64(x, c->nv * c->dv * 4)),
                    .factors = kir_select(fn, is_w, n64(x, c->size), zero)};
}

static KirRef number_at(const Prep *x, KirRef base, KirRef row, KirRef bytes) { return kir_offset(x->chunk.fn, base, kir_mul(x->chunk.fn, row, bytes)); }

// sum - A_ij * solved, A_ij at a place of the pairs.
static KirRef take(const Prep *x, KirRef sum, KirRef place, KirRef solved) {
    return kir_fma(x->chunk.fn, kir_neg(x->chunk.fn, kir_shared_load(x->chunk.fn, x->pairs, place)), solved, sum);
}

static void solve_block(const Prep *x, const Column *column, KirRef first) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef row[BLOCK], at[BLOCK], sum[BLOCK], next[BLOCK];
    KirLoop loop;
    KirIf exists;
    for (uint32_t r = 0; r < BLOCK; r++) {
        row[r] = simt_plus(fn, first, r), at[r] = pair_row(x, row[r]);
        KirRef own = kir_load(fn, KT_F32, number_at(x, column->from, token(x, row[r]), column->from_bytes));
        sum[r] = kir_mul(fn, own, kir_shared_load(fn, x->factors, kir_add(fn, row[r], column->factors)));
    }
    kir_for_begin(fn, n64(x, 0), first, n64(x, 1), BLOCK, sum, &loop);
    KirRef solved = kir_load(fn, KT_F32, number_at(x, column->to, loop.iv, column->to_bytes));
    for (uint32_t r = 0; r < BLOCK; r++) next[r] = take(x, loop.carried[r], kir_add(fn, at[r], loop.iv), solved);
    kir_for_end(fn, &loop, next);
    for (uint32_t r = 0; r < BLOCK; r++) {
        sum[r] = loop.results[r];
        for (uint32_t j = 0; j < r; j++) sum[r] = take(x, sum[r], kir_add(fn, at[r], row[j]), sum[j]);
    }
    for (uint32_t r = 0; r < BLOCK; r++) {
        kir_if_begin(fn, kir_cmp(fn, KIR_LT, row[r], c->m), &exists);
        kir_store(fn, number_at(x, column->to, row[r], column->to_bytes), sum[r]);
        kir_if_end(fn, &exists, NULL);
    }
}

static void solve(const Prep *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop columns, rows;
    Column column = column_of(x, simt_deal_begin(c->build, n64(x, c->dv + c->dk), &columns));
    kir_for_begin(fn, n64(x, 0), c->m, n64(x, BLOCK), 0, NULL, &rows);
    solve_block(x, &column, rows.iv);
    kir_for_end(fn, &rows, NULL);
    simt_deal_end(c->build, &columns);
}

// ---- the group -------------------------------------------------------------------------------------------------

static void emit_unit(Prep *x, KirRef unit) {
    CgChunk *c = &x->chunk;
    KirRef coord[2];
    cg_unit_coords(c->fn, unit, (IrDim[2]){IR_DIM_T, c->nv}, 2, coord);
    c->head = coord[1], c->key_head = cg_key_head(c->fn, c->op, c->head, c->nk, c->nv);
    cg_chunk_find(c, coord[0]);
    follow_decays(x);
    put_products(x);
    solve(x);
}

HdStatus *cg_simt_DELTA_PREP(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_chunk_op(graph, group, IR_OP_delta_chunk_prep, &op));
    HD_TRY(simt_chunk_supported(graph, op));
    CgBuild *build = cg_simt_launch_begin(builder, "delta_prep", LANES);
    Prep x = {.chunk = cg_chunk(build, op, cg_type(graph, op->operands[2]))};
    const CgChunk *c = &x.chunk;
    uint32_t size = (uint32_t)c->size;
    build->units = cg_chunk_units(build, op);
    cg_account(build);
    cg_expr_add_elements(&build->flops, graph, &(IrType){.rank = 3, .dims = {cg_type(graph, op->operands[2])->dims[0], c->nv, size}}, 5 * c->dk + c->dv);
    x.v = cg_operand(build, op->operands[2]), x.g = cg_operand(build, op->operands[3]), x.beta = cg_operand(build, op->operands[4]);
    x.U = cg_result(build, op->results[0]), x.W = cg_result(build, op->results[1]), x.P = cg_result(build, op->results[2]);
    x.G = cg_result(build, op->results[3]);
    x.step = size > 32 ? 8 : 16;         // that all fits 16 KiB
    x.pairs = kir_shared(c->fn, KIR_F32, size * (size - 1) / 2);
    x.factors = kir_shared(c->fn, KIR_F32, 2 * size);
    x.staged = kir_shared(c->fn, KIR_F32, 2 * size * (x.step + 1));
    KirLoop loop;
    emit_unit(&x, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
