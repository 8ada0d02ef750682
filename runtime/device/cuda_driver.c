// SPDX-License-Identifier: Apache-2.0
// The CUDA driver's library by dlopen. It is never closed: it has threads of its own and does not like to be loaded twice.
#include "runtime/device/cuda.h"

#include <dlfcn.h>
#include <string.h>

enum { OLDEST_VERSION = 11040 };                         // the first with all functions that are called

static HdStatus *open_library(void **out_library)
{
    *out_library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (*out_library) return NULL;
    const char *reason = dlerror();
    bool absent = !reason || strstr(reason, "No such file");
    return hd_error(HD_NOT_FOUND, "needs the NVIDIA driver: %s", absent ? "libcuda.so.1 not found" : reason);
}

static HdStatus *find_functions(void *library, Cuda *cuda)
{
    void *symbol;
    const char *lacks = NULL;
#define CUDA(name, text, parameters)                                                                                            \
    symbol = dlsym(library, text);                                                                                               \
    memcpy(&cuda->name, &symbol, sizeof symbol);                                                                                 \
    if (!symbol) lacks = text;
#include "runtime/device/cuda_functions.def"
#undef CUDA
    if (cuda->cuDriverGetVersion && cuda->cuDriverGetVersion(&cuda->version)) cuda->version = 0;
    if (cuda->version >= OLDEST_VERSION && !lacks) return NULL;
    return hd_error(HD_UNSUPPORTED, "the NVIDIA driver is too old: it knows CUDA %d.%d%s%s, 11.4 or newer is needed (driver 470)",
                    cuda->version / 1000, cuda->version / 10 % 100, lacks ? " and lacks " : "", lacks ? lacks : "");
}

const char *cuda_error_name(const Cuda *cuda, CUresult result)
{
    const char *name = NULL;
    return cuda->cuGetErrorName(result, &name) || !name ? "an unknown error" : name;
}

HdStatus *cuda_open(Cuda *out_cuda)
{
    void *library;
    *out_cuda = (Cuda){0};
    HD_TRY(open_library(&library));
    HD_TRY(find_functions(library, out_cuda));
    CUresult result = out_cuda->cuInit(0);
    if (!result) return NULL;
    if (result == CUDA_ERROR_NO_DEVICE) return hd_error(HD_NOT_FOUND, "no CUDA device: the NVIDIA driver finds none on this machine");
    if (result == CUDA_ERROR_STUB_LIBRARY) return hd_error(HD_NOT_FOUND, "needs the NVIDIA driver: libcuda.so.1 is the toolkit's stub of it");
    return hd_error(HD_UNSUPPORTED, "the NVIDIA driver does not start: cuInit says %s", cuda_error_name(out_cuda, result));
}
