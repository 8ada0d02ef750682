// SPDX-License-Identifier: Apache-2.0
// The sampler against plain re-computations, published vectors and the distribution it promises.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/gguf.h"
#include "runtime/sampler/internal.h"

static void ok(HeddleStatus *status)
{
    if (status) fail_msg("%s", heddle_status_message(status));
}

static void refused(HeddleStatus *status, HeddleCode code, const char *text)
{
    assert_non_null(status);
    assert_int_equal(heddle_status_code(status), code);
    if (!strstr(heddle_status_message(status), text)) fail_msg("\"%s\" lacks \"%s\"", heddle_status_message(status), text);
    heddle_status_free(status);
}

static HeddleSampling plain(void) { return (HeddleSampling){.temp = 1, .top_p = 1, .repeat_penalty = 1}; }

static uint64_t lcg_state;
static double uniform(void)
{
    lcg_state = lcg_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(lcg_state >> 11) * 0x1p-53;
}

static void random_logits(float *logits, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) logits[i] = (float)(uniform() * 12 - 6);
}

// ---- random numbers --------------------------------------------------------------------------------------------

// Vectors that the authors of Philox publish with their library (Random123, kat_vectors, "philox4x32 10").
static void philox_vectors(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } vectors[] = {
        {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < HD_COUNT(vectors); i++) {
        uint32_t words[4];
        sm_philox(vectors[i].counter, vectors[i].key, words);
        assert_memory_equal(words, vectors[i].want, sizeof words);
    }
}

// Mean (Euler's constant) and variance (pi^2 / 6) of the Gumbel distribution, over each part of the key alone.
static void gumbel_moments(void **state)
{
    enum { N = 200000 };
    (void)state;
    for (int part = 0; part < 4; part++) {
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < N; i++) {
            double g = sm_gumbel(part == 0 ? i : 7, part == 1 ? i : 0, part == 2 ? i : 3, part == 3 ? i : 5);
            sum += g, squares += g * g;
        }
        double mean = sum / N, variance = squares / N - mean * mean;
        assert_true(fabs(mean - 0.5772156649) < 0.015);
        assert_true(fabs(variance - 1.6449340668) < 0.04);
    }
}

// ---- filters, against the definition -----------------------------------------------------------------------------

typedef struct Naive {
    int id;
    float logit;
    double p;
} Naive;

static int falling(const void *a, const void *b)
{
    const Naive *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id - y->id;
}

static void normalise(Naive *list, size_t len)
{
    double total = 0;
    for (size_t i = 0; i < len; i++) total += list[i].p = exp((double)list[i].logit);
    for (size_t i = 0; i < len; i++) list[i].p /= total;
}

// The definitions, one after another over a list that is sorted as a whole.
static size_t naive_filter(const HeddleSampling *s, Naive *list, size_t len)
{
    qsort(list, len, sizeof *list, falling);
    if (s->top_k > 0 && (size_t)s->top_k < len) len = (size_t)s->top_k;
    normalise(list, len);
    double sum = 0;
    for (size_t i = 0; i < len && s->top_p < 1; i++) {
        sum += list[i].p;
        if (sum >= (double)s->top_p) len = i + 1;
    }
    normalise(list, len);
    while (len > 1 && list[len - 1].p < (double)s->min_p * list[0].p) len--;
    return len;
}

static int by_id(const void *a, const void *b) { return ((const HeddleCandidate *)a)->id - ((const HeddleCandidate *)b)->id; }
static int naive_by_id(const void *a, const void *b) { return ((const Naive *)a)->id - ((const Naive *)b)->id; }

static void check_filter(const HeddleSampling *s, const float *logits, uint32_t vocab)
{
    HeddleCandidate heap[300], kept[300];
    Naive list[300];
    SmCandidates c = {heap, kept, 0, 0};
    for (uint32_t i = 0; i < vocab; i++) list[i] = (Naive){(int)i, logits[i], 0};
    size_t len = naive_filter(s, list, vocab);
    ok(sm_fill(s, logits, vocab, NULL, &c));
    sm_filter(s, vocab, &c);
    assert_int_equal(c.kept_len, len);
    qsort(kept, len, sizeof *kept, by_id);
    qsort(list, len, sizeof *list, naive_by_id);
    for (size_t i = 0; i < len; i++) assert_int_equal(kept[i].id, list[i].id);
}

static void filters_match_their_definitions(void **state)
{
    static const int32_t ks[] = {0, -1, 1, 2, 20, 299, 300, 1000};
    static const float ps[] = {1, 0.99f, 0.95f, 0.5f, 0.1f, 0}, mins[] = {0, 0.01f, 0.05f, 0.3f, 1};
    float logits[300];
    (void)state;
    lcg_state = 1;
    for (uint32_t vocab = 1; vocab <= 300; vocab += 23)
        for (size_t k = 0; k < HD_COUNT(ks); k++)
            for (size_t p = 0; p < HD_COUNT(ps); p++)
                for (size_t m = 0; m < HD_COUNT(mins); m++) {
                    HeddleSampling s = {.temp = 1, .top_k = ks[k], .top_p = ps[p], .min_p = mins[m], .repeat_penalty = 1};
                    random_logits(logits, vocab);
                    check_filter(&s, logits, vocab);
                }
}

// Equal logits: the lower ids stay.
static void ties(void **state)
{
    float logits[300];
    HeddleSampling s = {.temp = 1, .top_k = 20, .top_p = 1, .repeat_penalty = 1};
    (void)state;
    for (int i = 0; i < 300; i++) logits[i] = i % 7 ? 1.0f : 2.0f;
    check_filter(&s, logits, 300);
}

// ---- penalties ---------------------------------------------------------------------------------------------------

static uint32_t count_seen(const int32_t *tokens, size_t len, int32_t last_n, int32_t id)
{
    uint32_t seen = 0;
    size_t from = last_n < 0 || (size_t)last_n > len ? 0 : len - (size_t)last_n;
    for (size_t i = from; i < len; i++) seen += tokens[i] == id;
    return seen;
}

static int32_t naive_penalised_best(const HeddleSampling *s, const float *logits, uint32_t vocab, const int32_t *tokens, size_t len)
{
    int32_t best = 0;
    float best_logit = -INFINITY;
    for (uint32_t i = 0; i < vocab; i++) {
        uint32_t seen = count_seen(tokens, len, s->repeat_last_n, (int32_t)i);
        float logit = logits[i];
        if (seen) {
            if (logit <= 0) logit *= s->repeat_penalty;
            else logit /= s->repeat_penalty;
            logit -= (float)seen * s->frequency_penalty + s->presence_penalty;
        }
        if (logit > best_logit) best_logit = logit, best = (int32_t)i;
    }
    return best;
}

// Greedy choice with penalties after every token, forwards and, by rewinding, backwards.
static void penalties_count_the_last_tokens(void **state)
{
    enum { VOCAB = 12, STEPS = 60 };
    static const int32_t windows[] = {0, 1, 5, 64, -1};
    (void)state;
    for (size_t w = 0; w < HD_COUNT(windows); w++) {
        HeddleSampling s = {.top_p = 1, .repeat_penalty = 1.3f, .repeat_last_n = windows[w], .presence_penalty = 0.4f,
                            .frequency_penalty = 0.25f};
        HeddleSampler *sampler;
        int32_t tokens[STEPS], picked[STEPS], id;
        float logits[STEPS][VOCAB];
        lcg_state = w;
        ok(heddle_sampler_create(&s, VOCAB, &sampler));
        for (size_t i = 0; i < STEPS; i++) {
            random_logits(logits[i], VOCAB);
            ok(heddle_sampler_pick(sampler, logits[i], 0, (uint32_t)i, &picked[i]));
            assert_int_equal(picked[i], naive_penalised_best(&s, logits[i], VOCAB, tokens, i));
            tokens[i] = (int32_t)(uniform() * VOCAB);
            ok(heddle_sampler_accept(sampler, &tokens[i], 1));
        }
        for (size_t i = STEPS; i-- > 0;) {
            heddle_sampler_rewind(sampler, i);
            ok(heddle_sampler_pick(sampler, logits[i], 0, (uint32_t)i, &id));
            assert_int_equal(id, picked[i]);
        }
        heddle_sampler_free(sampler);
    }
}

// ---- the choice --------------------------------------------------------------------------------------------------

// How often each token is chosen over many positions, against the softmax of what the filters leave (chi-square, 99.99 %).
static void choices_follow_the_softmax(void **state)
{
    enum { VOCAB = 8, N = 40000 };
    static const float logits[VOCAB] = {1, 0.5f, 0, -0.5f, 1.5f, -1, 2, -2};
    HeddleSampling s = {.temp = 0.7f, .top_k = 6, .top_p = 1, .repeat_penalty = 1, .seed = 42};
    HeddleSampler *sampler;
    double p[VOCAB], total = 0, chi = 0;
    int counts[VOCAB] = {0};
    (void)state;
    for (int i = 0; i < VOCAB; i++) total += p[i] = i == 5 || i == 7 ? 0 : exp((double)logits[i] / 0.7);
    ok(heddle_sampler_create(&s, VOCAB, &sampler));
    for (uint32_t i = 0; i < N; i++) {
        int32_t id;
        ok(heddle_sampler_pick(sampler, logits, i % 3, i / 3, &id));
        counts[id]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        double want = N * p[i] / total;
        if (p[i] == 0) assert_int_equal(counts[i], 0);
        else chi += (counts[i] - want) * (counts[i] - want) / want;
    }
    assert_true(chi < 25.7);   // 5 degrees of freedom
    heddle_sampler_free(sampler);
}

// The same key, the same token; another seed, sequence or position, another draw.
static void choices_are_a_function_of_the_key(void **state)
{
    enum { VOCAB = 1000, N = 200 };
    float logits[VOCAB] = {0};
    int same[3] = {0};
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        HeddleSampling s = plain(), other = plain();
        HeddleSampler *a, *b;
        int32_t id, again, ids[3];
        s.seed = 5, other.seed = 6;
        ok(heddle_sampler_create(&s, VOCAB, &a));
        ok(heddle_sampler_create(&other, VOCAB, &b));
        ok(heddle_sampler_pick(a, logits, 0, i, &id));
        ok(heddle_sampler_pick(a, logits, 1, i, &ids[0]));
        ok(heddle_sampler_pick(a, logits, 0, i + 1000, &ids[1]));
        ok(heddle_sampler_pick(b, logits, 0, i, &ids[2]));
        ok(heddle_sampler_pick(a, logits, 0, i, &again));
        assert_int_equal(id, again);
        for (int k = 0; k < 3; k++) same[k] += ids[k] == id;
        heddle_sampler_free(a);
        heddle_sampler_free(b);
    }
    for (int k = 0; k < 3; k++) assert_true(same[k] < 10);
}

// ---- settings and refusals -----------------------------------------------------------------------------------------

static HeddleWeights *weights_with(void (*add)(GgufWriter *))
{
    HeddleWeights *weights;
    GgufWriter *writer = gguf_writer_new("qwen35");
    add(writer);
    ok(gguf_writer_save(writer, "sampler.gguf"));
    gguf_writer_free(writer);
    ok(heddle_weights_open("sampler.gguf", false, &weights));
    unlink("sampler.gguf"); // mapped
    return weights;
}

static void good_keys(GgufWriter *writer)
{
    gguf_writer_f32(writer, "general.sampling.temp", 1);
    gguf_writer_u32(writer, "general.sampling.top_k", 40);
    gguf_writer_u32(writer, "general.sampling.top_p", 1);   // whole numbers are numbers
}
static void bad_type(GgufWriter *writer) { gguf_writer_string(writer, "general.sampling.top_k", HD_STR("40")); }
static void bad_value(GgufWriter *writer) { gguf_writer_f32(writer, "general.sampling.top_p", 1.5f); }

static void defaults_come_from_the_file(void **state)
{
    HeddleSampling s;
    (void)state;
    ok(heddle_sampling_defaults(NULL, &s));
    assert_true(s.temp == 0.6f && s.top_k == 20 && s.top_p == 0.95f && s.min_p == 0 && s.repeat_penalty == 1 && s.repeat_last_n == 64);
    HeddleWeights *weights = weights_with(good_keys);
    ok(heddle_sampling_defaults(weights, &s));
    assert_true(s.temp == 1 && s.top_k == 40 && s.top_p == 1 && s.min_p == 0);
    heddle_weights_close(weights);
    weights = weights_with(bad_type);
    refused(heddle_sampling_defaults(weights, &s), HEDDLE_BAD_DATA, "general.sampling.top_k");
    heddle_weights_close(weights);
    weights = weights_with(bad_value);
    refused(heddle_sampling_defaults(weights, &s), HEDDLE_BAD_DATA, "from 0 to 1");
    heddle_weights_close(weights);
}

static void refusals(void **state)
{
    float logits[4] = {0, NAN, 0, 0};
    HeddleSampler *sampler;
    HeddleSampling s = plain();
    int32_t id;
    (void)state;
    s.temp = -1;
    refused(heddle_sampler_create(&s, 4, &sampler), HEDDLE_USAGE, "temp");
    s.temp = NAN;
    refused(heddle_sampler_create(&s, 4, &sampler), HEDDLE_USAGE, "temp");
    s = plain();
    refused(heddle_sampler_create(&s, 0, &sampler), HEDDLE_USAGE, "vocabulary");
    ok(heddle_sampler_create(&s, 4, &sampler));
    refused(heddle_sampler_pick(sampler, logits, 0, 0, &id), HEDDLE_NOT_FINITE, "logit 1 of 4");
    logits[1] = INFINITY;
    refused(heddle_sampler_pick(sampler, logits, 0, 0, &id), HEDDLE_NOT_FINITE, "logit 1 of 4");
    logits[1] = -INFINITY;
    for (uint32_t i = 0; i < 100; i++) {
        ok(heddle_sampler_pick(sampler, logits, 0, i, &id));
        assert_int_not_equal(id, 1);
    }
    refused(heddle_sampler_accept(sampler, (int32_t[]){4}, 1), HEDDLE_USAGE, "token 4");
    heddle_sampler_free(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_vectors), cmocka_unit_test(gumbel_moments), cmocka_unit_test(filters_match_their_definitions),
        cmocka_unit_test(ties), cmocka_unit_test(penalties_count_the_last_tokens), cmocka_unit_test(choices_follow_the_softmax),
        cmocka_unit_test(choices_are_a_function_of_the_key), cmocka_unit_test(defaults_come_from_the_file), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
