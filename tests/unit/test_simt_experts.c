// SPDX-License-Identifier: Apache-2.0
// Products of experts on a GPU, as C++ on this machine (cpu:emulated-cuda), against the interpreter: by a dispatch plan, in tiles and a few
// rows at a time, and without one.
#include "tests/unit/matmul_fixture.h"

#include "ir/moe_plan.h"

// tiles: experts have many rows each when the call is full, and products the form for it; x: type of the activations
typedef struct Case { const char *name; int64_t experts, ranks, tile, columns; IrDtype gate, up; bool tiles; const char *x; } Case;
static const Case cases[] = {
    {"tiles", 2, 2, 16, 256, IR_Q4_K, IR_F32, true, "f32"},
    {"halves", 2, 2, 5, 256, IR_Q8_0, IR_Q6_K, true, "f32"},      // a plan with smaller tiles than the kernel's
    {"few", 5, 2, 16, 256, IR_IQ3_S, IR_Q5_K, false, "f32"},      // and with larger ones
    {"single", 40, 1, 4, 256, IR_Q4_0, IR_BF16, false, "f32"},
    {"odd", 2, 2, 16, 40, IR_F32, IR_F32, false, "f32"},   // columns that are no steps of a tile
    {"int8_tiles", 2, 2, 16, 256, IR_Q4_K, IR_Q6_K, true, "q8a"},
    {"int8_halves", 2, 2, 5, 256, IR_Q8_0, IR_Q3_K, true, "q8a"},
    {"int8_few", 5, 2, 16, 256, IR_IQ3_S, IR_Q5_K, false, "q8a"},
};
enum { MIDDLE = 72, OUTPUTS = 24 };   // rows of the matrices: more than one tile, and no whole one

static void put_weights(HdBuf *text, const Case *c) {
    hd_buf_printf(text, "    %%router = weight \"router.%s\" : f32[%lld, %lld]\n", c->name, (long long)c->experts, (long long)c->columns);
    hd_buf_printf(text, "    %%wg = weight \"gate.%s\" : %s[%lld, %d, %lld]\n", c->name, ir_dtype_info(c->gate)->name, (long long)c->experts,
                  MIDDLE, (long long)c->columns);
    hd_buf_printf(text, "    %%wu = weight \"up.%s\" : %s[%lld, %d, %lld]\n", c->name, ir_dtype_info(c->up)->name, (long long)c->experts, MIDDLE,
                  (long long)c->columns);
    hd_buf_printf(text, "    %%wd = weight \"down.%s\" : f32[%lld, %d, %d]\n", c->name, (long long)c->experts, OUTPUTS, MIDDLE);
}

static void put_routing(HdBuf *text, const Case *c, bool planned) {
    long long K = c->columns, E = c->experts, k = c->ranks;
    hd_buf_printf(text, "    %%scores = fused %%x_f32, %%router {kind = matmul} (%%s0 : f32[T, %lld], %%s1 : f32[%lld, %lld]) {\n"
                  "      %%s2 = linear %%s0, %%s1 : f32[T, %lld]\n      yield %%s2\n    } : f32[T, %lld]\n", K, E, K, E, E);
    hd_buf_printf(text, "    %%top, %%ids = fused %%scores {kind = topk} (%%t0 : f32[T, %lld]) {\n"
                  "      %%t1, %%t2 = topk %%t0 {k = %lld} : f32[T, %lld], i32[T, %lld]\n      yield %%t1, %%t2\n"
                  "    } : f32[T, %lld], i32[T, %lld]\n", E, k, k, k, k, k);
    if (planned)
        hd_buf_printf(text, "    %%plan = fused %%ids {kind = moe_plan} (%%m0 : i32[T, %lld]) {\n"
                      "      %%m1 = moe_plan %%m0 {tile = %lld, experts = %lld} : i32[P]\n      yield %%m1\n    } : i32[P]\n", k,
                      (long long)c->tile, E);
}

static void put_case(HdBuf *text, const Case *c, bool planned) {
    long long K = c->columns, E = c->experts, k = c->ranks;
    const char *gate = ir_dtype_info(c->gate)->name, *up = ir_dtype_info(c->up)->name;
    const char *plan = planned ? ", %plan" : "", *inner = planned ? ", %p" : "", *arg = planned ? ", %p : i32[P]" : "";
    hd_buf_printf(text, "  graph @%s%s {\n", planned ? "" : "rows_", c->name);
    if (planned) hd_buf_printf(text, "    dim P = %lld + %lld*T + %lld*ceil(T/%lld)\n", 2 + 5 * E, k, 3 * k, (long long)c->tile);
    put_activations(text, K, strcmp(c->x, "f32") ? c->x : "");
    put_weights(text, c);
    put_routing(text, c, planned);
    hd_buf_printf(text, "    %%mid = fused %%x_%s, %%wg, %%wu, %%ids%s {kind = grouped} (%%g0 : %s[T, %lld], %%g1 : %s[%lld, %d, %lld], "
                  "%%g2 : %s[%lld, %d, %lld], %%g3 : i32[T, %lld]%s) {\n", c->x, plan, c->x, K, gate, E, MIDDLE, K, up, E, MIDDLE, K, k, arg);
    hd_buf_printf(text, "      %%g4 = grouped_linear %%g0, %%g1, %%g3%s : f32[T, %lld, %d]\n"
                  "      %%g5 = grouped_linear %%g0, %%g2, %%g3%s : f32[T, %lld, %d]\n      %%g6 = silu %%g4 : f32[T, %lld, %d]\n"
                  "      %%g7 = mul %%g6, %%g5 : f32[T, %lld, %d]\n      yield %%g7\n    } : f32[T, %lld, %d]\n",
                  inner, k, MIDDLE, inner, k, MIDDLE, k, MIDDLE, k, MIDDLE, k, MIDDLE);
    hd_buf_printf(text, "    %%out = fused %%mid, %%wd, %%ids%s {kind = grouped} (%%d0 : f32[T, %lld, %d], %%d1 : f32[%lld, %d, %d], "
                  "%%d2 : i32[T, %lld]%s) {\n", plan, k, MIDDLE, E, OUTPUTS, MIDDLE, k, planned ? ", %q : i32[P]" : "");
    hd_buf_printf(text, "      %%d3 = grouped_linear %%d0, %%d1, %%d2%s : f32[T, %lld, %d]\n      yield %%d3\n    } : f32[T, %lld, %d]\n"
                  "    return mid = %%mid, out = %%out\n  }\n", planned ? ", %q" : "", k, OUTPUTS, k, OUTPUTS);
}

static Fixture all;

static int setup_all(void **state) {
    HdBuf text = {0};
    (void)state;
    all.target = "cpu:emulated-cuda";
    add_matrix(&all.weights, "table.256", IR_F32, VOCABULARY, 256);
    add_matrix(&all.weights, "table.40", IR_F32, VOCABULARY, 40);
    hd_buf_str(&text, "module \"experts\" {\n");
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        const Case *c = &cases[i];
        char name[40];
        snprintf(name, sizeof name, "router.%s", c->name), add_matrix(&all.weights, name, IR_F32, c->experts, c->columns);
        snprintf(name, sizeof name, "gate.%s", c->name), add_experts(&all.weights, name, c->gate, c->experts, c->experts * MIDDLE, c->columns);
        snprintf(name, sizeof name, "up.%s", c->name), add_experts(&all.weights, name, c->up, c->experts, c->experts * MIDDLE, c->columns);
        snprintf(name, sizeof name, "down.%s", c->name), add_experts(&all.weights, name, IR_F32, c->experts, c->experts * OUTPUTS, MIDDLE);
        put_case(&text, c, true);
        put_case(&text, c, false);
    }
    hd_buf_str(&text, "}\n");
    open_fixture(&all, &text);
    hd_buf_free(&text);
    return 0;
}

static int teardown_all(void **state) {
    (void)state;
    close_fixture(&all);
    return 0;
}

static void test_products(void **state) {
    static const uint32_t calls[] = {TOKENS, 1, 2, 9};
    (void)state;
    for (size_t i = 0; i < 2 * HD_COUNT(cases); i++) {
        char graph[40];
        snprintf(graph, sizeof graph, "%s%s", i % 2 ? "rows_" : "", cases[i / 2].name);
        for (size_t n = 0; n < HD_COUNT(calls); n++) {
            run_tokens(&all, graph, 0, calls[n]);
            interpret_tokens(&all, graph, 0, calls[n]);
            expect_near(&all, graph, "mid", 1e-12);
            expect_near(&all, graph, "out", 1e-12);
        }
    }
}

static const CgClass *class_of(const char *name) {
    for (size_t c = 0; c < all.run.program->classes.len; c++)
        if (!strcmp(all.run.program->classes.data[c].name, name)) return &all.run.program->classes.data[c];
    fail_msg("no class %s", name);
    return NULL;
}

// A unit is a tile of the plan, not a row: the first product's launch has as many as its bound says, whatever the tokens chose.
static void test_units_are_tiles_of_the_plan(void **state) {
    (void)state;
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        const Case *c = &cases[i];
        const CgClass *class = class_of(c->name);
        const CgLaunch *launch = &class->launches.data[class->launches.len - 2];
        const char *kernel = all.run.program->kernels.data[launch->kernel].name;
        IrBinding call = {{TOKENS, 1, 1, 1}};
        int64_t bound = ir_moe_plan_tile_bound((IrMoePlan){.experts = c->experts, .tile = c->tile, .ranks = c->ranks, .tokens = TOKENS});
        assert_int_equal(!strncmp(kernel, "grouped_matmul_tiles", 20), c->tiles);
        assert_int_equal(ir_expr_eval(&all.run.program->exprs.data[launch->units], &call), bound * hd_ceil_div(MIDDLE, c->tiles ? 64 : 8));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_units_are_tiles_of_the_plan)};
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
