// SPDX-License-Identifier: Apache-2.0
// Products on CUDA with int8 activations, of every quantised type, and of BF16 weights for many tokens: emulated kernels beside the
// interpreter, which multiplies the same quantised activations in float64. For one token the group quantises the row itself.
#define TOKENS 70
#include "tests/unit/matmul_fixture.h"

enum { ROWS = 70, COLUMNS = 512, MOST_GRAPHS = 64 };

static bool is_quantised(IrDtype t) { return ir_dtype_info(t)->ggml >= 0 && ir_dtype_info(t)->block > 1; }

// Gate and up projection of a type, on activations that are in memory.
static void put_pair(HdBuf *text, const char *graph, const char *type, const char *activations) {
    hd_buf_printf(text, "  graph @%s {\n", graph);
    put_activations(text, COLUMNS, activations);
    hd_buf_printf(text, "    %%g = weight \"gate.%s\" : %s[%d, %d]\n    %%u = weight \"up.%s\" : %s[%d, %d]\n", type, type, ROWS, COLUMNS, type, type, ROWS, COLUMNS);
    hd_buf_printf(text, "    %%y = fused %%x_%s, %%g, %%u {kind = matmul} (%%a0 : %s[T, %d], %%a1 : %s[%d, %d], %%a2 : %s[%d, %d]) {\n", activations, activations,
                  COLUMNS, type, ROWS, COLUMNS, type, ROWS, COLUMNS);
    hd_buf_printf(text, "      %%a3 = linear %%a0, %%a1 : f32[T, %d]\n      %%a4 = linear %%a0, %%a2 : f32[T, %d]\n      %%a5 = mul %%a3, %%a4 : f32[T, %d]\n"
                        "      yield %%a5\n    } : f32[T, %d]\n    return y = %%y\n  }\n", ROWS, ROWS, ROWS, ROWS);
}

// One product of a row that the group quantises.
static void put_one(HdBuf *text, const char *graph, const char *type) {
    hd_buf_printf(text, "  graph @%s {\n", graph);
    put_activations(text, COLUMNS, "");
    hd_buf_printf(text, "    %%w = weight \"gate.%s\" : %s[%d, %d]\n    %%y = fused %%x_f32, %%w {kind = matmul} (%%a0 : f32[T, %d], %%a1 : %s[%d, %d]) {\n"
                        "      %%a2 = quant_act %%a0 : q8a[T, %d]\n      %%a3 = linear %%a2, %%a1 : f32[T, %d]\n      yield %%a3\n    } : f32[T, %d]\n"
                        "    return y = %%y\n  }\n", type, type, ROWS, COLUMNS, COLUMNS, type, ROWS, COLUMNS, COLUMNS, ROWS, ROWS);
}

static void open_graphs(Fixture *f, const char *target, const IrDtype *types, size_t count, bool one) {
    HdBuf text = {0};
    *f = (Fixture){.target = target};
    add_matrix(&f->weights, "table.512", IR_F32, VOCABULARY, COLUMNS);
    hd_buf_str(&text, "module \"products\" {\n");
    for (size_t i = 0; i < count; i++) {
        const char *name = ir_dtype_info(types[i])->name;
        char graph[48], weight[48];
        for (int up = 0; up < 2; up++) {
            snprintf(weight, sizeof weight, "%s.%s", up ? "up" : "gate", name);
            add_matrix(&f->weights, weight, types[i], ROWS, COLUMNS);
        }
        snprintf(graph, sizeof graph, "%s_%s", one ? "d" : "many", name);
        if (one) put_one(&text, graph, name);
        else put_pair(&text, graph, name, types[i] == IR_BF16 ? "f32" : "q8a");
    }
    hd_buf_str(&text, "}\n");
    open_fixture(f, &text);
    hd_buf_free(&text);
}

// Tokens first..first+count-1 by the program and by the interpreter.
static void check_tokens(Fixture *f, const char *graph, uint32_t first, uint32_t count, double most) {
    run_tokens(f, graph, first, count);
    interpret_tokens(f, graph, first, count);
    assert_int_equal(expect_near(f, graph, "y", most), count * ROWS);
}

static uint32_t all_types(IrDtype *out_types) {
    uint32_t count = 0;
    for (IrDtype t = 0; t < IR_DTYPE_COUNT; t++)
        if (is_quantised(t)) out_types[count++] = t;
    assert_int_equal(count, 23);
    return count;
}

static void test_one_token(void **state) {
    (void)state;
    Fixture f;
    IrDtype types[MOST_GRAPHS];
    uint32_t count = all_types(types);
    open_graphs(&f, "cpu:emulated-cuda", types, count, true);
    for (uint32_t i = 0; i < count; i++) {
        char graph[48];
        snprintf(graph, sizeof graph, "d_%s", ir_dtype_info(types[i])->name);
        check_tokens(&f, graph, i % TOKENS, 1, 1e-12);
    }
    close_fixture(&f);
}

// A tile of 64 x 64, and what is left beside and below it; then few of its rows, whose bits are the same.
static void check_tiles(const char *target, const IrDtype *types, size_t count, double most) {
    static float many[TOKENS * ROWS];
    Fixture f;
    open_graphs(&f, target, types, count, false);
    for (size_t i = 0; i < count; i++) {
        char graph[48];
        snprintf(graph, sizeof graph, "many_%s", ir_dtype_info(types[i])->name);
        check_tokens(&f, graph, 0, TOKENS, most);
        memcpy(many, run_result(&f.run, graph, "y"), sizeof many);
        run_tokens(&f, graph, 3, 66);
        assert_memory_equal(many + 3 * ROWS, run_result(&f.run, graph, "y"), 66 * ROWS * sizeof *many);
    }
    close_fixture(&f);
}

// A type of each kind: by 32 or 16 columns a scale, with something added or subtracted or neither, from a codebook, with high codes.
static const IrDtype kinds[] = {IR_Q8_0, IR_Q4_K, IR_Q6_K, IR_Q2_K, IR_MXFP4, IR_IQ1_M};

static void test_tiles_mma(void **state) {
    (void)state;
    check_tiles("cpu:emulated-cuda", kinds, HD_COUNT(kinds), 1e-12);
}

static void test_tiles_dot(void **state) {
    (void)state;
    check_tiles("cpu:emulated-cuda-75", kinds, HD_COUNT(kinds), 1e-12);
}

// Two bf16 numbers leave 2^-17 of an activation at most; float32 less.
static void test_tiles_bf16(void **state) {
    (void)state;
    static const IrDtype bf16[] = {IR_BF16};
    check_tiles("cpu:emulated-cuda", bf16, 1, 2e-11);
    check_tiles("cpu:emulated-cuda-75", bf16, 1, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_token), cmocka_unit_test(test_tiles_mma), cmocka_unit_test(test_tiles_dot),
                                       cmocka_unit_test(test_tiles_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
