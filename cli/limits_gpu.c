// SPDX-License-Identifier: Apache-2.0
// How fast a GPU copies its own memory: the limit that its kernels are measured against. The best of some tries counts.
#include "cli/limits.h"
#include "runtime/runtime.h"

enum { TRIES = 7 };
static const uint64_t most_bytes = (uint64_t)256 << 20, least_bytes = (uint64_t)16 << 20;   // beyond every cache; what is worth measuring

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

HdStatus *limits_measure_gpu(HeddleModel *model, Limits *out_limits)
{
    RtDevice *device = model->device;
    const RtMemoryType *memory = device->type->memory;
    double best = 1e30;
    *out_limits = (Limits){.read_kernel = ""};
    for (uint64_t bytes = most_bytes; bytes >= least_bytes && !memory->in_place && !out_limits->read_gb_per_s; bytes /= 2) {
        RtBuffer buffers[2] = {{0}};
        HdStatus *status = copy_often(device, bytes, buffers, &best);
        for (int i = 0; i < 2; i++) memory->free(device, &buffers[i]);
        if (!status) *out_limits = (Limits){.read_gb_per_s = (double)(2 * bytes) / best * 1e-9, .read_kernel = "copy"};
        else if (hd_status_code(status) != HD_NO_MEMORY) return status;
        hd_status_free(status);
    }
    return NULL;
}
