// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most, with so many threads: how fast memory can be read, by the best of four ways to read it, and how many
// products a second the instructions that kernels use can make, on registers alone. The best of some tries counts: a busy neighbour can
// only make them slower.
#include "cli/limits.h"
#include "runtime/cpu_features.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// With sums in memory, as at -O2, a loop reads 8 % slower.
#if !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET(features) __attribute__((target(features)))
#endif

enum { READ_TRIES = 4, PEAK_TRIES = 16, LANES = 64, AHEAD = 4096 / sizeof(uint64_t), CHAINS = 12, ROUNDS = 1 << 18 };
static const uint64_t least_bytes = (uint64_t)128 << 20, most_bytes = (uint64_t)1 << 30;

// A thread's work in a try. sum: so that the compiler leaves nothing out.
typedef struct Part {
    void (*work)(struct Part *part);
    const uint64_t *data;            // NULL: no memory is read
    size_t count;
    int tries;
    uint64_t sum;
    pthread_barrier_t *barrier;
} Part;

static void *run_part(void *user)
{
    Part *part = user;
    for (int i = 0; i < part->tries; i++) {
        pthread_barrier_wait(part->barrier);
        part->work(part);
        pthread_barrier_wait(part->barrier);
    }
    return NULL;
}

// Seconds of the best try. The calling thread does the first part and holds the watch.
static double best_time(void (*work)(Part *), const uint64_t *data, size_t count, uint32_t threads)
{
    static volatile uint64_t keep;
    pthread_t ids[HEDDLE_MAX_THREADS];
    Part parts[HEDDLE_MAX_THREADS];
    pthread_barrier_t barrier;
    double best = 1e30;
    int tries = data ? READ_TRIES : PEAK_TRIES;
    pthread_barrier_init(&barrier, NULL, threads);
    for (uint32_t t = 0; t < threads; t++)
        parts[t] = (Part){work, data ? data + t * (count / threads) : NULL, count / threads, tries, 0, &barrier};
    for (uint32_t t = 1; t < threads; t++)
        if (pthread_create(&ids[t], NULL, run_part, &parts[t])) abort();
    for (int i = 0; i < tries; i++) {
        pthread_barrier_wait(&barrier);
        double start = hd_seconds();
        work(&parts[0]);
        pthread_barrier_wait(&barrier);
        best = HD_MIN(best, hd_seconds() - start);
    }
    for (uint32_t t = 1; t < threads; t++) pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&barrier);
    keep = parts[0].sum;
    (void)keep;
    return best;
}

// ---- reading -----------------------------------------------------------------------------------------------------

// LANES independent sums: the loop becomes wide loads, several in flight.
static void read_plain(Part *part)
{
    uint64_t sums[LANES] = {0};
    for (size_t i = 0; i + LANES <= part->count; i += LANES)
        for (size_t k = 0; k < LANES; k++) sums[k] += part->data[i + k];
    for (size_t k = 0; k < LANES; k++) part->sum += sums[k];
}

static void read_prefetched(Part *part)
{
    uint64_t sums[LANES] = {0};
    for (size_t i = 0; i + LANES <= part->count; i += LANES) {
        for (size_t k = 0; k < LANES; k += 8) __builtin_prefetch(part->data + i + k + AHEAD);   // beyond the end it does nothing
        for (size_t k = 0; k < LANES; k++) sums[k] += part->data[i + k];
    }
    for (size_t k = 0; k < LANES; k++) part->sum += sums[k];
}

#if defined(__x86_64__)
// From `streams` places at once.
TARGET("avx512f") static inline void add_wide(Part *part, size_t streams)
{
    __m512i sums[8] = {0};
    size_t each = part->count / streams & ~(size_t)(LANES - 1), step = LANES / streams;
    for (size_t i = 0; i < each; i += step) {
        for (size_t s = 0; s < streams; s++)
            for (size_t k = 0; k < step; k += 8) __builtin_prefetch(part->data + s * each + i + k + AHEAD);
        for (size_t s = 0; s < streams; s++)
            for (size_t k = 0; k < step; k += 8) {
                __m512i *sum = &sums[(s * step + k) / 8];
                *sum = _mm512_xor_si512(*sum, _mm512_loadu_si512(part->data + s * each + i + k));
            }
    }
    for (size_t k = 0; k < 8; k++) part->sum += (uint64_t)_mm512_reduce_add_epi64(sums[k]);
}

TARGET("avx512f") static void read_wide(Part *part) { add_wide(part, 1); }
TARGET("avx512f") static void read_four(Part *part) { add_wide(part, 4); }
#endif

static const struct ReadKernel {
    const char *name, *feature;      // feature: NULL: none
    bool huge_pages;
    void (*work)(Part *);
} read_kernels[] = {
    {"plain", NULL, false, read_plain},
    {"prefetch", NULL, true, read_prefetched},
#if defined(__x86_64__)
    {"512 bits, prefetch", "avx512f", true, read_wide},
    {"512 bits, prefetch, four streams", "avx512f", true, read_four},
#endif
};

double limits_read(uint64_t bytes, uint32_t threads, const char **out_kernel)
{
    double best = 0;
    for (int huge = 0; huge < 2; huge++) {
        uint64_t *data = bytes < heddle_memory_available() / 2
            ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
        if (data == MAP_FAILED) return best;
        madvise(data, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        memset(data, 1, bytes);
        for (size_t i = 0; i < HD_COUNT(read_kernels); i++) {
            const struct ReadKernel *k = &read_kernels[i];
            if (k->huge_pages != huge || (k->feature && !hd_cpu_has(k->feature))) continue;
            double speed = (double)bytes / best_time(k->work, data, bytes / sizeof *data, threads) * 1e-9;
            if (speed > best) best = speed, *out_kernel = k->name;
        }
        munmap(data, bytes);
    }
    return best;
}

// ---- products on registers -----------------------------------------------------------------------------------------
// CHAINS sums in registers 4 to 15, each waiting only for itself: in assembler, for a compiler moves them about.

#if defined(__x86_64__)
#define EACH_CHAIN(text) ".irp r,4,5,6,7,8,9,10,11,12,13,14,15\n" text "\n.endr\n"
#define CHAINS_OF(name, clear, step, end)                                                                                                  \
    static void name(Part *part)                                                                                                           \
    {                                                                                                                                      \
        uint32_t rounds = ROUNDS;                                                                                                          \
        (void)part;                                                                                                                        \
        __asm__ volatile(".irp r,0\n" clear "\n.endr\n" EACH_CHAIN(clear) "1:\n" EACH_CHAIN(step) "sub $1, %0\njnz 1b\n" end               \
                         : "+r"(rounds) : : "cc", "xmm0", "xmm1", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",        \
                           "xmm12", "xmm13", "xmm14", "xmm15");                                                                            \
    }
#define AVX_CHAINS_OF(name, step) CHAINS_OF(name, "vpxor %%xmm\\r, %%xmm\\r, %%xmm\\r", step, "vzeroupper")
AVX_CHAINS_OF(int8_512, "vpdpbusd %%zmm0, %%zmm0, %%zmm\\r")
AVX_CHAINS_OF(int8_256, "%{vex%} vpdpbusd %%ymm0, %%ymm0, %%ymm\\r")
AVX_CHAINS_OF(int8_avx2, "vpmaddubsw %%ymm0, %%ymm0, %%ymm1\nvpmaddwd %%ymm0, %%ymm1, %%ymm1\nvpaddd %%ymm1, %%ymm\\r, %%ymm\\r")
AVX_CHAINS_OF(bf16_512, "vdpbf16ps %%zmm0, %%zmm0, %%zmm\\r")
AVX_CHAINS_OF(f32_512, "vfmadd231ps %%zmm0, %%zmm0, %%zmm\\r")
AVX_CHAINS_OF(f32_256, "vfmadd231ps %%ymm0, %%ymm0, %%ymm\\r")
CHAINS_OF(f32_128, "xorps %%xmm\\r, %%xmm\\r", "movaps %%xmm0, %%xmm1\nmulps %%xmm0, %%xmm1\naddps %%xmm1, %%xmm\\r", "")
#else
static void f32_1(Part *part)
{
    float sums[CHAINS] = {0};
    for (int i = 0; i < ROUNDS; i++)
        for (int c = 0; c < CHAINS; c++) sums[c] = sums[c] * 0.5f + 1;
    for (int c = 0; c < CHAINS; c++) part->sum += (uint64_t)sums[c];
}
#endif

// Per kind best first. features: all that are needed; operations: multiplications and additions of a chain in a round.
static const struct PeakKernel {
    Peak peak;
    const char *features[2];
    uint32_t operations;
    void (*work)(Part *);
} peak_kernels[] = {
#if defined(__x86_64__)
    {PEAK_INT8, {"avx512f", "avx512vnni"}, 128, int8_512},
    {PEAK_INT8, {"avx2", "avxvnni"}, 64, int8_256},
    {PEAK_INT8, {"avx2"}, 64, int8_avx2},
    {PEAK_BF16, {"avx512f", "avx512bf16"}, 64, bf16_512},
    {PEAK_F32, {"avx512f"}, 32, f32_512},
    {PEAK_F32, {"avx2", "fma"}, 16, f32_256},
    {PEAK_F32, {NULL}, 8, f32_128},
#else
    {PEAK_F32, {NULL}, 2, f32_1},
#endif
};

static bool runs_here(const struct PeakKernel *kernel)
{
    for (size_t i = 0; i < HD_COUNT(kernel->features); i++)
        if (kernel->features[i] && !hd_cpu_has(kernel->features[i])) return false;
    return true;
}

static double measure_peak(Peak peak, uint32_t threads)
{
    for (size_t i = 0; i < HD_COUNT(peak_kernels); i++) {
        const struct PeakKernel *k = &peak_kernels[i];
        if (k->peak == peak && runs_here(k)) return (double)k->operations * CHAINS * ROUNDS * threads / best_time(k->work, NULL, 0, threads) * 1e-9;
    }
    return peak == PEAK_F32 ? 0 : measure_peak(PEAK_F32, threads);       // without such instructions float32 does the work
}

void limits_measure(uint64_t model_bytes, uint32_t threads, Limits *out_limits)
{
    *out_limits = (Limits){.read_kernel = ""};
    uint64_t bytes = hd_align_up(HD_MIN(HD_MAX(model_bytes, least_bytes), most_bytes), 4096);
    out_limits->read_gb_per_s = limits_read(bytes, threads, &out_limits->read_kernel);
    for (int peak = 0; peak < PEAK_COUNT; peak++) out_limits->gops[peak] = measure_peak((Peak)peak, threads);
}
