// SPDX-License-Identifier: Apache-2.0
// The short convolution against the interpreter: what follows it channel by channel and head by head, the window across
// calls, and splits.
#include "tests/unit/group_fixture.h"

enum { MOST = 200 };

#define HEAD "module \"m\" {\n graph @g {\n %tokens = input tokens : i32[T]\n %segments = input segments : i32[S, 8]\n"
#define EMBED(name, D)                                                                      \
    "%w" name " = weight \"" name "\" : f32[97, " D "]\n%" name " = fused %tokens, %w" name \
    " {kind = embed} (%.a: i32[T], %.b: f32[97, " D "])"                                    \
    "{\n %.c = embed %.a, %.b : f32[T, " D "]\n yield %.c\n } : f32[T, " D "]\n"
#define SOURCES(N, K, K1) HEAD EMBED("u", N) "%w = weight \"w\" : f32[" N ", " K "]\n%s = state \"s\" conv : f32[" K1 ", " N "]\n"
#define CONV(N, K, K1)                                                                                           \
    "fused %u, %w, %s, %segments {kind = conv} (%.u: f32[T, " N "], %.w: f32[" N ", " K "], %.s: f32[" K1 ", " N \
    "], %.t: i32[S, 8]) {\n"                                                                                     \
    "%.c = conv1d %.u, %.w, %.s, %.t : f32[T, " N "]\n"

// Query, key and value channels as the model has them.
#define HEADS(N, K, K1, nk, dk, KD, KD2, nv, dv, VD)                                                                           \
    SOURCES(N, K, K1) "%q, %k, %v = " CONV(N, K, K1) "%.d = silu %.c : f32[T, " N "]\n"                                        \
    "%.e = slice %.d {axis = 1, begin = 0, end = " KD "} : f32[T, " KD "]\n %.f = slice %.d {axis = 1, begin = " KD            \
    ", end = " KD2 "} : f32[T, " KD "]\n"                                                                                      \
    "%.g = slice %.d {axis = 1, begin = " KD2 ", end = " N "} : f32[T, " VD "]\n %.h = reshape %.e : f32[T, " nk ", " dk "]\n" \
    "%.i = reshape %.f : f32[T, " nk ", " dk "]\n %.j = l2_norm %.h {eps = 1e-06, scale = 0.25} : f32[T, " nk ", " dk "]\n"    \
    "%.k = l2_norm %.i {eps = 1e-06, scale = 1} : f32[T, " nk ", " dk "]\n %.l = reshape %.g : f32[T, " nv ", " dv "]\n"       \
    "yield %.j, %.k, %.l\n } : f32[T, " nk ", " dk "], f32[T, " nk ", " dk "], f32[T, " nv ", " dv "]\n"                       \
    "return a = %q, b = %k, c = %v\n }\n}\n"

static int32_t *some_tokens(int32_t from) {
    static int32_t tokens[MOST];
    for (int32_t t = 0; t < MOST; t++) tokens[t] = ((t + from) * 31 + (t + from) / 7) % 97;
    return tokens;
}

static void compare(Bench *b, uint32_t results) {
    static const char *const names[] = {"a", "b", "c"};
    for (uint32_t i = 0; i < results; i++) bench_compare(b, names[i], 4e-14);
}

// Calls of many, few and no tokens; the planes change.
static void check(const char *text, uint32_t results) {
    Bench b = bench_open(text, 4, 2, MOST, MOST, 4);
    static const int32_t calls[][3][8] = {
        {{2, 0, 0, 9, 0, 0}, {0, 0, 9, 1, 0, 1}, {1, 0, 0, 0, 0, 1}},
        {{0, 1, 0, 1, 1, 1}, {1, 0, 1, 2, 1, 0}, {2, 9, 3, 0, 0, 1}},
        {{2, 9, 0, 2, 1, 0}, {0, 2, 2, 1, 1, 0}, {1, 2, 3, 30, 0, 0}},
        {{0, 3, 2, 17, 0, 0}, {2, 11, 0, 1, 0, 0}, {1, 32, 1, 1, 0, 0}},
    };
    for (int32_t i = 0; i < (int32_t)HD_COUNT(calls); i++) {
        BenchCall call = {calls[i], 3, some_tokens(10 * i), NULL, 0};
        bench_run_interp(&b, &call);
        bench_run_program(&b, &call);
        compare(&b, results);
    }
    bench_close(&b);
}

static void test_heads(void **state) {
    (void)state;
    check(HEADS("256", "4", "3", "2", "32", "64", "128", "4", "32", "128"), 3);
    check(HEADS("84", "4", "3", "3", "8", "24", "48", "2", "18", "36"), 3);
    check(HEADS("22", "2", "1", "1", "5", "5", "10", "2", "6", "12"), 3);
    check(HEADS("96", "7", "6", "1", "16", "16", "32", "2", "32", "64"), 3);
    check(HEADS("96", "16", "15", "1", "16", "16", "32", "2", "32", "64"), 3);
}

// Without heads: all channels as one result, in blocks of 64 where that divides; a norm over all of them; a product with a
// stored row.
static void test_whole_rows(void **state) {
    (void)state;
#define WHOLE(N)                                                                                  \
    SOURCES(N, "4", "3") "%q = " CONV(N, "4", "3") "%.d = silu %.c : f32[T, " N "]\n yield %.d\n" \
    "} : f32[T, " N "]\n return a = %q\n }\n}\n"
    check(WHOLE("192"), 1);
    check(WHOLE("70"), 1);
    check(SOURCES("192", "3", "2") "%q, %k = " CONV("192", "3", "2")
          "%.e = slice %.c {axis = 1, begin = 0, end = 128} : f32[T, 128]\n"
          "%.f = slice %.c {axis = 1, begin = 128, end = 192} : f32[T, 64]\n %.g = sigmoid %.e : f32[T, 128]\n"
          "%.h = softmax %.f : f32[T, 64]\n"
          "yield %.g, %.h\n } : f32[T, 128], f32[T, 64]\n return a = %q, b = %k\n }\n}\n", 2);
}

static void test_splits(void **state) {
    (void)state;
    enum { N = 80, D = 36 };
    Bench b = bench_open(HEADS("84", "4", "3", "3", "8", "24", "48", "2", "18", "36"), 3, 1, MOST, MOST, 2);
    static float whole[N * D];
    const int32_t once[][8] = {{0, 0, 0, N}};
    bench_reset(&b);
    bench_run_program(&b, &(BenchCall){once, 1, some_tokens(0), NULL, 0});
    memcpy(whole, bench_result(&b, "c"), sizeof whole);
    const int32_t parts[] = {1, 1, 2, 3, 64, 1, 8};
    for (uint32_t i = 0, at = 0; i < HD_COUNT(parts); at += (uint32_t)parts[i++]) {
        int32_t segments[2][8] = {{1, (int32_t)at, 0, 3}, {2, (int32_t)at, 3, parts[i]}};
        int32_t tokens[3 + N] = {9, 8, 7};
        memcpy(tokens + 3, some_tokens(0) + at, (size_t)parts[i] * sizeof *tokens);
        bench_run_program(&b, &(BenchCall){(const int32_t (*)[8])segments, 2, tokens, NULL, 0});
        assert_memory_equal((const float *)bench_result(&b, "c") + 3 * D, whole + at * D, (size_t)parts[i] * D * sizeof(float));
    }
    bench_close(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_heads), cmocka_unit_test(test_whole_rows), cmocka_unit_test(test_splits)
};
BENCH_MAIN(tests)
