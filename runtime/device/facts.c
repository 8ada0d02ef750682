// SPDX-License-Identifier: Apache-2.0
// What this machine has to run modules on: its processor, and every Vulkan and CUDA device with what it lacks.
#include "runtime/device/facts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu_features.h"
#include "runtime/device/cuda.h"
#include "runtime/device/vulkan.h"
#include "runtime/runtime.h"

typedef HD_VEC(RtFacts) List;

static const char *const kinds[RT_KIND_COUNT] = {"cpu", "vulkan", "cuda"};
const char *rt_kind_name(RtDeviceKind kind) { return kinds[kind]; }

static void put_text(char *to, size_t size, const char *text) { snprintf(to, size, "%s", text); }
#define PUT(field, text) put_text((field), sizeof(field), (text))

static void add_word(char *words, size_t size, const char *word)
{
    size_t len = strlen(words);
    snprintf(words + len, size - len, "%s%s", len ? " " : "", word);
}

// ---- each type -----------------------------------------------------------------------------------------------

static void find_cpu(List *list)
{
    RtFacts facts = {.type = RT_KIND_CPU, .number = -1, .kind = "processor", .memory_bytes = heddle_memory_available()};
    hd_cpu_name(facts.name, sizeof facts.name);
    for (size_t i = 0; hd_cpu_feature(i); i++)
        if (hd_cpu_gains(hd_cpu_feature(i))) add_word(facts.features, sizeof facts.features, hd_cpu_feature(i));
    hd_vec_push(list, facts);
}

static void add_vulkan(List *list, const VulkanCard *card)
{
    const VkPhysicalDeviceLimits *limits = &card->limits;
    RtFacts facts = {.type = RT_KIND_VULKAN, .number = (int32_t)card->number, .memory_bytes = card->memory_bytes,
                     .group_lanes = card->most_lanes, .groups = limits->maxComputeWorkGroupCount[0],
                     .shared_bytes = limits->maxComputeSharedMemorySize, .push_bytes = limits->maxPushConstantsSize,
                     .allocation_bytes = card->largest_allocation};
    PUT(facts.name, card->name);
    PUT(facts.kind, vulkan_card_kind(card));
    PUT(facts.driver, card->driver);
    PUT(facts.lacks, card->lacks);
    PUT(facts.features, card->features);
    snprintf(facts.api_version, sizeof facts.api_version, "%u.%u.%u", VK_API_VERSION_MAJOR(card->api_version),
             VK_API_VERSION_MINOR(card->api_version), VK_API_VERSION_PATCH(card->api_version));
    hd_vec_push(list, facts);
}

static HdStatus *find_vulkan(List *list)
{
    Vulkan vulkan;
    VulkanCard *cards = NULL;
    uint32_t count = 0;
    HdStatus *status = vulkan_open(&vulkan);
    if (!status) status = vulkan_cards(&vulkan, &cards, &count);
    if (!status && !count) status = hd_error(HD_NOT_FOUND, "no Vulkan device: the drivers that are installed find none on this machine");
    for (uint32_t i = 0; i < count; i++) add_vulkan(list, &cards[i]);
    free(cards);
    vulkan_close(&vulkan);
    return status;
}

static void add_cuda(List *list, const Cuda *cuda, const CudaCard *card)
{
    RtFacts facts = {.type = RT_KIND_CUDA, .number = (int32_t)card->number, .memory_bytes = card->memory_bytes,
                     .shared_bytes = card->shared_bytes, .capability = (uint64_t)card->capability};
    PUT(facts.name, card->name);
    PUT(facts.kind, cuda_card_kind(card));
    snprintf(facts.driver, sizeof facts.driver, "sm_%d, driver of CUDA %d.%d", card->capability, cuda->version / 1000, cuda->version / 10 % 100);
    if (card->capability < CUDA_OLDEST_CAPABILITY) PUT(facts.lacks, "compute capability 7.5");
    hd_vec_push(list, facts);
}

static HdStatus *find_cuda(List *list)
{
    Cuda cuda;
    CudaCard *cards = NULL;
    uint32_t count = 0;
    HdStatus *status = cuda_open(&cuda);
    if (!status) status = cuda_cards(&cuda, &cards, &count);
    for (uint32_t i = 0; i < count; i++) add_cuda(list, &cuda, &cards[i]);
    free(cards);
    return status;
}

// ---- all of them ---------------------------------------------------------------------------------------------

static void find_all(List *list, RtDeviceKind type, HdStatus *(*find)(List *list))
{
    HdStatus *status = find(list);
    RtFacts none = {.type = type, .number = -1};
    if (status) PUT(none.lacks, hd_status_message(status));
    if (status) hd_vec_push(list, none);
    hd_status_free(status);
}

void rt_facts_all(RtFacts **out_list, uint32_t *out_count)
{
    List list = {0};
    find_cpu(&list);
    find_all(&list, RT_KIND_VULKAN, find_vulkan);
    find_all(&list, RT_KIND_CUDA, find_cuda);
    *out_list = list.data;
    *out_count = (uint32_t)list.len;
}

// The texts are those of the facts, which live as long as the visit.
void heddle_devices(HeddleDeviceVisit visit, void *user)
{
    RtFacts *list;
    uint32_t count;
    rt_facts_all(&list, &count);
    for (uint32_t i = 0; i < count; i++)
        visit(user, &(HeddleDeviceInfo){rt_kind_name(list[i].type), list[i].number, list[i].name, list[i].kind, list[i].driver,
                                        list[i].memory_bytes, list[i].lacks});
    free(list);
}

// ---- one of them ---------------------------------------------------------------------------------------------

static bool is_there(const RtFacts *facts) { return facts->name[0] != 0; }

// "cuda", "cuda:1", "1", or a part of the name.
static bool is_meant(const RtFacts *facts, const char *which)
{
    const char *type = rt_kind_name(facts->type);
    size_t len = strlen(type);
    bool has_type = !strncasecmp(which, type, len) && (!which[len] || which[len] == ':');
    const char *rest = has_type ? which + len + (which[len] == ':') : which;
    uint64_t number;
    if (has_type && !*rest) return true;
    if (hd_parse_u64(hd_str(rest), &number)) return facts->number >= 0 && (uint64_t)facts->number == number;
    return is_there(facts) && strcasestr(facts->name, rest);
}

static HdStatus *unclear(const RtFacts *list, uint32_t count, const char *which, const char *why)
{
    HdBuf text = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (!is_there(&list[i])) continue;
        hd_buf_printf(&text, "%s%s", text.len ? ", " : "", rt_kind_name(list[i].type));
        if (list[i].number >= 0) hd_buf_printf(&text, ":%" PRId32, list[i].number);
        hd_buf_printf(&text, " %s", list[i].name);
    }
    HdStatus *status = hd_error(HD_USAGE, "device '%s': %s; devices: %s", which, why, text.len ? text.data : "none");
    hd_buf_free(&text);
    return status;
}

static const RtFacts *first(const RtFacts *list, uint32_t count)
{
    static const RtDeviceKind order[] = {RT_KIND_CUDA, RT_KIND_VULKAN};
    for (size_t k = 0; k < HD_COUNT(order); k++)
        for (uint32_t i = 0; i < count; i++)
            if (list[i].type == order[k] && is_there(&list[i]) && !list[i].lacks[0] && strcmp(list[i].kind, "software") != 0) return &list[i];
    return list;                                         // the processor
}

HdStatus *rt_facts_pick(const RtFacts *list, uint32_t count, const char *which, const RtFacts **out_facts)
{
    const RtFacts *found = which ? NULL : first(list, count);
    for (uint32_t i = 0; which && i < count; i++) {
        if (!is_meant(&list[i], which)) continue;
        bool same_type = found && found->type == list[i].type && !strcasecmp(which, rt_kind_name(found->type));
        if (found && !same_type) return unclear(list, count, which, "that may be several");
        if (!found) found = &list[i];
    }
    if (!found) return unclear(list, count, which, "no type, number or part of a name");
    if (!is_there(found)) return hd_error(HD_NOT_FOUND, "device '%s': %s", which, found->lacks);
    *out_facts = found;
    return NULL;
}

HdStatus *rt_device_named(const RtDeviceNames *names, const char *which, uint32_t *out_index)
{
    const RtFacts *found;
    RtFacts *list = hd_xcalloc(names->count, sizeof *list);
    for (uint32_t i = 0; i < names->count; i++) {
        list[i].type = names->type, list[i].number = (int32_t)i;
        PUT(list[i].name, names->list[i]);
    }
    HdStatus *status = rt_facts_pick(list, names->count, which, &found);
    if (!status) *out_index = (uint32_t)found->number;
    free(list);
    return status;
}

// ---- variants of a module ------------------------------------------------------------------------------------

void rt_vulkan_lacks(HdBuf *out_text)
{
    Vulkan vulkan;
    VulkanCard card;
    HdStatus *status = vulkan_open(&vulkan);
    if (!status) status = vulkan_pick(&vulkan, NULL, &card);
    if (status) hd_buf_printf(out_text, "a Vulkan device (%s)", hd_status_message(status));
    hd_status_free(status);
    vulkan_close(&vulkan);
}

void rt_cuda_lacks(const HeddleModule *module, HdBuf *out_text)
{
    Cuda cuda;
    CudaCard card;
    HdStatus *status = cuda_open(&cuda);
    if (!status) status = cuda_pick(&cuda, module, NULL, &card);
    if (status) hd_buf_printf(out_text, "a CUDA device (%s)", hd_status_message(status));
    hd_status_free(status);
}
