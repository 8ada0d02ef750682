// SPDX-License-Identifier: Apache-2.0
// MATMUL and GROUPED for many tokens: a work group makes a tile of results. A step of columns at a time, weights and activations are brought to shared
// memory, once for the whole tile; then each lane adds up its results in registers. The results go through shared memory once more, so that
// the epilogue is a loop and its stores are of neighbours. Here: what all forms of a tile share, and the form that works everywhere, in
// float32; sched_tile_int8.c and sched_tile_bf16.c have those of CUDA.
#include "codegen/simt/product.h"

enum { TOKENS_OF_TILE = 32, STEP = 32, PARTS = STEP / 16, ROWS = 8, TOKENS = SIMT_TILE_SUMS / ROWS };
enum { W_STRIDE = SIMT_TILE_ROWS + 1, X_STRIDE = TOKENS_OF_TILE + 1, X_AT = STEP * W_STRIDE };   // strides: no two lanes on one bank

// ---- float32 -----------------------------------------------------------------------------------------------------

static KirRef shared_index(KirFn *fn, KirRef row, int64_t stride, KirRef column, int64_t base) {
    return simt_shared_at(fn, kir_i64(fn, base), row, stride, column);
}

static void put_float(const SimtProduct *p, KirRef index, KirRef value) { kir_shared_store(p->fn, p->tile, index, kir_bitcast(p->fn, value, KT_I32)); }
static KirRef get_float(const SimtProduct *p, KirRef index) { return kir_bitcast(p->fn, kir_shared_load(p->fn, p->tile, index), KT_F32); }

static void put16(const SimtProduct *p, const SimtTask *task, const KirRef *values, int64_t stride, int64_t base) {
    KirFn *fn = p->fn;
    KirRef first = kir_mul(fn, task->part, kir_i64(fn, 16));
    for (int i = 0; i < 16; i++) put_float(p, shared_index(fn, kir_add(fn, first, kir_i64(fn, i)), stride, task->item, base), values[i]);
}

static void stage(const SimtProduct *p, const MmFactor *f, const KirRef *x, KirRef k) {
    KirFn *fn = p->fn;
    KirRef values[16], part = kir_sdiv(fn, k, kir_i64(fn, 16));
    for (uint32_t round = 0; round < SIMT_TILE_ROWS * PARTS / SIMT_LANES; round++) {
        SimtTask t = simt_task(fn, SIMT_LANES, PARTS, round);
        simt_decode_part(p, f, kir_add(fn, p->n0, t.item), kir_add(fn, part, t.part), values);
        put16(p, &t, values, W_STRIDE, 0);
    }
    for (uint32_t round = 0; round < TOKENS_OF_TILE * PARTS / SIMT_LANES; round++) {
        SimtTask t = simt_task(fn, SIMT_LANES, PARTS, round);
        KirRef from = kir_at(fn, kir_at(fn, x[round], k, 4, 0), t.part, 64, 0);
        for (int i = 0; i < 16; i++) values[i] = kir_load(fn, KT_F32, kir_offset_const(fn, from, 4 * i));
        put16(p, &t, values, X_STRIDE, X_AT);
    }
}

static KirRef lane_row(KirFn *fn) { return kir_srem(fn, kir_lane(fn), kir_i64(fn, 8)); }
static KirRef lane_token(KirFn *fn) { return kir_sdiv(fn, kir_lane(fn), kir_i64(fn, 8)); }

// Rows lane % 8 + 8 i and tokens lane / 8 + 8 j over the columns that are staged.
static void add_step(const SimtProduct *p, const KirRef *carried, KirRef *out_acc) {
    KirFn *fn = p->fn;
    KirRef next[SIMT_TILE_SUMS], w[ROWS], x[TOKENS];
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, STEP), kir_i64(fn, 1), SIMT_TILE_SUMS, carried, &loop);
    KirRef w_at = shared_index(fn, loop.iv, W_STRIDE, lane_row(fn), 0), x_at = shared_index(fn, loop.iv, X_STRIDE, lane_token(fn), X_AT);
    for (int i = 0; i < ROWS; i++) w[i] = get_float(p, kir_add(fn, w_at, kir_i64(fn, 8 * i)));
    for (int j = 0; j < TOKENS; j++) x[j] = get_float(p, kir_add(fn, x_at, kir_i64(fn, 8 * j)));
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < TOKENS; j++) next[i * TOKENS + j] = kir_fma(fn, w[i], x[j], loop.carried[i * TOKENS + j]);
    kir_for_end(fn, &loop, next);
    for (int i = 0; i < SIMT_TILE_SUMS; i++) out_acc[i] = loop.results[i];
}

static void multiply(const SimtProduct *p, const MmFactor *f, const KirRef *x, KirRef out_acc[SIMT_TILE_SUMS]) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirRef acc[SIMT_TILE_SUMS];
    for (int i = 0; i < SIMT_TILE_SUMS; i++) acc[i] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), p->job->k, kir_i64(fn, STEP), SIMT_TILE_SUMS, acc, &loop);
    stage(p, f, x, loop.iv);
    cg_barrier(p->build);
    add_step(p, loop.carried, acc);
    cg_barrier(p->build);
    kir_for_end(fn, &loop, acc);
    for (int i = 0; i < SIMT_TILE_SUMS; i++) out_acc[i] = loop.results[i];
}

static void place(const SimtProduct *p, uint32_t sum, KirRef *out_row, KirRef *out_token) {
    *out_row = kir_add(p->fn, lane_row(p->fn), kir_i64(p->fn, sum / TOKENS * 8));
    *out_token = kir_add(p->fn, lane_token(p->fn), kir_i64(p->fn, sum % TOKENS * 8));
}

static bool fits(const IrTarget *target, const MmJob *job) {
    (void)target;
    return !simt_is_int8(job);
}

static const SimtTileForm tile_f32 = {.name = "matmul_tiles",
                                      .tokens = TOKENS_OF_TILE,
                                      .lanes = SIMT_LANES,
                                      .step = STEP,
                                      .parts = PARTS,
                                      .input = X_AT + STEP * X_STRIDE,
                                      .fits = fits,
                                      .multiply = multiply,
                                      .place = place};

// ---- all forms ---------------------------------------------------------------------------------------------------

const SimtTileForm *simt_tile_form(const IrTarget *target, const MmJob *jobs, uint32_t count) {
    static const SimtTileForm *const forms[] = {&simt_tile_int8_mma, &simt_tile_int8_dot, &simt_tile_bf16, &tile_f32};
    for (size_t i = 0; i < HD_COUNT(forms); i++) {
        bool all = true;
        for (uint32_t j = 0; j < count && all; j++)
            all = jobs[j].factor_count <= SIMT_TILE_FACTORS && jobs[j].columns % forms[i]->step == 0 && forms[i]->fits(target, &jobs[j]);
        if (all) return forms[i];
    }
    return NULL;
}

SimtTask simt_task(KirFn *fn, uint32_t lanes, uint32_t parts, uint32_t round) {
    KirRef t = kir_add(fn, kir_lane(fn), kir_i64(fn, (int64_t)round * lanes)), by = kir_i64(fn, parts);
    return (SimtTask){kir_sdiv(fn, t, by), kir_srem(fn, t, by)};
}

static uint32_t outputs(const SimtTileForm *form) { return SIMT_TILE_ROWS * form->tokens; }

uint32_t simt_tile_shared(const SimtTileForm *form, const MmJob *job) { return HD_MAX(form->input, job->factor_count * outputs(form)); }

static void put_results(const SimtTileForm *form, const SimtProduct *p, uint32_t factor, const KirRef *sums) {
    KirFn *fn = p->fn;
    KirRef row, token;
    for (uint32_t i = 0; i < SIMT_TILE_SUMS; i++) {
        form->place(p, i, &row, &token);
        put_float(p, shared_index(fn, token, SIMT_TILE_ROWS, row, (int64_t)factor * outputs(form)), sums[i]);
    }
}

static void store_results(const SimtTileForm *form, const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirIf exists;
    KirRef sums[SIMT_TILE_FACTORS];
    MmToken of_token;
    KirRef e = simt_deal_begin(p->build, kir_i64(fn, outputs(form)), &loop), rows = kir_i64(fn, SIMT_TILE_ROWS);
    KirRef column = kir_add(fn, p->n0, kir_srem(fn, e, rows)), token = kir_add(fn, first_token, kir_sdiv(fn, e, rows));
    KirRef inside = kir_and(fn, kir_cmp(fn, KIR_LT, column, p->job->n), kir_cmp(fn, KIR_LT, token, count));
    kir_if_begin(fn, inside, &exists);
    at(p->job, user, token, &of_token);
    for (uint32_t f = 0; f < p->job->factor_count; f++) sums[f] = get_float(p, kir_add(fn, e, kir_i64(fn, (int64_t)f * outputs(form))));
    simt_store_results(p, column, &of_token, sums);
    kir_if_end(fn, &exists, NULL);
    simt_deal_end(p->build, &loop);
    cg_barrier(p->build);
}

// The rows of activations that this lane brings to shared memory; beyond the last token the last once more.
static void find_rows(const SimtTileForm *form, const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user, KirRef *out_x) {
    KirFn *fn = p->fn;
    KirRef last = kir_sub(fn, count, kir_i64(fn, 1));
    for (uint32_t round = 0; round < form->tokens * form->parts / form->lanes; round++) {
        MmToken token;
        at(p->job, user, kir_min(fn, kir_add(fn, first_token, simt_task(fn, form->lanes, form->parts, round).item), last), &token);
        out_x[round] = token.x;
    }
}

void simt_tile(const SimtTileForm *form, const SimtProduct *p, KirRef first_token, KirRef count, MmTokenAt *at, void *user) {
    KirRef sums[SIMT_TILE_FACTORS][SIMT_TILE_SUMS], x[SIMT_TILE_ROUNDS];
    find_rows(form, p, first_token, count, at, user, x);
    for (uint32_t f = 0; f < p->job->factor_count; f++) form->multiply(p, &p->job->factors[f], x, sums[f]);
    for (uint32_t f = 0; f < p->job->factor_count; f++) put_results(form, p, f, sums[f]);
    cg_barrier(p->build);
    store_results(form, p, first_token, count, at, user);
}

// ---- forms with two buffers ----------------------------------------------------------------------------------------

SimtWarp simt_warp(KirFn *fn) {
    KirRef lane = kir_srem(fn, kir_lane(fn), kir_i64(fn, KIR_WARP)), warp = kir_sdiv(fn, kir_lane(fn), kir_i64(fn, KIR_WARP));
    KirRef two = kir_i64(fn, 2), four = kir_i64(fn, 4);
    return (SimtWarp){.row = kir_mul(fn, kir_srem(fn, warp, two), kir_i64(fn, 16 * SIMT_WARP_M)),
                      .token = kir_mul(fn, kir_sdiv(fn, warp, two), kir_i64(fn, 8 * SIMT_WARP_N)),
                      .r = kir_sdiv(fn, lane, four),
                      .c = kir_srem(fn, lane, four)};
}

void simt_warp_place(const SimtProduct *p, uint32_t sum, KirRef *out_row, KirRef *out_token) {
    KirFn *fn = p->fn;
    SimtWarp w = simt_warp(fn);
    uint32_t fragment = sum / 4, i = sum % 4;
    *out_row = kir_add(fn, kir_add(fn, w.row, w.r), kir_i64(fn, fragment / SIMT_WARP_N * 16 + i / 2 * 8));
    *out_token = kir_add(fn, kir_add(fn, w.token, kir_mul(fn, w.c, kir_i64(fn, 2))), kir_i64(fn, fragment % SIMT_WARP_N * 8 + i % 2));
}

static void stage_begin(const SimtSteps *s, KirRef buffer, KirRef k) {
    s->stage(s, buffer, k);
    kir_copy_commit(s->p->fn);
}

static void stage_end(const SimtSteps *s) {
    kir_copy_wait(s->p->fn, 0);
    cg_barrier(s->p->build);
}

void simt_run_steps(const SimtSteps *s, KirRef *sums) {
    KirFn *fn = s->p->fn;
    KirLoop loop;
    KirIf more;
    KirRef step = kir_i64(fn, s->step), words = kir_i64(fn, s->words), next[SIMT_TILE_SUMS];
    stage_begin(s, kir_i64(fn, 0), kir_i64(fn, 0));
    stage_end(s);
    kir_for_begin(fn, kir_i64(fn, 0), s->p->job->k, step, s->count, sums, &loop);
    KirRef buffer = kir_mul(fn, kir_srem(fn, kir_sdiv(fn, loop.iv, step), kir_i64(fn, 2)), words), behind = kir_add(fn, loop.iv, step);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, behind, s->p->job->k), &more);
    stage_begin(s, kir_sub(fn, words, buffer), behind);
    kir_if_end(fn, &more, NULL);
    for (uint32_t i = 0; i < s->count; i++) next[i] = loop.carried[i];
    s->add(s, buffer, next);
    stage_end(s);
    kir_for_end(fn, &loop, next);
    for (uint32_t i = 0; i < s->count; i++) sums[i] = loop.results[i];
}
