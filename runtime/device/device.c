// SPDX-License-Identifier: Apache-2.0
// Choosing a device: the one the module was compiled for, or the null device; where the machine has several of a kind, which.
#include "runtime/device/device.h"

#include <inttypes.h>
#include <string.h>

static const RtDeviceType *const types[] = {&rt_device_cpu, &rt_device_vulkan, &rt_device_cuda, &rt_device_null};

static const RtDeviceType *type_named(const char *name)
{
    for (size_t i = 0; i < HD_COUNT(types); i++)
        if (!strcmp(name, types[i]->name)) return types[i];
    return NULL;
}

static const RtDeviceType *type_of(const HeddleModule *module)
{
    for (size_t i = 0; i < HD_COUNT(types); i++)
        if (rt_module_is_for(module, types[i]->name)) return types[i];
    return NULL;
}

// What to compile for, that it runs wherever it is.
static const char *target_for(const RtDeviceType *type)
{
    if (type == &rt_device_cpu) return "cpu:native";
    return type == &rt_device_cuda ? "cuda:compute_75" : type->name;
}

HdStatus *rt_device_type(const HeddleModule *module, const char *name, const RtDeviceType **out_type, const char **out_which)
{
    const RtDeviceType *made_for = type_of(module), *named = name ? type_named(name) : NULL;
    *out_which = NULL;
    *out_type = named ? named : made_for;
    if (named == &rt_device_null) return NULL;
    if (!made_for) return rt_other_target(module);
    if (named && named != made_for)
        return hd_error(HD_MISMATCH, "%s: compiled for %s, device '%s' is asked for: heddle compile MODEL.gguf --target %s -o %s",
                        module->path, module->info.target, name, target_for(named), module->path);
    if (!name || named) return NULL;
    if (made_for == &rt_device_cpu)
        return hd_error(HD_USAGE, "device '%s': %s is compiled for %s; the devices for that are cpu and null", name, module->path,
                        module->info.target);
    *out_which = name;
    return NULL;
}

// ---- one of several --------------------------------------------------------------------------------------------

static HdStatus *unknown(const RtDeviceNames *names, const char *which, const char *why)
{
    HdBuf text = {0};
    for (uint32_t i = 0; i < names->count; i++) hd_buf_printf(&text, "%s%" PRIu32 " %s", i ? ", " : "", i, names->list[i]);
    HdStatus *status = hd_error(HD_USAGE, "device '%s': %s; %s devices: %s", which, why, names->kind, text.len ? text.data : "none");
    hd_buf_free(&text);
    return status;
}

HdStatus *rt_device_named(const RtDeviceNames *names, const char *which, uint32_t *out_index)
{
    uint64_t number;
    uint32_t found = names->count;
    if (hd_parse_u64(hd_str(which), &number)) {
        if (number >= names->count) return unknown(names, which, "there is no such number");
        *out_index = (uint32_t)number;
        return NULL;
    }
    for (uint32_t i = 0; i < names->count; i++) {
        if (!strcasestr(names->list[i], which)) continue;
        if (found < names->count) return unknown(names, which, "the names of several hold that");
        found = i;
    }
    if (found == names->count) return unknown(names, which, "no device, and no part of a name");
    *out_index = found;
    return NULL;
}
