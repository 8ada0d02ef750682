// SPDX-License-Identifier: Apache-2.0
// Decoders against ggml: tests/data/quant-blocks.gguf holds, per type, rows quantised by ggml (NAME) and what ggml makes of them
// again (NAME.f32). Results have to agree in every bit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/gguf.h"

static const char *const decoded[] = {"f16",    "bf16",   "q8_0",  "q4_0",  "q4_1",  "q5_0",    "q5_1",   "q2_K",  "q3_K",
                                      "q4_K",   "q5_K",   "q6_K",  "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs",
                                      "iq3_s",  "iq4_nl", "iq4_xs", "mxfp4", "nvfp4", "tq1_0",   "tq2_0",  "q1_0"};

static GgufFile *open_blocks(void) {
    GgufFile *file;
    HdStatus *status = gguf_open(TEST_DATA "/quant-blocks.gguf", NULL, &file);
    assert_null(status);
    return file;
}

static const GgufTensor *expected_of(const GgufFile *file, const char *name) {
    char text[64];
    snprintf(text, sizeof text, "%s.f32", name);
    const GgufTensor *tensor = gguf_find_tensor(file, text);
    assert_non_null(tensor);
    return tensor;
}

static void test_against_ggml(void **state) {
    (void)state;
    GgufFile *file = open_blocks();
    for (size_t i = 0; i < HD_COUNT(decoded); i++) {
        const GgufTensor *blocks = gguf_find_tensor(file, decoded[i]), *expected = expected_of(file, decoded[i]);
        assert_non_null(blocks);
        uint64_t count = blocks->ne[0] * blocks->ne[1];
        assert_int_equal(expected->bytes, count * sizeof(float));
        float *values = hd_xcalloc(count, sizeof *values);
        assert_true(ggml_dequantise(blocks->type->id, blocks->data, count, values));
        if (memcmp(values, expected->data, expected->bytes) != 0) fail_msg("%s differs from ggml", decoded[i]);
        free(values);
    }
    gguf_close(file);
}

// A single row in the middle gives the same as the whole tensor.
static void test_rows(void **state) {
    (void)state;
    GgufFile *file = open_blocks();
    for (size_t i = 0; i < HD_COUNT(decoded); i++) {
        const GgufTensor *blocks = gguf_find_tensor(file, decoded[i]), *expected = expected_of(file, decoded[i]);
        uint64_t row = blocks->ne[0], row_bytes = ggml_row_bytes(blocks->type, row);
        assert_int_equal(row_bytes * blocks->ne[1], blocks->bytes);
        float *values = hd_xcalloc(row, sizeof *values);
        assert_true(ggml_dequantise(blocks->type->id, blocks->data + 3 * row_bytes, row, values));
        assert_memory_equal(values, expected->data + 3 * row * sizeof(float), row * sizeof(float));
        free(values);
    }
    gguf_close(file);
}

static void test_types_without_decoder(void **state) {
    (void)state;
    float values[256];
    assert_false(ggml_dequantise(4, NULL, 0, values));
    assert_false(ggml_dequantise(GGML_I32, NULL, 0, values));
    assert_false(ggml_dequantise(GGML_Q8_K, NULL, 0, values));
}

// What random rows do not reach: the ends of the small formats' scales, signed zero, subnormal halves.
static void test_extreme_scales(void **state) {
    (void)state;
    float values[64];
    uint8_t mxfp4[17] = {0, 0x07};                         // 6 · 2^-127
    assert_true(ggml_dequantise(GGML_MXFP4, mxfp4, 32, values));
    assert_true(values[0] == 6.0f * 0x1p-127f && values[1] == 0.0f);
    mxfp4[0] = 254;
    assert_true(ggml_dequantise(GGML_MXFP4, mxfp4, 32, values) && values[0] > 0x1p127f);
    uint8_t nvfp4[36] = {0x7f, 0x01, 0x7e, 0x00};          // not a number: 0; the smallest; 448
    memset(nvfp4 + 4, 0x22, 32);                           // every code 2: 1.0
    assert_true(ggml_dequantise(GGML_NVFP4, nvfp4, 64, values));
    assert_true(values[0] == 0.0f && values[16] == 0x1p-9f && values[32] == 448.0f && values[63] == 0.0f);
    uint8_t q8_0[34] = {0x01, 0x00, 127, 0x80};            // d = 2^-24
    assert_true(ggml_dequantise(GGML_Q8_0, q8_0, 32, values));
    assert_true(values[0] == 127 * 0x1p-24f && values[1] == -128 * 0x1p-24f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_ggml),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_types_without_decoder),
        cmocka_unit_test(test_extreme_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
