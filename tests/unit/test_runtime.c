// SPDX-License-Identifier: Apache-2.0
// The runtime over the hand-made model on the CPU: the suite of all devices, and what only the CPU or no device at all has.
#include "tests/unit/suite_eval.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Kernels run with the default rounding and with subnormal numbers, whatever the caller has set; the caller finds its own setting
// again.
static void the_callers_float_mode_does_not_matter(void **state)
{
    (void)state;
#if defined(__x86_64__)
    enum { UPWARDS_AND_FLUSHING = 0x1f80 | 0x4000 | 0x8040 };
    for (uint32_t threads = 1; threads <= 2; threads++) {
        HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.threads = threads});
        uint64_t rows;
        const HeddlePiece piece = {.tokens = text[0], .count = LENGTH, .logits = HEDDLE_LOGITS_ALL};
        _mm_setcsr(UPWARDS_AND_FLUSHING);
        HdStatus *status = heddle_eval(session, &piece, 1);
        unsigned int left = _mm_getcsr() & ~0x3fu;           // without the flags of what happened
        _mm_setcsr(0x1f80);
        OK(status);
        assert_int_equal(left, UPWARDS_AND_FLUSHING);
        check_logits(&hand, text[0], LENGTH, heddle_logits(session, &rows), LENGTH);
        heddle_session_free(session);
    }
#endif
}

static void sessions_that_cannot_be(void **state)
{
    (void)state;
    HeddleSession *session;
    expect(heddle_session_create(hand.model, &(HeddleSessionOptions){.context = 65}, &session), HD_LIMIT, "m.hdl takes 1 to 64");
    expect(heddle_session_create(hand.model, &(HeddleSessionOptions){.context = -7}, &session), HD_USAGE, "context of -7 tokens");
    expect(heddle_session_create(hand.model, &(HeddleSessionOptions){.threads = 513}, &session), HD_USAGE, "513 threads");
    expect(heddle_session_create(hand.model, &(HeddleSessionOptions){.planes = INT32_MAX, .slots = INT32_MAX}, &session),
           HD_NO_MEMORY, "memory");
    expect(heddle_session_create(hand.model, &(HeddleSessionOptions){.planes = 1 << 30, .slots = 1 << 20}, &session),
           HD_NO_MEMORY, "bytes");
    OK(heddle_session_create(hand.model, &(HeddleSessionOptions){.context = HEDDLE_CONTEXT_MODEL}, &session));
    assert_int_equal(heddle_session_context(session), HAND_CONTEXT);
    assert_int_equal(heddle_session_threads(session), heddle_default_threads());
    heddle_session_free(session);
}

static void argmax_takes_the_lowest(void **state)
{
    (void)state;
    int32_t id = -1;
    OK(heddle_argmax((const float[]){-2, 3, 1, 3}, 4, &id));
    assert_int_equal(id, 1);
    OK(heddle_argmax((const float[]){-INFINITY, -INFINITY}, 2, &id));
    assert_int_equal(id, 0);
    expect(heddle_argmax((const float[]){1, NAN, 7}, 3, &id), HD_NOT_FINITE, "logit 1 of 3");
    expect(heddle_argmax(NULL, 0, &id), HD_USAGE, "no logits");
}

// Numbers of runs come from a device: here from what happens to stand there.
static void runs_that_are_not_there(void **state)
{
    (void)state;
    const HandOptions options = {.top = 1};
    uint32_t good = 0, refused = 0;
    Hand odd;
    hand_open(&odd, 1, NULL, &options, NULL);
    HeddleSession *session = hand_session(&odd, (HeddleSessionOptions){0});
    for (int32_t token = 0; token < HAND_VOCAB; token++) {
        const HeddlePiece piece = {.tokens = &token, .count = 1, .logits = HEDDLE_LOGITS_LAST};
        float want[HAND_VOCAB];
        HeddleCandidate top[3];
        OK(heddle_slot_reset(session, 0));
        HdStatus *status = heddle_eval_top(session, &piece, 1, 3, top);
        hand_logits(&odd.values, &token, 1, want);
        if (status) refused++, expect(status, HD_INTERNAL, "of a row of logits, which has 0 to 0");
        else good++;
        for (int i = 0; !status && i < 3; i++) assert_true(top[i].logit == want[top[i].id] && (!i || top[i].logit <= top[i - 1].logit));
    }
    assert_true(good && refused && good + refused == HAND_VOCAB);
    heddle_session_free(session);
    hand_close(&odd);
}

// ---- memory, the null device -----------------------------------------------------------------------------------

static void memory_is_told_to_the_byte(void **state)
{
    (void)state;
    HeddleMemory plan, memory;
    HeddleSessionOptions options = {.context = 33, .slots = 3, .planes = 2, .threads = 2};
    OK(heddle_memory_plan(hand.module, &options, &plan));
    HeddleSession *session = hand_session(&hand, options);
    heddle_session_memory(session, &memory);
    assert_memory_equal(&plan, &memory, sizeof plan);
    assert_int_equal(memory.weights_mapped, HAND_VOCAB * HAND_DIM * 4);         // embed; `out` is only read when packing
    assert_int_equal(memory.weights_packed, HAND_VOCAB * HAND_DIM * 4);
    assert_int_equal(memory.append_per_slot, 33 * 32 + 32);                     // 1056 to the next multiple of 64
    assert_int_equal(memory.recurrent_per_slot, 2 * 64);
    assert_int_equal(memory.state, 3 * (1088 + 128));
    assert_int_equal(memory.scratch, 2 * (128 + 64));
    assert_int_equal(memory.arena, HAND_T * (3 * HAND_DIM + 2 * HAND_WIDE) * 4 + HAND_R * HAND_VOCAB * 4);
    uint64_t weights = memory.weights_mapped + memory.weights_packed;
    assert_int_equal(memory.total, weights + memory.state + memory.scratch + memory.arena + memory.inputs + memory.rope);
    assert_int_equal(memory.rope, 33 * hand.module->rope_n * 4);
    heddle_session_free(session);
    assert_true(heddle_memory_available() > 1 << 20);
}

static void the_null_device_walks_everything(void **state)
{
    (void)state;
    HeddleModule *module = hand_open_module(NULL);
    HeddleModel *model;
    HeddleSession *session;
    uint64_t rows, columns;
    OK(heddle_model_create(module, NULL, &(HeddleModelOptions){.device = "null"}, &model));
    OK(heddle_session_create(model, &(HeddleSessionOptions){.slots = 2, .threads = 4}, &session));
    OK(heddle_keep_result(session, "chain"));
    OK(heddle_eval(session, &(HeddlePiece){.slot = 1, .tokens = text[0], .count = LENGTH, .logits = HEDDLE_LOGITS_ALL}, 1));
    const float *logits = heddle_logits(session, &rows), *chain = heddle_result(session, "chain", NULL, &columns);
    assert_int_equal(rows, LENGTH);
    for (uint32_t i = 0; i < LENGTH * HAND_VOCAB; i++) assert_true(logits[i] == 0);
    for (uint32_t i = 0; i < LENGTH * columns; i++) assert_true(chain[i] == 0);
    expect(heddle_eval(session, &(HeddlePiece){.slot = 1, .tokens = text[0], .count = 4}, 1), HD_LIMIT, "context full");
    expect(heddle_pack_save(model, "never"), HD_USAGE, "no packed weights");
    heddle_session_free(session);
    heddle_model_free(model);
    expect(heddle_model_create(module, NULL, NULL, &model), HD_USAGE, "needs a weight file");
    heddle_module_close(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_EVAL,
        cmocka_unit_test(the_callers_float_mode_does_not_matter),
        cmocka_unit_test(sessions_that_cannot_be),
        cmocka_unit_test(argmax_takes_the_lowest),
        cmocka_unit_test(runs_that_are_not_there),
        cmocka_unit_test(memory_is_told_to_the_byte),
        cmocka_unit_test(the_null_device_walks_everything),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
