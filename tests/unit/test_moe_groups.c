// SPDX-License-Identifier: Apache-2.0
// Choosing experts, the dispatch plan, sums over ranks, and choosing the largest of a row, against the interpreter and what they are defined to be.
#include "ir/moe_plan.h"
#include "tests/unit/group_fixture.h"

static const int32_t segments[][8] = {{0, 0, 0, 19}};

#define HEAD "module \"m\" {\n graph @g {\n"
#define EMBED(name, D)                                                                      \
    "%w" name " = weight \"" name "\" : f32[97, " D "]\n%" name " = fused %tokens, %w" name \
    " {kind = embed} (%.a: i32[T], %.b: f32[97, " D "])"                                    \
    "{\n %.c = embed %.a, %.b : f32[T, " D "]\n yield %.c\n } : f32[T, " D "]\n"
// The router as the model has it: probabilities, the k largest, made to sum to 1.
#define ROUTER(E, k)                                                                                                 \
    EMBED("x", E) "%1, %2, %3 = fused %x {kind = topk} (%.x: f32[T, " E "]) {\n %.p = softmax %.x : f32[T, " E "]\n" \
    "%.v, %.i = topk %.p {k = " k "} : f32[T, " k "], i32[T, " k "]\n %.s = sum %.v : f32[T, 1]\n"                   \
    "%.w = div %.v, %.s : f32[T, " k "]\n"                                                                           \
    "yield %.w, %.i, %.v\n } : f32[T, " k "], i32[T, " k "], f32[T, " k "]\n"

static int32_t *some_tokens(void) {
    static int32_t tokens[64];
    for (int32_t t = 0; t < 64; t++) tokens[t] = (t * 31 + t / 7) % 97;
    return tokens;
}

static BenchCall one_call(void) { return (BenchCall){segments, 1, some_tokens(), NULL, 0}; }

static void expect_ids(const Bench *b, const char *name, uint64_t rows) {
    uint64_t count;
    const float *want = ir_interp_result(b->interp, name, &count);
    const int32_t *got = bench_result(b, name);
    if (want) assert_int_equal(count, rows);
    for (uint64_t i = 0; want && i < count; i++) assert_int_equal(got[i], (int32_t)want[i]);
}

static void test_router(void **state) {
    (void)state;
    static const char *const texts[] = {
        HEAD "%tokens = input tokens : i32[T]\n" ROUTER("16", "4") "return w = %1, v = %3\n }\n}\n",
        HEAD "%tokens = input tokens : i32[T]\n" ROUTER("128", "8") "return w = %1, v = %3\n }\n}\n",
        HEAD "%tokens = input tokens : i32[T]\n" ROUTER("7", "7") "return w = %1, v = %3\n }\n}\n",
        HEAD "%tokens = input tokens : i32[T]\n" ROUTER("33", "1") "return w = %1, v = %3\n }\n}\n",
    };
    for (size_t i = 0; i < HD_COUNT(texts); i++) {
        Bench b = bench_open(texts[i], 1, 1, 64, 64, 1);
        BenchCall c = one_call();
        bench_check(&b, &c, "w", 1.5e-14);
        bench_compare(&b, "v", 1.5e-14);
        bench_close(&b);
    }
}

// What is chosen without a softmax: exactly the interpreter's, with many equal numbers, zeros of both signs and infinities.
static void test_ties(void **state) {
    (void)state;
    Bench b = bench_open(HEAD "%tokens = input tokens : i32[T]\n" EMBED("x", "21") EMBED("table", "1")
        "%1, %2 = fused %x {kind = topk} (%.x: f32[T, 21]) {\n %.v, %.i = topk %.x {k = 6} : f32[T, 6], i32[T, 6]\n"
        "yield %.v, %.i\n } : f32[T, 6], i32[T, 6]\n"
        "return v = %1, i = %2\n }\n}\n", 1, 1, 64, 64, 1);
    uint64_t count;
    float *x = bench_values(&b, "x", &count);
    static const float some[] = {0, -0.0f, 1, -1, 2, INFINITY, -INFINITY, 1e-40f};
    for (uint64_t i = 0; i < count; i++) x[i] = some[(i * 2654435761u >> 7) % (i % 3 ? 5 : 8)];
    BenchCall c = one_call();
    bench_run_interp(&b, &c);
    bench_run_program(&b, &c);
    const float *v = bench_result(&b, "v");
    const int32_t *ids = bench_result(&b, "i");
    for (int t = 0; t < 19; t++)
        for (int r = 0; r < 6; r++) {
            const float *row = x + 21 * some_tokens()[t];
            assert_true(v[6 * t + r] == row[ids[6 * t + r]]);
            for (int e = 0; e < 21; e++) {   // none that is left is larger, nor equal and earlier
                bool taken = false;
                for (int p = 0; p < r; p++) taken = taken || ids[6 * t + p] == e;
                if (!taken) assert_true(row[e] < v[6 * t + r] || (row[e] == v[6 * t + r] && e >= ids[6 * t + r]));
            }
        }
    expect_ids(&b, "i", 19 * 6);
    bench_close(&b);
}

#define PLAN(words, E, k, tile)                                                                                        \
    HEAD "dim P = " words "\n%tokens = input tokens : i32[T]\n" ROUTER(E, k)                                          \
    "%4 = fused %2 {kind = moe_plan} (%.i: i32[T, " k "]) {\n %.p = moe_plan %.i {tile = " tile ", experts = " E "} : i32[P]\n" \
    "yield %.p\n } : i32[P]\nreturn w = %1, i = %2, plan = %4\n }\n}\n"

static void check_plan(const char *text, IrMoePlan p) {
    Bench b = bench_open(text, 1, 1, 64, 64, 1);
    BenchCall c = one_call();
    bench_check(&b, &c, "w", 1.5e-14);
    const int32_t *plan = bench_result(&b, "plan"), *ids = bench_result(&b, "i");
    const int32_t *counts = plan + ir_moe_plan_counts_at(p), *starts = plan + ir_moe_plan_starts_at(p),
                  *rows = plan + ir_moe_plan_rows_at(p);
    const int32_t *tiles = plan + ir_moe_plan_tiles_at(p);
    int32_t at = 0, used = 0, all = (int32_t)(p.tokens * p.ranks);
    for (int32_t e = 0; e < p.experts; e++) {
        assert_int_equal(starts[e], at);
        int32_t first = at;
        for (int32_t row = 0; row < all; row++)
            if (ids[row] == e) assert_int_equal(rows[at++], row);
        assert_int_equal(counts[e], at - first);
        for (int32_t row = first; row < at; row += (int32_t)p.tile, used++) {
            assert_int_equal(tiles[3 * used], e);
            assert_int_equal(tiles[3 * used + 1], row);
            assert_int_equal(tiles[3 * used + 2], HD_MIN((int32_t)p.tile, at - row));
        }
    }
    assert_int_equal(starts[p.experts], all);
    assert_int_equal(plan[0], used);
    for (int64_t i = 3 * used; i < 3 * ir_moe_plan_tile_bound(p); i++) assert_int_equal(tiles[i], 0);
    expect_ids(&b, "plan", (uint64_t)ir_moe_plan_words(p));
    bench_close(&b);
}

static void test_plan(void **state) {
    (void)state;
    check_plan(PLAN("62 + 4*T + 12*ceil(T/3)", "12", "4", "3"), (IrMoePlan){.experts = 12, .tile = 3, .ranks = 4, .tokens = 19});
    check_plan(PLAN("1502 + 6*T + 18*ceil(T/2)", "300", "6", "2"),   // more than the lanes of a work group
               (IrMoePlan){.experts = 300, .tile = 2, .ranks = 6, .tokens = 19});
}

static void test_sum(void **state) {
    (void)state;
    Bench b = bench_open(HEAD "%tokens = input tokens : i32[T]\n" EMBED("y", "150") EMBED("w", "3") EMBED("g", "1") EMBED("s",
    "50")
        "%1 = fused %y, %w, %g, %s {kind = rowwise} (%.y: f32[T, 150], %.w: f32[T, 3], %.g: f32[T, 1], %.s: f32[T, 50]) {\n"
        "%.a = reshape %.y : f32[T, 3, 50]\n %.b = moe_sum %.a, %.w : f32[T, 50]\n %.c = sigmoid %.g : f32[T, 1]\n"
        "%.d = mul %.s, %.c : f32[T, 50]\n %.e = add %.b, %.d : f32[T, 50]\n yield %.e\n } : f32[T, 50]\n return e = %1\n }\n"
        "}\n", 1, 1, 64, 64, 1);
    BenchCall c = one_call();
    bench_check(&b, &c, "e", 1.5e-14);
    bench_close(&b);
}

// Runs of D columns.
#define ARGMAX(D, width, P)                                                                                            \
    HEAD "%tokens = input tokens : i32[T]\n" EMBED("x", D)                                                             \
    "%1, %2 = fused %x {kind = argmax} (%.x: f32[T, " D "]) {\n"                                                       \
    "%.v, %.i = argmax %.x {width = " width "} : f32[T, " P "], i32[T, " P "]\n"                                       \
    "yield %.v, %.i\n } : f32[T, " P "], i32[T, " P "]\n"                                                              \
    "return v = %1, i = %2\n }\n}\n"

static void check_argmax(const char *text, int64_t runs, void (*change)(float *x, uint64_t count)) {
    Bench b = bench_open(text, 1, 1, 64, 64, 1);
    uint64_t count;
    float *x = bench_values(&b, "x", &count);
    if (change) change(x, count);
    BenchCall c = one_call();
    bench_run_interp(&b, &c);
    bench_run_program(&b, &c);
    const float *want = ir_interp_result(b.interp, "v", &count);
    assert_memory_equal(bench_result(&b, "v"), want, 19 * (size_t)runs * sizeof *want);
    expect_ids(&b, "i", 19 * (uint64_t)runs);
    bench_close(&b);
}

static void put_ties(float *x, uint64_t count) {
    static const float some[] = {0, -0.0f, 1, -1, 1, -1e-40f, 1e-40f};
    for (uint64_t i = 0; i < count; i++) x[i] = some[(i * 2654435761u >> 7) % 7] * (float)(i / 21 % 2);
}

static void put_not_finite(float *x, uint64_t count) {
    for (uint64_t i = 0; i < count; i += 37) x[i] = (float[]){INFINITY, -INFINITY, NAN}[i % 3];
}

static void test_argmax(void **state) {
    (void)state;
    check_argmax(ARGMAX("21", "5", "5"), 5, NULL);
    check_argmax(ARGMAX("21", "21", "1"), 1, put_ties);
    check_argmax(ARGMAX("21", "5", "5"), 5, put_ties);
    check_argmax(ARGMAX("21", "5", "5"), 5, put_not_finite);
    check_argmax(ARGMAX("5000", "2048", "3"), 3, NULL);
    check_argmax(ARGMAX("5000", "2048", "3"), 3, put_not_finite);
}

// The runs of the largest numbers.
#define TOP(D, width, P, k, n)                                                                                         \
    HEAD "%tokens = input tokens : i32[T]\n" EMBED("x", D)                                                             \
    "%1, %2 = fused %x {kind = argmax} (%.x: f32[T, " D "]) {\n"                                                       \
    "%.v, %.i = argmax %.x {width = " width "} : f32[T, " P "], i32[T, " P "]\n"                                       \
    "yield %.v, %.i\n } : f32[T, " P "], i32[T, " P "]\n"                                                              \
    "%3, %4 = fused %x, %1, %2 {kind = top_runs} (%.x: f32[T, " D "], %.v: f32[T, " P "], %.i: i32[T, " P "]) {\n"     \
    "%.t, %.b = top_runs %.x, %.v, %.i {k = " k ", width = " width "} : f32[T, " k ", " n "], i32[T, 1]\n"             \
    "yield %.t, %.b\n } : f32[T, " k ", " n "], i32[T, 1]\n"                                                           \
    "return top = %3, best = %4\n }\n}\n"

// What a run is ordered by, and where its largest number stands; -1: one is not finite.
static float largest_of_run(const float *row, int64_t begin, int64_t end, int32_t *out_column) {
    *out_column = (int32_t)begin;
    for (int64_t c = begin; c < end; c++)
        if (row[c] > row[*out_column]) *out_column = (int32_t)c;
    float largest = row[*out_column];
    for (int64_t c = begin; c < end; c++)
        if (!isfinite(row[c])) *out_column = -1, largest = INFINITY;
    return largest;
}

// The run of rank `rank`, those before it being in the records, by the definition.
static int64_t next_run(const float *row, int64_t columns, int64_t width, const float *records, int64_t rank, int32_t *out_column) {
    int64_t best = -1;
    float most = 0;
    for (int64_t run = 0; run * width < columns; run++) {
        bool taken = false;
        int32_t column;
        for (int64_t r = 0; r < rank; r++) taken = taken || (int64_t)records[r * (1 + width)] == run;
        float value = largest_of_run(row, run * width, HD_MIN((run + 1) * width, columns), &column);
        if (!taken && (best < 0 || value > most)) best = run, most = value, *out_column = column;
    }
    return best;
}

static void check_top(const char *text, int64_t columns, int64_t width, int64_t k, void (*change)(float *x, uint64_t count)) {
    Bench b = bench_open(text, 1, 1, 64, 64, 1);
    uint64_t count;
    float *x = bench_values(&b, "x", &count), *want = calloc((size_t)(k * (1 + width)), sizeof *want);
    if (change) change(x, count);
    BenchCall c = one_call();
    bench_run_interp(&b, &c);
    bench_run_program(&b, &c);
    const float *interpreted = ir_interp_result(b.interp, "top", &count), *got = bench_result(&b, "top");
    const int32_t *best = bench_result(&b, "best");
    for (int64_t t = 0; t < 19; t++, got += k * (1 + width), interpreted += k * (1 + width)) {
        const float *row = x + columns * some_tokens()[t];
        int32_t column;
        for (int64_t rank = 0; rank < k; rank++) {
            float *record = want + rank * (1 + width);
            int64_t run = next_run(row, columns, width, want, rank, &column);
            record[0] = (float)run;
            for (int64_t i = 0; i < width; i++) record[1 + i] = run * width + i < columns ? row[run * width + i] : -INFINITY;
            if (!rank) assert_int_equal(best[t], column);
        }
        assert_memory_equal(got, want, (size_t)(k * (1 + width)) * sizeof *want);
        assert_memory_equal(interpreted, want, (size_t)(k * (1 + width)) * sizeof *want);
    }
    expect_ids(&b, "best", 19);
    free(want);
    bench_close(&b);
}

static void test_top_runs(void **state) {
    (void)state;
    check_top(TOP("21", "5", "5", "3", "6"), 21, 5, 3, NULL);
    check_top(TOP("21", "5", "5", "5", "6"), 21, 5, 5, put_ties);
    check_top(TOP("21", "5", "5", "2", "6"), 21, 5, 2, put_not_finite);
    check_top(TOP("21", "21", "1", "1", "22"), 21, 21, 1, put_ties);
    check_top(TOP("5000", "64", "79", "64", "65"), 5000, 64, 64, NULL);
    check_top(TOP("5000", "64", "79", "20", "65"), 5000, 64, 20, put_ties);
    check_top(TOP("5000", "64", "79", "64", "65"), 5000, 64, 64, put_not_finite);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_router), cmocka_unit_test(test_ties), cmocka_unit_test(test_plan), cmocka_unit_test(test_sum),
    cmocka_unit_test(test_argmax), cmocka_unit_test(test_top_runs)
};
BENCH_MAIN_FOR(tests, BENCH_CPUS, BENCH_GPU)
