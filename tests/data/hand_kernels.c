// SPDX-License-Identifier: Apache-2.0
// Kernels written by hand for tests of the module and the runtime: a tiny model whose answers tests/support/hand_program.h
// computes in another way. Built without libc and without sanitizers into a shared object, as the compiler's own output is.
#include "runtime/abi.h"

#define PTR(type, i) ((type *)(uintptr_t)args[i])
#define INT(i) ((int64_t)args[i])

enum { DIM = 8, ROPE = 4, PANEL = 16, WIDE = 64 };

// src [16][DIM] to panels dst [DIM][16]; unit: column.  args: src, dst
void hand_pack(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t k = begin; k < end; k++)
        for (int64_t r = 0; r < PANEL; r++) PTR(float, 1)[k * PANEL + r] = PTR(const float, 0)[r * DIM + k];
}

// Copies blocks of 64 KiB; unit: block.  args: src, dst
void hand_copy(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t i = begin * 8192; i < end * 8192; i++) PTR(volatile uint64_t, 1)[i] = PTR(const uint64_t, 0)[i];
}

// x[t] = embed[token]; unit: token.  args: tokens, embed, x
void hand_embed(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t t = begin; t < end; t++)
        for (int64_t d = 0; d < DIM; d++) PTR(float, 2)[t * DIM + d] = PTR(const float, 1)[PTR(const int32_t, 0)[t] * DIM + d];
}

// cache[slot][position] = x[t]; unit: token.  args: x, cache, slot bytes, token info
void hand_append(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t t = begin; t < end; t++) {
        const int32_t *info = PTR(const int32_t, 3) + 4 * t;
        float *row = (float *)(uintptr_t)(args[1] + (uint64_t)info[1] * args[2]) + info[2] * DIM;
        for (int64_t d = 0; d < DIM; d++) row[d] = PTR(const float, 0)[t * DIM + d];
    }
}

// w = w / 2 + x[t] along a segment, y[t] = w; unit: segment.  args: x, window, slot bytes, plane bytes, segments, y
void hand_recur(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    float *w = (float *)scratch;
    for (int64_t s = begin; s < end; s++) {
        const int32_t *segment = PTR(const int32_t, 4) + 8 * s;
        const float *in = (const float *)(uintptr_t)(args[1] + (uint64_t)segment[0] * args[2] + (uint64_t)segment[4] * args[3]);
        float *out = (float *)(uintptr_t)(args[1] + (uint64_t)segment[0] * args[2] + (uint64_t)segment[5] * args[3]);
        for (int64_t d = 0; d < DIM; d++) w[d] = in[d];
        for (int64_t t = segment[2]; t < segment[2] + segment[3]; t++)
            for (int64_t d = 0; d < DIM; d++) PTR(float, 5)[t * DIM + d] = w[d] = w[d] * 0.5f + PTR(const float, 0)[t * DIM + d];
        for (int64_t d = 0; d < DIM; d++) out[d] = w[d];
    }
}

// z[t] = sum over positions p of cache[p] / (1 + position - p), + y[t] + rope[t]; reports a sum of squares that is not finite
// as layer 2; unit: token. args: cache, slot bytes, token info, y, rope, z, status
void hand_mix(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    double *sum = (double *)scratch;
    for (int64_t t = begin; t < end; t++) {
        const int32_t *info = PTR(const int32_t, 2) + 4 * t;
        const float *rows = (const float *)(uintptr_t)(args[0] + (uint64_t)info[1] * args[1]);
        double squares = 0;
        for (int64_t d = 0; d < DIM; d++) sum[d] = 0;
        for (int64_t p = 0; p <= info[2]; p++)
            for (int64_t d = 0; d < DIM; d++) sum[d] += (double)rows[p * DIM + d] / (double)(1 + info[2] - p);
        for (int64_t d = 0; d < DIM; d++) {
            PTR(float, 5)[t * DIM + d] = (float)sum[d] + PTR(const float, 3)[t * DIM + d] + PTR(const float,
                4)[t * ROPE + d % ROPE];
            squares += sum[d] * sum[d];
        }
        if (!(squares <= 1e300)) *PTR(HeddleStepStatus, 6) = (HeddleStepStatus){3, (int32_t)t};
    }
}

// logits[r][v] = z[rows[r]] . out[v], out in panels; unit: one logit.  args: z, out, rows, logits
void hand_head(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t u = begin; u < end; u++) {
        int64_t r = u / PANEL, v = u % PANEL;
        float sum = 0;
        for (int64_t k = 0; k < DIM; k++) sum += PTR(const float, 0)[PTR(const int32_t, 2)[r] * DIM + k] * PTR(const float,
            1)[k * PANEL + v];
        PTR(float, 3)[u] = sum;
    }
}

// chain[t][u] = token + u; unit: element.  args: tokens, out
void hand_seed(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t u = begin; u < end; u++) PTR(float, 1)[u] = (float)(PTR(const int32_t, 0)[u / WIDE] + u % WIDE);
}

// out[t][u] = (in[t][u] + in[t][(u + 1) % n]) / 2: every element needs one that another thread made; unit: element.  args: in,
// out, n (= WIDE)
void hand_chain(const uint64_t *args, int64_t begin, int64_t end, uint8_t *scratch)
{
    (void)scratch;
    for (int64_t i = begin; i < end; i++) {
        int64_t n = INT(2), t = i / n, u = i % n;
        PTR(float, 1)[i] = (PTR(const float, 0)[i] + PTR(const float, 0)[t * n + (u + 1) % n]) * 0.5f;
    }
}
