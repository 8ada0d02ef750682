// SPDX-License-Identifier: Apache-2.0
// Rows by index, matrix products and mixture of experts in the reference interpreter. A product reads each row of a weight once.
#include "ir/interp_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/moe_plan.h"

// ---- rows ----------------------------------------------------------------------------------------------------

static HdStatus *check_index(const char *what, int64_t at, int64_t index, int64_t count) {
    if (index >= 0 && index < count) return NULL;
    return hd_error(HD_USAGE, "%s %lld is %lld, must be in 0..%lld", what, (long long)at, (long long)index, (long long)count - 1);
}

// Rows of x [V, D] by ids.
static HdStatus *pick_rows(const IrFrame *frame, const char *what, const IrTensor *x, const IrTensor *ids, float *out) {
    int64_t columns = ir_tensor_last(x);
    for (int64_t i = 0; i < ids->count; i++) {
        const float *row;
        HD_TRY(check_index(what, i, ids->i[i], x->dims[0]));
        HD_TRY(ir_tensor_rows(frame, x, ids->i[i], ids->i[i] + 1, out + i * columns, &row));
        if (row != out + i * columns) memcpy(out + i * columns, row, (size_t)columns * sizeof *out);
    }
    return NULL;
}

HdStatus *ir_run_embed(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    return (void)op, pick_rows(frame, "id", in[1], in[0], out[0]->f);
}

HdStatus *ir_run_take_rows(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    return (void)op, pick_rows(frame, "row", in[0], in[1], out[0]->f);
}

// ---- matrix products -----------------------------------------------------------------------------------------

enum { BLOCK_ROWS = 32 };   // rows of a weight that are in memory at a time

// Which rows of x [.., K] are multiplied, and where in the results [.., N] their products go.
typedef struct RowPair { int64_t x, out; } RowPair;

// out[pair.out][n] = x[pair.x] . w[first + n] for n < height.
static HdStatus *multiply(const IrFrame *frame, const double *x, const RowPair *pairs, int64_t pair_count, const IrTensor *w,
                          int64_t first, int64_t height, float *out) {
    int64_t columns = ir_tensor_last(w);
    float *scratch = ir_scratch((size_t)(BLOCK_ROWS * columns), sizeof *scratch);
    double *block = ir_scratch((size_t)(BLOCK_ROWS * columns), sizeof *block);
    HdStatus *status = NULL;
    for (int64_t n = 0; n < height && !status; n += BLOCK_ROWS) {
        int64_t rows = HD_MIN(BLOCK_ROWS, height - n);
        const float *values = NULL;
        status = ir_tensor_rows(frame, w, first + n, first + n + rows, scratch, &values);
        if (status) break;
        for (int64_t i = 0; i < rows * columns; i++) block[i] = values[i];
        for (int64_t p = 0; p < pair_count; p++)
            for (int64_t r = 0; r < rows; r++)
                out[pairs[p].out * height + n + r] = (float)ir_dot(x + pairs[p].x * columns, block + r * columns, columns);
    }
    free(scratch);
    free(block);
    return status;
}

HdStatus *ir_run_multi_linear(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    int64_t tokens = in[0]->dims[0];
    double *x = ir_tensor_doubles(in[0]);
    RowPair *pairs = ir_scratch((size_t)tokens, sizeof *pairs);
    for (int64_t t = 0; t < tokens; t++) pairs[t] = (RowPair){t, t};
    HdStatus *status = NULL;
    for (uint32_t i = 1; i < op->operand_count && !status; i++)
        status = multiply(frame, x, pairs, tokens, in[i], 0, in[i]->dims[0], out[i - 1]->f);
    free(x);
    free(pairs);
    return status;
}

HdStatus *ir_run_linear(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    return ir_run_multi_linear(frame, op, in, out);
}

// Expert by expert. A plan only says in which order kernels do the same.
HdStatus *ir_run_grouped_linear(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)op;
    const IrTensor *w = in[1], *ids = in[2];
    int64_t experts = w->dims[0], height = w->dims[1], ranks = ids->dims[1];
    for (int64_t i = 0; i < ids->count; i++) HD_TRY(check_index("expert id", i, ids->i[i], experts));
    double *x = ir_tensor_doubles(in[0]);
    RowPair *pairs = ir_scratch((size_t)ids->count, sizeof *pairs);
    HdStatus *status = NULL;
    for (int64_t e = 0; e < experts && !status; e++) {
        int64_t count = 0;
        for (int64_t i = 0; i < ids->count; i++)
            if (ids->i[i] == e) pairs[count++] = (RowPair){in[0]->rank == 3 ? i : i / ranks, i};
        if (count) status = multiply(frame, x, pairs, count, w, e * height, height, out[0]->f);
    }
    free(x);
    free(pairs);
    return status;
}

// ---- mixture of experts --------------------------------------------------------------------------------------

// Whether value `a` comes before `b` of a higher index: NaN comes after all numbers.
static bool before(float a, float b) { return a >= b || isnan(b); }

static void topk_row(const float *x, int64_t count, int64_t k, float *values, int32_t *ids) {
    for (int64_t rank = 0; rank < k; rank++) {
        int64_t best = -1;
        for (int64_t i = 0; i < count; i++) {
            bool taken = false;
            for (int64_t r = 0; r < rank; r++) taken = taken || ids[r] == i;
            if (!taken && (best < 0 || !before(x[best], x[i]))) best = i;
        }
        ids[rank] = (int32_t)best;
        values[rank] = x[best];
    }
}

HdStatus *ir_run_topk(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    int64_t experts = in[0]->dims[1], k = op->attr[IR_ATTR_K].i;
    for (int64_t t = 0; t < in[0]->dims[0]; t++)
        topk_row(in[0]->f + t * experts, experts, k, out[0]->f + t * k, out[1]->i + t * k);
    return NULL;
}

static void argmax_run(const float *x, int64_t begin, int64_t end, float *out_value, int32_t *out_id) {
    int64_t best = begin;
    bool finite = true;
    for (int64_t c = begin; c < end; c++) {
        finite = finite && isfinite(x[c]);
        if (x[c] > x[best]) best = c;
    }
    *out_value = finite ? x[best] : INFINITY;
    *out_id = finite ? (int32_t)best : -1;
}

HdStatus *ir_run_argmax(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    int64_t columns = in[0]->dims[1], width = op->attr[IR_ATTR_WIDTH].i, runs = out[0]->dims[1];
    for (int64_t i = 0; i < out[0]->count; i++) {
        int64_t row = i / runs, begin = i % runs * width;
        argmax_run(in[0]->f + row * columns, begin, HD_MIN(begin + width, columns), &out[0]->f[i], &out[1]->i[i]);
    }
    return NULL;
}

// Tiles of one expert; returns the number of tiles so far.
static int32_t add_tiles(int32_t *tiles, int32_t used, int32_t expert, int32_t first, int32_t count, int64_t tile) {
    for (int64_t row = 0; row < count; row += tile) {
        int32_t *words = tiles + IR_MOE_TILE_WORDS * used++;
        words[0] = expert;
        words[1] = first + (int32_t)row;
        words[2] = (int32_t)HD_MIN(tile, count - row);
    }
    return used;
}

HdStatus *ir_run_moe_plan(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    const IrTensor *ids = in[0];
    IrMoePlan plan = {
        .experts = op->attr[IR_ATTR_EXPERTS].i, .tile = op->attr[IR_ATTR_TILE].i, .ranks = ids->dims[1], .tokens = ids->dims[0]};
    int32_t *words = out[0]->i, *starts = words + ir_moe_plan_starts_at(plan), *rows = words + ir_moe_plan_rows_at(plan);
    if (out[0]->count != ir_moe_plan_words(plan))
        return hd_error(HD_INTERNAL, "%lld words for a plan of %lld", (long long)out[0]->count,
                        (long long)ir_moe_plan_words(plan));
    for (int64_t i = 0; i < ids->count; i++) HD_TRY(check_index("expert id", i, ids->i[i], plan.experts));
    int32_t sorted = 0;
    for (int32_t e = 0; e < plan.experts; e++) {
        starts[e] = sorted;
        for (int64_t i = 0; i < ids->count; i++)
            if (ids->i[i] == e) rows[sorted++] = (int32_t)i;
        words[ir_moe_plan_counts_at(plan) + e] = sorted - starts[e];
        words[0] = add_tiles(words + ir_moe_plan_tiles_at(plan), words[0], e, starts[e], sorted - starts[e], plan.tile);
    }
    starts[plan.experts] = sorted;
    return NULL;
}

HdStatus *ir_run_moe_sum(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    const IrTensor *y = in[0], *weights = in[1];
    int64_t ranks = y->dims[1], width = y->dims[2];
    for (int64_t t = 0; t < y->dims[0]; t++)
        for (int64_t n = 0; n < width; n++) {
            double sum = 0;
            for (int64_t r = 0; r < ranks; r++) sum += (double)weights->f[t * ranks + r] * y->f[(t * ranks + r) * width + n];
            out[0]->f[t * width + n] = (float)sum;
        }
    return NULL;
}

// How many runs come before run number `run`.
static int64_t rank_of_run(const float *values, int64_t runs, int64_t run) {
    int64_t before = 0;
    for (int64_t i = 0; i < runs; i++) before += values[i] > values[run] || (values[i] == values[run] && i < run);
    return before;
}

HdStatus *ir_run_top_runs(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame;
    int64_t columns = in[0]->dims[1], runs = in[1]->dims[1], k = op->attr[IR_ATTR_K].i, width = op->attr[IR_ATTR_WIDTH].i;
    for (int64_t i = 0; i < in[1]->count; i++) {
        int64_t row = i / runs, run = i % runs, rank = rank_of_run(in[1]->f + row * runs, runs, run);
        if (rank >= k) continue;
        float *to = out[0]->f + (row * k + rank) * (1 + width);
        *to++ = (float)run;
        for (int64_t c = run * width; c < (run + 1) * width; c++) *to++ = c < columns ? in[0]->f[row * columns + c] : -INFINITY;
        if (!rank) out[1]->i[row] = in[2]->i[i];
    }
    return NULL;
}
