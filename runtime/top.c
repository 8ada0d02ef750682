// SPDX-License-Identifier: Apache-2.0
// See top.h: a sorted list, into which few logits come.
#include "runtime/top.h"

static void insert(RtTop *top, HeddleCandidate candidate)
{
    uint32_t at = top->len < top->count ? top->len++ : top->len - 1;
    for (; at && rt_comes_before(candidate, top->first[at - 1]); at--) top->first[at] = top->first[at - 1];
    top->first[at] = candidate;
}

void rt_top_add(RtTop *top, int32_t id, const float *logits, uint32_t number)
{
    for (uint32_t i = 0; i < number; i++) {
        HeddleCandidate candidate = {id + (int32_t)i, logits[i]};
        if (top->len < top->count || rt_comes_before(candidate, top->first[top->len - 1])) insert(top, candidate);
    }
}
