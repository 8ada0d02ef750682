// SPDX-License-Identifier: Apache-2.0
// heddle calibrate: measures what `heddle opt --cost --device-file` predicts times by, on this processor, and writes it as a device file.
#include "cli/bench.h"
#include "runtime/cpu_features.h"
#include "runtime/device/device.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 9, CHAINS = 12, STEPS = 100000, PHASES = 500, PHASE_STEPS = 500, EMPTY_CHUNKS = 20000 };

// ---- arithmetic --------------------------------------------------------------------------------------------------

// Independent chains of multiply-adds, enough of them to fill the pipelines, in vectors of the widest kind.
#define MULTIPLY_ADD(name, bytes, features)                                                                                     \
    typedef float Vector_##name __attribute__((vector_size(bytes)));                                                            \
    features __attribute__((noinline)) static float name(float seed, int steps)                                                 \
    {                                                                                                                           \
        Vector_##name x[CHAINS], factor = {0}, sum = {0};                                                                       \
        factor += 0.999f;                                                                                                       \
        for (int c = 0; c < CHAINS; c++) x[c] = sum + seed + (float)c;                                                          \
        for (int i = 0; i < steps; i++) {                                                                                       \
            x[0] = x[0] * factor + factor, x[1] = x[1] * factor + factor, x[2] = x[2] * factor + factor;                         \
            x[3] = x[3] * factor + factor, x[4] = x[4] * factor + factor, x[5] = x[5] * factor + factor;                         \
            x[6] = x[6] * factor + factor, x[7] = x[7] * factor + factor, x[8] = x[8] * factor + factor;                         \
            x[9] = x[9] * factor + factor, x[10] = x[10] * factor + factor, x[11] = x[11] * factor + factor;                     \
        }                                                                                                                       \
        for (int c = 0; c < CHAINS; c++) sum += x[c];                                                                           \
        return sum[0];                                                                                                          \
    }
#if defined(__x86_64__)
MULTIPLY_ADD(run_avx512, 64, __attribute__((target("avx512f"), optimize("fp-contract=fast"))))
MULTIPLY_ADD(run_fma, 32, __attribute__((target("avx2,fma"), optimize("fp-contract=fast"))))
#endif
MULTIPLY_ADD(run_plain, 16, )

typedef struct Arithmetic {
    float (*run)(float seed, int steps);
    int lanes, steps;
    volatile float sink[HEDDLE_MAX_THREADS];
} Arithmetic;

static Arithmetic widest(int steps)
{
#if defined(__x86_64__)
    if (hd_cpu_has("avx512f")) return (Arithmetic){run_avx512, 16, steps, {0}};
    if (hd_cpu_has("avx2") && hd_cpu_has("fma")) return (Arithmetic){run_fma, 8, steps, {0}};
#endif
    return (Arithmetic){run_plain, 4, steps, {0}};
}

static void run_arithmetic(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    Arithmetic *arithmetic = user;
    (void)chunk;
    arithmetic->sink[thread] = arithmetic->run((float)phase, arithmetic->steps);
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

static double measure_gflops(RtPool *pool, uint32_t threads)
{
    Arithmetic arithmetic = widest(STEPS);
    uint32_t chunks = threads;
    double seconds = best_seconds(pool, &(RtJob){&chunks, 1, run_arithmetic, &arithmetic});
    return 2.0 * CHAINS * STEPS * arithmetic.lanes * threads / seconds * 1e-9;
}

// How much longer phases take in which every thread has a few microseconds to do than the same work by one thread without any.
static double measure_barrier_us(RtPool *pool, uint32_t threads)
{
    Arithmetic arithmetic = widest(PHASE_STEPS);
    uint32_t many[PHASES], alone = PHASES;
    for (int i = 0; i < PHASES; i++) many[i] = threads;
    RtPool *one;
    hd_status_free(rt_pool_new(1, &one));
    double work = best_seconds(one, &(RtJob){&alone, 1, run_arithmetic, &arithmetic});
    double phases = best_seconds(pool, &(RtJob){many, PHASES, run_arithmetic, &arithmetic});
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

static HdStatus *measure(uint32_t threads, HdBuf *out)
{
    RtPool *pool;
    char cpu[128];
    uint64_t cache = last_cache();
    HD_TRY(rt_pool_new(threads, &pool));
    hd_cpu_name(cpu, sizeof cpu);
    hd_buf_printf(out, "# made by `heddle calibrate`; read by `heddle opt --cost --device-file`\nname = %s, %u threads\n", cpu, threads);
    put(out, "memory_gb_per_s", bench_read_bandwidth((uint64_t)256 << 20, threads), "256 MiB read by all threads, the best of some tries");
    put(out, "gflops", measure_gflops(pool, threads), "independent float32 multiply-adds on all threads");
    if (cache) {
        put(out, "cache_mb", (double)cache * 1e-6, "as the system reports it");
        put(out, "cache_gb_per_s", bench_read_bandwidth(HD_MIN(cache / 4, (uint64_t)8 << 20), threads), "a quarter of it (8 MiB at most) read by all threads");
    }
    put(out, "launch_us", measure_launch_us(pool), "chunks without work");
    put(out, "barrier_us", measure_barrier_us(pool, threads), "phases of a few microseconds, against the same work without phases");
    rt_pool_free(pool);
    return NULL;
}

HdStatus *cmd_calibrate(CliOptions *options)
{
    HdBuf text = {0};
    uint32_t threads = options->threads == CLI_UNSET ? heddle_default_threads() : (uint32_t)options->threads;
    HdStatus *status = measure(threads, &text);
    if (!status && options->output) status = hd_write_file(options->output, text.data, text.len);
    else if (!status) fwrite(text.data, 1, text.len, stdout);
    hd_buf_free(&text);
    return status;
}
