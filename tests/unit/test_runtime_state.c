// SPDX-License-Identifier: Apache-2.0
// State over the hand-made model on the CPU: the suite of all devices, damaged slots, memory while packing, the identity of weights.
#include "tests/unit/suite_state.h"

#include "runtime/runtime.h"

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

// ---- memory of the device for weights --------------------------------------------------------------------------

static uint64_t bound;                                       // of a block
static uint64_t bounded(const RtDevice *device) { return (void)device, bound; }

// Homes of the packed rows (512 bytes and 64 KiB) when blocks have at most `most` bytes.
static void place_within(uint64_t most, HeddleModel *model)
{
    bound = most;
    for (uint32_t i = 0; i < model->module->weight_count; i++) model->homes[i].block = RT_NO_BLOCK;
    OK(rt_place(model, true));
}

static void weights_lie_in_bounded_blocks(void **state)
{
    (void)state;
    RtMemoryType memory = rt_host_memory;
    RtDeviceType type = rt_device_null;
    RtDevice device = {&type, hand.module, NULL};
    RtHome homes[5];
    uint64_t addresses[5];
    HeddleModel model = {.module = hand_open_module(&(HandOptions){.big_bytes = 65536}), .device = &device, .homes = homes,
                         .addresses = addresses};
    memory.block_bytes = bounded;
    type.memory = &memory;
    place_within(65536 + 512, &model);
    assert_true(model.blocks.len == 1 && homes[HAND_W_BIG_PACKED].block == 0 && homes[HAND_W_BIG_PACKED].offset == 512);
    assert_true(homes[HAND_W_EMBED].block == RT_NO_BLOCK);
    rt_unplace(&model);
    place_within(65536 + 511, &model);
    assert_true(model.blocks.len == 2 && homes[HAND_W_BIG_PACKED].block == 1 && homes[HAND_W_BIG_PACKED].offset == 0);
    assert_true(addresses[HAND_W_BIG_PACKED] == model.blocks.data[1].address && model.blocks.data[1].bytes == 65536);
    rt_unplace(&model);
    place_within(100, &model);                               // a row that is larger has a block of its own
    assert_true(model.blocks.len == 2 && model.blocks.data[0].bytes == 512);
    rt_unplace(&model);
    heddle_module_close(model.module);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_STATE,
        cmocka_unit_test(damaged_slots_are_refused),
        cmocka_unit_test(packing_holds_weights_once),
        cmocka_unit_test(weights_lie_in_bounded_blocks),
        cmocka_unit_test(identity_sees_small_changes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
