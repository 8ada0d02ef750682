// SPDX-License-Identifier: Apache-2.0
// What the memory of all GPUs shares (gpu_memory.c): which bytes the host moves itself, and the staging buffer that the others travel through. A
// back end (cuda_memory.c, vulkan_memory.c) begins its device with a GpuDevice and says by a GpuMemoryType how a buffer is made and bytes are moved.
#ifndef HEDDLE_GPU_MEMORY_H
#define HEDDLE_GPU_MEMORY_H

#include <pthread.h>

#include "runtime/device/device.h"

enum { GPU_BLOCK_BYTES = 256 << 20 };            // what weights are put in together, where a device allocates so much at once

typedef struct GpuDevice {
    RtDevice base;                               // its type's memory is the `base` of a GpuMemoryType
    pthread_mutex_t transfer_lock;               // over the staging buffer and what the back end moves bytes with
    RtBuffer staging;                            // made when first needed
} GpuDevice;

typedef enum GpuPlace { GPU_OWN, GPU_SHARED, GPU_STAGING, GPU_PLACE_COUNT } GpuPlace;   // the device's; RT_SHARED; read by the host, too
// from NULL: zeroes.
typedef struct GpuMove { const RtBuffer *to, *from; uint64_t to_offset, from_offset, bytes; } GpuMove;
typedef struct GpuMemoryType {
    RtMemoryType base;
    HdStatus *(*make)(GpuDevice *device, GpuPlace place, uint64_t bytes, const char *what, RtBuffer *out_buffer);
    HdStatus *(*move)(GpuDevice *device, const GpuMove *move);   // of more than 0 bytes; called with the lock, returns when it is done
} GpuMemoryType;

// RtMemoryType's functions.
HD_MUST_USE HdStatus *gpu_alloc(RtDevice *device, uint64_t bytes, RtUse use, const char *what, RtBuffer *out_buffer);
HD_MUST_USE HdStatus *gpu_zero(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes);
HD_MUST_USE HdStatus *gpu_write(RtDevice *device, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes);
HD_MUST_USE HdStatus *gpu_read(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, void *out_data);
HD_MUST_USE HdStatus *gpu_copy(RtDevice *device, const RtBuffer *to, uint64_t to_offset, const RtBuffer *from, uint64_t from_offset,
                               uint64_t bytes);
// A byte of a buffer that the host sees.
static inline uint8_t *gpu_seen(const RtBuffer *buffer, uint64_t offset) { return (uint8_t *)rt_host(buffer) + offset; }

#endif
