// SPDX-License-Identifier: Apache-2.0
// Inside of the Vulkan device. The driver is found at run time: only the header of Vulkan is needed to build.
//
//   vulkan_loader.c    the loader library and an instance of Vulkan, validation
//   vulkan_card.c      which physical devices there are, what they lack, choosing one
//   vulkan_device.c    a logical device with the pipelines of a module; running a command buffer
//   vulkan_memory.c    buffers, and the way of bytes to and from them (gpu_memory.h)
//   vulkan_queue.c     the steps of a session as recorded command buffers (gpu_queue.h)
//
// Kernels find everything by address (runtime/abi.h): there are no descriptor sets. All work is waited for where it is started.
// Environment: HEDDLE_VULKAN_VALIDATION=1 turns the validation layer on, whose errors make the call fail; HEDDLE_VULKAN_STAGING=1
// treats the device's memory as if the host could not see it.
#ifndef HEDDLE_VULKAN_H
#define HEDDLE_VULKAN_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "runtime/device/gpu_memory.h"

// Is an environment variable set to something but "0"?
bool vulkan_env(const char *name);

// ---- vulkan_loader.c -----------------------------------------------------------------------------------------

// The first complaint of the validation layer since it was last asked; drivers call from threads of theirs.
typedef struct VulkanComplaint { pthread_mutex_t lock; uint32_t count; char text[1024]; } VulkanComplaint;

typedef struct Vulkan {
    void *library;
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
#define VK_GLOBAL(name) PFN_##name name;
#define VK_INSTANCE(name) PFN_##name name;
#define VK_DEBUG(name) PFN_##name name;
#include "runtime/device/vulkan_functions.def"
#undef VK_GLOBAL
#undef VK_INSTANCE
#undef VK_DEBUG
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    VulkanComplaint *complaint;          // NULL: no validation
} Vulkan;

// NOT_FOUND: there is no loader, or no validation layer where it is asked for; one line says what to install.
HD_MUST_USE HdStatus *vulkan_open(Vulkan *out_vulkan);
void vulkan_close(Vulkan *vulkan);       // also of one that did not open
// INTERNAL with the layer's first message, when there is one; forgets it.
HD_MUST_USE HdStatus *vulkan_complaint(Vulkan *vulkan);

// ---- vulkan_card.c -------------------------------------------------------------------------------------------

typedef struct VulkanFeatures {
    VkPhysicalDeviceFeatures2 base;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
} VulkanFeatures;

// A physical device. lacks: "" or the features that it would need, separated by commas.
typedef struct VulkanCard {
    VkPhysicalDevice handle;
    uint32_t number;                     // in the loader's order, that of `heddle devices`
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE], driver[VK_MAX_DRIVER_NAME_SIZE + VK_MAX_DRIVER_INFO_SIZE], lacks[512];
    VkPhysicalDeviceType type;
    uint32_t family;                     // of queues that compute
    uint32_t most_lanes;                 // of a work group
    uint32_t api_version;
    char features[512];                  // those of vulkan_features.def that it has, separated by blanks
    VkPhysicalDeviceLimits limits;
    uint64_t memory_bytes;               // the largest heap of its own
    uint64_t largest_allocation;
    VkPhysicalDeviceMemoryProperties memory;
} VulkanCard;

// Every physical device; the caller frees the array.
HD_MUST_USE HdStatus *vulkan_cards(const Vulkan *vulkan, VulkanCard **out_cards, uint32_t *out_count);
// The one that `which` names by number or a part of its name, NULL: the best. MISMATCH names the device and what it lacks, USAGE lists
// what there is, NOT_FOUND: there is none.
HD_MUST_USE HdStatus *vulkan_pick(const Vulkan *vulkan, const char *which, VulkanCard *out_card);
const char *vulkan_card_kind(const VulkanCard *card);    // "discrete GPU", "software"
// The features that kernels use, all on, as a chain for vkCreateDevice.
void vulkan_needed_features(VulkanFeatures *out_features);

// ---- vulkan_device.c -----------------------------------------------------------------------------------------

enum { VULKAN_MOST_TYPES = 2 * VK_MAX_MEMORY_TYPES };

// Memory types that a buffer may lie in, best first.
typedef struct VulkanTypes { uint32_t count, type[VULKAN_MOST_TYPES]; } VulkanTypes;

typedef struct VulkanDevice {
    GpuDevice gpu;
    Vulkan vulkan;
    VulkanCard card;
    char description[sizeof((VulkanCard *)NULL)->name + 32];
    VkDevice device;
#define VK_DEVICE(name) PFN_##name name;
#include "runtime/device/vulkan_functions.def"
#undef VK_DEVICE
    VkQueue queue;
    pthread_mutex_t queue_lock;          // submissions of all sessions go to one queue
    VkPipelineLayout layout;
    VkPipeline *pipelines;               // per row of the kernel table
    double most_cost;                    // of a submission (rt_plan_cost)
    // memory
    bool direct;                         // the host sees all memory of the device
    VulkanTypes types[GPU_PLACE_COUNT];
    VkCommandPool pool;                  // of what is moved (gpu.transfer_lock), like these two:
    VkCommandBuffer commands;
    VkFence fence;
} VulkanDevice;

// The error of a call; NULL for success, unless the validation layer has complained. `what`: what was being done.
HD_MUST_USE HdStatus *vulkan_result(VulkanDevice *device, VkResult result, const char *what);
HD_MUST_USE HdStatus *vulkan_command_pool(VulkanDevice *device, VkCommandPool *out_pool);
HD_MUST_USE HdStatus *vulkan_command_buffer(VulkanDevice *device, VkCommandPool pool, VkCommandBuffer *out_commands);
HD_MUST_USE HdStatus *vulkan_fence(VulkanDevice *device, VkFence *out_fence);
// Begins recording; everything done before is seen by what is recorded.
HD_MUST_USE HdStatus *vulkan_begin(VulkanDevice *device, VkCommandBuffer commands);
// Ends it; the host sees everything done.
HD_MUST_USE HdStatus *vulkan_end(VulkanDevice *device, VkCommandBuffer commands);
// What was done in the stages `from` is seen by the stages `to`.
void vulkan_barrier(const VulkanDevice *device, VkCommandBuffer commands, VkPipelineStageFlags from, VkPipelineStageFlags to);
// Runs recorded commands, each as a submission of its own and in this order, and waits for them.
HD_MUST_USE HdStatus *vulkan_run(VulkanDevice *device, const VkCommandBuffer *commands, uint32_t count, VkFence fence, const char *what);

// ---- vulkan_memory.c -----------------------------------------------------------------------------------------

extern const GpuMemoryType vulkan_memory;
// Sorts the card's memory types by what they are good for.
void vulkan_memory_types(VulkanDevice *device);
VkBuffer vulkan_buffer(const RtBuffer *buffer);

// ---- vulkan_queue.c ------------------------------------------------------------------------------------------

HD_MUST_USE HdStatus *vulkan_queue_new(RtDevice *device, const RtBindings *bindings, uint64_t arena_bytes, uint32_t scratch_bytes,
                                       RtQueue **out_queue);   // the rest of it is in gpu_queue.c

#endif
