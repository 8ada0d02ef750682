// SPDX-License-Identifier: Apache-2.0
// The largest logits of a row.
#ifndef HEDDLE_RUNTIME_TOP_H
#define HEDDLE_RUNTIME_TOP_H

#include "runtime/base/base.h"
#include "runtime/heddle.h"

// The larger logit comes first, of equal ones the lower id.
static inline bool rt_comes_before(HeddleCandidate a, HeddleCandidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// The first `count` (at least 1) of what it is given, in order; len: so many there are.
typedef struct RtTop { HeddleCandidate *first; uint32_t count, len; } RtTop;
// Looks at `number` logits, none of them a NaN, of the ids from `id` on.
void rt_top_add(RtTop *top, int32_t id, const float *logits, uint32_t number);

#endif
