// SPDX-License-Identifier: Apache-2.0
// The CUDA device: a context and the kernels of the module.
#include "runtime/device/cuda.h"
#include "runtime/device/gpu_queue.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

// ---- results -------------------------------------------------------------------------------------------------

// After one of these nothing more can be done in the context.
static bool is_lost(CUresult result)
{
    static const CUresult fatal[] = {CUDA_ERROR_DEVICE_UNAVAILABLE, CUDA_ERROR_ECC_UNCORRECTABLE, CUDA_ERROR_NVLINK_UNCORRECTABLE,
                                     CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_CONTEXT_IS_DESTROYED,
                                     CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_INSTRUCTION, CUDA_ERROR_MISALIGNED_ADDRESS,
                                     CUDA_ERROR_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_PC, CUDA_ERROR_LAUNCH_FAILED};
    for (size_t i = 0; i < HD_COUNT(fatal); i++)
        if (result == fatal[i]) return true;
    return false;
}

HdStatus *cuda_result(const CudaDevice *device, CUresult result, const char *what)
{
    const char *card = device->card.name;
    if (!result) return NULL;
    const char *name = cuda_error_name(&device->cuda, result);
    if (is_lost(result)) return hd_error(HD_IO, "device %s was lost: %s did not end (%s); start again", card, what, name);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) return hd_error(HD_NO_MEMORY, "device %s: no memory for %s", card, what);
    return hd_error(HD_IO, "device %s: %s failed (%s)", card, what, name);
}

HdStatus *cuda_enter(const CudaDevice *device)
{
    return cuda_result(device, device->cuda.cuCtxPushCurrent(device->context), "using it");
}

bool cuda_enter_to_free(const CudaDevice *device) { return !device->cuda.cuCtxPushCurrent(device->context); }

void cuda_leave(const CudaDevice *device) { device->cuda.cuCtxPopCurrent(&(CUcontext){NULL}); }

HdStatus *cuda_stream(const CudaDevice *device, CUstream *out_stream)
{
    return cuda_result(device, device->cuda.cuStreamCreate(out_stream, CU_STREAM_NON_BLOCKING), "a stream");
}

// ---- kernels -------------------------------------------------------------------------------------------------

// The driver takes no size: it believes what stands in a cubin, and reads PTX up to the 0 behind it.
static HdStatus *check_code(const RtKernel *kernel, const uint8_t *code)
{
    bool is_elf = !memcmp(code, "\177ELF", 4);
    if (is_elf || memchr(code, 0, kernel->bytes)) return NULL;
    return hd_error(HD_BAD_DATA, "its code is neither a cubin nor PTX");
}

static HdStatus *load_code(CudaDevice *device, const RtKernel *kernel, CUmodule *out_code)
{
    const uint8_t *code = device->gpu.base.module->object + kernel->offset;
    HD_TRY(check_code(kernel, code));
    CUresult result = device->cuda.cuModuleLoadData(out_code, code);
    if (result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION || result == CUDA_ERROR_NO_BINARY_FOR_GPU)
        return hd_error(HD_MISMATCH, "the NVIDIA driver is too old for its code: it knows CUDA %d.%d (%s); a newer driver or an older NVRTC is "
                        "needed", device->cuda.version / 1000, device->cuda.version / 10 % 100, cuda_error_name(&device->cuda, result));
    HD_TRY(cuda_result(device, result, "loading its code"));
    hd_vec_push(&device->modules, *out_code);
    return NULL;
}

// Kernels that begin at the same place lie in the same code, and stand next to each other.
static HdStatus *load_kernels(CudaDevice *device)
{
    const HeddleModule *module = device->gpu.base.module;
    CUmodule code = NULL;
    device->kernels = hd_xcalloc(module->kernel_count, sizeof(CUfunction));
    for (uint32_t i = 0; i < module->kernel_count; i++) {
        const RtKernel *kernel = &module->kernels[i];
        HdStatus *status = NULL;
        if (!i || kernel->offset != kernel[-1].offset) status = load_code(device, kernel, &code);
        if (!status) status = cuda_result(device, device->cuda.cuModuleGetFunction(&device->kernels[i], code, kernel->name), "finding it");
        if (status) return hd_annotate(status, "kernel %s", kernel->name);
    }
    return NULL;
}

// ---- opening -------------------------------------------------------------------------------------------------

static HdStatus *create(CudaDevice *device, const char *which)
{
    HD_TRY(cuda_open(&device->cuda));
    HD_TRY(cuda_pick(&device->cuda, device->gpu.base.module, which, &device->card));
    snprintf(device->description, sizeof device->description, "%s, %s", device->card.name, cuda_card_kind(&device->card));
    HD_TRY(cuda_result(device, device->cuda.cuDevicePrimaryCtxRetain(&device->context, device->card.handle), "opening it"));
    HD_TRY(cuda_enter(device));
    HdStatus *status = cuda_stream(device, &device->stream);
    if (!status) status = load_kernels(device);
    cuda_leave(device);
    return status;
}

static void close_context(CudaDevice *device)
{
    const Cuda *cuda = &device->cuda;
    cuda_memory.base.free(&device->gpu.base, &device->gpu.staging);
    if (cuda_enter_to_free(device)) {
        for (size_t i = 0; i < device->modules.len; i++) cuda->cuModuleUnload(device->modules.data[i]);
        if (device->stream) cuda->cuStreamDestroy(device->stream);
        cuda_leave(device);
    }
    cuda->cuDevicePrimaryCtxRelease(device->card.handle);
}

static void device_close(RtDevice *base)
{
    CudaDevice *device = (CudaDevice *)base;
    if (!device) return;
    if (device->context) close_context(device);
    hd_vec_free(&device->modules);
    free(device->kernels);
    pthread_mutex_destroy(&device->gpu.transfer_lock);
    free(device);
}

static HdStatus *device_open(const HeddleModule *module, const char *which, RtDevice **out_device)
{
    CudaDevice *device = hd_xcalloc(1, sizeof *device);
    device->gpu.base = (RtDevice){&rt_device_cuda, module, device->description};
    pthread_mutex_init(&device->gpu.transfer_lock, NULL);
    HdStatus *status = create(device, which);
    if (status) device_close(&device->gpu.base);
    else *out_device = &device->gpu.base;
    return hd_annotate(status, "%s", module->path);
}

const RtDeviceType rt_device_cuda = {"cuda", true, &cuda_memory.base, device_open, device_close, cuda_queue_new,
                                     gpu_queue_free, gpu_step, gpu_launch, gpu_arena};
