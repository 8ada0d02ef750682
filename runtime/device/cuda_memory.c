// SPDX-License-Identifier: Apache-2.0
// Buffers of a CUDA device. What the host writes in place is pinned memory that kernels read over the bus; everything else is the device's
// own, and bytes travel there and back through one pinned staging buffer of bounded size.
#include "runtime/device/cuda.h"

#include <inttypes.h>
#include <string.h>

enum { STAGING_BYTES = 16 << 20, BLOCK_BYTES = 256 << 20 };

static uint8_t *seen(const RtBuffer *buffer, uint64_t offset) { return (uint8_t *)rt_host(buffer) + offset; }

// ---- allocation ----------------------------------------------------------------------------------------------

static HdStatus *no_memory(const CudaDevice *device, const char *what, uint64_t bytes)
{
    char size[HD_SIZE_TEXT], left[HD_SIZE_TEXT], has[HD_SIZE_TEXT];
    size_t unused = 0, all = 0;
    device->cuda.cuMemGetInfo(&unused, &all);
    hd_size_text(bytes, size);
    hd_size_text(unused, left);
    hd_size_text(device->card.memory_bytes, has);
    return hd_error(HD_NO_MEMORY, "device %s: no memory for %s: %" PRIu64 " bytes (%s) asked for, of its %s %s are free", device->card.name,
                    what, bytes, size, has, left);
}

static CUresult allocate_shared(const Cuda *cuda, RtBuffer *buffer)
{
    CUresult result = cuda->cuMemHostAlloc(&buffer->host, buffer->bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    CUdeviceptr address = 0;
    if (!result) result = cuda->cuMemHostGetDevicePointer(&address, buffer->host, 0);
    if (result && buffer->host) cuda->cuMemFreeHost(buffer->host);
    buffer->address = address;
    return result;
}

static CUresult allocate_own(const Cuda *cuda, RtBuffer *buffer)
{
    CUdeviceptr address = 0;
    CUresult result = cuda->cuMemAlloc(&address, buffer->bytes);
    buffer->address = address;
    return result;
}

static HdStatus *make(const CudaDevice *device, bool is_shared, uint64_t bytes, const char *what, RtBuffer *out_buffer)
{
    RtBuffer buffer = {.bytes = HD_MAX(bytes, 1)};
    HD_TRY(cuda_enter(device));
    CUresult result = is_shared ? allocate_shared(&device->cuda, &buffer) : allocate_own(&device->cuda, &buffer);
    HdStatus *status = result == CUDA_ERROR_OUT_OF_MEMORY ? no_memory(device, what, bytes) : cuda_result(device, result, what);
    if (!status) *out_buffer = buffer;
    cuda_leave(device);
    return status;
}

static void memory_free(RtDevice *base, RtBuffer *buffer)
{
    const CudaDevice *device = (const CudaDevice *)base;
    if (buffer->address && cuda_enter_to_free(device)) {
        if (rt_host(buffer)) device->cuda.cuMemFreeHost(rt_host(buffer));
        else device->cuda.cuMemFree(buffer->address);
        cuda_leave(device);
    }
    *buffer = (RtBuffer){0};
}

// ---- transfers -----------------------------------------------------------------------------------------------

// Bytes of the device's own memory: zeroed, copied from there, or exchanged with the host.
typedef struct Transfer { uint64_t at, bytes, from; const uint8_t *data; uint8_t *out; } Transfer;
typedef HdStatus *Carry(CudaDevice *device, const Transfer *transfer);

static HdStatus *wait(const CudaDevice *device, CUresult result)
{
    if (!result) result = device->cuda.cuStreamSynchronize(device->stream);
    return cuda_result(device, result, "a copy");
}

static HdStatus *clear(CudaDevice *device, const Transfer *transfer)
{
    return wait(device, device->cuda.cuMemsetD8Async(transfer->at, 0, transfer->bytes, device->stream));
}

static HdStatus *move(CudaDevice *device, const Transfer *transfer)
{
    return wait(device, device->cuda.cuMemcpyDtoDAsync(transfer->at, transfer->from, transfer->bytes, device->stream));
}

static HdStatus *staging(CudaDevice *device)
{
    return device->staging.address ? NULL : make(device, true, STAGING_BYTES, "the staging buffer", &device->staging);
}

static HdStatus *write_staged(CudaDevice *device, const Transfer *transfer)
{
    HD_TRY(staging(device));
    for (uint64_t done = 0, piece; done < transfer->bytes; done += piece) {
        piece = HD_MIN(transfer->bytes - done, (uint64_t)STAGING_BYTES);
        memcpy(rt_host(&device->staging), transfer->data + done, piece);
        HD_TRY(wait(device, device->cuda.cuMemcpyHtoDAsync(transfer->at + done, rt_host(&device->staging), piece, device->stream)));
    }
    return NULL;
}

static HdStatus *read_staged(CudaDevice *device, const Transfer *transfer)
{
    HD_TRY(staging(device));
    for (uint64_t done = 0, piece; done < transfer->bytes; done += piece) {
        piece = HD_MIN(transfer->bytes - done, (uint64_t)STAGING_BYTES);
        HD_TRY(wait(device, device->cuda.cuMemcpyDtoHAsync(rt_host(&device->staging), transfer->at + done, piece, device->stream)));
        memcpy(transfer->out + done, rt_host(&device->staging), piece);
    }
    return NULL;
}

static HdStatus *carry(RtDevice *base, Carry *how, const Transfer *transfer)
{
    CudaDevice *device = (CudaDevice *)base;
    if (!transfer->bytes) return NULL;
    HD_TRY(cuda_enter(device));
    pthread_mutex_lock(&device->transfer_lock);
    HdStatus *status = how(device, transfer);
    pthread_mutex_unlock(&device->transfer_lock);
    cuda_leave(device);
    return status;
}

// ---- the device's memory -------------------------------------------------------------------------------------

static HdStatus *memory_zero(RtDevice *base, const RtBuffer *buffer, uint64_t offset, uint64_t bytes)
{
    if (!rt_host(buffer)) return carry(base, clear, &(Transfer){.at = buffer->address + offset, .bytes = bytes});
    memset(seen(buffer, offset), 0, bytes);
    return NULL;
}

static HdStatus *memory_alloc(RtDevice *base, uint64_t bytes, RtUse use, const char *what, RtBuffer *out_buffer)
{
    HD_TRY(make((CudaDevice *)base, use == RT_SHARED, bytes, what, out_buffer));
    HdStatus *status = use == RT_PLAIN ? NULL : memory_zero(base, out_buffer, 0, out_buffer->bytes);
    if (status) memory_free(base, out_buffer);
    return status;
}

static HdStatus *memory_write(RtDevice *base, const RtBuffer *buffer, uint64_t offset, const void *data, uint64_t bytes)
{
    if (!rt_host(buffer)) return carry(base, write_staged, &(Transfer){.at = buffer->address + offset, .bytes = bytes, .data = data});
    memcpy(seen(buffer, offset), data, bytes);
    return NULL;
}

static HdStatus *memory_read(RtDevice *base, const RtBuffer *buffer, uint64_t offset, uint64_t bytes, void *out_data)
{
    if (!rt_host(buffer)) return carry(base, read_staged, &(Transfer){.at = buffer->address + offset, .bytes = bytes, .out = out_data});
    memcpy(out_data, seen(buffer, offset), bytes);
    return NULL;
}

static HdStatus *memory_copy(RtDevice *base, const RtBuffer *to, uint64_t to_offset, const RtBuffer *from, uint64_t from_offset,
                             uint64_t bytes)
{
    return carry(base, move, &(Transfer){.at = to->address + to_offset, .from = from->address + from_offset, .bytes = bytes});
}

static const void *memory_view(const RtDevice *base, const RtBuffer *buffer, uint64_t offset)
{
    (void)base;
    return rt_host(buffer) ? seen(buffer, offset) : NULL;
}

static uint64_t memory_block_bytes(const RtDevice *base)
{
    (void)base;
    return BLOCK_BYTES;
}

const RtMemoryType cuda_memory = {false, memory_alloc, memory_free, memory_zero, memory_write, memory_read, memory_copy, memory_view,
                                  memory_block_bytes};
