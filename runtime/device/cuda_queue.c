// SPDX-License-Identifier: Apache-2.0
// The steps of a session on a CUDA device: a shape is captured as a graph.
#include "runtime/device/cuda.h"
#include "runtime/device/gpu_queue.h"

typedef struct CudaQueue { GpuQueue gpu; CUstream stream; } CudaQueue;

static CudaDevice *device_of(const GpuQueue *queue) { return (CudaDevice *)queue->base.device; }
static CUstream stream_of(const GpuQueue *queue) { return ((const CudaQueue *)queue)->stream; }

static HdStatus *open(GpuQueue *queue)
{
    HD_TRY(cuda_enter(device_of(queue)));
    HdStatus *status = cuda_stream(device_of(queue), &((CudaQueue *)queue)->stream);
    cuda_leave(device_of(queue));
    return status;
}

static void close(GpuQueue *queue)
{
    const CudaDevice *device = device_of(queue);
    if (!stream_of(queue) || !cuda_enter_to_free(device)) return;
    device->cuda.cuStreamDestroy(stream_of(queue));
    cuda_leave(device);
}

// ---- capturing -----------------------------------------------------------------------------------------------

static CUresult dispatch(const GpuQueue *queue, const GpuShape *shape, uint32_t launch, int64_t begin, int64_t end)
{
    const CudaDevice *device = device_of(queue);
    uint32_t kernel = shape->plan->class->launches[launch].kernel;
    HeddleGpuLaunch values;
    uint32_t groups = gpu_dispatch(queue, shape, launch, begin, end, &values);
    void *params[] = {&values.args, &values.begin, &values.end, &values.scratch};
    return device->cuda.cuLaunchKernel(device->kernels[kernel], groups, 1, 1, device->gpu.base.module->kernels[kernel].lanes, 1, 1, 0,
                                       stream_of(queue), params, NULL);
}

static CUresult poison(const GpuQueue *queue)
{
    const Cuda *cuda = &device_of(queue)->cuda;
    CUresult result = cuda->cuMemsetD8Async(queue->arena.address, 0xff, queue->arena.bytes, stream_of(queue));
    return result ? result : cuda->cuMemsetD8Async(queue->scratch.address, 0xff, queue->scratch.bytes, stream_of(queue));
}

// All launches in the order of their stages; what is on one stream is done one after another.
static CUresult dispatch_all(const GpuQueue *queue, const GpuShape *shape)
{
    const RtPlan *plan = shape->plan;
    CUresult result = queue->bindings.poison ? poison(queue) : CUDA_SUCCESS;
    for (uint32_t l = 0; l < plan->class->launch_count && !result; l++)
        if (plan->units[l]) result = dispatch(queue, shape, l, 0, plan->units[l]);
    return result;
}

static CUresult capture(const GpuQueue *queue, GpuShape *shape)
{
    const Cuda *cuda = &device_of(queue)->cuda;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    CUresult result = cuda->cuStreamBeginCapture(stream_of(queue), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result) return result;
    result = dispatch_all(queue, shape);
    CUresult ended = cuda->cuStreamEndCapture(stream_of(queue), &graph);
    if (!result) result = ended;
    if (!result) result = cuda->cuGraphInstantiate(&exec, graph, 0);
    if (graph) cuda->cuGraphDestroy(graph);
    shape->recorded = exec;
    return result;
}

static HdStatus *record(GpuQueue *queue, GpuShape *shape)
{
    const CudaDevice *device = device_of(queue);
    HD_TRY(cuda_enter(device));
    CUresult result = capture(queue, shape);
    cuda_leave(device);
    return cuda_result(device, result, "capturing a step");
}

static void forget(GpuQueue *queue, GpuShape *shape)
{
    const CudaDevice *device = device_of(queue);
    if (!shape->recorded || !cuda_enter_to_free(device)) return;
    device->cuda.cuGraphExecDestroy(shape->recorded);
    cuda_leave(device);
}

// ---- running -------------------------------------------------------------------------------------------------

static HdStatus *run(GpuQueue *queue, const GpuShape *shape)
{
    const CudaDevice *device = device_of(queue);
    HD_TRY(cuda_enter(device));
    CUresult result = device->cuda.cuGraphLaunch(shape->recorded, stream_of(queue));
    if (!result) result = device->cuda.cuStreamSynchronize(stream_of(queue));
    cuda_leave(device);
    return cuda_result(device, result, "a step");
}

static HdStatus *run_one(GpuQueue *queue, const GpuShape *shape, uint32_t launch, int64_t begin, int64_t end)
{
    const CudaDevice *device = device_of(queue);
    HD_TRY(cuda_enter(device));
    CUresult result = dispatch(queue, shape, launch, begin, end);
    if (!result) result = device->cuda.cuStreamSynchronize(stream_of(queue));
    cuda_leave(device);
    return cuda_result(device, result, "packing weights");
}

// Kernels read their arguments from the device's own memory, where that is fast.
static const GpuQueueType type = {RT_PLAIN, sizeof(CudaQueue), open, close, record, forget, run, run_one};

HdStatus *cuda_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes, RtQueue **out_queue)
{
    return gpu_queue_new(&type, device, bindings, arena_bytes, scratch_bytes, out_queue);
}
