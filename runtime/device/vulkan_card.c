// SPDX-License-Identifier: Apache-2.0
// Physical devices: what they are, what they lack, and which of them is taken.
#include "runtime/device/facts.h"
#include "runtime/device/vulkan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; size_t offset; } needed[] = {
#define VULKAN_FEATURE(structure, name) {#name, offsetof(VulkanFeatures, structure.name)},
#include "runtime/device/vulkan_features.def"
#undef VULKAN_FEATURE
};

static VkBool32 *feature(VulkanFeatures *features, size_t index) { return (VkBool32 *)(void *)((char *)features + needed[index].offset); }

static void chain(VulkanFeatures *features)
{
    *features = (VulkanFeatures){.base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                 .v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                 .v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    features->base.pNext = &features->v11;
    features->v11.pNext = &features->v12;
}

void vulkan_needed_features(VulkanFeatures *out_features)
{
    chain(out_features);
    for (size_t i = 0; i < HD_COUNT(needed); i++) *feature(out_features, i) = VK_TRUE;
}

// ---- one card ------------------------------------------------------------------------------------------------

static void append(char *list, size_t size, const char *between, const char *text)
{
    size_t len = strlen(list);
    snprintf(list + len, size - len, "%s%s", len ? between : "", text);
}

static void add_lack(VulkanCard *card, const char *text) { append(card->lacks, sizeof card->lacks, ", ", text); }

static void find_lacks(const Vulkan *vulkan, VulkanCard *card)
{
    VulkanFeatures features;
    chain(&features);
    vulkan->vkGetPhysicalDeviceFeatures2(card->handle, &features.base);
    for (size_t i = 0; i < HD_COUNT(needed); i++)
        if (*feature(&features, i)) append(card->features, sizeof card->features, " ", needed[i].name);
        else add_lack(card, needed[i].name);
}

// A family of queues that computes; one that draws nothing where there is one, so that the screen stays fluent.
static bool find_family(const Vulkan *vulkan, VulkanCard *card)
{
    uint32_t count = 0;
    bool found = false;
    vulkan->vkGetPhysicalDeviceQueueFamilyProperties(card->handle, &count, NULL);
    VkQueueFamilyProperties *families = hd_xcalloc(count, sizeof *families);
    vulkan->vkGetPhysicalDeviceQueueFamilyProperties(card->handle, &count, families);
    for (uint32_t i = 0; i < count; i++) {
        VkQueueFlags flags = families[i].queueFlags;
        if (!(flags & VK_QUEUE_COMPUTE_BIT) || (found && (flags & VK_QUEUE_GRAPHICS_BIT))) continue;
        card->family = i;
        found = true;
        if (!(flags & VK_QUEUE_GRAPHICS_BIT)) break;
    }
    free(families);
    return found;
}

static void find_memory(const Vulkan *vulkan, VulkanCard *card)
{
    vulkan->vkGetPhysicalDeviceMemoryProperties(card->handle, &card->memory);
    for (uint32_t i = 0; i < card->memory.memoryHeapCount; i++)
        if (card->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            card->memory_bytes = HD_MAX(card->memory_bytes, card->memory.memoryHeaps[i].size);
}

// What only Vulkan 1.2 tells.
static void describe_1_2(const Vulkan *vulkan, VulkanCard *card)
{
    VkPhysicalDeviceVulkan12Properties v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES};
    VkPhysicalDeviceVulkan11Properties v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, .pNext = &v12};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &v11};
    vulkan->vkGetPhysicalDeviceProperties2(card->handle, &properties);
    card->largest_allocation = v11.maxMemoryAllocationSize;
    snprintf(card->driver, sizeof card->driver, "%s%s%s", v12.driverName, v12.driverInfo[0] ? " " : "", v12.driverInfo);
    find_lacks(vulkan, card);
}

static void describe(const Vulkan *vulkan, VulkanCard *card)
{
    VkPhysicalDeviceProperties properties;
    vulkan->vkGetPhysicalDeviceProperties(card->handle, &properties);
    snprintf(card->name, sizeof card->name, "%s", properties.deviceName);
    card->type = properties.deviceType;
    card->most_lanes = HD_MIN(properties.limits.maxComputeWorkGroupInvocations, properties.limits.maxComputeWorkGroupSize[0]);
    card->limits = properties.limits;
    card->api_version = properties.apiVersion;
    find_memory(vulkan, card);
    if (properties.apiVersion >= VK_API_VERSION_1_2) describe_1_2(vulkan, card);
    else add_lack(card, "Vulkan 1.2");
    if (!find_family(vulkan, card)) add_lack(card, "a queue for compute");
}

const char *vulkan_card_kind(const VulkanCard *card)
{
    switch (card->type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return "discrete GPU";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return "integrated GPU";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return "virtual GPU";
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return "software";
    default: return "other";
    }
}

HdStatus *vulkan_cards(const Vulkan *vulkan, VulkanCard **out_cards, uint32_t *out_count)
{
    uint32_t count = 0;
    vulkan->vkEnumeratePhysicalDevices(vulkan->instance, &count, NULL);
    VkPhysicalDevice *handles = hd_xcalloc(count, sizeof(VkPhysicalDevice));
    VkResult result = vulkan->vkEnumeratePhysicalDevices(vulkan->instance, &count, handles);
    if (result < 0) {
        free(handles);
        return hd_error(HD_UNSUPPORTED, "Vulkan devices cannot be listed: vkEnumeratePhysicalDevices says %d", (int)result);
    }
    VulkanCard *cards = hd_xcalloc(count, sizeof *cards);
    for (uint32_t i = 0; i < count; i++) {
        cards[i].handle = handles[i];
        cards[i].number = i;
        describe(vulkan, &cards[i]);
    }
    free(handles);
    *out_cards = cards;
    *out_count = count;
    return NULL;
}

// ---- choosing ------------------------------------------------------------------------------------------------

typedef struct Cards { VulkanCard *list; uint32_t count; } Cards;

static HdStatus *none_fits(const Cards *cards)
{
    HdBuf text = {0};
    if (!cards->count) return hd_error(HD_NOT_FOUND, "no Vulkan device: the drivers that are installed find none on this machine");
    for (uint32_t i = 0; i < cards->count; i++)
        hd_buf_printf(&text, "%s%s lacks %s", i ? "; " : "", cards->list[i].name, cards->list[i].lacks);
    HdStatus *status = hd_error(HD_MISMATCH, "no Vulkan device has what is needed: %s", text.data);
    hd_buf_free(&text);
    return status;
}

static int rank(const VulkanCard *card)
{
    switch (card->type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 4;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 3;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 0;
    default: return 1;
    }
}

static HdStatus *best(const Cards *cards, VulkanCard *out_card)
{
    const VulkanCard *found = NULL;
    for (uint32_t i = 0; i < cards->count; i++)
        if (!cards->list[i].lacks[0] && (!found || rank(&cards->list[i]) > rank(found))) found = &cards->list[i];
    if (!found) return none_fits(cards);
    *out_card = *found;
    return NULL;
}

static HdStatus *named(const Cards *cards, const char *which, const VulkanCard **out_card)
{
    uint32_t index;
    const char **names = hd_xcalloc(cards->count, sizeof *names);
    for (uint32_t i = 0; i < cards->count; i++) names[i] = cards->list[i].name;
    HdStatus *status = rt_device_named(&(RtDeviceNames){RT_KIND_VULKAN, names, cards->count}, which, &index);
    free(names);
    if (!status) *out_card = &cards->list[index];
    return status;
}

static HdStatus *pick(const Cards *cards, const char *which, VulkanCard *out_card)
{
    const VulkanCard *found;
    if (!which) return best(cards, out_card);
    HD_TRY(named(cards, which, &found));
    if (found->lacks[0]) return hd_error(HD_MISMATCH, "device %" PRIu32 ", %s, lacks %s", found->number, found->name, found->lacks);
    *out_card = *found;
    return NULL;
}

HdStatus *vulkan_pick(const Vulkan *vulkan, const char *which, VulkanCard *out_card)
{
    Cards cards;
    HD_TRY(vulkan_cards(vulkan, &cards.list, &cards.count));
    HdStatus *status = pick(&cards, which, out_card);
    free(cards.list);
    return status;
}
