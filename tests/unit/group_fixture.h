// SPDX-License-Identifier: Apache-2.0
// Tests of groups: a graph in text form, made of `fused` operations and called @g, is compiled and run beside the reference
// interpreter. Values come from embeddings: every weight is float32 and filled with random numbers.
#ifndef HEDDLE_TESTS_GROUP_FIXTURE_H
#define HEDDLE_TESTS_GROUP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/cpu_features.h"
#include "tests/support/run_program.h"

enum { BENCH_WEIGHTS = 24, BENCH_RESULTS = 12 };

typedef struct BenchWeight { const char *name; float *values; uint64_t rows, columns; } BenchWeight;
typedef struct Bench {
    IrModule *module;
    IrInterp *interp;
    RunProgram run;
    BenchWeight weights[BENCH_WEIGHTS];
    RunWeight given[BENCH_WEIGHTS];
    uint32_t weight_count, slots, planes, context, rope_n;
    double theta;
} Bench;

static const char *bench_target = "cpu:native";   // what the tests of this round compile for
static CgOptions bench_options;                    // and how

static inline void expect_ok(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

static inline float bench_random(uint64_t *seed) {   // normal, roughly: the sum of four uniform numbers
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t z = *seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        sum += (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0 - 0.5;
    }
    return (float)(sum * 1.7);
}

static inline HdStatus *bench_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end,
                                   float *out_rows) {
    const Bench *bench = user;
    for (uint32_t i = 0; i < bench->weight_count; i++)
        if (!strcmp(bench->weights[i].name, name)) {
            memcpy(out_rows, bench->weights[i].values + begin * columns, (end - begin) * columns * sizeof *out_rows);
            return NULL;
        }
    return hd_error(HD_NOT_FOUND, "no weight %s", name);
}

static inline void bench_weight(Bench *bench, const IrValueData *value) {
    for (uint32_t i = 0; i < bench->weight_count; i++)
        if (!strcmp(bench->weights[i].name, value->name)) return;
    BenchWeight *weight = &bench->weights[bench->weight_count];
    assert_true(bench->weight_count < BENCH_WEIGHTS);
    *weight = (BenchWeight){.name = value->name, .rows = 1, .columns = (uint64_t)ir_type_last(&value->type)};
    for (uint32_t i = 0; i + 1 < value->type.rank; i++) weight->rows *= (uint64_t)value->type.dims[i];
    weight->values = calloc(weight->rows * weight->columns + 16, sizeof *weight->values);
    uint64_t seed = 77 + 1000003 * bench->weight_count;
    for (uint64_t i = 0; i < weight->rows * weight->columns; i++) weight->values[i] = bench_random(&seed);
    bench->given[bench->weight_count++] = (RunWeight){weight->name, weight->values};
}

// The numbers of a weight, to be changed before the first call.
static inline float *bench_values(Bench *bench, const char *name, uint64_t *out_count) {
    *out_count = 0;
    for (uint32_t i = 0; i < bench->weight_count; i++)
        if (!strcmp(bench->weights[i].name, name)) {
            *out_count = bench->weights[i].rows * bench->weights[i].columns;
            return bench->weights[i].values;
        }
    fail_msg("no weight %s", name);
    return NULL;
}

// Names are unique in a graph; in these texts "%.a" is a name of the latest `fused` only.
static inline HdBuf bench_text(const char *text) {
    HdBuf out = {0};
    for (int groups = 0; *text; text++) {
        if (!strncmp(text, "fused", 5)) groups++;
        if (text[0] == '%' && text[1] == '.') hd_buf_printf(&out, "%%r%d_", groups), text++;
        else hd_buf_bytes(&out, text, 1);
    }
    return out;
}

// tokens, segments: the largest call.
static inline Bench bench_open_for(const char *target, const char *text, uint32_t slots, uint32_t planes, uint32_t context,
                                   int64_t tokens, int64_t segments) {
    Bench bench = {.slots = slots, .planes = planes, .context = context, .theta = 10000};
    HdBuf full = bench_text(text);
    expect_ok(ir_parse_module("group.hir", (HdStr){full.data, full.len}, &bench.module));
    hd_buf_free(&full);
    IrGraph *graph = ir_graph_find(bench.module, "g");
    assert_non_null(graph);
    expect_ok(ir_verify(graph));
    run_place(graph, &(IrBinding){{tokens, segments, context, tokens}});
    for (IrValue v = 1; v < graph->values.len; v++) {
        const IrValueData *value = ir_value(graph, v);
        if (value->kind == IR_VALUE_WEIGHT) bench_weight(&bench, value);
        if (value->kind == IR_VALUE_INPUT && value->index == IR_INPUT_ROPE)
            bench.rope_n = (uint32_t)ir_type_last(&value->type), bench.theta = value->theta;
    }
    expect_ok(run_compile(bench.module, target, &bench_options, bench.given, bench.weight_count, slots, planes, context, &bench.run));
    bench.run.weights = NULL;   // set before each step: a Bench may be moved
    return bench;
}

static inline Bench bench_open(const char *text, uint32_t slots, uint32_t planes, uint32_t context, int64_t tokens,
                               int64_t segments) {
    return bench_open_for(bench_target, text, slots, planes, context, tokens, segments);
}

static inline void bench_reset(Bench *bench) {
    ir_interp_free(bench->interp);
    bench->interp = ir_interp_new(&(IrWeights){.user = bench, .rows = bench_rows}, bench->slots, bench->planes, bench->context);
    for (size_t i = 0; i < bench->run.program->states.len; i++)
        memset(bench->run.states[i], 0, bench->slots * run_state_slot(&bench->run, &bench->run.program->states.data[i]));
}

static inline void bench_close(Bench *bench) {
    ir_interp_free(bench->interp);
    run_free(&bench->run);
    for (uint32_t i = 0; i < bench->weight_count; i++) free(bench->weights[i].values);
    ir_module_free(bench->module);
}

typedef struct BenchCall {
    const int32_t (*segments)[8];
    uint32_t segment_count;
    const int32_t *tokens, *rows;
    uint32_t row_count;
} BenchCall;

static inline uint32_t bench_token_count(const BenchCall *call) {
    int32_t most = 0;
    for (uint32_t i = 0; i < call->segment_count; i++) most = HD_MAX(most, call->segments[i][2] + call->segments[i][3]);
    return (uint32_t)most;
}

static inline void bench_run_program(Bench *bench, const BenchCall *call) {
    bench->run.weights = bench->given;
    RunCall step = {.tokens = call->tokens,
                    .token_count = bench_token_count(call),
                    .segments = (const int32_t *)call->segments,
                    .segment_count = call->segment_count,
                    .rows = call->rows,
                    .row_count = call->row_count,
                    .theta = bench->theta,
                    .rope_n = bench->rope_n};
    expect_ok(run_step(&bench->run, "g", &step));
}

static inline void bench_run_interp(Bench *bench, const BenchCall *call) {
    if (!bench->interp) bench_reset(bench);
    IrCall step = {.tokens = call->tokens,
                   .token_count = bench_token_count(call),
                   .segments = (const int32_t *)call->segments,
                   .segment_count = call->segment_count,
                   .rows = call->rows,
                   .row_count = call->row_count};
    expect_ok(ir_interp_run(bench->interp, ir_graph_find(bench->module, "g"), &step));
}

static inline const void *bench_result(const Bench *bench, const char *name) {
    const void *values = run_result(&bench->run, "g", name);
    if (!values) fail_msg("no result %s", name);
    return values;
}

// NMSE of a result against the interpreter's.
static inline double bench_nmse(Bench *bench, const char *name) {
    uint64_t count;
    const float *want = ir_interp_result(bench->interp, name, &count);
    assert_non_null(want);
    return nmse(bench_result(bench, name), want, count);
}

static inline void bench_compare(Bench *bench, const char *name, double most) {
    double error = bench_nmse(bench, name);
    if (!(error <= most)) fail_msg("%s: NMSE %g, at most %g is allowed", name, error, most);
}

// Runs both and compares one result.
static inline void bench_check(Bench *bench, const BenchCall *call, const char *name, double most) {
    bench_run_interp(bench, call);
    bench_run_program(bench, call);
    bench_compare(bench, name, most);
}

static inline bool bench_runnable(const char *name) {
    IrTarget target;
    expect_ok(ir_target_parse(name, &target));
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if (ir_target_has(&target, f) && !hd_cpu_has(ir_feature_name(f))) return false;
    return true;
}

// Runs the tests for each of these targets that this machine can run.
#define BENCH_MAIN_FOR(tests, ...)                                                               \
    int main(void) {                                                                             \
        static const char *const targets[] = {__VA_ARGS__};                                      \
        int failed = 0;                                                                          \
        for (size_t i = 0; i < HD_COUNT(targets); i++) {                                         \
            bench_target = targets[i];                                                           \
            if (bench_runnable(bench_target)) failed += cmocka_run_group_tests_name(bench_target, tests, NULL, NULL); \
        }                                                                                        \
        return failed;                                                                           \
    }
#define BENCH_CPUS "cpu:native", "cpu:x86-64-v2", "cpu:x86-64-v3"   // this machine as it is, and older ones that it can stand in for
#define BENCH_MAIN(tests) BENCH_MAIN_FOR(tests, BENCH_CPUS)
#define BENCH_GPU "cpu:emulated-cuda"   // a GPU's kernels as C++

#endif
