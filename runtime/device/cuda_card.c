// SPDX-License-Identifier: Apache-2.0
// CUDA devices: what they are, whether they run a module's code, and which of them is taken.
#include "runtime/device/cuda.h"
#include "runtime/device/facts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// ---- one card ------------------------------------------------------------------------------------------------

static HdStatus *describe(const Cuda *cuda, uint32_t number, CudaCard *card)
{
    int major = 0, minor = 0, integrated = 0, shared = 0;
    const struct { int attribute, *value; } attributes[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major}, {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor},
        {CU_DEVICE_ATTRIBUTE_INTEGRATED, &integrated}, {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, &shared}};
    size_t bytes = 0;
    card->number = number;
    CUresult result = cuda->cuDeviceGet(&card->handle, (int)number);
    if (!result) result = cuda->cuDeviceGetName(card->name, sizeof card->name, card->handle);
    if (!result) result = cuda->cuDeviceTotalMem(&bytes, card->handle);
    for (size_t i = 0; i < HD_COUNT(attributes) && !result; i++)
        result = cuda->cuDeviceGetAttribute(attributes[i].value, attributes[i].attribute, card->handle);
    card->capability = major * 10 + minor;
    card->is_integrated = integrated != 0;
    card->shared_bytes = (uint32_t)shared;
    card->memory_bytes = bytes;
    if (!result) return NULL;
    return hd_error(HD_UNSUPPORTED, "CUDA device %" PRIu32 " cannot be asked what it is: %s", number, cuda_error_name(cuda, result));
}

const char *cuda_card_kind(const CudaCard *card) { return card->is_integrated ? "integrated GPU" : "discrete GPU"; }

HdStatus *cuda_cards(const Cuda *cuda, CudaCard **out_cards, uint32_t *out_count)
{
    int count = 0;
    CUresult result = cuda->cuDeviceGetCount(&count);
    if (result) return hd_error(HD_UNSUPPORTED, "CUDA devices cannot be listed: %s", cuda_error_name(cuda, result));
    if (count < 1) return hd_error(HD_NOT_FOUND, "no CUDA device: the NVIDIA driver finds none on this machine");
    CudaCard *cards = hd_xcalloc((size_t)count, sizeof *cards);
    HdStatus *status = NULL;
    for (int i = 0; i < count && !status; i++) status = describe(cuda, (uint32_t)i, &cards[i]);
    if (status) {
        free(cards);
        return status;
    }
    *out_cards = cards;
    *out_count = (uint32_t)count;
    return NULL;
}

// ---- code for it ---------------------------------------------------------------------------------------------

// Machine code runs on its own generation, and there on what is as new as its architecture or newer; PTX on everything that is. The code
// of other targets (tests have one) is left for the driver to refuse.
static bool runs(const CudaCard *card, const HeddleModule *module)
{
    const char *arch = strchr(module->info.target, ':') + 1, *number = strchr(arch, '_');
    int64_t needed;
    if (!number || !hd_parse_i64(hd_str(number + 1), &needed)) return true;
    bool is_ptx = !strncmp(arch, "compute_", 8);
    return card->capability >= needed && (is_ptx || card->capability / 10 == needed / 10);
}

// ---- choosing ------------------------------------------------------------------------------------------------

typedef struct Cards { CudaCard *list; uint32_t count; } Cards;

static HdStatus *none_runs(const Cards *cards, const HeddleModule *module)
{
    HdBuf text = {0};
    for (uint32_t i = 0; i < cards->count; i++)
        hd_buf_printf(&text, "%s%" PRIu32 ", %s, is sm_%d", i ? "; " : "", i, cards->list[i].name, cards->list[i].capability);
    int capability = cards->list[0].capability;
    HdStatus *status = hd_error(HD_MISMATCH, "compiled for %s, which no CUDA device here runs: %s; compile for it: heddle compile MODEL.gguf "
                                "--target cuda:sm_%d -o %s", module->info.target, text.data, HD_MAX(capability, CUDA_OLDEST_CAPABILITY),
                                module->path);
    hd_buf_free(&text);
    return status;
}

static HdStatus *first(const Cards *cards, const HeddleModule *module, const CudaCard **out_card)
{
    for (uint32_t i = 0; i < cards->count; i++) {
        if (!runs(&cards->list[i], module)) continue;
        *out_card = &cards->list[i];
        return NULL;
    }
    return none_runs(cards, module);
}

static HdStatus *named(const Cards *cards, const HeddleModule *module, const char *which, const CudaCard **out_card)
{
    uint32_t index;
    const char **names = hd_xcalloc(cards->count, sizeof *names);
    for (uint32_t i = 0; i < cards->count; i++) names[i] = cards->list[i].name;
    HdStatus *status = rt_device_named(&(RtDeviceNames){RT_KIND_CUDA, names, cards->count}, which, &index);
    free(names);
    if (status) return status;
    *out_card = &cards->list[index];
    return first(&(Cards){&cards->list[index], 1}, module, out_card);
}

HdStatus *cuda_pick(const Cuda *cuda, const HeddleModule *module, const char *which, CudaCard *out_card)
{
    Cards cards;
    const CudaCard *found;
    HD_TRY(cuda_cards(cuda, &cards.list, &cards.count));
    HdStatus *status = which ? named(&cards, module, which, &found) : first(&cards, module, &found);
    if (!status) *out_card = *found;
    free(cards.list);
    return status;
}
