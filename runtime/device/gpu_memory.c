// SPDX-License-Identifier: Apache-2.0
// Bytes to and from the buffers of a GPU: the host copies where it sees them, else they travel through one staging buffer of bounded size.
#include "runtime/device/gpu_memory.h"

#include <string.h>

enum { STAGING_BYTES = 16 << 20 };

static const GpuMemoryType *type_of(const RtDevice *device) { return (const GpuMemoryType *)device->type->memory; }

HdStatus *gpu_alloc(RtDevice *base, uint64_t bytes, RtUse use, const char *what, RtBuffer *out_buffer)
{
    const GpuMemoryType *type = type_of(base);
    HD_TRY(type->make((GpuDevice *)base, use == RT_SHARED ? GPU_SHARED : GPU_OWN, bytes, what, out_buffer));
    HdStatus *status = use == RT_PLAIN ? NULL : gpu_zero(base, out_buffer, 0, out_buffer->bytes);
    if (status) type->base.free(base, out_buffer);
    return status;
}

// From `data` or to `out`, piece by piece.
static HdStatus *move_staged(GpuDevice *device, const GpuMove *all, const uint8_t *data, uint8_t *out)
{
    const GpuMemoryType *type = type_of(&device->base);
    RtBuffer *staging = &device->staging;
    if (!staging->address) HD_TRY(type->make(device, GPU_STAGING, STAGING_BYTES, "the staging buffer", staging));
    for (uint64_t at = 0, piece; at < all->bytes; at += piece) {
        piece = HD_MIN(all->bytes - at, (uint64_t)STAGING_BYTES);
        if (data) memcpy(rt_host(staging), data + at, piece);
        HD_TRY(type->move(device, data ? &(GpuMove){all->to, staging, all->to_offset + at, 0, piece}
                                       : &(GpuMove){staging, all->from, 0, all->from_offset + at, piece}));
        if (out) memcpy(out + at, rt_host(staging), piece);
    }
    return NULL;
}

static HdStatus *move(RtDevice *base, const GpuMove *move, const uint8_t *data, uint8_t *out)
{
    GpuDevice *device = (GpuDevice *)base;
    if (!move->bytes) return NULL;
    pthread_mutex_lock(&device->transfer_lock);
    HdStatus *status = data || out ? move_staged(device, move, data, out) : type_of(base)->move(device, move);
    pthread_mutex_unlock(&device->transfer_lock);
    return status;
}

HdStatus *gpu_zero(RtDevice *base, const RtBuffer *buffer, uint64_t offset, uint64_t bytes)
{
    if (!rt_host(buffer)) return move(base, &(GpuMove){.to = buffer, .to_offset = offset, .bytes = bytes}, NULL, NULL);
    memset(gpu_seen(buffer, offset), 0, bytes);
    return NULL;
}

HdStatus *gpu_write(RtDevice *base, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes)
{
    if (!rt_host(buffer)) return move(base, &(GpuMove){.to = buffer, .to_offset = offset, .bytes = bytes}, data, NULL);
    memcpy(gpu_seen(buffer, offset), data, bytes);
    return NULL;
}

HdStatus *gpu_read(RtDevice *base, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, void *out_data)
{
    const void *data = type_of(base)->base.view(base, buffer, offset);
    if (!data) return move(base, &(GpuMove){.from = buffer, .from_offset = offset, .bytes = bytes}, NULL, out_data);
    memcpy(out_data, data, bytes);
    return NULL;
}

HdStatus *gpu_copy(RtDevice *base, const RtBuffer *to, uint64_t to_offset, const RtBuffer *from, uint64_t from_offset, uint64_t bytes)
{
    const void *data = rt_host(to) ? type_of(base)->base.view(base, from, from_offset) : NULL;
    if (!data) return move(base, &(GpuMove){to, from, to_offset, from_offset, bytes}, NULL, NULL);
    memcpy(gpu_seen(to, to_offset), data, bytes);
    return NULL;
}
