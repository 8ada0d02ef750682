// SPDX-License-Identifier: Apache-2.0
// The gated delta rule in the reference interpreter: token by token, and in the chunked (WY) form. Per token, with the key head
// that serves the value head:
//   S <- e^g S;   e = beta (v - S'k);   S <- S + k e';   o = S'q
// For a chunk of m tokens, c the prefix sums of g within it and L_ij = e^(c_i - c_j) for i >= j, else 0:
//   A = strictly lower part of diag(beta) (K K') o L,   P = (Q K') o L
//   U = (I + A)^-1 diag(beta) V,   W = (I + A)^-1 diag(beta e^c) K
//   N = U - W S;   O = diag(e^c) Q S + P N;   S <- e^(c_m) S + (diag(e^(c_m - c)) K)' N
// As g <= 0 in the models, every exponent is <= 0. A chunk never spans two segments: segment s owns ceil(count / chunk) chunks
// after those of the segments before it. Rows of a chunk without a token are zero in U, W, P and g.
//
// What chunk_prep hands on is g and not c: after one strong decay c is a large number, and float32 differences of it have lost
// the small decays that follow (up to 8e-10 NMSE in a state where the rest of the form costs 1e-15). So e^c is to be summed or
// multiplied up from the chunk's beginning, e^(c_m - c) from its end, and L_ij from j to i.
#include "ir/interp_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Heads { int64_t nk, nv, dk, dv; bool by_division; } Heads;

static Heads heads_of(const IrOp *op, const IrTensor *k, int64_t nv, int64_t dv) {
    return (Heads){
        .nk = k->dims[1], .nv = nv, .dk = k->dims[2], .dv = dv, .by_division = strcmp(op->attr[IR_ATTR_HEADS].name, "div") == 0};
}

static int64_t key_head(const Heads *h, int64_t value_head) {
    return h->by_division ? value_head / (h->nv / h->nk) : value_head % h->nk;
}

// Where the key (or query) of a token starts that value head j works with; where its value starts.
static int64_t key_at(const Heads *h, int64_t token, int64_t j) { return (token * h->nk + key_head(h, j)) * h->dk; }
static int64_t value_at(const Heads *h, int64_t token, int64_t j) { return (token * h->nv + j) * h->dv; }

// The plane that a segment writes, holding what the plane that it reads holds.
static double *take_state(const IrStateStore *state, const IrSegment *s) {
    double *to = ir_state_plane(state, s->slot, s->plane_out);
    const double *from = ir_state_plane(state, s->slot, s->plane_in);
    if (to != from) memcpy(to, from, (size_t)state->elements * sizeof *to);
    return to;
}

// to[dv] += sum over i of x[i] * S[i][:]
static void add_row_times(const double *x, const double *S, int64_t dk, int64_t dv, double *to) {
    for (int64_t i = 0; i < dk; i++)
        for (int64_t c = 0; c < dv; c++) to[c] += x[i] * S[i * dv + c];
}

// S += x y'
static void add_outer(double *S, const double *x, const double *y, int64_t dk, int64_t dv) {
    for (int64_t i = 0; i < dk; i++)
        for (int64_t c = 0; c < dv; c++) S[i * dv + c] += x[i] * y[c];
}

static void scale_all(double *x, int64_t count, double factor) {
    for (int64_t i = 0; i < count; i++) x[i] *= factor;
}

// ---- token by token ------------------------------------------------------------------------------------------

typedef struct Delta { Heads heads; const double *q, *k, *v; const float *g, *beta; double *e, *o; float *out; } Delta;

static void delta_token(const Delta *x, int64_t token, int64_t j, double *S) {
    const Heads *h = &x->heads;
    const double *q = x->q + key_at(h, token, j), *k = x->k + key_at(h, token, j), *v = x->v + value_at(h, token, j);
    double beta = x->beta[token * h->nv + j];
    memset(x->e, 0, (size_t)h->dv * sizeof *x->e);
    memset(x->o, 0, (size_t)h->dv * sizeof *x->o);
    scale_all(S, h->dk * h->dv, exp(x->g[token * h->nv + j]));
    add_row_times(k, S, h->dk, h->dv, x->e);
    for (int64_t c = 0; c < h->dv; c++) x->e[c] = beta * (v[c] - x->e[c]);
    add_outer(S, k, x->e, h->dk, h->dv);
    add_row_times(q, S, h->dk, h->dv, x->o);
    for (int64_t c = 0; c < h->dv; c++) x->out[value_at(h, token, j) + c] = (float)x->o[c];
}

static void delta_segment(const Delta *x, const IrSegment *s, double *state) {
    const Heads *h = &x->heads;
    for (int64_t j = 0; j < h->nv; j++)
        for (int64_t t = 0; t < s->count; t++) delta_token(x, s->first + t, j, state + j * h->dk * h->dv);
}

HdStatus *ir_run_delta_rule(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    const IrTensor *v = in[2], *state = in[5], *table = in[6];
    HD_TRY(ir_check_segments(frame->interp, table->i, ir_segment_count(table), v->dims[0]));
    Heads heads = heads_of(op, in[1], v->dims[1], v->dims[2]);
    double *q = ir_tensor_doubles(in[0]), *k = ir_tensor_doubles(in[1]), *value = ir_tensor_doubles(v);
    double *row = ir_scratch(2 * (size_t)heads.dv, sizeof *row);
    Delta x = {.heads = heads,
               .q = q,
               .k = k,
               .v = value,
               .g = in[3]->f,
               .beta = in[4]->f,
               .e = row,
               .o = row + heads.dv,
               .out = out[0]->f};
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        delta_segment(&x, &s, take_state(state->state, &s));
    }
    free(q);
    free(k);
    free(value);
    free(row);
    return NULL;
}

HdStatus *ir_run_delta_scan(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    return ir_run_delta_rule(frame, op, in, out);
}

HdStatus *ir_run_delta_step(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    for (int64_t i = 0; i < ir_segment_count(in[6]); i++) {
        int64_t count = ir_segment_at(in[6]->i, i).count;
        if (count > 1)
            return hd_error(HD_USAGE, "segment %lld has %lld tokens, delta.step takes one", (long long)i, (long long)count);
    }
    return ir_run_delta_rule(frame, op, in, out);
}

// ---- chunks: the part without state --------------------------------------------------------------------------

// One chunk of one value head: tokens token..token+m-1, padded rows from `row`.
typedef struct Chunk { int64_t token, m, row, j; } Chunk;

// Calls `run` for every chunk of every value head, a head's chunks in order.
typedef void RunChunk(void *user, const Chunk *chunk, const IrSegment *segment);
static void for_chunks(const IrTensor *table, int64_t size, int64_t nv, RunChunk *run, void *user) {
    int64_t row = 0;
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        for (int64_t j = 0; j < nv; j++)
            for (int64_t t = 0; t < s.count; t += size)
                run(user, &(Chunk){.token = s.first + t, .m = HD_MIN(size, s.count - t), .row = row + t, .j = j}, &s);
        row += hd_ceil_div(s.count, size) * size;
    }
}

typedef struct Prep {
    Heads heads;
    int64_t size, most;               // tokens of a chunk; tokens that any chunk of this call can have
    const double *q, *k;
    const float *v, *g, *beta;
    double *c, *a, *u, *w;            // [most], [most][most], [most][dv], [most][dk]
    float *U, *W, *P, *G;             // the results
} Prep;

// rows[i] -= sum over l < i of A[i][l] rows[l]: the triangular solve with I + A.
static void solve(const double *a, int64_t m, int64_t stride, int64_t width, double *rows) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < i; l++)
            for (int64_t c = 0; c < width; c++) rows[i * width + c] -= a[i * stride + l] * rows[l * width + c];
}

static void take_decays(const Prep *x, const Chunk *chunk) {
    const Heads *h = &x->heads;
    double sum = 0;
    for (int64_t i = 0; i < chunk->m; i++) {
        float g = x->g[(chunk->token + i) * h->nv + chunk->j];
        x->G[(chunk->row + i) * h->nv + chunk->j] = g;
        x->c[i] = sum += g;
    }
}

// A, and P of the results.
static void key_products(const Prep *x, const Chunk *chunk) {
    const Heads *h = &x->heads;
    for (int64_t i = 0; i < chunk->m; i++) {
        const double *q = x->q + key_at(h, chunk->token + i, chunk->j), *k = x->k + key_at(h, chunk->token + i, chunk->j);
        double beta = x->beta[(chunk->token + i) * h->nv + chunk->j];
        float *p = x->P + ((chunk->row + i) * h->nv + chunk->j) * x->size;
        for (int64_t l = 0; l <= i; l++) {
            const double *other = x->k + key_at(h, chunk->token + l, chunk->j);
            double decay = exp(x->c[i] - x->c[l]);
            x->a[i * x->most + l] = beta * ir_dot(k, other, h->dk) * decay;
            p[l] = (float)(ir_dot(q, other, h->dk) * decay);
        }
    }
}

static void prepare_chunk(void *user, const Chunk *chunk, const IrSegment *segment) {
    (void)segment;
    const Prep *x = user;
    const Heads *h = &x->heads;
    take_decays(x, chunk);
    key_products(x, chunk);
    for (int64_t i = 0; i < chunk->m; i++) {
        int64_t token = chunk->token + i;
        double beta = x->beta[token * h->nv + chunk->j], decay = exp(x->c[i]);
        for (int64_t c = 0; c < h->dv; c++) x->u[i * h->dv + c] = beta * x->v[value_at(h, token, chunk->j) + c];
        for (int64_t c = 0; c < h->dk; c++) x->w[i * h->dk + c] = beta * decay * x->k[key_at(h, token, chunk->j) + c];
    }
    solve(x->a, chunk->m, x->most, h->dv, x->u);
    solve(x->a, chunk->m, x->most, h->dk, x->w);
    for (int64_t i = 0; i < chunk->m; i++) {
        int64_t row = (chunk->row + i) * h->nv + chunk->j;
        for (int64_t c = 0; c < h->dv; c++) x->U[row * h->dv + c] = (float)x->u[i * h->dv + c];
        for (int64_t c = 0; c < h->dk; c++) x->W[row * h->dk + c] = (float)x->w[i * h->dk + c];
    }
}

HdStatus *ir_run_delta_chunk_prep(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    const IrTensor *v = in[2], *table = in[5];
    HD_TRY(ir_check_segments(frame->interp, table->i, ir_segment_count(table), v->dims[0]));
    Heads heads = heads_of(op, in[1], v->dims[1], v->dims[2]);
    int64_t size = op->attr[IR_ATTR_CHUNK].i, most = HD_MIN(size, v->dims[0]);
    double *q = ir_tensor_doubles(in[0]), *k = ir_tensor_doubles(in[1]);
    double *work = ir_scratch((size_t)(most * (1 + most + heads.dv + heads.dk)), sizeof *work);
    Prep x = {.heads = heads, .size = size, .most = most, .q = q, .k = k, .v = v->f, .g = in[3]->f, .beta = in[4]->f,
              .c = work, .a = work + most, .u = work + most * (1 + most), .w = work + most * (1 + most + heads.dv),
              .U = out[0]->f, .W = out[1]->f, .P = out[2]->f, .G = out[3]->f};
    for_chunks(table, size, heads.nv, prepare_chunk, &x);
    free(q);
    free(k);
    free(work);
    return NULL;
}

// ---- chunks: the part that carries the state -----------------------------------------------------------------

typedef struct Scan {
    Heads heads;
    int64_t size;
    const double *q, *k, *u, *w;
    const float *p, *g;
    const IrStateStore *state;
    double *n, *o, *rest;             // [most][dv], [dv], [most], for the most tokens that a chunk can have
    float *out;
} Scan;

static void corrected_values(const Scan *x, const Chunk *chunk, const double *S) {
    const Heads *h = &x->heads;
    for (int64_t i = 0; i < chunk->m; i++) {
        int64_t row = (chunk->row + i) * h->nv + chunk->j;
        double *n = x->n + i * h->dv;
        memset(n, 0, (size_t)h->dv * sizeof *n);
        add_row_times(x->w + row * h->dk, S, h->dk, h->dv, n);
        for (int64_t c = 0; c < h->dv; c++) n[c] = x->u[row * h->dv + c] - n[c];
    }
}

static void chunk_outputs(const Scan *x, const Chunk *chunk, const double *S) {
    const Heads *h = &x->heads;
    double c = 0;
    for (int64_t i = 0; i < chunk->m; i++) {
        int64_t row = (chunk->row + i) * h->nv + chunk->j, token = chunk->token + i;
        c += x->g[row];
        memset(x->o, 0, (size_t)h->dv * sizeof *x->o);
        add_row_times(x->q + key_at(h, token, chunk->j), S, h->dk, h->dv, x->o);
        scale_all(x->o, h->dv, exp(c));
        for (int64_t l = 0; l <= i; l++)
            for (int64_t e = 0; e < h->dv; e++) x->o[e] += (double)x->p[row * x->size + l] * x->n[l * h->dv + e];
        for (int64_t e = 0; e < h->dv; e++) x->out[value_at(h, token, chunk->j) + e] = (float)x->o[e];
    }
}

static void advance_state(const Scan *x, const Chunk *chunk, double *S) {
    const Heads *h = &x->heads;
    double rest = 0;                  // c_m - c_i
    for (int64_t i = chunk->m - 1; i >= 0; i--) {
        x->rest[i] = rest;
        rest += x->g[(chunk->row + i) * h->nv + chunk->j];
    }
    scale_all(S, h->dk * h->dv, exp(rest));
    for (int64_t i = 0; i < chunk->m; i++) {
        double *n = x->n + i * h->dv;
        scale_all(n, h->dv, exp(x->rest[i]));
        add_outer(S, x->k + key_at(h, chunk->token + i, chunk->j), n, h->dk, h->dv);
    }
}

static void scan_chunk(void *user, const Chunk *chunk, const IrSegment *segment) {
    const Scan *x = user;
    double *S = ir_state_plane(x->state, segment->slot, segment->plane_out) + chunk->j * x->heads.dk * x->heads.dv;
    corrected_values(x, chunk, S);
    chunk_outputs(x, chunk, S);
    advance_state(x, chunk, S);
}

HdStatus *ir_run_delta_chunk_scan(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    const IrTensor *U = in[2], *table = in[7];
    HD_TRY(ir_check_segments(frame->interp, table->i, ir_segment_count(table), in[0]->dims[0]));
    Heads heads = heads_of(op, in[1], U->dims[1], U->dims[2]);
    int64_t size = op->attr[IR_ATTR_CHUNK].i, most = HD_MIN(size, in[0]->dims[0]);
    double *q = ir_tensor_doubles(in[0]), *k = ir_tensor_doubles(in[1]), *u = ir_tensor_doubles(U), *w = ir_tensor_doubles(in[3]);
    double *work = ir_scratch((size_t)((most + 1) * heads.dv + most), sizeof *work);
    Scan x = {.heads = heads, .size = size, .q = q, .k = k, .u = u, .w = w, .p = in[4]->f, .g = in[5]->f, .state = in[6]->state,
              .n = work, .o = work + most * heads.dv, .rest = work + (most + 1) * heads.dv, .out = out[0]->f};
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        take_state(x.state, &s);
    }
    for_chunks(table, size, heads.nv, scan_chunk, &x);
    free(q);
    free(k);
    free(u);
    free(w);
    free(work);
    return NULL;
}
