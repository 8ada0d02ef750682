// SPDX-License-Identifier: Apache-2.0
// What to compile for a device that a file describes (--target @FILE): its architecture or features, and the limits that kernels are held to.
#include "cli/device_target.h"

#include "codegen/codegen.h"
#include "runtime/abi.h"
#include "runtime/device/facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef HD_VEC(HdStr) Words;

static Words words_of(const char *text)
{
    Words words = {0};
    for (HdStr rest = hd_str(text); rest.len;) hd_vec_push(&words, hd_next_item(&rest, ' '));
    return words;
}

// ---- processors ----------------------------------------------------------------------------------------------

static HdStatus *target_of_features(const Words *words, IrTarget *out_target)
{
    uint64_t features = 0;
    for (size_t i = 0; i < words->len; i++) {
        IrFeature feature;
        if (!ir_feature_named(words->data[i], &feature))
            return hd_error(HD_BAD_DATA, "key 'features': '" HD_STR_FMT "' is no feature that this compiler knows", HD_STR_ARG(words->data[i]));
        features |= UINT64_C(1) << feature;
    }
    return ir_target_of_features(features, out_target);
}

static HdStatus *cpu_target(const RtFacts *facts, IrTarget *out_target)
{
    Words words = words_of(facts->features);
    HdStatus *status = target_of_features(&words, out_target);
    hd_vec_free(&words);
    return status;
}

// ---- Vulkan --------------------------------------------------------------------------------------------------

static bool holds(const Words *words, const char *name)
{
    for (size_t i = 0; i < words->len; i++)
        if (hd_str_is(words->data[i], name)) return true;
    return false;
}

static HdStatus *check_features(const RtFacts *facts)
{
    static const char *const needed[] = {
#define VULKAN_FEATURE(structure, name) #name,
#include "runtime/device/vulkan_features.def"
#undef VULKAN_FEATURE
    };
    HdBuf lacks = {0};
    Words words = words_of(facts->features);
    for (size_t i = 0; i < HD_COUNT(needed); i++)
        if (!holds(&words, needed[i])) hd_buf_printf(&lacks, "%s%s", lacks.len ? ", " : "", needed[i]);
    HdStatus *status = lacks.len ? hd_error(HD_UNSUPPORTED, "%s lacks %s, which kernels use", facts->name, lacks.data) : NULL;
    hd_vec_free(&words);
    hd_buf_free(&lacks);
    return status;
}

static HdStatus *check_version(const RtFacts *facts)
{
    unsigned major = 0, minor = 0;
    if (sscanf(facts->api_version, "%u.%u", &major, &minor) != 2) return hd_error(HD_BAD_DATA, "key 'api_version': expected a version: 1.3.230");
    if (major > 1 || minor >= 2) return NULL;
    return hd_error(HD_UNSUPPORTED, "%s has Vulkan %s, kernels need 1.2", facts->name, facts->api_version);
}

static HdStatus *check_limit(const RtFacts *facts, const char *key, uint64_t has, uint64_t needed)
{
    if (has >= needed) return NULL;
    return hd_error(HD_UNSUPPORTED, "%s: %s is %" PRIu64 ", kernels need %" PRIu64, facts->name, key, has, needed);
}

static HdStatus *vulkan_target(const RtFacts *facts, IrTarget *out_target)
{
    HD_TRY(check_version(facts));
    HD_TRY(check_features(facts));
    HD_TRY(check_limit(facts, "push_bytes", facts->push_bytes, sizeof(HeddleGpuLaunch)));
    HD_TRY(check_limit(facts, "groups", facts->groups, HEDDLE_GPU_MAX_GROUPS));
    HD_TRY(check_limit(facts, "group_lanes", facts->group_lanes, 1));
    return ir_target_parse("vulkan", out_target);
}

// ---- all -----------------------------------------------------------------------------------------------------

static HdStatus *target_of(const RtFacts *facts, IrTarget *out_target)
{
    switch (facts->type) {
    case RT_KIND_CPU: return cpu_target(facts, out_target);
    case RT_KIND_VULKAN: return vulkan_target(facts, out_target);
    case RT_KIND_CUDA: return cg_cuda_target(facts->capability, out_target);
    case RT_KIND_COUNT: break;
    }
    return hd_error(HD_INTERNAL, "a device of no type");
}

HdStatus *device_target(const RtFacts *facts, const char *path, IrTarget *out_target)
{
    HdStatus *status = target_of(facts, out_target);
    if (status) return hd_annotate(status, "%s", path);
    out_target->device = facts->name;
    out_target->most_lanes = (uint32_t)HD_MIN(facts->group_lanes, UINT32_MAX);
    out_target->most_buffer = facts->allocation_bytes;
    out_target->most_shared = (uint32_t)HD_MIN(facts->shared_bytes, UINT32_MAX);
    return NULL;
}
