// SPDX-License-Identifier: Apache-2.0
// For tests of matrix products: random weights of every type, and graphs given as text, compiled for this machine and interpreted
// beside it.
#ifndef HEDDLE_TESTS_MATMUL_FIXTURE_H
#define HEDDLE_TESTS_MATMUL_FIXTURE_H

#include "runtime/gguf.h"
#include "tests/support/run_program.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { VOCABULARY = 40 };
#ifndef TOKENS                   // of the largest call
#define TOKENS 17
#endif
#ifndef GRAPH_TOKENS             // of a graph of this name
#define GRAPH_TOKENS(name) ((name)[0] == 'd' ? 1 : TOKENS)
#endif

// ---- weights -------------------------------------------------------------------------------------------------------

// rows: of all experts together, if there are several
typedef struct Matrix { char name[40]; IrDtype dtype; int64_t experts, rows, columns; uint8_t *bytes; } Matrix;
typedef struct Weights { Matrix matrix[128]; RunWeight run[128]; size_t count; } Weights;

static uint64_t seed = 88172645463325252u;
static inline uint32_t next_random(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}
static inline float next_float(void) { return (float)(next_random() & 0xffff) / 32768.0f - 1.0f; }

// Where the f16 scales of a block stand; 0xffff ends the list.
static const uint16_t scales_at[IR_DTYPE_COUNT][3] = {
    [IR_Q4_0] = {0, 0xffff},    [IR_Q4_1] = {0, 2, 0xffff},   [IR_Q5_0] = {0, 0xffff},   [IR_Q5_1] = {0, 2, 0xffff},
    [IR_Q8_0] = {0, 0xffff},    [IR_Q2_K] = {80, 82, 0xffff}, [IR_Q3_K] = {108, 0xffff}, [IR_Q4_K] = {0, 2, 0xffff},
    [IR_Q5_K] = {0, 2, 0xffff}, [IR_Q6_K] = {208, 0xffff},    [IR_IQ4_NL] = {0, 0xffff}, [IR_IQ4_XS] = {0, 0xffff},
    [IR_IQ1_S] = {0, 0xffff},   [IR_IQ2_XXS] = {0, 0xffff},   [IR_IQ2_XS] = {0, 0xffff}, [IR_IQ2_S] = {0, 0xffff},
    [IR_IQ3_S] = {0, 0xffff},   [IR_IQ3_XXS] = {0, 0xffff},   [IR_TQ1_0] = {52, 0xffff}, [IR_TQ2_0] = {64, 0xffff},
    [IR_IQ1_M] = {0xffff},      [IR_MXFP4] = {0xffff},        [IR_NVFP4] = {0xffff},
};

// Scales that are not an f16 in one piece: exponents near 1 and the smallest ones; the top nibbles of four u16, of which the last has sign and exponent.
static inline void fill_odd_scale(IrDtype dtype, uint8_t *block) {
    if (dtype == IR_MXFP4) block[0] = (uint8_t)((next_random() % 8 ? 120 : 0) + next_random() % 8);
    if (dtype == IR_IQ1_M) block[55] = (uint8_t)((block[55] & 15) | (next_random() & 1 ? 0x20 : 0xa0));
}

static inline void fill_block(IrDtype dtype, uint8_t *block) {
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
    fill_odd_scale(dtype, block);
}

// Memory that ends where reading is forbidden, as a mapped file may.
static inline uint8_t *guarded(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
    uint8_t *base = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED && mprotect(base + whole, page, PROT_NONE) == 0);
    return base + whole - bytes;
}

// `experts` matrices of rows / experts each.
static inline const Matrix *add_experts(Weights *w, const char *name, IrDtype dtype, int64_t experts, int64_t rows,
                                        int64_t columns) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    Matrix *m = &w->matrix[w->count];
    assert_true(w->count < HD_COUNT(w->matrix) && columns % info->block == 0);
    *m = (Matrix){.dtype = dtype, .experts = experts, .rows = rows, .columns = columns};
    snprintf(m->name, sizeof m->name, "%s", name);
    uint64_t blocks = (uint64_t)rows * (uint64_t)columns / info->block;
    m->bytes = guarded(blocks * info->block_bytes);
    for (uint64_t b = 0; b < blocks; b++) fill_block(dtype, m->bytes + b * info->block_bytes);
    w->run[w->count++] = (RunWeight){m->name, m->bytes};
    return m;
}

static inline const Matrix *add_matrix(Weights *w, const char *name, IrDtype dtype, int64_t rows, int64_t columns) {
    return add_experts(w, name, dtype, 1, rows, columns);
}

static inline void dequantise(const Matrix *m, uint64_t begin, uint64_t end, float *out) {
    const IrDtypeInfo *info = ir_dtype_info(m->dtype);
    uint64_t row_bytes = (uint64_t)m->columns / info->block * info->block_bytes;
    assert_true(ggml_dequantise((uint32_t)info->ggml, m->bytes + begin * row_bytes, (end - begin) * (uint64_t)m->columns, out));
}

static inline HdStatus *weight_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end,
                                    float *out_rows) {
    const Weights *w = user;
    for (size_t i = 0; i < w->count; i++)
        if (!strcmp(w->matrix[i].name, name) && (uint64_t)w->matrix[i].columns == columns)
            return dequantise(&w->matrix[i], begin, end, out_rows), NULL;
    return hd_error(HD_NOT_FOUND, "the test has no weight %s of %llu columns", name, (unsigned long long)columns);
}

// The packed copy of a weight, made by the program.
static inline const uint8_t *packed_copy(const RunProgram *run, const char *name) {
    for (size_t i = 0; i < run->program->weights.len; i++)
        if (run->program->weights.data[i].packed_bytes && !strcmp(run->program->weights.data[i].name, name))
            return run->packed[i];
    fail_msg("%s has no packed copy", name);
    return NULL;
}

// ---- programs ------------------------------------------------------------------------------------------------------

// target NULL: cpu:native
typedef struct Fixture {
    const char *target;
    Weights weights;
    IrModule *module;
    RunProgram run;
    IrInterp *interp;
    int32_t tokens[TOKENS];
} Fixture;

static inline void expect_ok(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

// Graph @load with a group that packs each matrix which is no table for embedding.
static inline void put_load(HdBuf *text, const Weights *w) {
    HdBuf results = {0};
    hd_buf_str(text, "  graph @load {\n");
    for (size_t i = 0; i < w->count; i++) {
        const Matrix *m = &w->matrix[i];
        const char *t = ir_dtype_info(m->dtype)->name;
        char shape[64];
        if (!strncmp(m->name, "table", 5) || !cg_layout_bytes(m->dtype, IR_LAYOUT_R16, 1, (uint64_t)m->columns)) continue;
        if (m->experts == 1) snprintf(shape, sizeof shape, "%lld, %lld", (long long)m->rows, (long long)m->columns);
        else
            snprintf(shape, sizeof shape, "%lld, %lld, %lld", (long long)m->experts, (long long)(m->rows / m->experts),
                     (long long)m->columns);
        hd_buf_printf(text, "    %%w%zu = weight \"%s\" : %s[%s]\n    %%p%zu = fused %%w%zu {kind = pack} (%%a%zu : %s[%s]) {\n",
                      i, m->name, t, shape, i, i, i, t, shape);
        hd_buf_printf(text, "      %%b%zu = pack %%a%zu {layout = r16} : %s[%s]:r16\n      yield %%b%zu\n    } : %s[%s]:r16\n", i,
                      i, t, shape, i, t, shape);
        hd_buf_printf(&results, "%s\"%s\" = %%p%zu", results.len ? ", " : "", m->name, i);
    }
    hd_buf_printf(text, "    return %s\n  }\n", results.data);
    hd_buf_free(&results);
}

// Activations of K columns as %x_f32 and, of the types named in `forms`, %x_bf16 and %x_q8a: rows of weight "table.K" by token.
static inline void put_activations(HdBuf *text, int64_t K, const char *forms) {
    long long k = K;
    hd_buf_printf(text, "    %%tokens = input tokens : i32[T]\n    %%table = weight \"table.%lld\" : f32[%d, %lld]\n", k,
                  VOCABULARY, k);
    hd_buf_printf(text, "    %%x_f32 = fused %%tokens, %%table {kind = embed} (%%e0 : i32[T], %%e1 : f32[%d, %lld]) {\n",
                  VOCABULARY, k);
    hd_buf_printf(text, "      %%e2 = embed %%e0, %%e1 : f32[T, %lld]\n      yield %%e2\n    } : f32[T, %lld]\n", k, k);
    if (strstr(forms, "bf16")) {
        hd_buf_printf(text, "    %%x_bf16 = fused %%x_f32 {kind = rowwise} (%%c0 : f32[T, %lld]) {\n", k);
        hd_buf_printf(text, "      %%c1 = cast %%c0 {to = bf16} : bf16[T, %lld]\n      yield %%c1\n    } : bf16[T, %lld]\n", k,
                      k);
    }
    if (strstr(forms, "q8a")) {
        hd_buf_printf(text, "    %%x_q8a = fused %%x_f32 {kind = rowwise} (%%q0 : f32[T, %lld]) {\n", k);
        hd_buf_printf(text, "      %%q1 = quant_act %%q0 : q8a[T, %lld]\n      yield %%q1\n    } : q8a[T, %lld]\n", k, k);
    }
}

// Parses the graphs, compiles them for this machine and makes the packed copies.
// Graphs whose name begins with d are for one token, others for up to TOKENS.
static inline void open_fixture(Fixture *f, const HdBuf *text) {
    if (getenv("MATMUL_TEXT")) fputs(text->data, stderr);
    expect_ok(ir_parse_module("test", (HdStr){text->data, text->len}, &f->module));
    for (size_t i = 0; i < f->module->graphs.len; i++) {
        IrGraph *graph = f->module->graphs.data[i];
        char key[64], bounds[32];
        snprintf(key, sizeof key, "bounds.%s", graph->name);
        int tokens = GRAPH_TOKENS(graph->name);
        snprintf(bounds, sizeof bounds, "%d 1 1 1", tokens);
        ir_module_set_key(f->module, key, bounds);
        expect_ok(ir_verify(graph));
        run_place(graph, &(IrBinding){{tokens, 1, 1, 1}});
    }
    expect_ok(
        run_compile(f->module, f->target ? f->target : "cpu:native", NULL, f->weights.run, f->weights.count, 1, 1, TOKENS, &f->run));
    for (int i = 0; i < TOKENS; i++) f->tokens[i] = (int32_t)(next_random() % VOCABULARY);
    f->interp = ir_interp_new(&(IrWeights){&f->weights, weight_rows}, 1, 1, TOKENS);
}

static inline void close_fixture(Fixture *f) {
    ir_interp_free(f->interp);
    run_free(&f->run);
    ir_module_free(f->module);
}

static inline void run_tokens(Fixture *f, const char *graph, uint32_t first, uint32_t count) {
    static const int32_t rows[1] = {0};
    const int32_t segment[8] = {0, 0, 0, (int32_t)count, 0, 0, 0, 0};
    expect_ok(run_step(&f->run, graph,
                       &(RunCall){.tokens = f->tokens + first,
                                  .token_count = count,
                                  .segments = segment,
                                  .segment_count = 1,
                                  .rows = rows,
                                  .row_count = 1}));
}

static inline void interpret_tokens(Fixture *f, const char *graph, uint32_t first, uint32_t count) {
    static const int32_t rows[1] = {0};
    const int32_t segment[8] = {0, 0, 0, (int32_t)count, 0, 0, 0, 0};
    IrCall call = {.tokens = f->tokens + first, .token_count = count, .segments = segment, .segment_count = 1, .rows = rows, .row_count = 1};
    expect_ok(ir_interp_run(f->interp, ir_graph_find(f->module, graph), &call));
}
static inline void interpret(Fixture *f, const char *graph) { interpret_tokens(f, graph, 0, TOKENS); }

// The program's result beside the interpreter's, of the same tokens. Returns of how many values.
static inline uint64_t expect_near(Fixture *f, const char *graph, const char *name, double bound) {
    uint64_t count;
    const float *want = ir_interp_result(f->interp, name, &count), *got = run_result(&f->run, graph, name);
    assert_non_null(want);
    assert_non_null(got);
    double error = nmse(got, want, count);
    if (getenv("MATMUL_VERBOSE")) printf("@%-10s %-24s %.2e\n", graph, name, error);
    if (!(error <= bound)) fail_msg("@%s %s: NMSE %g, at most %g", graph, name, error, bound);
    return count;
}

#endif
