// SPDX-License-Identifier: Apache-2.0
// What `heddle bench` measures (cmd_bench.c), prints (bench_print.c) ; what it compares with is in limits.h.
#ifndef HEDDLE_CLI_BENCH_H
#define HEDDLE_CLI_BENCH_H

#include "cli/limits.h"

// A row: `prompt` tokens in calls of the step size, then `generate` single ones, behind `depth` tokens that are not timed.
typedef struct BenchTest { uint32_t prompt, generate, depth; } BenchTest;
typedef struct BenchMean { double mean, deviation; } BenchMean;      // deviation of the sample (n - 1)

typedef struct BenchResult {
    BenchTest test;
    char time[32];                   // when it began, UTC
    HD_VEC(double) samples_ns;
    BenchMean ns, speed;             // of the repetitions; tokens per second
    double gb_per_s;                 // bytes that the launches read and write, by their records, over the time
    double launches, barriers;       // per token
    char digest[33];                 // of the last row of logits; the same in every repetition where numerics are ordered
    Roofline roofline;               // of one more repetition, with --roofline
} BenchResult;

typedef struct Bench {
    const char *model;
    char type[96], cpu[96];
    const char *backend;
    uint64_t bytes, parameters;
    uint32_t tokens_per_call, threads, repetitions;
    bool packed;
    const char *kv;
    HeddleModuleInfo info;
    Limits limits;                   // of the same threads, in the same run; zeros: not measured (GPUs)
    bool with_roofline;
    HD_VEC(BenchResult) results;
} Bench;

// ---- bench_print.c ---------------------------------------------------------------------------------------------
// format: "md", "csv", "json", "jsonl"
void bench_print(const Bench *bench, const char *format);

#endif
