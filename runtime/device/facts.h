// SPDX-License-Identifier: Apache-2.0
// What a device is, as a value: of this machine's (facts.c), or of another's, out of a file (cli/device_file.c).
#ifndef HEDDLE_FACTS_H
#define HEDDLE_FACTS_H

#include "runtime/base/base.h"

typedef enum RtDeviceKind { RT_KIND_CPU, RT_KIND_VULKAN, RT_KIND_CUDA, RT_KIND_COUNT } RtDeviceKind;

// Zeroes where a fact is not of the type.
typedef struct RtFacts {
    RtDeviceKind type;
    int32_t number;                      // among the devices of its type, as their driver counts; -1: the processor, or there is none
    char lacks[512];                     // "": it runs modules; else what it would need, or, without a name, why there is none
#define TEXT(name) char name[512];
#define WORDS(name) char name[1024];     // separated by blanks
#define NUMBER(name) uint64_t name;
#define FACT(types, kind, name, doc) kind(name)
#include "runtime/device/facts.def"
#undef FACT
#undef TEXT
#undef WORDS
#undef NUMBER
} RtFacts;

const char *rt_kind_name(RtDeviceKind kind);             // "cpu", "vulkan", "cuda"
// Every device of this machine: its processor, then those of Vulkan and of CUDA; of a type without any one that says why. The caller frees.
void rt_facts_all(RtFacts **out_list, uint32_t *out_count);
// The device of the list that `which` means: a type ("cuda"), type and number ("vulkan:1"), a number, or a part of a name; NULL: the first
// that runs modules, a GPU before the processor. USAGE lists what there is, NOT_FOUND says why there is none of the type.
HD_MUST_USE HdStatus *rt_facts_pick(const RtFacts *list, uint32_t count, const char *which, const RtFacts **out_facts);
// The same of devices of one type, by their names.
typedef struct RtDeviceNames { RtDeviceKind type; const char *const *list; uint32_t count; } RtDeviceNames;
HD_MUST_USE HdStatus *rt_device_named(const RtDeviceNames *names, const char *which, uint32_t *out_index);

#endif
