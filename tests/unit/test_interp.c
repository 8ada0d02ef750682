// SPDX-License-Identifier: Apache-2.0
// The reference interpreter: operations without state. Expected numbers are worked out by hand, or by Python's math module where
// they hold transcendental functions.
#include "interp_fixture.h"

#include "ir/moe_plan.h"
#include "runtime/gguf.h"

// ---- element-wise --------------------------------------------------------------------------------------------

static void test_unary(void **state) {
    (void)state;
    static const float x[] = {-30, -1, -0.5f, 0, 0.5f, 1};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "a", x, 6);
    result(&rig, "exp", BUILD(&rig, exp, OPERANDS(a)));
    result(&rig, "sigmoid", BUILD(&rig, sigmoid, OPERANDS(a)));
    result(&rig, "silu", BUILD(&rig, silu, OPERANDS(a)));
    result(&rig, "softplus", BUILD(&rig, softplus, OPERANDS(a)));
    result(&rig, "neg", BUILD(&rig, neg, OPERANDS(a)));
    result(&rig, "scale", BUILD(&rig, scale, OPERANDS(a), ATTRS(FLOAT(VALUE, 3))));
    run(&rig);
    EXPECT(&rig, "exp", 9.357622912219837e-14f, 0.3678794503211975f, 0.6065306663513184f, 1, 1.6487212181091309f,
           2.7182817459106445f);
    EXPECT(&rig, "sigmoid", 9.357622912219837e-14f, 0.2689414322376251f, 0.3775406777858734f, 0.5f, 0.622459352016449f,
           0.7310585975646973f);
    EXPECT(&rig, "silu", -2.807286954981114e-12f, -0.2689414322376251f, -0.1887703388929367f, 0, 0.3112296760082245f,
           0.7310585975646973f);
    EXPECT(&rig, "softplus", 9.357622912219837e-14f, 0.3132616877555847f, 0.4740769863128662f, 0.6931471824645996f,
           0.9740769863128662f, 1.31326162815094f);
    EXPECT(&rig, "neg", 30, 1, 0.5f, 0, -0.5f, -1);
    EXPECT(&rig, "scale", -90, -3, -1.5f, 0, 1.5f, 3);
    rig_close(&rig);
}

static void test_unary_extremes(void **state) {
    (void)state;
    static const float x[] = {-100, 100, 1e30f};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "a", x, 3);
    result(&rig, "softplus", BUILD(&rig, softplus, OPERANDS(a)));
    result(&rig, "sigmoid", BUILD(&rig, sigmoid, OPERANDS(a)));
    run(&rig);
    EXPECT(&rig, "softplus", 3.783505853677006e-44f, 100, 1e30f);
    EXPECT(&rig, "sigmoid", 3.783505853677006e-44f, 1, 1);
    rig_close(&rig);
}

static void test_binary_and_broadcast(void **state) {
    (void)state;
    static const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, row[] = {10, 20, 30}, column[] = {100, 200}, one[] = {2};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "a", x, 2, 2, 3), r = WEIGHT(&rig, "r", row, 3), c = WEIGHT(&rig, "c", column, 2, 1, 1),
            o = WEIGHT(&rig, "o", one, 1);
    result(&rig, "row", BUILD(&rig, add, OPERANDS(a, r)));
    result(&rig, "column", BUILD(&rig, sub, OPERANDS(a, c)));
    result(&rig, "middle", BUILD(&rig, mul, OPERANDS(a, reshaped(&rig, c, TYPE(F32, 2, 1)))));
    result(&rig, "one", BUILD(&rig, div, OPERANDS(a, o)));
    result(&rig, "same", BUILD(&rig, mul, OPERANDS(a, a)));
    run(&rig);
    EXPECT(&rig, "row", 11, 22, 33, 14, 25, 36, 17, 28, 39, 20, 31, 42);
    EXPECT(&rig, "column", -99, -98, -97, -96, -95, -94, -193, -192, -191, -190, -189, -188);
    EXPECT(&rig, "middle", 100, 200, 300, 800, 1000, 1200, 700, 800, 900, 2000, 2200, 2400);
    EXPECT(&rig, "one", 0.5f, 1, 1.5f, 2, 2.5f, 3, 3.5f, 4, 4.5f, 5, 5.5f, 6);
    EXPECT(&rig, "same", 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144);
    rig_close(&rig);
}

// 1 + 2^-11 and 1 + 3 * 2^-11 lie half way between f16 numbers, 1 + 2^-8 and 1 + 3 * 2^-8 half way between bf16 numbers.
static void test_cast_rounds_to_even(void **state) {
    (void)state;
    static const float x[] = {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 70000, 0x1p-24f};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "a", x, 6);
    IrValue half = BUILD(&rig, cast, OPERANDS(a), ATTRS({IR_ATTR_TO, {.dtype = IR_F16}}));
    result(&rig, "f16", half);
    result(&rig, "bf16", BUILD(&rig, cast, OPERANDS(a), ATTRS({IR_ATTR_TO, {.dtype = IR_BF16}})));
    result(&rig, "back", BUILD(&rig, cast, OPERANDS(half), ATTRS({IR_ATTR_TO, {.dtype = IR_F32}})));
    run(&rig);
    EXPECT(&rig, "f16", 1, 1 + 0x1p-9f, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, INFINITY, 0x1p-24f);
    EXPECT(&rig, "bf16", 1, 1, 1, 1 + 0x1p-6f, 70144, 0x1p-24f);
    EXPECT(&rig, "back", 1, 1 + 0x1p-9f, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, INFINITY, 0x1p-24f);
    rig_close(&rig);
}

// ---- views ---------------------------------------------------------------------------------------------------

static void test_views(void **state) {
    (void)state;
    static const float x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, zeros[12] = {0};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue z = WEIGHT(&rig, "z", zeros, 2, 3, 2);
    IrValue w = WEIGHT(&rig, "w", x, 2, 3, 2), a = BUILD(&rig, add, OPERANDS(w, z));   // in memory; `w` is read by rows
    IrValue both[] = {w, a};
    const char *names[2][4] = {{"w0", "w1", "w2", "wr"}, {"a0", "a1", "a2", "ar"}};
    for (int i = 0; i < 2; i++) {
        result(&rig, names[i][0], BUILD(&rig, slice, OPERANDS(both[i]), ATTRS(INT(AXIS, 0), INT(BEGIN, 1), INT(END, 2))));
        result(&rig, names[i][1], BUILD(&rig, slice, OPERANDS(both[i]), ATTRS(INT(AXIS, 1), INT(BEGIN, 1), INT(END, 3))));
        result(&rig, names[i][2], BUILD(&rig, slice, OPERANDS(both[i]), ATTRS(INT(AXIS, 2), INT(BEGIN, 1), INT(END, 2))));
        IrValue part = BUILD(&rig, slice, OPERANDS(both[i]), ATTRS(INT(AXIS, 1), INT(BEGIN, 0), INT(END, 2)));
        result(&rig, names[i][3], reshaped(&rig, part, TYPE(F32, 4, 2)));
    }
    IrValue middle = BUILD(&rig, concat, OPERANDS(a, z, a), ATTRS(INT(AXIS, 1)));
    result(&rig, "flat", reshaped(&rig, w, TYPE(F32, 12)));
    result(&rig, "middle", BUILD(&rig, slice, OPERANDS(middle), ATTRS(INT(AXIS, 1), INT(BEGIN, 2), INT(END, 7))));
    run(&rig);
    for (int i = 0; i < 2; i++) {
        EXPECT(&rig, names[i][0], 6, 7, 8, 9, 10, 11);
        EXPECT(&rig, names[i][1], 2, 3, 4, 5, 8, 9, 10, 11);
        EXPECT(&rig, names[i][2], 1, 3, 5, 7, 9, 11);
        EXPECT(&rig, names[i][3], 0, 1, 2, 3, 6, 7, 8, 9);
    }
    EXPECT(&rig, "flat", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    EXPECT(&rig, "middle", 4, 5, 0, 0, 0, 0, 0, 0, 0, 1, 10, 11, 0, 0, 0, 0, 0, 0, 6, 7);
    rig_close(&rig);
}

// Of a sliced weight only the rows that are needed are read.
static void test_weight_rows_on_demand(void **state) {
    (void)state;
    static const float x[] = {1, 10, 100};
    float *w = hd_xcalloc(200 * 3, sizeof *w);
    for (int i = 0; i < 200; i++) w[3 * i] = (float)i, w[3 * i + 1] = 1;
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue whole = WEIGHT(&rig, "w", w, 2, 100, 3);
    IrValue expert = BUILD(&rig, slice, OPERANDS(whole), ATTRS(INT(AXIS, 0), INT(BEGIN, 1), INT(END, 2)));
    IrValue rows = BUILD(&rig, slice, OPERANDS(expert), ATTRS(INT(AXIS, 1), INT(BEGIN, 90), INT(END, 93)));
    result(&rig, "y", BUILD(&rig, linear, OPERANDS(WEIGHT(&rig, "x", x, 1, 3), reshaped(&rig, rows, TYPE(F32, 3, 3)))));
    run(&rig);
    EXPECT(&rig, "y", 200, 201, 202);
    assert_int_equal(rig_weight(&rig, "w")->reads, 3);
    rig_close(&rig);
    free(w);
}

// ---- along the last axis -------------------------------------------------------------------------------------

static void test_norms(void **state) {
    (void)state;
    static const float x[] = {1, 2, 3, 4, 0, 0, 0, 0}, w[] = {1, 0.5f, 2, -1}, pair[] = {3, 4},
                       three[] = {1, 2, 3, 1001, 1002, 1003};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "a", x, 2, 4);
    result(&rig, "rms", BUILD(&rig, rms_norm, OPERANDS(a, WEIGHT(&rig, "w", w, 4)), ATTRS(FLOAT(EPS, 1e-6f))));
    result(&rig, "l2", BUILD(&rig, l2_norm, OPERANDS(WEIGHT(&rig, "p", pair, 2)), ATTRS(FLOAT(EPS, 1e-6f), FLOAT(SCALE, 0.25f))));
    result(&rig, "softmax", BUILD(&rig, softmax, OPERANDS(WEIGHT(&rig, "t", three, 2, 3))));
    result(&rig, "sum", BUILD(&rig, sum, OPERANDS(a)));
    run(&rig);
    EXPECT(&rig, "rms", 0.3651483356952667f, 0.3651483356952667f, 2.190890073776245f, -1.460593342781067f, 0, 0, 0, 0);
    EXPECT(&rig, "l2", 0.14999999105930328f, 0.20000000298023224f);
    EXPECT(&rig, "softmax", 0.09003057330846786f, 0.2447284758090973f, 0.6652409434318542f, 0.09003057330846786f,
           0.2447284758090973f, 0.6652409434318542f);
    EXPECT(&rig, "sum", 10, 0);
    rig_close(&rig);
}

// 2^24 + 1 + 1 is 2^24 in float32 sums and 2^24 + 2 in float64.
static void test_sums_are_float64(void **state) {
    (void)state;
    static const float x[] = {16777216, 1, 1}, ones[] = {1, 1, 1};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "a", x, 1, 3);
    result(&rig, "sum", BUILD(&rig, sum, OPERANDS(a)));
    result(&rig, "linear", BUILD(&rig, linear, OPERANDS(a, WEIGHT(&rig, "w", ones, 1, 3))));
    run(&rig);
    EXPECT(&rig, "sum", 16777218);
    EXPECT(&rig, "linear", 16777218);
    rig_close(&rig);
}

static void test_quant_act(void **state) {
    (void)state;
    float x[6 * 32] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.4f, -127}, wanted[6 * 32];
    for (int i = 9; i < 32; i++) x[i] = (float)(3 * i - 20);    // which no other grid fits
    x[32] = 0x1p-101f;                                          // too small for a scale
    x[64] = -3, x[65] = 1;
    for (int i = 0; i < 32; i++)                                // the other two grids
        x[128 + i] = (float)(126 - 4 * i), x[160 + i] = (float)(125 - 3 * i) / 8;
    memcpy(wanted, x, sizeof wanted);
    memcpy(wanted, (float[]){127, 0, 2, 2, 0, -2, -2, 126}, 8 * sizeof *wanted);
    wanted[32] = 0, wanted[64] = -126 * (3.0f / 126.0f), wanted[65] = 42 * (3.0f / 126.0f);   // a third of 126 is whole
    x[96] = INFINITY;
    for (int i = 96; i < 128; i++) wanted[i] = NAN;
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    result(&rig, "q", BUILD(&rig, quant_act, OPERANDS(WEIGHT(&rig, "x", x, 2, 96))));
    run(&rig);
    expect_values(rig.interp, "q", 192, wanted);
    rig_close(&rig);
}

// A product takes the value * scale of q8a exactly: 127 * (0.3f/127) is not 0.3f.
static void test_linear_of_quantised(void **state) {
    (void)state;
    float x[32] = {0.3f}, w[32] = {1};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    w[1] = -0.3f, x[1] = 0.3f;
    IrValue q = BUILD(&rig, quant_act, OPERANDS(WEIGHT(&rig, "x", x, 1, 32)));
    result(&rig, "y", BUILD(&rig, linear, OPERANDS(q, WEIGHT(&rig, "w", w, 1, 32))));
    run(&rig);
    double exact = 127.0 * (double)(0.3f / 127.0f);
    EXPECT(&rig, "y", (float)(exact - exact * (double)0.3f));
    rig_close(&rig);
}

// ---- rope ----------------------------------------------------------------------------------------------------

static void test_rope(void **state) {
    (void)state;
    static const float x[] = {1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60};
    Rig rig;
    rig_open(&rig, 2, 1, 262144);
    IrValue table = ir_input(rig.graph, IR_INPUT_ROPE, TYPE(F32, IR_DIM_T, 4), 1e7f);
    IrValue a = reshaped(&rig, by_token(&rig, "x", x, 2, 6), TYPE(F32, IR_DIM_T, 1, 6));
    result(&rig, "table", table);
    result(&rig, "y", BUILD(&rig, rope, OPERANDS(a, table)));
    expect_ok(call_with(rig.interp, &rig, 0, 2, (int32_t[]){0, 262143, 0, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0}, 2));
    const float c0 = -0.6091614961624146f, c1 = 0.3478810787200928f, s0 = 0.7930461764335632f, s1 = 0.9375386834144592f;
    EXPECT(&rig, "table", c0, c1, s0, s1, 1, 1, 0, 0);
    EXPECT(&rig, "y", c0 - 3 * s0, 2 * c1 - 4 * s1, s0 + 3 * c0, 2 * s1 + 4 * c1, 5, 6, 10, 20, 30, 40, 50, 60);
    rig_close(&rig);
}

// ---- rows and products ---------------------------------------------------------------------------------------

static void test_rows(void **state) {
    (void)state;
    static const float e[] = {0, 1, 10, 11, 20, 21};
    Rig rig;
    rig_open(&rig, 1, 1, 8);
    IrValue x = by_token(&rig, "e", e, 3, 2);
    result(&rig, "x", x);
    result(&rig, "y", BUILD(&rig, take_rows, OPERANDS(x, rows_input(&rig))));
    IrCall call = {.tokens = (int32_t[]){2, 0, 2}, .token_count = 3, .rows = (int32_t[]){2, 1}, .row_count = 2};
    expect_ok(ir_interp_run(rig.interp, rig.graph, &call));
    EXPECT(&rig, "x", 20, 21, 0, 1, 20, 21);
    EXPECT(&rig, "y", 20, 21, 0, 1);
    call.tokens = (int32_t[]){2, 3, 0};
    expect_error(ir_interp_run(rig.interp, rig.graph, &call), "graph @model: embed in layer -1: id 1 is 3, must be in 0..2");
    call.tokens = (int32_t[]){2, -1, 0};
    expect_error(ir_interp_run(rig.interp, rig.graph, &call), "id 1 is -1");
    call.rows = (int32_t[]){0, 3};
    expect_error(ir_interp_run(rig.interp, rig.graph, &call), "row 1 is token 3, the call has 3");
    uint64_t count;
    assert_null(ir_interp_result(rig.interp, "x", &count));
    rig_close(&rig);
}

static float naive_dot(const float *x, const float *w, int columns) {
    double sum = 0;
    for (int i = 0; i < columns; i++) sum += (double)x[i] * w[i];
    return (float)sum;
}

// Widths around the eight partial sums, heights around a block; every weight row is read once whatever T is.
static void test_linear(void **state) {
    (void)state;
    static const int shapes[][3] = {{1, 1, 1}, {2, 33, 7}, {3, 32, 8}, {5, 65, 31}};
    for (size_t s = 0; s < HD_COUNT(shapes); s++) {
        int tokens = shapes[s][0], height = shapes[s][1], columns = shapes[s][2];
        float *x = random_floats(s, (uint64_t)(tokens * columns), -1, 1),
              *w = random_floats(s + 9, (uint64_t)(height * columns), -1, 1);
        float *wanted = hd_xcalloc((size_t)(tokens * height), sizeof *wanted);
        for (int i = 0; i < tokens * height; i++)
            wanted[i] = naive_dot(x + i / height * columns, w + i % height * columns, columns);
        Rig rig;
        rig_open(&rig, 1, 1, 1);
        IrValue a = WEIGHT(&rig, "x", x, tokens, columns), b = WEIGHT(&rig, "w", w, height, columns),
                c = WEIGHT(&rig, "v", w, 1, columns);
        IrValue first = BUILD(&rig, multi_linear, OPERANDS(a, c, b));
        result(&rig, "y", BUILD(&rig, linear, OPERANDS(a, b)));
        result(&rig, "v", first);
        result(&rig, "w", sibling(&rig, first, 1));
        run(&rig);
        expect_near(got(rig.interp, "y", (uint64_t)(tokens * height)), wanted, (uint64_t)(tokens * height), 1e-7);
        expect_near(got(rig.interp, "w", (uint64_t)(tokens * height)), wanted, (uint64_t)(tokens * height), 1e-7);
        for (int t = 0; t < tokens; t++) expect_near(got(rig.interp, "v", (uint64_t)tokens) + t, wanted + t * height, 1, 1e-7);
        assert_int_equal(rig_weight(&rig, "w")->reads, 2 * height);
        rig_close(&rig);
        free(x), free(w), free(wanted);
    }
}

static void test_linear_of_bf16(void **state) {
    (void)state;
    static const float x[] = {1 + 0x1p-8f, 1}, w[] = {1, 0x1p-20f};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = BUILD(&rig, cast, OPERANDS(WEIGHT(&rig, "x", x, 1, 2)), ATTRS({IR_ATTR_TO, {.dtype = IR_BF16}}));
    result(&rig, "y", BUILD(&rig, linear, OPERANDS(a, WEIGHT(&rig, "w", w, 1, 2))));
    run(&rig);
    EXPECT(&rig, "y", 1 + 0x1p-20f);
    rig_close(&rig);
}

// ---- mixture of experts --------------------------------------------------------------------------------------

static void test_topk(void **state) {
    (void)state;
    static const float x[] = {1, 3, 2, 3, 3, -1, NAN, 5, NAN, -INFINITY};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue top = BUILD(&rig, topk, OPERANDS(WEIGHT(&rig, "x", x, 2, 5)), ATTRS(INT(K, 4)));
    result(&rig, "values", top);
    result(&rig, "ids", sibling(&rig, top, 1));
    run(&rig);
    EXPECT(&rig, "values", 3, 3, 3, 2, 5, -1, -INFINITY, NAN);
    EXPECT(&rig, "ids", 1, 3, 4, 2, 2, 0, 4, 1);
    rig_close(&rig);
}

// Three tokens, two ranks, three experts; expert 1 gets three rows, which fill one tile of two and begin another.
static void test_moe_plan(void **state) {
    (void)state;
    static const float p[] = {0, 2, 1, 3, 2, 1, 1, 5, 4};   // chosen: 1 2, 0 1, 1 2
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue top = BUILD(&rig, topk, OPERANDS(WEIGHT(&rig, "p", p, 3, 3)), ATTRS(INT(K, 2)));
    result(&rig, "plan", BUILD(&rig, moe_plan, OPERANDS(sibling(&rig, top, 1)), ATTRS(INT(EXPERTS, 3), INT(TILE, 2))));
    run(&rig);
    EXPECT(&rig, "plan", 4, 1, 3, 2, 0, 1, 4, 6, 2, 0, 3, 4, 1, 5, 0, 0, 1, 1, 1, 2, 1, 3, 1, 2, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    rig_close(&rig);
}

enum { MOE_T = 6, MOE_E = 5, MOE_K = 2, MOE_N = 3, MOE_D = 4 };

static void moe_naive(const float *x, const float *w, const float *p, float *y, float *sum) {
    for (int t = 0; t < MOE_T; t++) {
        const float *row = p + t * MOE_E;
        int first = 0, second = -1;
        for (int e = 1; e < MOE_E; e++) first = row[e] > row[first] ? e : first;
        for (int e = 0; e < MOE_E; e++)
            if (e != first && (second < 0 || row[e] > row[second])) second = e;
        for (int n = 0; n < MOE_N; n++) {
            float *to = y + t * MOE_K * MOE_N + n;
            to[0] = naive_dot(x + t * MOE_D, w + (first * MOE_N + n) * MOE_D, MOE_D);
            to[MOE_N] = naive_dot(x + t * MOE_D, w + (second * MOE_N + n) * MOE_D, MOE_D);
            sum[t * MOE_N + n] = (float)((double)row[first] * to[0] + (double)row[second] * to[MOE_N]);
        }
    }
}

static void test_grouped_linear(void **state) {
    (void)state;
    float *x = random_floats(1, MOE_T * MOE_D, -1, 1), *w = random_floats(2, MOE_E * MOE_N * MOE_D, -1, 1),
          *p = random_floats(3, MOE_T * MOE_E, 0, 1);
    float y[MOE_T * MOE_K * MOE_N], sum[MOE_T * MOE_N], twice[MOE_T * MOE_K * MOE_D];
    moe_naive(x, w, p, y, sum);
    for (int i = 0; i < MOE_T * MOE_K * MOE_D; i++) twice[i] = x[i / (MOE_K * MOE_D) * MOE_D + i % MOE_D];
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "x", x, MOE_T, MOE_D), b = WEIGHT(&rig, "w", w, MOE_E, MOE_N, MOE_D);
    IrValue c = WEIGHT(&rig, "twice", twice, MOE_T, MOE_K, MOE_D);
    IrValue top = BUILD(&rig, topk, OPERANDS(WEIGHT(&rig, "p", p, MOE_T, MOE_E)), ATTRS(INT(K, MOE_K))),
            ids = sibling(&rig, top, 1);
    IrValue plan = BUILD(&rig, moe_plan, OPERANDS(ids), ATTRS(INT(EXPERTS, MOE_E), INT(TILE, 2)));
    IrValue out = BUILD(&rig, grouped_linear, OPERANDS(a, b, ids));
    result(&rig, "y", out);
    result(&rig, "planned", BUILD(&rig, grouped_linear, OPERANDS(a, b, ids, plan)));
    result(&rig, "ranked", BUILD(&rig, grouped_linear, OPERANDS(c, b, ids)));
    result(&rig, "sum", BUILD(&rig, moe_sum, OPERANDS(out, top)));
    run(&rig);
    expect_near(got(rig.interp, "y", HD_COUNT(y)), y, HD_COUNT(y), 1e-7);
    expect_values(rig.interp, "planned", HD_COUNT(y), got(rig.interp, "y", HD_COUNT(y)));
    expect_values(rig.interp, "ranked", HD_COUNT(y), got(rig.interp, "y", HD_COUNT(y)));
    expect_near(got(rig.interp, "sum", HD_COUNT(sum)), sum, HD_COUNT(sum), 1e-7);
    rig_close(&rig);
    free(x), free(w), free(p);
}

// Ids of a graph input are data: one that no expert has is an error, in a product and in a plan.
static void test_expert_id_out_of_range(void **state) {
    (void)state;
    static const float w[4] = {0};
    for (int planned = 0; planned < 2; planned++) {
        Rig rig;
        rig_open(&rig, 1, 1, 8);
        IrValue ids = reshaped(&rig, tokens_input(&rig), TYPE(I32, IR_DIM_T, 1));
        if (planned) result(&rig, "y", BUILD(&rig, moe_plan, OPERANDS(ids), ATTRS(INT(EXPERTS, 2), INT(TILE, 4))));
        else
            result(&rig, "y",
                   BUILD(&rig, grouped_linear, OPERANDS(by_token(&rig, "x", w, 4, 1), WEIGHT(&rig, "w", w, 2, 1, 1), ids)));
        expect_ok(call_with(rig.interp, &rig, 0, 2, NULL, 0));
        expect_error(call_with(rig.interp, &rig, 0, 3, NULL, 0), "expert id 2 is 2, must be in 0..1");
        rig_close(&rig);
    }
}

// ---- fused, pack, trace --------------------------------------------------------------------------------------

// silu(x w') + x, plain and as a region whose arguments are an activation, a weight and something unused.
static void test_fused(void **state) {
    (void)state;
    float *x = random_floats(5, 3 * 4, -1, 1), *w = random_floats(6, 4 * 4, -1, 1);
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    IrValue a = WEIGHT(&rig, "x", x, 3, 4), b = WEIGHT(&rig, "w", w, 4, 4);
    result(&rig, "plain", BUILD(&rig, add, OPERANDS(BUILD(&rig, silu, OPERANDS(BUILD(&rig, linear, OPERANDS(a, b)))), a)));
    IrBlock region = ir_block_new(rig.graph);
    IrValue p = ir_block_arg(rig.graph, region, TYPE(F32, 3, 4)), q = ir_block_arg(rig.graph, region, TYPE(F32, 4, 4));
    ir_block_arg(rig.graph, region, TYPE(F32, 4, 4));
    IrValue y = BUILD(&rig, linear, OPERANDS(p, q), .block = region);
    IrValue z = BUILD(&rig, add, OPERANDS(BUILD(&rig, silu, OPERANDS(y), .block = region), p), .block = region);
    hd_vec_push(&rig.graph->blocks.data[region].yields, z);
    hd_vec_push(&rig.graph->blocks.data[region].yields, y);
    hd_vec_push(&rig.graph->blocks.data[region].yields, p);
    IrValue fused = BUILD(&rig, fused, OPERANDS(a, b, b), ATTRS(NAME(KIND, "matmul")), .region = region);
    result(&rig, "fused", fused);
    result(&rig, "argument", sibling(&rig, fused, 2));
    expect_ok(ir_verify(rig.graph));
    run(&rig);
    expect_values(rig.interp, "fused", 12, got(rig.interp, "plain", 12));
    expect_values(rig.interp, "argument", 12, x);
    run(&rig);
    expect_values(rig.interp, "fused", 12, got(rig.interp, "plain", 12));
    rig_close(&rig);
    free(x), free(w);
}

static void test_pack_keeps_values(void **state) {
    (void)state;
    static const float w[] = {1, 2, 3, 4, 5, 6};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    result(&rig, "p",
           BUILD(&rig, pack, OPERANDS(WEIGHT(&rig, "w", w, 3, 2)), ATTRS({IR_ATTR_LAYOUT, {.layout = IR_LAYOUT_R16}})));
    run(&rig);
    EXPECT(&rig, "p", 1, 2, 3, 4, 5, 6);
    rig_close(&rig);
}

typedef struct Seen { IrOpKind kind[8]; uint32_t result[8]; float first[8]; uint64_t count[8]; int len; } Seen;

static void see(void *user, const IrGraph *graph, IrOpRef op, uint32_t index, float *values, uint64_t count) {
    Seen *seen = user;
    seen->kind[seen->len] = ir_op(graph, op)->kind;
    seen->result[seen->len] = index;
    seen->first[seen->len] = values[0];
    seen->count[seen->len++] = count;
}

static void test_trace(void **state) {
    (void)state;
    static const float x[] = {1, 7, 5};
    Rig rig;
    Seen seen = {.len = 0};
    rig_open(&rig, 1, 1, 1);
    BUILD(&rig, topk, OPERANDS(BUILD(&rig, neg, OPERANDS(WEIGHT(&rig, "x", x, 1, 3)))), ATTRS(INT(K, 2)));
    ir_interp_trace(rig.interp, see, &seen);
    run(&rig);
    assert_int_equal(seen.len, 3);
    assert_int_equal(seen.kind[0], IR_OP_neg);
    assert_int_equal(seen.count[0], 3);
    assert_int_equal(seen.kind[2], IR_OP_topk);
    assert_int_equal(seen.result[1], 0);
    assert_int_equal(seen.result[2], 1);
    assert_true(seen.first[0] == -1 && seen.first[1] == -1 && seen.first[2] == 0);
    ir_interp_trace(rig.interp, NULL, NULL);
    run(&rig);
    assert_int_equal(seen.len, 3);
    rig_close(&rig);
}

// ---- weights -------------------------------------------------------------------------------------------------

// q8_0: a scale (f16 0.5 is 0x3800) and 32 values per block.
static void test_weights_from_gguf(void **state) {
    (void)state;
    uint8_t blocks[3 * 34] = {0};
    float row[32];
    for (int i = 0; i < 3; i++) blocks[34 * i + 1] = 0x38, blocks[34 * i + 2] = (uint8_t)(i + 4);
    GgufWriter *writer = gguf_writer_new("test");
    HdBuf bytes = {0};
    GgufFile *file;
    gguf_writer_tensor(writer, "w", GGML_Q8_0, 2, (uint64_t[]){32, 3}, blocks);
    gguf_writer_finish(writer, &bytes);
    gguf_writer_free(writer);
    expect_ok(gguf_open_memory("m.gguf", bytes.data, bytes.len, NULL, &file));
    expect_ok(ir_weights_from_gguf(file, "w", 32, 2, 3, row));
    assert_true(row[0] == 3 && row[1] == 0);
    expect_error(ir_weights_from_gguf(file, "w", 32, 2, 4, row), "m.gguf: tensor w has 3 rows of 32, not rows 2..4 of 32");
    expect_error(ir_weights_from_gguf(file, "w", 64, 0, 1, row), "m.gguf: tensor w has 3 rows of 32, not rows 0..1 of 64");
    expect_error(ir_weights_from_gguf(file, "v", 32, 0, 1, row), "m.gguf: tensor v does not exist");
    gguf_close(file);
    hd_buf_free(&bytes);
}

static void test_errors_name_what_is_wrong(void **state) {
    (void)state;
    static const float x[4] = {0};
    Rig rig;
    rig_open(&rig, 1, 1, 1);
    result(&rig, "y", BUILD(&rig, neg, OPERANDS(ir_weight(rig.graph, "missing", TYPE(F32, 2)))));
    expect_error(ir_interp_run(rig.interp, rig.graph, &(IrCall){0}), "neg in layer -1: weight missing does not exist");
    rig_close(&rig);
    rig_open(&rig, 1, 1, 1);
    IrValue three = ir_input(rig.graph, IR_INPUT_TOKENS, TYPE(I32, 3), 0);
    result(&rig, "y", BUILD(&rig, embed, OPERANDS(three, WEIGHT(&rig, "w", x, 4, 1))));
    expect_error(call_with(rig.interp, &rig, 0, 2, NULL, 0), "input tokens: the graph has 3 words, the call 2");
    rig_close(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_unary_extremes),
        cmocka_unit_test(test_binary_and_broadcast),
        cmocka_unit_test(test_cast_rounds_to_even),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_weight_rows_on_demand),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_sums_are_float64),
        cmocka_unit_test(test_quant_act),
        cmocka_unit_test(test_linear_of_quantised),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_of_bf16),
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_moe_plan),
        cmocka_unit_test(test_grouped_linear),
        cmocka_unit_test(test_expert_id_out_of_range),
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_pack_keeps_values),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_weights_from_gguf),
        cmocka_unit_test(test_errors_name_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
