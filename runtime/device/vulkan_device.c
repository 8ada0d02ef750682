// SPDX-License-Identifier: Apache-2.0
// The Vulkan device: a logical device with a queue and a pipeline per kernel of the module.
#include "runtime/device/gpu_queue.h"
#include "runtime/device/vulkan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

// Of a submission, in bytes that are moved (rt_plan_cost): a slow device does that in less than half a second, a fast one in about a
// millisecond, beside which submitting costs little.
static const double MOST_COST = 8e9;

// ---- results -------------------------------------------------------------------------------------------------

static HdStatus *failed(const VulkanDevice *device, VkResult result, const char *what)
{
    const char *name = device->card.name;
    switch (result) {
    case VK_ERROR_DEVICE_LOST:
        return hd_error(HD_IO, "device %s was lost: %s did not end (its driver crashed, was reset or took too long); start again", name,
                        what);
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return hd_error(HD_NO_MEMORY, "device %s: no memory for %s", name, what);
    case VK_ERROR_OUT_OF_HOST_MEMORY: return hd_error(HD_NO_MEMORY, "device %s: no host memory for %s", name, what);
    default: return hd_error(HD_IO, "device %s: %s failed (VkResult %d)", name, what, (int)result);
    }
}

HdStatus *vulkan_result(VulkanDevice *device, VkResult result, const char *what)
{
    HdStatus *complaint = vulkan_complaint(&device->vulkan);
    if (complaint) return hd_annotate(complaint, "%s", what);
    return result < 0 ? failed(device, result, what) : NULL;
}

// ---- command buffers -----------------------------------------------------------------------------------------

HdStatus *vulkan_command_pool(VulkanDevice *device, VkCommandPool *out_pool)
{
    const VkCommandPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = device->card.family};
    return vulkan_result(device, device->vkCreateCommandPool(device->device, &info, NULL, out_pool), "a command pool");
}

HdStatus *vulkan_command_buffer(VulkanDevice *device, VkCommandPool pool, VkCommandBuffer *out_commands)
{
    const VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, .commandBufferCount = 1};
    return vulkan_result(device, device->vkAllocateCommandBuffers(device->device, &info, out_commands), "a command buffer");
}

HdStatus *vulkan_fence(VulkanDevice *device, VkFence *out_fence)
{
    const VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return vulkan_result(device, device->vkCreateFence(device->device, &info, NULL, out_fence), "a fence");
}

void vulkan_barrier(const VulkanDevice *device, VkCommandBuffer commands, VkPipelineStageFlags from, VkPipelineStageFlags to)
{
    const VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                                     .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
    device->vkCmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

HdStatus *vulkan_begin(VulkanDevice *device, VkCommandBuffer commands)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    HD_TRY(vulkan_result(device, device->vkBeginCommandBuffer(commands, &info), "recording commands"));
    vulkan_barrier(device, commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT);
    return NULL;
}

HdStatus *vulkan_end(VulkanDevice *device, VkCommandBuffer commands)
{
    vulkan_barrier(device, commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                   VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT);
    return vulkan_result(device, device->vkEndCommandBuffer(commands), "recording commands");
}

// Submissions and waiting for all of them exclude each other.
static VkResult submit(VulkanDevice *device, VkCommandBuffer commands, VkFence fence)
{
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
    pthread_mutex_lock(&device->queue_lock);
    VkResult result = device->vkQueueSubmit(device->queue, 1, &info, fence);
    if (result) device->vkDeviceWaitIdle(device->device);        // what was submitted before is not left running
    pthread_mutex_unlock(&device->queue_lock);
    return result;
}

HdStatus *vulkan_run(VulkanDevice *device, const VkCommandBuffer *commands, uint32_t count, VkFence fence, const char *what)
{
    VkResult result = VK_SUCCESS;
    for (uint32_t i = 0; i < count && !result; i++) result = submit(device, commands[i], i + 1 < count ? VK_NULL_HANDLE : fence);
    if (!result) result = device->vkWaitForFences(device->device, 1, &fence, VK_TRUE, UINT64_MAX);
    if (!result) result = device->vkResetFences(device->device, 1, &fence);
    return vulkan_result(device, result, what);
}

// ---- pipelines -----------------------------------------------------------------------------------------------

static HdStatus *create_layout(VulkanDevice *device)
{
    const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(HeddleGpuLaunch)};
    const VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .pushConstantRangeCount = 1,
                                             .pPushConstantRanges = &range};
    return vulkan_result(device, device->vkCreatePipelineLayout(device->device, &info, NULL, &device->layout), "a pipeline layout");
}

static HdStatus *check_kernel(const VulkanDevice *device, const RtKernel *kernel, const uint8_t *code)
{
    static const uint32_t spirv = 0x07230203;
    if (memcmp(code, &spirv, sizeof spirv)) return hd_error(HD_BAD_DATA, "kernel %s is not SPIR-V", kernel->name);
    if (kernel->lanes > device->card.most_lanes)
        return hd_error(HD_MISMATCH, "kernel %s has work groups of %" PRIu32 " lanes, device %s at most %" PRIu32, kernel->name,
                        kernel->lanes, device->card.name, device->card.most_lanes);
    if (kernel->shared > device->card.limits.maxComputeSharedMemorySize)
        return hd_error(HD_MISMATCH, "kernel %s needs %" PRIu32 " bytes of shared memory, device %s has %" PRIu32, kernel->name,
                        kernel->shared, device->card.name, device->card.limits.maxComputeSharedMemorySize);
    return NULL;
}

static VkResult create_pipeline(VulkanDevice *device, VkShaderModule shader, VkPipeline *out_pipeline)
{
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = shader,
                  .pName = "main"},
        .layout = device->layout};
    return device->vkCreateComputePipelines(device->device, VK_NULL_HANDLE, 1, &info, NULL, out_pipeline);
}

static HdStatus *load_kernel(VulkanDevice *device, uint32_t row)
{
    const HeddleModule *module = device->gpu.base.module;
    const RtKernel *kernel = &module->kernels[row];
    const uint8_t *code = module->object + kernel->offset;
    HD_TRY(check_kernel(device, kernel, code));
    const VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = kernel->bytes,
                                           .pCode = (const uint32_t *)(const void *)code};
    VkShaderModule shader;
    VkResult result = device->vkCreateShaderModule(device->device, &info, NULL, &shader);
    if (!result) {
        result = create_pipeline(device, shader, &device->pipelines[row]);
        device->vkDestroyShaderModule(device->device, shader, NULL);
    }
    return hd_annotate(vulkan_result(device, result, "its pipeline"), "kernel %s", kernel->name);
}

static HdStatus *load_kernels(VulkanDevice *device)
{
    const HeddleModule *module = device->gpu.base.module;
    device->pipelines = hd_xcalloc(module->kernel_count, sizeof *device->pipelines);
    HD_TRY(create_layout(device));
    for (uint32_t i = 0; i < module->kernel_count; i++) HD_TRY(load_kernel(device, i));
    return NULL;
}

// ---- opening -------------------------------------------------------------------------------------------------

static HdStatus *find_device_functions(VulkanDevice *device)
{
#define VK_DEVICE(function)                                                                                                      \
    device->function = (PFN_##function)device->vulkan.vkGetDeviceProcAddr(device->device, #function);                            \
    if (!device->function) return hd_error(HD_UNSUPPORTED, "device %s: its driver has no function " #function, device->card.name);
#include "runtime/device/vulkan_functions.def"
#undef VK_DEVICE
    return NULL;
}

static HdStatus *create_device(VulkanDevice *device)
{
    const float priority = 1;
    VulkanFeatures features;
    vulkan_needed_features(&features);
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = device->card.family,
                                           .queueCount = 1, .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &features.base, .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue};
    VkResult result = device->vulkan.vkCreateDevice(device->card.handle, &info, NULL, &device->device);
    HD_TRY(vulkan_result(device, result, "opening it"));
    HD_TRY(find_device_functions(device));
    device->vkGetDeviceQueue(device->device, device->card.family, 0, &device->queue);
    return NULL;
}

static HdStatus *create(VulkanDevice *device, const char *which)
{
    HD_TRY(vulkan_open(&device->vulkan));
    HD_TRY(vulkan_pick(&device->vulkan, which, &device->card));
    snprintf(device->description, sizeof device->description, "%s, %s", device->card.name, vulkan_card_kind(&device->card));
    HD_TRY(create_device(device));
    vulkan_memory_types(device);
    HD_TRY(vulkan_command_pool(device, &device->pool));
    HD_TRY(vulkan_command_buffer(device, device->pool, &device->commands));
    HD_TRY(vulkan_fence(device, &device->fence));
    return load_kernels(device);
}

static void close_device(VulkanDevice *device)
{
    for (uint32_t i = 0; device->pipelines && i < device->gpu.base.module->kernel_count; i++)
        device->vkDestroyPipeline(device->device, device->pipelines[i], NULL);
    free(device->pipelines);
    vulkan_memory.base.free(&device->gpu.base, &device->gpu.staging);
    device->vkDestroyPipelineLayout(device->device, device->layout, NULL);
    device->vkDestroyFence(device->device, device->fence, NULL);
    device->vkDestroyCommandPool(device->device, device->pool, NULL);
    device->vkDestroyDevice(device->device, NULL);
}

static void device_close(RtDevice *base)
{
    VulkanDevice *device = (VulkanDevice *)base;
    if (!device) return;
    if (device->device && device->vkQueueSubmit) close_device(device);   // the last function that is looked for
    vulkan_close(&device->vulkan);
    pthread_mutex_destroy(&device->queue_lock);
    pthread_mutex_destroy(&device->gpu.transfer_lock);
    free(device);
}

static HdStatus *device_open(const HeddleModule *module, const char *which, RtDevice **out_device)
{
    VulkanDevice *device = hd_xcalloc(1, sizeof *device);
    device->gpu.base = (RtDevice){&rt_device_vulkan, module, device->description};
    device->most_cost = MOST_COST;
    pthread_mutex_init(&device->queue_lock, NULL);
    pthread_mutex_init(&device->gpu.transfer_lock, NULL);
    HdStatus *status = create(device, which);
    if (status) device_close(&device->gpu.base);
    else *out_device = &device->gpu.base;
    return hd_annotate(status, "%s", module->path);
}

const RtDeviceType rt_device_vulkan = {"vulkan", true, &vulkan_memory.base, device_open, device_close, vulkan_queue_new,
                                       gpu_queue_free, gpu_step, gpu_launch, gpu_arena};
