// SPDX-License-Identifier: Apache-2.0
// The steps of a session on a Vulkan device. The launches of a class are recorded once per T, S, C, R and run as often as these stay;
// everything else that changes between steps is in buffers that the host writes.
#include "runtime/device/vulkan.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

// A class of the schedule, bound.
typedef struct Recording {
    RtPlan *plan;                    // NULL: not used yet
    RtBuffer slots;                  // the plan's argument slots
    VkCommandBuffer commands;
    bool is_recorded;                // for the plan's binding
} Recording;

typedef struct VulkanQueue {
    RtQueue base;
    RtBindings bindings;             // of one thread
    RtBuffer arena, scratch, status;
    VkCommandPool pool;
    VkFence fence;
    Recording *recordings;           // per class
} VulkanQueue;

static VulkanDevice *device_of(const VulkanQueue *queue) { return (VulkanDevice *)queue->base.device; }

// ---- queues --------------------------------------------------------------------------------------------------

static HdStatus *create(VulkanQueue *queue, uint64_t arena_bytes, uint32_t scratch_bytes)
{
    VulkanDevice *device = device_of(queue);
    HD_TRY(vulkan_memory.alloc(&device->base, arena_bytes, RT_PLAIN, "intermediate values", &queue->arena));
    HD_TRY(vulkan_memory.alloc(&device->base, rt_group_scratch(scratch_bytes), RT_PLAIN, "scratch of the work groups", &queue->scratch));
    HD_TRY(vulkan_memory.alloc(&device->base, sizeof(HeddleStepStatus), RT_SHARED, "the status of a step", &queue->status));
    HD_TRY(vulkan_command_pool(device, &queue->pool));
    return vulkan_fence(device, &queue->fence);
}

HdStatus *vulkan_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                           RtQueue **out_queue)
{
    VulkanQueue *queue = hd_xcalloc(1, sizeof *queue);
    queue->base.device = device;
    queue->bindings = *bindings;
    queue->bindings.threads = 1;
    queue->recordings = hd_xcalloc(device->module->class_count, sizeof *queue->recordings);
    HdStatus *status = create(queue, arena_bytes, scratch_bytes);
    if (status) vulkan_queue_free(&queue->base);
    else *out_queue = &queue->base;
    return status;
}

void vulkan_queue_free(RtQueue *base)
{
    VulkanQueue *queue = (VulkanQueue *)base;
    if (!queue) return;
    VulkanDevice *device = device_of(queue);
    for (uint32_t i = 0; i < base->device->module->class_count; i++) {
        rt_plan_free(queue->recordings[i].plan);
        vulkan_memory.free(base->device, &queue->recordings[i].slots);
    }
    device->vkDestroyFence(device->device, queue->fence, NULL);
    device->vkDestroyCommandPool(device->device, queue->pool, NULL);   // and its command buffers
    vulkan_memory.free(base->device, &queue->status);
    vulkan_memory.free(base->device, &queue->scratch);
    vulkan_memory.free(base->device, &queue->arena);
    free(queue->recordings);
    free(queue);
}

const RtBuffer *vulkan_arena(const RtQueue *queue) { return &((const VulkanQueue *)queue)->arena; }

// ---- binding -------------------------------------------------------------------------------------------------

static HdStatus *first_use(VulkanQueue *queue, const RtClass *class, Recording *recording)
{
    VulkanDevice *device = device_of(queue);
    const HeddleModule *module = device->base.module;
    HD_TRY(vulkan_memory.alloc(&device->base, class->arg_slots * sizeof(uint64_t), RT_SHARED, "arguments of the kernels",
                               &recording->slots));
    HD_TRY(vulkan_command_buffer(device, queue->pool, &recording->commands));
    return rt_plan_new(module, class, &queue->bindings, queue->arena.address, queue->status.address, &recording->plan);
}

static HdStatus *bind(VulkanQueue *queue, const RtClass *class, const RtBinding *binding, Recording **out_recording)
{
    Recording *recording = &queue->recordings[class - queue->base.device->module->classes];
    if (!recording->plan) HD_TRY(first_use(queue, class, recording));
    RtPlan *plan = recording->plan;
    *out_recording = recording;
    if (plan->is_bound && !memcmp(&plan->binding, binding, sizeof *binding)) return NULL;
    recording->is_recorded = false;
    HD_TRY(rt_plan_bind(plan, binding));
    memcpy(rt_host(&recording->slots), plan->slots, class->arg_slots * sizeof(uint64_t));
    return NULL;
}

// ---- recording -----------------------------------------------------------------------------------------------

static void dispatch(const VulkanQueue *queue, const Recording *recording, uint32_t l, int64_t begin, int64_t end)
{
    const VulkanDevice *device = device_of(queue);
    const RtLaunch *launch = &recording->plan->class->launches[l];
    const HeddleGpuLaunch constants = {recording->slots.address + recording->plan->first_slot[l] * sizeof(uint64_t), begin, end,
                                       queue->scratch.address};
    device->vkCmdBindPipeline(recording->commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->pipelines[launch->kernel]);
    device->vkCmdPushConstants(recording->commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof constants, &constants);
    device->vkCmdDispatch(recording->commands, rt_group_count(end - begin, launch->scratch, queue->scratch.bytes), 1, 1);
}

static void poison(const VulkanQueue *queue, const Recording *recording)
{
    const VulkanDevice *device = device_of(queue);
    device->vkCmdFillBuffer(recording->commands, vulkan_buffer(&queue->arena), 0, VK_WHOLE_SIZE, UINT32_MAX);
    device->vkCmdFillBuffer(recording->commands, vulkan_buffer(&queue->scratch), 0, VK_WHOLE_SIZE, UINT32_MAX);
    vulkan_barrier(device, recording->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
}

// All stages, a barrier between each two.
static HdStatus *record(VulkanQueue *queue, Recording *recording)
{
    VulkanDevice *device = device_of(queue);
    const RtPlan *plan = recording->plan;
    const RtLaunch *launches = plan->class->launches;
    int32_t stage = -1;                                  // of the launches since the last barrier
    HD_TRY(vulkan_begin(device, recording->commands));
    if (queue->bindings.poison) poison(queue, recording);
    for (uint32_t l = 0; l < plan->class->launch_count; l++) {
        if (!plan->units[l]) continue;
        if (stage >= 0 && launches[l].stage != stage)
            vulkan_barrier(device, recording->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
        stage = launches[l].stage;
        dispatch(queue, recording, l, 0, plan->units[l]);
    }
    HD_TRY(vulkan_end(device, recording->commands));
    recording->is_recorded = true;
    return NULL;
}

// ---- running -------------------------------------------------------------------------------------------------

HdStatus *vulkan_step(RtQueue *base, const RtClass *class, const RtBinding *binding, HeddleStepStatus *out_status)
{
    VulkanQueue *queue = (VulkanQueue *)base;
    Recording *recording;
    HD_TRY(bind(queue, class, binding, &recording));
    if (!recording->is_recorded) HD_TRY(record(queue, recording));
    memset(rt_host(&queue->status), 0, sizeof *out_status);
    HD_TRY(vulkan_run(device_of(queue), recording->commands, queue->fence, "a step"));
    memcpy(out_status, rt_host(&queue->status), sizeof *out_status);
    return NULL;
}

HdStatus *vulkan_launch(RtQueue *base, const RtClass *class, uint32_t launch, int64_t begin, int64_t end)
{
    VulkanQueue *queue = (VulkanQueue *)base;
    VulkanDevice *device = device_of(queue);
    Recording *recording;
    HD_TRY(bind(queue, class, &class->bound, &recording));
    rt_plan_refresh(recording->plan, launch);
    memcpy(rt_host(&recording->slots), recording->plan->slots, class->arg_slots * sizeof(uint64_t));
    recording->is_recorded = false;
    if (begin >= end) return NULL;
    HD_TRY(vulkan_begin(device, recording->commands));
    dispatch(queue, recording, launch, begin, end);
    HD_TRY(vulkan_end(device, recording->commands));
    return vulkan_run(device, recording->commands, queue->fence, "packing weights");
}
