// SPDX-License-Identifier: Apache-2.0
// How fast memory is: the limit that decoding is measured against. A processor's is read. Each thread sums its own part, so that nothing is shared and
// the compiler cannot leave the reads out; the best of some tries is what the machine can do.
#include "cli/bench.h"
#include "runtime/runtime.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 7, LANES = 64 };

typedef struct Part {
    const uint64_t *data;
    size_t count;
    uint64_t sum;
    pthread_barrier_t *barrier;
} Part;

// LANES independent sums: the loop becomes wide loads, several in flight.
static void read_part(Part *part)
{
    uint64_t sums[LANES] = {0};
    for (size_t i = 0; i + LANES <= part->count; i += LANES)
        for (size_t k = 0; k < LANES; k++) sums[k] += part->data[i + k];
    for (size_t k = 0; k < LANES; k++) part->sum += sums[k];
}

static void *work(void *user)
{
    Part *part = user;
    for (int i = 0; i < TRIES; i++) {
        pthread_barrier_wait(part->barrier);
        read_part(part);
        pthread_barrier_wait(part->barrier);
    }
    return NULL;
}

// The calling thread does the first part and holds the watch.
static double best_time(Part *parts, pthread_barrier_t *barrier)
{
    double best = 1e30;
    for (int i = 0; i < TRIES; i++) {
        pthread_barrier_wait(barrier);
        double start = hd_seconds();
        read_part(&parts[0]);
        pthread_barrier_wait(barrier);
        best = HD_MIN(best, hd_seconds() - start);
    }
    return best;
}

double bench_read_bandwidth(uint64_t bytes, uint32_t threads)
{
    pthread_t ids[HEDDLE_MAX_THREADS];
    Part parts[HEDDLE_MAX_THREADS];
    pthread_barrier_t barrier;
    uint64_t *data = bytes < heddle_memory_available() / 2 ? malloc(bytes) : NULL;
    if (!data) return 0;
    memset(data, 1, bytes);
    pthread_barrier_init(&barrier, NULL, threads);
    size_t share = bytes / sizeof *data / threads;
    for (uint32_t t = 0; t < threads; t++) parts[t] = (Part){data + t * share, share, 0, &barrier};
    for (uint32_t t = 1; t < threads; t++)
        if (pthread_create(&ids[t], NULL, work, &parts[t])) abort();
    double time = best_time(parts, &barrier);
    for (uint32_t t = 1; t < threads; t++) pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&barrier);
    volatile uint64_t keep = parts[0].sum;
    (void)keep;
    free(data);
    return (double)(share * sizeof *data * threads) / time * 1e-9;
}

// ---- GPUs ----------------------------------------------------------------------------------------------------

static HdStatus *copy_once(RtDevice *device, const RtBuffer *to, const RtBuffer *from, double *best)
{
    double start = hd_seconds();
    HD_TRY(device->type->memory->copy(device, to, 0, from, 0, from->bytes));
    *best = HD_MIN(*best, hd_seconds() - start);
    return NULL;
}

static HdStatus *copy_often(RtDevice *device, uint64_t bytes, RtBuffer buffers[2], double *best)
{
    for (int i = 0; i < 2; i++) HD_TRY(device->type->memory->alloc(device, bytes, RT_ZEROED, "measuring its memory", &buffers[i]));
    for (int i = 0; i < TRIES; i++) HD_TRY(copy_once(device, &buffers[1], &buffers[0], best));
    return NULL;
}

double bench_copy_bandwidth(HeddleModel *model, uint64_t bytes)
{
    enum { LEAST = 16 << 20 };
    RtDevice *device = model->device;
    const RtMemoryType *memory = device->type->memory;
    double best = 1e30;
    for (; bytes >= LEAST && !memory->in_place; bytes /= 2) {
        RtBuffer buffers[2] = {{0}};
        HdStatus *status = copy_often(device, bytes, buffers, &best);
        for (int i = 0; i < 2; i++) memory->free(device, &buffers[i]);
        if (!status) return (double)(2 * bytes) / best * 1e-9;
        hd_status_free(status);
    }
    return 0;
}
