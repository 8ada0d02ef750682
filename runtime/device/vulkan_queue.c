// SPDX-License-Identifier: Apache-2.0
// The steps of a session on a Vulkan device: a shape is recorded as one or several command buffers. Drivers end what takes a GPU longer than
// some two seconds (that of a screen, above all), so no command buffer may hold more than a slow device does in a part of that.
#include "runtime/device/vulkan.h"
#include "runtime/device/gpu_queue.h"

#include <stdlib.h>

typedef struct VulkanQueue { GpuQueue gpu; VkCommandPool pool; VkFence fence; } VulkanQueue;

typedef struct Recording {
    HD_VEC(VkCommandBuffer) parts;
    double cost;                     // of the last part until now
    int32_t stage;                   // of the launches since the last barrier, -1: none
} Recording;

static VulkanDevice *device_of(const GpuQueue *queue) { return (VulkanDevice *)queue->base.device; }

static HdStatus *open(GpuQueue *base)
{
    VulkanQueue *queue = (VulkanQueue *)base;
    HD_TRY(vulkan_command_pool(device_of(base), &queue->pool));
    return vulkan_fence(device_of(base), &queue->fence);
}

static void close(GpuQueue *base)
{
    const VulkanQueue *queue = (const VulkanQueue *)base;
    const VulkanDevice *device = device_of(base);
    device->vkDestroyFence(device->device, queue->fence, NULL);
    device->vkDestroyCommandPool(device->device, queue->pool, NULL);
}

// ---- recording -----------------------------------------------------------------------------------------------

static void dispatch(const GpuQueue *queue, const GpuShape *shape, VkCommandBuffer commands, uint32_t launch, int64_t begin, int64_t end)
{
    const VulkanDevice *device = device_of(queue);
    HeddleGpuLaunch values;
    uint32_t groups = gpu_dispatch(queue, shape, launch, begin, end, &values);
    device->vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->pipelines[shape->plan->class->launches[launch].kernel]);
    device->vkCmdPushConstants(commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof values, &values);
    device->vkCmdDispatch(commands, groups, 1, 1);
}

static void poison(const GpuQueue *queue, VkCommandBuffer commands)
{
    const VulkanDevice *device = device_of(queue);
    device->vkCmdFillBuffer(commands, vulkan_buffer(&queue->arena), 0, VK_WHOLE_SIZE, UINT32_MAX);
    device->vkCmdFillBuffer(commands, vulkan_buffer(&queue->scratch), 0, VK_WHOLE_SIZE, UINT32_MAX);
    vulkan_barrier(device, commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
}

static VkCommandBuffer last_part(const Recording *recording) { return recording->parts.data[recording->parts.len - 1]; }

static HdStatus *begin_part(const GpuQueue *queue, Recording *recording)
{
    VulkanDevice *device = device_of(queue);
    VkCommandBuffer commands;
    HD_TRY(vulkan_command_buffer(device, ((const VulkanQueue *)queue)->pool, &commands));
    hd_vec_push(&recording->parts, commands);
    recording->cost = 0;
    recording->stage = -1;
    return vulkan_begin(device, commands);               // which sees all that was done before
}

// Makes room for a piece of this cost in the last part, or begins the next.
static HdStatus *make_room(const GpuQueue *queue, Recording *recording, double cost)
{
    VulkanDevice *device = device_of(queue);
    if (recording->cost > 0 && recording->cost + cost > device->most_cost) {
        HD_TRY(vulkan_end(device, last_part(recording)));
        HD_TRY(begin_part(queue, recording));
    }
    recording->cost += cost;
    return NULL;
}

static void follow_stage(const GpuQueue *queue, Recording *recording, int32_t stage)
{
    if (recording->stage >= 0 && recording->stage != stage)
        vulkan_barrier(device_of(queue), last_part(recording), VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
    recording->stage = stage;
}

// A launch, by itself too long, goes in pieces: units do not know each other.
static HdStatus *record_launch(const GpuQueue *queue, const GpuShape *shape, Recording *recording, uint32_t launch)
{
    const RtPlan *plan = shape->plan;
    double cost = rt_plan_cost(plan, launch);
    int64_t units = plan->units[launch], pieces = (int64_t)HD_MIN(cost / device_of(queue)->most_cost + 1, (double)units);
    for (int64_t i = 0; i < pieces; i++) {
        HD_TRY(make_room(queue, recording, cost / (double)pieces));
        follow_stage(queue, recording, plan->class->launches[launch].stage);
        dispatch(queue, shape, last_part(recording), launch, units / pieces * i, i + 1 < pieces ? units / pieces * (i + 1) : units);
    }
    return NULL;
}

// All stages, a barrier between each two.
static HdStatus *record(GpuQueue *queue, GpuShape *shape)
{
    Recording *recording = shape->recorded = hd_xcalloc(1, sizeof *recording);
    HD_TRY(begin_part(queue, recording));
    if (queue->bindings.poison) poison(queue, last_part(recording));
    for (uint32_t l = 0; l < shape->plan->class->launch_count; l++) HD_TRY(record_launch(queue, shape, recording, l));
    return vulkan_end(device_of(queue), last_part(recording));
}

static void forget(GpuQueue *queue, GpuShape *shape)
{
    const VulkanDevice *device = device_of(queue);
    Recording *recording = shape->recorded;
    if (!recording) return;
    uint32_t count = (uint32_t)recording->parts.len;
    if (count) device->vkFreeCommandBuffers(device->device, ((const VulkanQueue *)queue)->pool, count, recording->parts.data);
    hd_vec_free(&recording->parts);
    free(recording);
}

// ---- running -------------------------------------------------------------------------------------------------

static HdStatus *run(GpuQueue *queue, const GpuShape *shape)
{
    const Recording *recording = shape->recorded;
    return vulkan_run(device_of(queue), recording->parts.data, (uint32_t)recording->parts.len, ((VulkanQueue *)queue)->fence, "a step");
}

static HdStatus *record_one(const GpuQueue *queue, const GpuShape *shape, VkCommandBuffer commands, uint32_t launch, int64_t begin, int64_t end)
{
    HD_TRY(vulkan_begin(device_of(queue), commands));
    dispatch(queue, shape, commands, launch, begin, end);
    return vulkan_end(device_of(queue), commands);
}

static HdStatus *run_one(GpuQueue *base, const GpuShape *shape, uint32_t launch, int64_t begin, int64_t end)
{
    const VulkanQueue *queue = (const VulkanQueue *)base;
    VulkanDevice *device = device_of(base);
    VkCommandBuffer commands;
    HD_TRY(vulkan_command_buffer(device, queue->pool, &commands));
    HdStatus *status = record_one(base, shape, commands, launch, begin, end);
    if (!status) status = vulkan_run(device, &commands, 1, queue->fence, "packing weights");
    device->vkFreeCommandBuffers(device->device, queue->pool, 1, &commands);
    return status;
}

// Kernels read their arguments where the host writes them.
static const GpuQueueType type = {RT_SHARED, sizeof(VulkanQueue), open, close, record, forget, run, run_one};

HdStatus *vulkan_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes, RtQueue **out_queue)
{
    return gpu_queue_new(&type, device, bindings, arena_bytes, scratch_bytes, out_queue);
}
