// SPDX-License-Identifier: Apache-2.0
// Which tokens may be chosen: penalties, top-k, top-p, min-p, with llama.cpp's arithmetic (src/llama-sampler.cpp describes the same
// steps). Only as many tokens are ordered as are needed: a heap gives them one by one.
#include "runtime/sampler/internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

// ---- the heap --------------------------------------------------------------------------------------------------

// The order (rt_comes_before) is one, whatever the heap's history.
static void sift_down(HeddleCandidate *heap, size_t len, size_t at)
{
    HeddleCandidate moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < len; at = child) {
        if (child + 1 < len && rt_comes_before(heap[child + 1], heap[child])) child++;
        if (!rt_comes_before(heap[child], moving)) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void make_heap(SmCandidates *c)
{
    for (size_t i = c->heap_len / 2; i-- > 0;) sift_down(c->heap, c->heap_len, i);
}

static HeddleCandidate pop(SmCandidates *c)
{
    HeddleCandidate first = c->heap[0];
    c->heap[0] = c->heap[--c->heap_len];
    if (c->heap_len) sift_down(c->heap, c->heap_len, 0);
    return first;
}

HeddleCandidate sm_largest(const SmCandidates *candidates)
{
    HeddleCandidate best = candidates->heap[0];
    for (size_t i = 1; i < candidates->heap_len; i++)
        if (rt_comes_before(candidates->heap[i], best)) best = candidates->heap[i];
    return best;
}

// ---- filling ---------------------------------------------------------------------------------------------------

static float penalised(const HeddleSampling *s, float logit, uint32_t seen)
{
    logit = logit <= 0 ? logit * s->repeat_penalty : logit / s->repeat_penalty;
    return logit - ((float)seen * s->frequency_penalty + s->presence_penalty);
}

HdStatus *sm_fill(const HeddleSampling *sampling, const float *logits, uint32_t vocab, const uint32_t *counts,
                  SmCandidates *candidates)
{
    candidates->heap_len = vocab, candidates->kept_len = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        float logit = logits[i];
        if (isnan(logit) || logit == INFINITY)
            return hd_error(HD_NOT_FINITE, "logit %" PRIu32 " of %" PRIu32 " is not a finite number", i, vocab);
        if (counts && counts[i]) logit = penalised(sampling, logit, counts[i]);
        candidates->heap[i] = (HeddleCandidate){(int32_t)i, logit};
    }
    return NULL;
}

void sm_take(const HeddleCandidate *given, size_t count, SmCandidates *candidates)
{
    memcpy(candidates->heap, given, count * sizeof *given);
    candidates->heap_len = count, candidates->kept_len = 0;
}

// ---- filters ---------------------------------------------------------------------------------------------------

static double share(HeddleCandidate c, double largest) { return exp((double)c.logit - largest); }

static void keep_all(SmCandidates *c)
{
    for (; c->kept_len < c->heap_len; c->kept_len++) c->kept[c->kept_len] = c->heap[c->kept_len];
    c->heap_len = 0;
}

static void keep_top_k(SmCandidates *c, size_t k)
{
    while (c->heap_len && c->kept_len < k) c->kept[c->kept_len++] = pop(c);
    c->heap_len = 0;
}

// The probabilities are those among the candidates that are left.
static void keep_top_p(SmCandidates *c, double p)
{
    size_t all = c->kept_len + c->heap_len;
    double largest = c->kept_len ? (double)c->kept[0].logit : (double)c->heap[0].logit, total = 0, sum = 0;
    for (size_t i = 0; i < c->kept_len; i++) total += share(c->kept[i], largest);
    for (size_t i = 0; i < c->heap_len; i++) total += share(c->heap[i], largest);
    for (size_t i = 0; i < all; i++) {
        if (i == c->kept_len) c->kept[c->kept_len++] = pop(c);
        sum += share(c->kept[i], largest);
        if (sum < p * total) continue;
        c->kept_len = i + 1;
        break;
    }
    c->heap_len = 0;
}

static void keep_min_p(SmCandidates *c, float p)
{
    float largest = -INFINITY;
    size_t left = 0;
    for (size_t i = 0; i < c->kept_len; i++) largest = fmaxf(largest, c->kept[i].logit);
    for (size_t i = 0; i < c->kept_len; i++)
        if (c->kept[i].logit >= largest + logf(p)) c->kept[left++] = c->kept[i];
    c->kept_len = left;
}

void sm_filter(const HeddleSampling *sampling, uint32_t vocab, SmCandidates *candidates)
{
    bool by_k = sampling->top_k > 0 && (uint32_t)sampling->top_k < vocab, by_p = sampling->top_p < 1;
    if (by_k || by_p) make_heap(candidates);
    if (by_k) keep_top_k(candidates, (size_t)sampling->top_k);
    if (by_p) keep_top_p(candidates, (double)sampling->top_p);
    if (!by_k && !by_p) keep_all(candidates);
    if (sampling->min_p > 0) keep_min_p(candidates, sampling->min_p);
}
