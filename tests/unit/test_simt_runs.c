// SPDX-License-Identifier: Apache-2.0
// The argmax behind a product: every schedule of a GPU finds, in each run of 64 of its own results, the largest and the first column that has it.
// What the results are is compared with the interpreter.
#define TOKENS 70                // tiles
#define GRAPH_TOKENS(name) ((name)[0] == 'd' ? 1 : (name)[0] == 's' ? 20 : TOKENS)
#include "tests/unit/matmul_fixture.h"

typedef struct Head { const char *graph; IrDtype dtype; int K, N; const char *makes; } Head;   // makes: what the group does to the row first

static const Head heads[] = {
    {"d_plain", IR_F32, 72, 150, ""},        {"d_norm_64", IR_F32, 64, 150, "norm"},      {"d_norm_128", IR_Q6_K, 256, 150, "norm"},
    {"d_norm_256", IR_Q8_0, 1024, 64, "norm"}, {"d_quantised", IR_Q8_0, 512, 150, "quant"}, {"d_short", IR_F32, 64, 40, "norm"},
    {"s_plain", IR_F32, 72, 150, ""},        {"s_int8", IR_Q4_K, 256, 150, "q8a"},        {"s_short", IR_BF16, 64, 40, ""},
    {"many_f32", IR_F32, 64, 150, ""},       {"many_bf16", IR_BF16, 64, 128, ""},         {"many_int8", IR_Q8_0, 512, 150, "q8a"},
    {"many_short", IR_F32, 64, 40, ""},
};

static int width_of(const Head *h) { return HD_MIN(h->N, IR_GPU_RUN); }
static int runs_of(const Head *h) { return (int)hd_ceil_div(h->N, width_of(h)); }
static const char *x_type(const Head *h) { return strcmp(h->makes, "q8a") ? "f32" : "q8a"; }

static void put_head(HdBuf *text, const Head *h) {
    const char *type = ir_dtype_info(h->dtype)->name, *x = "%a0";
    hd_buf_printf(text, "  graph @%s {\n", h->graph);
    put_activations(text, h->K, x_type(h));
    bool norm = !strcmp(h->makes, "norm");
    hd_buf_printf(text, "    %%w = weight \"%s\" : %s[%d, %d]\n", h->graph, type, h->N, h->K);
    if (norm) hd_buf_printf(text, "    %%n = weight \"table.norm.%d\" : f32[%d]\n", h->K, h->K);
    hd_buf_printf(text, "    %%y, %%v, %%i = fused %%x_%s, %%w%s {kind = matmul} (%%a0 : %s[T, %d], %%a1 : %s[%d, %d]", x_type(h), norm ? ", %n" : "", x_type(h),
                  h->K, type, h->N, h->K);
    if (norm) hd_buf_printf(text, ", %%a2 : f32[%d]", h->K);
    hd_buf_str(text, ") {\n");
    if (norm) hd_buf_printf(text, "      %s = rms_norm %%a0, %%a2 {eps = 1e-06} : f32[T, %d]\n", x = "%a3", h->K);
    if (!strcmp(h->makes, "quant")) hd_buf_printf(text, "      %s = quant_act %%a0 : q8a[T, %d]\n", x = "%a3", h->K);
    hd_buf_printf(text, "      %%a4 = linear %s, %%a1 : f32[T, %d]\n      %%a5, %%a6 = argmax %%a4 {width = %d} : f32[T, %d], i32[T, %d]\n", x, h->N, width_of(h),
                  runs_of(h), runs_of(h));
    hd_buf_printf(text, "      yield %%a4, %%a5, %%a6\n    } : f32[T, %d], f32[T, %d], i32[T, %d]\n    return y = %%y, v = %%v, i = %%i\n  }\n", h->N, runs_of(h),
                  runs_of(h));
}

static void open_heads(Fixture *f, const char *target, bool not_finite) {
    HdBuf text = {0};
    *f = (Fixture){.target = target};
    hd_buf_str(&text, "module \"heads\" {\n");
    for (size_t i = 0; i < HD_COUNT(heads); i++) {
        const Head *h = &heads[i];
        char table[32], norm[32];
        bool known = false;
        for (size_t j = 0; j < i; j++) known = known || heads[j].K == h->K;
        snprintf(table, sizeof table, "table.%d", h->K), snprintf(norm, sizeof norm, "table.norm.%d", h->K);
        if (!known) add_matrix(&f->weights, table, IR_F32, VOCABULARY, h->K), add_matrix(&f->weights, norm, IR_F32, 1, h->K);
        const Matrix *w = add_matrix(&f->weights, h->graph, h->dtype, h->N, h->K);
        if (h->dtype == IR_F32)                                 // equal rows give equal results
            for (int n = 7; n < h->N; n += 7) memcpy(w->bytes + n * h->K * 4, w->bytes + (n - 5) * h->K * 4, (size_t)h->K * 4);
        if (h->dtype == IR_F32 && not_finite) memcpy(w->bytes + (h->N - 3) * h->K * 4, &(float){NAN}, 4);
        put_head(&text, h);
    }
    hd_buf_str(&text, "}\n");
    open_fixture(f, &text);
    hd_buf_free(&text);
}

static void expect_runs(const Head *h, const float *y, const float *v, const int32_t *ids) {
    for (int run = 0; run < runs_of(h); run++) {
        int best = run * width_of(h), end = HD_MIN(best + width_of(h), h->N);
        bool finite = true;
        for (int c = best; c < end; c++) {
            finite = finite && isfinite(y[c]);
            if (y[c] > y[best]) best = c;
        }
        float want = finite ? y[best] : INFINITY;
        if (ids[run] != (finite ? best : -1) || memcmp(&v[run], &want, sizeof want))
            fail_msg("@%s, run %d: %g in column %d, expected %g in %d", h->graph, run, (double)v[run], ids[run], (double)want, best);
    }
}

static void check_head(Fixture *f, const Head *h, uint32_t first, uint32_t count, bool not_finite) {
    run_tokens(f, h->graph, first, count);
    const float *y = run_result(&f->run, h->graph, "y"), *v = run_result(&f->run, h->graph, "v");
    const int32_t *ids = run_result(&f->run, h->graph, "i");
    for (uint32_t t = 0; t < count; t++) expect_runs(h, y + t * (uint32_t)h->N, v + t * (uint32_t)runs_of(h), ids + t * (uint32_t)runs_of(h));
    if (not_finite) return;
    interpret_tokens(f, h->graph, first, count);
    expect_near(f, h->graph, "y", h->dtype == IR_BF16 ? 2e-11 : 1e-12);
}

static void expect_kernel(const Fixture *f, const char *prefix) {
    for (size_t i = 0; i < f->run.program->kernels.len; i++)
        if (!strncmp(f->run.program->kernels.data[i].name, prefix, strlen(prefix))) return;
    fail_msg("%s: no kernel %s..", f->target, prefix);
}

static void check_target(const char *target, bool not_finite) {
    static const uint32_t counts[] = {1, 3, 8, 9, 20, 64, 70};
    static const char *const kernels[] = {"matmul_f32_", "norm_matmul_f32_", "quantise_matmul_q8_0_", "matmul_int8_q4_k_", "matmul_tiles_f32_"};
    Fixture f;
    open_heads(&f, target, not_finite);
    bool mma = !strcmp(target, "cpu:emulated-cuda");
    for (size_t i = 0; i < HD_COUNT(kernels); i++) expect_kernel(&f, kernels[i]);
    expect_kernel(&f, mma ? "matmul_tiles_mma_i8_q8_0_" : "matmul_tiles_dot_i8_q8_0_");
    expect_kernel(&f, mma ? "matmul_tiles_mma_bf16_bf16_" : "matmul_tiles_bf16_");
    for (size_t i = 0; i < HD_COUNT(heads); i++)
        for (size_t c = 0; c < HD_COUNT(counts); c++)
            if (counts[c] <= (uint32_t)GRAPH_TOKENS(heads[i].graph)) check_head(&f, &heads[i], 0, counts[c], not_finite);
    close_fixture(&f);
}

static void test_mma(void **state) { (void)state, check_target("cpu:emulated-cuda", false); }
static void test_dot(void **state) { (void)state, check_target("cpu:emulated-cuda-75", false); }
static void test_not_finite(void **state) { (void)state, check_target("cpu:emulated-cuda", true); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mma), cmocka_unit_test(test_dot), cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
