// SPDX-License-Identifier: Apache-2.0
// Inside of the CUDA device. The driver's library is found at run time; nothing of CUDA is needed to build.
//
//   cuda_driver.c   the library and its functions
//   cuda_card.c     which devices there are, whether they run a module's code, choosing one
//   cuda_device.c   a context with the kernels of a module; what went wrong
//   cuda_memory.c   buffers, and the way of bytes to and from them (gpu_memory.h)
//   cuda_queue.c    the steps of a session as graphs (gpu_queue.h)
//
// Kernels find everything by address (runtime/abi.h). All work is waited for where it is started. Contexts belong to threads: whoever
// calls the driver does so between cuda_enter and cuda_leave.
#ifndef HEDDLE_CUDA_H
#define HEDDLE_CUDA_H

#include "runtime/device/cuda_types.h"
#include "runtime/device/gpu_memory.h"

// ---- cuda_driver.c -------------------------------------------------------------------------------------------

typedef struct Cuda {
    int version;                         // of CUDA that the driver knows: 12080 for 12.8
#define CUDA(name, symbol, parameters) CUresult (*name) parameters;
#include "runtime/device/cuda_functions.def"
#undef CUDA
} Cuda;

// NOT_FOUND: there is no driver, or it finds no device; UNSUPPORTED: it is too old or does not start. The library stays loaded.
HD_MUST_USE HdStatus *cuda_open(Cuda *out_cuda);
// "CUDA_ERROR_NO_DEVICE"
const char *cuda_error_name(const Cuda *cuda, CUresult result);

// ---- cuda_card.c ---------------------------------------------------------------------------------------------

typedef struct CudaCard {
    CUdevice handle;
    uint32_t number;                     // in the driver's order, that of `heddle devices`
    char name[256];
    int capability;                      // 90: compute capability 9.0, sm_90
    bool is_integrated;
    uint32_t shared_bytes;               // of a block
    uint64_t memory_bytes;
} CudaCard;

enum { CUDA_OLDEST_CAPABILITY = 75 };

// Every device; the caller frees the array.
HD_MUST_USE HdStatus *cuda_cards(const Cuda *cuda, CudaCard **out_cards, uint32_t *out_count);
// The one that `which` names by number or a part of its name, NULL: the first that runs the module's code. MISMATCH says what they are
// and what to compile for, USAGE lists what there is.
HD_MUST_USE HdStatus *cuda_pick(const Cuda *cuda, const HeddleModule *module, const char *which, CudaCard *out_card);
const char *cuda_card_kind(const CudaCard *card);        // "discrete GPU"

// ---- cuda_device.c -------------------------------------------------------------------------------------------

typedef struct CudaDevice {
    GpuDevice gpu;
    Cuda cuda;
    CudaCard card;
    char description[sizeof((CudaCard *)NULL)->name + 32];
    CUcontext context;                   // the device's primary one, which all users of this process share
    HD_VEC(CUmodule) modules;
    CUfunction *kernels;                 // per row of the kernel table
    CUstream stream;                     // of what is moved (gpu.transfer_lock)
} CudaDevice;

// The error of a call, NULL for success. `what`: what was being done.
HD_MUST_USE HdStatus *cuda_result(const CudaDevice *device, CUresult result, const char *what);
// Makes the device the calling thread's, until cuda_leave gives back the one before.
HD_MUST_USE HdStatus *cuda_enter(const CudaDevice *device);
// The same to free things. False: the device is lost, and they with it.
bool cuda_enter_to_free(const CudaDevice *device);
void cuda_leave(const CudaDevice *device);
HD_MUST_USE HdStatus *cuda_stream(const CudaDevice *device, CUstream *out_stream);

// ---- cuda_memory.c -------------------------------------------------------------------------------------------

extern const GpuMemoryType cuda_memory;

// ---- cuda_queue.c --------------------------------------------------------------------------------------------

HD_MUST_USE HdStatus *cuda_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                                     RtQueue **out_queue);     // the rest of it is in gpu_queue.c

#endif
