// SPDX-License-Identifier: Apache-2.0
// Numbers in two parts, and the elementary functions of kernels against libm in float64, compiled for targets with and without
// fma.
#include "kernel_fixture.h"

#include <float.h>
#include <math.h>

typedef KirRef MathOp(KirFn *fn, KirRef x);

static double ref_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double ref_silu(double x) { return x * ref_sigmoid(x); }
static double ref_softplus(double x) { return x > 20 ? x : log1p(exp(x)); }

// bound: in ulp, the measured worst rounded up.
static const struct { const char *name; MathOp *op; double (*reference)(double); float low, high; double bound; } functions[] = {
    {"exp", kir_exp, exp, -120, 100, 1.0},
    {"decay", kir_decay, exp, -40, 100, 1.0},
    {"log1p", kir_log1p, log1p, -1, 1e6f, 0.8},
    {"sigmoid", kir_sigmoid, ref_sigmoid, -110, 110, 1.0},
    {"silu", kir_silu, ref_silu, -80, 110, 1.0},
    {"softplus", kir_softplus, ref_softplus, -110, 110, 1.5},
};

// y[i] = op(x[i]); 16 numbers per unit.
static void build_map(KirFn *fn, MathOp *op, uint8_t lanes) {
    KirRef x = kir_param(fn, KT_PTR, "x"), y = kir_param(fn, KT_PTR, "y");
    KirLoop loop;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &loop);
    KirRef value = kir_load(fn, KIR_T(KIR_F32, lanes), kir_at(fn, x, loop.iv, 4 * lanes, 0));
    kir_store(fn, kir_at(fn, y, loop.iv, 4 * lanes, 0), op(fn, value));
    kir_for_end(fn, &loop, NULL);
}

static double ulp_error(float got, double want) {
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    float nearest = (float)want;
    if (isinf(nearest) || isinf(got)) return got == nearest ? 0 : INFINITY;
    double unit = fmax(ldexp(1, ilogb(want == 0 ? FLT_TRUE_MIN : want) - 23), FLT_TRUE_MIN);
    return fabs(got - want) / unit;
}

enum { SAMPLES = 1 << 18 };
static float xs[SAMPLES], ys[SAMPLES];

// Half of the samples evenly over the range, half by exponent so that small arguments of both signs are dense as well.
static void fill_samples(float low, float high) {
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint32_t half = i / 2;
        float even = low + (high - low) * ((float)half / (SAMPLES / 2 - 1));
        float tiny = ldexpf(1 + (float)(half % 1021) / 1021, -100 + (int)(half / 1024)) * (i & 2 ? -1 : 1);
        xs[i] = i & 1 ? even : HD_MAX(low, HD_MIN(high, tiny));
    }
}

static void test_accuracy(void **state) {
    const char *target = *state;
    Kernels kernels = kernels_open(target);
    for (size_t f = 0; f < HD_COUNT(functions); f++) {
        KirFn *fn = kernels_new(&kernels, functions[f].name);
        build_map(fn, functions[f].op, 16);
        kernels_add(&kernels, fn);
    }
    kernels_link(&kernels);
    for (size_t f = 0; f < HD_COUNT(functions); f++) {
        fill_samples(functions[f].low, functions[f].high);
        kernels_call(&kernels, functions[f].name, SAMPLES / 16, (const void *[]){xs, ys}, 2);
        double worst = 0;
        float at = 0;
        for (uint32_t i = 0; i < SAMPLES; i++) {
            double error = ulp_error(ys[i], functions[f].reference(xs[i]));
            if (error > worst) worst = error, at = xs[i];
        }
        if (!(worst <= functions[f].bound)) fail_msg("%s %s: %.3f ulp at %a", target, functions[f].name, worst, at);
    }
    kernels_close(&kernels);
}

static void test_edges(void **state) {
    static const struct { const char *name; float x, want; } cases[] = {
        {"exp", 0, 1},
        {"exp", -0.0f, 1},
        {"exp", INFINITY, INFINITY},
        {"exp", -INFINITY, 0},
        {"exp", 88.8f, INFINITY},
        {"exp", -104.5f, 0},
        {"exp", -1e30f, 0},
        {"exp", 1e30f, INFINITY},
        {"exp", NAN, NAN},
        {"decay", -INFINITY, 4.248354255e-18f},
        {"decay", -41, 4.248354255e-18f},
        {"decay", NAN, NAN},
        {"log1p", 0, 0},
        {"log1p", -1, -INFINITY},
        {"log1p", -1.5f, NAN},
        {"log1p", INFINITY, INFINITY},
        {"log1p", -INFINITY, NAN},
        {"log1p", NAN, NAN},
        {"log1p", FLT_MAX, 88.72283905f},
        {"log1p", 1e-30f, 1e-30f},
        {"log1p", -1e-40f, -1e-40f},
        {"sigmoid", 0, 0.5f},
        {"sigmoid", INFINITY, 1},
        {"sigmoid", -INFINITY, 0},
        {"sigmoid", 200, 1},
        {"sigmoid", -200, 0},
        {"sigmoid", NAN, NAN},
        {"silu", 0, 0},
        {"silu", INFINITY, INFINITY},
        {"silu", -200, 0},
        {"silu", 200, 200},
        {"silu", NAN, NAN},
        {"softplus", INFINITY, INFINITY},
        {"softplus", -INFINITY, 0},
        {"softplus", 20.5f, 20.5f},
        {"softplus", 1e30f, 1e30f},
        {"softplus", NAN, NAN},
    };
    Kernels kernels = kernels_open(*state);
    for (size_t f = 0; f < HD_COUNT(functions); f++) {      // scalars here: the other half of what the builders accept
        KirFn *fn = kernels_new(&kernels, functions[f].name);
        build_map(fn, functions[f].op, 1);
        kernels_add(&kernels, fn);
    }
    kernels_link(&kernels);
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        float x = cases[i].x, y = 77;
        kernels_call(&kernels, cases[i].name, 1, (const void *[]){&x, &y}, 2);
        if (isnan(cases[i].want) ? !isnan(y) : y != cases[i].want)
            fail_msg("%s(%a): %a, not %a", cases[i].name, x, y, cases[i].want);
    }
    kernels_close(&kernels);
}

// ---- numbers in two parts --------------------------------------------------------------------------------------

// y: hi and lo of x[0] + x[1], then of x[0] * x[1]; 16 lanes each.
static void build_pairs(KirFn *fn) {
    KirRef x = kir_param(fn, KT_PTR, "x"), y = kir_param(fn, KT_PTR, "y");
    KirRef a = kir_load(fn, KT_F32x16, x), b = kir_load(fn, KT_F32x16, kir_offset_const(fn, x, 64));
    KirPair pairs[2] = {kir_exact_sum(fn, a, b), kir_exact_product(fn, a, b)};
    for (int i = 0; i < 2; i++) {
        kir_store(fn, kir_offset_const(fn, y, 128 * i), pairs[i].hi);
        kir_store(fn, kir_offset_const(fn, y, 128 * i + 64), pairs[i].lo);
    }
}

static void test_pairs(void **state) {
    enum { LANES = 16 };
    Kernels kernels = kernels_open(*state);
    KirFn *fn = kernels_new(&kernels, "pairs");
    build_pairs(fn);
    kernels_add(&kernels, fn);
    kernels_link(&kernels);
    fill_samples(-2, 2);
    for (uint32_t at = 1; at + 2 * LANES < 40000; at += 2 * LANES) {
        float x[2][LANES], y[4][LANES];
        for (uint32_t i = 0; i < LANES; i++) x[0][i] = xs[at + 2 * i] + 3, x[1][i] = xs[at + 2 * i] * (float)(i % 5 + 1) / 3;
        kernels_call(&kernels, "pairs", 1, (const void *[]){x, y}, 2);
        for (uint32_t i = 0; i < LANES; i++) {
            assert_true(y[0][i] == x[0][i] + x[1][i] && y[2][i] == x[0][i] * x[1][i]);
            assert_true((double)y[0][i] + y[1][i] == (double)x[0][i] + x[1][i]);
            assert_true((double)y[2][i] + y[3][i] == (double)x[0][i] * x[1][i]);
        }
    }
    kernels_close(&kernels);
}

// y[0] = sum of `units` numbers.
static void build_sum(KirFn *fn) {
    KirRef x = kir_param(fn, KT_PTR, "x"), y = kir_param(fn, KT_PTR, "y"), zero = kir_float(fn, KT_F32, 0);
    KirLoop loop;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 2, (KirRef[]){zero, zero}, &loop);
    KirRef next[2] = {loop.carried[0], loop.carried[1]};
    kir_accumulate(fn, &next[0], &next[1], kir_add(fn, kir_load(fn, KT_F32, kir_at(fn, x, loop.iv, 4, 0)), next[1]));
    kir_for_end(fn, &loop, next);
    kir_store(fn, y, kir_add(fn, loop.results[0], loop.results[1]));
}

// Additions alone lose thousands of units in the last place here.
static void test_long_sums(void **state) {
    Kernels kernels = kernels_open(*state);
    KirFn *fn = kernels_new(&kernels, "sum");
    build_sum(fn);
    kernels_add(&kernels, fn);
    kernels_link(&kernels);
    double want = 0;
    float sum, plain = 0;
    for (uint32_t i = 0; i < SAMPLES; i++) xs[i] = 1 / (float)(i + 1), want += xs[i], plain += xs[i];
    kernels_call(&kernels, "sum", SAMPLES, (const void *[]){xs, &sum}, 2);
    assert_true(ulp_error(sum, want) <= 1);
    assert_true(ulp_error(plain, want) > 1000);
    kernels_close(&kernels);
}

int main(void) {
    static char v2[] = "cpu:x86-64-v2", v3[] = "cpu:x86-64-v3", native[] = "cpu:native";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_accuracy, v2),     cmocka_unit_test_prestate(test_accuracy, v3),
        cmocka_unit_test_prestate(test_accuracy, native), cmocka_unit_test_prestate(test_edges, v2),
        cmocka_unit_test_prestate(test_edges, native),    cmocka_unit_test_prestate(test_pairs, v2),
        cmocka_unit_test_prestate(test_pairs, native),    cmocka_unit_test_prestate(test_long_sums, v2),
        cmocka_unit_test_prestate(test_long_sums, native),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
