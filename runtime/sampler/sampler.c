// SPDX-License-Identifier: Apache-2.0
// The sampler's settings, the tokens it has seen, and the choice.
#include "runtime/sampler/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/gguf.h"

// ---- settings --------------------------------------------------------------------------------------------------

typedef enum Kind { REAL, NUMBER } Kind;
static const struct {
    const char *name, *key;
    Kind kind;
    size_t offset;
    double initial, low, high;
} settings[] = {
#define SAMPLING(name, kind, initial, low, high, key, help) {#name, key, kind, offsetof(HeddleSampling, name), initial, low, high},
#include "runtime/sampler/sampling.def"
#undef SAMPLING
};

static void put(HeddleSampling *sampling, size_t i, double value)
{
    void *place = (char *)sampling + settings[i].offset;
    if (settings[i].kind == REAL) *(float *)place = (float)value;
    else *(int32_t *)place = (int32_t)value;
}

static double get(const HeddleSampling *sampling, size_t i)
{
    const void *place = (const char *)sampling + settings[i].offset;
    return settings[i].kind == REAL ? (double)*(const float *)place : *(const int32_t *)place;
}

static bool in_range(size_t i, double value)
{
    return value >= settings[i].low && value <= settings[i].high;   // false for a NaN
}

HeddleStatus *heddle_sampling_check(const HeddleSampling *sampling)
{
    for (size_t i = 0; i < HD_COUNT(settings); i++)
        if (!in_range(i, get(sampling, i)))
            return hd_error(HD_USAGE, "%s %g: expected a number from %g to %g", settings[i].name, get(sampling, i), settings[i].low,
                            settings[i].high);
    return NULL;
}

static HdStatus *read_suggestion(const GgufFile *file, size_t i, HeddleSampling *sampling)
{
    double number;
    const GgufValue *value = settings[i].key ? gguf_find_key(file, settings[i].key) : NULL;
    if (!value) return NULL;
    if (!gguf_scalar_f64(value, &number) || !in_range(i, number) || (settings[i].kind == NUMBER && number != floor(number)))
        return hd_error(HD_BAD_DATA, "%s: key %s: expected %s from %g to %g", gguf_path(file), settings[i].key,
                        settings[i].kind == NUMBER ? "a whole number" : "a number", settings[i].low, settings[i].high);
    put(sampling, i, number);
    return NULL;
}

HeddleStatus *heddle_sampling_defaults(const HeddleWeights *weights, HeddleSampling *out_sampling)
{
    HeddleSampling sampling = {0};
    for (size_t i = 0; i < HD_COUNT(settings); i++) {
        put(&sampling, i, settings[i].initial);
        if (weights) HD_TRY(read_suggestion(heddle_weights_gguf(weights), i, &sampling));
    }
    *out_sampling = sampling;
    return NULL;
}

// ---- tokens seen -----------------------------------------------------------------------------------------------

struct HeddleSampler {
    HeddleSampling sampling;
    uint32_t vocab;
    HD_VEC(int32_t) tokens;
    uint32_t *counts;                // [vocab]: of the last repeat_last_n tokens
    SmCandidates candidates;
};

HeddleStatus *heddle_sampler_create(const HeddleSampling *sampling, uint32_t vocab, HeddleSampler **out_sampler)
{
    HD_TRY(heddle_sampling_check(sampling));
    if (!vocab) return hd_error(HD_USAGE, "a sampler needs a vocabulary of at least one token");
    HeddleSampler *sampler = hd_xcalloc(1, sizeof *sampler);
    sampler->sampling = *sampling;
    sampler->vocab = vocab;
    sampler->counts = hd_xcalloc(vocab, sizeof *sampler->counts);
    sampler->candidates.heap = hd_xcalloc(vocab, sizeof(HeddleCandidate));
    sampler->candidates.kept = hd_xcalloc(vocab, sizeof(HeddleCandidate));
    *out_sampler = sampler;
    return NULL;
}

void heddle_sampler_free(HeddleSampler *sampler)
{
    if (!sampler) return;
    hd_vec_free(&sampler->tokens);
    free(sampler->counts);
    free(sampler->candidates.heap);
    free(sampler->candidates.kept);
    free(sampler);
}

static size_t window(const HeddleSampler *sampler)
{
    return sampler->sampling.repeat_last_n < 0 ? SIZE_MAX : (size_t)sampler->sampling.repeat_last_n;
}

HeddleStatus *heddle_sampler_accept(HeddleSampler *sampler, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= sampler->vocab)
            return hd_error(HD_USAGE, "token %" PRId32 "; the vocabulary has 0 to %" PRIu32, tokens[i], sampler->vocab - 1);
    size_t last_n = window(sampler);
    for (uint32_t i = 0; i < count; i++) {
        hd_vec_push(&sampler->tokens, tokens[i]);
        sampler->counts[tokens[i]]++;
        if (sampler->tokens.len > last_n) sampler->counts[sampler->tokens.data[sampler->tokens.len - 1 - last_n]]--;
    }
    return NULL;
}

void heddle_sampler_rewind(HeddleSampler *sampler, uint64_t count)
{
    size_t last_n = window(sampler);
    while (sampler->tokens.len > count) {
        if (sampler->tokens.len > last_n) sampler->counts[sampler->tokens.data[sampler->tokens.len - 1 - last_n]]++;
        sampler->counts[sampler->tokens.data[--sampler->tokens.len]]--;
    }
}

// ---- the choice ------------------------------------------------------------------------------------------------

static bool penalises(const HeddleSampling *s)
{
    return s->repeat_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0;
}

uint32_t heddle_sampler_needs(const HeddleSampler *sampler)
{
    const HeddleSampling *s = &sampler->sampling;
    if (penalises(s)) return 0;
    return s->temp == 0 ? 1 : s->top_k > 0 && (uint32_t)s->top_k < sampler->vocab ? (uint32_t)s->top_k : 0;
}

static int32_t choose(const HeddleSampler *sampler, uint32_t sequence, uint32_t position)
{
    const SmCandidates *c = &sampler->candidates;
    double best = -INFINITY;
    int32_t id = c->kept[0].id;
    for (size_t i = 0; i < c->kept_len; i++) {
        double score = (double)c->kept[i].logit / (double)sampler->sampling.temp +
                       sm_gumbel(sampler->sampling.seed, sequence, position, (uint32_t)c->kept[i].id);
        if (score > best || (score == best && c->kept[i].id < id)) best = score, id = c->kept[i].id;
    }
    return id;
}

// Of the candidates in the heap.
static int32_t pick(HeddleSampler *sampler, uint32_t sequence, uint32_t position)
{
    if (sampler->sampling.temp == 0) return sm_largest(&sampler->candidates).id;
    sm_filter(&sampler->sampling, sampler->vocab, &sampler->candidates);
    return choose(sampler, sequence, position);
}

HeddleStatus *heddle_sampler_pick(HeddleSampler *sampler, const float *logits, uint32_t sequence, uint32_t position,
                                  int32_t *out_id)
{
    const HeddleSampling *sampling = &sampler->sampling;
    HD_TRY(sm_fill(sampling, logits, sampler->vocab, penalises(sampling) ? sampler->counts : NULL, &sampler->candidates));
    *out_id = pick(sampler, sequence, position);
    return NULL;
}

HeddleStatus *heddle_sampler_pick_top(HeddleSampler *sampler, const HeddleCandidate *candidates, uint32_t count, uint32_t sequence,
                                      uint32_t position, int32_t *out_id)
{
    uint32_t needs = heddle_sampler_needs(sampler);
    if (!needs || needs > count)
        return hd_error(HD_USAGE, "the %" PRIu32 " largest logits are given; this sampler needs %" PRIu32, count, needs ? needs : sampler->vocab);
    sm_take(candidates, needs, &sampler->candidates);
    *out_id = pick(sampler, sequence, position);
    return NULL;
}
