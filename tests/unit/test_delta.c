// SPDX-License-Identifier: Apache-2.0
// The gated delta rule against the interpreter: token by token, one token at a time, and by chunks; short and long segments,
// planes, odd widths.
#include "tests/unit/group_fixture.h"

enum { MOST = 600 };

#define HEAD "module \"m\" {\n graph @g {\n %tokens = input tokens : i32[T]\n %segments = input segments : i32[S, 8]\n"
#define EMBED(name, D)                                                                      \
    "%w" name " = weight \"" name "\" : f32[97, " D "]\n%" name " = fused %tokens, %w" name \
    " {kind = embed} (%.a: i32[T], %.b: f32[97, " D "])"                                    \
    "{\n %.c = embed %.a, %.b : f32[T, " D "]\n yield %.c\n } : f32[T, " D "]\n"
// Normalised rows of heads.
#define HEADS(name, from, H, d, HD, scale)                                                                              \
    "%" name " = fused %" from " {kind = rowwise} (%.x: f32[T, " HD "]) {\n %.a = reshape %.x : f32[T, " H ", " d "]\n" \
    "%.b = l2_norm %.a {eps = 1e-06, scale = " scale "} : f32[T, " H ", " d "]\n yield %.b\n } : f32[T, " H ", " d "]\n"
// Decays g = -A softplus(a) and strengths beta = sigmoid(b).
#define GATES(nv, A)                                                                                                        \
    "%g, %beta = fused %a, %b {kind = rowwise} (%.a: f32[T, " nv "], %.b: f32[T, " nv "]) {\n %.c = softplus %.a : f32[T, " \
    nv "]\n"                                                                                                                \
    "%.d = scale %.c {value = -" A "} : f32[T, " nv "]\n %.e = sigmoid %.b : f32[T, " nv "]\n yield %.d, %.e\n } : f32[T, " \
    nv "], f32[T, " nv "]\n"
#define SOURCES(nk, nv, dk, dv, KD, VD, A)                                                                                   \
    HEAD EMBED("q0", KD) EMBED("k0", KD) EMBED("v0", VD) EMBED("a", nv) EMBED("b", nv) HEADS("q", "q0", nk, dk, KD, "0.125") \
    HEADS("k", "k0", nk, dk, KD, "1") GATES(nv, A) "%s = state \"s\" delta : f32[" nv ", " dk ", " dv "]\n"                  \
    "%v = fused %v0 {kind = rowwise} (%.x: f32[T, " VD "]) {\n %.a = reshape %.x : f32[T, " nv ", " dv "]\n yield %.a\n"     \
    "} : f32[T, " nv ", " dv "]\n"
#define DELTA(op, nk, nv, dk, dv, KD, VD, heads, A)                                                                         \
    SOURCES(nk, nv, dk, dv, KD, VD, A)                                                                                      \
    "%o = fused %q, %k, %v, %g, %beta, %s, %segments {kind = delta} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, " nk ", " dk  \
    "], "                                                                                                                   \
    "%.v: f32[T, " nv ", " dv "], %.g: f32[T, " nv "], %.b: f32[T, " nv "], %.s: f32[" nv ", " dk ", " dv                   \
    "], %.t: i32[S, 8]) {\n"                                                                                                \
    "%.o = " op " %.q, %.k, %.v, %.g, %.b, %.s, %.t {heads = " heads "} : f32[T, " nv ", " dv "]\n yield %.o\n } : f32[T, " \
    nv ", " dv "]\n"                                                                                                        \
    "return o = %o\n }\n}\n"

static int32_t *some_tokens(int32_t from) {
    static int32_t tokens[MOST];
    for (int32_t t = 0; t < MOST; t++) tokens[t] = ((t + from) * 31 + (t + from) / 7) % 97;
    return tokens;
}

// Two calls with company; planes change from call to call.
static void check_with(const char *text, int32_t count, double most) {
    Bench b = bench_open(text, 4, 2, MOST, MOST, 4);
    int32_t first[4][8] = {{2, 0, 0, count, 0, 0},
                           {0, 0, count, count / 2 + 1, 0, 1},
                           {1, 0, count, 0, 0, 0},
                           {3, 0, count + count / 2 + 1, 2, 1, 1}};
    bench_check(&b, &(BenchCall){(const int32_t (*)[8])first, 4, some_tokens(0), NULL, 0}, "o", most);
    int32_t second[3][8] = {{0, count / 2 + 1, 0, count, 1, 1}, {2, count, count, 1, 0, 1}, {3, 2, count + 1, 3, 1, 0}};
    bench_check(&b, &(BenchCall){(const int32_t (*)[8])second, 3, some_tokens(7), NULL, 0}, "o", most);
    int32_t third[2][8] = {{3, 5, 0, 2, 0, 0}, {2, count + 1, 2, 2, 1, 1}};
    bench_check(&b, &(BenchCall){(const int32_t (*)[8])third, 2, some_tokens(3), NULL, 0}, "o", most);
    bench_close(&b);
}

static void test_scan(void **state) {
    (void)state;
    check_with(DELTA("delta.scan", "2", "4", "32", "32", "64", "128", "mod", "0.3"), 40, 1.2e-13);
    check_with(DELTA("delta.scan", "2", "4", "64", "64", "128", "256", "div", "0.02"), 33, 1.2e-13);
    check_with(DELTA("delta.scan", "1", "3", "18", "24", "18", "72", "mod", "1"), 9, 1.2e-13);
    check_with(DELTA("delta.scan", "3", "3", "7", "16", "21", "48", "div", "16"), 9, 1.2e-13);
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

#define CHUNKS(size, nk, nv, dk, dv, KD, VD, heads, A)                                                                        \
    SOURCES(nk, nv, dk, dv, KD, VD, A) "dim E = " size "*S + " size "*ceil(T/" size ")\n"                                     \
    "%U, %W, %P, %C = fused %q, %k, %v, %g, %beta, %segments {kind = delta_prep} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, "  \
    nk ", " dk "], "                                                                                                          \
    "%.v: f32[T, " nv ", " dv "], %.g: f32[T, " nv "], %.b: f32[T, " nv "], %.t: i32[S, 8]) {\n"                              \
    "%.1, %.2, %.3, %.4 = delta.chunk_prep %.q, %.k, %.v, %.g, %.b, %.t {heads = " heads ", chunk = " size "} : f32[E, " nv   \
    ", " dv "], f32[E, " nv ", "                                                                                              \
    dk "], f32[E, " nv ", " size "], f32[E, " nv "]\n yield %.1, %.2, %.3, %.4\n } : f32[E, " nv ", " dv "], f32[E, " nv ", " \
    dk "], f32[E, " nv ", "                                                                                                   \
    size "], f32[E, " nv "]\n"                                                                                                \
    "%o = fused %q, %k, %U, %W, %P, %C, %s, %segments {kind = delta_chunk} (%.q: f32[T, " nk ", " dk "], %.k: f32[T, " nk     \
    ", " dk "], "                                                                                                             \
    "%.1: f32[E, " nv ", " dv "], %.2: f32[E, " nv ", " dk "], %.3: f32[E, " nv ", " size "], %.4: f32[E, " nv "], %.s: f32[" \
    nv ", " dk ", " dv "], "                                                                                                  \
    "%.t: i32[S, 8]) {\n %.o = delta.chunk_scan %.q, %.k, %.1, %.2, %.3, %.4, %.s, %.t {heads = " heads ", chunk = " size     \
    "} : f32[T, " nv ", " dv "]\n"                                                                                            \
    "yield %.o\n } : f32[T, " nv ", " dv "]\n return o = %o\n }\n}\n"

static void test_chunks(void **state) {
    (void)state;
    check_with(CHUNKS("16", "2", "4", "32", "32", "64", "128", "mod", "0.3"), 40, 2e-13);
    check_with(CHUNKS("32", "2", "4", "64", "64", "128", "256", "div", "0.02"), 33, 2e-13);
    check_with(CHUNKS("64", "1", "3", "18", "24", "18", "72", "mod", "1"), 130, 2e-13);
    check_with(CHUNKS("16", "1", "1", "32", "32", "32", "32", "mod", "80"), 64, 2e-13);
}

// Against the token scan, over the lengths at which chunks end; decays from weak ones to A = -16 with dt = 5.
static void test_chunks_and_scan(void **state) {
    (void)state;
    static const int32_t counts[] = {1, 2, 15, 16, 17, 63, 64, 65, 130};
    static const char *const texts[][2] = {
        {CHUNKS("64", "2", "4", "32", "32", "64", "128", "mod", "0.1"), DELTA("delta.scan", "2", "4", "32", "32", "64", "128",
        "mod", "0.1")},
        {CHUNKS("16", "2", "4", "32", "32", "64", "128", "mod", "16"), DELTA("delta.scan", "2", "4", "32", "32", "64", "128",
        "mod", "16")},
        {CHUNKS("32", "2", "4", "32", "32", "64", "128", "mod", "16"), DELTA("delta.scan", "2", "4", "32", "32", "64", "128",
        "mod", "16")},
    };
    static const double most = 2e-13;
    for (size_t form = 0; form < HD_COUNT(texts); form++) {
        Bench chunks = bench_open(texts[form][0], 1, 1, MOST, MOST, 1), scan = bench_open(texts[form][1], 1, 1, MOST, MOST, 1);
        uint64_t n, m;
        float *a = bench_values(&chunks, "a", &n), *same = bench_values(&scan, "a", &m);
        for (uint64_t i = 0; i < n && form == 1; i++) a[i] = same[i] = a[i] + 5;
        for (uint64_t i = 0; i < n && form == 2; i++)
            a[i] = same[i] = i % 11 == 0 ? 5 : -8 + a[i]; // few strong decays among weak ones
        for (size_t i = 0; i < HD_COUNT(counts); i++) {
            int32_t segments[1][8] = {{0, 0, 0, counts[i]}};
            BenchCall call = {(const int32_t (*)[8])segments, 1, some_tokens(0), NULL, 0};
            bench_reset(&chunks);
            bench_reset(&scan);
            bench_check(&chunks, &call, "o", most);
            bench_run_interp(&scan, &call);
            uint64_t count;
            const float *want = ir_interp_result(scan.interp, "o", &count);
            double error = run_nmse(bench_result(&chunks, "o"), want, count);
            if (!(error <= most)) fail_msg("form %d, %d tokens: NMSE %g", (int)form, counts[i], error);
        }
        bench_close(&chunks);
        bench_close(&scan);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_scan), cmocka_unit_test(test_step), cmocka_unit_test(test_splits), cmocka_unit_test(test_chunks),
    cmocka_unit_test(test_chunks_and_scan)
};
BENCH_MAIN(tests)
