// SPDX-License-Identifier: Apache-2.0
// Inside of the sampler.
#ifndef HEDDLE_SAMPLER_INTERNAL_H
#define HEDDLE_SAMPLER_INTERNAL_H

#include "runtime/base/base.h"
#include "runtime/sampler.h"
#include "runtime/top.h"

// ---- philox.c --------------------------------------------------------------------------------------------------

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random words for a counter and key.
void sm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out_words[4]);
// A sample of the standard Gumbel distribution for this token; 53 random bits.
double sm_gumbel(uint64_t seed, uint32_t sequence, uint32_t position, uint32_t id);

// ---- candidates.c ----------------------------------------------------------------------------------------------

// The tokens that are left to choose from. heap: those not looked at yet, the largest first (a binary heap); kept: the chosen ones.
typedef struct SmCandidates { HeddleCandidate *heap, *kept; size_t heap_len, kept_len; } SmCandidates;

// All tokens with their penalties applied. counts [vocab]: how often each was seen; NULL: none was.
HD_MUST_USE HdStatus *sm_fill(const HeddleSampling *sampling, const float *logits, uint32_t vocab, const uint32_t *counts,
                              SmCandidates *candidates);
// The given ones, of which there are at most as many as there is room for.
void sm_take(const HeddleCandidate *given, size_t count, SmCandidates *candidates);
// Applies top-k, top-p and min-p: what is left is candidates->kept, unordered when all of them are. `vocab`: of all logits, of which the candidates
// are the largest.
void sm_filter(const HeddleSampling *sampling, uint32_t vocab, SmCandidates *candidates);
// The largest logit, ties to the lowest id; at least one candidate must be in the heap.
HeddleCandidate sm_largest(const SmCandidates *candidates);

#endif
