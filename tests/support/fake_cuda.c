// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcuda.so.1 where there is no GPU: kernels are functions of shared objects that run on this machine (target
// cuda:emulated), streams keep what they are given until they are waited for, graphs keep it to be run again. It is strict: memory has red
// zones, copies and fills have to lie within an allocation, and calls need a current context. A broken rule ends the process.
//
// Environment: FAKE_CUDA_DEVICES (default 1), FAKE_CUDA_VERSION (12080), FAKE_CUDA_CAPABILITY (90), FAKE_CUDA_MEMORY (bytes of a device,
// 1 GiB), FAKE_CUDA_LOST (the kernel, counted from 1, with which the device is lost), FAKE_CUDA_REFUSE (the error of cuModuleLoadData),
// FAKE_CUDA_REPORT (1: in the end a line says how many bytes were sent to the host).
#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/abi.h"
#include "runtime/device/cuda_types.h"

#define CUDA(name, symbol, parameters) CUresult name parameters __asm__(symbol);
#include "runtime/device/cuda_functions.def"
#undef CUDA

enum { MOST_DEVICES = 8, ZONE = 4096, RED = 0xbd, UNDEFINED = 0xa5, MOST_CONTEXTS = 8, MOST_NAME = 128 };

static _Noreturn void broken(const char *rule)
{
    fprintf(stderr, "fake_cuda: %s\n", rule);
    abort();
}

static long setting(const char *name, long otherwise)
{
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

// ---- devices and contexts --------------------------------------------------------------------------------------

struct CUctx_st { CUdevice device; };
static struct CUctx_st primary[MOST_DEVICES];
// Over everything below that is not a thread's own. Recursive, since a test goes on after a kernel has crashed.
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static bool is_initialised, is_lost;
static _Thread_local CUcontext contexts[MOST_CONTEXTS];
static _Thread_local int depth;
static _Thread_local CUstream capturing;

static CUresult check_context(void)
{
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    return is_lost ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}

// For functions that are not allowed while the thread captures.
static CUresult check_idle(void) { return capturing ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : check_context(); }

CUresult cuInit(unsigned int flags)
{
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    if (setting("FAKE_CUDA_DEVICES", 1) < 1) return CUDA_ERROR_NO_DEVICE;
    is_initialised = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *out_version)
{
    *out_version = (int)setting("FAKE_CUDA_VERSION", 12080);
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **out_name)
{
    static const struct { CUresult code; const char *name; } names[] = {
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"}, {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"}, {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"}, {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == error) return *out_name = names[i].name, CUDA_SUCCESS;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *out_count)
{
    *out_count = (int)setting("FAKE_CUDA_DEVICES", 1);
    return is_initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult cuDeviceGet(CUdevice *out_device, int number)
{
    *out_device = number;
    return is_initialised && number < MOST_DEVICES ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetName(char *out_name, int size, CUdevice device)
{
    snprintf(out_name, (size_t)size, "Stand-in %c", 'A' + device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *out_value, int attribute, CUdevice device)
{
    int capability = (int)setting("FAKE_CUDA_CAPABILITY", 90);
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *out_value = capability / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *out_value = capability % 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *out_value = 49152; break;
    default: *out_value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *out_bytes, CUdevice device)
{
    (void)device;
    *out_bytes = (size_t)setting("FAKE_CUDA_MEMORY", 1 << 30);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *out_context, CUdevice device)
{
    primary[device].device = device;
    *out_context = &primary[device];
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    (void)device;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext context)
{
    if (depth == MOST_CONTEXTS) broken("contexts are pushed and not popped");
    contexts[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *out_context)
{
    if (!depth) broken("a context is popped that was not pushed");
    *out_context = contexts[--depth];
    return CUDA_SUCCESS;
}

// ---- memory ----------------------------------------------------------------------------------------------------

typedef struct Memory { uint8_t *data; size_t bytes; bool is_pinned; struct Memory *next; } Memory;
static Memory *memories;
static size_t allocated;                                     // of the device

static void check_zones(const Memory *memory)
{
    for (size_t i = 0; i < ZONE; i++)
        if (memory->data[-1 - (long)i] != RED || memory->data[memory->bytes + i] != RED) broken("something wrote beside an allocation");
}

static void check_all_zones(void)
{
    for (const Memory *m = memories; m; m = m->next) check_zones(m);
}

// Bytes of the device, or of pinned memory.
static void check_range(CUdeviceptr address, size_t bytes, bool is_pinned)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (const Memory *m = memories; m && !found; m = m->next) {
        CUdeviceptr start = (uintptr_t)m->data;
        found = m->is_pinned == is_pinned && address >= start && address + bytes <= start + m->bytes;
    }
    pthread_mutex_unlock(&lock);
    if (!found) broken(is_pinned ? "a copy leaves pinned memory" : "a copy or fill leaves the device's memory");
}

static void *allocate(size_t bytes, bool is_pinned)
{
    Memory *memory = malloc(sizeof *memory);
    uint8_t *all = aligned_alloc(ZONE, (bytes + 3 * ZONE - 1) / ZONE * ZONE);
    if (!memory || !all) broken("no memory");
    *memory = (Memory){all + ZONE, bytes, is_pinned, memories};
    memset(all, RED, bytes + 2 * ZONE);
    memset(memory->data, UNDEFINED, bytes);
    memories = memory;
    return memory->data;
}

static void release(const void *data, bool is_pinned)
{
    for (Memory **at = &memories; *at; at = &(*at)->next) {
        Memory *memory = *at;
        if (memory->data != data || memory->is_pinned != is_pinned) continue;
        check_zones(memory);
        if (!is_pinned) allocated -= memory->bytes;
        *at = memory->next;
        free(memory->data - ZONE);
        free(memory);
        return;
    }
    broken("what is freed was not allocated");
}

CUresult cuMemGetInfo(size_t *out_free, size_t *out_all)
{
    cuDeviceTotalMem(out_all, 0);
    *out_free = *out_all - allocated;
    return check_context();
}

CUresult cuMemAlloc(CUdeviceptr *out_address, size_t bytes)
{
    size_t all;
    CUresult result = check_idle();
    if (result) return result;
    pthread_mutex_lock(&lock);
    cuDeviceTotalMem(&all, 0);
    if (bytes > all - allocated) result = CUDA_ERROR_OUT_OF_MEMORY;
    else *out_address = (uintptr_t)allocate(bytes, false), allocated += bytes;
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuMemHostAlloc(void **out_pointer, size_t bytes, unsigned int flags)
{
    CUresult result = check_idle();
    if (result) return result;
    if (!(flags & CU_MEMHOSTALLOC_DEVICEMAP)) broken("pinned memory that kernels cannot see");
    pthread_mutex_lock(&lock);
    *out_pointer = allocate(bytes, true);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *out_address, void *pointer, unsigned int flags)
{
    (void)flags;
    *out_address = (uintptr_t)pointer;
    return check_context();
}

static CUresult let_go(const void *data, bool is_pinned)
{
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    pthread_mutex_lock(&lock);
    release(data, is_pinned);
    pthread_mutex_unlock(&lock);
    return check_context();
}

CUresult cuMemFree(CUdeviceptr address) { return let_go((void *)(uintptr_t)address, false); }
CUresult cuMemFreeHost(void *pointer) { return let_go(pointer, true); }

// ---- kernels ---------------------------------------------------------------------------------------------------

struct CUfunc_st { char name[MOST_NAME]; HeddleKernel *run; void (*grid)(unsigned int group, unsigned int groups); struct CUfunc_st *next; };
struct CUmod_st { void *library; int fd; struct CUfunc_st *functions; };

// Where an ELF file ends whose section headers come last.
static size_t elf_bytes(const void *image)
{
    const Elf64_Ehdr *header = image;
    return header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
}

CUresult cuModuleLoadData(CUmodule *out_module, const void *image)
{
    char path[64];
    CUresult result = check_idle();
    if (!result) result = (CUresult)setting("FAKE_CUDA_REFUSE", CUDA_SUCCESS);
    if (result) return result;
    if (memcmp(image, ELFMAG, SELFMAG) != 0 || ((const Elf64_Ehdr *)image)->e_machine != EM_X86_64) return CUDA_ERROR_INVALID_IMAGE;
    struct CUmod_st *module = calloc(1, sizeof *module);
    module->fd = memfd_create("fake-cuda", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", module->fd);
    if (write(module->fd, image, elf_bytes(image)) == (ssize_t)elf_bytes(image)) module->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module->library) broken(dlerror());
    *out_module = module;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module)
{
    for (struct CUfunc_st *function = module->functions, *next; function; function = next) {
        next = function->next;
        free(function);
    }
    dlclose(module->library);
    close(module->fd);
    free(module);
    return check_context();
}

static void *symbol_of(CUmodule module, const char *name) { return dlsym(module->library, name); }

CUresult cuModuleGetFunction(CUfunction *out_function, CUmodule module, const char *name)
{
    void *run = symbol_of(module, name), *grid = symbol_of(module, "heddle_grid");
    if (!run) return CUDA_ERROR_NOT_FOUND;
    struct CUfunc_st *function = calloc(1, sizeof *function);
    snprintf(function->name, sizeof function->name, "%s", name);
    memcpy(&function->run, &run, sizeof run);
    memcpy(&function->grid, &grid, sizeof grid);
    function->next = module->functions;
    module->functions = function;
    *out_function = function;
    return check_context();
}

// ---- streams and graphs ----------------------------------------------------------------------------------------

typedef enum Kind { LAUNCH, COPY, FILL, GRAPH } Kind;
typedef struct Work {
    Kind kind;
    CUfunction function; unsigned int groups; HeddleGpuLaunch launch;
    CUdeviceptr to, from; size_t bytes; unsigned char value;
    CUgraphExec graph;
} Work;
typedef struct List { Work *work; size_t count; } List;
struct CUgraph_st { List list; };
struct CUgraphExec_st { List list; };
struct CUstream_st { List list; CUgraph captured; };

static void append(List *list, const Work *work)
{
    list->work = realloc(list->work, (list->count + 1) * sizeof *work);
    list->work[list->count++] = *work;
}

// To a stream: to be done when it is waited for, or part of what it captures.
static CUresult add(CUstream stream, const Work *work)
{
    CUresult result = check_context();
    if (result) return result;
    append(stream->captured ? &stream->captured->list : &stream->list, work);
    return CUDA_SUCCESS;
}

// Work groups in descending order: none may count on those before it. Kernels made by hand know no groups and do all units at once.
static void run_groups(const Work *work)
{
    const HeddleGpuLaunch *launch = &work->launch;
    for (unsigned int g = work->function->grid ? work->groups : 1; g-- > 0;) {
        if (work->function->grid) work->function->grid(g, work->groups);
        work->function->run((const uint64_t *)(uintptr_t)launch->args, launch->begin, launch->end, (uint8_t *)(uintptr_t)launch->scratch);
    }
}

static CUresult run_all(const List *list);

static CUresult run_one(const Work *work)
{
    static long launched;
    switch (work->kind) {
    case LAUNCH:
        if (++launched == setting("FAKE_CUDA_LOST", 0)) is_lost = true;
        if (!is_lost) run_groups(work);
        return check_context();
    case COPY: memmove((void *)(uintptr_t)work->to, (const void *)(uintptr_t)work->from, work->bytes); return CUDA_SUCCESS;
    case FILL: memset((void *)(uintptr_t)work->to, work->value, work->bytes); return CUDA_SUCCESS;
    case GRAPH: return run_all(&work->graph->list);
    }
    return CUDA_ERROR_INVALID_VALUE;
}

static CUresult run_all(const List *list)
{
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < list->count && !result; i++) result = run_one(&list->work[i]);
    return result;
}

CUresult cuStreamCreate(CUstream *out_stream, unsigned int flags)
{
    if (flags != CU_STREAM_NON_BLOCKING) broken("a stream that waits for the default stream");
    *out_stream = calloc(1, sizeof **out_stream);
    return check_context();
}

CUresult cuStreamDestroy(CUstream stream)
{
    if (stream->captured) broken("a stream is destroyed that captures");
    free(stream->list.work);
    free(stream);
    return check_context();
}

CUresult cuStreamSynchronize(CUstream stream)
{
    CUresult result = check_idle();
    if (result) return result;
    pthread_mutex_lock(&lock);
    result = run_all(&stream->list);
    stream->list.count = 0;
    check_all_zones();
    pthread_mutex_unlock(&lock);
    return result;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    check_range(to, bytes, false);
    check_range((uintptr_t)from, bytes, true);
    return add(stream, &(Work){.kind = COPY, .to = to, .from = (uintptr_t)from, .bytes = bytes});
}

static size_t bytes_sent;

__attribute__((destructor)) static void report(void)
{
    if (setting("FAKE_CUDA_REPORT", 0)) fprintf(stderr, "fake_cuda: %zu bytes sent to the host\n", bytes_sent);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    bytes_sent += bytes;
    check_range((uintptr_t)to, bytes, true);
    check_range(from, bytes, false);
    return add(stream, &(Work){.kind = COPY, .to = (uintptr_t)to, .from = from, .bytes = bytes});
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    check_range(to, bytes, false);
    check_range(from, bytes, false);
    return add(stream, &(Work){.kind = COPY, .to = to, .from = from, .bytes = bytes});
}

CUresult cuMemsetD8Async(CUdeviceptr address, unsigned char value, size_t bytes, CUstream stream)
{
    check_range(address, bytes, false);
    return add(stream, &(Work){.kind = FILL, .to = address, .value = value, .bytes = bytes});
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x,
                        unsigned int block_y, unsigned int block_z, unsigned int shared_bytes, CUstream stream, void **params, void **extra)
{
    Work work = {.kind = LAUNCH, .function = function, .groups = grid_x};
    if (!grid_x || grid_y != 1 || grid_z != 1 || !block_x || block_x > HEDDLE_GPU_MAX_LANES || block_y != 1 || block_z != 1 || shared_bytes
        || extra)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&work.launch.args, params[0], sizeof work.launch.args);
    memcpy(&work.launch.begin, params[1], sizeof work.launch.begin);
    memcpy(&work.launch.end, params[2], sizeof work.launch.end);
    memcpy(&work.launch.scratch, params[3], sizeof work.launch.scratch);
    return add(stream, &work);
}

CUresult cuStreamBeginCapture(CUstream stream, int mode)
{
    CUresult result = check_idle();
    if (result) return result;
    if (stream->list.count) broken("a capture begins before earlier work is done");
    if (mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) broken("a capture that forbids other threads to work");
    stream->captured = calloc(1, sizeof *stream->captured);
    capturing = stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *out_graph)
{
    if (capturing != stream) return CUDA_ERROR_INVALID_VALUE;
    *out_graph = stream->captured;
    stream->captured = NULL;
    capturing = NULL;
    return check_context();
}

CUresult cuGraphInstantiate(CUgraphExec *out_exec, CUgraph graph, unsigned long long flags)
{
    CUresult result = flags ? CUDA_ERROR_INVALID_VALUE : check_idle();
    if (result) return result;
    *out_exec = calloc(1, sizeof **out_exec);
    for (size_t i = 0; i < graph->list.count; i++) append(&(*out_exec)->list, &graph->list.work[i]);
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) { return add(stream, &(Work){.kind = GRAPH, .graph = exec}); }

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    free(exec->list.work);
    free(exec);
    return check_context();
}

CUresult cuGraphDestroy(CUgraph graph)
{
    free(graph->list.work);
    free(graph);
    return check_context();
}
