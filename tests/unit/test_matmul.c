// SPDX-License-Identifier: Apache-2.0
// Matrix products, packing and embedding on this machine's processor, against the interpreter: every weight type times every kind of
// activation in every layout; bits that do not depend on the company, the layout or the step class.
#include "runtime/gguf.h"
#include "tests/support/run_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

enum { VOCABULARY = 40, TOKENS = 17 };

// ---- weights -------------------------------------------------------------------------------------------------------

typedef struct Matrix { char name[40]; IrDtype dtype; int64_t rows, columns; uint8_t *bytes; } Matrix;
typedef struct Weights { Matrix matrix[64]; RunWeight run[64]; size_t count; } Weights;

static uint64_t seed = 88172645463325252u;
static uint32_t next_random(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}
static float next_float(void) { return (float)(next_random() & 0xffff) / 32768.0f - 1.0f; }

// Where the f16 scales of a block stand; 0xffff ends the list.
static const uint16_t scales_at[IR_DTYPE_COUNT][3] = {
    [IR_Q4_0] = {0, 0xffff}, [IR_Q4_1] = {0, 2, 0xffff}, [IR_Q5_0] = {0, 0xffff}, [IR_Q5_1] = {0, 2, 0xffff}, [IR_Q8_0] = {0, 0xffff},
    [IR_Q2_K] = {80, 82, 0xffff}, [IR_Q3_K] = {108, 0xffff}, [IR_Q4_K] = {0, 2, 0xffff}, [IR_Q5_K] = {0, 2, 0xffff}, [IR_Q6_K] = {208, 0xffff},
};

static void fill_block(IrDtype dtype, uint8_t *block) {
    uint32_t bytes = ir_dtype_info(dtype)->block_bytes;
    float number = next_float();
    uint16_t half = dtype == IR_BF16 ? hd_f32_to_bf16(number) : hd_f32_to_f16(number);
    if (dtype == IR_F32) memcpy(block, &number, 4);
    else if (bytes == 2) memcpy(block, &half, 2);
    for (uint32_t i = 0; bytes > 4 && i < bytes; i++) block[i] = (uint8_t)next_random();
    for (int i = 0; bytes > 4 && scales_at[dtype][i] != 0xffff; i++) {
        half = hd_f32_to_f16(next_float() * 0.01f);
        memcpy(block + scales_at[dtype][i], &half, 2);
    }
}

static const Matrix *add_matrix(Weights *w, const char *name, IrDtype dtype, int64_t rows, int64_t columns) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    Matrix *m = &w->matrix[w->count];
    assert_true(w->count < HD_COUNT(w->matrix) && columns % info->block == 0);
    *m = (Matrix){.dtype = dtype, .rows = rows, .columns = columns};
    snprintf(m->name, sizeof m->name, "%s", name);
    uint64_t blocks = (uint64_t)rows * (uint64_t)columns / info->block;
    m->bytes = malloc(blocks * info->block_bytes);
    for (uint64_t b = 0; b < blocks; b++) fill_block(dtype, m->bytes + b * info->block_bytes);
    w->run[w->count++] = (RunWeight){m->name, m->bytes};
    return m;
}

static void free_weights(Weights *w) {
    for (size_t i = 0; i < w->count; i++) free(w->matrix[i].bytes);
}

static void dequantise(const Matrix *m, uint64_t begin, uint64_t end, float *out) {
    const IrDtypeInfo *info = ir_dtype_info(m->dtype);
    uint64_t row_bytes = (uint64_t)m->columns / info->block * info->block_bytes;
    assert_true(ggml_dequantise((uint32_t)info->ggml, m->bytes + begin * row_bytes, (end - begin) * (uint64_t)m->columns, out));
}

static HdStatus *weight_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows) {
    const Weights *w = user;
    for (size_t i = 0; i < w->count; i++)
        if (!strcmp(w->matrix[i].name, name) && (uint64_t)w->matrix[i].columns == columns) return dequantise(&w->matrix[i], begin, end, out_rows), NULL;
    return hd_error(HD_NOT_FOUND, "the test has no weight %s of %llu columns", name, (unsigned long long)columns);
}

// ---- programs ------------------------------------------------------------------------------------------------------

typedef struct Fixture { Weights weights; IrModule *module; RunProgram run; IrInterp *interp; int32_t tokens[TOKENS]; } Fixture;

static void expect_ok(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

// Parses the graphs, compiles them for this machine and makes the packed copies.
static void open_fixture(Fixture *f, const HdBuf *text) {
    expect_ok(ir_parse_module("test", (HdStr){text->data, text->len}, &f->module));
    for (size_t i = 0; i < f->module->graphs.len; i++) {
        IrGraph *graph = f->module->graphs.data[i];
        char key[64];
        snprintf(key, sizeof key, "bounds.%s", graph->name);
        bool single = graph->name[0] == 'd';
        ir_module_set_key(f->module, key, single ? "1 1 1 1" : "17 1 1 1");
        expect_ok(ir_verify(graph));
        run_place(graph, &(IrBinding){{single ? 1 : TOKENS, 1, 1, 1}});
    }
    expect_ok(run_compile(f->module, "cpu:native", f->weights.run, f->weights.count, 1, 1, TOKENS, &f->run));
    for (int i = 0; i < TOKENS; i++) f->tokens[i] = (int32_t)(next_random() % VOCABULARY);
    f->interp = ir_interp_new(&(IrWeights){&f->weights, weight_rows}, 1, 1, TOKENS);
}

static void close_fixture(Fixture *f) {
    ir_interp_free(f->interp);
    run_free(&f->run);
    ir_module_free(f->module);
    free_weights(&f->weights);
}

static void run_tokens(Fixture *f, const char *graph, uint32_t first, uint32_t count) {
    static const int32_t rows[1] = {0};
    const int32_t segment[8] = {0, 0, 0, (int32_t)count, 0, 0, 0, 0};
    expect_ok(run_step(&f->run, graph, &(RunCall){.tokens = f->tokens + first, .token_count = count, .segments = segment, .segment_count = 1,
                                                  .rows = rows, .row_count = 1}));
}

static void interpret(Fixture *f, const char *graph) {
    static const int32_t rows[1] = {0}, segment[8] = {0, 0, 0, TOKENS, 0, 0, 0, 0};
    expect_ok(ir_interp_run(f->interp, ir_graph_find(f->module, graph), &(IrCall){.tokens = f->tokens, .token_count = TOKENS, .segments = segment,
                                                                                  .segment_count = 1, .rows = rows, .row_count = 1}));
}

// ---- every type, activation and layout -----------------------------------------------------------------------------

static const IrDtype types[] = {IR_F32, IR_F16, IR_BF16, IR_Q8_0, IR_Q4_0, IR_Q4_K, IR_Q5_K, IR_Q6_K};
static const IrDtype activations[] = {IR_F32, IR_Q8A, IR_BF16};
static const IrLayout layouts[] = {IR_LAYOUT_R16, IR_LAYOUT_NATIVE};
static const struct { int64_t K, N; } shapes[] = {{256, 24}, {768, 32}, {96, 24}, {44, 24}};
// NMSE against the interpreter, by activation: at most four times what was measured.
static const double bounds[] = {4e-14, 1e-13, 4e-14};

static bool has_product(IrDtype weight, IrDtype activation, int64_t K) {
    if (K % ir_dtype_info(weight)->block || (activation == IR_Q8A && K % 32)) return false;
    IrTarget target;
    expect_ok(ir_target_parse("cpu:native", &target));
    HdStatus *status = cg_linear_supported(&target, weight, IR_LAYOUT_R16, activation);
    bool supported = status == NULL;
    hd_status_free(status);
    return supported;
}

static const char *suffix(IrLayout layout) { return layout == IR_LAYOUT_NATIVE ? "" : ":r16"; }

// One group: the products of all weight types with these activations; results are named type.activation.layout.
static void put_products(HdBuf *text, HdBuf *results, int64_t K, int64_t N, IrDtype activation, IrLayout layout) {
    const char *a = ir_dtype_info(activation)->name, *l = ir_layout_name(layout);
    HdBuf operands = {0}, args = {0}, inner = {0}, yields = {0}, outer_types = {0}, names = {0};
    for (size_t i = 0; i < HD_COUNT(types); i++) {
        const char *t = ir_dtype_info(types[i])->name;
        if (!has_product(types[i], activation, K)) continue;
        const char *comma = yields.len ? ", " : "";
        hd_buf_printf(&operands, ", %%w_%s_%s", t, l);
        hd_buf_printf(&args, ", %%i_%s_%s_%s : %s[%lld, %lld]%s", t, a, l, t, (long long)N, (long long)K, suffix(layout));
        hd_buf_printf(&inner, ", %%i_%s_%s_%s", t, a, l);
        hd_buf_printf(&yields, "%s%%y_%s_%s_%s", comma, t, a, l);
        hd_buf_printf(&outer_types, "%sf32[T, %lld]", comma, (long long)N);
        hd_buf_printf(&names, "%s%%o_%s_%s_%s", comma, t, a, l);
        hd_buf_printf(results, "%s%s.%s.%s = %%o_%s_%s_%s", results->len ? ", " : "", t, a, l, t, a, l);
    }
    if (yields.len) {
        hd_buf_printf(text, "    %s = fused %%x_%s%s {kind = matmul} (%%i_%s_%s : %s[T, %lld]%s) {\n", names.data, a, operands.data, a, l, a, (long long)K, args.data);
        hd_buf_printf(text, "      %s = multi_linear %%i_%s_%s%s : %s\n", yields.data, a, l, inner.data, outer_types.data);
        hd_buf_printf(text, "      yield %s\n    } : %s\n", yields.data, outer_types.data);
    }
    HdBuf *all[] = {&operands, &args, &inner, &yields, &outer_types, &names};
    for (size_t i = 0; i < HD_COUNT(all); i++) hd_buf_free(all[i]);
}

static void put_activations(HdBuf *text, int64_t K) {
    long long k = K;
    hd_buf_printf(text, "    %%x_f32 = fused %%tokens, %%table {kind = embed} (%%e0 : i32[T], %%e1 : f32[%d, %lld]) {\n", VOCABULARY, k);
    hd_buf_printf(text, "      %%e2 = embed %%e0, %%e1 : f32[T, %lld]\n      yield %%e2\n    } : f32[T, %lld]\n", k, k);
    hd_buf_printf(text, "    %%x_bf16 = fused %%x_f32 {kind = rowwise} (%%c0 : f32[T, %lld]) {\n", k);
    hd_buf_printf(text, "      %%c1 = cast %%c0 {to = bf16} : bf16[T, %lld]\n      yield %%c1\n    } : bf16[T, %lld]\n", k, k);
    if (K % 32) return;
    hd_buf_printf(text, "    %%x_q8a = fused %%x_f32 {kind = rowwise} (%%q0 : f32[T, %lld]) {\n", k);
    hd_buf_printf(text, "      %%q1 = quant_act %%q0 : q8a[T, %lld]\n      yield %%q1\n    } : q8a[T, %lld]\n", k, k);
}

static void put_graph(HdBuf *text, const char *prefix, int64_t K, int64_t N) {
    HdBuf results = {0};
    hd_buf_printf(text, "  graph @%s%lld {\n    %%tokens = input tokens : i32[T]\n", prefix, (long long)K);
    hd_buf_printf(text, "    %%table = weight \"table.%lld\" : f32[%d, %lld]\n", (long long)K, VOCABULARY, (long long)K);
    for (size_t i = 0; i < HD_COUNT(types); i++)
        for (size_t l = 0; l < HD_COUNT(layouts) && K % ir_dtype_info(types[i])->block == 0; l++) {
            const char *t = ir_dtype_info(types[i])->name;
            hd_buf_printf(text, "    %%w_%s_%s = weight \"%s.%lld\" : %s[%lld, %lld]%s\n", t, ir_layout_name(layouts[l]), t, (long long)K, t, (long long)N,
                          (long long)K, suffix(layouts[l]));
        }
    put_activations(text, K);
    for (size_t l = 0; l < HD_COUNT(layouts); l++)
        for (size_t a = 0; a < HD_COUNT(activations); a++) put_products(text, &results, K, N, activations[a], layouts[l]);
    hd_buf_printf(text, "    return %s\n  }\n", results.data);
    hd_buf_free(&results);
}

static void put_pack(HdBuf *text, HdBuf *results, const char *weight, IrDtype dtype, const char *shape) {
    const char *t = ir_dtype_info(dtype)->name;
    static int number = 0;
    int n = number++;
    hd_buf_printf(text, "    %%w%d = weight \"%s\" : %s[%s]\n", n, weight, t, shape);
    hd_buf_printf(text, "    %%p%d = fused %%w%d {kind = pack} (%%a%d : %s[%s]) {\n", n, n, n, t, shape);
    hd_buf_printf(text, "      %%b%d = pack %%a%d {layout = r16} : %s[%s]:r16\n      yield %%b%d\n    } : %s[%s]:r16\n", n, n, t, shape, n, t, shape);
    hd_buf_printf(results, "%s\"%s\" = %%p%d", results->len ? ", " : "", weight, n);
}

static void put_load(HdBuf *text, const Weights *w, bool experts) {
    HdBuf results = {0};
    hd_buf_str(text, "  graph @load {\n");
    for (size_t i = 0; i < w->count; i++) {
        const Matrix *m = &w->matrix[i];
        char shape[64];
        if (!strncmp(m->name, "table", 5)) continue;
        snprintf(shape, sizeof shape, "%lld, %lld", (long long)m->rows, (long long)m->columns);
        (void)experts;
        put_pack(text, &results, m->name, m->dtype, shape);
    }
    hd_buf_printf(text, "    return %s\n  }\n", results.data);
    hd_buf_free(&results);
}

static Fixture all;
static struct { float *rows[TOKENS]; } unused;

static int setup_all(void **state) {
    HdBuf text = {0};
    for (size_t s = 0; s < HD_COUNT(shapes); s++) {
        char name[40];
        snprintf(name, sizeof name, "table.%lld", (long long)shapes[s].K);
        add_matrix(&all.weights, name, IR_F32, VOCABULARY, shapes[s].K);
        for (size_t i = 0; i < HD_COUNT(types); i++) {
            snprintf(name, sizeof name, "%s.%lld", ir_dtype_info(types[i])->name, (long long)shapes[s].K);
            if (shapes[s].K % ir_dtype_info(types[i])->block == 0) add_matrix(&all.weights, name, types[i], shapes[s].N, shapes[s].K);
        }
    }
    hd_buf_str(&text, "module \"products\" {\n");
    put_load(&text, &all.weights, false);
    for (size_t s = 0; s < HD_COUNT(shapes); s++) put_graph(&text, "many", shapes[s].K, shapes[s].N);
    put_graph(&text, "d", 256, 24);
    hd_buf_str(&text, "}\n");
    if (getenv("MATMUL_TEXT")) fputs(text.data, stderr);
    clock_t start = clock();
    open_fixture(&all, &text);
    printf("%zu kernels, %.2f s of compiling\n", all.run.program->kernels.len, (double)(clock() - start) / CLOCKS_PER_SEC);
    hd_buf_free(&text);
    (void)state, (void)unused;
    return 0;
}

static int teardown_all(void **state) {
    (void)state;
    close_fixture(&all);
    return 0;
}

// Calls what(result name, weight, activation, layout, N) for every product of a shape.
typedef void EachProduct(void *user, const char *name, IrDtype weight, IrDtype activation, IrLayout layout, int64_t N);
static void each_product(size_t s, EachProduct *what, void *user) {
    for (size_t l = 0; l < HD_COUNT(layouts); l++)
        for (size_t a = 0; a < HD_COUNT(activations); a++)
            for (size_t i = 0; i < HD_COUNT(types); i++) {
                char name[64];
                if (!has_product(types[i], activations[a], shapes[s].K)) continue;
                snprintf(name, sizeof name, "%s.%s.%s", ir_dtype_info(types[i])->name, ir_dtype_info(activations[a])->name, ir_layout_name(layouts[l]));
                what(user, name, types[i], activations[a], layouts[l], shapes[s].N);
            }
}

static void expect_near(void *user, const char *name, IrDtype weight, IrDtype activation, IrLayout layout, int64_t N) {
    const char *graph = user;
    uint64_t count;
    const float *want = ir_interp_result(all.interp, name, &count);
    const float *got = run_result(&all.run, graph, name);
    assert_non_null(want);
    assert_int_equal(count, TOKENS * N);
    double nmse = run_nmse(got, want, count), bound = bounds[activation == IR_F32 ? 0 : activation == IR_Q8A ? 1 : 2];
    if (getenv("MATMUL_VERBOSE")) printf("%-10s %-24s %.2e\n", graph, name, nmse);
    if (!(nmse <= bound)) fail_msg("@%s %s: NMSE %g, at most %g", graph, name, nmse, bound);
    (void)weight, (void)layout;
}

static void test_products_are_near_the_interpreter(void **state) {
    (void)state;
    for (size_t s = 0; s < HD_COUNT(shapes); s++) {
        char graph[24];
        snprintf(graph, sizeof graph, "many%lld", (long long)shapes[s].K);
        run_tokens(&all, graph, 0, TOKENS);
        interpret(&all, graph);
        each_product(s, expect_near, graph);
    }
}

// Results of one run, kept by name.
typedef struct Kept { const char *graph; size_t count; struct { char name[64]; float *rows; } item[64]; } Kept;
static void keep(void *user, const char *name, IrDtype weight, IrDtype activation, IrLayout layout, int64_t N) {
    Kept *kept = user;
    assert_true(kept->count < HD_COUNT(kept->item));
    size_t bytes = sizeof(float) * TOKENS * (size_t)N, i = kept->count++;
    snprintf(kept->item[i].name, sizeof kept->item[i].name, "%s", name);
    kept->item[i].rows = malloc(bytes);
    memcpy(kept->item[i].rows, run_result(&all.run, kept->graph, name), bytes);
    (void)weight, (void)activation, (void)layout;
}

typedef struct Compare { const Kept *kept; const char *graph; uint32_t first, count; } Compare;
static void expect_same_bits(void *user, const char *name, IrDtype weight, IrDtype activation, IrLayout layout, int64_t N) {
    const Compare *c = user;
    for (size_t i = 0; i < c->kept->count; i++) {
        if (strcmp(c->kept->item[i].name, name)) continue;
        const float *got = run_result(&all.run, c->graph, name);
        if (memcmp(got, c->kept->item[i].rows + (size_t)c->first * (size_t)N, sizeof(float) * c->count * (size_t)N))
            fail_msg("@%s %s: tokens %u..%u have other bits in a call of their own", c->graph, name, c->first, c->first + c->count - 1);
        return;
    }
    fail_msg("no result %s", name);
    (void)weight, (void)activation, (void)layout;
}

static void free_kept(Kept *kept) {
    for (size_t i = 0; i < kept->count; i++) free(kept->item[i].rows);
}

static void test_bits_do_not_depend_on_company(void **state) {
    static const struct { uint32_t first, count; } calls[] = {{0, 1}, {16, 1}, {3, 2}, {7, 3}, {5, 5}, {1, 8}};
    (void)state;
    for (size_t s = 0; s < HD_COUNT(shapes); s++) {
        char graph[24];
        snprintf(graph, sizeof graph, "many%lld", (long long)shapes[s].K);
        Kept kept = {.graph = graph};
        run_tokens(&all, graph, 0, TOKENS);
        each_product(s, keep, &kept);
        for (size_t c = 0; c < HD_COUNT(calls); c++) {
            run_tokens(&all, graph, calls[c].first, calls[c].count);
            each_product(s, expect_same_bits, &(Compare){&kept, graph, calls[c].first, calls[c].count});
        }
        for (uint32_t t = 0; s == 0 && t < 4; t++) {   // the class for one token
            run_tokens(&all, "d256", t, 1);
            each_product(s, expect_same_bits, &(Compare){&kept, "d256", t, 1});
        }
        free_kept(&kept);
    }
}

static void expect_packed_equals_native(void *user, const char *name, IrDtype weight, IrDtype activation, IrLayout layout, int64_t N) {
    const char *graph = user;
    char native[64];
    if (layout == IR_LAYOUT_NATIVE) return;
    snprintf(native, sizeof native, "%s.%s.native", ir_dtype_info(weight)->name, ir_dtype_info(activation)->name);
    if (memcmp(run_result(&all.run, graph, name), run_result(&all.run, graph, native), sizeof(float) * TOKENS * (size_t)N))
        fail_msg("@%s %s: native rows give other bits", graph, name);
}

static void test_bits_do_not_depend_on_layout(void **state) {
    (void)state;
    for (size_t s = 0; s < HD_COUNT(shapes); s++) {
        char graph[24];
        snprintf(graph, sizeof graph, "many%lld", (long long)shapes[s].K);
        run_tokens(&all, graph, 0, TOKENS);
        each_product(s, expect_packed_equals_native, graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_are_near_the_interpreter),
        cmocka_unit_test(test_bits_do_not_depend_on_company),
        cmocka_unit_test(test_bits_do_not_depend_on_layout),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
