// SPDX-License-Identifier: Apache-2.0
// Choosing a device by name.
#include "runtime/device/device.h"

#include <string.h>

static const RtDeviceType *const types[] = {&rt_device_cpu, &rt_device_null};

HdStatus *rt_device_type(const HeddleModule *module, const char *name, const RtDeviceType **out_type, const char **out_which)
{
    const char *colon = strchr(module->info.target, ':');
    size_t kind = colon ? (size_t)(colon - module->info.target) : strlen(module->info.target);
    *out_which = NULL;
    HdStr wanted = name ? hd_str(name) : (HdStr){module->info.target, kind};
    for (size_t i = 0; i < HD_COUNT(types); i++)
        if (hd_str_is(wanted, types[i]->name)) {
            *out_type = types[i];
            return NULL;
        }
    if (name) return hd_error(HD_USAGE, "device '%s': this program has cpu and null", name);
    return rt_other_target(module);
}
