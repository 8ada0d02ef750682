// SPDX-License-Identifier: Apache-2.0
// The steps of a session on a CUDA device. The launches of a class are captured once per T, S, C, R as a graph, which is run as often as
// these stay; everything else that changes between steps is in buffers that the host writes.
#include "runtime/device/cuda.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

// A class of the schedule, bound.
typedef struct Recording {
    RtPlan *plan;                    // NULL: not used yet
    RtBuffer slots;                  // the plan's argument slots
    CUgraphExec graph;               // NULL: not captured for the plan's binding
} Recording;

typedef struct CudaQueue {
    RtQueue base;
    RtBindings bindings;             // of one thread
    RtBuffer arena, scratch, status;
    CUstream stream;
    Recording *recordings;           // per class
} CudaQueue;

static CudaDevice *device_of(const CudaQueue *queue) { return (CudaDevice *)queue->base.device; }

// ---- queues --------------------------------------------------------------------------------------------------

static HdStatus *create(CudaQueue *queue, uint64_t arena_bytes, uint32_t scratch_bytes)
{
    CudaDevice *device = device_of(queue);
    HD_TRY(cuda_memory.alloc(&device->base, arena_bytes, RT_PLAIN, "intermediate values", &queue->arena));
    HD_TRY(cuda_memory.alloc(&device->base, rt_group_scratch(scratch_bytes), RT_PLAIN, "scratch of the work groups", &queue->scratch));
    HD_TRY(cuda_memory.alloc(&device->base, sizeof(HeddleStepStatus), RT_SHARED, "the status of a step", &queue->status));
    HD_TRY(cuda_enter(device));
    HdStatus *status = cuda_stream(device, &queue->stream);
    cuda_leave(device);
    return status;
}

HdStatus *cuda_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                         RtQueue **out_queue)
{
    CudaQueue *queue = hd_xcalloc(1, sizeof *queue);
    queue->base.device = device;
    queue->bindings = *bindings;
    queue->bindings.threads = 1;
    queue->recordings = hd_xcalloc(device->module->class_count, sizeof *queue->recordings);
    HdStatus *status = create(queue, arena_bytes, scratch_bytes);
    if (status) cuda_queue_free(&queue->base);
    else *out_queue = &queue->base;
    return status;
}

static void forget_graph(const CudaDevice *device, Recording *recording)
{
    if (recording->graph) device->cuda.cuGraphExecDestroy(recording->graph);
    recording->graph = NULL;
}

void cuda_queue_free(RtQueue *base)
{
    CudaQueue *queue = (CudaQueue *)base;
    if (!queue) return;
    const CudaDevice *device = device_of(queue);
    uint32_t classes = base->device->module->class_count;
    if (cuda_enter_to_free(device)) {
        for (uint32_t i = 0; i < classes; i++) forget_graph(device, &queue->recordings[i]);
        if (queue->stream) device->cuda.cuStreamDestroy(queue->stream);
        cuda_leave(device);
    }
    for (uint32_t i = 0; i < classes; i++) {
        rt_plan_free(queue->recordings[i].plan);
        cuda_memory.free(base->device, &queue->recordings[i].slots);
    }
    cuda_memory.free(base->device, &queue->status);
    cuda_memory.free(base->device, &queue->scratch);
    cuda_memory.free(base->device, &queue->arena);
    free(queue->recordings);
    free(queue);
}

const RtBuffer *cuda_arena(const RtQueue *queue) { return &((const CudaQueue *)queue)->arena; }

// ---- binding -------------------------------------------------------------------------------------------------

static HdStatus *first_use(CudaQueue *queue, const RtClass *class, Recording *recording)
{
    CudaDevice *device = device_of(queue);
    HD_TRY(cuda_memory.alloc(&device->base, class->arg_slots * sizeof(uint64_t), RT_PLAIN, "arguments of the kernels", &recording->slots));
    return rt_plan_new(device->base.module, class, &queue->bindings, queue->arena.address, queue->status.address, &recording->plan);
}

// Kernels read their arguments from the device's own memory, where that is fast.
static HdStatus *write_slots(CudaQueue *queue, const Recording *recording)
{
    const RtPlan *plan = recording->plan;
    return cuda_memory.write(queue->base.device, &recording->slots, 0, plan->slots, plan->class->arg_slots * sizeof(uint64_t));
}

static HdStatus *bind(CudaQueue *queue, const RtClass *class, const RtBinding *binding, Recording **out_recording)
{
    Recording *recording = &queue->recordings[class - queue->base.device->module->classes];
    if (!recording->plan) HD_TRY(first_use(queue, class, recording));
    RtPlan *plan = recording->plan;
    *out_recording = recording;
    if (plan->is_bound && !memcmp(&plan->binding, binding, sizeof *binding)) return NULL;
    forget_graph(device_of(queue), recording);
    HD_TRY(rt_plan_bind(plan, binding));
    HdStatus *status = write_slots(queue, recording);
    plan->is_bound = !status;
    return status;
}

// ---- capturing -----------------------------------------------------------------------------------------------

static CUresult dispatch(const CudaQueue *queue, const Recording *recording, uint32_t l, int64_t begin, int64_t end)
{
    const CudaDevice *device = device_of(queue);
    const RtLaunch *launch = &recording->plan->class->launches[l];
    HeddleGpuLaunch values = {recording->slots.address + recording->plan->first_slot[l] * sizeof(uint64_t), begin, end,
                              queue->scratch.address};
    void *params[] = {&values.args, &values.begin, &values.end, &values.scratch};
    return device->cuda.cuLaunchKernel(device->kernels[launch->kernel], rt_group_count(end - begin, launch->scratch, queue->scratch.bytes),
                                       1, 1, device->base.module->kernels[launch->kernel].lanes, 1, 1, 0, queue->stream, params, NULL);
}

static CUresult poison(const CudaQueue *queue)
{
    const Cuda *cuda = &device_of(queue)->cuda;
    CUresult result = cuda->cuMemsetD8Async(queue->arena.address, 0xff, queue->arena.bytes, queue->stream);
    return result ? result : cuda->cuMemsetD8Async(queue->scratch.address, 0xff, queue->scratch.bytes, queue->stream);
}

// All launches in the order of their stages; what is on one stream is done one after another.
static CUresult dispatch_all(const CudaQueue *queue, const Recording *recording)
{
    const RtPlan *plan = recording->plan;
    CUresult result = queue->bindings.poison ? poison(queue) : CUDA_SUCCESS;
    for (uint32_t l = 0; l < plan->class->launch_count && !result; l++)
        if (plan->units[l]) result = dispatch(queue, recording, l, 0, plan->units[l]);
    return result;
}

static HdStatus *capture(const CudaQueue *queue, Recording *recording)
{
    const CudaDevice *device = device_of(queue);
    const Cuda *cuda = &device->cuda;
    CUgraph graph = NULL;
    CUresult result = cuda->cuStreamBeginCapture(queue->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result) return cuda_result(device, result, "capturing a step");
    result = dispatch_all(queue, recording);
    CUresult ended = cuda->cuStreamEndCapture(queue->stream, &graph);
    if (!result) result = ended;
    if (!result) result = cuda->cuGraphInstantiate(&recording->graph, graph, 0);
    if (graph) cuda->cuGraphDestroy(graph);
    return cuda_result(device, result, "capturing a step");
}

// ---- running -------------------------------------------------------------------------------------------------

static HdStatus *run(const CudaQueue *queue, Recording *recording)
{
    const CudaDevice *device = device_of(queue);
    if (!recording->graph) HD_TRY(capture(queue, recording));
    CUresult result = device->cuda.cuGraphLaunch(recording->graph, queue->stream);
    if (!result) result = device->cuda.cuStreamSynchronize(queue->stream);
    return cuda_result(device, result, "a step");
}

HdStatus *cuda_step(RtQueue *base, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status)
{
    CudaQueue *queue = (CudaQueue *)base;
    Recording *recording;
    HD_TRY(cuda_enter(device_of(queue)));
    HdStatus *status = bind(queue, class, binding, &recording);
    memset(rt_host(&queue->status), 0, sizeof *out_status);
    if (!status) status = run(queue, recording);
    memcpy(out_status, rt_host(&queue->status), sizeof *out_status);
    cuda_leave(device_of(queue));
    return status;
}

// The graph of a binding stays: launches of it read the same slots.
static HdStatus *launch_one(CudaQueue *queue, const RtClass *class, uint32_t launch, int64_t begin, int64_t end)
{
    const CudaDevice *device = device_of(queue);
    Recording *recording;
    HD_TRY(bind(queue, class, &class->bound, &recording));
    rt_plan_refresh(recording->plan, launch);
    HD_TRY(write_slots(queue, recording));
    if (begin >= end) return NULL;
    CUresult result = dispatch(queue, recording, launch, begin, end);
    if (!result) result = device->cuda.cuStreamSynchronize(queue->stream);
    return cuda_result(device, result, "packing weights");
}

HdStatus *cuda_launch(RtQueue *base, const RtClass *class, uint32_t launch, int64_t begin, int64_t end)
{
    CudaQueue *queue = (CudaQueue *)base;
    HD_TRY(cuda_enter(device_of(queue)));
    HdStatus *status = launch_one(queue, class, launch, begin, end);
    cuda_leave(device_of(queue));
    return status;
}
