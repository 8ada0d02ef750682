// SPDX-License-Identifier: Apache-2.0
// DELTA_CHUNK: the part of the chunked delta rule (formulas: codegen/cpu/sched_delta_chunk.c) that carries the state. A work unit is a
// segment, a value head and a block of columns of its matrix S, which stays in shared memory from the segment's first chunk to its last,
// beside the corrected values N of a chunk. Rows of W, Q and P go through shared memory, some columns at a time; each lane adds up a block
// of results in registers: first W S and Q S over the channels, then P N over the tokens, then K' N for its share of S.
#include "codegen/simt/sched.h"

enum { LANES = SIMT_LANES, STEP = 16, MOST_SIZE = 64, MOST_COLUMNS = 16, EACH = 2, MOST_ROWS = 4, MOST_FLOATS = 4096, N_LANES = 16, C_LANES = LANES / N_LANES,
       MOST_SHARE = 64 };

typedef struct Walk {
    CgChunk chunk;
    uint32_t columns, rows;              // of a block; of a lane among a chunk's tokens
    KirRef U, W, P, G, o;                // base addresses
    KirRef column;                       // i64: the block's first
    KirRef state, news;                  // shared: S [dk, rounded up to STEP][columns], N [size][columns]
    KirRef staged;                       // shared: a step of two matrices of `size` rows
    KirRef passed, left;                 // shared: e^(c_i), e^(c_m - c_i) [size]
} Walk;

static KirRef n64(const Walk *x, int64_t n) { return kir_i64(x->chunk.fn, n); }
static int64_t state_rows(const Walk *x) { return (int64_t)hd_align_up((uint64_t)x->chunk.dk, STEP); }

// Rows of a chunk that all tokens fit (its own, or the last one's).
static KirRef token(const Walk *x, KirRef i) { return kir_min(x->chunk.fn, i, simt_plus(x->chunk.fn, x->chunk.m, -1)); }
// The block's column c as one of the head's; beyond the last the last.
static KirRef head_column(const Walk *x, KirRef c) { return kir_min(x->chunk.fn, kir_add(x->chunk.fn, x->column, c), n64(x, x->chunk.dv - 1)); }

// ---- the state -------------------------------------------------------------------------------------------------

// All elements of the block to shared memory, rows that do not exist as zeros, or back.
static void copy_state(const Walk *x, const CgSegment *segment, bool back) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef plane = cg_state_base(c->build, c->op->operands[6], segment->slot, back ? segment->plane_out : segment->plane_in);
    KirRef matrix = kir_at(fn, plane, c->head, c->dk * c->dv * 4, 0);
    KirLoop loop;
    KirIf exists;
    KirRef e = simt_deal_begin(c->build, n64(x, (back ? c->dk : state_rows(x)) * x->columns), &loop);
    KirRef row = kir_sdiv(fn, e, n64(x, x->columns)), column = kir_srem(fn, e, n64(x, x->columns)), there = kir_cmp(fn, KIR_LT, row, n64(x, c->dk));
    KirRef at = kir_at(fn, kir_at(fn, matrix, kir_min(fn, row, n64(x, c->dk - 1)), c->dv * 4, 0), head_column(x, column), 4, 0);
    if (!back) kir_shared_store(fn, x->state, e, kir_select(fn, there, kir_load(fn, KT_F32, at), kir_float(fn, KT_F32, 0)));
    if (back) {
        kir_if_begin(fn, kir_cmp(fn, KIR_LT, kir_add(fn, x->column, column), n64(x, c->dv)), &exists);
        kir_store(fn, at, kir_shared_load(fn, x->state, e));
        kir_if_end(fn, &exists, NULL);
    }
    simt_deal_end(c->build, &loop);
    cg_barrier(c->build);
}

// Fills `passed` and `left`, a lane for each token; gives e^(c_m).
static KirRef chunk_decays(const Walk *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef zero = kir_float(fn, KT_F32, 0), own = kir_lane(fn), next[3];
    KirLoop loop;
    KirIf has;
    kir_for_begin(fn, n64(x, 0), c->m, n64(x, 1), 3, (KirRef[3]){zero, zero, zero}, &loop);
    KirRef i = loop.iv, j = kir_sub(fn, simt_plus(fn, c->m, -1), i);     // from the beginning, and from the end
    KirRef first = kir_load(fn, KT_F32, cg_chunk_padded_row(c, x->G, i, 1)), last = kir_load(fn, KT_F32, cg_chunk_padded_row(c, x->G, j, 1));
    next[0] = kir_select(fn, kir_cmp(fn, KIR_LE, i, own), kir_add(fn, loop.carried[0], first), loop.carried[0]);
    next[1] = kir_select(fn, kir_cmp(fn, KIR_GT, j, own), kir_add(fn, loop.carried[1], last), loop.carried[1]);
    next[2] = kir_add(fn, loop.carried[2], last);
    kir_for_end(fn, &loop, next);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, own, n64(x, c->size)), &has);
    kir_shared_store(fn, x->passed, own, kir_exp(fn, loop.results[0]));
    kir_shared_store(fn, x->left, own, kir_exp(fn, loop.results[1]));
    kir_if_end(fn, &has, NULL);
    return kir_exp(fn, loop.results[2]);
}

// ---- a block of results: rows of tokens, columns of the block ----------------------------------------------------

static uint32_t row_lanes(const Walk *x) { return LANES / (x->columns / EACH); }
static KirRef own_row(const Walk *x, uint32_t a) {
    return simt_plus(x->chunk.fn, kir_sdiv(x->chunk.fn, kir_lane(x->chunk.fn), n64(x, x->columns / EACH)), (int64_t)a * row_lanes(x));
}
static KirRef own_column(const Walk *x, uint32_t b) {
    return simt_plus(x->chunk.fn, kir_srem(x->chunk.fn, kir_lane(x->chunk.fn), n64(x, x->columns / EACH)), (int64_t)b * (x->columns / EACH));
}

typedef struct Rows { const Walk *x; KirRef base; int64_t padded; } Rows;   // padded: columns of a result over padded rows; 0: of the queries

static void load_pair(void *user, KirRef row, KirRef column, KirRef out[2]) {
    const Rows *rows = user;
    const CgChunk *c = &rows->x->chunk;
    KirRef i = token(rows->x, row), at = rows->padded ? cg_chunk_padded_row(c, rows->base, i, rows->padded) : cg_chunk_key_row(c, rows->base, i);
    at = kir_at(c->fn, at, column, 4, 0);
    for (int n = 0; n < 2; n++) out[n] = cg_load_f32(c->fn, at, 4 * n);
}

// sums[m] += the product of a step's columns of matrix number m with `factors` ([..][columns], shared) from row `from` on.
static void add_step(const Walk *x, uint32_t matrices, KirRef factors, KirRef from, KirRef *sums) {
    KirFn *fn = x->chunk.fn;
    uint32_t count = matrices * x->rows * EACH, stride = STEP + 1;
    KirRef zero[2 * MOST_ROWS * EACH], next[2 * MOST_ROWS * EACH], left[2 * MOST_ROWS], right[EACH];
    KirLoop loop;
    for (uint32_t n = 0; n < count; n++) zero[n] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, n64(x, 0), n64(x, STEP), n64(x, 1), count, zero, &loop);
    for (uint32_t n = 0; n < matrices * x->rows; n++) {
        KirRef row = simt_plus(fn, own_row(x, n % x->rows), n / x->rows * x->chunk.size);
        left[n] = kir_shared_load(fn, x->staged, simt_index(fn, row, stride, loop.iv));
    }
    for (uint32_t b = 0; b < EACH; b++)
        right[b] = kir_shared_load(fn, factors, simt_index(fn, kir_add(fn, from, loop.iv), x->columns, own_column(x, b)));
    for (uint32_t n = 0; n < count; n++) next[n] = kir_fma(fn, left[n / EACH], right[n % EACH], loop.carried[n]);
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < count; n++) sums[n] = kir_add(fn, sums[n], loop.results[n]);
}

// The products of `matrices` matrices of n columns with shared factors, added to sums. Barriers before and after each step.
static void multiply(const Walk *x, uint32_t matrices, Rows *of, int64_t columns, KirRef end, KirRef factors, KirRef *sums) {
    KirFn *fn = x->chunk.fn;
    uint32_t count = matrices * x->rows * EACH;
    KirRef next[2 * MOST_ROWS * EACH];
    KirLoop loop;
    kir_for_begin(fn, n64(x, 0), end, n64(x, STEP), count, sums, &loop);
    for (uint32_t m = 0; m < matrices; m++) {
        SimtBlock block = {x->staged, m * x->chunk.size * (STEP + 1), (uint32_t)x->chunk.size, STEP, loop.iv, columns};
        simt_stage(x->chunk.build, &block, load_pair, &of[m]);
    }
    cg_barrier(x->chunk.build);
    for (uint32_t n = 0; n < count; n++) next[n] = loop.carried[n];
    add_step(x, matrices, factors, loop.iv, next);
    cg_barrier(x->chunk.build);
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < count; n++) sums[n] = loop.results[n];
}

// N = U - W S in shared memory, and O = diag(e^c) Q S + P N.
static void chunk_values(const Walk *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    uint32_t half = x->rows * EACH;
    KirRef sums[2 * MOST_ROWS * EACH];
    KirIf exists;
    for (uint32_t n = 0; n < 2 * half; n++) sums[n] = kir_float(fn, KT_F32, 0);
    multiply(x, 2, (Rows[2]){{x, x->W, c->dk}, {x, c->q, 0}}, c->dk, n64(x, c->dk), x->state, sums);
    for (uint32_t n = 0; n < half; n++) {
        KirRef row = own_row(x, n / EACH), column = own_column(x, n % EACH);
        KirRef u = kir_load(fn, KT_F32, kir_at(fn, cg_chunk_padded_row(c, x->U, token(x, row), c->dv), head_column(x, column), 4, 0));
        kir_shared_store(fn, x->news, simt_index(fn, row, x->columns, column), kir_sub(fn, u, sums[n]));
        sums[n] = kir_mul(fn, sums[half + n], kir_shared_load(fn, x->passed, row));
    }
    cg_barrier(c->build);
    multiply(x, 1, &(Rows){x, x->P, c->size}, c->size, c->m, x->news, sums);
    for (uint32_t n = 0; n < half; n++) {
        KirRef row = own_row(x, n / EACH), column = kir_add(fn, x->column, own_column(x, n % EACH));
        kir_if_begin(fn, kir_and(fn, kir_cmp(fn, KIR_LT, row, c->m), kir_cmp(fn, KIR_LT, column, n64(x, c->dv))), &exists);
        kir_store(fn, kir_at(fn, cg_chunk_token_row(c, x->o, row, c->dv), column, 4, 0), sums[n]);
        kir_if_end(fn, &exists, NULL);
    }
}

// S <- e^(c_m) S + (diag(e^(c_m - c)) K)' N: rows lane % 16 + 16 a, and columns lane / 16 + 4 b.
static void advance_state(const Walk *x, KirRef decay) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    uint32_t rows = (uint32_t)state_rows(x) / N_LANES, columns = x->columns / C_LANES, count = rows * columns;
    KirRef at[MOST_SHARE], sum[MOST_SHARE], next[MOST_SHARE], key[MOST_SHARE], news[MOST_COLUMNS];
    KirRef row = kir_srem(fn, kir_lane(fn), n64(x, N_LANES)), column = kir_sdiv(fn, kir_lane(fn), n64(x, N_LANES));
    KirLoop loop;
    for (uint32_t n = 0; n < count; n++) {
        at[n] = simt_index(fn, simt_plus(fn, row, n / columns * N_LANES), x->columns, simt_plus(fn, column, n % columns * C_LANES));
        sum[n] = kir_mul(fn, kir_shared_load(fn, x->state, at[n]), decay);
    }
    kir_for_begin(fn, n64(x, 0), c->m, n64(x, 1), count, sum, &loop);
    KirRef keys = cg_chunk_key_row(c, c->k, loop.iv), left = kir_shared_load(fn, x->left, loop.iv);
    for (uint32_t a = 0; a < rows; a++)
        key[a] = kir_load(fn, KT_F32, kir_at(fn, keys, kir_min(fn, simt_plus(fn, row, a * N_LANES), n64(x, c->dk - 1)), 4, 0));
    for (uint32_t b = 0; b < columns; b++) {
        KirRef place = simt_index(fn, loop.iv, x->columns, simt_plus(fn, column, b * C_LANES));
        news[b] = kir_mul(fn, kir_shared_load(fn, x->news, place), left);
    }
    for (uint32_t n = 0; n < count; n++) next[n] = kir_fma(fn, key[n / columns], news[n % columns], loop.carried[n]);
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < count; n++) kir_shared_store(fn, x->state, at[n], loop.results[n]);
    cg_barrier(c->build);
}

// ---- the group -------------------------------------------------------------------------------------------------

static void emit_unit(Walk *x, KirRef unit) {
    CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef coord[3];
    KirLoop loop;
    cg_unit_coords(fn, unit, (IrDim[3]){IR_DIM_S, c->nv, hd_ceil_div(c->dv, x->columns)}, 3, coord);
    c->head = coord[1], c->key_head = cg_key_head(fn, c->op, c->head, c->nk, c->nv);
    x->column = kir_mul(fn, coord[2], n64(x, x->columns));
    CgSegment segment = cg_segment(c->build, coord[0]);
    KirRef before = cg_chunk_rows_before(c, coord[0]);
    copy_state(x, &segment, false);
    kir_for_begin(fn, n64(x, 0), segment.count, n64(x, c->size), 0, NULL, &loop);
    c->first = kir_add(fn, segment.first, loop.iv), c->row = kir_add(fn, before, loop.iv);
    c->m = kir_min(fn, n64(x, c->size), kir_sub(fn, segment.count, loop.iv));
    KirRef decay = chunk_decays(x);
    chunk_values(x);
    advance_state(x, decay);
    kir_for_end(fn, &loop, NULL);
    copy_state(x, &segment, true);
}

// The most columns of a block with which all fits shared memory and registers.
static uint32_t choose_columns(const CgChunk *c) {
    uint32_t columns = MOST_COLUMNS, size = (uint32_t)c->size, rows = (uint32_t)hd_align_up((uint64_t)c->dk, STEP), fixed = 2 * size * (STEP + 1 + 1);
    while (columns * (rows + size) + fixed > MOST_FLOATS || rows / N_LANES * columns / C_LANES > MOST_SHARE || size * columns > MOST_ROWS * EACH * LANES)
        columns /= 2;
    return columns;
}

HdStatus *simt_chunk_supported(const IrGraph *graph, const IrOp *op) {
    const IrType *k = cg_type(graph, op->operands[1]);
    CgChunk c = {.dk = k->dims[2], .size = op->attr[IR_ATTR_CHUNK].i};
    if (c.size <= MOST_SIZE && c.dk % 2 == 0 && choose_columns(&c) >= C_LANES && (uint32_t)c.size >= LANES / (choose_columns(&c) / EACH)) return NULL;
    return hd_error(HD_UNSUPPORTED, "a delta rule in chunks of %lld with %lld key channels: chunks of at most %d and an even number of channels are possible, "
                    "all in 16 KiB of shared memory; delta-net{form=scan} does without", (long long)c.size, (long long)c.dk, MOST_SIZE);
}

HdStatus *cg_simt_DELTA_CHUNK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_chunk_op(graph, group, IR_OP_delta_chunk_scan, &op));
    HD_TRY(simt_chunk_supported(graph, op));
    CgBuild *build = cg_simt_launch_begin(builder, "delta_chunk", LANES);
    Walk x = {.chunk = cg_chunk(build, op, cg_type(graph, op->results[0]))};
    const CgChunk *c = &x.chunk;
    uint32_t size = (uint32_t)c->size;
    x.columns = choose_columns(c), x.rows = size / row_lanes(&x);
    cg_units(build, (IrDim[3]){IR_DIM_S, c->nv, hd_ceil_div(c->dv, x.columns)}, 3, 1);
    cg_account(build);
    cg_expr_add_elements(&build->bytes, graph, &(IrType){.rank = 4, .dims = {IR_DIM_S, c->nv, c->dk, c->dv}}, 8);
    cg_expr_add_elements(&build->flops, graph, &(IrType){.rank = 3, .dims = {cg_type(graph, op->results[0])->dims[0], c->nv, c->dv}}, 6 * c->dk + size);
    x.U = cg_operand(build, op->operands[2]), x.W = cg_operand(build, op->operands[3]), x.P = cg_operand(build, op->operands[4]);
    x.G = cg_operand(build, op->operands[5]), x.o = cg_result(build, op->results[0]);
    x.state = kir_shared(c->fn, KIR_F32, (uint32_t)state_rows(&x) * x.columns), x.news = kir_shared(c->fn, KIR_F32, size * x.columns);
    x.staged = kir_shared(c->fn, KIR_F32, 2 * size * (STEP + 1));
    x.passed = kir_shared(c->fn, KIR_F32, size), x.left = kir_shared(c->fn, KIR_F32, size);
    KirLoop loop;
    emit_unit(&x, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
