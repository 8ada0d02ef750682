// SPDX-License-Identifier: Apache-2.0
// The CPU device: kernels are functions of the module's shared object. The threads of a pool walk the phases of a plan together.
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/device/device.h"
#include "runtime/device/float_mode.h"
#include "runtime/runtime.h"

typedef struct CpuDevice {
    RtDevice base;
    void *library;
    HeddleKernel **kernels;          // per row of the kernel table
    int fd;                          // of the library in memory, -1: none; open as long as it is, for dlopen knows libraries by name
} CpuDevice;

typedef struct CpuQueue {
    RtQueue base;
    RtBindings bindings;
    RtBuffer arena, scratch;
    uint64_t scratch_stride;         // of a thread
    RtPool *pool;
    RtPlan **plans;                  // per class; made when first used
    const RtPlan *running;
    struct { uint32_t launch; int64_t begin, end; } piece;   // of cpu_launch
    _Alignas(64) HeddleStepStatus status;
} CpuQueue;

// ---- loading the object --------------------------------------------------------------------------------------
// dlopen wants a file: one in memory, or, where /proc is not mounted, a temporary one that is removed at once.

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t put = write(fd, data, len);
        if (put < 0 && errno != EINTR) return false;
        if (put > 0) data += put, len -= (size_t)put;
    }
    return true;
}

// *out_fd stays open until the library is closed: the next descriptor of the same number would be the same library to dlopen.
static void *open_in_memory(const HeddleModule *module, int *out_fd)
{
    char path[64];
    void *library = NULL;
    int fd = memfd_create("heddle-kernels", MFD_CLOEXEC);
    if (fd < 0) return NULL;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write_all(fd, module->object, module->object_len)) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library) *out_fd = fd;
    else close(fd);
    return library;
}

static void *open_as_file(const HeddleModule *module)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    void *library = NULL;
    if (snprintf(path, sizeof path, "%s/heddle-kernels-XXXXXX", folder && *folder ? folder : "/tmp") >= (int)sizeof path)
        return NULL;
    int fd = mkstemp(path);
    if (fd < 0) return NULL;
    if (write_all(fd, module->object, module->object_len)) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    close(fd);
    unlink(path);
    return library;
}

static void cpu_close(RtDevice *device)
{
    CpuDevice *cpu = (CpuDevice *)device;
    if (!cpu) return;
    if (cpu->library) dlclose(cpu->library);
    if (cpu->fd >= 0) close(cpu->fd);
    free(cpu->kernels);
    free(cpu);
}

static HdStatus *load(CpuDevice *cpu, const HeddleModule *module)
{
    if (!module->kernel_count) return NULL;
    cpu->library = open_in_memory(module, &cpu->fd);
    if (!cpu->library) cpu->library = open_as_file(module);
    if (!cpu->library) {
        const char *reason = dlerror();
        return hd_error(HD_BAD_DATA, "%s: its kernels cannot be loaded, neither from memory through /proc nor from a file in TMPDIR: %s",
                        module->path, reason ? reason : "no room for a temporary file");
    }
    for (uint32_t i = 0; i < module->kernel_count; i++) {
        void *symbol = dlsym(cpu->library, module->kernels[i].name);
        if (!symbol) return hd_error(HD_BAD_DATA, "%s: kernel %s is not in its object", module->path, module->kernels[i].name);
        memcpy(&cpu->kernels[i], &symbol, sizeof symbol);
    }
    return NULL;
}

static HdStatus *cpu_open(const HeddleModule *module, const char *which, RtDevice **out_device)
{
    (void)which;                                         // there is one
    CpuDevice *cpu = hd_xcalloc(1, sizeof *cpu);
    cpu->base = (RtDevice){&rt_device_cpu, module, NULL};
    cpu->fd = -1;
    cpu->kernels = hd_xcalloc(module->kernel_count, sizeof *cpu->kernels);
    HdStatus *status = load(cpu, module);
    if (status) cpu_close(&cpu->base);
    else *out_device = &cpu->base;
    return status;
}

// ---- queues --------------------------------------------------------------------------------------------------

static void cpu_queue_free(RtQueue *queue)
{
    CpuQueue *cpu = (CpuQueue *)queue;
    if (!cpu) return;
    rt_pool_free(cpu->pool);
    for (uint32_t i = 0; i < queue->device->module->class_count; i++) rt_plan_free(cpu->plans[i]);
    free(cpu->plans);
    rt_free(&cpu->arena);
    rt_free(&cpu->scratch);
    free(cpu);
}

static HdStatus *allocate(CpuQueue *queue, uint64_t arena_bytes, uint32_t scratch_bytes)
{
    // the gap keeps threads out of each other's cache lines
    queue->scratch_stride = hd_align_up(scratch_bytes, RT_ALIGN) + RT_ALIGN;
    HD_TRY(rt_alloc(arena_bytes, "intermediate values", &queue->arena));
    rt_prefer_huge_pages(&queue->arena);   // a column of a product's result is a page per token
    HD_TRY(rt_alloc(queue->bindings.threads * queue->scratch_stride, "scratch of the threads", &queue->scratch));
    return rt_pool_new(queue->bindings.threads, &queue->pool);
}

static HdStatus *cpu_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                               RtQueue **out_queue)
{
    CpuQueue *queue = aligned_alloc(64, hd_align_up(sizeof *queue, 64));
    if (!queue) return rt_no_memory(sizeof *queue, "a queue");
    memset(queue, 0, sizeof *queue);
    queue->base.device = device;
    queue->bindings = *bindings;
    queue->plans = hd_xcalloc(device->module->class_count, sizeof(RtPlan *));
    HdStatus *status = allocate(queue, arena_bytes, scratch_bytes);
    if (status) cpu_queue_free(&queue->base);
    else *out_queue = &queue->base;
    return status;
}

static HdStatus *cpu_plan(CpuQueue *queue, const RtClass *class, const RtBinding *binding, RtPlan **out_plan)
{
    const HeddleModule *module = queue->base.device->module;
    RtPlan **plan = &queue->plans[class - module->classes];
    uint64_t status = (uint64_t)(uintptr_t)&queue->status;
    if (!*plan) HD_TRY(rt_plan_new(module, class, &queue->bindings, queue->arena.address, status, plan));
    *out_plan = *plan;
    return rt_plan_bind(*plan, binding);
}

// ---- running -------------------------------------------------------------------------------------------------

static uint8_t *scratch_of(const CpuQueue *queue, uint32_t thread)
{
    return (uint8_t *)rt_host(&queue->scratch) + thread * queue->scratch_stride;
}

static void run_units(const CpuQueue *queue, const RtPlan *plan, uint32_t l, int64_t begin, int64_t end, uint32_t thread)
{
    if (begin >= end) return;
    HeddleKernel *kernel = ((const CpuDevice *)queue->base.device)->kernels[plan->class->launches[l].kernel];
    kernel(plan->slots + plan->first_slot[l], begin, end, scratch_of(queue, thread));
}

static void run_chunk(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    const CpuQueue *queue = user;
    const RtPlan *plan = queue->running;
    RtTrace *trace = queue->base.trace;
    double now = trace ? hd_seconds() : 0;
    unsigned int saved = rt_float_mode_enter();
    for (uint32_t l = plan->phases[phase].first; l < plan->phases[phase].first + plan->phases[phase].count; l++) {
        const int64_t *cuts = rt_plan_cuts(plan, l);
        run_units(queue, plan, l, cuts[chunk], cuts[chunk + 1], thread);
        if (trace) now = rt_trace_launch(trace, thread, l, now);
    }
    if (trace) rt_trace_phase(trace, thread, phase, now);
    rt_float_mode_leave(saved);
}

static HdStatus *cpu_step(RtQueue *base, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status)
{
    CpuQueue *queue = (CpuQueue *)base;
    RtPlan *plan;
    HD_TRY(cpu_plan(queue, class, binding, &plan));
    if (queue->bindings.poison) {
        memset(rt_host(&queue->arena), 0xff, queue->arena.bytes);
        memset(rt_host(&queue->scratch), 0xff, queue->scratch.bytes);
    }
    queue->status = (HeddleStepStatus){0, 0};
    queue->running = plan;
    if (base->trace) rt_trace_begin(base->trace);
    rt_pool_run(queue->pool, &(RtJob){plan->chunks, plan->phase_count, run_chunk, queue});
    if (base->trace) rt_trace_end(base->trace, plan, base->reach);
    *out_status = queue->status;
    return NULL;
}

static void run_piece(void *user, uint32_t phase, uint32_t chunk, uint32_t thread)
{
    const CpuQueue *queue = user;
    int64_t units = queue->piece.end - queue->piece.begin, chunks = queue->bindings.threads, begin = queue->piece.begin;
    (void)phase;
    unsigned int saved = rt_float_mode_enter();
    run_units(queue, queue->running, queue->piece.launch, begin + units * chunk / chunks, begin + units * (chunk + 1) / chunks,
              thread);
    rt_float_mode_leave(saved);
}

static HdStatus *cpu_launch(RtQueue *base, const RtClass *class, uint32_t launch, int64_t begin, int64_t end)
{
    CpuQueue *queue = (CpuQueue *)base;
    RtPlan *plan;
    HD_TRY(cpu_plan(queue, class, &class->bound, &plan));
    queue->running = plan;
    queue->piece.launch = launch, queue->piece.begin = begin, queue->piece.end = end;
    rt_pool_run(queue->pool, &(RtJob){&queue->bindings.threads, 1, run_piece, queue});
    return NULL;
}

static const RtBuffer *cpu_arena(const RtQueue *queue) { return &((const CpuQueue *)queue)->arena; }

const RtDeviceType rt_device_cpu = {"cpu", true, &rt_host_memory, cpu_open, cpu_close, cpu_queue_new, cpu_queue_free,
                                    cpu_step, cpu_launch, cpu_arena};
