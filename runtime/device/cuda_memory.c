// SPDX-License-Identifier: Apache-2.0
// Buffers of a CUDA device. What the host writes in place is pinned memory that kernels read over the bus, and so is the staging buffer;
// everything else is the device's own.
#include "runtime/device/cuda.h"

#include <inttypes.h>

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

static HdStatus *make(GpuDevice *base, GpuPlace place, uint64_t bytes, const char *what, RtBuffer *out_buffer)
{
    const CudaDevice *device = (const CudaDevice *)base;
    RtBuffer buffer = {.bytes = HD_MAX(bytes, 1)};
    HD_TRY(cuda_enter(device));
    CUresult result = place == GPU_OWN ? allocate_own(&device->cuda, &buffer) : allocate_shared(&device->cuda, &buffer);
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

// ---- moving bytes --------------------------------------------------------------------------------------------

static CUresult start(const CudaDevice *device, const GpuMove *m)
{
    const Cuda *cuda = &device->cuda;
    CUdeviceptr to = m->to->address + m->to_offset;
    if (!m->from) return cuda->cuMemsetD8Async(to, 0, m->bytes, device->stream);
    if (rt_host(m->from)) return cuda->cuMemcpyHtoDAsync(to, gpu_seen(m->from, m->from_offset), m->bytes, device->stream);
    CUdeviceptr from = m->from->address + m->from_offset;
    if (rt_host(m->to)) return cuda->cuMemcpyDtoHAsync(gpu_seen(m->to, m->to_offset), from, m->bytes, device->stream);
    return cuda->cuMemcpyDtoDAsync(to, from, m->bytes, device->stream);
}

static HdStatus *move(GpuDevice *base, const GpuMove *move)
{
    const CudaDevice *device = (const CudaDevice *)base;
    HD_TRY(cuda_enter(device));
    CUresult result = start(device, move);
    if (!result) result = device->cuda.cuStreamSynchronize(device->stream);
    cuda_leave(device);
    return cuda_result(device, result, "a copy");
}

static const void *memory_view(const RtDevice *base, const RtBuffer *buffer, uint64_t offset)
{
    (void)base;
    return rt_host(buffer) ? gpu_seen(buffer, offset) : NULL;
}

static uint64_t memory_block_bytes(const RtDevice *base)
{
    (void)base;
    return GPU_BLOCK_BYTES;
}

const GpuMemoryType cuda_memory = {
    {false, gpu_alloc, memory_free, gpu_zero, gpu_write, gpu_read, gpu_copy, memory_view, memory_block_bytes}, make, move};
