// SPDX-License-Identifier: Apache-2.0
// Tiles of BF16 weights and float32 activations for tensor cores (sm_80 and newer). The weights are copied in the background as they are. An
// activation is the sum of two bf16 numbers, the nearest and what that lacks, which leaves an error of 2^-17 of it: a product is two
// (mma_bf16) into one float32 sum.
#include "codegen/simt/product.h"

enum { RESIDENT = 3, TOKENS = 64, LANES = 128, STEP = 32, PIECES = STEP / 8, TASKS = 64 * PIECES, STRIDE = STEP / 2 + 4, WORDS = 8 };
enum { HIGH_AT = SIMT_TILE_ROWS * STRIDE, LOW_AT = HIGH_AT + TOKENS * STRIDE, BUFFER = LOW_AT + TOKENS * STRIDE };
enum { FRAGMENTS = SIMT_WARP_M * SIMT_WARP_N };

// Two bf16 numbers as a word.
static KirRef pair(KirFn *fn, const KirRef halves[2]) {
    KirRef high = kir_shl(fn, kir_zext(fn, halves[1], KIR_I32), kir_int(fn, KT_I32, 16));
    return kir_or(fn, kir_zext(fn, halves[0], KIR_I32), high);
}

// Eight columns of a token.
static void stage_token(const SimtSteps *s, KirRef from, KirRef to) {
    KirFn *fn = s->p->fn;
    for (int i = 0; i < 4; i++) {
        KirRef high[2], low[2];
        for (int j = 0; j < 2; j++) {
            KirRef x = kir_load(fn, KT_F32, kir_offset_const(fn, from, 8 * i + 4 * j));
            high[j] = kir_f32_bf16(fn, x);
            low[j] = kir_f32_bf16(fn, kir_sub(fn, x, kir_bf16_f32(fn, high[j])));
        }
        kir_shared_store(fn, s->p->tile, simt_plus(fn, to, HIGH_AT + i), pair(fn, high));
        kir_shared_store(fn, s->p->tile, simt_plus(fn, to, LOW_AT + i), pair(fn, low));
    }
}

static void stage(const SimtSteps *s, KirRef buffer, KirRef k) {
    KirFn *fn = s->p->fn;
    for (uint32_t round = 0; round < TASKS / LANES; round++) {
        SimtTask t = simt_task(fn, LANES, PIECES, round);
        KirRef to = simt_shared_at(fn, buffer, t.item, STRIDE, kir_mul(fn, t.part, kir_i64(fn, 4)));
        KirRef row = simt_matrix_row(s->p, s->f, kir_add(fn, s->p->n0, t.item));
        kir_copy_async(fn, s->p->tile, to, kir_at(fn, kir_at(fn, row, k, 2, 0), t.part, 16, 0));
        stage_token(s, kir_at(fn, kir_at(fn, s->x[round], k, 4, 0), t.part, 32, 0), to);
    }
}

static void add(const SimtSteps *s, KirRef buffer, KirRef *sums) {
    KirFn *fn = s->p->fn;
    SimtWarp warp = simt_warp(fn);
    KirRef a[SIMT_WARP_M];
    for (int64_t first = 0; first < STEP / 2; first += WORDS) {
        KirRef word = kir_i64(fn, first);
        for (int m = 0; m < SIMT_WARP_M; m++)
            a[m] = kir_fragment_a(fn, s->p->tile, simt_shared_at(fn, buffer, simt_plus(fn, warp.row, 16 * m), STRIDE, word), STRIDE, WORDS);
        for (int n = 0; n < SIMT_WARP_N; n++) {
            KirRef at = simt_shared_at(fn, buffer, simt_plus(fn, warp.token, 8 * n), STRIDE, word);
            KirRef low = kir_fragment_b(fn, s->p->tile, simt_plus(fn, at, LOW_AT), STRIDE, WORDS);
            KirRef high = kir_fragment_b(fn, s->p->tile, simt_plus(fn, at, HIGH_AT), STRIDE, WORDS);
            for (int m = 0; m < SIMT_WARP_M; m++) {
                KirRef *sum = &sums[m * SIMT_WARP_N + n];
                *sum = kir_mma_bf16(fn, kir_mma_bf16(fn, *sum, a[m], low), a[m], high);
            }
        }
    }
}

static void multiply(const SimtProduct *p, const MmFactor *f, const KirRef *x, KirRef out_sums[SIMT_TILE_SUMS]) {
    KirFn *fn = p->fn;
    SimtSteps steps = {p, f, x, BUFFER, STEP, FRAGMENTS, stage, add};
    KirRef sums[FRAGMENTS];
    for (int i = 0; i < FRAGMENTS; i++) sums[i] = kir_float(fn, KIR_T(KIR_F32, 4), 0);
    simt_run_steps(&steps, sums);
    for (uint32_t i = 0; i < SIMT_TILE_SUMS; i++) out_sums[i] = kir_extract(fn, sums[i / 4], i % 4);
}

static bool fits(const IrTarget *target, const MmJob *job) {
    bool bf16 = ir_target_is_cuda(target) && target->arch >= 80 && job->x.dtype == IR_F32;
    for (uint32_t i = 0; i < job->factor_count; i++) bf16 = bf16 && job->factors[i].dtype == IR_BF16;
    return bf16;
}

const SimtTileForm simt_tile_bf16 = {"matmul_tiles_mma_bf16", TOKENS, LANES, STEP, PIECES, 2 * BUFFER, RESIDENT, fits, multiply, simt_warp_place};
