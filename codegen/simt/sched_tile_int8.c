// SPDX-License-Identifier: Apache-2.0
// Tiles with int8 activations (q8a), on CUDA. Of 64 columns at a time the weights' blocks are unpacked to signed bytes and scales, and the
// activations copied in the background, while the 64 columns before are multiplied. The integer sum of 32 columns (16, where the weights'
// scales are of 16) is exact; it is scaled by both factors' scales into a float32 sum. What a format adds to each weight is multiplied by
// the sum of the activations. Tensor cores multiply (mma_i8), or before sm_80 the lanes by dot products of four bytes.
#include "codegen/simt/product.h"

enum { RESIDENT = 3, TOKENS = 64, LANES = 128, STEP = 64, GROUP = 32, GROUPS = STEP / GROUP, QUARTERS = STEP / 16, TASKS = 64 * QUARTERS };
// Places in a buffer: words of weights and activations, by row; scales and what is added, by quarter of 16 columns, or by group; scales
// of activations by group, and their sums times these, by quarter or group.
enum {
    STRIDE = STEP / 4 + 4,               // words: the lanes of a fragment, 8 rows of 4 words, are on 32 banks
    X_AT = SIMT_TILE_ROWS * STRIDE,
    W_SCALE = X_AT + TOKENS * STRIDE,
    W_ADD = W_SCALE + QUARTERS * SIMT_TILE_ROWS,
    X_SCALE = W_ADD + QUARTERS * SIMT_TILE_ROWS,
    X_SUM = X_SCALE + GROUPS * TOKENS,
    BUFFER = X_SUM + QUARTERS * TOKENS
};

static KirRef word(KirFn *fn, int64_t value) { return kir_int(fn, KT_I32, value); }
static void put_float(const SimtSteps *s, KirRef at, KirRef value) { kir_shared_store(s->p->fn, s->p->tile, at, kir_bitcast(s->p->fn, value, KT_I32)); }
static KirRef get(const SimtSteps *s, KirRef at) { return kir_shared_load(s->p->fn, s->p->tile, at); }
static KirRef get_float(const SimtSteps *s, KirRef at) { return kir_bitcast(s->p->fn, get(s, at), KT_F32); }

// What the format of the weights asks for.
static bool by_16(const SimtSteps *s) { return !simt_scales_32(s->f->dtype); }
static bool adds(const SimtSteps *s) { return simt_adds(s->f->dtype); }

// ---- staging -----------------------------------------------------------------------------------------------------

// byte - less for four of them, none of which leaves -128..127.
static KirRef minus(KirFn *fn, KirRef bytes, int64_t less) {
    KirRef signs = word(fn, 0x80808080);
    return less ? kir_xor(fn, kir_sub(fn, kir_xor(fn, bytes, signs), word(fn, less * 0x01010101)), signs) : bytes;
}

static void stage_weights(const SimtSteps *s, KirRef buffer, KirRef k) {
    KirFn *fn = s->p->fn;
    KirRef part = kir_sdiv(fn, k, kir_i64(fn, 16));
    for (uint32_t round = 0; round < TASKS / LANES; round++) {
        SimtTask t = simt_task(fn, LANES, QUARTERS, round);
        SimtBytes w;
        KirRef row = simt_matrix_row(s->p, s->f, kir_add(fn, s->p->n0, t.item));
        SimtPlace place = simt_place(s->p, s->f, row, kir_add(fn, part, t.part));
        simt_decode16_bytes(fn, s->f->dtype, &place, &w);
        KirRef to = simt_shared_at(fn, buffer, t.item, STRIDE, kir_mul(fn, t.part, kir_i64(fn, 4)));
        for (int i = 0; i < 4; i++) kir_shared_store(fn, s->p->tile, simt_plus(fn, to, i), minus(fn, w.word[i], w.less));
        KirRef scale = by_16(s) ? t.part : kir_sdiv(fn, t.part, kir_i64(fn, 2));   // two lanes store the same number
        KirRef at = simt_shared_at(fn, buffer, scale, SIMT_TILE_ROWS, t.item);
        put_float(s, simt_plus(fn, at, W_SCALE), w.scale);
        if (adds(s)) put_float(s, simt_plus(fn, at, W_ADD), w.add);
    }
}

// Of 16 columns: what the format of q8a has no sum of.
static KirRef sum_of(KirFn *fn, KirRef from) {
    KirRef sum = word(fn, 0);
    for (int i = 0; i < 4; i++) sum = kir_dot_i8(fn, sum, word(fn, 0x01010101), kir_load(fn, KT_I32, kir_offset_const(fn, from, 4 * i)));
    return sum;
}

static void stage_activations(const SimtSteps *s, KirRef buffer, KirRef k) {
    KirFn *fn = s->p->fn;
    int64_t K = s->p->job->columns;
    KirRef two = kir_i64(fn, 2), group = kir_sdiv(fn, k, kir_i64(fn, GROUP));
    for (uint32_t round = 0; round < TASKS / LANES; round++) {
        SimtTask t = simt_task(fn, LANES, QUARTERS, round);
        KirRef row = s->x[round], from = kir_at(fn, kir_offset(fn, row, k), t.part, 16, 0);
        KirRef to = simt_shared_at(fn, buffer, t.item, STRIDE, kir_mul(fn, t.part, kir_i64(fn, 4)));
        kir_copy_async(fn, s->p->tile, simt_plus(fn, to, X_AT), from);
        KirRef g = kir_sdiv(fn, t.part, two), at = kir_add(fn, group, g);       // two lanes store the same numbers
        KirRef scale = kir_load(fn, KT_F32, kir_at(fn, row, at, 4, K));
        put_float(s, simt_plus(fn, simt_shared_at(fn, buffer, g, TOKENS, t.item), X_SCALE), scale);
        if (!adds(s)) continue;
        KirRef sum = by_16(s) ? sum_of(fn, from) : kir_load(fn, KT_I32, kir_at(fn, row, at, 4, K + K / GROUP * 4));
        KirRef place = simt_shared_at(fn, buffer, by_16(s) ? t.part : g, TOKENS, t.item);
        put_float(s, simt_plus(fn, place, X_SUM), kir_mul(fn, kir_itof(fn, sum), scale));
    }
}

static void stage(const SimtSteps *s, KirRef buffer, KirRef k) {
    stage_activations(s, buffer, k);
    stage_weights(s, buffer, k);
}

// ---- adding ------------------------------------------------------------------------------------------------------

// Scales and additions of `count` rows or tokens of the lane at one part of 16 or 32 columns (number: i64).
static void get_floats(const SimtSteps *s, KirRef buffer, int64_t base, KirRef number, const KirRef *items, uint32_t count, KirRef *out) {
    KirFn *fn = s->p->fn;
    for (uint32_t i = 0; i < count; i++) out[i] = get_float(s, simt_plus(fn, simt_shared_at(fn, buffer, number, SIMT_TILE_ROWS, items[i]), base));
}

// A lane's rows and tokens, and which of them sum number `sum` is of.
enum { MOST_ROWS = 8, MOST_TOKENS = 8 };
typedef struct Share {
    uint32_t row_count, token_count;
    KirRef rows[MOST_ROWS], tokens[MOST_TOKENS];   // i64: in the tile
    uint8_t row_of[SIMT_TILE_SUMS], token_of[SIMT_TILE_SUMS];
} Share;

// The integer sums of `words` words from word `first` (i64) on of all rows.
typedef void Dots(const SimtSteps *s, const Share *share, KirRef buffer, KirRef first, uint32_t words, KirRef out_sums[SIMT_TILE_SUMS]);

// sums += the part's integers, scaled; `part`: number of its scale.
static void add_part(const SimtSteps *s, const Share *share, KirRef buffer, KirRef part, KirRef group, Dots *dots, KirRef *sums) {
    KirFn *fn = s->p->fn;
    uint32_t words = by_16(s) ? 4 : 8;
    KirRef ints[SIMT_TILE_SUMS], w[MOST_ROWS], x[MOST_TOKENS];
    dots(s, share, buffer, kir_mul(fn, part, kir_i64(fn, words)), words, ints);
    get_floats(s, buffer, W_SCALE, part, share->rows, share->row_count, w);
    get_floats(s, buffer, X_SCALE, group, share->tokens, share->token_count, x);
    for (uint32_t i = 0; i < SIMT_TILE_SUMS; i++)
        sums[i] = kir_fma(fn, kir_mul(fn, kir_itof(fn, ints[i]), w[share->row_of[i]]), x[share->token_of[i]], sums[i]);
    if (!adds(s)) return;
    get_floats(s, buffer, W_ADD, part, share->rows, share->row_count, w);
    get_floats(s, buffer, X_SUM, part, share->tokens, share->token_count, x);
    for (uint32_t i = 0; i < SIMT_TILE_SUMS; i++) sums[i] = kir_fma(fn, w[share->row_of[i]], x[share->token_of[i]], sums[i]);
}

static void add(const SimtSteps *s, const Share *share, KirRef buffer, Dots *dots, KirRef *sums) {
    KirFn *fn = s->p->fn;
    KirLoop loop;
    KirRef next[SIMT_TILE_SUMS];
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, by_16(s) ? QUARTERS : GROUPS), kir_i64(fn, 1), SIMT_TILE_SUMS, sums, &loop);
    for (int i = 0; i < SIMT_TILE_SUMS; i++) next[i] = loop.carried[i];
    add_part(s, share, buffer, loop.iv, kir_sdiv(fn, loop.iv, kir_i64(fn, by_16(s) ? 2 : 1)), dots, next);
    kir_for_end(fn, &loop, next);
    for (int i = 0; i < SIMT_TILE_SUMS; i++) sums[i] = loop.results[i];
}

static void run(const SimtProduct *p, const MmFactor *f, const KirRef *x,
                void (*add_step)(const SimtSteps *s, KirRef buffer, KirRef *sums), KirRef out_sums[SIMT_TILE_SUMS]) {
    SimtSteps steps = {p, f, x, BUFFER, STEP, SIMT_TILE_SUMS, stage, add_step};
    for (int i = 0; i < SIMT_TILE_SUMS; i++) out_sums[i] = kir_float(p->fn, KT_F32, 0);
    simt_run_steps(&steps, out_sums);
}

// ---- tensor cores ------------------------------------------------------------------------------------------------

static void dots_mma(const SimtSteps *s, const Share *share, KirRef buffer, KirRef first, uint32_t words, KirRef out_sums[SIMT_TILE_SUMS]) {
    KirFn *fn = s->p->fn;
    SimtWarp warp = simt_warp(fn);
    KirRef a[SIMT_WARP_M], zero = kir_int(fn, KIR_T(KIR_I32, 4), 0);
    (void)share;
    for (int m = 0; m < SIMT_WARP_M; m++)
        a[m] = kir_fragment_a(fn, s->p->tile, simt_shared_at(fn, buffer, simt_plus(fn, warp.row, 16 * m), STRIDE, first), STRIDE, words);
    for (int n = 0; n < SIMT_WARP_N; n++) {
        KirRef at = simt_plus(fn, simt_shared_at(fn, buffer, simt_plus(fn, warp.token, 8 * n), STRIDE, first), X_AT);
        KirRef b = kir_fragment_b(fn, s->p->tile, at, STRIDE, words);
        for (int m = 0; m < SIMT_WARP_M; m++) {
            KirRef d = kir_mma_i8(fn, zero, a[m], b);
            for (uint32_t i = 0; i < 4; i++) out_sums[(m * SIMT_WARP_N + n) * 4 + i] = kir_extract(fn, d, i);
        }
    }
}

// Rows r + 8 i and tokens 2 c + 8 n, 2 c + 1 + 8 n of the warp's.
static void add_mma(const SimtSteps *s, KirRef buffer, KirRef *sums) {
    KirFn *fn = s->p->fn;
    SimtWarp warp = simt_warp(fn);
    Share share = {.row_count = 2 * SIMT_WARP_M, .token_count = 2 * SIMT_WARP_N};
    for (uint32_t i = 0; i < share.row_count; i++) share.rows[i] = simt_plus(fn, kir_add(fn, warp.row, warp.r), 8 * i);
    for (uint32_t i = 0; i < share.token_count; i++)
        share.tokens[i] = simt_plus(fn, kir_add(fn, warp.token, kir_mul(fn, warp.c, kir_i64(fn, 2))), i / 2 * 8 + i % 2);
    for (uint32_t i = 0; i < SIMT_TILE_SUMS; i++) {
        uint32_t m = i / 4 / SIMT_WARP_N, n = i / 4 % SIMT_WARP_N;
        share.row_of[i] = (uint8_t)(2 * m + i % 4 / 2), share.token_of[i] = (uint8_t)(2 * n + i % 2);
    }
    add(s, &share, buffer, dots_mma, sums);
}

static void multiply_mma(const SimtProduct *p, const MmFactor *f, const KirRef *x, KirRef out_sums[SIMT_TILE_SUMS]) {
    run(p, f, x, add_mma, out_sums);
}

static bool fits_mma(const IrTarget *target, const MmJob *job) { return simt_is_int8(job) && target->arch >= 80; }

const SimtTileForm simt_tile_int8_mma = {"matmul_tiles_mma_i8", TOKENS, LANES, STEP, QUARTERS, 2 * BUFFER, RESIDENT, fits_mma, multiply_mma, simt_warp_place};

// ---- dot products ------------------------------------------------------------------------------------------------

enum { DOT_ROWS = 8, DOT_TOKENS = SIMT_TILE_SUMS / DOT_ROWS, APART = TOKENS / DOT_TOKENS };

static void dots_lane(const SimtSteps *s, const Share *share, KirRef buffer, KirRef first, uint32_t words, KirRef out_sums[SIMT_TILE_SUMS]) {
    KirFn *fn = s->p->fn;
    KirLoop loop;
    KirRef ints[SIMT_TILE_SUMS], w[DOT_ROWS], x[DOT_TOKENS];
    for (int i = 0; i < SIMT_TILE_SUMS; i++) ints[i] = word(fn, 0);
    kir_for_begin(fn, first, simt_plus(fn, first, words), kir_i64(fn, 1), SIMT_TILE_SUMS, ints, &loop);
    for (int i = 0; i < DOT_ROWS; i++) w[i] = get(s, simt_shared_at(fn, buffer, share->rows[i], STRIDE, loop.iv));
    for (int i = 0; i < DOT_TOKENS; i++) x[i] = get(s, simt_plus(fn, simt_shared_at(fn, buffer, share->tokens[i], STRIDE, loop.iv), X_AT));
    for (int i = 0; i < SIMT_TILE_SUMS; i++) ints[i] = kir_dot_i8(fn, loop.carried[i], w[i / DOT_TOKENS], x[i % DOT_TOKENS]);
    kir_for_end(fn, &loop, ints);
    for (int i = 0; i < SIMT_TILE_SUMS; i++) out_sums[i] = loop.results[i];
}

static void place_dot(const SimtProduct *p, uint32_t sum, KirRef *out_row, KirRef *out_token) {
    KirFn *fn = p->fn;
    KirRef eight = kir_i64(fn, 8);
    *out_row = simt_plus(fn, kir_srem(fn, kir_lane(fn), eight), sum / DOT_TOKENS * 8);
    *out_token = simt_plus(fn, kir_sdiv(fn, kir_lane(fn), eight), sum % DOT_TOKENS * APART);
}

static void add_dot(const SimtSteps *s, KirRef buffer, KirRef *sums) {
    Share share = {.row_count = DOT_ROWS, .token_count = DOT_TOKENS};
    for (uint32_t i = 0; i < SIMT_TILE_SUMS; i++) {
        share.row_of[i] = (uint8_t)(i / DOT_TOKENS), share.token_of[i] = (uint8_t)(i % DOT_TOKENS);
        place_dot(s->p, i, &share.rows[share.row_of[i]], &share.tokens[share.token_of[i]]);
    }
    add(s, &share, buffer, dots_lane, sums);
}

static void multiply_dot(const SimtProduct *p, const MmFactor *f, const KirRef *x, KirRef out_sums[SIMT_TILE_SUMS]) {
    run(p, f, x, add_dot, out_sums);
}

static bool fits_dot(const IrTarget *target, const MmJob *job) {
    (void)target;
    return simt_is_int8(job);
}

const SimtTileForm simt_tile_int8_dot = {"matmul_tiles_dot_i8", TOKENS, LANES, STEP, QUARTERS, 2 * BUFFER, RESIDENT, fits_dot, multiply_dot, place_dot};
