// SPDX-License-Identifier: Apache-2.0
// Memory of devices whose kernels see this process's own: a buffer is memory of the system, and copying is copying.
#include <string.h>

#include "runtime/device/device.h"
#include "runtime/runtime.h"

static uint8_t *at(const RtBuffer *buffer, uint64_t offset) { return (uint8_t *)rt_host(buffer) + offset; }

static HdStatus *host_alloc(RtDevice *device, uint64_t bytes, RtUse use, const char *what, RtBuffer *out_buffer)
{
    (void)device, (void)use;                             // fresh pages are zero and shared with everyone here
    return rt_alloc(bytes, what, out_buffer);
}

static void host_free(RtDevice *device, RtBuffer *buffer)
{
    (void)device;
    rt_free(buffer);
}

static HdStatus *host_zero(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes)
{
    (void)device;
    memset(at(buffer, offset), 0, bytes);                // not by giving pages back: a step needs them at once, and a new page costs far more
    return NULL;
}

static HdStatus *host_write(RtDevice *device, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes)
{
    (void)device;
    memcpy(at(buffer, offset), data, bytes);
    return NULL;
}

static HdStatus *host_read(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, void *out_data)
{
    (void)device;
    memcpy(out_data, at(buffer, offset), bytes);
    return NULL;
}

static HdStatus *host_copy(RtDevice *device, const RtBuffer *to, uint64_t to_offset, const RtBuffer *from, uint64_t from_offset,
                           uint64_t bytes)
{
    (void)device;
    memcpy(at(to, to_offset), at(from, from_offset), bytes);
    return NULL;
}

static const void *host_view(const RtDevice *device, const RtBuffer *buffer, uint64_t offset)
{
    (void)device;
    return at(buffer, offset);
}

static uint64_t host_block_bytes(const RtDevice *device)
{
    (void)device;
    return UINT64_MAX;
}

const RtMemoryType rt_host_memory = {true, host_alloc, host_free, host_zero, host_write, host_read, host_copy, host_view,
                                     host_block_bytes};

// ---- of any device -------------------------------------------------------------------------------------------

static HdStatus *grow(RtBuffer *store, uint64_t bytes)
{
    if (store->bytes >= bytes && store->host) return NULL;
    rt_free(store);
    return rt_alloc(bytes, "a copy of the device's memory", store);
}

HdStatus *rt_fetch(RtDevice *device, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, RtBuffer *store,
                   const void **out_data)
{
    const RtMemoryType *memory = device->type->memory;
    *out_data = memory->view(device, buffer, offset);
    if (*out_data) return NULL;
    HD_TRY(grow(store, bytes));
    HD_TRY(memory->read(device, buffer, offset, bytes, rt_host(store)));
    *out_data = rt_host(store);
    return NULL;
}
