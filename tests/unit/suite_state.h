// SPDX-License-Identifier: Apache-2.0
// State on any device: planes, snapshots, forks, saved slots, pack files.
#ifndef HEDDLE_TESTS_SUITE_STATE_H
#define HEDDLE_TESTS_SUITE_STATE_H

#include "tests/unit/suite.h"

// `head` tokens of text[a], then those of text[b]: a continuation that leaves the first text.
static const int32_t *branch(int a, uint32_t head, int b)
{
    static int32_t tokens[LENGTH];
    memcpy(tokens, text[a], head * sizeof *tokens);
    memcpy(tokens + head, text[b], (LENGTH - head) * sizeof *tokens);
    return tokens;
}

// ---- snapshots and forks ---------------------------------------------------------------------------------------

static void rewinding_gives_the_same_again(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.slots = 2});
    HeddleSnapshot *at10, *at20;
    append_and_check(&hand, session, 1, text[0], 0, 10);
    OK(heddle_snapshot_take(session, 1, &at10));
    assert_true(heddle_snapshot_position(at10) == 10 && heddle_snapshot_bytes(at10) == HAND_DIM * 4);
    append_and_check(&hand, session, 1, text[0], 10, 10);
    OK(heddle_snapshot_take(session, 1, &at20));
    append_and_check(&hand, session, 1, text[0], 20, 7);
    for (int again = 0; again < 2; again++) {
        OK(heddle_snapshot_restore(session, 1, at10));
        append_and_check(&hand, session, 1, text[0], 10, 9);
    }
    OK(heddle_snapshot_restore(session, 1, at10));
    // its cache ends at 19
    expect(heddle_snapshot_restore(session, 1, at20), HD_MISMATCH, "no longer begins with the 20 tokens");
    OK(heddle_snapshot_restore(session, 1, at10));
    append_and_check(&hand, session, 1, text[0], 10, 15);
    OK(heddle_snapshot_restore(session, 1, at10));
    OK(heddle_snapshot_restore(session, 1, at20));           // forward again: nothing was written between
    append_and_check(&hand, session, 1, text[0], 20, 3);
    OK(heddle_snapshot_restore(session, 1, at10));
    append_and_check(&hand, session, 1, branch(0, 10, 1), 10, 12);
    expect(heddle_snapshot_restore(session, 1, at20), HD_MISMATCH, "slot 1: its cache no longer begins");
    append_and_check(&hand, session, 1, branch(0, 10, 1), 22, 3);   // and the slot was left alone
    OK(heddle_slot_reset(session, 1));
    expect(heddle_snapshot_restore(session, 1, at10), HD_MISMATCH, "10 tokens");
    append_and_check(&hand, session, 1, text[2], 0, 5);      // reset has cleared the recurrent part too
    heddle_snapshot_free(at10);
    heddle_snapshot_free(at20);
    heddle_session_free(session);
}

static void forks_go_their_own_ways(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.slots = 3, .planes = 2});
    append_and_check(&hand, session, 0, text[0], 0, 12);
    append_and_check(&hand, session, 2, text[1], 0, 30);
    OK(heddle_slot_fork(session, 0, 2));
    OK(heddle_slot_fork(session, 0, 0));
    append_and_check(&hand, session, 2, branch(0, 12, 1), 12, 9);
    append_and_check(&hand, session, 0, text[0], 12, 9);
    append_and_check(&hand, session, 2, branch(0, 12, 1), 21, 9);
    expect(heddle_slot_fork(session, 0, 3), HD_USAGE, "slot 3");
    heddle_session_free(session);
}

// ---- planes ----------------------------------------------------------------------------------------------------

static HdStatus *step(HeddleSession *session, const int32_t *all, uint32_t done, uint32_t count, uint32_t in, uint32_t out)
{
    return heddle_eval(session, &(HeddlePiece){.tokens = all + done, .count = count, .logits = HEDDLE_LOGITS_LAST,
                                               .plane_in = in, .plane_out = out}, 1);
}

static void step_and_check(HeddleSession *session, const int32_t *all, uint32_t done, uint32_t count, uint32_t in, uint32_t out)
{
    uint64_t rows;
    OK(step(session, all, done, count, in, out));
    check_logits(&hand, all, done + count, heddle_logits(session, &rows), 1);
}

static void planes_keep_where_they_were(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.planes = 3});
    uint32_t length;
    step_and_check(session, text[0], 0, 10, 0, 0);
    step_and_check(session, text[0], 10, 11, 0, 1);          // more than a step: 10 stays in plane 0
    step_and_check(session, text[0], 21, 2, 1, 2);           // planes stand at 10, 21, 23
    heddle_slot_tokens(session, 0, &length);
    assert_int_equal(length, 23);
    step_and_check(session, text[0], 21, 2, 1, 2);           // again from 21
    step_and_check(session, branch(0, 10, 1), 10, 4, 0, 1);  // back to 10, other tokens
    expect(step(session, text[0], 23, 1, 2, 2), HD_USAGE, "plane 2 holds no state of the present sequence");
    step_and_check(session, branch(0, 10, 1), 14, 5, 1, 1);
    step_and_check(session, text[0], 10, 3, 0, 0);           // plane 0 still stands at 10
    expect(step(session, branch(0, 10, 1), 19, 1, 1, 1), HD_USAGE, "plane 1 holds no state");
    OK(heddle_slot_reset(session, 0));
    step_and_check(session, text[2], 0, 3, 2, 1);            // all planes are empty, none is stale
    heddle_session_free(session);
}

// ---- saved slots -----------------------------------------------------------------------------------------------

static void saved_slots_continue(void **state)
{
    (void)state;
    static const char path[] = "test_runtime_state.slot";
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.slots = 2}),
        *other = hand_session(&hand, (HeddleSessionOptions){.slots = 3, .planes = 2, .context = 30});
    append_and_check(&hand, session, 1, text[0], 0, 17);
    OK(heddle_slot_save(session, 1, path));
    append_and_check(&hand, session, 1, text[0], 17, 5);
    append_and_check(&hand, other, 2, text[1], 0, 29);
    OK(heddle_slot_load(other, 2, path, text[0], LENGTH));
    append_and_check(&hand, other, 2, text[0], 17, 8);
    OK(heddle_slot_load(other, 2, path, NULL, 0));
    append_and_check(&hand, other, 2, branch(0, 17, 1), 17, 8);
    expect(heddle_slot_load(other, 2, path, branch(0, 16, 1), LENGTH), HD_MISMATCH, "continues differently from token 16 of 17");
    expect(heddle_slot_load(other, 2, path, text[0], 16), HD_MISMATCH, "from token 16");
    append_and_check(&hand, other, 2, branch(0, 17, 1), 25, 2);   // untouched by refusals
    OK(heddle_slot_save(other, 0, path));                    // an empty one
    OK(heddle_slot_load(session, 1, path, NULL, 0));
    append_and_check(&hand, session, 1, text[2], 0, 4);
    heddle_session_free(session);
    heddle_session_free(other);
    unlink(path);
}

static void slots_belong_to_module_and_weights(void **state)
{
    (void)state;
    static const char path[] = "test_runtime_state_owner.slot";
    Hand tuned, cheap;
    HandWeights values = hand.values;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    append_and_check(&hand, session, 0, text[0], 0, 3);
    OK(heddle_slot_save(session, 0, path));
    heddle_session_free(session);
    values.out[3][3] += 1;                                   // a fine-tune of the same shapes
    open_other(&tuned, &values, false);
    session = hand_session(&tuned, (HeddleSessionOptions){0});
    expect(heddle_slot_load(session, 0, path, NULL, 0), HD_MISMATCH, "made from other weights");
    heddle_session_free(session);
    hand_close(&tuned);
    open_other(&cheap, NULL, true);
    session = hand_session(&cheap, (HeddleSessionOptions){0});
    expect(heddle_slot_load(session, 0, path, NULL, 0), HD_MISMATCH, "saved with another module");
    append_and_check(&cheap, session, 0, text[1], 0, 20);    // stages too small for two threads give the same
    heddle_session_free(session);
    hand_close(&cheap);
    unlink(path);
}

// ---- packed weights --------------------------------------------------------------------------------------------

static HdStatus *model_with(const Hand *from, HeddleWeights *weights, const char *pack, HeddleLayout layout)
{
    HeddleModel *model = NULL;
    HdStatus *status = heddle_model_create(from->module, weights, &(HeddleModelOptions){.pack_path = pack, .layout = layout,
        .threads = 2}, &model);
    heddle_model_free(model);
    return status;
}

static void pack_files_are_mapped_and_checked(void **state)
{
    (void)state;
    static const char path[] = "test_runtime_state.pack";
    Hand packed = hand, tuned;
    HandWeights values = hand.values;
    OK(heddle_pack_save(hand.model, path));
    OK(heddle_model_create(hand.module, hand.weights, &(HeddleModelOptions){.pack_path = path}, &packed.model));
    HeddleSession *session = hand_session(&packed, (HeddleSessionOptions){0});
    append_and_check(&packed, session, 0, text[0], 0, 21);
    heddle_session_free(session);
    OK(heddle_pack_save(packed.model, "test_runtime_state_again.pack"));
    HdBuf a, b;
    OK(hd_read_file(path, &a));
    OK(hd_read_file("test_runtime_state_again.pack", &b));
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    hd_buf_free(&a);
    hd_buf_free(&b);
    heddle_model_free(packed.model);
    values.embed[0][0] += 1;
    open_other(&tuned, &values, false);
    expect(model_with(&hand, tuned.weights, path, HEDDLE_LAYOUT_AUTO), HD_MISMATCH, "made from other weights");
    hand_close(&tuned);
    HeddleWeights *strict;
    OK(heddle_weights_open(hand.path, true, &strict));
    expect(model_with(&hand, strict, path, HEDDLE_LAYOUT_AUTO), HD_MISMATCH, "holds no digest of every weight");
    heddle_weights_close(strict);
    expect(model_with(&hand, hand.weights, hand.path, HEDDLE_LAYOUT_AUTO), HD_BAD_DATA, "not a pack file");
    expect(model_with(&hand, hand.weights, "no-such.pack", HEDDLE_LAYOUT_AUTO), HD_NOT_FOUND, "no-such.pack");
    expect(model_with(&hand, hand.weights, NULL, HEDDLE_LAYOUT_NATIVE), HD_MISMATCH, "native layout is asked for");
    OK(model_with(&hand, hand.weights, NULL, HEDDLE_LAYOUT_PACKED));
    unlink(path);
    unlink("test_runtime_state_again.pack");
}

#define SUITE_STATE                                                                                                              \
    cmocka_unit_test(rewinding_gives_the_same_again), cmocka_unit_test(forks_go_their_own_ways),                                 \
        cmocka_unit_test(planes_keep_where_they_were), cmocka_unit_test(saved_slots_continue),                                   \
        cmocka_unit_test(slots_belong_to_module_and_weights), cmocka_unit_test(pack_files_are_mapped_and_checked)

#endif
