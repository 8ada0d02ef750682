// SPDX-License-Identifier: Apache-2.0
// Choosing a device: the one the module was compiled for, or the null device.
#include "runtime/device/device.h"

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
