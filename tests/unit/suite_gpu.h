// SPDX-License-Identifier: Apache-2.0
// What the tests of all GPU devices share.
#ifndef HEDDLE_TESTS_SUITE_GPU_H
#define HEDDLE_TESTS_SUITE_GPU_H

#include "tests/unit/suite.h"

#include <pthread.h>

#include "runtime/device/gpu_queue.h"
#include "runtime/runtime.h"

static HdStatus *eval_one(HeddleSession *session, int32_t token)
{
    return heddle_eval(session, &(HeddlePiece){.tokens = &token, .count = 1, .logits = HEDDLE_LOGITS_LAST}, 1);
}

static HeddleModule *open_variants(const HdBuf *parts, uint32_t count)
{
    HdBuf bytes = {0};
    HeddleModule *module;
    OK(cg_module_join(parts, count, &bytes));
    OK(heddle_module_open_memory("m.hdl", bytes.data, bytes.len, &module));
    hd_buf_free(&bytes);
    return module;
}

// Does an evaluation record anything?
typedef bool RecordsOf(HeddleSession *session, const int32_t *tokens, uint32_t count, HeddleLogits logits);

// As many shapes as are kept: each number of tokens, without and with a row of logits. One more takes the place of that used longest ago.
static void check_kept_shapes(RecordsOf *records)
{
    _Static_assert(GPU_MOST_SHAPES == 2 * HAND_T, "the first loop fills all places");
    static const struct { uint32_t count; HeddleLogits logits; bool is_new; } more[] = {
        {1, HEDDLE_LOGITS_NONE, false}, {2, HEDDLE_LOGITS_ALL, true}, {1, HEDDLE_LOGITS_NONE, false}, {2, HEDDLE_LOGITS_NONE, false},
        {2, HEDDLE_LOGITS_ALL, false}, {1, HEDDLE_LOGITS_LAST, true}, {2, HEDDLE_LOGITS_LAST, true}};
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    for (uint32_t count = 1; count <= HAND_T; count++)
        for (int last = 0; last < 2; last++) {
            OK(heddle_slot_reset(session, 0));
            assert_true(records(session, text[0], count, last ? HEDDLE_LOGITS_LAST : HEDDLE_LOGITS_NONE));
        }
    for (size_t i = 0; i < HD_COUNT(more); i++) {
        OK(heddle_slot_reset(session, 0));
        assert_int_equal(records(session, text[0], more[i].count, more[i].logits), more[i].is_new);
    }
    append_and_check(&hand, session, 0, text[0], 2, 5);
    heddle_session_free(session);
}

static void the_plan_counts_work_groups(void **state)
{
    (void)state;
    HeddleMemory memory;
    OK(heddle_memory_plan(hand.module, NULL, &memory));
    assert_int_equal(memory.scratch, 96 * HEDDLE_GPU_MAX_GROUPS);            // 6 MB: all groups that can be
    assert_int_equal(rt_group_scratch(1 << 20), 32 << 20);                   // 32 groups of 1 MiB
    assert_int_equal(rt_group_scratch(40 << 20), 40 << 20);
    assert_int_equal(rt_group_scratch(0), 0);
}

// on: launches only tell how many work groups they are given, in `groups`.
typedef void CountGroups(bool on);
static uint32_t groups;

// Work groups that a launch of so many units and so much scratch is given.
static uint32_t groups_of(HeddleSession *session, CountGroups *count, int64_t units, uint32_t scratch)
{
    enum { RECUR = 3 };
    const RtClass *class = &hand.module->classes[1];
    uint32_t *bytes = (uint32_t *)(uintptr_t)&class->launches[RECUR].scratch, saved = *bytes;
    count(true);
    *bytes = scratch;
    HdStatus *status = hand.model->device->type->launch(session->queue, class, RECUR, 0, units);
    *bytes = saved;
    count(false);
    OK(status);
    return groups;
}

static void check_groups(CountGroups *count)
{
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    assert_int_equal(groups_of(session, count, 7, 64), 7);
    assert_int_equal(groups_of(session, count, 65535, 0), 65535);
    assert_int_equal(groups_of(session, count, (int64_t)1 << 33, 0), 65535);
    assert_int_equal(groups_of(session, count, 1000, 1 << 20), 5);   // of 96 * 65535 bytes
    heddle_session_free(session);
}

static void poison_is_there(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.poison = true});
    const RtDeviceType *type = hand.model->device->type;
    const RtBuffer *arena = type->arena(session->queue);
    uint32_t last, zero = 0;
    for (int i = 0; i < 2; i++) {                            // recorded, and run once more
        OK(type->memory->write(hand.model->device, arena, arena->bytes - 4, &zero, 4));
        OK(eval_one(session, 1));                            // needs less of the arena than a longer step
        OK(type->memory->read(hand.model->device, arena, arena->bytes - 4, 4, &last));
        assert_int_equal(last, UINT32_MAX);
    }
    heddle_session_free(session);
}

static void *evaluate_apart(void *out_ok)
{
    HeddleSession *session;
    float want[HAND_VOCAB];
    hand_logits(&hand.values, text[0], 20, want);
    bool ok = !heddle_session_create(hand.model, NULL, &session);
    for (int round = 0; round < 5 && ok; round++) {
        for (uint32_t i = 0; i < 20 && ok; i++) {
            HdStatus *status = eval_one(session, text[0][i]);
            ok = !status;
            hd_status_free(status);
        }
        ok = ok && first_off(heddle_logits(session, &(uint64_t){0}), want) == HAND_VOCAB && !heddle_slot_reset(session, 0);
    }
    heddle_session_free(session);
    *(bool *)out_ok = ok;
    return NULL;
}

// Sessions in threads of their own share the device, its queue or context, and its staging buffer.
static void sessions_run_side_by_side(void **state)
{
    (void)state;
    pthread_t threads[3];
    bool ok[3] = {false};
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, evaluate_apart, &ok[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    assert_true(ok[0] && ok[1] && ok[2]);
}

#endif
