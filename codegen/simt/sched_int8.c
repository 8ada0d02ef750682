// SPDX-License-Identifier: Apache-2.0
// Products with int8 activations (q8a) for few tokens, on CUDA: sched_product.c with dot products of four bytes. A lane takes every eighth
// group of 32 columns of its row: the bytes of the blocks are multiplied as they are, and a group's integer sum, exact, is scaled once:
//     sum of (w - less) * a, times scale, plus add * sum of a;  all times the scale of the activations.
#include "codegen/simt/product.h"

enum { GROUP = 32, WORDS = 4 };              // columns of a scale of activations; words of half a group

typedef struct Activations { KirRef word[2 * WORDS], scale, sum; } Activations;   // of a group; sum i32

// `x`: where the row of q8a is; 0: it is in shared memory (p->row).
static KirRef load(const SimtProduct *p, KirType type, KirRef x, KirRef index, int64_t element, int64_t base) {
    KirFn *fn = p->fn;
    if (x) return kir_load(fn, type, kir_at(fn, x, index, 4 * element, base));
    KirRef word = kir_shared_load(fn, p->row, kir_add(fn, kir_mul(fn, index, kir_i64(fn, element)), kir_i64(fn, base)));
    return kir_bitcast(fn, word, type);
}

static Activations activations(const SimtProduct *p, KirRef x, KirRef group) {
    Activations a;
    int64_t groups = p->job->columns / GROUP, stride = p->row ? CG_Q8_SHARED_STRIDE : GROUP / 4, unit = p->row ? 1 : 4;
    for (int i = 0; i < 2 * WORDS; i++) a.word[i] = load(p, KT_I32, x, group, stride, i * unit);
    int64_t scales = groups * stride * unit;
    a.scale = load(p, KT_F32, x, group, 1, scales);
    a.sum = load(p, KT_I32, x, group, 1, scales + groups * unit);
    return a;
}

uint32_t simt_int8_row(const MmJob *job) { return (uint32_t)(job->columns / GROUP) * (CG_Q8_SHARED_STRIDE + 2); }

CgQ8Row simt_int8_shared(KirFn *fn, KirRef array, int64_t columns) {
    int64_t groups = columns / GROUP, scales = groups * CG_Q8_SHARED_STRIDE;
    return (CgQ8Row){kir_i64(fn, 0), kir_i64(fn, scales), kir_i64(fn, scales + groups), array};
}

static KirRef dot(KirFn *fn, const SimtBytes *w, const KirRef *a, KirRef sum) {
    for (int i = 0; i < WORDS; i++) sum = kir_dot_i8(fn, sum, w->word[i], a[i]);
    return sum;
}

static KirRef word(KirFn *fn, int64_t value) { return kir_int(fn, KT_I32, value); }

static KirRef sum_of(KirFn *fn, const KirRef *a) {
    KirRef sum = word(fn, 0);
    for (int i = 0; i < WORDS; i++) sum = kir_dot_i8(fn, sum, word(fn, 0x01010101), a[i]);
    return sum;
}

// dot and sum: of the same columns; sum 0: not needed.
static KirRef scaled(KirFn *fn, const SimtBytes *w, KirRef product, KirRef sum) {
    if (w->less) product = kir_sub(fn, product, kir_mul(fn, sum, word(fn, w->less)));
    KirRef value = kir_mul(fn, kir_itof(fn, product), w->scale);
    return w->add ? kir_fma(fn, kir_itof(fn, sum), w->add, value) : value;
}

static KirRef product_of(KirFn *fn, IrDtype dtype, const SimtBytes w[2], const Activations *a) {
    KirRef zero = word(fn, 0);
    if (simt_scales_32(dtype)) return scaled(fn, &w[0], dot(fn, &w[1], a->word + WORDS, dot(fn, &w[0], a->word, zero)), a->sum);
    KirRef halves[2];
    for (int i = 0; i < 2; i++) {
        const KirRef *x = a->word + i * WORDS;
        halves[i] = scaled(fn, &w[i], dot(fn, &w[i], x, zero), w[i].less || w[i].add ? sum_of(fn, x) : 0);
    }
    return kir_add(fn, halves[0], halves[1]);
}

void simt_int8_group(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef group, const KirRef *x, KirRef *acc) {
    KirFn *fn = p->fn;
    KirRef first = kir_mul(fn, group, kir_i64(fn, 2));
    SimtBytes w[2];
    for (int i = 0; i < 2; i++) {
        SimtPlace place = simt_place(p, f, row, kir_add(fn, first, kir_i64(fn, i)));
        simt_decode16_bytes(fn, f->dtype, &place, &w[i]);
    }
    for (uint32_t t = 0; t < p->tokens; t++) {
        Activations a = activations(p, p->row ? 0 : x[t], group);
        acc[t] = kir_fma(fn, product_of(fn, f->dtype, w, &a), a.scale, acc[t]);
    }
}
