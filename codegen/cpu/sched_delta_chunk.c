// SPDX-License-Identifier: Apache-2.0
// DELTA_PREP and DELTA_CHUNK: the delta rule by chunks of tokens (WY form). For a chunk of m tokens, c the prefix sums of g
// inside it and L_ij = e^(g_{j+1} + .. + g_i) for j <= i, else 0:
//
//   A = strictly lower part of diag(beta) (K K') o L,   P = (Q K') o L
//   U = (I + A)^-1 diag(beta) V,   W = (I + A)^-1 diag(beta e^c) K
//   N = U - W S;   O = diag(e^c) Q S + P N;   S <- e^(c_m) S + (diag(e^(c_m - c)) K)' N
//
// The first two lines have no state: one work unit per chunk and value head (DELTA_PREP). The third walks through the chunks of a
// segment: one unit per segment, value head and block of value columns (DELTA_CHUNK). A segment's chunks follow those of the
// segments before it. Rows of a chunk beyond its tokens are not written, and not read.
//
// Exponents are sums of g <= 0 and never positive. None is a difference of prefix sums, which would lose the small terms beside
// one strong decay: DELTA_PREP sums those of L from j to i and hands g on, DELTA_CHUNK sums c_i from the chunk's beginning and
// c_m - c_i from its end. Factors are kir_decay's: one below e^-40 is nothing beside those of later tokens.
#include "codegen/sched.h"

enum { LANES = 16, ROWS = 4, VECTORS = 2 };

static KirRef number(const CgChunk *x, KirRef ptr, KirRef index) {
    return kir_load(x->fn, KT_F32, kir_at(x->fn, ptr, index, 4, 0));
}

// Calls body for columns 0..n-1, 16 at a time; valid: see cg_load16.
typedef void Columns(void *user, KirRef column, KirRef valid);

static void each_columns(KirFn *fn, int64_t n, Columns *body, void *user) {
    int64_t whole = n / LANES * LANES;
    if (whole) {
        KirLoop loop;
        kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, whole), kir_i64(fn, LANES), 0, NULL, &loop);
        body(user, loop.iv, 0);
        kir_for_end(fn, &loop, NULL);
    }
    if (whole < n) body(user, kir_i64(fn, whole), kir_i64(fn, n - whole));
}

// ---- preparation: one chunk of one head ------------------------------------------------------------------------

typedef struct Prep {
    CgChunk chunk;
    KirRef v, g, beta, U, W, P, G;
    KirRef keys, decays, a;      // scratch: keys transposed [dk][size], running sums [size], row i of A [size]
    KirRef i;                    // the row being made
} Prep;

// Keys with tokens as lanes; lanes beyond m hold anything.
static void transpose_keys(const Prep *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop, inner;
    KirRef i = cg_loop_begin(fn, kir_i64(fn, 0), c->m, &loop);
    KirRef row = cg_chunk_key_row(c, c->k, i), column = kir_at(fn, x->keys, i, 4, 0);
    KirRef n = cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, c->dk), &inner);
    kir_store(fn, kir_at(fn, column, n, c->size * 4, 0), number(c, row, n));
    cg_loop_end(fn, &inner);
    cg_loop_end(fn, &loop);
}

typedef struct Products { const Prep *x; KirRef q, k, from; } Products;

// k_i . k_j and q_i . k_j for the 16 tokens j from `from` on, channels in rising order.
static void row_products(const Products *p, KirRef *out_kk, KirRef *out_qk) {
    const CgChunk *c = &p->x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef zero = kir_float(fn, KT_F32x16, 0);
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, c->dk), kir_i64(fn, 1), 2, (KirRef[2]){zero, zero}, &loop);
    KirRef others = kir_load(fn, KT_F32x16, kir_at(fn, kir_at(fn, p->x->keys, loop.iv, c->size * 4, 0), p->from, 4, 0));
    KirRef kk = kir_fma(fn, others, number(c, p->k, loop.iv), loop.carried[0]),
           qk = kir_fma(fn, others, number(c, p->q, loop.iv), loop.carried[1]);
    kir_for_end(fn, &loop, (KirRef[2]){kk, qk});
    *out_kk = loop.results[0];
    *out_qk = loop.results[1];
}

// Row i of A (in scratch) and P, 16 tokens j at a time. The running sums become those that end at token i; they are 0 from j = i
// on, where A is not read and P is 0 beyond the diagonal.
static void decay_row(const Prep *x, KirRef g, KirRef beta) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef zero = kir_float(fn, KT_F32x16, 0), to = cg_chunk_padded_row(c, x->P, x->i, c->size);
    Products p = {x, cg_chunk_key_row(c, c->q, x->i), cg_chunk_key_row(c, c->k, x->i), 0};
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, c->size), kir_i64(fn, LANES), 0, NULL, &loop);
    p.from = loop.iv;
    KirRef token = kir_add(fn, cg_lane_numbers(fn), kir_trunc(fn, loop.iv, KIR_I32)), i = kir_trunc(fn, x->i, KIR_I32), kk, qk;
    KirRef before = kir_cmp(fn, KIR_LT, token, i), sums = kir_at(fn, x->decays, loop.iv, 4, 0);
    KirRef sum = kir_select(fn, before, kir_add(fn, kir_load(fn, KT_F32x16, sums), g), zero);
    kir_store(fn, sums, sum);
    KirRef decay = kir_decay(fn, sum);
    row_products(&p, &kk, &qk);
    KirRef a = kir_mul(fn, kir_mul(fn, kk, beta), decay);
    kir_store(fn, kir_at(fn, x->a, loop.iv, 4, 0), a);
    kir_store(fn, kir_at(fn, to, loop.iv, 4, 0), kir_select(fn, kir_cmp(fn, KIR_LE, token, i), kir_mul(fn, qk, decay), zero));
    kir_for_end(fn, &loop, NULL);
}

typedef struct Solve {
    const Prep *x;
    KirRef from, factor, rows;
    int64_t n;
} Solve; // factor * from - A rows, in row i of `rows`

static void solve_columns(void *user, KirRef column, KirRef valid) {
    const Solve *s = user;
    const CgChunk *c = &s->x->chunk;
    KirFn *fn = c->fn;
    KirRef own = kir_mul(fn, cg_load16(fn, kir_at(fn, s->from, column, 4, 0), valid), s->factor);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), s->x->i, kir_i64(fn, 1), 1, &own, &loop);
    KirRef a = kir_neg(fn, number(c, s->x->a, loop.iv));
    KirRef other = cg_load16(fn, kir_at(fn, cg_chunk_padded_row(c, s->rows, loop.iv, s->n), column, 4, 0), valid);
    KirRef next = kir_fma(fn, other, a, loop.carried[0]);
    kir_for_end(fn, &loop, &next);
    cg_store16(fn, kir_at(fn, cg_chunk_padded_row(c, s->rows, s->x->i, s->n), column, 4, 0), loop.results[0], valid);
}

static void prepare_rows(Prep *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef none = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), c->m, kir_i64(fn, 1), 1, &none, &loop);
    x->i = loop.iv;
    KirRef g = kir_load(fn, KT_F32, cg_chunk_token_row(c, x->g, x->i, 1)), beta = kir_load(fn, KT_F32, cg_chunk_token_row(c, x->beta, x->i, 1));
    KirRef sum = kir_add(fn, loop.carried[0], g);
    kir_store(fn, cg_chunk_padded_row(c, x->G, x->i, 1), g);
    decay_row(x, g, beta);
    Solve u = {x, cg_chunk_token_row(c, x->v, x->i, c->dv), beta, x->U, c->dv};
    Solve w = {x, cg_chunk_key_row(c, c->k, x->i), kir_mul(fn, beta, kir_decay(fn, sum)), x->W, c->dk};
    each_columns(fn, c->dv, solve_columns, &u);
    each_columns(fn, c->dk, solve_columns, &w);
    kir_for_end(fn, &loop, &sum);
}

// Named by the size of chunks too: what an operation takes depends on it, and figures of kernels go by names.
static CgBuild *begin(CgGroupBuilder *builder, const char *what, const IrOp *op) {
    char name[32];
    snprintf(name, sizeof name, "%s_%d", what, (int)op->attr[IR_ATTR_CHUNK].i);
    return cg_launch_begin(builder, name);
}

HdStatus *cg_cpu_DELTA_PREP(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_chunk_op(graph, group, IR_OP_delta_chunk_prep, &op));
    CgBuild *build = begin(builder, "delta_prep", op);
    KirFn *fn = build->fn;
    Prep x = {.chunk = cg_chunk(build, op, cg_type(graph, op->operands[2]))};
    CgChunk *c = &x.chunk;
    build->units = cg_chunk_units(build, op);
    cg_account(build);
    cg_expr_add_elements(&build->flops, graph,
                         &(IrType){.rank = 3, .dims = {cg_type(graph, op->operands[2])->dims[0], c->nv, c->size}},
                         5 * c->dk + c->dv);
    x.v = cg_operand(build, op->operands[2]), x.g = cg_operand(build, op->operands[3]),
    x.beta = cg_operand(build, op->operands[4]);
    x.U = cg_result(build, op->results[0]), x.W = cg_result(build, op->results[1]), x.P = cg_result(build, op->results[2]),
    x.G = cg_result(build, op->results[3]);
    x.keys = cg_scratch_words(build, c->dk * c->size), x.decays = cg_scratch_words(build, c->size), x.a = cg_scratch_words(build, c->size);
    KirLoop loop;
    KirRef coord[2];
    cg_unit_coords(fn, cg_units_begin(build, &loop), (IrDim[2]){IR_DIM_T, c->nv}, 2, coord);
    c->head = coord[1];
    c->key_head = cg_key_head(fn, op, c->head, c->nk, c->nv);
    cg_chunk_find(c, coord[0]);
    KirIf any;
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, c->m, kir_i64(fn, 0)), &any);
    transpose_keys(&x);
    prepare_rows(&x);
    kir_if_end(fn, &any, NULL);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

// ---- the walk over chunks: one block of value columns of one head ----------------------------------------------

typedef struct Walk {
    CgChunk chunk;
    uint32_t vectors;            // of 16 columns in the block
    KirRef U, W, P, G, o;        // base addresses
    KirRef column, valid;        // first column of the block; columns in its last vector (0: whole)
    KirRef state, news;          // scratch: S [dk][block], N [size][block]
    KirRef passed, left;         // scratch: e^(c_i) [size], e^(c_m - c_i) [size]
} Walk;

static int64_t block_width(const Walk *x) { return (int64_t)x->vectors * LANES; }
static KirRef vector_at(const Walk *x, KirRef row, uint32_t i) { return kir_offset_const(x->chunk.fn, row, i * LANES * 4); }
static KirRef own_columns(const Walk *x, KirRef row) { return kir_at(x->chunk.fn, row, x->column, 4, 0); }
static KirRef block_row(const Walk *x, KirRef base, KirRef row) { return kir_at(x->chunk.fn, base, row, block_width(x) * 4, 0); }

static void copy_state(const Walk *x, KirRef plane, bool to_plane) {
    KirFn *fn = x->chunk.fn;
    KirLoop loop;
    KirRef n = cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, x->chunk.dk), &loop);
    KirRef outer = own_columns(x, kir_at(fn, plane, n, x->chunk.dv * 4, 0)), own = block_row(x, x->state, n);
    for (uint32_t i = 0; i < x->vectors; i++) {
        if (to_plane) cg_store16(fn, vector_at(x, outer, i), kir_load(fn, KT_F32x16, vector_at(x, own, i)), x->valid);
        else kir_store(fn, vector_at(x, own, i), cg_load16(fn, vector_at(x, outer, i), x->valid));
    }
    cg_loop_end(fn, &loop);
}

// ROWS rows from `first` on (repeated at the end of the chunk): W S into acc[0..], Q S into the second half.
static void times_state(const Walk *x, const KirRef *i, KirRef *acc) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef w[ROWS], q[ROWS], next[2 * ROWS * VECTORS];
    uint32_t count = 2 * ROWS * x->vectors;
    for (int r = 0; r < ROWS; r++) w[r] = cg_chunk_padded_row(c, x->W, i[r], c->dk), q[r] = cg_chunk_key_row(c, c->q, i[r]);
    for (uint32_t n = 0; n < count; n++) acc[n] = kir_float(fn, KT_F32x16, 0);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, c->dk), kir_i64(fn, 1), count, acc, &loop);
    KirRef row = block_row(x, x->state, loop.iv), s[VECTORS];
    for (uint32_t v = 0; v < x->vectors; v++) s[v] = kir_load(fn, KT_F32x16, vector_at(x, row, v));
    for (uint32_t r = 0; r < ROWS; r++) {
        KirRef a = number(c, w[r], loop.iv), b = number(c, q[r], loop.iv);
        for (uint32_t v = 0; v < x->vectors; v++) {
            uint32_t at = r * x->vectors + v, other = at + count / 2;
            next[at] = kir_fma(fn, s[v], a, loop.carried[at]);
            next[other] = kir_fma(fn, s[v], b, loop.carried[other]);
        }
    }
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < count; n++) acc[n] = loop.results[n];
}

// N = U - W S into scratch; e^c Q S into the output rows, to which P N comes later.
static void corrected_values(const Walk *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef i[ROWS], acc[2 * ROWS * VECTORS], last = kir_sub(fn, c->m, kir_i64(fn, 1));
    kir_for_begin(fn, kir_i64(fn, 0), c->m, kir_i64(fn, ROWS), 0, NULL, &loop);
    for (int r = 0; r < ROWS; r++) i[r] = r ? kir_min(fn, kir_add(fn, loop.iv, kir_i64(fn, r)), last) : loop.iv;
    times_state(x, i, acc);
    for (uint32_t r = 0; r < ROWS; r++) {
        KirRef decay = number(c, x->passed, i[r]);
        KirRef u = own_columns(x, cg_chunk_padded_row(c, x->U, i[r], c->dv)), o = own_columns(x, cg_chunk_token_row(c, x->o, i[r], c->dv));
        for (uint32_t v = 0; v < x->vectors; v++) {
            uint32_t at = r * x->vectors + v;
            kir_store(fn, vector_at(x, block_row(x, x->news, i[r]), v),
                      kir_sub(fn, cg_load16(fn, vector_at(x, u, v), x->valid), acc[at]));
            cg_store16(fn, vector_at(x, o, v), kir_mul(fn, acc[at + ROWS * x->vectors], decay), x->valid);
        }
    }
    kir_for_end(fn, &loop, NULL);
}

// O += P N
static void add_own_chunk(const Walk *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop, inner;
    KirRef i = cg_loop_begin(fn, kir_i64(fn, 0), c->m, &loop), acc[VECTORS], next[VECTORS];
    KirRef o = own_columns(x, cg_chunk_token_row(c, x->o, i, c->dv)), p = cg_chunk_padded_row(c, x->P, i, c->size);
    for (uint32_t v = 0; v < x->vectors; v++) acc[v] = cg_load16(fn, vector_at(x, o, v), x->valid);
    kir_for_begin(fn, kir_i64(fn, 0), kir_add(fn, i, kir_i64(fn, 1)), kir_i64(fn, 1), x->vectors, acc, &inner);
    KirRef weight = number(c, p, inner.iv), row = block_row(x, x->news, inner.iv);
    for (uint32_t v = 0; v < x->vectors; v++)
        next[v] = kir_fma(fn, kir_load(fn, KT_F32x16, vector_at(x, row, v)), weight, inner.carried[v]);
    kir_for_end(fn, &inner, next);
    for (uint32_t v = 0; v < x->vectors; v++) cg_store16(fn, vector_at(x, o, v), inner.results[v], x->valid);
    cg_loop_end(fn, &loop);
}

// Stores the sum of the decays before token i, or with it, as a factor; gives the sum with it.
static KirRef add_decay(const Walk *x, KirRef i, KirRef sum, KirRef factors, bool with) {
    KirFn *fn = x->chunk.fn;
    KirRef next = kir_add(fn, sum, kir_load(fn, KT_F32, cg_chunk_padded_row(&x->chunk, x->G, i, 1)));
    kir_store(fn, kir_at(fn, factors, i, 4, 0), kir_decay(fn, with ? next : sum));
    return next;
}

// Fills `passed` and `left`; gives e^(c_m).
static KirRef chunk_decays(const Walk *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef next[2], none = kir_float(fn, KT_F32, 0), last = kir_sub(fn, c->m, kir_i64(fn, 1));
    kir_for_begin(fn, kir_i64(fn, 0), c->m, kir_i64(fn, 1), 2, (KirRef[2]){none, none}, &loop);
    next[0] = add_decay(x, loop.iv, loop.carried[0], x->passed, true);
    next[1] = add_decay(x, kir_sub(fn, last, loop.iv), loop.carried[1], x->left, false);
    kir_for_end(fn, &loop, next);
    return kir_decay(fn, loop.results[1]);
}

// N_j *= e^(c_m - c_j)
static void decay_news(const Walk *x) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef j = cg_loop_begin(fn, kir_i64(fn, 0), c->m, &loop), row = block_row(x, x->news, j), factor = number(c, x->left, j);
    for (uint32_t v = 0; v < x->vectors; v++)
        kir_store(fn, vector_at(x, row, v), kir_mul(fn, kir_load(fn, KT_F32x16, vector_at(x, row, v)), factor));
    cg_loop_end(fn, &loop);
}

// S = e^(c_m) S + K'N for `count` rows of S from row n on.
static void advance_rows(const Walk *x, KirRef n, uint32_t count, KirRef decay) {
    const CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef acc[ROWS * VECTORS], next[ROWS * VECTORS], row = block_row(x, x->state, n);
    uint32_t vectors = count * x->vectors;   // rows of the block follow one another
    for (uint32_t i = 0; i < vectors; i++) acc[i] = kir_mul(fn, kir_load(fn, KT_F32x16, vector_at(x, row, i)), decay);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), c->m, kir_i64(fn, 1), vectors, acc, &loop);
    KirRef key = kir_at(fn, cg_chunk_key_row(c, c->k, loop.iv), n, 4, 0), added = block_row(x, x->news, loop.iv), value[VECTORS];
    for (uint32_t v = 0; v < x->vectors; v++) value[v] = kir_load(fn, KT_F32x16, vector_at(x, added, v));
    for (uint32_t i = 0; i < vectors; i++)
        next[i] = kir_fma(fn, value[i % x->vectors], cg_load_f32(fn, key, i / x->vectors * 4), loop.carried[i]);
    kir_for_end(fn, &loop, next);
    for (uint32_t i = 0; i < vectors; i++) kir_store(fn, vector_at(x, row, i), loop.results[i]);
}

static void advance_state(const Walk *x, KirRef decay) {
    KirFn *fn = x->chunk.fn;
    int64_t whole = x->chunk.dk / ROWS * ROWS;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, whole), kir_i64(fn, ROWS), 0, NULL, &loop);
    advance_rows(x, loop.iv, ROWS, decay);
    kir_for_end(fn, &loop, NULL);
    for (int64_t n = whole; n < x->chunk.dk; n++) advance_rows(x, kir_i64(fn, n), 1, decay);
}

static void emit_unit(Walk *x, KirRef unit) {
    CgChunk *c = &x->chunk;
    KirFn *fn = c->fn;
    KirRef coord[3];
    cg_unit_coords(fn, unit, (IrDim[3]){IR_DIM_S, c->nv, hd_ceil_div(c->dv, block_width(x))}, 3, coord);
    c->head = coord[1];
    c->key_head = cg_key_head(fn, c->op, c->head, c->nk, c->nv);
    x->column = kir_mul(fn, coord[2], kir_i64(fn, block_width(x)));
    x->valid = c->dv % LANES ? kir_min(fn, kir_i64(fn, LANES), kir_sub(fn, kir_i64(fn, c->dv), x->column)) : 0;
    CgSegment segment = cg_segment(c->build, coord[0]);
    int64_t matrix = c->dk * c->dv * 4;
    copy_state(x, kir_at(fn, cg_state_base(c->build, c->op->operands[6], segment.slot, segment.plane_in), c->head, matrix, 0),
               false);
    KirRef before = cg_chunk_rows_before(c, coord[0]);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), segment.count, kir_i64(fn, c->size), 0, NULL, &loop);
    c->first = kir_add(fn, segment.first, loop.iv);
    c->m = kir_min(fn, kir_i64(fn, c->size), kir_sub(fn, segment.count, loop.iv));
    c->row = kir_add(fn, before, loop.iv);
    KirRef decay = chunk_decays(x);
    corrected_values(x);
    add_own_chunk(x);
    decay_news(x);
    advance_state(x, decay);
    kir_for_end(fn, &loop, NULL);
    copy_state(x, kir_at(fn, cg_state_base(c->build, c->op->operands[6], segment.slot, segment.plane_out), c->head, matrix, 0),
               true);
}

HdStatus *cg_cpu_DELTA_CHUNK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_chunk_op(graph, group, IR_OP_delta_chunk_scan, &op));
    CgBuild *build = begin(builder, "delta_chunk", op);
    Walk x = {.chunk = cg_chunk(build, op, cg_type(graph, op->results[0]))};
    CgChunk *c = &x.chunk;
    x.vectors = c->dv % (VECTORS * LANES) ? 1 : VECTORS;
    cg_units(build, (IrDim[3]){IR_DIM_S, c->nv, hd_ceil_div(c->dv, block_width(&x))}, 3, 1);
    cg_account(build);
    cg_expr_add_elements(&build->bytes, graph, &(IrType){.rank = 4, .dims = {IR_DIM_S, c->nv, c->dk, c->dv}}, 8);
    cg_expr_add_elements(&build->flops, graph,
                         &(IrType){.rank = 3, .dims = {cg_type(graph, op->results[0])->dims[0], c->nv, c->dv}},
                         6 * c->dk + c->size);
    x.U = cg_operand(build, op->operands[2]), x.W = cg_operand(build, op->operands[3]), x.P = cg_operand(build, op->operands[4]);
    x.G = cg_operand(build, op->operands[5]), x.o = cg_result(build, op->results[0]);
    x.state = cg_scratch_words(build, c->dk * block_width(&x)), x.news = cg_scratch_words(build, c->size * block_width(&x));
    x.passed = cg_scratch_words(build, c->size), x.left = cg_scratch_words(build, c->size);
    KirLoop loop;
    emit_unit(&x, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
