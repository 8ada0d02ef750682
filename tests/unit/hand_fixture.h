// SPDX-License-Identifier: Apache-2.0
// The hand-made model opened: weight file, module, model. Included once by each test of the runtime, after cmocka's headers.
#ifndef HEDDLE_TESTS_HAND_FIXTURE_H
#define HEDDLE_TESTS_HAND_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/module.h"
#include "tests/support/hand_program.h"

#define OK(expr) do { HdStatus *ok_ = (expr); if (ok_) fail_msg("%s", hd_status_message(ok_)); } while (0)

typedef struct Hand {
    char path[64];
    HandWeights values;
    HeddleWeights *weights;
    HeddleModule *module;
    HeddleModel *model;
} Hand;

// Fails unless `status` is an error of this code, on one line, that holds `text`; frees it.
static inline void expect(HdStatus *status, HdCode code, const char *text)
{
    if (!status) fail_msg("no error, expected one with \"%s\"", text);
    if (hd_status_code(status) != code || !strstr(hd_status_message(status), text) || strpbrk(hd_status_message(status), "\n\r"))
        fail_msg("%s: \"%s\", expected %s with \"%s\"", hd_code_name(hd_status_code(status)), hd_status_message(status),
                 hd_code_name(code), text);
    hd_status_free(status);
}

static inline HeddleModule *hand_open_module(const HandOptions *options)
{
    HdBuf bytes;
    HeddleModule *module;
    OK(hand_module(options, NULL, &bytes));
    OK(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module));
    hd_buf_free(&bytes);
    return module;
}

typedef struct HandTries { size_t opened, refused; } HandTries;

// Opens changed bytes, from a copy of their exact size so that reading beyond the end is seen, hands what opens to `walk` (may be NULL)
// and counts. A refusal is one line.
static inline void hand_try(const HdBuf *bytes, void (*walk)(HeddleModule *module), HandTries *tries)
{
    HeddleModule *module;
    char *copy = malloc(bytes->len);
    memcpy(copy, bytes->data, bytes->len);
    HdStatus *status = heddle_module_open_memory("m.hdl", copy, bytes->len, &module);
    free(copy);
    *(status ? &tries->refused : &tries->opened) += 1;
    if (status) assert_null(strpbrk(hd_status_message(status), "\n\r"));
    hd_status_free(status);
    if (!status && walk) walk(module);
    if (!status) heddle_module_close(module);
}

// `values` NULL: random weights of `seed`.
static inline void hand_open(Hand *hand, uint32_t seed, const HandWeights *values, const HandOptions *options,
                             const HeddleModelOptions *how)
{
    *hand = (Hand){.path = "test_hand_XXXXXX"};
    close(mkstemp(hand->path));
    hand_weights(&hand->values, seed);
    if (values) hand->values = *values;
    OK(hand_write_weights(hand->path, &hand->values, HAND_CONTEXT, options ? options->big_bytes : 0));
    OK(heddle_weights_open(hand->path, false, &hand->weights));
    hand->module = hand_open_module(options);
    OK(heddle_model_create(hand->module, hand->weights, how, &hand->model));
}

static inline void hand_close(Hand *hand)
{
    heddle_model_free(hand->model);
    heddle_module_close(hand->module);
    heddle_weights_close(hand->weights);
    unlink(hand->path);
}

static inline HeddleSession *hand_session(const Hand *hand, HeddleSessionOptions options)
{
    HeddleSession *session;
    if (!options.threads) options.threads = 2;
    OK(heddle_session_create(hand->model, &options, &session));
    return session;
}

// How far logits may be off, in parts of the row's largest: 0 where a device computes as the CPU does.
static float hand_tolerance;

// The first logit that is further off; HAND_VOCAB: none.
static inline int first_off(const float *row, const float want[HAND_VOCAB])
{
    float largest = 1;
    int v = 0;
    for (int i = 0; i < HAND_VOCAB; i++) largest = fmaxf(largest, fabsf(want[i]));
    while (v < HAND_VOCAB && (hand_tolerance > 0 ? fabsf(row[v] - want[v]) <= hand_tolerance * largest : !memcmp(&row[v], &want[v], sizeof *row))) v++;
    return v;
}

static inline void check_row(const float *row, const float want[HAND_VOCAB])
{
    int v = first_off(row, want);
    if (v < HAND_VOCAB) fail_msg("logit %d is %.9g, expected %.9g", v, (double)row[v], (double)want[v]);
}

// Are `rows` logits rows those after each of the last `rows` of count tokens?
static inline void check_logits(const Hand *hand, const int32_t *tokens, uint32_t count, const float *logits, uint32_t rows)
{
    assert_non_null(logits);
    for (uint32_t r = 0; r < rows; r++) {
        float want[HAND_VOCAB];
        hand_logits(&hand->values, tokens, count - rows + r + 1, want);
        check_row(logits + r * HAND_VOCAB, want);
    }
}

// Appends tokens to a slot and compares the logits after the last with a computation from the beginning.
static inline void append_and_check(const Hand *hand, HeddleSession *session, uint32_t slot, const int32_t *all, uint32_t done,
                                    uint32_t count)
{
    uint64_t rows;
    OK(heddle_eval(session, &(HeddlePiece){.slot = slot, .tokens = all + done, .count = count, .logits = HEDDLE_LOGITS_LAST}, 1));
    const float *logits = heddle_logits(session, &rows);
    assert_int_equal(rows, 1);
    check_logits(hand, all, done + count, logits, 1);
}

static inline void random_tokens(int32_t *tokens, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)(seed >> 16) % HAND_VOCAB;
    }
}

#endif
