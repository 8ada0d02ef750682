// SPDX-License-Identifier: Apache-2.0
// Buffers of a Vulkan device. Each is memory of its own. Where the host sees all of the device's memory (integrated and software devices,
// and GPUs whose memory is mapped whole), buffers are mapped.
#include "runtime/device/vulkan.h"

#include <inttypes.h>
#include <stdlib.h>

#include "runtime/runtime.h"

enum { UNIT = 16 };

#define OWN VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define SEEN (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT

typedef struct Memory {
    VkBuffer buffer;
    VkDeviceMemory memory;
    bool cached;                     // mapped, and reading is as fast as writing
} Memory;

static Memory *memory_of(const RtBuffer *buffer) { return buffer->handle; }
VkBuffer vulkan_buffer(const RtBuffer *buffer) { return memory_of(buffer)->buffer; }

// ---- types of memory -----------------------------------------------------------------------------------------

static VkMemoryPropertyFlags flags_of(const VulkanDevice *device, uint32_t type) { return device->card.memory.memoryTypes[type].propertyFlags; }

// Appends the types that have all of these properties and are not there yet.
static void add_types(const VulkanDevice *device, VkMemoryPropertyFlags flags, VulkanTypes *types)
{
    for (uint32_t i = 0; i < device->card.memory.memoryTypeCount; i++) {
        bool there = false;
        for (uint32_t k = 0; k < types->count; k++) there = there || types->type[k] == i;
        if (!there && (flags_of(device, i) & flags) == flags) types->type[types->count++] = i;
    }
}

static bool sees_all(const VulkanDevice *device)
{
    const VkPhysicalDeviceMemoryProperties *memory = &device->card.memory;
    if (vulkan_env("HEDDLE_VULKAN_STAGING")) return false;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++)
        if ((flags_of(device, i) & (OWN | SEEN)) == (OWN | SEEN)
            && memory->memoryHeaps[memory->memoryTypes[i].heapIndex].size == device->card.memory_bytes)
            return true;
    return false;
}

void vulkan_memory_types(VulkanDevice *device)
{
    VulkanTypes *types = device->types;
    device->direct = sees_all(device);
    if (device->direct) add_types(device, OWN | SEEN | CACHED, &types[GPU_OWN]);
    if (device->direct) add_types(device, OWN | SEEN, &types[GPU_OWN]);
    add_types(device, OWN, &types[GPU_OWN]);
    add_types(device, OWN | SEEN, &types[GPU_SHARED]);
    add_types(device, SEEN, &types[GPU_SHARED]);
    add_types(device, SEEN | CACHED, &types[GPU_STAGING]);
    add_types(device, SEEN, &types[GPU_STAGING]);
}

// ---- allocation ----------------------------------------------------------------------------------------------

static HdStatus *no_memory(const VulkanDevice *device, const char *what, uint64_t bytes)
{
    char size[HD_SIZE_TEXT], has[HD_SIZE_TEXT];
    bool too_large = bytes > device->card.largest_allocation;
    hd_size_text(bytes, size);
    hd_size_text(too_large ? device->card.largest_allocation : device->card.memory_bytes, has);
    return hd_error(HD_NO_MEMORY, "device %s: no memory for %s: %" PRIu64 " bytes (%s) asked for, %s %s%s", device->card.name, what, bytes, size,
                    too_large ? "its driver gives at most" : "it has", has, too_large ? " at once" : " in all, some of it in use");
}

static VkResult create_buffer(VulkanDevice *device, uint64_t bytes, VkBuffer *out_buffer)
{
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = bytes,
                                     .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT
                                         | VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT};
    return device->vkCreateBuffer(device->device, &info, NULL, out_buffer);
}

// From the first type that has room.
static VkResult allocate(VulkanDevice *device, const VulkanTypes *types, Memory *memory, uint32_t *out_type)
{
    VkMemoryRequirements need;
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    device->vkGetBufferMemoryRequirements(device->device, memory->buffer, &need);
    for (uint32_t i = 0; i < types->count && result == VK_ERROR_OUT_OF_DEVICE_MEMORY; i++) {
        const VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &flags, .allocationSize = need.size,
                                           .memoryTypeIndex = types->type[i]};
        *out_type = types->type[i];
        if (!(need.memoryTypeBits >> types->type[i] & 1)) continue;
        if (need.size > device->card.memory.memoryHeaps[device->card.memory.memoryTypes[types->type[i]].heapIndex].size) continue;
        result = device->vkAllocateMemory(device->device, &info, NULL, &memory->memory);
    }
    return result;
}

// Memory, address and mapping of a buffer that is only a handle so far.
static VkResult fill_in(VulkanDevice *device, GpuPlace place, RtBuffer *buffer)
{
    Memory *memory = memory_of(buffer);
    uint32_t type = 0;
    VkResult result = create_buffer(device, buffer->bytes, &memory->buffer);
    if (!result) result = allocate(device, &device->types[place], memory, &type);
    if (!result) result = device->vkBindBufferMemory(device->device, memory->buffer, memory->memory, 0);
    if (result) return result;
    const VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = memory->buffer};
    buffer->address = device->vkGetBufferDeviceAddress(device->device, &info);
    if ((place == GPU_OWN && !device->direct) || (flags_of(device, type) & SEEN) != SEEN) return VK_SUCCESS;
    memory->cached = flags_of(device, type) & CACHED;
    return device->vkMapMemory(device->device, memory->memory, 0, VK_WHOLE_SIZE, 0, &buffer->host);
}

static void vulkan_free(RtDevice *base, RtBuffer *buffer)
{
    VulkanDevice *device = (VulkanDevice *)base;
    Memory *memory = memory_of(buffer);
    if (!memory) return;
    device->vkDestroyBuffer(device->device, memory->buffer, NULL);
    device->vkFreeMemory(device->device, memory->memory, NULL);   // which also unmaps it
    free(memory);
    *buffer = (RtBuffer){0};
}

static HdStatus *make(GpuDevice *base, GpuPlace place, uint64_t bytes, const char *what, RtBuffer *out_buffer)
{
    VulkanDevice *device = (VulkanDevice *)base;
    if (bytes > device->card.largest_allocation) return no_memory(device, what, bytes);
    RtBuffer buffer = {.bytes = hd_align_up(HD_MAX(bytes, 1), UNIT), .handle = hd_xcalloc(1, sizeof(Memory))};
    VkResult result = fill_in(device, place, &buffer);
    HdStatus *status = vulkan_result(device, result, what);
    if (!status) {
        *out_buffer = buffer;
        return NULL;
    }
    vulkan_free(&base->base, &buffer);
    if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY) return status;
    hd_status_free(status);
    return no_memory(device, what, bytes);
}

// ---- moving bytes --------------------------------------------------------------------------------------------

// A command buffer of its own.
static HdStatus *move(GpuDevice *base, const GpuMove *move)
{
    VulkanDevice *device = (VulkanDevice *)base;
    const VkBufferCopy region = {move->from_offset, move->to_offset, move->bytes};
    HD_TRY(vulkan_begin(device, device->commands));
    if (move->from) device->vkCmdCopyBuffer(device->commands, vulkan_buffer(move->from), vulkan_buffer(move->to), 1, &region);
    else device->vkCmdFillBuffer(device->commands, vulkan_buffer(move->to), move->to_offset, move->bytes, 0);
    HD_TRY(vulkan_end(device, device->commands));
    return vulkan_run(device, &device->commands, 1, device->fence, "a copy");
}

static const void *vulkan_view(const RtDevice *base, const RtBuffer *buffer, uint64_t offset)
{
    (void)base;
    return rt_host(buffer) && memory_of(buffer)->cached ? gpu_seen(buffer, offset) : NULL;
}

static uint64_t vulkan_block_bytes(const RtDevice *base)
{
    return HD_MIN(((const VulkanDevice *)base)->card.largest_allocation, (uint64_t)GPU_BLOCK_BYTES);
}

const GpuMemoryType vulkan_memory = {
    {false, gpu_alloc, vulkan_free, gpu_zero, gpu_write, gpu_read, gpu_copy, vulkan_view, vulkan_block_bytes}, make, move};
