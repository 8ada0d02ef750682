// SPDX-License-Identifier: Apache-2.0
// The gated delta rule against the interpreter: token by token, one token at a time, and by chunks; short and long segments,
// planes, odd widths. On a GPU too.
#include "tests/unit/delta_fixture.h"

// chunk: 0, or the size of chunks of which the preparation is checked too.
static void check_call(Bench *b, const int32_t (*segments)[8], uint32_t count, int32_t from, int64_t chunk, double most) {
    BenchCall call = {segments, count, some_tokens(from), NULL, 0};
    bench_check(b, &call, "o", most);
    if (chunk) check_prepared(b, &call, chunk);
}

// Three calls with company; planes change from call to call.
static void check_with(const char *text, int32_t count, int64_t chunk, double most) {
    Bench b = bench_open(text, 4, 2, MOST, MOST, 4);
    const int32_t first[4][8] = {{2, 0, 0, count, 0, 0},
                                 {0, 0, count, count / 2 + 1, 0, 1},
                                 {1, 0, count, 0, 0, 0},
                                 {3, 0, count + count / 2 + 1, 2, 1, 1}};
    const int32_t second[3][8] = {{0, count / 2 + 1, 0, count, 1, 1}, {2, count, count, 1, 0, 1}, {3, 2, count + 1, 3, 1, 0}};
    const int32_t third[2][8] = {{3, 5, 0, 2, 0, 0}, {2, count + 1, 2, 2, 1, 1}};
    check_call(&b, first, 4, 0, chunk, most);
    check_call(&b, second, 3, 7, chunk, most);
    check_call(&b, third, 2, 3, chunk, most);
    bench_close(&b);
}

static void test_scan(void **state) {
    (void)state;
    check_with(DELTA("delta.scan", "2", "4", "32", "32", "64", "128", "mod", "0.3"), 40, 0, 1.2e-13);
    check_with(DELTA("delta.scan", "2", "4", "64", "64", "128", "256", "div", "0.02"), 33, 0, 1.2e-13);
    check_with(DELTA("delta.scan", "1", "2", "128", "128", "128", "256", "mod", "0.02"), 33, 0, 2.7e-14);   // without rests 2.9e-14
    check_with(DELTA("delta.scan", "1", "3", "18", "24", "18", "72", "mod", "1"), 9, 0, 1.2e-13);
    check_with(DELTA("delta.scan", "3", "3", "7", "16", "21", "48", "div", "16"), 9, 0, 1.2e-13);
}

// A step is a scan of one token, to the bit; also from one plane to the other, and where a segment is empty.
static void test_step(void **state) {
    (void)state;
    enum { N = 12, V = 4 * 64 };
    Bench scan = bench_open(DELTA("delta.scan", "2", "4", "32", "64", "64", "256", "mod", "0.3"), 2, 2, MOST, MOST, 2);
    Bench step = bench_open(DELTA("delta.step", "2", "4", "32", "64", "64", "256", "mod", "0.3"), 2, 2, MOST, MOST, 2);
    const int32_t whole[][8] = {{0, 0, 0, N, 0, 1}};
    bench_check(&scan, &(BenchCall){whole, 1, some_tokens(0), NULL, 0}, "o", 1.2e-13);
    const float *wanted = bench_result(&scan, "o");
    for (int32_t t = 0; t < N; t++) {
        int32_t segments[2][8] = {{1, t, 0, t % 3 == 0, t % 2, t % 2}, {0, t, t % 3 == 0, 1, t % 2, (t + 1) % 2}};
        int32_t tokens[2] = {50 + t, 0};
        tokens[segments[1][2]] = some_tokens(0)[t];
        bench_check(&step, &(BenchCall){(const int32_t (*)[8])segments, 2, tokens, NULL, 0}, "o", 1.2e-13);
        assert_memory_equal((const float *)bench_result(&step, "o") + segments[1][2] * V, wanted + t * V, V * sizeof(float));
    }
    assert_memory_equal(scan.run.states[0] + run_state_plane(&scan.run, &scan.run.program->states.data[0]), step.run.states[0],
                        4 * 32 * 64 * sizeof(float));
    bench_close(&scan);
    bench_close(&step);
}

// A GPU's step goes on with the head's row: all columns of a head in one work group, in blocks where they are many.
#define STEP_NORM(nk, nv, dk, dv, KD, VD)                                                                                     \
    SOURCES(nk, nv, dk, dv, KD, VD, "0.3") "%w = weight \"w\" : f32[" dv "]\n"                                               \
    "%o = fused %q, %k, %v, %g, %beta, %s, %segments, %w {kind = delta} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, " nk ", "    \
    dk "], %.v: f32[T, " nv ", " dv "], %.g: f32[T, " nv "], %.b: f32[T, " nv "], %.s: f32[" nv ", " dk ", " dv                \
    "], %.t: i32[S, 8], %.w: f32[" dv "]) {\n"                                                                                \
    "%.o = delta.step %.q, %.k, %.v, %.g, %.b, %.s, %.t {heads = mod} : f32[T, " nv ", " dv "]\n"                             \
    "%.n = rms_norm %.o, %.w {eps = 1e-06} : f32[T, " nv ", " dv "]\n yield %.n\n } : f32[T, " nv ", " dv "]\nreturn o = %o\n }\n}\n"

static void test_step_and_norm(void **state) {
    (void)state;
    static const char *const texts[] = {STEP_NORM("1", "2", "64", "32", "64", "64"), STEP_NORM("1", "2", "128", "128", "128", "256"),
                                        STEP_NORM("1", "1", "128", "256", "128", "256"), STEP_NORM("1", "1", "6", "40", "6", "40")};
    if (strcmp(bench_target, BENCH_GPU) != 0) skip();
    for (size_t i = 0; i < HD_COUNT(texts); i++) {
        Bench b = bench_open(texts[i], 2, 2, MOST, MOST, 2);
        for (int32_t t = 0; t < 7; t++) {
            const int32_t segments[2][8] = {{1, t, 0, t % 3 == 0, t % 2, t % 2}, {0, t, t % 3 == 0, 1, t % 2, (t + 1) % 2}};
            check_call(&b, segments, 2, 5 * t, 0, t ? 2e-13 : 2e-11);   // at first o is beta v (k q): k q may cancel, which the norm shows
        }
        bench_close(&b);
    }
}

static void test_splits(void **state) {
    (void)state;
    enum { N = 130, V = 4 * 32 };
    Bench b = bench_open(DELTA("delta.scan", "2", "4", "32", "32", "64", "128", "mod", "0.3"), 3, 1, MOST, MOST, 3);
    static float whole[N * V];
    const int32_t once[][8] = {{0, 0, 0, N}};
    bench_reset(&b);
    bench_run_program(&b, &(BenchCall){once, 1, some_tokens(0), NULL, 0});
    memcpy(whole, bench_result(&b, "o"), sizeof whole);
    const int32_t parts[] = {1, 3, 64, 2, 60};
    for (uint32_t i = 0, at = 0; i < HD_COUNT(parts); at += (uint32_t)parts[i++]) {
        int32_t segments[2][8] = {{2, (int32_t)at, 3, parts[i]}, {1, (int32_t)at, 0, 3}};
        int32_t tokens[3 + N] = {9, 8, 7};
        memcpy(tokens + 3, some_tokens(0) + at, (size_t)parts[i] * sizeof *tokens);
        bench_run_program(&b, &(BenchCall){(const int32_t (*)[8])segments, 2, tokens, NULL, 0});
        assert_memory_equal((const float *)bench_result(&b, "o") + 3 * V, whole + at * V, (size_t)parts[i] * V * sizeof(float));
    }
    bench_close(&b);
}

// ---- chunks ----------------------------------------------------------------------------------------------------

static void test_chunks(void **state) {
    (void)state;
    check_with(CHUNKS("16", "2", "4", "32", "32", "64", "128", "mod", "0.3"), 40, 16, 2e-13);
    check_with(CHUNKS("32", "2", "4", "64", "64", "128", "256", "div", "0.02"), 33, 32, 2e-13);
    check_with(CHUNKS("64", "1", "3", "18", "24", "18", "72", "mod", "1"), 130, 64, 2e-13);
    check_with(CHUNKS("16", "1", "1", "32", "32", "32", "32", "mod", "80"), 64, 16, 2e-13);
    check_with(CHUNKS("32", "1", "2", "128", "128", "128", "256", "mod", "0.02"), 33, 32, 2e-13);
    check_with(CHUNKS("64", "1", "1", "128", "72", "128", "72", "mod", "0.02"), 65, 64, 2e-13);
}

static void check_against_scan(Bench *chunks, Bench *scan, const Decays *decays, int32_t count) {
    const int32_t segments[1][8] = {{0, 0, 0, count}};
    BenchCall call = {segments, 1, some_tokens(0), NULL, 0};
    set_decays(chunks, decays);
    set_decays(scan, decays);
    bench_check(chunks, &call, "o", 2e-13);
    bench_run_interp(scan, &call);
    uint64_t values;
    const float *want = ir_interp_result(scan->interp, "o", &values);
    double error = nmse(bench_result(chunks, "o"), want, values);
    if (!(error <= 2e-13)) fail_msg("%s, %d tokens: NMSE %g", decays->what, count, error);
}

// Against the token scan in float64, over the lengths at which chunks end.
static void test_chunks_and_scan(void **state) {
    (void)state;
    static const int32_t counts[] = {1, 2, 15, 16, 17, 63, 64, 65, 130};
    static const char *const texts[] = {CHUNKS("16", "2", "4", "32", "32", "64", "128", "mod", "16"),
                                        CHUNKS("32", "2", "4", "32", "32", "64", "128", "mod", "16"),
                                        CHUNKS("64", "2", "4", "32", "32", "64", "128", "mod", "16")};
    Bench scan = bench_open(DELTA("delta.scan", "2", "4", "32", "32", "64", "128", "mod", "16"), 1, 1, MOST, MOST, 1);
    for (size_t i = 0; i < HD_COUNT(texts); i++) {
        Bench chunks = bench_open(texts[i], 1, 1, MOST, MOST, 1);
        for (size_t d = 0; d < HD_COUNT(all_decays); d++)
            for (size_t n = 0; n < HD_COUNT(counts); n++) check_against_scan(&chunks, &scan, &all_decays[d], counts[n]);
        bench_close(&chunks);
    }
    bench_close(&scan);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_scan), cmocka_unit_test(test_step), cmocka_unit_test(test_step_and_norm), cmocka_unit_test(test_splits), cmocka_unit_test(test_chunks),
    cmocka_unit_test(test_chunks_and_scan)
};
BENCH_MAIN_FOR(tests, BENCH_CPUS, BENCH_GPU)
