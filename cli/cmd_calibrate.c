// SPDX-License-Identifier: Apache-2.0
// heddle calibrate: measures what times are predicted by (--device-file), on this processor, and writes it as a device file.
#include "cli/calibrate.h"
#include "cli/limits.h"
#include "runtime/cpu_features.h"
#include "runtime/device/device.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 9, PHASES = 500, PHASE_STEPS = 1000, EMPTY_CHUNKS = 20000 };

// ---- phases and launches -----------------------------------------------------------------------------------------

typedef struct Work { int steps; volatile float sink[HEDDLE_MAX_THREADS]; } Work;

// Some steps of arithmetic, each waiting for the one before.
static void run_steps(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    Work *work = user;
    float x = (float)phase;
    (void)chunk;
    for (int i = 0; i < work->steps; i++) x = x * 0.999f + 0.999f;
    work->sink[thread] = x;
}

static void run_nothing(void *user, uint32_t phase, uint32_t chunk, uint32_t thread) { (void)user, (void)phase, (void)chunk, (void)thread; }

// The best time of some tries.
static double best_seconds(RtPool *pool, const RtJob *job)
{
    double best = 1e30;
    for (int i = 0; i < TRIES; i++) {
        double start = hd_seconds();
        rt_pool_run(pool, job);
        best = HD_MIN(best, hd_seconds() - start);
    }
    return best;
}

// How much longer phases take in which every thread has a few microseconds to do than the same work by one thread without any.
static double measure_barrier_us(RtPool *pool, uint32_t threads)
{
    Work steps = {.steps = PHASE_STEPS};
    uint32_t many[PHASES], alone = PHASES;
    for (int i = 0; i < PHASES; i++) many[i] = threads;
    RtPool *one;
    hd_status_free(rt_pool_new(1, &one));
    double work = best_seconds(one, &(RtJob){&alone, 1, run_steps, &steps});
    double phases = best_seconds(pool, &(RtJob){many, PHASES, run_steps, &steps});
    rt_pool_free(one);
    return HD_MAX(phases - work, 0) / PHASES * 1e6;
}

// Chunks of one phase, done by whoever claims them.
static double measure_launch_us(RtPool *pool)
{
    uint32_t chunks = EMPTY_CHUNKS;
    return best_seconds(pool, &(RtJob){&chunks, 1, run_nothing, NULL}) / EMPTY_CHUNKS * 1e6;
}

// ---- the file ----------------------------------------------------------------------------------------------------

static void put(HdBuf *out, const char *name, double value, const char *source)
{
    hd_buf_printf(out, "%-16s = %-10.4g # measured: %s\n", name, value, source);
}

static uint64_t last_cache(void)
{
    long large = sysconf(_SC_LEVEL3_CACHE_SIZE), middle = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return (uint64_t)HD_MAX(HD_MAX(large, middle), 0);
}

// "none": no types, so that no kernels are compiled.
static HdStatus *read_types(const char *text, CalibrateTypes *out_types)
{
    *out_types = (CalibrateTypes){.count = 0};
    for (HdStr rest = strcmp(text, "none") ? hd_str(text) : (HdStr){NULL, 0}; rest.data;) {
        HdStr name = hd_next_item(&rest, ',');
        const GgmlTypeInfo *type = ggml_type_named(name);
        if (!type) return hd_error(HD_USAGE, "--types " HD_STR_FMT ": there is no such type of weights; expected a list such as Q8_0,Q4_K, or none", HD_STR_ARG(name));
        if (out_types->count == CALIBRATE_MOST_TYPES) return hd_error(HD_USAGE, "--types: more than %d types", CALIBRATE_MOST_TYPES);
        out_types->type[out_types->count++] = type;
    }
    return NULL;
}

static HdStatus *measure(const CliOptions *options, const CalibrateTypes *types, uint32_t threads, HdBuf *out)
{
    RtPool *pool;
    Limits limits;
    char cpu[128];
    uint64_t cache = last_cache();
    HD_TRY(rt_pool_new(threads, &pool));
    hd_cpu_name(cpu, sizeof cpu);
    hd_buf_printf(out, "# made by `heddle calibrate`; read by --device-file\nname = %s, %u threads\n", cpu, threads);
    limits_measure((uint64_t)256 << 20, threads, &limits);
    put(out, "memory_gb_per_s", limits.read_gb_per_s, "256 MiB read by all threads, the best of some tries");
    put(out, "gflops", limits.gops[PEAK_F32], "independent float32 multiply-adds on all threads");
    put(out, "int8_gops", limits.gops[PEAK_INT8], "the same of bytes");
    put(out, "bf16_gops", limits.gops[PEAK_BF16], "the same of bfloat16");
    if (cache) {
        put(out, "cache_mb", (double)cache * 1e-6, "as the system reports it");
        put(out, "cache_gb_per_s", limits_read(HD_MIN(cache / 4, (uint64_t)8 << 20), threads, &limits.read_kernel), "a quarter of it (8 MiB at most) read by all threads");
    }
    put(out, "launch_us", measure_launch_us(pool), "chunks without work");
    put(out, "barrier_us", measure_barrier_us(pool, threads), "phases of a few microseconds, against the same work without phases");
    rt_pool_free(pool);
    return types->count ? calibrate_kernels(options, types, threads, out) : NULL;
}

HdStatus *cmd_calibrate(CliOptions *options)
{
    HdBuf text = {0};
    uint32_t threads = options->threads == CLI_UNSET ? heddle_default_threads() : (uint32_t)options->threads;
    CalibrateTypes types;
    HD_TRY(read_types(options->types ? options->types : "F32,F16,BF16,Q8_0,Q4_0,Q4_K,Q5_K,Q6_K,IQ4_XS,MXFP4", &types));
    HdStatus *status = measure(options, &types, threads, &text);
    if (!status && options->output) status = hd_write_file(options->output, text.data, text.len);
    else if (!status) fwrite(text.data, 1, text.len, stdout);
    hd_buf_free(&text);
    return status;
}
