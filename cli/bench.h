// SPDX-License-Identifier: Apache-2.0
// What `heddle bench` measures (cmd_bench.c), and prints (bench_print.c); what it compares with is in limits.h.
#ifndef HEDDLE_CLI_BENCH_H
#define HEDDLE_CLI_BENCH_H

#include "cli/limits.h"

// A row: `prompt` tokens in calls of the step size, then `generate` single ones, behind `depth` tokens that are not timed.
typedef struct BenchTest { uint32_t prompt, generate, depth; } BenchTest;
typedef struct BenchMean { double mean, deviation; } BenchMean;      // deviation of the sample (n - 1)

typedef struct BenchResult {
    BenchTest test;
    char time[32];                   // when it began, UTC
    HD_VEC(double) samples_ns, samples_cpu_ns;   // by the clock; of all threads together
    BenchMean ns, speed;             // of the repetitions; tokens per second
    double gb_per_s;                 // bytes that the launches read and write, by their records, over the time
    double launches, barriers;       // per token
    char digest[33];                 // of the last row of logits; the same in every repetition where numerics are ordered
    BenchMean gain;                  // speed over that of the first variant in the same round
    double predicted_ns;             // by the cost model; 0: nothing to predict by
    Roofline roofline;               // of one more repetition, with --roofline or several variants
} BenchResult;

// One of several modules of a model that are measured in turn.
typedef struct BenchVariant { char *name; const char *passes; HD_VEC(const char *) sets; } BenchVariant;   // name: "" when there is one
typedef HD_VEC(BenchVariant) BenchVariants;

typedef struct Bench {
    const char *model, *variant;
    char type[96], cpu[96];
    const char *backend;
    uint64_t bytes, parameters;
    uint32_t tokens_per_call, threads, repetitions;
    bool packed;
    const char *kv;
    HeddleModuleInfo info;
    bool on_cpu, with_roofline, by_kernel;       // by_kernel: kernels are timed, whether all of it is printed or not
    Limits limits;                   // of the same threads, or of the GPU, in the same run
    const HdFigures *figures;        // what times are predicted by
    HD_VEC(BenchResult) results;
    CliModel loaded;
    HeddleSession *session;
} Bench;

// ---- bench_variants.c ------------------------------------------------------------------------------------------
// Each pipeline with each combination of the values in the sets. USAGE when there are too many.
HD_MUST_USE HdStatus *bench_variants(const CliOptions *options, BenchVariants *out_variants);
void bench_variants_free(BenchVariants *variants);

// ---- bench_print.c ---------------------------------------------------------------------------------------------
// format: "md", "csv", "json", "jsonl". The rows of one variant after the other; in md those of one test stand together.
void bench_print(const Bench *benches, size_t count, const char *format);

#endif
