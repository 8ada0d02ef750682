// SPDX-License-Identifier: Apache-2.0
// Attention over the cache against the interpreter: groups of query heads, head widths, spans; and the same bits however a
// prompt is split.
#include "tests/unit/attention_fixture.h"

static void test_shapes(void **state) {
    (void)state;
    check_attention(ATTENTION("4", "4", "64", "256", "256", "f32"), 30, 6e-14);
    check_attention(ATTENTION("2", "1", "32", "64", "32", "f32"), 70, 6e-14);
    check_attention(ATTENTION("3", "1", "24", "72", "24", "f32"), 65, 6e-14);
    check_attention(ATTENTION("12", "2", "7", "84", "14", "f32"), 64, 6e-14);
    check_attention(ATTENTION("10", "1", "128", "1280", "128", "f32"), 9, 6e-14);
    check_attention(ATTENTION("4", "2", "32", "128", "64", "f16"), 66, 6e-14);
}

static void test_spans(void **state) {
    (void)state;
    check_attention(ATTENTION("2", "1", "16", "32", "16", "f32"), 780, 6e-14);
    Bench b = bench_open(ATTENTION("1", "1", "16", "16", "16", "f32"), 1, 1, MOST, MOST, 1);
    const int32_t segments[][8] = {{0, 0, 0, 1100}};
    bench_check(&b, &(BenchCall){segments, 1, some_tokens(), NULL, 0}, "o", 6e-14);
    bench_close(&b);
}

// The bits of every token's row: in one call; in parts; in another slot with company before and after.
static void test_splits(void **state) {
    (void)state;
    enum { N = 1060, D = 96 };
    Bench b = bench_open(ATTENTION("3", "1", "32", "96", "32", "f32"), 3, 1, MOST, MOST, 3);
    static float whole[N * D];
    const int32_t once[][8] = {{0, 0, 0, N}};
    bench_reset(&b);
    bench_run_program(&b, &(BenchCall){once, 1, some_tokens(), NULL, 0});
    memcpy(whole, bench_result(&b, "flat"), sizeof whole);
    const int32_t parts[] = {1, 1, 3, 64, 13, 500, 17, 461};
    for (uint32_t i = 0, at = 0; i < HD_COUNT(parts); at += (uint32_t)parts[i++]) {
        int32_t segments[3][8] = {{0, (int32_t)at, 4, 3}, {1, (int32_t)at, 7, parts[i]}, {2, 3, 0, 4}};
        int32_t *tokens = calloc((size_t)parts[i] + 7, sizeof *tokens);
        memcpy(tokens + 7, some_tokens() + at, (size_t)parts[i] * sizeof *tokens);
        bench_run_program(&b, &(BenchCall){(const int32_t (*)[8])segments, 3, tokens, NULL, 0});
        assert_memory_equal((const float *)bench_result(&b, "flat") + 7 * D, whole + at * D, (size_t)parts[i] * D *
        sizeof(float));
        free(tokens);
    }
    bench_close(&b);
}

// Scores far apart in size: the largest decides, nothing overflows.
static void test_large_scores(void **state) {
    (void)state;
    Bench b = bench_open(ATTENTION("2", "2", "16", "32", "32", "f32"), 1, 1, 128, 128, 1);
    uint64_t count;
    float *q = bench_values(&b, "q0", &count);
    for (uint64_t i = 0; i < count; i++) q[i] *= 3000;
    const int32_t segments[][8] = {{0, 0, 0, 100}};
    bench_check(&b, &(BenchCall){segments, 1, some_tokens(), NULL, 0}, "o", 3e-14);
    bench_close(&b);
}

static void test_refusals(void **state) {
    (void)state;
    check_refused(SPANS("2", "2", "16", "32", "32", "f32", "4"), "has kernels for GPUs only");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_shapes), cmocka_unit_test(test_spans), cmocka_unit_test(test_splits),
    cmocka_unit_test(test_large_scores), cmocka_unit_test(test_refusals)
};
BENCH_MAIN(tests)
