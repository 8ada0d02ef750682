// SPDX-License-Identifier: Apache-2.0
// Row-wise groups against the interpreter: norms, views, rope, caches, quantised rows, several results, rows taken by index.
#include "tests/unit/group_fixture.h"

static const int32_t tokens[64] = {3,  1,  4, 15, 9,  2,  6,  5,  35, 8,  7,  11, 32, 38, 46, 26,
                                   43, 37, 0, 10, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24};
static const int32_t one_segment[][8] = {{0, 0, 0, 13, 0, 0, 0, 0}};
static const int32_t rows[5] = {0, 3, 4, 9, 12};
static const BenchCall one_call = {one_segment, 1, tokens, rows, 5};

#define HEAD "module \"m\" {\n graph @g {\n %tokens = input tokens : i32[T]\n %segments = input segments : i32[S, 8]\n"
#define VECTOR(name, n) "%" name " = weight \"" name "\" : f32[" n "]\n"
#define ROWS(name, D) "%w" name " = weight \"" name "\" : f32[48, " D "]\n"
#define EMBED(name, D)                                                                            \
    "%" name " = fused %tokens, %w" name " {kind = embed} (%.a: i32[T], %.b: f32[48, " D "]) {\n" \
    "%.c = embed %.a, %.b : f32[T, " D "]\n"                                                      \
    "yield %.c\n } : f32[T, " D "]\n"
#define TAIL " }\n}\n"

static void check(const char *text, uint32_t count, const char *const *names, double most) {
    Bench b = bench_open(text, 2, 2, 64, 64, 3);
    bench_run_interp(&b, &one_call);
    bench_run_program(&b, &one_call);
    for (uint32_t i = 0; i < count; i++) bench_compare(&b, names[i], most);
    bench_close(&b);
}
#define CHECK(text, most, ...)                                                                                                   \
    check(text, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, most)

// Sum and norm of it: the first is a result that the second reads. 1: one lane; 7: a tail only; 1000: the long loop and a tail.
static void test_norm(void **state) {
    (void)state;
#define NORM(D)                                                                                                              \
    CHECK(HEAD ROWS("x", D) ROWS("y", D) VECTOR("n", D) EMBED("x", D) EMBED("y", D)                                          \
        "%2, %3, %4 = fused %x, %y, %n {kind = rowwise} (%.a: f32[T, " D "], %.b: f32[T, " D "], %.c: f32[" D "]) {\n"       \
        "%.d = add %.a, %.b : f32[T, " D "]\n %.e = rms_norm %.d, %.c {eps = 1e-06} : f32[T, " D "]\n"                       \
        "%.f = l2_norm %.d {eps = 0.001, scale = 0.25} : f32[T, " D "]\n yield %.d, %.e, %.f\n } : f32[T, " D "], f32[T, " D \
        "], f32[T, " D "]\n"                                                                                                 \
        "return sum = %2, norm = %3, l2 = %4\n" TAIL, 1e-14, "sum", "norm", "l2")
    NORM("1");
    NORM("7");
    NORM("64");
    NORM("100");
    NORM("1000");
}

static void test_elementwise(void **state) {
    (void)state;
    CHECK(HEAD ROWS("x", "37") ROWS("y", "37") VECTOR("n", "37") VECTOR("one", "1") EMBED("x", "37") EMBED("y", "37")
        "%2, %3, %4, %5 = fused %x, %y, %n, %one {kind = rowwise} (%.a: f32[T, 37], %.b: f32[T, 37], %.c: f32[37], %.one: "
        "f32[1]) {\n"
        "%.d = silu %.a : f32[T, 37]\n %.e = mul %.d, %.b : f32[T, 37]\n %.f = add %.e, %.c : f32[T, 37]\n"
        "%.g = softplus %.f : f32[T, 37]\n %.h = neg %.g : f32[T, 37]\n %.i = exp %.h : f32[T, 37]\n"
        "%.j = sigmoid %.f : f32[T, 37]\n %.k = scale %.j {value = 1.5} : f32[T, 37]\n %.l = sub %.k, %.one : f32[T, 37]\n"
        "%.m = div %.l, %.g : f32[T, 37]\n yield %.e, %.i, %.l, %.m\n } : f32[T, 37], f32[T, 37], f32[T, 37], f32[T, 37]\n"
        "return e = %2, i = %3, l = %4, m = %5\n" TAIL, 8e-15, "e", "i", "l", "m");
}

// Sums and soft maxima over rows, their broadcast back, and a result of one column.
static void test_softmax(void **state) {
    (void)state;
#define SOFT(D)                                                                                                             \
    CHECK(HEAD ROWS("x", D) EMBED("x", D)                                                                                   \
        "%2, %3, %4 = fused %x {kind = rowwise} (%.a: f32[T, " D "]) {\n %.b = scale %.a {value = 3} : f32[T, " D "]\n"     \
        "%.c = softmax %.b : f32[T, " D "]\n %.s = exp %.a : f32[T, " D "]\n %.d = sum %.s : f32[T, 1]\n"                   \
        "%.e = div %.c, %.d : f32[T, " D "]\n"                                                                              \
        "yield %.c, %.d, %.e\n } : f32[T, " D "], f32[T, 1], f32[T, " D "]\n return soft = %2, sum = %3, both = %4\n" TAIL, \
        3e-14, "soft", "sum", "both")
    SOFT("5");
    SOFT("16");
    SOFT("60");
    SOFT("256");
    SOFT("515");
}

// Query rows as the model has them: heads of [query, gate], norm, rope; keys and values to the caches. d / n / lanes that
// divide and that do not.
static void test_heads(void **state) {
    (void)state;
#define HEADS(H, d, d2, HD2, n, KVD, kv)                                                                                      \
    CHECK(HEAD "%rope = input rope {theta = 10000} : f32[T, " n "]\n" ROWS("x", HD2) ROWS("y", KVD) VECTOR("n", d) EMBED("x", \
    HD2) EMBED("y", KVD)                                                                                                      \
        "%ks = state \"k\" kv : " kv "[C, 2, " d "]\n %vs = state \"v\" kv : " kv "[C, 2, " d "]\n"                           \
        "%2, %3 = fused %x, %n, %rope {kind = rowwise} (%.x: f32[T, " HD2 "], %.n: f32[" d "], %.r: f32[T, " n "]) {\n"       \
        "%.a = reshape %.x : f32[T, " H ", " d2 "]\n %.b = slice %.a {axis = 2, begin = 0, end = " d "} : f32[T, " H ", " d   \
        "]\n"                                                                                                                 \
        "%.c = slice %.a {axis = 2, begin = " d ", end = " d2 "} : f32[T, " H ", " d "]\n"                                    \
        "%.d = rms_norm %.b, %.n {eps = 1e-06} : f32[T, " H ", " d "]\n %.e = rope %.d, %.r : f32[T, " H ", " d "]\n"         \
        "%.f = sigmoid %.c : f32[T, " H ", " d "]\n yield %.e, %.f\n } : f32[T, " H ", " d "], f32[T, " H ", " d "]\n"        \
        "fused %y, %n, %rope, %ks, %vs, %segments {kind = rowwise} (%.y: f32[T, " KVD "], %.n: f32[" d "], %.r: f32[T, " n    \
        "], "                                                                                                                 \
        "%.k: " kv "[C, 2, " d "], %.v: " kv "[C, 2, " d "], %.s: i32[S, 8]) {\n %.a = reshape %.y : f32[T, 2, " d "]\n"      \
        "%.b = rms_norm %.a, %.n {eps = 1e-06} : f32[T, 2, " d "]\n %.c = rope %.b, %.r : f32[T, 2, " d "]\n"                 \
        "kv_append %.c, %.k, %.s\n kv_append %.a, %.v, %.s\n yield\n }\n"                                                     \
        "%4 = fused %2, %ks, %vs, %segments {kind = attention} (%.q: f32[T, " H ", " d "], %.k: " kv "[C, 2, " d "], %.v: "   \
        kv "[C, 2, " d "], "                                                                                                  \
        "%.s: i32[S, 8]) {\n %.o = attention %.q, %.k, %.v, %.s {scale = 0.25} : f32[T, " H ", " d "]\n yield %.o\n"          \
        "} : f32[T, " H ", " d "]\n"                                                                                          \
        "return q = %2, gate = %3, o = %4\n" TAIL, sizeof kv == 4 ? 1e-6 : 8e-14, "q", "gate", "o")
    HEADS("4", "64", "128", "512", "32", "128", "f32");
    HEADS("2", "24", "48", "96", "16", "48", "f32");
    HEADS("4", "20", "40", "160", "6", "40", "f32");
    HEADS("2", "16", "32", "64", "16", "32", "f32");
    HEADS("4", "64", "128", "512", "32", "128", "f16");
}

// The gated norm, head by head, whose rows are then read as whole rows: flattened, quantised, cast, and flattened with a
// product on the outside.
static void test_flat(void **state) {
    (void)state;
#define FLAT(d, HD)                                                                                                            \
    CHECK(HEAD ROWS("x", HD) ROWS("z", HD) VECTOR("n", d) EMBED("x", HD) EMBED("z", HD)                                        \
        "%2, %3, %4 = fused %x, %z, %n {kind = rowwise} (%.x: f32[T, " HD "], %.z: f32[T, " HD "], %.n: f32[" d "]) {\n"       \
        "%.a = reshape %.x : f32[T, 4, " d "]\n %.b = rms_norm %.a, %.n {eps = 1e-06} : f32[T, 4, " d "]\n"                    \
        "%.c = reshape %.z : f32[T, 4, " d "]\n %.d = silu %.c : f32[T, 4, " d "]\n %.e = mul %.b, %.d : f32[T, 4, " d "]\n"   \
        "%.f = reshape %.e : f32[T, " HD "]\n %.g = sigmoid %.z : f32[T, " HD "]\n %.h = mul %.f, %.g : f32[T, " HD "]\n"      \
        "%.s = l2_norm %.h {eps = 0.5, scale = 2} : f32[T, " HD "]\n"                                                          \
        "yield %.f, %.h, %.s\n } : f32[T, " HD "], f32[T, " HD "], f32[T, " HD "]\n"                                           \
        "%5 = fused %x, %n {kind = rowwise} (%.x: f32[T, " HD "], %.n: f32[" d "]) {\n %.a = reshape %.x : f32[T, 4, " d "]\n" \
        "%.b = rms_norm %.a, %.n {eps = 1e-06} : f32[T, 4, " d "]\n %.c = reshape %.b : f32[T, " HD "]\n yield %.c\n"          \
        "} : f32[T, " HD "]\n"                                                                                                 \
        "return f = %2, h = %3, s = %4, n = %5\n" TAIL, 3e-14, "f", "h", "s", "n")
    FLAT("32", "128");
    FLAT("10", "40");
    FLAT("3", "12");
}

// Views that cut rows anywhere: slices of heads, joined parts, leading dimensions merged and split.
static void test_views(void **state) {
    (void)state;
    CHECK("module \"m\" {\n graph @g {\n dim TH = 4*T\n %tokens = input tokens : i32[T]\n" ROWS("x", "60") ROWS("y", "8")
    EMBED("x", "60") EMBED("y", "8")
        "%2, %3 = fused %x, %y {kind = rowwise} (%.x: f32[T, 60], %.y: f32[T, 8]) {\n"
        "%.a = concat %.x, %.y, %.x {axis = 1} : f32[T, 128]\n"
        "%.b = slice %.a {axis = 1, begin = 5, end = 101} : f32[T, 96]\n %.c = silu %.b : f32[T, 96]\n"
        "%.d = reshape %.c : f32[T, 4, 24]\n"
        "%.e = slice %.d {axis = 1, begin = 1, end = 3} : f32[T, 2, 24]\n %.f = neg %.e : f32[T, 2, 24]\n yield %.c, %.f\n"
        "} : f32[T, 96], f32[T, 2, 24]\n"
        "%4 = fused %x {kind = rowwise} (%.x: f32[T, 60]) {\n %.a = reshape %.x : f32[TH, 15]\n %.b = silu %.a : f32[TH, 15]\n"
        "%.c = reshape %.b : f32[T, 2, 30]\n %.d = exp %.c : f32[T, 2, 30]\n yield %.d\n } : f32[T, 2, 30]\n"
        "%5 = fused %x, %y {kind = rowwise} (%.x: f32[T, 60], %.y: f32[T, 8]) {\n %.a = reshape %.x : f32[T, 2, 30]\n"
        "%.c = reshape %.y : f32[T, 2, 4]\n"
        "%.b = concat %.a, %.c, %.a {axis = 2} : f32[T, 2, 64]\n %.d = sum %.b : f32[T, 2, 1]\n"
        "%.e = mul %.b, %.d : f32[T, 2, 64]\n yield %.e\n } : f32[T, 2, 64]\n"
        "return c = %2, f = %3, soft = %4, e = %5\n" TAIL, 3e-14, "c", "f", "soft", "e");
}

static void test_refused(void **state) {
    (void)state;
    IrModule *module = NULL;
    IrTarget target;
    CgProgram *program = NULL;
    HdBuf text = bench_text("module \"m\" {\n graph @g {\n dim TH = 4*T\n %tokens = input tokens : i32[T]\n" ROWS("x", "60")
    EMBED("x", "60")
        "%2 = fused %x {kind = rowwise} (%.x: f32[T, 60]) {\n %.a = reshape %.x : f32[TH, 15]\n %.b = softmax %.a : f32[TH, 15]\n"
        "%.c = reshape %.b : f32[T, 2, 30]\n %.d = exp %.c : f32[T, 2, 30]\n yield %.d\n } : f32[T, 2, 30]\n return a = %2\n"
        TAIL);
    expect_ok(ir_parse_module("t", (HdStr){text.data, text.len}, &module));
    expect_ok(ir_target_parse("cpu:native", &target));
    run_place(ir_graph_find(module, "g"), &(IrBinding){{8, 1, 8, 1}});
    HdStatus *status = cg_compile(module, &target, NULL, &program);
    assert_string_equal(hd_status_message(status),
    "softmax: its rows do not share the leading dimensions of the group's results");
    assert_int_equal(hd_status_code(status), HD_UNSUPPORTED);
    hd_status_free(status);
    hd_buf_free(&text);
    ir_module_free(module);
}

// Results as halves, read back as halves by the next group; rounding is exact, so equal numbers give equal bits.
static void test_casts(void **state) {
    (void)state;
    CHECK(HEAD ROWS("x", "50") EMBED("x", "50")
        "%2, %3 = fused %x {kind = rowwise} (%.x: f32[T, 50]) {\n %.a = cast %.x {to = bf16} : bf16[T, 50]\n"
        "%.b = cast %.x {to = f16} : f16[T, 50]\n"
        "yield %.a, %.b\n } : bf16[T, 50], f16[T, 50]\n"
        "%4, %5 = fused %2, %3 {kind = rowwise} (%.x: bf16[T, 50], %.y: f16[T, 50]) {\n %.a = cast %.x {to = f32} : f32[T, 50]\n"
        "%.b = cast %.y {to = f32} : f32[T, 50]\n yield %.a, %.b\n } : f32[T, 50], f32[T, 50]\n return a = %4, b = %5\n" TAIL,
        0, "a", "b");
}

// The contract of quant_act in ir.h, written down once more: the squared error of a group of 32 on the grid of `top`.
static float grid_error(const float *x, float amax, float top) {
    float square[32];
    for (int i = 0; i < 32; i++) {
        float y = x[i] * (1 / amax * top), e = y - rintf(y);
        square[i] = e * e;
    }
    for (int half = 16; half; half /= 2)
        for (int i = 0; i < half; i++) square[i] = square[i] + square[i + half];
    return top == 127 ? square[0] : square[0] * (16129.0f / (top * top));
}

static float grid_of(const float *x, float amax) {
    float best = 127;
    for (float top = 126; top >= 125; top--)
        if (grid_error(x, amax, top) < grid_error(x, amax, best)) best = top;
    return best;
}

// The bytes of quantised rows, from the numbers that were quantised. Counts how many groups use each of the three grids.
static void expect_quantised(const float *x, const uint8_t *row, int64_t K, int grids[3]) {
    for (int64_t g = 0; g < K / 32; g++, x += 32) {
        float amax = 0, scale;
        int32_t sum = 0, stored;
        for (int i = 0; i < 32; i++) amax = fmaxf(amax, fabsf(x[i]));
        bool tiny = amax < IR_Q8A_TINY;
        float top = tiny ? 127 : grid_of(x, amax), inverse = tiny ? 0 : 1 / amax * top;
        grids[127 - (int)top]++;
        for (int i = 0; i < 32; i++) {
            int8_t wanted = (int8_t)rintf(x[i] * inverse);
            assert_int_equal((int8_t)row[g * 32 + i], wanted);
            sum += wanted;
        }
        memcpy(&scale, row + K + g * 4, 4);
        memcpy(&stored, row + K + K / 32 * 4 + g * 4, 4);
        assert_true(scale == (tiny ? 0 : amax / top));
        assert_int_equal(stored, sum);
    }
}

static void test_quantised(void **state) {
    (void)state;
    Bench b = bench_open(HEAD ROWS("x", "96") VECTOR("n", "12") EMBED("x", "96")
        "%2, %3, %4, %5 = fused %x, %n {kind = rowwise} (%.x: f32[T, 96], %.n: f32[12]) {\n %.a = reshape %.x : f32[T, 8, 12]\n"
        "%.b = rms_norm %.a, %.n {eps = 1e-06} : f32[T, 8, 12]\n %.c = reshape %.b : f32[T, 96]\n"
        "%.d = quant_act %.c : q8a[T, 96]\n"
        "%.e = exp %.x : f32[T, 96]\n %.f = quant_act %.e : q8a[T, 96]\n"
        "yield %.c, %.d, %.e, %.f\n } : f32[T, 96], q8a[T, 96], f32[T, 96], q8a[T, 96]\n"
        "%6 = fused %x {kind = rowwise} (%.x: f32[T, 96]) {\n %.q = quant_act %.x : q8a[T, 96]\n yield %.q\n } : q8a[T, 96]\n"
        "return c = %2, d = %3, e = %4, f = %5, x = %x, q = %6\n" TAIL, 1, 1, 64, 64, 1);
    uint64_t count;
    float *x = bench_values(&b, "x", &count);
    for (int i = 0; i < 32; i++) x[96 * 4 + i] = 0, x[96 * 15 + 32 + i] = 1e-38f * (float)i;   // rows of tokens 2 and 3
    x[96 * 9 + 70] = INFINITY;
    x[96 * 2 + 5] = NAN;
    bench_run_program(&b, &one_call);
    int grids[3] = {0};
    const uint8_t *q = bench_result(&b, "q");
    for (int t = 0; t < 13; t++) {
        if (t == 4 || t == 5) {   // tokens 9 and 2: only the scales of their groups say so
            float scale[3];
            memcpy(scale, q + 120 * t + 96, sizeof scale);
            for (int g = 0; g < 3; g++) assert_int_equal(!isfinite(scale[g]), t == 4 ? g == 2 : g == 0);
            continue;
        }
        expect_quantised((const float *)bench_result(&b, "x") + 96 * t, q + 120 * t, 96, grids);
        expect_quantised((const float *)bench_result(&b, "c") + 96 * t, (const uint8_t *)bench_result(&b, "d") + 120 * t, 96, grids);
        expect_quantised((const float *)bench_result(&b, "e") + 96 * t, (const uint8_t *)bench_result(&b, "f") + 120 * t, 96, grids);
    }
    assert_true(grids[0] > 10 && grids[1] > 10 && grids[2] > 10);
    bench_close(&b);
}

// The same bytes by the lanes of a work group.
static void test_quantised_by_lanes(void **state) {
    const char *target = bench_target;
    bench_target = "cpu:emulated-cuda";
    test_quantised(state);
    bench_target = target;
}

static void test_take_rows(void **state) {
    (void)state;
    CHECK("module \"m\" {\n graph @g {\n dim TK = 2*T\n %tokens = input tokens : i32[T]\n %rows = input rows : i32[R]\n"
    ROWS("x", "39") EMBED("x", "39")
        ROWS("y", "8") EMBED("y", "8") VECTOR("scale", "8")
        "%2 = fused %x, %rows {kind = rows} (%.x: f32[T, 39], %.r: i32[R]) {\n %.a = take_rows %.x, %.r : f32[R, 39]\n"
        "yield %.a\n } : f32[R, 39]\n"
        "%3, %4 = fused %y {kind = topk} (%.y: f32[T, 8]) {\n %.a, %.b = topk %.y {k = 2} : f32[T, 2], i32[T, 2]\n"
        "yield %.a, %.b\n } : f32[T, 2], i32[T, 2]\n"
        "%5 = fused %scale, %4 {kind = rows} (%.s: f32[8], %.i: i32[T, 2]) {\n %.t = reshape %.s : f32[8, 1]\n"
        "%.l = reshape %.i : i32[TK]\n"
        "%.a = take_rows %.t, %.l : f32[TK, 1]\n yield %.a\n } : f32[TK, 1]\n return taken = %2, picked = %5\n" TAIL, 0,
        "taken", "picked");
}

// A sum of squares that is not finite is reported with its layer and token; the lowest layer stays.
static void test_status(void **state) {
    (void)state;
#define LAYER(in, out, n)                                                               \
    "%" out " = fused %" in ", %n {kind = rowwise} (%.x: f32[T, 40], %.n: f32[40]) {\n" \
    "%.a = rms_norm %.x, %.n {eps = 1e-06} : f32[T, 40] layer " n "\n"                  \
    "yield %.a\n } : f32[T, 40] layer " n "\n"
    Bench b = bench_open(HEAD ROWS("x", "40") VECTOR("n", "40") EMBED("x", "40") LAYER("x", "1", "7") LAYER("1", "2", "3")
    LAYER("2", "3", "5") "return a = %3\n" TAIL,
                         1, 1, 64, 64, 1);
    uint64_t count;
    float *x = bench_values(&b, "x", &count);
    bench_run_program(&b, &one_call);
    assert_int_equal(b.run.step_status.layer_plus_1, 0);
    x[40 * 6 + 39] = 3e30f;   // token 6 stands at 6; its square is infinite
    bench_run_program(&b, &one_call);
    assert_int_equal(b.run.step_status.layer_plus_1, 8);   // its norm is 0 in the end: layer 7 only
    assert_int_equal(b.run.step_status.token, 6);
    x[40 * 32] = NAN;
    bench_run_program(&b, &one_call);
    assert_int_equal(b.run.step_status.layer_plus_1, 4);
    assert_int_equal(b.run.step_status.token, 12);
    bench_close(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_norm), cmocka_unit_test(test_elementwise), cmocka_unit_test(test_softmax),
    cmocka_unit_test(test_heads), cmocka_unit_test(test_flat), cmocka_unit_test(test_views), cmocka_unit_test(test_refused),
    cmocka_unit_test(test_casts), cmocka_unit_test(test_quantised), cmocka_unit_test(test_quantised_by_lanes), cmocka_unit_test(test_take_rows),
    cmocka_unit_test(test_status)
};
BENCH_MAIN(tests)
