// SPDX-License-Identifier: Apache-2.0
// MATMUL for many tokens: a work group makes a tile of TILE_ROWS x TILE_TOKENS results. Of 32 columns at a time, the weights are decoded
// and the activations copied to shared memory, once for the whole tile; then each lane adds up 8 x 4 results in registers. The results
// go through shared memory once more, so that the epilogue is a loop and its stores are of neighbours.
#include "codegen/simt/product.h"

enum { STEP = 32, ROWS = 8, TOKENS = 4, W_STRIDE = SIMT_TILE_ROWS + 1, X_STRIDE = SIMT_TILE_TOKENS + 1 };   // strides: no two lanes on one bank
enum { X_AT = STEP * W_STRIDE, INPUT_FLOATS = X_AT + STEP * X_STRIDE, OUTPUT_FLOATS = SIMT_TILE_ROWS * SIMT_TILE_TOKENS };

bool simt_tile_fits(const MmJob *job) { return !simt_is_int8(job) && job->factor_count <= 2 && job->columns % STEP == 0; }

uint32_t simt_tile_shared(const MmJob *job) { return HD_MAX(INPUT_FLOATS, job->factor_count * OUTPUT_FLOATS); }

static KirRef shared_index(KirFn *fn, KirRef row, int64_t stride, KirRef column, int64_t base) {
    return kir_add(fn, kir_add(fn, kir_mul(fn, row, kir_i64(fn, stride)), column), kir_i64(fn, base));
}

// Task t: columns 16 * (t % 2) of the step, of row or token t / 2.
typedef struct Task { KirRef item, half; } Task;
static Task task(KirFn *fn, uint32_t round) {
    KirRef t = kir_add(fn, kir_lane(fn), kir_i64(fn, (int64_t)round * SIMT_LANES)), two = kir_i64(fn, 2);
    return (Task){kir_sdiv(fn, t, two), kir_srem(fn, t, two)};
}

static void put16(const SimtProduct *p, const Task *task, const KirRef *values, int64_t stride, int64_t base) {
    KirFn *fn = p->fn;
    KirRef first = kir_mul(fn, task->half, kir_i64(fn, 16));
    for (int i = 0; i < 16; i++)
        kir_shared_store(fn, p->tile, shared_index(fn, kir_add(fn, first, kir_i64(fn, i)), stride, task->item, base), values[i]);
}

static void stage(const SimtProduct *p, const MmFactor *f, KirRef first_token, KirRef last_token, KirRef k) {
    KirFn *fn = p->fn;
    KirRef values[16], part = kir_sdiv(fn, k, kir_i64(fn, 16));
    for (uint32_t round = 0; round < SIMT_TILE_ROWS * 2 / SIMT_LANES; round++) {
        Task t = task(fn, round);
        simt_decode_part(p, f, kir_add(fn, p->n0, t.item), kir_add(fn, part, t.half), values);
        put16(p, &t, values, W_STRIDE, 0);
    }
    for (uint32_t round = 0; round < SIMT_TILE_TOKENS * 2 / SIMT_LANES; round++) {
        Task t = task(fn, round);
        KirRef token = kir_min(fn, kir_add(fn, first_token, t.item), last_token);
        KirRef row = kir_offset(fn, p->job->x_base, kir_mul(fn, token, p->job->x_bytes));
        KirRef from = kir_at(fn, kir_at(fn, row, k, 4, 0), t.half, 64, 0);
        for (int i = 0; i < 16; i++) values[i] = kir_load(fn, KT_F32, kir_offset_const(fn, from, 4 * i));
        put16(p, &t, values, X_STRIDE, X_AT);
    }
}

static KirRef lane_row(KirFn *fn) { return kir_srem(fn, kir_lane(fn), kir_i64(fn, 8)); }
static KirRef lane_token(KirFn *fn) { return kir_sdiv(fn, kir_lane(fn), kir_i64(fn, 8)); }

// Rows lane % 8 + 8 i and tokens lane / 8 + 8 j over the columns that are staged.
static void add_step(const SimtProduct *p, const KirRef *carried, KirRef *out_acc) {
    KirFn *fn = p->fn;
    KirRef next[ROWS * TOKENS], w[ROWS], x[TOKENS];
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, STEP), kir_i64(fn, 1), ROWS * TOKENS, carried, &loop);
    KirRef w_at = shared_index(fn, loop.iv, W_STRIDE, lane_row(fn), 0), x_at = shared_index(fn, loop.iv, X_STRIDE, lane_token(fn), X_AT);
    for (int i = 0; i < ROWS; i++) w[i] = kir_shared_load(fn, p->tile, kir_add(fn, w_at, kir_i64(fn, 8 * i)));
    for (int j = 0; j < TOKENS; j++) x[j] = kir_shared_load(fn, p->tile, kir_add(fn, x_at, kir_i64(fn, 8 * j)));
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < TOKENS; j++) next[i * TOKENS + j] = kir_fma(fn, w[i], x[j], loop.carried[i * TOKENS + j]);
    kir_for_end(fn, &loop, next);
    for (int i = 0; i < ROWS * TOKENS; i++) out_acc[i] = loop.results[i];
}

static void multiply(const SimtProduct *p, const MmFactor *f, KirRef first_token, KirRef last_token, KirRef *out_acc) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirRef acc[ROWS * TOKENS];
    for (int i = 0; i < ROWS * TOKENS; i++) acc[i] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), p->job->k, kir_i64(fn, STEP), ROWS * TOKENS, acc, &loop);
    stage(p, f, first_token, last_token, loop.iv);
    cg_barrier(p->build);
    add_step(p, loop.carried, acc);
    cg_barrier(p->build);
    kir_for_end(fn, &loop, acc);
    for (int i = 0; i < ROWS * TOKENS; i++) out_acc[i] = loop.results[i];
}

static void put_results(const SimtProduct *p, uint32_t factor, const KirRef *acc) {
    KirFn *fn = p->fn;
    KirRef at = shared_index(fn, lane_token(fn), SIMT_TILE_ROWS, lane_row(fn), (int64_t)factor * OUTPUT_FLOATS);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < TOKENS; j++)
            kir_shared_store(fn, p->tile, kir_add(fn, at, kir_i64(fn, 8 * j * SIMT_TILE_ROWS + 8 * i)), acc[i * TOKENS + j]);
}

static void store_results(const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirIf exists;
    KirRef sums[2];
    MmToken of_token;
    KirRef e = simt_deal_begin(p->build, kir_i64(fn, OUTPUT_FLOATS), &loop), rows = kir_i64(fn, SIMT_TILE_ROWS);
    KirRef column = kir_add(fn, p->n0, kir_srem(fn, e, rows)), token = kir_add(fn, first_token, kir_sdiv(fn, e, rows));
    KirRef inside = kir_and(fn, kir_cmp(fn, KIR_LT, column, p->job->n), kir_cmp(fn, KIR_LT, token, count));
    kir_if_begin(fn, inside, &exists);
    at(p->job, user, token, &of_token);
    for (uint32_t f = 0; f < p->job->factor_count; f++)
        sums[f] = kir_shared_load(fn, p->tile, kir_add(fn, e, kir_i64(fn, (int64_t)f * OUTPUT_FLOATS)));
    simt_store_results(p, column, &of_token, sums);
    kir_if_end(fn, &exists, NULL);
    simt_deal_end(p->build, &loop);
    cg_barrier(p->build);
}

void simt_tile(const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user) {
    KirRef acc[2][ROWS * TOKENS], last = kir_sub(p->fn, count, kir_i64(p->fn, 1));
    for (uint32_t f = 0; f < p->job->factor_count; f++) multiply(p, &p->job->factors[f], first_token, last, acc[f]);
    for (uint32_t f = 0; f < p->job->factor_count; f++) put_results(p, f, acc[f]);
    cg_barrier(p->build);
    store_results(p, first_token, count, at, user);
}
