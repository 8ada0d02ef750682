// SPDX-License-Identifier: Apache-2.0
// State over the hand-made model: planes, snapshots, forks, saved slots, and packed weights with their files.
#include "tests/unit/hand_fixture.h"

enum { LENGTH = 40 };

static Hand hand;
static int32_t text[3][LENGTH];

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

// Loads a file with one byte changed.
static HdStatus *load_damaged(HeddleSession *session, const HdBuf *bytes, size_t at)
{
    static const char path[] = "test_runtime_state_damaged.slot";
    HdBuf copy = {0};
    hd_buf_bytes(&copy, bytes->data, bytes->len);
    copy.data[at] ^= 0x10;
    OK(hd_write_file(path, copy.data, copy.len));
    hd_buf_free(&copy);
    HdStatus *status = heddle_slot_load(session, 0, path, NULL, 0);
    unlink(path);
    return status;
}

static void damaged_slots_are_refused(void **state)
{
    (void)state;
    static const char path[] = "test_runtime_state_whole.slot";
    HeddleSession *session = hand_session(&hand, (HeddleSessionOptions){0});
    HdBuf bytes;
    append_and_check(&hand, session, 0, text[0], 0, 3);
    OK(heddle_slot_save(session, 0, path));
    OK(hd_read_file(path, &bytes));
    GgufFile *file;
    OK(gguf_open(path, NULL, &file));
    size_t tokens = gguf_find_tensor(file, "tokens")->offset, cache = gguf_find_tensor(file, "state.0")->offset,
        window = gguf_find_tensor(file, "state.1")->offset, header = gguf_header_bytes(file);
    gguf_close(file);
    expect(load_damaged(session, &bytes, tokens), HD_BAD_DATA, "damaged");
    expect(load_damaged(session, &bytes, cache + 7), HD_BAD_DATA, "damaged");
    expect(load_damaged(session, &bytes, window + 31), HD_BAD_DATA, "damaged");
    for (size_t i = 0; i < header; i++) {
        HdStatus *status = load_damaged(session, &bytes, i);
        if (status) assert_null(strpbrk(hd_status_message(status), "\n\r"));
        hd_status_free(status);                              // some keys mean nothing to us
    }
    OK(heddle_slot_load(session, 0, path, NULL, 0));
    append_and_check(&hand, session, 0, text[0], 3, 3);
    hd_buf_free(&bytes);
    heddle_session_free(session);
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
    hand_open(&tuned, 0, &values, NULL, NULL);
    session = hand_session(&tuned, (HeddleSessionOptions){0});
    expect(heddle_slot_load(session, 0, path, NULL, 0), HD_MISMATCH, "made from other weights");
    heddle_session_free(session);
    hand_close(&tuned);
    hand_open(&cheap, 1, NULL, &(HandOptions){.cheap = true}, NULL);
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
    hand_open(&tuned, 0, &values, NULL, NULL);
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

static uint64_t peak_bytes(void)
{
    HdBuf text_of_kernel;
    OK(hd_read_file("/proc/self/status", &text_of_kernel));
    const char *line = strstr(text_of_kernel.data, "VmHWM:");
    uint64_t kib = line ? strtoull(line + 6, NULL, 10) : 0;
    hd_buf_free(&text_of_kernel);
    return kib * 1024;
}

// While a tensor is packed its mapped source is given back piece by piece: peak memory holds weights once.
static void packing_holds_weights_once(void **state)
{
    (void)state;
    const uint64_t big = 96 << 20;
    HandOptions options = {.big_bytes = big};
    char path[] = "test_runtime_big_XXXXXX";
    HeddleWeights *weights;
    HeddleModel *model;
    HeddleModule *module = hand_open_module(&options);
    close(mkstemp(path));
    OK(hand_write_weights(path, &hand.values, HAND_CONTEXT, big));
    OK(heddle_weights_open(path, false, &weights));
    FILE *reset = fopen("/proc/self/clear_refs", "w");       // the peak starts anew
    assert_non_null(reset);
    fputs("5", reset);
    fclose(reset);
    uint64_t before = peak_bytes();
    OK(heddle_model_create(module, weights, &(HeddleModelOptions){.threads = 2}, &model));
    uint64_t grown = peak_bytes() - before;
    assert_true(grown >= big);
    if (grown > big + (48 << 20)) fail_msg("peak memory grew by %llu bytes for %llu packed", (unsigned long long)grown,
                                           (unsigned long long)big);
    const HeddleModule *used = heddle_model_module(model);
    assert_ptr_equal(used, module);
    OK(heddle_pack_save(model, "test_runtime_big.pack"));
    HdMapping packed;
    OK(hd_map_file("test_runtime_big.pack", &packed));
    GgufFile *file;
    OK(gguf_open("test_runtime_big.pack", NULL, &file));
    const GgufTensor *tensor = gguf_find_tensor(file, "packed.4");
    assert_int_equal(tensor->bytes, big);
    for (uint64_t i = 0; i < big; i += 8) {
        uint64_t value;
        memcpy(&value, tensor->data + i, 8);
        assert_true(value == i);                             // every block was copied
    }
    gguf_close(file);
    hd_unmap_file(&packed);
    heddle_model_free(model);
    heddle_module_close(module);
    heddle_weights_close(weights);
    unlink(path);
    unlink("test_runtime_big.pack");
}

// ---- identity --------------------------------------------------------------------------------------------------

static void identity_of(const char *path, bool strict, char out_hex[33])
{
    HeddleWeights *weights;
    OK(heddle_weights_open(path, strict, &weights));
    heddle_weights_identity(weights, out_hex);
    heddle_weights_close(weights);
}

static void identity_sees_small_changes(void **state)
{
    (void)state;
    const uint64_t big = 1 << 20;
    char path[] = "test_runtime_identity_XXXXXX", a[33], b[33], strict_a[33], strict_b[33];
    HdBuf bytes;
    close(mkstemp(path));
    OK(hand_write_weights(path, &hand.values, HAND_CONTEXT, big));
    identity_of(path, false, a);
    identity_of(path, true, strict_a);
    OK(hd_read_file(path, &bytes));
    size_t data = bytes.len - big;
    bytes.data[data + 4096 + 1000] ^= 1;                     // between two samples of the large tensor
    OK(hd_write_file(path, bytes.data, bytes.len));
    identity_of(path, false, b);
    identity_of(path, true, strict_b);
    assert_string_equal(a, b);
    assert_string_not_equal(strict_a, strict_b);
    bytes.data[bytes.len - 1] ^= 1;                          // the last byte is sampled
    OK(hd_write_file(path, bytes.data, bytes.len));
    identity_of(path, false, b);
    assert_string_not_equal(a, b);
    hd_buf_free(&bytes);
    unlink(path);
}

static int set_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) random_tokens(text[i], LENGTH, i + 11);
    hand_open(&hand, 1, NULL, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hand_close(&hand);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewinding_gives_the_same_again),
        cmocka_unit_test(forks_go_their_own_ways),
        cmocka_unit_test(planes_keep_where_they_were),
        cmocka_unit_test(saved_slots_continue),
        cmocka_unit_test(damaged_slots_are_refused),
        cmocka_unit_test(slots_belong_to_module_and_weights),
        cmocka_unit_test(pack_files_are_mapped_and_checked),
        cmocka_unit_test(packing_holds_weights_once),
        cmocka_unit_test(identity_sees_small_changes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
