// SPDX-License-Identifier: Apache-2.0
// From logits to the next token. Names, order and meaning are those of llama.cpp's samplers:
//
//   logits ─► penalties ─► top-k ─► top-p ─► min-p ─► temperature ─► random choice
//
// The choice is the Gumbel arg-max: the candidate with the largest logit / temp + G, where G = -log(-log(u)) and u is a
// counter-based random number (Philox4x32-10) keyed by (seed, sequence, position, token id). The result is distributed as the
// softmax of the scaled logits, and depends on nothing else: the same seed gives the same text however tokens are batched.
#ifndef HEDDLE_SAMPLER_H
#define HEDDLE_SAMPLER_H

#include "heddle.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct HeddleSampling {
    float temp;                 // 0: always the largest logit (after penalties), ties to the lowest id
    int32_t top_k;              // only the k largest logits; 0 or less: all
    float top_p;                // of these the fewest that hold this share of the probability; 1: all
    float min_p;                // of these the ones at least this fraction as probable as the first; 0: all
    float repeat_penalty;       // divides positive and multiplies negative logits of tokens seen before; 1: none
    int32_t repeat_last_n;      // how many of the last tokens count as seen; 0: none, -1: all
    float presence_penalty;     // taken from the logit of every token seen
    float frequency_penalty;    // the same, times how often it was seen
    uint64_t seed;
} HeddleSampling;

// What the file suggests (general.sampling.*), else 0.6 / 20 / 0.95 / 0 and no penalties over 64 tokens; seed 0. `weights` may be
// NULL. BAD_DATA names a key of the wrong type or a value out of range.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_sampling_defaults(const HeddleWeights *weights, HeddleSampling *out_sampling);
// USAGE names a value out of range, by llama.cpp's name for it, and the range.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_sampling_check(const HeddleSampling *sampling);

// One sequence's sampler: its settings and the tokens seen so far. Belongs to one thread at a time.
typedef struct HeddleSampler HeddleSampler;
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_sampler_create(const HeddleSampling *sampling, uint32_t vocab,
                                                               HeddleSampler **out_sampler);
HEDDLE_API void heddle_sampler_free(HeddleSampler *sampler);                   // NULL is fine
// Tokens of the sequence, prompt included, in order: what the penalties count. USAGE for an id outside the vocabulary.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_sampler_accept(HeddleSampler *sampler, const int32_t *tokens, uint32_t count);
// Forgets all tokens after the first `count`.
HEDDLE_API void heddle_sampler_rewind(HeddleSampler *sampler, uint64_t count);
// The next token after logits [vocab]: a function of the settings, the tokens accepted, the logits, `sequence` (which of several
// at once) and `position` (of the token that is chosen). Does not accept it. NOT_FINITE when a logit is not a number or +inf.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_sampler_pick(HeddleSampler *sampler, const float *logits, uint32_t sequence,
                                                             uint32_t position, int32_t *out_id);
// How many of the largest logits decide what it picks, whatever the tokens accepted: 1 with temp 0, else top_k; 0: it needs them all, as it has
// penalties or no top_k below the vocabulary. With 1 it picks what heddle_eval_greedy gives.
HEDDLE_API uint32_t heddle_sampler_needs(const HeddleSampler *sampler);
// heddle_sampler_pick by the `count` largest logits, as heddle_eval_top gives them: the same choice to the bit. USAGE when it needs more.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_sampler_pick_top(HeddleSampler *sampler, const HeddleCandidate *candidates, uint32_t count,
                                                                 uint32_t sequence, uint32_t position, int32_t *out_id);

#ifdef __cplusplus
}
#endif

#endif
