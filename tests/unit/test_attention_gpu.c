// SPDX-License-Identifier: Apache-2.0
// The attention kernels of GPUs, as C++ on this machine, against the interpreter: tiles of tokens, and spans with their merge; groups of
// query heads, head widths, caches of f32 and f16, lengths around the edges of tiles and spans; and the same bits however a prompt is split.
#include "tests/unit/attention_fixture.h"

static const int32_t edges[] = {1, 2, 33, 63, 64, 65, 127, 129};

static void check_lengths(const char *text, const int32_t *lengths, size_t count, double most) {
    Bench b = bench_open(text, 3, 1, MOST, MOST, 3);
    for (size_t i = 0; i < count; i++) {
        int32_t n = lengths[i];
        int32_t segments[2][8] = {{2, 0, 0, n}, {0, 0, n, n / 2 + 1}}, more[3][8] = {{0, n / 2 + 1, 1, 2}, {2, n, 0, 1}, {1, 0, 3, 5}};
        BenchCall call = {(const int32_t (*)[8])segments, 2, some_tokens() + i, NULL, 0}, next = {(const int32_t (*)[8])more, 3, some_tokens() + 11, NULL, 0};
        bench_check(&b, &call, "o", most);
        bench_compare(&b, "flat", most);
        bench_compare(&b, "gated", most);
        bench_check(&b, &next, "o", most);
    }
    bench_close(&b);
}

#define BOTH(...) {ATTENTION(__VA_ARGS__), SPANS(__VA_ARGS__, "32")}

static void test_shapes(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        BOTH("2", "2", "64", "128", "128", "f32"), BOTH("4", "2", "128", "512", "256", "f16"), BOTH("4", "1", "256", "1024", "256", "f32"),
        BOTH("8", "1", "64", "512", "64", "f16"),  BOTH("6", "1", "32", "192", "32", "f32"),   BOTH("3", "1", "26", "78", "26", "f16"),
        BOTH("16", "1", "24", "384", "24", "f32"), BOTH("1", "1", "320", "320", "320", "f32")};
    for (size_t i = 0; i < HD_COUNT(texts); i++)
        for (int form = 0; form < 2; form++) check_lengths(texts[i][form], edges, HD_COUNT(edges), 2e-13);
}

static void test_long_contexts(void **state) {
    (void)state;
    static const int32_t lengths[] = {511, 512, 513, 700};
    static const char *const texts[] = {ATTENTION("2", "1", "64", "128", "64", "f16"), SPANS("2", "1", "64", "128", "64", "f16", "16"),
                                        SPANS("2", "1", "64", "128", "64", "f32", "3")};
    for (size_t i = 0; i < HD_COUNT(texts); i++) check_lengths(texts[i], lengths, HD_COUNT(lengths), 4e-13);
}

// The bits of every token's row: in one call; in parts; in another slot with company before and after.
static void check_splits(const char *text, int32_t n, int32_t width) {
    Bench b = bench_open(text, 3, 1, MOST, MOST, 3);
    const int32_t once[][8] = {{0, 0, 0, n}}, parts[] = {1, 1, 3, 64, 13, 100, 17, 200};
    bench_reset(&b);
    bench_run_program(&b, &(BenchCall){once, 1, some_tokens(), NULL, 0});
    size_t row = (size_t)width * sizeof(float);
    char *whole = malloc((size_t)n * row);
    memcpy(whole, bench_result(&b, "flat"), (size_t)n * row);
    for (int32_t i = 0, at = 0; at < n; at += parts[i++]) {
        int32_t segments[3][8] = {{0, at, 4, 3}, {1, at, 7, parts[i]}, {2, 3, 0, 4}};
        int32_t *tokens = calloc((size_t)parts[i] + 7, sizeof *tokens);
        memcpy(tokens + 7, some_tokens() + at, (size_t)parts[i] * sizeof *tokens);
        bench_run_program(&b, &(BenchCall){(const int32_t (*)[8])segments, 3, tokens, NULL, 0});
        assert_memory_equal((const char *)bench_result(&b, "flat") + 7 * row, whole + (size_t)at * row, (size_t)parts[i] * row);
        free(tokens);
    }
    free(whole);
    bench_close(&b);
}

static void test_splits(void **state) {
    (void)state;
    check_splits(ATTENTION("3", "1", "32", "96", "32", "f32"), 399, 96);
    check_splits(SPANS("3", "1", "32", "96", "32", "f32", "5"), 399, 96);
}

// Scores far apart in size: the largest decides, nothing overflows.
static void test_large_scores(void **state) {
    (void)state;
    static const char *const texts[] = {ATTENTION("2", "2", "16", "32", "32", "f32"), SPANS("2", "2", "16", "32", "32", "f32", "4")};
    for (size_t i = 0; i < HD_COUNT(texts); i++) {
        Bench b = bench_open(texts[i], 1, 1, 128, 128, 1);
        uint64_t count;
        float *q = bench_values(&b, "q0", &count);
        for (uint64_t j = 0; j < count; j++) q[j] *= 3000;
        const int32_t segments[][8] = {{0, 0, 0, 100}};
        bench_check(&b, &(BenchCall){segments, 1, some_tokens(), NULL, 0}, "o", 4e-11);
        bench_close(&b);
    }
}

static void test_refusals(void **state) {
    (void)state;
    check_refused(ATTENTION("2", "2", "7", "14", "14", "f32"), "heads of 7 channels; an even number up to 512");
    check_refused(SPANS("1", "1", "514", "514", "514", "f32", "4"), "heads of 514 channels; an even number up to 512");
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_long_contexts), cmocka_unit_test(test_splits),
                                          cmocka_unit_test(test_large_scores), cmocka_unit_test(test_refusals)};
BENCH_MAIN_FOR(tests, BENCH_GPU)
