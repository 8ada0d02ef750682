// SPDX-License-Identifier: Apache-2.0
// Groups around matrix products: element-wise epilogues over several products of mixed types and layouts, products of experts
// with and without a dispatch plan, weight types without a packed form, and what is refused.
#include "tests/unit/matmul_fixture.h"

static Fixture all;

// ---- the graphs ----------------------------------------------------------------------------------------------------

// SwiGLU of two products with a bias, a residual sum and a bf16 copy; beside it a product of another height, reshaped to heads.
static void put_epilogue(HdBuf *text) {
    hd_buf_str(text, "  graph @epilogue {\n");
    put_activations(text, 256, "q8a");
    hd_buf_str(text, "    %side = weight \"table.24\" : f32[40, 24]\n"
                     "    %bias = weight \"table.bias\" : f32[24]\n"
                     "    %wg = weight \"gate\" : q4_k[24, 256]:r16\n"
                     "    %wu = weight \"up\" : q6_k[24, 256]\n"
                     "    %wv = weight \"value\" : q8_0[40, 256]:r16\n"
                     "    %r = fused %tokens, %side {kind = embed} (%r0 : i32[T], %r1 : f32[40, 24]) {\n"
                     "      %r2 = embed %r0, %r1 : f32[T, 24]\n"
                     "      yield %r2\n"
                     "    } : f32[T, 24]\n"
                     "    %sum, %heads, %product, %short = fused %x_q8a, %wg, %wv, %wu, %r, %bias {kind = matmul} (%a0 : q8a[T, "
                     "256], %a1 : q4_k[24, 256]:r16, "
                     "%a2 : q8_0[40, 256]:r16, %a3 : q6_k[24, 256], %a4 : f32[T, 24], %a5 : f32[24]) {\n"
                     "      %g, %v, %u = multi_linear %a0, %a1, %a2, %a3 : f32[T, 24], f32[T, 40], f32[T, 24]\n"
                     "      %gb = add %g, %a5 : f32[T, 24]\n"
                     "      %s = silu %gb : f32[T, 24]\n"
                     "      %m = mul %s, %u : f32[T, 24]\n"
                     "      %o = add %m, %a4 : f32[T, 24]\n"
                     "      %c = cast %o {to = bf16} : bf16[T, 24]\n"
                     "      %h = reshape %v : f32[T, 4, 10]\n"
                     "      yield %o, %h, %m, %c\n"
                     "    } : f32[T, 24], f32[T, 4, 10], f32[T, 24], bf16[T, 24]\n"
                     "    return sum = %sum, heads = %heads, product = %product, short = %short\n"
                     "  }\n");
}

static const IrDtype decoded[] = {IR_Q4_1, IR_Q5_0, IR_Q5_1, IR_Q2_K, IR_Q3_K};

static void put_decoded(HdBuf *text) {
    HdBuf results = {0};
    hd_buf_str(text, "  graph @unpacked {\n");
    put_activations(text, 256, "");
    for (size_t i = 0; i < HD_COUNT(decoded); i++) {
        const char *t = ir_dtype_info(decoded[i])->name;
        hd_buf_printf(text, "    %%w%zu = weight \"%s\" : %s[24, 256]\n", i, t, t);
        hd_buf_printf(text, "    %%y%zu = fused %%x_f32, %%w%zu {kind = matmul} (%%a%zu : f32[T, 256], %%b%zu : %s[24, 256]) {\n",
                      i, i, i, i, t);
        hd_buf_printf(text, "      %%c%zu = linear %%a%zu, %%b%zu : f32[T, 24]\n      yield %%c%zu\n    } : f32[T, 24]\n", i, i,
                      i, i);
        hd_buf_printf(&results, "%s%s = %%y%zu", i ? ", " : "", t, i);
    }
    hd_buf_printf(text, "    return %s\n  }\n", results.data);
    hd_buf_free(&results);
}

// Five experts, two per token: SwiGLU of 32 rows on quantised activations, one matrix decoded from native rows, then 40 rows, an odd number of panels, of f32 over the rank rows.
static void put_experts(HdBuf *text, const char *name, bool planned) {
    const char *plan = planned ? ", %plan" : "", *arg = planned ? ", %p : i32[P]" : "", *arg2 = planned ? ", %p2 : i32[P]" : "";
    hd_buf_printf(text, "  graph @%s {\n", name);
    if (planned) hd_buf_str(text, "    dim P = 27 + 2*T + 6*ceil(T/4)\n");
    put_activations(text, 256, "q8a");
    hd_buf_str(text,
        "    %router = weight \"router\" : f32[5, 256]:r16\n"
        "    %wg = weight \"gates\" : iq3_s[5, 32, 256]\n"
        "    %wu = weight \"ups\" : q5_k[5, 32, 256]:r16\n"
        "    %wd = weight \"downs\" : f32[5, 40, 32]:r16\n"
        "    %scores = fused %x_f32, %router {kind = matmul} (%s0 : f32[T, 256], %s1 : f32[5, 256]:r16) {\n"
        "      %s2 = linear %s0, %s1 : f32[T, 5]\n"
        "      yield %s2\n"
        "    } : f32[T, 5]\n"
        "    %top, %ids = fused %scores {kind = topk} (%t0 : f32[T, 5]) {\n"
        "      %t1, %t2 = topk %t0 {k = 2} : f32[T, 2], i32[T, 2]\n"
        "      yield %t1, %t2\n"
        "    } : f32[T, 2], i32[T, 2]\n");
    if (planned)
        hd_buf_str(text,
            "    %plan = fused %ids {kind = moe_plan} (%m0 : i32[T, 2]) {\n"
            "      %m1 = moe_plan %m0 {tile = 4, experts = 5} : i32[P]\n"
            "      yield %m1\n"
            "    } : i32[P]\n");
    hd_buf_printf(text,
                  "    %%mid = fused %%x_q8a, %%wg, %%wu, %%ids%s {kind = grouped} (%%g0 : q8a[T, 256], %%g1 : iq3_s[5, 32, "
                  "256], %%g2 : q5_k[5, 32, 256]:r16, "
                  "%%g3 : i32[T, 2]%s) {\n",
                  plan, arg);
    hd_buf_printf(text, "      %%g4 = grouped_linear %%g0, %%g1, %%g3%s : f32[T, 2, 32]\n", planned ? ", %p" : "");
    hd_buf_printf(text, "      %%g5 = grouped_linear %%g0, %%g2, %%g3%s : f32[T, 2, 32]\n", planned ? ", %p" : "");
    hd_buf_str(text,
        "      %g6 = silu %g4 : f32[T, 2, 32]\n"
        "      %g7 = mul %g6, %g5 : f32[T, 2, 32]\n"
        "      yield %g7\n"
        "    } : f32[T, 2, 32]\n");
    hd_buf_printf(text,
                  "    %%out = fused %%mid, %%wd, %%ids%s {kind = grouped} (%%d0 : f32[T, 2, 32], %%d1 : f32[5, 40, 32]:r16, "
                  "%%d2 : i32[T, 2]%s) {\n",
                  plan, arg2);
    hd_buf_printf(text, "      %%d3 = grouped_linear %%d0, %%d1, %%d2%s : f32[T, 2, 40]\n", planned ? ", %p2" : "");
    hd_buf_str(text, "      yield %d3\n    } : f32[T, 2, 40]\n    return mid = %mid, out = %out\n  }\n");
}

static int setup_all(void **state) {
    Weights *w = &all.weights;
    HdBuf text = {0};
    (void)state;
    add_matrix(w, "table.256", IR_F32, VOCABULARY, 256);
    add_matrix(w, "table.24", IR_F32, VOCABULARY, 24);
    add_matrix(w, "table.bias", IR_F32, 1, 24);
    add_matrix(w, "gate", IR_Q4_K, 24, 256);
    add_matrix(w, "up", IR_Q6_K, 24, 256);
    add_matrix(w, "value", IR_Q8_0, 40, 256);
    for (size_t i = 0; i < HD_COUNT(decoded); i++) add_matrix(w, ir_dtype_info(decoded[i])->name, decoded[i], 24, 256);
    add_matrix(w, "router", IR_F32, 5, 256);
    add_experts(w, "gates", IR_IQ3_S, 5, 5 * 32, 256);
    add_experts(w, "ups", IR_Q5_K, 5, 5 * 32, 256);
    add_experts(w, "downs", IR_F32, 5, 5 * 40, 32);
    hd_buf_str(&text, "module \"groups\" {\n");
    put_load(&text, w);
    put_epilogue(&text);
    put_decoded(&text);
    put_experts(&text, "planned", true);
    put_experts(&text, "rows", false);
    put_experts(&text, "dsingle", false);
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

// ---- tests ---------------------------------------------------------------------------------------------------------

static void test_epilogues(void **state) {
    (void)state;
    run_tokens(&all, "epilogue", 0, TOKENS);
    interpret(&all, "epilogue");
    expect_near(&all, "epilogue", "sum", 1.1e-13);
    expect_near(&all, "epilogue", "product", 1.1e-13);
    expect_near(&all, "epilogue", "heads", 1.6e-14);
    const float *sum = run_result(&all.run, "epilogue", "sum");
    const uint16_t *rounded = run_result(&all.run, "epilogue", "short");
    for (int i = 0; i < TOKENS * 24; i++) assert_int_equal(rounded[i], hd_f32_to_bf16(sum[i]));
}

// Two components: gate and up in one launch, the value projection in another of the same stage.
static void test_components_are_launches_of_one_stage(void **state) {
    (void)state;
    const CgProgram *program = all.run.program;
    for (size_t c = 0; c < program->classes.len; c++) {
        const CgClass *class = &program->classes.data[c];
        if (strcmp(class->name, "epilogue")) continue;
        // gate and up: 2 panels each, value: 3; how many of them make a unit depends on the processor
        const CgLaunch *last = &class->launches.data[class->launches.len - 1], *before = last - 1;
        assert_int_equal(last->stage, before->stage);
        assert_int_not_equal((before - 1)->stage, last->stage);
        IrBinding call = {{3, 1, 1, 1}};
        int64_t units = ir_expr_eval(&program->exprs.data[before->units], &call);
        assert_true(units == 1 || units == 2);
        assert_int_equal(ir_expr_eval(&program->exprs.data[last->units], &call), units == 1 ? 2 : 3);
        assert_int_equal(ir_expr_eval(&program->exprs.data[last->flops], &call), 2 * 3 * 40 * 256);
        // matrix in panels of 16 rows, activations, results
        assert_int_equal(ir_expr_eval(&program->exprs.data[last->bytes], &call), 48 * 272 + 3 * 320 + 3 * 40 * 4);
        return;
    }
    fail_msg("no class epilogue");
}

static void test_types_without_packed_form(void **state) {
    (void)state;
    run_tokens(&all, "unpacked", 0, TOKENS);
    interpret(&all, "unpacked");
    for (size_t i = 0; i < HD_COUNT(decoded); i++) expect_near(&all, "unpacked", ir_dtype_info(decoded[i])->name, 5e-14);
}

static void test_experts(void **state) {
    static const char *const graphs[] = {"planned", "rows"};
    (void)state;
    for (size_t i = 0; i < HD_COUNT(graphs); i++) {
        run_tokens(&all, graphs[i], 0, TOKENS);
        interpret(&all, graphs[i]);
        expect_near(&all, graphs[i], "mid", 4e-14);
        expect_near(&all, graphs[i], "out", 4e-14);
    }
}

static void expect_rows(const char *graph, const char *name, const float *kept, size_t row, uint32_t first, uint32_t count) {
    if (memcmp(run_result(&all.run, graph, name), kept + first * row, sizeof(float) * count * row))
        fail_msg("@%s %s: tokens %u..%u have other bits", graph, name, first, first + count - 1);
}

static void test_bits_of_experts_do_not_depend_on_the_plan(void **state) {
    static const struct { const char *graph; uint32_t first, count;
    } calls[] = {{"planned", 0, 1}, {"planned", 4, 2}, {"planned", 9, 8}, {"rows", 0, TOKENS},
                 {"rows", 3, 5},    {"dsingle", 0, 1}, {"dsingle", 16, 1}};
    static float mid[TOKENS * 64], out[TOKENS * 80];
    (void)state;
    run_tokens(&all, "planned", 0, TOKENS);
    memcpy(mid, run_result(&all.run, "planned", "mid"), sizeof mid);
    memcpy(out, run_result(&all.run, "planned", "out"), sizeof out);
    for (size_t i = 0; i < HD_COUNT(calls); i++) {
        run_tokens(&all, calls[i].graph, calls[i].first, calls[i].count);
        expect_rows(calls[i].graph, "mid", mid, 64, calls[i].first, calls[i].count);
        expect_rows(calls[i].graph, "out", out, 80, calls[i].first, calls[i].count);
    }
}

// ---- refusals ------------------------------------------------------------------------------------------------------

static void expect_refusal(const char *body, const char *target, const char *what) {
    HdBuf text = {0};
    IrModule *module;
    IrTarget parsed;
    CgProgram *program = NULL;
    hd_buf_str(&text, "module \"refused\" {\n  graph @g {\n");
    put_activations(&text, 256, "q8a bf16");
    hd_buf_printf(&text, "%s  }\n}\n", body);
    expect_ok(ir_parse_module("refused", (HdStr){text.data, text.len}, &module));
    run_place(module->graphs.data[0], &(IrBinding){{TOKENS, 1, 1, 1}});
    expect_ok(ir_target_parse(target, &parsed));
    HdStatus *status = cg_compile(module, &parsed, NULL, &program);
    if (!status) fail_msg("compiled, but expected: %s", what);
    if (!strstr(hd_status_message(status), what)) fail_msg("\"%s\", but expected: %s", hd_status_message(status), what);
    hd_status_free(status);
    ir_module_free(module);
    hd_buf_free(&text);
}

static void test_refusals(void **state) {
    (void)state;
    expect_refusal("    %w = weight \"w\" : f16[24, 256]:r16\n"
                   "    %y = fused %x_q8a, %w {kind = matmul} (%a0 : q8a[T, 256], %a1 : f16[24, 256]:r16) {\n"
                   "      %a2 = linear %a0, %a1 : f32[T, 24]\n      yield %a2\n    } : f32[T, 24]\n    return y = %y\n",
                   "cpu:native", "no product of f16 weights with q8a activations; f32 activations work for every type");
    expect_refusal("    %w = weight \"w\" : bf16[24, 256]:r16\n"
                   "    %y = fused %x_bf16, %w {kind = matmul} (%a0 : bf16[T, 256], %a1 : bf16[24, 256]:r16) {\n"
                   "      %a2 = linear %a0, %a1 : f32[T, 24]\n      yield %a2\n    } : f32[T, 24]\n    return y = %y\n",
                   "cpu:x86-64-v3", "has no avx512bf16");
    expect_refusal("    %w = weight \"w\" : q5_0[24, 256]:r16\n"
                   "    %y = fused %x_f32, %w {kind = matmul} (%a0 : f32[T, 256], %a1 : q5_0[24, 256]:r16) {\n"
                   "      %a2 = linear %a0, %a1 : f32[T, 24]\n      yield %a2\n    } : f32[T, 24]\n    return y = %y\n",
                   "cpu:native", "q5_0 weights have no r16 layout; use native");
    expect_refusal(
        "    %w = weight \"w\" : f32[24, 256]:r16\n    %v = weight \"v\" : f32[1, 256]:r16\n"
        "    %y = fused %x_f32, %w, %v {kind = matmul} (%a0 : f32[T, 256], %a1 : f32[24, 256]:r16, %a2 : f32[1, 256]:r16) {\n"
        "      %a3, %a4 = multi_linear %a0, %a1, %a2 : f32[T, 24], f32[T, 1]\n"
        "      %a5 = mul %a3, %a4 : f32[T, 24]\n      yield %a5\n    } : f32[T, 24]\n    return y = %y\n",
        "cpu:native", "joins products of different heights");
    expect_refusal(   // what only GPUs have
        "    %w = weight \"w\" : f32[24, 256]\n    %n = weight \"n\" : f32[256]\n"
        "    %y = fused %x_f32, %w, %n {kind = matmul} (%a0 : f32[T, 256], %a1 : f32[24, 256], %a2 : f32[256]) {\n"
        "      %a3 = rms_norm %a0, %a2 {eps = 1e-06} : f32[T, 256]\n"
        "      %a4 = linear %a3, %a1 : f32[T, 24]\n      yield %a4\n    } : f32[T, 24]\n    return y = %y\n",
        "cpu:native", "linear: operand 0 is computed inside the group");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_epilogues),
        cmocka_unit_test(test_components_are_launches_of_one_stage),
        cmocka_unit_test(test_types_without_packed_form),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_bits_of_experts_do_not_depend_on_the_plan),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
