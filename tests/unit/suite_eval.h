// SPDX-License-Identifier: Apache-2.0
// Evaluation on any device: any split, any company, any number of threads give what a computation from the beginning gives; limits and
// values that are not finite are errors before they do harm.
#ifndef HEDDLE_TESTS_SUITE_EVAL_H
#define HEDDLE_TESTS_SUITE_EVAL_H

#include "tests/unit/suite.h"

// ---- splits ----------------------------------------------------------------------------------------------------

// Evaluates text[0] in calls of these sizes, the last repeating, all logits wanted.
static void run_split(HeddleSessionOptions options, const uint32_t *sizes, uint32_t size_count)
{
    HeddleSession *session = hand_session(&hand, options);
    for (uint32_t done = 0, call = 0; done < LENGTH; call++) {
        uint32_t count = HD_MIN(sizes[HD_MIN(call, size_count - 1)], LENGTH - done);
        uint64_t rows;
        OK(heddle_eval(session, &(HeddlePiece){.tokens = text[0] + done, .count = count, .logits = HEDDLE_LOGITS_ALL}, 1));
        const float *logits = heddle_logits(session, &rows);
        assert_int_equal(rows, count);
        done += count;
        check_logits(&hand, text[0], done, logits, count);
    }
    heddle_session_free(session);
}

static void any_split_and_any_threads(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        HeddleSessionOptions options = {.threads = threads};
        run_split(options, (const uint32_t[]){LENGTH}, 1);
        run_split(options, (const uint32_t[]){1}, 1);
        run_split(options, (const uint32_t[]){1, 3, 17}, 3);
        options.tokens_per_call = 3;
        run_split(options, (const uint32_t[]){LENGTH}, 1);
    }
}

static void poison_changes_nothing(void **state)
{
    (void)state;
    run_split((HeddleSessionOptions){.threads = 3, .poison = true}, (const uint32_t[]){1, 3, 17}, 3);
}

// Kernels run with the default rounding and with subnormal numbers, whatever the caller has set; the caller finds its own setting
// again.
static void every_unit_is_done_once(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.threads = 4});
    OK(heddle_keep_result(session, "chain"));
    OK(heddle_keep_result(session, "chain"));                // twice is once
    for (uint32_t count = 1; count <= 20; count++) {
        uint64_t rows, columns;
        OK(heddle_slot_reset(session, 0));
        OK(heddle_eval(session, &(HeddlePiece){.tokens = text[1], .count = count, .logits = HEDDLE_LOGITS_NONE}, 1));
        const float *chain = heddle_result(session, "chain", &rows, &columns);
        assert_true(rows == count && columns == HAND_WIDE);
        for (uint32_t t = 0; t < count; t++) {
            float want[HAND_WIDE];
            hand_chain_row(text[1][t], want);
            assert_memory_equal(chain + t * HAND_WIDE, want, sizeof want);
        }
        assert_null(heddle_logits(session, &rows));
    }
    expect(heddle_keep_result(session, "hidden.7"), HD_NOT_FOUND, "result 'hidden.7'");
    heddle_session_free(session);
}

// 12 dependent stages a step, thousands of steps, more threads than cores.
static void barriers_hold(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.threads = 4});
    OK(heddle_keep_result(session, "chain"));
    for (int32_t step = 0; step < (hand_device.vulkan ? 200 : 2000); step++) {
        uint64_t rows, columns;
        float want[HAND_WIDE];
        int32_t token = step % HAND_VOCAB;
        if (step % LENGTH == 0) OK(heddle_slot_reset(session, 0));
        OK(heddle_eval(session, &(HeddlePiece){.tokens = &token, .count = 1, .logits = HEDDLE_LOGITS_LAST}, 1));
        hand_chain_row(token, want);
        assert_memory_equal(heddle_result(session, "chain", &rows, &columns), want, sizeof want);
    }
    heddle_session_free(session);
}

// ---- steps and classes -----------------------------------------------------------------------------------------

static HeddleCounters counters_of(uint32_t count, HeddleLogits logits, uint32_t tokens_per_call)
{
    HeddleCounters counters;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.tokens_per_call = tokens_per_call});
    OK(heddle_eval(session, &(HeddlePiece){.tokens = text[0], .count = count, .logits = logits}, 1));
    heddle_session_counters(session, &counters);
    heddle_session_free(session);
    return counters;
}

static void only_wanted_rows_are_computed(void **state)
{
    (void)state;
    HeddleCounters none = counters_of(20, HEDDLE_LOGITS_NONE, 0), last = counters_of(20, HEDDLE_LOGITS_LAST, 0),
        all = counters_of(20, HEDDLE_LOGITS_ALL, 0);
    assert_true(none.steps == 3 && none.tokens == 20 && none.rows == 0);        // 8, 8, 4
    assert_true(last.steps == 3 && last.tokens == 20 && last.rows == 1);
    assert_true(all.steps == 5 && all.tokens == 20 && all.rows == 20);          // four rows a step
    assert_int_equal(counters_of(20, HEDDLE_LOGITS_NONE, 3).steps, 7);
    assert_int_equal(counters_of(20, HEDDLE_LOGITS_NONE, 1000).steps, 3);
}

// ---- slots in company ------------------------------------------------------------------------------------------

static void slots_do_not_touch_each_other(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.slots = 4, .threads = 3});
    uint32_t done[3] = {0}, seed = 7;
    for (int round = 0; round < 40; round++) {
        HeddlePiece pieces[4];
        uint32_t count = 0, before[3];
        memcpy(before, done, sizeof done);
        for (uint32_t slot = 0; slot < 3; slot++) {
            seed = seed * 1664525u + 1013904223u;
            // 0 to 4 tokens, never, or in the middle of others
            uint32_t take = HD_MIN((seed >> 16) % 5, LENGTH - done[slot]);
            pieces[count++] = (HeddlePiece){.slot = 3 - slot, .tokens = text[slot] + done[slot], .count = take,
                                            .logits = (HeddleLogits)(seed >> 24) % 3};
            done[slot] += take;
        }
        OK(heddle_eval(session, pieces, count));
        uint64_t rows, row = 0;
        const float *logits = heddle_logits(session, &rows);
        for (uint32_t slot = 0; slot < 3; slot++) {
            uint32_t wanted = pieces[slot].logits == HEDDLE_LOGITS_ALL ? pieces[slot].count
                : pieces[slot].logits == HEDDLE_LOGITS_LAST ? pieces[slot].count > 0 : 0;
            if (wanted) check_logits(&hand, text[slot], done[slot], logits + row * HAND_VOCAB, wanted);
            row += wanted;
        }
        assert_int_equal(row, rows);
    }
    uint32_t length;
    const int32_t *tokens = heddle_slot_tokens(session, 2, &length);
    assert_int_equal(length, done[1]);
    assert_memory_equal(tokens, text[1], length * sizeof *tokens);
    heddle_slot_tokens(session, 0, &length);
    assert_int_equal(length, 0);
    heddle_session_free(session);
}

typedef struct Seen { uint32_t count; uint32_t piece[16], index[16]; float row[16][HAND_VOCAB]; } Seen;

static void see(void *user, uint32_t piece, uint32_t index, const float *logits)
{
    Seen *seen = user;
    seen->piece[seen->count] = piece, seen->index[seen->count] = index;
    memcpy(seen->row[seen->count++], logits, sizeof seen->row[0]);
}

static void rows_go_to_a_sink(void **state)
{
    (void)state;
    Seen seen = {0};
    uint64_t rows;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.slots = 2});
    const HeddlePiece pieces[] = {{.slot = 0, .tokens = text[0], .count = 9, .logits = HEDDLE_LOGITS_ALL},
                                  {.slot = 1, .tokens = text[1], .count = 5, .logits = HEDDLE_LOGITS_LAST}};
    OK(heddle_eval_rows(session, pieces, 2, see, &seen));
    assert_int_equal(seen.count, 10);
    uint32_t next = 0;
    for (uint32_t i = 0; i < seen.count; i++) {
        uint32_t piece = seen.piece[i];
        if (piece == 0) assert_int_equal(seen.index[i], next++);
        else assert_int_equal(seen.index[i], 4);
        check_logits(&hand, text[piece], seen.index[i] + 1, seen.row[i], 1);
    }
    assert_null(heddle_logits(session, &rows));
    heddle_session_free(session);
}

// ---- limits ----------------------------------------------------------------------------------------------------

static void errors_before_work_change_nothing(void **state)
{
    (void)state;
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){.context = 20, .slots = 2});
    append_and_check(&hand, session, 0, text[0], 0, 15);
    const HeddlePiece full = {.slot = 0, .tokens = text[0] + 15, .count = 6}, twice[] =
        {{.slot = 1, .tokens = text[0], .count = 1}, {.slot = 1, .tokens = text[0], .count = 1}};
    const HeddlePiece good_and_full[] = {{.slot = 1, .tokens = text[0], .count = 2}, full};
    const int32_t bad[] = {3, HAND_VOCAB}, negative[] = {-1};
    expect(heddle_eval(session, &full, 1), HD_LIMIT, "slot 0: context full: 15 tokens and 6 more do not fit 20");
    expect(heddle_eval(session, good_and_full, 2), HD_LIMIT, "context full");
    expect(heddle_eval(session, &(HeddlePiece){.count = UINT32_MAX, .tokens = text[0]}, 1), HD_LIMIT, "context full");
    expect(heddle_eval(session, twice, 2), HD_USAGE, "slot 1 is named by two pieces");
    expect(heddle_eval(session, &(HeddlePiece){.slot = 2, .tokens = text[0], .count = 1}, 1), HD_USAGE,
           "slot 2: this session has slots 0 to 1");
    expect(heddle_eval(session, &(HeddlePiece){.tokens = bad, .count = 2}, 1), HD_USAGE,
           "token 1 is 16; the vocabulary has 0 to 15");
    expect(heddle_eval(session, &(HeddlePiece){.tokens = negative, .count = 1}, 1), HD_USAGE, "token 0 is -1");
    expect(heddle_eval(session, &(HeddlePiece){.tokens = text[0], .count = 1, .plane_out = 1}, 1), HD_USAGE, "planes");
    expect(heddle_eval(session, &(HeddlePiece){.tokens = text[0], .count = 1, .logits = (HeddleLogits)9}, 1), HD_USAGE,
           "kind of logits");
    OK(heddle_eval(session, NULL, 0));
    OK(heddle_eval(session, &(HeddlePiece){.slot = 1}, 1));  // no tokens: nothing happens
    append_and_check(&hand, session, 0, text[0], 15, 5);     // the last place is usable, and nothing was lost
    expect(heddle_eval(session, &(HeddlePiece){.tokens = text[0], .count = 1}, 1), HD_LIMIT, "context full");
    append_and_check(&hand, session, 1, text[1], 0, 3);
    heddle_session_free(session);
}

// ---- values that are not finite --------------------------------------------------------------------------------

static void not_finite_is_reported_and_contained(void **state)
{
    (void)state;
    Hand bad;
    HandWeights values = hand.values;
    values.embed[5][3] = INFINITY;
    open_other(&bad, &values, false);
    HeddleSession *session = hand_session(&bad, (HeddleSessionOptions){.slots = 2});
    const int32_t tokens[] = {1, 2, 3, 4, 6, 7, 8, 9, 10, 5};
    uint64_t rows;
    expect(heddle_eval(session, &(HeddlePiece){.slot = 1, .tokens = tokens, .count = 10, .logits = HEDDLE_LOGITS_LAST}, 1),
           HD_NOT_FINITE,
           "a value that is not finite at position 9 of slot 1, layer 2");
    assert_null(heddle_logits(session, &rows));
    expect(heddle_eval(session, &(HeddlePiece){.slot = 1, .tokens = tokens, .count = 1}, 1), HD_NOT_FINITE,
           "slot 1: an earlier step failed");
    append_and_check(&bad, session, 0, tokens, 0, 4);        // the neighbour is well
    OK(heddle_slot_reset(session, 1));
    append_and_check(&bad, session, 1, tokens, 0, 9);
    heddle_session_free(session);
    hand_close(&bad);

    values = hand.values;
    values.out[15][0] = NAN;
    open_other(&bad, &values, false);
    session = hand_session(&bad, (HeddleSessionOptions){0});
    OK(heddle_eval(session, &(HeddlePiece){.tokens = tokens, .count = 4, .logits = HEDDLE_LOGITS_NONE}, 1));
    expect(heddle_eval(session, &(HeddlePiece){.tokens = tokens, .count = 3, .logits = HEDDLE_LOGITS_LAST}, 1), HD_NOT_FINITE,
           "non-finite logits at position 6 of slot 0");
    heddle_session_free(session);
    hand_close(&bad);
}

#define SUITE_EVAL                                                                                                               \
    cmocka_unit_test(any_split_and_any_threads), cmocka_unit_test(poison_changes_nothing),                                       \
        cmocka_unit_test(every_unit_is_done_once), cmocka_unit_test(barriers_hold),                                              \
        cmocka_unit_test(only_wanted_rows_are_computed), cmocka_unit_test(slots_do_not_touch_each_other),                        \
        cmocka_unit_test(rows_go_to_a_sink), cmocka_unit_test(errors_before_work_change_nothing),                                \
        cmocka_unit_test(not_finite_is_reported_and_contained)

#endif
